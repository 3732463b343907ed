"""Outside a flow: no API, no server, no task run; and the jobs are there for the next process."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import qflows
from qflows.errors import RunKeyMissing
from qflows.sandbox import Admin

SCRIPT = """
import json, os, sys
started, connected = [], set()
def watch(event, args):
    if event == "subprocess.Popen":
        started.append(repr(args[0]))
    elif event in ("os.fork", "os.forkpty", "os.posix_spawn", "os.system"):
        started.append(event)
    elif event == "socket.connect" and isinstance(args[1], tuple):
        connected.add(args[1][1])
sys.addaudithook(watch)
assert "PREFECT_API_URL" not in os.environ
import qflows
local = qflows.run({bell!r}, device="local-aer", shots=30, run_key="script")
job = qflows.submit({bell!r}, device="ionq-simulator", shots=30, run_key="script")
qflows.wait([job])
print(json.dumps({{
    "started": started, "connected": sorted(connected), "local": sum(local.counts.values()),
    "key": job.key, "vendor_id": job.vendor_id,
}}))
"""


@pytest.fixture
def script_report(child_env: dict[str, str], tmp_path, ionq: Admin) -> dict:
    """What a script that buys one local and one IonQ job says of itself."""
    from deployed_flows import BELL

    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(bell=BELL)],
        env=child_env | {"PREFECT_HOME": str(tmp_path / "prefect-home")},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_script_needs_no_server_and_its_jobs_are_attached_from_here(script_report: dict, ionq: Admin, tmp_path) -> None:
    assert script_report["local"] == 30
    assert script_report["started"] == []
    assert {f":{port}" in ionq.url for port in script_report["connected"]} == {True}
    assert not list((tmp_path / "prefect-home").glob("*.db"))
    by_key = qflows.attach(script_report["key"][:10])
    by_vendor = qflows.attach(script_report["vendor_id"])
    assert by_key == by_vendor
    assert (by_key.run_key, by_key.status) == ("script", qflows.JobStatus.COMPLETED)
    assert sum(qflows.result(by_key).counts.values()) == 30
    assert ionq.count_jobs("ionq") == 1


def test_call_outside_a_flow_without_a_run_key_is_refused_and_buys_nothing(ionq: Admin) -> None:
    from deployed_flows import BELL

    with pytest.raises(RunKeyMissing, match="run_key="):
        qflows.run(BELL, device="ionq-simulator", shots=30)
    assert ionq.count_jobs("ionq") == 0
