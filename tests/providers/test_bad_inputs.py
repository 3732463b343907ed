"""Bad input at every vendor: refused with what, which and what to do, before anything is recorded or sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from qiskit import QuantumCircuit

from qflows.core.client import Client
from qflows.core.scope import script_scope
from qflows.errors import QflowsError
from qflows.ledger import reads
from qflows.sandbox import Sandbox
from qflows.settings import Settings
from qflows.testing import bell

VENDORS = ("braket", "ibm", "ionq", "qbraid")
DEVICES = {
    "braket-sv1": 34,
    "braket-garnet": 20,
    "braket-cepheus-1-108q": 107,
    "braket-forte-enterprise-1": 36,
    "ibm-kingston": 156,
    "ibm-miami": 120,
    "ionq-simulator": 29,
    "ionq-forte-1": 36,
    "qbraid-qir-sv": 64,
    "qbraid-garnet": 20,
}
INPUTS: dict[str, tuple[dict[str, Any], str]] = {
    # what is given, and a word that the refusal must have
    "no shots at all": ({"shots": 0}, "shots"),
    "negative shots": ({"shots": -1}, "shots"),
    "shots as text": ({"shots": "10"}, "shots"),
    "a fraction of a shot": ({"shots": 10.5}, "shots"),
    "too many shots": ({"shots": 10**9}, "shots|executions"),
    "an option nobody has": ({"options": {"nonsense": 1}}, "nonsense"),
    "options that are a list": ({"options": [1]}, "options"),
    "one qubit too many": ({"wide": True}, "qubits"),
    "nothing measured": ({"circuit": QuantumCircuit(1)}, "measure"),
    "text that is no program": ({"circuit": "OPENQASM 3.0; zork q[0]"}, "OpenQASM"),
}
CHEAPEST = {
    "braket": "braket-sv1",
    "ibm": "ibm-kingston",
    "ionq": "ionq-simulator",
    "qbraid": "qbraid-qir-sv",
}
UNKNOWN = {
    "braket": "braket:arn:aws:braket:us-east-1::device/qpu/ionq/Nothing",
    "ibm": "ibm:ibm_nobody",
    "ionq": "ionq:qpu.nothing",
    "qbraid": "qbraid:aws:nobody:qpu:nothing",
}


@pytest.fixture(scope="module")
def vendors() -> Iterator[Sandbox]:
    with Sandbox(vendors=VENDORS) as running:
        yield running


@pytest.fixture
def env(vendors: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in vendors.env.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def shared(vendors: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One client: it keeps its connections from test to test."""
    made = Client(Settings(home=tmp_path_factory.mktemp("bad")))
    yield made
    made.ledger.close()


@pytest.fixture
def core(env: None, shared: Client) -> Client:
    return shared


def _buy(core: Client, device: str, circuit: Any, shots: Any = 10, options: Any = None) -> list[str]:
    specs = core.specs(circuit, device=device, shots=shots, options=options)
    return [job.key for job in core.submit(specs, device=device, scope=script_scope("bad"))]


@pytest.mark.parametrize("what", INPUTS)
@pytest.mark.parametrize("device", DEVICES)
def test_bad_input_is_refused_before_anything_is_recorded(
    core: Client, vendors: Sandbox, device: str, what: str
) -> None:
    given, word = dict(INPUTS[what][0]), INPUTS[what][1]
    circuit = given.pop("circuit", bell())
    if given.pop("wide", False):
        circuit = QuantumCircuit(DEVICES[device] + 1)
        circuit.h(range(DEVICES[device] + 1))
        circuit.measure_all()
    given.setdefault("shots", 100)
    with pytest.raises(QflowsError, match=word) as caught:
        _buy(core, device, circuit, **given)
    assert "credentials" not in str(caught.value)
    assert not reads.has_jobs(core.ledger)
    assert vendors.admin.count_jobs() == 0


@pytest.mark.parametrize("vendor", VENDORS)
def test_unknown_device_is_refused_before_anything_is_recorded(core: Client, vendors: Sandbox, vendor: str) -> None:
    with pytest.raises(QflowsError, match=r"nobody|nothing|Nothing"):
        _buy(core, UNKNOWN[vendor], bell())
    assert not reads.has_jobs(core.ledger)
    assert vendors.admin.count_jobs() == 0


@pytest.mark.parametrize("vendor", VENDORS)
def test_key_that_the_vendor_does_not_know_buys_nothing_twice(
    env: None, vendors: Sandbox, vendor: str, tmp_path: Path
) -> None:
    core = Client(Settings(home=tmp_path, settle_s=0.2, poll_min_s=0.05))
    vendors.admin.switches(vendor, known_keys="somebody-else")
    try:
        for _ in range(2):
            with pytest.raises(QflowsError) as caught:
                core.result(_buy(core, CHEAPEST[vendor], bell()), timeout=5)
            assert any(word in str(caught.value).lower() for word in ("key", "token", "credential", "401", "403"))
        assert vendors.admin.count_jobs() == 0
    finally:
        vendors.admin.switches(vendor, known_keys="")
        core.ledger.close()
