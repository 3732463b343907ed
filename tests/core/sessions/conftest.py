"""An emulated IBM without noise, and the core of one process beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qflows.core.client import Client
from qflows.sandbox import Sandbox
from qflows.settings import Settings


@pytest.fixture(scope="module")
def ibm_process() -> Iterator[Sandbox]:
    with Sandbox(vendors=("ibm",)) as running:
        yield running


@pytest.fixture
def ibm(ibm_process: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    ibm_process.admin.reset()
    ibm_process.admin.switches("ibm", noise=False)
    for name, value in ibm_process.env.items():
        monkeypatch.setenv(name, value)
    return ibm_process


@pytest.fixture
def core(ibm: Sandbox, tmp_path: Path) -> Iterator[Client]:
    made = Client(Settings(home=tmp_path, settle_s=0.3, poll_min_s=0.01))
    yield made
    made.ledger.close()
