"""`qflows up`, and what it makes possible: waits without a process, cancels that reach the vendor, going on.

One stack for all tests: it is five processes, which import Prefect for half a minute together.
"""

from __future__ import annotations

import base64
import os
import signal
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from late_slots import LATE, ended, late_runs
from prefect.states import Cancelling
from running_stack import Stack, deploy, is_gone, processes_of, until
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from qflows.flows import run_circuits, sweep
from qflows.prefect.guarded_server import login_url

pytestmark = [
    pytest.mark.server,
    pytest.mark.slow(reason="a stack of five processes, started twice, and a process for each of its ten flow runs"),
]

BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'
ROOT = Path(__file__).parents[2]


def state(api: Any, run: Any) -> str:
    """The run's state by name."""
    return api.read_flow_run(run.id).state.name


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_deployed_run_waits_without_a_process_and_is_woken(stack: Stack, api: Any) -> None:
    stack.admin.clock("frozen")
    deployment = deploy(api, sweep, "qflows.flows.sweeping.sweep")
    what = {"circuits": [BELL, BELL], "device": "ionq-simulator", "shots": 50, "as_batch": False, "detach_after": 0}
    run = api.create_flow_run_from_deployment(deployment, parameters=what)
    until(lambda: state(api, run) == "Suspended")
    until(lambda: not processes_of(run.id))
    stack.admin.clock("instant")
    until(lambda: state(api, run) == "Completed")
    assert stack.admin.count_jobs("ionq") == 2


def test_running_run_that_is_cancelled_has_its_jobs_cancelled_at_the_vendor(stack: Stack, api: Any) -> None:
    stack.admin.clock("frozen")
    deployment = deploy(api, run_circuits, "qflows.flows.circuits.run_circuits")
    what = {"circuits": [BELL, BELL, BELL], "device": "ionq-simulator", "shots": 50}
    run = api.create_flow_run_from_deployment(deployment, parameters=what)
    until(lambda: stack.admin.count_jobs("ionq") == 3)
    api.set_flow_run_state(run.id, Cancelling())
    until(lambda: [job["phase"] for job in stack.admin.jobs("ionq")] == ["cancelled"] * 3)
    until(lambda: state(api, run) == "Cancelled")
    assert not processes_of(run.id)
    assert stack.admin.count_jobs("ionq") == 3


def test_second_up_on_one_home_is_refused_with_the_pid_of_the_first(stack: Stack) -> None:
    assert stack.process is not None
    env = os.environ | {"QFLOWS_HOME": str(stack.home)}
    second = subprocess.run(
        [sys.executable, "-m", "qflows.cli", "up", "--port", "0"], env=env, capture_output=True, text=True, timeout=120
    )
    assert second.returncode == 2
    assert f"pid {stack.process.pid}" in second.stderr
    assert stack.process.poll() is None


def test_child_that_dies_is_started_again(stack: Stack) -> None:
    before = stack.child("reconciler")
    os.kill(before, signal.SIGKILL)
    until(lambda: "reconciler is running again" in stack.said)
    assert "reconciler died (signal 9)" in stack.said
    assert stack.child("reconciler") != before


@pytest.mark.parametrize(("document", "n_deployments"), [("prefect.yaml", 5), ("sandbox.yaml", 6)])
def test_documents_are_deployed_by_prefect_itself(
    stack: Stack, api: Any, document: str, n_deployments: int, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file"]
    done = subprocess.run(
        [*command, str(ROOT / "deployments" / document)],
        env=os.environ | stack.env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("successfully") == n_deployments


@pytest.mark.parametrize(
    ("missed", "ends"),
    [
        ("latest", ["Completed", "Skipped", "Skipped"]),
        ("skip after 90m", ["Completed", "Completed", "Skipped"]),
    ],
)
def test_late_runs_that_a_worker_starts_together_buy_what_the_policy_says(
    stack: Stack, api: Any, missed: str, ends: list[str]
) -> None:
    newest = (datetime.now(UTC) - timedelta(minutes=10)).replace(microsecond=0)
    deployment = late_runs(api, newest, BELL, missed)
    found = until(lambda: ended(api, deployment, newest), otherwise=lambda: stack.said)
    assert [found[hours].state_name for hours in range(LATE)] == ends
    assert all("was not run" in found[hours].state.message for hours in range(LATE) if ends[hours] == "Skipped")  # pyright: ignore
    assert stack.admin.count_jobs("ionq") == ends.count("Completed")


def test_running_stack_is_closed(stack: Stack) -> None:
    api, auth = stack.env["PREFECT_API_URL"], stack.env["PREFECT_API_AUTH_STRING"]
    port = urlsplit(api).port
    known = {"Authorization": f"Basic {base64.b64encode(auth.encode()).decode()}"}
    with httpx.Client(trust_env=False) as browser:
        blocks = f"{api}/block_documents/filter"
        assert browser.post(blocks, json={}).status_code == 401
        assert browser.post(blocks, json={}, headers=known).status_code == 200
        assert browser.post(blocks, json={}, headers=known | {"Host": "evil.example"}).status_code == 403
        assert browser.post(blocks, json={}, headers=known | {"Origin": "http://evil.example"}).status_code == 403
        asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
        assert "access-control-allow-origin" not in browser.options(blocks, headers=asked).headers
        own = browser.post(blocks, json={}, headers=known | {"Origin": f"http://127.0.0.1:{port}"})
        assert own.headers["access-control-allow-origin"] == f"http://127.0.0.1:{port}"
        assert browser.get(f"http://127.0.0.1:{port}/v2/").status_code == 200
    with pytest.raises(InvalidStatus):
        connect(f"ws://127.0.0.1:{port}/api/events/out", origin="http://evil.example", proxy=None)  # type: ignore[arg-type]
    # the login line is for the terminal; the password is in no log
    assert login_url(port or 0, auth) in stack.said
    password = auth.partition(":")[2]
    assert not [log.name for log in (stack.home / "logs").iterdir() if password in log.read_text(errors="replace")]


def test_running_stack_keeps_its_files_to_itself(stack: Stack) -> None:
    ledger = Path(stack.env["QFLOWS_LEDGER_URL"].removeprefix("sqlite:///"))
    assert ledger.parent == stack.home / "sandbox"
    assert not (stack.home / "ledger.db").exists()
    assert mode(stack.home) == 0o700
    # the reconciler makes the ledger at its first tick
    files = [stack.home / "up.env", *until(lambda: list(ledger.parent.glob("ledger.db*")))]
    assert {path.name: oct(mode(path)) for path in files} == {path.name: oct(0o600) for path in files}
    assert os.stat(stack.home / "up.env").st_uid == os.geteuid()


# the last one: it ends the stack that the others share
def test_killed_stack_goes_on_where_it_was_and_stops_cleanly(stack: Stack, api: Any) -> None:
    stack.admin.clock("frozen")
    deployment = deploy(api, sweep, "qflows.flows.sweeping.sweep")
    what = {"circuits": [BELL], "device": "ionq-simulator", "shots": 50, "detach_after": 0}
    run = api.create_flow_run_from_deployment(deployment, parameters=what)
    until(lambda: state(api, run) == "Suspended")
    url = stack.env["PREFECT_API_URL"]
    orphans = [stack.child(name) for name in ("server", "worker", "reconciler", "sandbox")]
    stack.stop(signal.SIGKILL)
    stack.start()
    assert all(is_gone(pid) for pid in orphans)
    assert stack.env["PREFECT_API_URL"] == url
    stack.admin.clock("instant")
    until(lambda: state(api, run) == "Completed")
    assert stack.admin.count_jobs("ionq") == 1
    children = [stack.child(name) for name in ("server", "worker", "reconciler", "sandbox")]
    assert stack.stop(signal.SIGTERM) == 0
    assert all(is_gone(pid) for pid in children)
    assert "continues where it was" in stack.said
