"""The emulated vendors for the sources' own clients and for qflows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from qflows.sandbox import Sandbox

os.environ["QBRAID_CONFIG_FILE"] = os.devnull  # the client reads the name when it is imported; the file beats all else


@pytest.fixture(scope="package")
def all_vendors() -> Iterator[Sandbox]:
    with Sandbox(vendors=("ibm", "ionq", "qbraid")) as running:
        yield running


@pytest.fixture
def desk(all_vendors: Sandbox, empty_ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Empty vendors without noise, and an empty ledger."""
    shutil.copy(empty_ledger, tmp_path / "ledger.db")
    all_vendors.admin.reset()
    all_vendors.admin.clock("instant")
    all_vendors.admin.switches("ibm", noise=False)
    own = {"QFLOWS_HOME": str(tmp_path), "QFLOWS_POLL_MIN_S": "0.02", "QFLOWS_SETTLE_S": "0.2"}
    own |= {"NO_PROXY": "127.0.0.1,localhost", "USAGE_DATA_OPT_OUT": "True"}
    own |= {"DISABLE_CACHE": "1"}  # qBraid's client keeps devices of other tests, with the addresses of their sandboxes
    for name, value in (all_vendors.env | own).items():
        monkeypatch.setenv(name, value)
    return all_vendors
