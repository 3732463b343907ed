"""What `qflows doctor --spend` measured changes what adapters say of devices, and what is refused before it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from qiskit import QuantumCircuit

from qflows.core.client import Client
from qflows.core.scope import script_scope
from qflows.errors import ProgramRejected
from qflows.ledger import facts
from qflows.programs.features import Feature
from qflows.protocol import Fact
from qflows.sandbox import Sandbox
from qflows.settings import Settings

CEPHEUS = "arn:aws:braket:us-west-1::device/qpu/rigetti/Cepheus-1-108Q"
CASES: list[tuple[str, str, str, Any, Any]] = [
    # vendor, device, fact, what was seen, what the adapter says then of (features taken, most shots)
    ("braket", CEPHEUS, "barriers", "merged", lambda limits: Feature.BARRIER not in limits.takes),
    ("braket", CEPHEUS, "barriers", "kept", lambda limits: Feature.BARRIER in limits.takes),
    ("ibm", "ibm_fez", "barriers", "merged", lambda limits: Feature.BARRIER not in limits.takes),
    ("ibm", "ibm_fez", "delays", "dropped", lambda limits: Feature.DELAY not in limits.takes),
    ("ibm", "ibm_fez", "delays", "kept", lambda limits: Feature.DELAY in limits.takes),
    ("ionq", "qpu.forte-1", "qpu_max_shots", 10_000, lambda limits: limits.max_shots == 10_000),
    ("ionq", "qpu.forte-1", "qpu_mid_circuit", True, lambda limits: limits.mid_circuit),
    ("ionq", "qpu.forte-1", "qpu_mid_circuit", False, lambda limits: not limits.mid_circuit),
]


@pytest.fixture(scope="module")
def vendors() -> Iterator[Sandbox]:
    with Sandbox(vendors=("braket", "ibm", "ionq")) as running:
        yield running


@pytest.fixture
def core(vendors: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    vendors.admin.reset()
    for name, value in vendors.env.items():
        monkeypatch.setenv(name, value)
    made = Client(Settings(home=tmp_path))
    yield made
    made.ledger.close()


@pytest.mark.parametrize(("vendor", "device", "name", "seen", "holds"), CASES)
def test_limits_of_a_device_follow_what_was_measured(
    core: Client, vendor: str, device: str, name: str, seen: Any, holds: Any
) -> None:
    provider: Any = core.provider(vendor)
    facts.record(core.ledger, vendor, provider.account, [Fact(name, seen)])
    assert holds(core.vendors.teach(provider).limits(device))


def test_barrier_that_was_seen_not_to_count_is_refused_before_anything_is_recorded(
    core: Client, vendors: Sandbox
) -> None:
    provider: Any = core.provider("braket")
    facts.record(core.ledger, "braket", provider.account, [Fact("barriers", "merged")])
    core.vendors.teach(provider)
    circuit = QuantumCircuit(2, 2)
    circuit.x(0)
    circuit.barrier()
    circuit.x(0)
    circuit.measure([0, 1], [0, 1])
    with pytest.raises(ProgramRejected, match="removed gates across barriers"):
        core.submit(core.specs(circuit, device="braket-cepheus-1-108q", shots=10), device="braket-cepheus-1-108q",
                    scope=script_scope("fenced"))  # fmt: skip
    assert vendors.admin.count_jobs() == 0


@pytest.mark.parametrize(("folder", "most"), [("", 10_000), ("other", 1_000_000)])
def test_measured_facts_are_those_of_the_ledger(core: Client, tmp_path: Path, folder: str, most: int) -> None:
    provider: Any = core.provider("ionq")
    facts.record(core.ledger, "ionq", provider.account, [Fact("qpu_max_shots", 10_000)])
    other = Client(Settings(home=tmp_path / folder))
    found = other.vendors.teach(other.provider("ionq")).limits("qpu.forte-1").max_shots
    other.ledger.close()
    assert found == most
