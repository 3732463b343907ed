"""Clock, faults, journal, memory, worker and process of the sandbox, seen from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from qflows.sandbox import AdminError, Sandbox, SandboxError
from qflows.sandbox.clock import Clock, Pace
from qflows.sandbox.faults import Fault
from qflows.sandbox.launch import is_alive
from qflows.sandbox.worker import resolve

from .conftest import client_of


def submit(client: httpx.Client, body: dict) -> str:
    answer = client.post("/jobs", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def status(client: httpx.Client, job_id: str) -> str:
    return client.get(f"/jobs/{job_id}").json()["status"]


# -- clock ---------------------------------------------------------------------------------------------------------


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


# -- faults --------------------------------------------------------------------------------------------------------


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


# -- admin ---------------------------------------------------------------------------------------------------------


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
    ],
)
def test_bad_admin_call_is_refused_and_changes_nothing(sandbox, path, body):
    before = (sandbox.admin.clock()["pace"], sandbox.admin.switches())
    with pytest.raises(AdminError, match="400"):
        sandbox.admin.call("POST", path, body)
    assert (sandbox.admin.clock()["pace"], sandbox.admin.switches()) == before


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


# -- process -------------------------------------------------------------------------------------------------------


def test_killed_sandbox_remembers_jobs_sessions_and_journal(tmp_path, bell, pair):
    with Sandbox(clock="frozen", state_dir=tmp_path) as sb, client_of(sb) as client:
        done, open_job, parent = submit(client, bell), submit(client, bell), submit(client, pair)
        session = client.post("/sessions", json={"backend": "qpu.forte-1", "settings": {"job_count_limit": 3}}).json()
        sb.admin.release([done])
        result = client.get(f"/jobs/{done}/results/probabilities").json()
        sb.admin.switches("ionq", list_children=True)
        journal, url = sb.admin.journal(), sb.url
        sb.kill()
        sb.start()
        assert sb.url == url
        assert [job["id"] for job in sb.admin.jobs()] == [done, open_job, parent]
        assert [status(client, job_id) for job_id in (done, open_job)] == ["completed", "ready"]
        assert client.get(f"/jobs/{done}/results/probabilities").json() == result
        assert client.get(f"/sessions/{session['id']}").json() == session
        assert sb.admin.journal()[: len(journal)] == journal
        assert sb.admin.switches()["ionq"]["list_children"]["value"] is True
        sb.admin.release()
        assert [status(client, job_id) for job_id in (open_job, parent)] == ["completed", "completed"]


def test_torn_last_line_of_the_state_file_is_left_out(tmp_path, bell):
    with Sandbox(state_dir=tmp_path) as sb, client_of(sb) as client:
        job_id = submit(client, bell)
        sb.kill()
        (state,) = tmp_path.iterdir()
        with state.open("ab") as file:
            file.write(b'["job","torn",{"id":')
        sb.start()
        assert [job["id"] for job in sb.admin.jobs()] == [job_id]
        assert submit(client, bell)


def worker_pids(server_pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{server_pid}/task/{server_pid}/children").read_text().split()]


@pytest.mark.parametrize(("deaths", "first"), [(1, "completed"), (2, "failed")])
def test_work_that_takes_two_workers_down_fails_and_the_rest_is_run(bell, deaths, first):
    with Sandbox(clock="frozen") as sb, client_of(sb) as client, client_of(sb) as other:
        ids = [submit(client, bell) for _ in range(2)]
        sb.admin.release()
        (worker,) = worker_pids(sb.pid)
        os.kill(worker, signal.SIGSTOP)  # so that both are certainly in flight
        with ThreadPoolExecutor(2) as pool:
            answers = []
            for number, (each, job_id) in enumerate(zip((client, other), ids, strict=True), start=1):
                answers.append(pool.submit(status, each, job_id))
                sb.admin.wait_until(lambda sent=number: sb.admin.requests("ionq.get") == sent)
            for _ in range(deaths):
                os.kill(worker, signal.SIGKILL)
                sb.admin.wait_until(lambda dead=worker: worker_pids(sb.pid) not in ([], [dead]))
                (worker,) = worker_pids(sb.pid)
            assert [answer.result(10) for answer in answers] == [first, "completed"]


def test_state_directory_in_use_is_refused(tmp_path):
    with Sandbox(state_dir=tmp_path), pytest.raises(SandboxError, match="in use by another sandbox"):
        Sandbox(state_dir=tmp_path).start()


def test_work_outside_the_package_is_not_callable():
    for name in ("os:system", "qflows.sandbox.worker:", "qflows.sandboxed:x", "qflows.sandbox.worker:os.system"):
        with pytest.raises(ValueError, match="is not a function below"):
            resolve(name)


def test_sandbox_ends_when_its_parent_is_killed():
    code = "from qflows.sandbox import Sandbox; sb = Sandbox().start(); print(sb.pid, flush=True); input()"
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdin is not None
    pid = int(parent.stdout.readline())
    (worker,) = worker_pids(pid)
    parent.kill()
    parent.communicate()
    gone = threading.Event()
    for _ in range(1000):
        if not is_alive(pid) and not is_alive(worker):
            break
        gone.wait(0.01)
    assert not is_alive(pid)
    assert not is_alive(worker)


@pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGINT])
def test_foreground_process_announces_itself_and_stops_cleanly(tmp_path, with_signal):
    ready, pid_file = tmp_path / "ready", tmp_path / "pid"
    command = [sys.executable, "-m", "qflows.sandbox", "--vendors", "ionq", "--ready-file", str(ready)]
    process = subprocess.Popen([*command, "--pid-file", str(pid_file)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(3)]
    assert lines[1].startswith("export IONQ_API_URL=http://127.0.0.1:")
    url = lines[0].split()[2]
    assert httpx.get(url + "/_sandbox/info", trust_env=False).status_code == 200
    assert int(pid_file.read_text()) == process.pid
    process.send_signal(with_signal)
    assert process.wait(10) == 0
    process.stdout.close()
    assert not ready.exists()
    assert not pid_file.exists()


def test_sandbox_that_cannot_start_says_why():
    with pytest.raises(SandboxError, match="no vendor 'acme'"):
        Sandbox(vendors=("acme",)).start()


def test_taken_port_is_reported(shared_sandbox):
    port = int(shared_sandbox.url.rpartition(":")[2])
    with pytest.raises(SandboxError, match="ddress already in use"):
        Sandbox(ports=(port,)).start()
