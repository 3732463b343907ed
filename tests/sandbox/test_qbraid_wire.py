"""The emulated qBraid on the wire: odd requests are refused in its own shape, and nothing is forgotten by a restart."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from qflows.sandbox import Sandbox

SIMULATOR = "qbraid:qbraid:sim:qir-sv"
PROGRAM = {"format": "qasm3", "data": "OPENQASM 3.0;\nqubit[1] q;\nbit[1] c;\nc[0] = measure q[0];\n"}
GOOD = {"deviceQrn": SIMULATOR, "shots": 5, "program": PROGRAM, "tags": {"qflows_key": "k"}}


def client_of(sandbox: Sandbox) -> httpx.Client:
    base = sandbox.urls["qbraid"] + "/api/v1"
    return httpx.Client(base_url=base, headers={"X-API-Key": "t"}, trust_env=False, timeout=20)


@pytest.fixture(scope="module")
def qbraid_sandbox() -> Iterator[Sandbox]:
    with Sandbox(vendors=("qbraid",)) as running:
        yield running


@pytest.fixture
def sandbox(qbraid_sandbox: Sandbox) -> Sandbox:
    qbraid_sandbox.admin.reset()
    return qbraid_sandbox


@pytest.fixture
def api(sandbox: Sandbox) -> Iterator[httpx.Client]:
    with client_of(sandbox) as client:
        yield client


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"deviceQrn": None}, 422),
        ({"deviceQrn": ["x"]}, 422),
        ({"deviceQrn": "nobody"}, 404),
        ({"program": None}, 422),
        ({"program": []}, 422),
        ({"program": [1]}, 422),
        ({"program": {"format": ["qasm3"], "data": ""}}, 422),
        ({"program": {"format": "qasm3", "data": 7}}, 422),
        ({"program": {"format": "quil", "data": ""}}, 400),
        ({"shots": 0}, 400),
        ({"shots": -1}, 422),
        ({"shots": 2001}, 400),
        ({"deviceQrn": "aws:ionq:qpu:forte-enterprise-1", "shots": 99}, 400),
        ({"program": [PROGRAM]}, 400),
        ({"deviceQrn": "qbraid:equal1:sim:bell-1", "program": [PROGRAM] * 2001}, 422),
        ({"shots": True}, 422),
        ({"shots": 10**9}, 400),
        ({"name": 3}, 422),
        ({"tags": ["a"]}, 422),
        ({"tags": {"a": None}}, 422),
        ({"runtimeOptions": "x"}, 422),
        ({"runtimeOptions": {"noiseModel": ["x"]}}, 400),
        ({"groupJobQrn": "qbraid:group:none"}, 404),
        ({"groupJobQrn": {}}, 422),
    ],
    ids=str,
)
def test_odd_submission_is_refused_and_nothing_is_accepted(
    api: httpx.Client, sandbox: Sandbox, change: dict[str, Any], status: int
) -> None:
    answer = api.post("/jobs", json=GOOD | change)
    assert answer.status_code == status
    assert answer.json()["success"] is False
    assert answer.json()["error"]["code"]
    assert sandbox.admin.count_jobs("qbraid") == 0


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"7", b'"x"', b"[" * 100_000], ids=range(6))
def test_body_that_is_no_object_is_refused(api: httpx.Client, body: bytes) -> None:
    for path in ("/jobs", "/jobs/group"):
        status = api.post(path, content=body).status_code
        assert status in (400, 422) or (path == "/jobs/group" and not body)


@pytest.mark.parametrize(
    "query",
    ["tags=x", "tags=[]", "page=0", "page=x", "limit=101", "limit=-1", "status=DONE", "statusGroup=some", "search="],
)
def test_odd_query_of_the_job_list_is_refused(api: httpx.Client, query: str) -> None:
    assert api.get(f"/jobs?{query}").status_code == 422


def test_caller_without_key_is_refused_and_a_token_is_enough(sandbox: Sandbox) -> None:
    base = sandbox.urls["qbraid"] + "/api/v1"
    assert httpx.get(f"{base}/jobs", trust_env=False).status_code == 401
    assert httpx.get(f"{base}/jobs", headers={"X-Access-Token": "t"}, trust_env=False).status_code == 200


def test_a_thousand_requests_in_fifteen_minutes_are_the_limit_of_each_key(sandbox: Sandbox) -> None:
    sandbox.admin.switches("qbraid", requests_per_window=3, requests_without_key=1)
    base = sandbox.urls["qbraid"] + "/api/v1/jobs"
    found = [httpx.get(base, headers={"X-API-Key": key}, trust_env=False) for key in "aaaab"]
    assert [answer.status_code for answer in found] == [200, 200, 200, 429, 200]
    assert 890 <= int(found[3].headers["Retry-After"]) <= 901
    assert [httpx.get(base, trust_env=False).status_code for _ in range(2)] == [401, 429]
    sandbox.admin.advance(900)
    assert httpx.get(base, headers={"X-API-Key": "a"}, trust_env=False).status_code == 200
    assert sandbox.admin.switches()["qbraid"]["requests_per_window"]["default"] == 1_000


def test_answer_to_a_submission_has_the_recorded_members_or_only_the_documented_two(
    api: httpx.Client, sandbox: Sandbox
) -> None:
    full = api.post("/jobs", json=GOOD | {"name": "nm"})
    sandbox.admin.switches("qbraid", submit_body="lean")
    lean = api.post("/jobs", json=GOOD)
    assert (full.status_code, lean.status_code) == (201, 201)
    assert set(lean.json()["data"]) == {"jobQrn", "status"}
    assert set(full.json()["data"]) == {
        "jobQrn", "name", "status", "shots", "numCircuits", "estimatedCost", "experimentType", "vendor", "deviceQrn",
        "tags", "runtimeOptions", "timeStamps", "provider",
    }  # fmt: skip
    assert set(full.json()["data"]["timeStamps"]) == {"createdAt"}


def test_refused_submission_can_come_as_201(api: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.admin.switches("qbraid", refused_as_201=True)
    answer = api.post("/jobs", json=GOOD)
    assert (answer.status_code, answer.json()) == (201, {"success": False, "data": {}})
    assert sandbox.admin.count_jobs("qbraid") == 0


def test_cancel_is_409_at_first_then_202_once_and_400_after(api: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.admin.clock("frozen")
    qrn = api.post("/jobs", json=GOOD).json()["data"]["jobQrn"]
    assert api.get(f"/jobs/{qrn}/result").status_code == 409
    early = api.post(f"/jobs/{qrn}/cancel")
    assert (early.status_code, early.json()["error"]["code"]) == (409, "JOB_CANCEL_CONFLICT")
    assert "try again in a few moments" in early.json()["message"]
    sandbox.admin.advance(5)
    first, second = (api.post(f"/jobs/{qrn}/cancel") for _ in range(2))
    assert (first.status_code, first.json()["data"]["status"], second.status_code) == (202, "CANCELLING", 400)
    assert [api.get(f"/jobs/{qrn}").json()["data"]["status"] for _ in range(2)] == ["CANCELLING", "CANCELLED"]


def test_only_a_read_by_id_refreshes_a_job_stores_its_result_and_settles_its_credits(
    api: httpx.Client, sandbox: Sandbox
) -> None:
    sandbox.admin.switches("qbraid", credits=1_000.0, billed_s=0.05, estimated_s=0.1)
    wanted = GOOD | {"deviceQrn": "aws:aws:sim:sv1"}
    job = api.post("/jobs", json=wanted).json()["data"]
    qrn = job["jobQrn"]

    def listed() -> str:
        return api.get("/jobs").json()["data"][0]["status"]

    def left() -> float:
        return api.get("/billing/credits/balance").json()["data"]["qbraidCredits"]

    assert (listed(), left()) == ("INITIALIZING", 1_000 - job["estimatedCost"])
    assert api.get(f"/jobs/{qrn}/result").status_code == 409
    shown = api.get(f"/jobs/{qrn}").json()["data"]
    assert (shown["status"], shown["cost"], job["estimatedCost"]) == ("COMPLETED", 0.00625, 0.0125)
    assert (listed(), left()) == ("COMPLETED", 1_000 - 0.00625)
    result = api.get(f"/jobs/{qrn}/result", params={"includeMeasurements": "true"}).json()["data"]
    assert result["cost"] == "0.00625"
    assert (result["resultData"]["measurements"], result["resultData"]["seed"]) == ([[0]] * 5, None)


def test_failed_and_cancelled_jobs_give_the_held_credits_back(api: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.admin.clock("frozen")
    sandbox.admin.switches("qbraid", credits=100.0)
    sandbox.admin.fault("fail_job", "qbraid.submit")
    wanted = GOOD | {"deviceQrn": "aws:iqm:qpu:garnet", "shots": 100}
    ids = [api.post("/jobs", json=wanted).json()["data"]["jobQrn"] for _ in range(2)]
    poor = api.post("/jobs", json=wanted)
    assert (poor.status_code, poor.json()["error"]["code"]) == (402, "INSUFFICIENT_CREDITS")
    assert (poor.json()["error"]["needed"], poor.json()["error"]["balance"]) == (44.5, 11.0)
    sandbox.admin.release([ids[0]])
    sandbox.admin.advance(5)
    api.post(f"/jobs/{ids[1]}/cancel")
    words = [[api.get(f"/jobs/{qrn}").json()["data"]["status"] for qrn in ids] for _ in range(2)]
    assert words[1] == ["FAILED", "CANCELLED"]
    assert api.get("/billing/credits/balance").json()["data"]["qbraidCredits"] == 100.0


def test_creation_time_moves_in_time_stamps_and_stays_at_the_top(api: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.admin.clock("frozen")
    job = api.post("/jobs", json=GOOD).json()["data"]
    sandbox.admin.advance(3.3)
    queued = api.get(f"/jobs/{job['jobQrn']}").json()["data"]
    sandbox.admin.release()
    done = api.get(f"/jobs/{job['jobQrn']}").json()["data"]
    assert len({shown["timeStamps"]["createdAt"] for shown in (job, queued, done)}) == 3
    assert queued["createdAt"] == done["createdAt"]
    made = job["jobQrn"].rpartition("-qjob-")[2]
    assert abs(int(made[:8], 16) - datetime.fromisoformat(done["createdAt"]).timestamp()) <= 1
    assert "cost" not in queued
    assert "statusMsg" not in queued


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("", "NO_VALID_AUTHENTICATION"),
        ("with space", "INVALID_API_KEY_FORMAT"),
        ("mistyped", "INVALID_API_KEY"),
        ("mine", None),
    ],
)
def test_wrong_keys_are_told_apart(sandbox: Sandbox, key: str, code: str | None) -> None:
    sandbox.admin.switches("qbraid", known_keys="mine,theirs")
    answer = httpx.get(sandbox.urls["qbraid"] + "/api/v1/devices", headers={"X-API-Key": key}, trust_env=False)
    assert answer.status_code == (401 if code else 200)
    assert answer.json().get("error", {}).get("code") == code


@pytest.mark.parametrize(("key", "code"), [("qbr_0a", None), ("eq1_0a", "INVALID_API_KEY_FORMAT")])
def test_keys_of_another_shape_can_be_told_apart(sandbox: Sandbox, key: str, code: str | None) -> None:
    sandbox.admin.switches("qbraid", key_format="qbr_hex")
    answer = httpx.get(sandbox.urls["qbraid"] + "/api/v1/devices", headers={"X-API-Key": key}, trust_env=False)
    assert answer.json().get("error", {}).get("code") == code


@pytest.mark.parametrize("status", [404, 403])
def test_key_sees_neither_the_jobs_nor_the_groups_of_another(api: httpx.Client, sandbox: Sandbox, status: int) -> None:
    sandbox.admin.switches("qbraid", foreign_job_status=status)
    group = api.post("/jobs/group", json={}).json()["data"]["groupJobQrn"]
    qrn = api.post("/jobs", json=GOOD).json()["data"]["jobQrn"]
    base = sandbox.urls["qbraid"] + "/api/v1"
    with httpx.Client(base_url=base, headers={"X-API-Key": "other"}, trust_env=False) as other:
        assert [other.get(path).json()["data"] for path in ("/jobs", "/jobs/group")] == [[], []]
        assert other.get(f"/jobs/{qrn}").status_code == other.post(f"/jobs/{qrn}/cancel").status_code == status
        assert other.get(f"/jobs/group/{group}").status_code == 404
        sandbox.admin.switches("qbraid", accounts="shared")
        assert other.get(f"/jobs/{qrn}").status_code == 200


def test_job_of_the_personal_context_is_bought_and_not_to_be_seen(api: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.admin.switches("qbraid", job_context="personal")
    mine = api.post("/jobs", json=GOOD).json()["data"]["jobQrn"]
    assert api.get("/jobs", params={"tags": '{"qflows_key":"k"}'}).json()["data"] == []
    assert api.get(f"/jobs/{mine}").status_code == 403
    assert sandbox.admin.count_jobs("qbraid") == 1


def test_devices_come_in_pages_and_a_closed_or_retired_one_says_so(api: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.admin.switches("qbraid", closed_devices="aws:iqm:qpu:garnet")
    listed = [api.get("/devices", params={"limit": 7, "page": n}).json()["data"] for n in (1, 2, 3)]
    everything = {device["qrn"]: device for page in listed for device in page}
    assert len(everything) == sum(map(len, listed)) == 20
    assert api.get("/devices", params={"limit": 101}).status_code == 422
    assert everything["aws:iqm:qpu:garnet"]["directAccess"] is False
    assert everything["aws:aws:sim:tn1"]["status"] == "RETIRED"
    assert {qrn for qrn, device in everything.items() if device["batchJobSupport"]} == {"qbraid:equal1:sim:bell-1"}
    qir = everything["qbraid:qbraid:sim:qir-sv"]
    assert (qir["numberQubits"], qir["maxShots"], qir["runInputTypes"]) == (30, 2_000, ["qasm3", "pyqir"])
    assert qir["pricing"] == {"perTask": 0, "perShot": 0, "perMinute": 0}


def test_list_says_how_it_goes_on(api: httpx.Client) -> None:
    for _ in range(3):
        api.post("/jobs", json=GOOD)
    page = api.get("/jobs", params={"limit": 2}).json()["pagination"]
    assert page == {"page": 1, "limit": 2, "total": 3, "totalPages": 2, "hasNext": True, "hasPrev": False}


def test_restart_forgets_no_job_and_no_group(tmp_path: Path) -> None:
    with Sandbox(vendors=("qbraid",), state_dir=tmp_path) as sandbox:
        with client_of(sandbox) as api:
            group = api.post("/jobs/group", json={"name": "g", "tags": {}, "metadata": {}}).json()["data"][
                "groupJobQrn"
            ]
            qrn = api.post("/jobs", json=GOOD | {"groupJobQrn": group}).json()["data"]["jobQrn"]
            api.get(f"/jobs/{qrn}")
            before = api.get(f"/jobs/{qrn}/result").json()
        sandbox.restart()
        with client_of(sandbox) as api:
            assert [job["jobQrn"] for job in api.get(f"/jobs/group/{group}/jobs").json()["data"]] == [qrn]
            assert api.get(f"/jobs/{qrn}/result").json() == before
