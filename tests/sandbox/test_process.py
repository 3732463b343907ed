"""The sandbox as a process: memory across kills, its worker, its parent, signals and ports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from qflows.sandbox import Sandbox, SandboxError
from qflows.sandbox.launch import is_alive
from qflows.sandbox.worker import resolve

from .conftest import client_of


def submit(client: httpx.Client, body: dict) -> str:
    answer = client.post("/jobs", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def status(client: httpx.Client, job_id: str) -> str:
    return client.get(f"/jobs/{job_id}").json()["status"]


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
