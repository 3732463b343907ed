"""Results fetched by a process that did nothing else before, as the reconciler does: several at once, in threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qflows.sandbox import Sandbox

BUY = """
import qflows
bell = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'
for shots in (100, 101, 102):
    qflows.submit(bell, device="ibm-sandbox", shots=shots, run_key="bought elsewhere")
"""
SWEEP = """
import time
from qflows.core.client import default_client
deadline = time.monotonic() + 60
while (swept := default_client().reconciler().tick()).finished < swept.live and time.monotonic() < deadline:
    time.sleep(0.1)
print(swept.finished)
"""


@pytest.mark.slow(reason="two interpreters import IBM's client")
def test_three_results_at_once_are_the_first_thing_that_a_process_reads(sandbox: Sandbox, tmp_path: Path) -> None:
    env = os.environ | sandbox.env | {"QFLOWS_HOME": str(tmp_path), "QFLOWS_POLL_MIN_S": "0.05"}
    sandbox.admin.clock("frozen")
    subprocess.run([sys.executable, "-c", BUY], env=env, check=True, capture_output=True)
    sandbox.admin.clock("instant")
    done = subprocess.run([sys.executable, "-c", SWEEP], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["3"]
