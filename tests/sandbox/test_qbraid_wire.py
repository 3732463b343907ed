"""The emulated qBraid on the wire: odd requests are refused in its own shape, and nothing is forgotten by a restart."""

from __future__ import annotations

from collections.abc import Iterator
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
        ({"shots": 0}, 422),
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


def test_rate_limit_answers_429_with_a_time_to_wait(api: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.admin.switches("qbraid", requests_per_s=1.0)
    answers = [api.get("/jobs") for _ in range(3)]
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["Retry-After"]) >= 1


def test_answer_to_a_submission_can_be_as_lean_as_documented(api: httpx.Client, sandbox: Sandbox) -> None:
    full = api.post("/jobs", json=GOOD)
    sandbox.admin.switches("qbraid", submit_body="lean")
    lean = api.post("/jobs", json=GOOD)
    assert (full.status_code, lean.status_code) == (201, 201)
    assert set(lean.json()["data"]) == {"jobQrn", "status"}
    assert {"jobQrn", "deviceQrn", "vendor", "provider", "status", "experimentType", "estimatedCost"} <= set(
        full.json()["data"]
    )


def test_cancel_is_202_once_and_400_after(api: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.admin.clock("frozen")
    qrn = api.post("/jobs", json=GOOD).json()["data"]["jobQrn"]
    assert api.get(f"/jobs/{qrn}/result").status_code == 409
    first, second = (api.post(f"/jobs/{qrn}/cancel") for _ in range(2))
    assert (first.status_code, first.json()["data"]["status"], second.status_code) == (202, "CANCELLING", 400)
    assert [api.get(f"/jobs/{qrn}").json()["data"]["status"] for _ in range(2)] == ["CANCELLING", "CANCELLED"]


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
            before = api.get(f"/jobs/{qrn}/result").json()
        sandbox.restart()
        with client_of(sandbox) as api:
            assert [job["jobQrn"] for job in api.get(f"/jobs/group/{group}/jobs").json()["data"]] == [qrn]
            assert api.get(f"/jobs/{qrn}/result").json() == before
