"""Groups over every emulated vendor: one sandbox for the folder, a ledger for each test."""

from __future__ import annotations

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

from qflows import groups
from qflows.ledger import Ledger
from qflows.sandbox import Sandbox

PREAMBLE = "import os, signal, sys\nimport qflows\nfrom group_desk import BELL, RUN, buy, group\n"

# helper modules of this folder are imported by tests and by other processes
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def vendors() -> Iterator[Sandbox]:
    """IonQ, qBraid, Braket and IBM in one process."""
    with Sandbox(vendors=("ionq", "qbraid", "braket", "ibm")) as running:
        yield running


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger to copy: making one takes longer than most tests here."""
    place = tmp_path_factory.mktemp("empty") / "ledger.db"
    Ledger.open(f"sqlite:///{place}").close()
    return place


@pytest.fixture
def desk(vendors: Sandbox, empty_ledger: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sandbox]:
    """The emptied sandbox behind the vendors' own variables, and a ledger of the test's own."""
    shutil.copy(empty_ledger, tmp_path / "ledger.db")
    vendors.admin.reset()
    vendors.admin.clock("instant")
    own = {"QFLOWS_HOME": str(tmp_path), "QFLOWS_SETTLE_S": "0.2", "QFLOWS_POLL_MIN_S": "0.02"}
    for name, value in (vendors.env | own).items():
        monkeypatch.setenv(name, value)
    before = groups.ACTIVE.set(None)
    yield vendors
    groups.ACTIVE.reset(before)
    groups._in_process.clear()


@pytest.fixture
def next_attempt(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From here on this process is another attempt of the run, as a script is that was started again."""

    def begin() -> None:
        monkeypatch.setattr("qflows.client._PROCESS_ATTEMPT", uuid.uuid4().hex)
        monkeypatch.setattr("qflows.client._calls", Counter())

    return begin


@pytest.fixture
def in_another_process(desk: Sandbox, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a script with the same ledger and vendors; it knows `qflows` and `group_desk`, and has sys.argv."""

    def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        here = str(Path(__file__).parent)
        done = subprocess.run(
            [sys.executable, "-c", PREAMBLE + textwrap.dedent(script), *arguments],
            env=os.environ | {"PYTHONPATH": here, "GROUP_NOTES": str(tmp_path / "notes")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        return done

    return run
