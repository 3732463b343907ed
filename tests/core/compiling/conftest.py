"""A client on a ledger of its own, connected to one sandbox of all vendors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qflows.core.client import Client
from qflows.sandbox import Sandbox
from qflows.settings import Settings


@pytest.fixture(scope="session")
def every_vendor() -> Iterator[Sandbox]:
    """One sandbox process for the folder."""
    with Sandbox(vendors=("ionq", "ibm", "braket", "qbraid")) as running:
        yield running


@pytest.fixture
def core(every_vendor: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client of the emptied sandbox."""
    every_vendor.admin.reset()
    for vendor in every_vendor.admin.info()["vendors"].values():
        for name, value in vendor["env"].items():
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("QFLOWS_HOME", str(tmp_path))
    made = Client(Settings(settle_s=0.2, poll_min_s=0.001))
    yield made
    made.ledger.close()
