"""A rule in place of a device: chosen once when a primitive is made, and for all that it buys."""

from __future__ import annotations

from pathlib import Path

import pytest
from qiskit import QuantumCircuit

import qflows
from qflows.core.client import Client
from qflows.errors import ProgramRejected
from qflows.ledger import choices
from qflows.primitives import SamplerV2
from qflows.settings import Settings


def test_primitive_keeps_the_device_that_was_chosen_when_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QFLOWS_HOME", str(tmp_path))
    core = Client(Settings(home=tmp_path))
    circuit = QuantumCircuit(1)
    circuit.x(0)
    circuit.measure_all()
    sampler = SamplerV2("best(local-noisy, local-aer; error>0)", run_key="night", client=core)
    assert sampler.device == "local-noisy"
    assert sum(sampler.run([circuit], shots=20).result()[0].data.meas.get_counts().values()) == 20
    backend = qflows.Backend("least_busy(local-braket, local-aer)", run_key="night", client=core)
    assert (backend.device, backend.name) == ("local-braket", "local-braket")
    assert [one.device for one in choices.of_runs(core.ledger, ["night"])] == ["local-noisy", "local-braket"]
    with pytest.raises(ProgramRejected, match=r"qflows\.choose"):
        SamplerV2("cheapest(local-aer)", run_key="night", client=core)
    assert qflows.choose("cheapest(local-braket, local-aer)", circuit, shots=10, run_key="night") == "local-braket"
    assert qflows.choose("local-aer", run_key="night") == "local-aer"
