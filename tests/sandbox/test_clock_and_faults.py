"""When jobs are done and what goes wrong on purpose, seen from outside."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from qflows.sandbox.clock import Clock, Pace
from qflows.sandbox.faults import Fault

from .conftest import client_of


def submit(client: httpx.Client, body: dict) -> str:
    answer = client.post("/jobs", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def status(client: httpx.Client, job_id: str) -> str:
    return client.get(f"/jobs/{job_id}").json()["status"]


# -- clock


def test_instant_job_is_completed_at_the_first_read(ionq, bell):
    assert status(ionq, submit(ionq, bell)) == "completed"


def test_counted_job_runs_at_the_read_before_the_last(sandbox, ionq, bell):
    sandbox.admin.clock("count:3")
    job_id = submit(ionq, bell)
    assert [status(ionq, job_id) for _ in range(3)] == ["ready", "started", "completed"]


def test_bulk_read_counts_for_each_job_it_shows(sandbox, ionq, bell):
    sandbox.admin.clock("count:2")
    ids = [submit(ionq, bell) for _ in range(2)]
    reads = [ionq.get("/jobs", params={"ids": ids}).json()["jobs"] for _ in range(2)]
    assert [[job["status"] for job in jobs] for jobs in reads] == [["started"] * 2, ["completed"] * 2]


def test_job_by_time_waits_runs_and_ends_when_due(sandbox, ionq, bell):
    sandbox.admin.clock("time:100,50")
    job_id = submit(ionq, bell)
    seen = [status(ionq, job_id)]
    for seconds in (101, 60):
        sandbox.admin.advance(seconds)
        seen.append(status(ionq, job_id))
    assert seen == ["ready", "started", "completed"]
    job = ionq.get(f"/jobs/{job_id}").json()
    assert job["execution_duration_ms"] == pytest.approx(50_000, abs=2)


def test_frozen_jobs_are_released_oldest_first_by_id_and_all(sandbox, ionq, bell):
    sandbox.admin.clock("frozen")
    ids = [submit(ionq, bell) for _ in range(4)]
    assert sandbox.admin.release(1) == 1
    assert sandbox.admin.release([ids[2]]) == 1
    assert [status(ionq, job_id) for job_id in ids] == ["completed", "ready", "completed", "ready"]
    assert sandbox.admin.release() == 2
    assert {status(ionq, job_id) for job_id in ids} == {"completed"}


def test_released_child_ends_before_its_parent(sandbox, ionq, pair):
    sandbox.admin.clock("frozen")
    parent = submit(ionq, pair)
    first, second = ionq.get(f"/jobs/{parent}").json()["child_job_ids"]
    sandbox.admin.release([first])
    assert [status(ionq, job_id) for job_id in (parent, first, second)] == ["started", "completed", "ready"]
    sandbox.admin.release([parent])
    assert [status(ionq, job_id) for job_id in (parent, second)] == ["completed", "completed"]


@pytest.mark.parametrize("text", ["instant", "count:3", "time:2,0.5", "frozen"])
def test_pace_is_written_as_it_is_read(text):
    assert str(Pace.parse(text)) == text


@pytest.mark.parametrize("text", ["", "soon", "count", "count:-1", "time:x", "instant:1", "time:-1,2"])
def test_bad_pace_is_refused_with_the_forms(text):
    with pytest.raises(ValueError, match="use instant, count"):
        Pace.parse(text)


def test_clock_moves_forward_by_what_was_advanced():
    clock = Clock()
    before = clock.now()
    clock.advance(3600)
    assert clock.now() - before == pytest.approx(3600, abs=5)


# -- faults


def outcome(client: httpx.Client, body: dict) -> object:
    """Status of the answer, or the name of the transport error."""
    try:
        return client.post("/jobs", json=body).status_code
    except httpx.TransportError as error:
        return type(error).__name__


@pytest.mark.parametrize(
    ("kind", "members", "seen", "jobs"),
    [
        ("drop_before", {}, "RemoteProtocolError", 0),
        ("drop_after", {}, "RemoteProtocolError", 1),
        ("truncate", {}, "RemoteProtocolError", 1),
        ("status", {"status": 502, "accepted": True}, 502, 1),
        ("status", {"status": 504, "accepted": False}, 504, 0),
        ("status", {"status": 524, "accepted": True, "html": True}, 524, 1),
        ("delay", {"seconds": 0.01, "when": "before"}, 201, 1),
        ("delay", {"seconds": 0.01, "when": "after"}, 201, 1),
    ],
)
def test_fault_on_submit_gives_its_answer_and_its_number_of_jobs(sandbox, ionq, bell, kind, members, seen, jobs):
    sandbox.admin.fault(kind, "ionq.submit", **members)
    assert outcome(ionq, bell) == seen
    assert sandbox.admin.count_jobs("ionq") == jobs
    entry = sandbox.admin.journal(route="ionq.submit")[-1]
    assert entry["faults"] == [kind]
    assert len(entry["accepted"]) == jobs
    assert entry["key"] == "k1"
    assert outcome(ionq, bell) == 201


def test_fault_skips_then_acts_then_is_spent(sandbox, ionq, bell):
    sandbox.admin.fault("status", "ionq.submit", status=503, skip=1, times=2)
    assert [outcome(ionq, bell) for _ in range(4)] == [201, 503, 503, 201]
    assert sandbox.admin.faults()[0]["fired"] == 2


def test_wildcard_fault_acts_on_every_route_of_the_vendor(sandbox, ionq, bell):
    job_id = submit(ionq, bell)
    sandbox.admin.fault("status", "ionq.*", status=500, times=None)
    assert ionq.get(f"/jobs/{job_id}").status_code == ionq.get("/whoami").status_code == 500
    sandbox.admin.clear_faults()
    assert ionq.get("/whoami").status_code == 200


def test_scripted_answer_carries_retry_after_and_vendors_error_shape(sandbox, ionq, bell):
    sandbox.admin.fault("status", "ionq.submit", status=429, retry_after=7, message="slow down")
    answer = ionq.post("/jobs", json=bell)
    assert answer.headers["Retry-After"] == "7"
    assert answer.json() == {"statusCode": 429, "error": "Too Many Requests", "message": "slow down"}


def test_rate_limit_lets_the_burst_pass_and_refills_with_time(sandbox, ionq, bell):
    sandbox.admin.fault("rate_limit", "ionq.submit", rate_per_s=0.1, burst=2)
    assert [outcome(ionq, bell) for _ in range(3)] == [201, 201, 429]
    sandbox.admin.advance(11)
    assert [outcome(ionq, bell) for _ in range(2)] == [201, 429]


def test_stale_reads_show_the_past_then_the_truth(sandbox, ionq, bell):
    job_id = submit(ionq, bell)
    sandbox.admin.fault("stale", "ionq.get", times=2)
    assert [status(ionq, job_id) for _ in range(3)] == ["ready", "ready", "completed"]


def listed(client: httpx.Client) -> list[str]:
    return [job["id"] for job in client.get("/jobs").json()["jobs"]]


def test_listing_lag_by_calls_hides_a_new_job_from_lists_only(sandbox, ionq, bell):
    sandbox.admin.fault("list_lag", "ionq.list", calls=2)
    job_id = submit(ionq, bell)
    assert [listed(ionq) for _ in range(3)] == [[], [], [job_id]]
    assert status(ionq, job_id) == "completed"


def test_listing_lag_by_time_ends_with_the_clock(sandbox, ionq, bell):
    sandbox.admin.fault("list_lag", "ionq.list", seconds=30)
    job_id = submit(ionq, bell)
    assert listed(ionq) == []
    sandbox.admin.advance(31)
    assert listed(ionq) == [job_id]


def test_scripted_failure_hits_the_nth_accepted_job(sandbox, ionq, bell):
    sandbox.admin.fault("fail_job", "ionq.submit", skip=1, code="SystemCancel", message="maintenance")
    jobs = [ionq.get(f"/jobs/{submit(ionq, bell)}").json() for _ in range(3)]
    assert [job["status"] for job in jobs] == ["completed", "failed", "completed"]
    assert jobs[1]["failure"] == {"code": "SystemCancel", "message": "maintenance", "error": "maintenance"}


@pytest.mark.parametrize(("when", "accepted"), [("before", 0), ("after", 1)])
def test_held_request_is_parked_at_its_side_of_acceptance(sandbox, bell, when, accepted):
    sandbox.admin.fault("hold", "ionq.submit", when=when)
    with client_of(sandbox) as client, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.post, "/jobs", json=bell)
        (parked,) = sandbox.admin.wait_held()
        assert (parked["route"], len(parked["accepted"])) == ("ionq.submit", accepted)
        assert sandbox.admin.count_jobs("ionq") == accepted
        assert sandbox.admin.release_held() == 1
        assert answer.result(10).status_code == 201
    assert sandbox.admin.count_jobs("ionq") == 1


def test_held_request_can_be_dropped(sandbox, bell):
    sandbox.admin.fault("hold", "ionq.submit", when="after")
    with client_of(sandbox) as client, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.post, "/jobs", json=bell)
        sandbox.admin.wait_held()
        sandbox.admin.release_held(verdict="drop")
        assert isinstance(answer.exception(10), httpx.RemoteProtocolError)
    assert sandbox.admin.count_jobs("ionq") == 1


CLIENT = """
import httpx, sys
httpx.post(sys.argv[1] + "/v0.4/jobs", headers={"Authorization": "apiKey t"}, content=sys.argv[2], trust_env=False)
"""


@pytest.mark.parametrize(("when", "accepted"), [("before", 0), ("after", 1)])
def test_client_killed_while_held_leaves_what_the_vendor_had_accepted(sandbox, bell, when, accepted):
    sandbox.admin.fault("hold", "ionq.submit", when=when)
    process = subprocess.Popen([sys.executable, "-c", CLIENT, sandbox.url, json.dumps(bell)])
    sandbox.admin.wait_held()
    process.send_signal(signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL
    assert sandbox.admin.count_jobs("ionq") == accepted
    sandbox.admin.release_held(verdict="drop")
    sandbox.admin.wait_until(lambda: not sandbox.admin.held())
    assert sandbox.admin.count_jobs("ionq") == accepted


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "explode", "route": "ionq.submit"},
        {"kind": "status", "route": "submit"},
        {"kind": "status"},
        {"kind": "status", "route": "ionq.submit", "status": 99},
        {"kind": "status", "route": "ionq.submit", "status": "502"},
        {"kind": "status", "route": "ionq.submit", "times": -1},
        {"kind": "status", "route": "ionq.submit", "accepted": "yes"},
        {"kind": "hold", "route": "ionq.submit", "when": "during"},
        {"kind": "drop_after", "route": "ionq.submit", "colour": "red"},
        {"kind": "fail_job", "route": "ionq.submit", "children": [-1]},
    ],
)
def test_bad_fault_is_refused(fault):
    with pytest.raises(ValueError):
        Fault.from_doc(fault)
