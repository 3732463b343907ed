"""A client on an empty ledger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qflows.core.client import Client
from qflows.settings import Settings


@pytest.fixture
def core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("QFLOWS_HOME", str(tmp_path))
    made = Client(Settings(settle_s=0.2, poll_min_s=0.001))
    yield made
    made.ledger.close()
