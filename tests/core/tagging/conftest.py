"""Jobs of every vendor on one sandbox, whose names and tags can be changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from qiskit import QuantumCircuit

from qflows.core.client import Client
from qflows.core.scope import Scope
from qflows.model import Job
from qflows.protocol import JobSpec
from qflows.sandbox import Sandbox
from qflows.settings import Settings

VENDORS = ("ibm", "braket", "ionq", "qbraid")
DEVICES = {
    "ibm": "ibm-sandbox",
    "braket": "braket-sv1",
    "ionq": "ionq-simulator",
    "qbraid": "qbraid-qir-sv",
}


@pytest.fixture(scope="module")
def all_vendors() -> Iterator[Sandbox]:
    with Sandbox(vendors=VENDORS) as running:
        yield running


@pytest.fixture
def sandbox(all_vendors: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    all_vendors.admin.reset()
    all_vendors.admin.clock("frozen")
    for name, value in all_vendors.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    return all_vendors


@pytest.fixture
def core(sandbox: Sandbox, tmp_path: Path) -> Iterator[Client]:
    made = Client(Settings(home=tmp_path, settle_s=0.3, poll_min_s=0.01))
    yield made
    made.ledger.close()


@pytest.fixture
def specs(core: Client) -> Callable[..., list[JobSpec]]:
    """A Bell pair named `first` with tags {"study": "a", "shift": "night"}."""

    def of(vendor: str) -> list[JobSpec]:
        circuit = QuantumCircuit(2, 2)
        circuit.h(0)
        circuit.cx(0, 1)
        circuit.measure([0, 1], [0, 1])
        tags = {"study": "a", "shift": "night"}
        return core.specs(circuit, device=DEVICES[vendor], shots=20, name="first", tags=tags)

    return of


@pytest.fixture
def bought(core: Client, specs: Callable[..., list[JobSpec]]) -> Callable[[str], Job]:
    """That job, waiting at the vendor."""

    def buy(vendor: str) -> Job:
        [job] = core.submit(specs(vendor), device=DEVICES[vendor], scope=Scope("r", "a", "t"))
        assert job.vendor_id is not None
        return job

    return buy
