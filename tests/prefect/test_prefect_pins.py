"""Guards of the two upper bounds in pyproject.toml that Prefect 3.8 itself leaves too wide.

How each was seen to fail without its pin is in the tests. When Prefect repairs them, both bounds may go.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from datetime import UTC
from pathlib import Path

import deployed_flows
import pytest
from prefect_records import flow_runs_of_flow, until
from prefect_server import PrefectServer, stop_with_parent

import qflows
from qflows.sandbox import Admin

pytestmark = pytest.mark.server


def test_real_server_starts(prefect_server: PrefectServer) -> None:
    with urllib.request.urlopen(f"{prefect_server.url}/version", timeout=10) as answer:
        assert answer.status == 200


@pytest.mark.slow(reason="waits for a slot of Prefect's own scheduler, and runs it in a process")
def test_interval_schedule_makes_runs_that_finish(
    prefect_api: PrefectServer, child_env: dict[str, str], ionq: Admin, tmp_path: Path
) -> None:
    command = [sys.executable, deployed_flows.__file__, "serve", "slot", "guard", "5"]
    with (tmp_path / "serve.log").open("wb") as log:
        server = subprocess.Popen(
            command,
            env=child_env | prefect_api.env | {"PREFECT_RUNNER_POLL_FREQUENCY": "1"},
            cwd=tmp_path,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=stop_with_parent,
        )
    try:

        def finished() -> list[object]:
            runs = flow_runs_of_flow("every-few-seconds")
            return [run for run in runs if run.auto_scheduled and run.state and run.state.is_completed()]

        done = until(finished, timeout_s=150)
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(40)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
    bought = ionq.jobs("ionq")[0]
    job = qflows.attach(bought["id"])
    slots = {f"{run.deployment_id}@{run.expected_start_time.astimezone(UTC).isoformat()}" for run in done}
    assert job.run_key in slots
