"""Fixtures for the tests of a vendor: `pytest_plugins = ["qflows.testing.fixtures"]` in its conftest.py.

`vendor` names the vendor whose emulator `sandbox` starts; give it in a conftest.py or a class. One emulator a vendor
runs for the whole session; before each test it is emptied. `home` and `ledger` are fresh for each test.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from qflows.ledger import Ledger
from qflows.sandbox import Sandbox


@pytest.fixture
def vendor() -> str:
    """The vendor to emulate, by its name in the sandbox."""
    pytest.fail("give a fixture `vendor` that returns the name of the vendor to emulate")


@pytest.fixture(scope="session")
def running_sandboxes() -> Iterator[dict[str, Sandbox]]:
    """Sandboxes by vendor, started on first use, stopped at the end of the session; use `sandbox`."""
    running: dict[str, Sandbox] = {}
    yield running
    for one in running.values():
        one.stop()


@pytest.fixture
def sandbox(vendor: str, running_sandboxes: dict[str, Sandbox]) -> Sandbox:
    """The emulated vendor: no jobs, no faults, switches at their defaults, jobs done at their first read.

    `sandbox.url` is its address, `sandbox.env` what its client reads, `sandbox.admin` scripts faults and counts.
    """
    if vendor not in running_sandboxes:
        running_sandboxes[vendor] = Sandbox(vendors=(vendor,)).start()
    running_sandboxes[vendor].admin.reset()
    return running_sandboxes[vendor]


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of this machine where connections are refused; nobody else can take it during the test."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and never listened on
        yield taken.getsockname()[1]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty QFLOWS_HOME, in which the ledger of this test is made; the environment's own ledger is out of reach."""
    folder = tmp_path / "qflows-home"
    monkeypatch.setenv("QFLOWS_HOME", str(folder))
    monkeypatch.delenv("QFLOWS_LEDGER_URL", raising=False)
    return folder


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger in a SQLite file."""
    opened = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield opened
    opened.close()
