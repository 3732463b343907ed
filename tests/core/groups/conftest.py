"""Groups over every emulated vendor: one sandbox for the folder, a ledger for each test."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qflows.core import ambient
from qflows.sandbox import Sandbox

# helper modules of this folder are imported by tests and by other processes
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def vendors() -> Iterator[Sandbox]:
    """IonQ, qBraid, Braket and IBM in one process."""
    with Sandbox(vendors=("ionq", "qbraid", "braket", "ibm")) as running:
        yield running


@pytest.fixture
def desk(vendors: Sandbox, empty_ledger: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sandbox]:
    """The emptied sandbox behind the vendors' own variables, and a ledger of the test's own."""
    shutil.copy(empty_ledger, tmp_path / "ledger.db")
    vendors.admin.reset()
    vendors.admin.clock("instant")
    own = {"QFLOWS_HOME": str(tmp_path), "QFLOWS_SETTLE_S": "0.2", "QFLOWS_POLL_MIN_S": "0.02"}
    for name, value in (vendors.env | own).items():
        monkeypatch.setenv(name, value)
    before = ambient.ACTIVE.set(None)
    yield vendors
    ambient.ACTIVE.reset(before)
    ambient._in_process.clear()


@pytest.fixture
def next_attempt(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From here on this process is another attempt of the run, as a script is that was started again."""

    def begin() -> None:
        monkeypatch.setattr("qflows.core.scope._PROCESS_ATTEMPT", uuid.uuid4().hex)
        monkeypatch.setattr("qflows.core.scope._calls", Counter())

    return begin


@pytest.fixture(scope="session")
def forge() -> Iterator[subprocess.Popen[str]]:
    """A process that has everything imported and forks others; see `group_forge`."""
    here = Path(__file__).parent
    process = subprocess.Popen(
        [sys.executable, str(here / "group_forge.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(here)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    assert process.stdin is not None
    process.stdin.close()
    process.wait(10)
    process.stdout.close()


@pytest.fixture
def in_another_process(
    desk: Sandbox, forge: subprocess.Popen[str], tmp_path: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a script with the same ledger and vendors; it knows `qflows` and `group_desk`, and has sys.argv."""

    def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        out, err = tmp_path / "out", tmp_path / "err"
        order = {
            "script": textwrap.dedent(script),
            "arguments": arguments,
            "env": os.environ | {"GROUP_NOTES": str(tmp_path / "notes")},
            "out": str(out),
            "err": str(err),
        }
        assert forge.stdin is not None
        assert forge.stdout is not None
        forge.stdin.write(json.dumps(order) + "\n")
        forge.stdin.flush()
        code = int(forge.stdout.readline())
        assert code in (0, -signal.SIGKILL), err.read_text()
        return subprocess.CompletedProcess([], code, out.read_text(), err.read_text())

    return run
