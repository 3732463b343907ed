"""qiskit-experiments' own analyses, on results of our backend: they find what the device was made of."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.quantum_info import DensityMatrix, Statevector, state_fidelity
from qiskit_aer import AerSimulator
from scipy.stats import chi2

sys.path.insert(0, str(Path(__file__).parents[1]))

from noise_models import as_calibrated, by_aer_itself, depolarised, infidelity

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


UNDERSTATED = 1.5
"""True scatter of the gate error over the error that the analysis gives, which takes the spread of a few random
sequences as their true spread: 1.3 with ten sequences a length, 1.7 to 2.0 with three (20 seeds each, survival
probabilities from products of the channels, binomial shots). The mean over seeds is the infidelity of the channels.
"""


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("qubit", [0, 3])
def test_error_of_a_gate_on_the_qubit_that_was_asked_for(at: Callable[[str], Any], device: str, qubit: int) -> None:
    backend, shots = backend_of(at, device), 2000
    model = by_aer_itself() if device == "local-noisy" else as_calibrated(depolarised)
    experiment = StandardRB([qubit], [1, 400, 1000, 2500], num_samples=6, seed=7, backend=backend)
    experiment.set_run_options(shots=shots)  # its default, 1024, beats the one of the backend
    experiment.analysis.set_options(gate_error_ratio={"sx": 1.0, "x": 1.0, "rz": 0.0})
    found = experiment.run().block_for_results()
    assert not found.errors(), found.errors()
    _same_as_aer_alone([one["counts"] for one in found.data()], experiment, model, shots)
    fitted = found.analysis_results("EPG_sx", dataframe=True).iloc[0].value
    value, error = float(fitted.nominal_value), UNDERSTATED * float(fitted.std_dev)
    true = infidelity(model, "sx", qubit)
    print(device, qubit, f"EPG of sx {value:.3e} +- {error:.1e}, of the channel {true:.3e}")
    assert abs(value - true) < 3 * error
    assert error < 0.3 * true
    core = backend._origin.holder.client
    for job in core.jobs():
        for item in core.result([job.key]).items:
            assert item.metadata["compiled"]["as_written"] is True
            assert item.metadata["compiled"]["layout"] == list(range(qubit + 1))


def _same_as_aer_alone(ours: list[dict[str, int]], experiment: Any, model: Any, shots: int) -> None:
    """The circuits that the experiment sent, run by Aer with the same noise and nothing of ours in between."""
    circuits = experiment._transpiled_circuits()
    simulator = AerSimulator(noise_model=model)
    theirs = simulator.run(circuits, shots=shots, seed_simulator=5).result()
    off = []
    for place, counts in enumerate(ours):
        a, b = (one.get("1", 0) / shots for one in (counts, theirs.get_counts(place)))
        off.append((a - b) / math.sqrt((a * (1 - a) + b * (1 - b)) / shots))
    print("chi squared", round(sum(np.square(off)), 1), "of", len(off), "circuits")
    assert len(ours) == len(circuits)
    assert chi2.sf(sum(np.square(off)), len(off)) > 1e-4


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
