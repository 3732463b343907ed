"""The unmodified qiskit-ibm-runtime client and an empty IBM sandbox, its environment exported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qflows.sandbox import Sandbox

pytest.importorskip("qiskit_ibm_runtime")
sys.path.insert(0, str(Path(__file__).parent))  # the tests share `ibm_client`


@pytest.fixture(scope="package")
def shared_ibm() -> Iterator[Sandbox]:
    with Sandbox(vendors=("ibm",)) as running:
        yield running


@pytest.fixture
def ibm(shared_ibm: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """An empty sandbox, its environment exported."""
    shared_ibm.admin.reset()
    for name, value in shared_ibm.env.items():
        monkeypatch.setenv(name, value)
    # the client walks the stack for every request to say who calls, which is slow below pytest
    monkeypatch.setenv("USAGE_DATA_OPT_OUT", "True")
    return shared_ibm


@pytest.fixture
def service(ibm: Sandbox) -> Any:
    """The real service, without arguments."""
    from qiskit_ibm_runtime import QiskitRuntimeService

    return QiskitRuntimeService()


@pytest.fixture
def backend(service: Any) -> Any:
    return service.backend("ibm_manila")


@pytest.fixture
def quiet(ibm: Sandbox) -> None:
    """Devices without errors."""
    ibm.admin.switches("ibm", noise=False)
