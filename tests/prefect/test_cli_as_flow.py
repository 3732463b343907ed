"""`qflows run` where a Prefect API is configured: the same command is a flow run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from deployed_flows import BELL
from prefect_records import flow_runs_of_flow
from prefect_server import PrefectServer

from qflows.sandbox import Admin

pytestmark = pytest.mark.server


def test_configured_api_makes_the_command_a_flow_run(
    prefect_api: PrefectServer, child_env: dict[str, str], ionq: Admin, tmp_path: Path
) -> None:
    (tmp_path / "bell.qasm").write_text(BELL)
    known = {run.id for run in flow_runs_of_flow("run-circuits")}
    command = [sys.executable, "-m", "qflows.cli", "run", str(tmp_path / "bell.qasm"), "--device", "ionq-simulator"]
    done = subprocess.run(
        [*command, "--shots", "70", "--run-key", "seen", "--json"],
        env=child_env | prefect_api.env,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    body = json.loads(done.stdout)
    assert body["run_key"] == "seen"
    assert sum(body["results"][0]["counts"].values()) == 70
    [run] = [run for run in flow_runs_of_flow("run-circuits") if run.id not in known]
    assert run.name == "bell on ionq-simulator, 70 shots"
    assert run.state is not None
    assert run.state.is_completed()
    assert ionq.count_jobs("ionq") == 1
