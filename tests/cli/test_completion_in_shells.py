"""Completion where it is used: real bash and zsh on a terminal, after `qflows --install-completion` in each."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

import qflows

BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'
# a name is other people's text, and shells evaluate what completion prints
HOSTILE = "it's $(touch a) `touch b` \"; touch c; '; touch d; '"
Complete = Callable[[str, str], str]
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|[\x07\r\x08]")


@pytest.fixture(params=["bash", "zsh"])
def complete(request: pytest.FixtureRequest, tmp_path: Path) -> Complete:
    """`complete(line, wanted)`: what stands on the terminal after the line and two tabs, once `wanted` is there."""
    shell = request.param
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not on this machine")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "QFLOWS_"))}
    env = clean | {
        "HOME": str(tmp_path),
        "QFLOWS_HOME": str(tmp_path / "q"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TERM": "xterm",
    }
    # the shell that runs the command is the one that gets the completion
    subprocess.run([shell, "-c", "qflows --install-completion; true"], env=env, cwd=tmp_path, check=True)
    with (tmp_path / f".{shell}rc").open("a") as rc:
        rc.write("\nPS1='READY> '\n")

    def run(line: str, wanted: str) -> str:
        child = pexpect.spawn(shell, ["-i"], env=env, cwd=tmp_path, dimensions=(40, 200), encoding="utf-8")
        try:
            child.expect_exact("READY> ", timeout=60)
            child.send(line + "\t\t")
            seen, deadline = "", time.monotonic() + 60
            while wanted not in _ESCAPES.sub("", seen) and time.monotonic() < deadline:
                try:
                    seen += child.read_nonblocking(4096, timeout=0.2)
                except pexpect.TIMEOUT:
                    continue
            return _ESCAPES.sub("", seen)
        finally:
            child.close(force=True)

    return run


def test_shell_offers_devices_and_the_jobs_of_the_ledger(
    complete: Complete, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "local-noisy" in complete("qflows run x.qasm --device local-", "local-noisy")
    monkeypatch.setenv("QFLOWS_HOME", str(tmp_path / "q"))
    job = qflows.run(BELL, device="local-aer", shots=10, run_key="shell", name=HOSTILE).job
    before = sorted(tmp_path.iterdir())
    assert job.key[:12] in complete(f"qflows jobs show {job.key[:3]}", job.key[:12])
    assert [path.name for path in sorted(tmp_path.iterdir()) if path not in before and len(path.name) == 1] == []
