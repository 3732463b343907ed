"""qiskit-experiments on every device: its fits see an ideal simulator as ideal, and the emulated IBM device as the
snapshot that it is made of; lifetimes are refused where delays are not kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.exceptions import QiskitError
from qiskit.quantum_info import DensityMatrix, Statevector, state_fidelity
from qiskit.transpiler import CouplingMap

from qflows.primitives import Backend

from .conftest import EVERYWHERE, Place

pytest.importorskip("qiskit_experiments")

from qiskit_experiments.framework import BaseExperiment, ExperimentData
from qiskit_experiments.library import T1, StandardRB, StateTomography

At = Callable[[str], Place]
DEVICES = ["local-exact", "local-noisy", *EVERYWHERE]
NOISY = ("local-noisy", "ibm-sandbox")  # both FakeManilaV2
LENGTHS = [1, 10, 25, 50]
WITHOUT_DELAYS = ["ionq-simulator", "braket-sv1", "qbraid-qir-sv"]


def backend_of(place: Place, shots: int = 1000) -> Backend:
    return Backend(place.device, shots=shots, run_key="study", client=place.core)


def found_by(experiment: BaseExperiment, backend: Any = None) -> ExperimentData:
    found = experiment.run(backend).block_for_results()
    assert not found.errors(), found.errors()
    return found


@pytest.mark.parametrize("device", DEVICES)
def test_tomography_finds_the_state(at: At, device: str) -> None:
    prepared = QuantumCircuit(2)
    prepared.ry(0.8, 0)
    prepared.ry(2.0, 1)
    prepared.cx(0, 1)
    prepared.s(1)
    found = found_by(StateTomography(prepared, physical_qubits=[0, 1], backend=backend_of(at(device))))
    state = DensityMatrix(found.analysis_results("state", dataframe=True).iloc[0].value)
    fidelity = float(state_fidelity(state, Statevector(prepared)))
    print(f"{device}: fidelity {fidelity:.4f}")
    assert fidelity > (0.85 if device in NOISY else 0.97)


@pytest.mark.parametrize("device", DEVICES)
def test_error_per_clifford_of_two_qubits_is_the_snapshot_s_or_none(at: At, device: str) -> None:
    experiment = StandardRB([0, 1], LENGTHS, num_samples=5, seed=3, backend=backend_of(at(device)))
    if device not in NOISY:
        # nothing decays, so that there is nothing to fit: every sequence comes back
        found = experiment.run(analysis=None).block_for_results()
        assert not found.errors(), found.errors()
        assert all(set(one["counts"]) == {"00"} for one in found.data())
        return
    mine = found_by(experiment).analysis_results("EPC", dataframe=True).iloc[0].value
    from qiskit_ibm_runtime.fake_provider import FakeManilaV2

    same = StandardRB([0, 1], LENGTHS, num_samples=5, seed=3, backend=FakeManilaV2())
    theirs = found_by(same).analysis_results("EPC", dataframe=True).iloc[0].value
    apart = abs(mine.nominal_value - theirs.nominal_value)
    u = math.hypot(mine.std_dev, theirs.std_dev)
    print(f"{device}: EPC {mine:.1uS}, the snapshot's own {theirs:.1uS}, {apart / u:.2f} u apart")
    assert apart < 3 * u  # shots are drawn anew each time: 2 u would fail one run in twenty
    assert mine.std_dev < 0.3 * mine.nominal_value


@pytest.mark.parametrize("device", WITHOUT_DELAYS)
def test_lifetime_is_refused_where_delays_are_not_kept(at: At, device: str) -> None:
    place = at(device)
    experiment = T1([0], np.linspace(1e-6, 3e-4, 5), backend=backend_of(place))
    with pytest.raises(QiskitError, match="delay"):
        experiment.run()
    untouched = experiment.circuits()
    with pytest.raises(QiskitError, match="delay"):  # nor when they come past the compiler
        backend_of(place).run(untouched)
    assert place.count_jobs() == 0


@pytest.mark.parametrize("device", [one for one in DEVICES if one not in NOISY])
def test_circuit_placed_for_another_device_runs_where_qubits_are_alike(at: At, device: str) -> None:
    circuit = QuantumCircuit(2)
    circuit.x(0)
    circuit.measure_all()
    placed = transpile(circuit, coupling_map=CouplingMap.from_line(7), initial_layout=[5, 2], basis_gates=["x", "cx"])
    found = at(device).sampler(30).run([placed]).result()[0]
    assert found.data.meas.get_counts() == {"01": 30}
