"""One sandbox per vendor for the whole run, emptied before each test.

A vendor's folder says its name in a fixture `vendor` and how to connect in a fixture `provider`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qflows.ledger import Ledger
from qflows.testing.fixtures import closed_port, running_sandboxes, sandbox

__all__ = ["closed_port", "running_sandboxes", "sandbox"]

sys.path.insert(0, str(Path(__file__).parent))  # folders share `braket_devices`


@pytest.fixture
def ledger_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    ledger = Ledger.open(ledger_url)
    yield ledger
    ledger.close()
