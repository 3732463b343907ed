"""The admin API: what it counts, shows, refuses and forgets."""

from __future__ import annotations

import httpx
import pytest

from qflows.sandbox import AdminError


def submit(client: httpx.Client, body: dict) -> str:
    answer = client.post("/jobs", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def status(client: httpx.Client, job_id: str) -> str:
    return client.get(f"/jobs/{job_id}").json()["status"]


def test_counts_tell_requests_answers_and_jobs(sandbox, ionq, bell, pair):
    job_id = submit(ionq, bell)
    submit(ionq, pair)
    status(ionq, job_id)
    ionq.get("/jobs/nope")
    counts = sandbox.admin.counts()
    assert counts["requests"] == {"ionq.submit": 2, "ionq.get": 2}
    assert counts["statuses"] == {"ionq.submit 201": 2, "ionq.get 200": 1, "ionq.get 404": 1}
    assert counts["jobs"] == {"ionq": 2}


def test_journal_pages_by_number(sandbox, ionq):
    for _ in range(5):
        ionq.get("/whoami")
    first = sandbox.admin.journal(limit=3)
    assert len(first) == 3
    assert len(sandbox.admin.journal(after=first[-1]["n"])) == 2


def test_jobs_can_be_found_by_the_callers_key(sandbox, ionq, bell):
    job_id = submit(ionq, bell)
    submit(ionq, bell | {"metadata": {"qflows_key": "other"}})
    assert [job["id"] for job in sandbox.admin.jobs(key="k1")] == [job_id]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/clock", {"pace": "soon"}),
        ("/clock", {"advance_s": -1}),
        ("/clock", {"release": -3}),
        ("/clock", {"hurry": True}),
        ("/switches", {"ionq": {"nope": 1}}),
        ("/switches", {"ionq": {"result_profile": "odd"}}),
        ("/switches", {"ionq": {"list_children": 1}}),
        ("/switches", {"acme": {}}),
        ("/held/release", {"verdict": "maybe"}),
        ("/jobs/forget", {"ids": "all"}),
    ],
)
def test_bad_admin_call_is_refused_and_changes_nothing(sandbox, path, body):
    before = (sandbox.admin.clock()["pace"], sandbox.admin.switches())
    with pytest.raises(AdminError, match="400"):
        sandbox.admin.call("POST", path, body)
    assert (sandbox.admin.clock()["pace"], sandbox.admin.switches()) == before


def test_forgotten_job_is_nowhere_at_the_vendor_and_stays_counted(sandbox, ionq, bell, pair):
    lost, kept = submit(ionq, pair), submit(ionq, bell)
    assert sandbox.admin.forget([lost, "unknown"]) == 1
    assert ionq.get(f"/jobs/{lost}").status_code == 404
    assert [job["id"] for job in ionq.get("/jobs", params={"ids": [lost, kept]}).json()["jobs"]] == [kept]
    assert [job["id"] for job in ionq.get("/jobs").json()["jobs"]] == [kept]
    assert sandbox.admin.count_jobs("ionq") == 2
    assert sandbox.admin.forget([lost]) == 0


def test_admin_refuses_foreign_host_names(sandbox):
    answer = httpx.get(sandbox.url + "/_sandbox/info", headers={"Host": "evil.example:80"}, trust_env=False)
    assert answer.status_code == 403


def test_admin_refuses_deep_or_large_bodies(sandbox):
    deep = "[" * 200 + "]" * 200
    for text, code in ((f'{{"a": {deep}}}', 400), ("{" + " " * 1_000_001 + "}", 413), ("[" * 100_000, 400)):
        answer = httpx.post(sandbox.url + "/_sandbox/faults", content=text, trust_env=False)
        assert answer.status_code == code


def test_reset_forgets_jobs_faults_switches_and_clock(sandbox, ionq, bell):
    submit(ionq, bell)
    sandbox.admin.switches("ionq", list_children=True)
    sandbox.admin.clock("frozen")
    sandbox.admin.fault("status", "ionq.submit")
    sandbox.admin.reset()
    assert sandbox.admin.count_jobs() == 0
    assert sandbox.admin.faults() == []
    assert sandbox.admin.clock()["pace"] == "instant"
    assert sandbox.admin.switches()["ionq"]["list_children"]["value"] is False


def test_every_switch_says_what_it_decides(sandbox):
    for vendor in sandbox.admin.switches().values():
        for switch in vendor.values():
            assert switch["note"]
            assert switch["value"] == switch["default"]
