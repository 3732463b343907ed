"""qiskit-experiments' own analyses, on results of our backend: they find what the device was made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.quantum_info import DensityMatrix, Statevector, state_fidelity

from qflows.primitives import Backend

pytest.importorskip("qiskit_experiments")

from qiskit_experiments.library import T1, StandardRB, StateTomography, T2Ramsey

DEVICES = ("local-noisy", "ibm-sandbox")  # both with the calibration of FakeManilaV2


@pytest.fixture
def calibration() -> Any:
    from qiskit_ibm_runtime.fake_provider import FakeManilaV2

    return FakeManilaV2()


def backend_of(at: Callable[[str], Any], device: str, shots: int = 2000) -> Backend:
    place = at(device)
    return Backend(device, shots=shots, run_key="study", client=place.core)


def measured(experiment: Any, name: str) -> tuple[float, float]:
    """One result and its standard error, in SI units."""
    found = experiment.run().block_for_results()
    assert not found.errors(), found.errors()
    value = found.analysis_results(name, dataframe=True).iloc[0].value
    return float(value.nominal_value), float(value.std_dev)


@pytest.mark.parametrize("device", DEVICES)
def test_lifetime(at: Callable[[str], Any], calibration: Any, device: str) -> None:
    true = calibration.properties().t1(0)
    delays = np.linspace(1e-6, 3 * true, 12)
    value, error = measured(T1([0], delays, backend=backend_of(at, device)), "T1")
    print(device, f"T1 {value * 1e6:.1f} +- {error * 1e6:.1f} us, calibrated {true * 1e6:.1f}")
    assert abs(value - true) < 3 * error
    assert error < 0.15 * true


@pytest.mark.parametrize("device", DEVICES)
def test_coherence(at: Callable[[str], Any], calibration: Any, device: str) -> None:
    true = calibration.properties().t2(0)
    delays = np.linspace(1e-6, 2 * true, 30)
    value, error = measured(T2Ramsey([0], delays, osc_freq=30e3, backend=backend_of(at, device)), "T2star")
    print(device, f"T2* {value * 1e6:.1f} +- {error * 1e6:.1f} us, calibrated {true * 1e6:.1f}")
    assert abs(value - true) < 3 * error
    assert error < 0.15 * true


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("qubit", [0, 3])
def test_error_of_a_gate_on_the_qubit_that_was_asked_for(
    at: Callable[[str], Any], calibration: Any, device: str, qubit: int
) -> None:
    backend = backend_of(at, device)
    experiment = StandardRB([qubit], [1, 500, 1000, 2000, 3500], num_samples=3, seed=7, backend=backend)
    experiment.analysis.set_options(gate_error_ratio={"sx": 1.0, "x": 1.0, "rz": 0.0})
    value, error = measured(experiment, "EPG_sx")
    true = calibration.target["sx"][(qubit,)].error
    print(device, qubit, f"EPG of sx {value:.2e} +- {error:.1e}, calibrated {true:.2e}")
    assert abs(value - true) < 3 * error
    assert error < 0.3 * true
    core = backend._origin.holder.client
    for job in core.jobs():
        for item in core.result([job.key]).items:
            assert item.metadata["compiled"]["as_written"] is True
            assert item.metadata["compiled"]["layout"] == list(range(qubit + 1))


@pytest.mark.parametrize("device", DEVICES)
def test_state(at: Callable[[str], Any], device: str) -> None:
    prepared = QuantumCircuit(2)
    prepared.ry(0.8, 0)
    prepared.ry(2.0, 1)
    prepared.cx(0, 1)
    prepared.s(1)
    experiment = StateTomography(prepared, physical_qubits=[0, 1], backend=backend_of(at, device))
    found = experiment.run().block_for_results()
    assert not found.errors(), found.errors()
    state = DensityMatrix(found.analysis_results("state", dataframe=True).iloc[0].value)
    fidelity = float(state_fidelity(state, Statevector(prepared)))
    flipped = float(state_fidelity(state, Statevector(prepared.reverse_bits())))
    print(device, f"fidelity {fidelity:.3f}; with qubits exchanged {flipped:.3f}")
    assert fidelity > 0.85  # readout errors of 3.5 and 2.2 % are in it
    assert fidelity > flipped + 0.3
