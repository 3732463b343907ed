"""mthree on our backend and mitiq on our executor, where these libraries are installed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from qiskit import QuantumCircuit, transpile

from qflows.errors import ProgramRejected
from qflows.primitives import Backend, mitiq_executor

from .conftest import Place

At = Callable[[str], Place]


def test_mthree_calibrates_and_corrects_on_our_backend(at: At) -> None:
    mthree = pytest.importorskip("mthree")
    place = at("local-noisy")
    backend = Backend("local-noisy", shots=8000, run_key="study", client=place.core)
    circuit = QuantumCircuit(2)
    circuit.x([0, 1])
    circuit.measure_all()
    counts = backend.run(transpile(circuit, backend, initial_layout=[0, 1])).result().get_counts()
    corrector = mthree.M3Mitigation(backend)
    corrector.cals_from_system([0, 1], shots=8000)
    found = corrector.apply_correction(counts, [0, 1])
    assert counts["11"] / 8000 < 0.96
    assert found["11"] == pytest.approx(1, abs=0.015)
    assert place.count_jobs() == 2  # the circuit, and all calibrations


def mirrored() -> QuantumCircuit:
    """Gates and their inverse, so that Z of every qubit is 1 without noise."""
    circuit = QuantumCircuit(2)
    for _ in range(6):
        circuit.rx(0.4, 0)
        circuit.cx(0, 1)
    return circuit.compose(circuit.inverse())  # type: ignore[return-value]


def test_what_is_folded_keeps_its_noise_and_is_one_job(at: At) -> None:
    place = at("local-noisy")
    execute = mitiq_executor("local-noisy", "ZZ", shots=8000, run_key="study", client=place.core)
    once = mirrored()
    thrice = once.compose(once.inverse()).compose(once)  # type: ignore[union-attr]
    values = execute([once, thrice])
    assert place.count_jobs() == 1
    assert values[1] < values[0] - 0.1
    measured = once.measure_all(inplace=False)
    with pytest.raises(ProgramRejected, match="has measurements"):
        execute([measured])


def test_mitiq_extrapolates_with_one_job(at: At) -> None:
    zne = pytest.importorskip("mitiq.zne")
    place = at("local-noisy")
    execute = mitiq_executor("local-noisy", "ZZ", shots=20_000, run_key="study", client=place.core)
    raw = execute([mirrored()])[0]
    assert execute.__annotations__["return"] == list[float]
    factory = zne.inference.LinearFactory([1.0, 3.0])
    better = zne.execute_with_zne(mirrored(), execute, factory=factory)
    assert abs(better - 1) < abs(raw - 1) / 1.5
    assert np.isfinite(better)
    assert place.count_jobs() == 2  # the raw value, and all factors
