"""qiskit-algorithms on our primitives: the constructor is all that differs from its own documentation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.circuit.library import efficient_su2, n_local
from qiskit.quantum_info import SparsePauliOp

from .conftest import EVERYWHERE, Place

algorithms = pytest.importorskip("qiskit_algorithms")
optimizers = pytest.importorskip("qiskit_algorithms.optimizers")
gradients = pytest.importorskip("qiskit_algorithms.gradients")
At = Callable[[str], Place]

CUT = SparsePauliOp.from_list([("IZZ", 0.5), ("ZZI", 0.5), ("III", -1.0)])  # a path of three: cut 2
FIELD = SparsePauliOp.from_list([("ZZ", 1.0), ("IX", 0.2)])  # -1 where qubit 0 is 1
ONE_BY_ONE = ("braket-sv1", "qbraid-qir-sv")  # one circuit a job
GROUND = -np.sqrt(1.04)


@pytest.mark.parametrize("device", EVERYWHERE)
def test_vqe_buys_one_call_an_evaluation(at: At, device: str) -> None:
    place = at(device)
    circuit = QuantumCircuit(2)
    circuit.x(0)
    circuit.ry(Parameter("a"), 1)
    found = algorithms.VQE(
        place.estimator(500), circuit, optimizers.COBYLA(maxiter=8, rhobeg=0.6), initial_point=[0.9]
    ).compute_minimum_eigenvalue(FIELD)
    assert found.eigenvalue.real == pytest.approx(-1, abs=0.3 if place.noisy else 0.1)
    per_call = 2 if device in ONE_BY_ONE else 1  # two bases
    assert place.count_jobs() == found.cost_function_evals * per_call


def test_vqe_without_shots_is_exact(at: At) -> None:
    place = at("local-exact")
    found = algorithms.VQE(
        place.estimator(None), efficient_su2(2, reps=1), optimizers.SLSQP(maxiter=60), initial_point=np.full(8, 0.3)
    ).compute_minimum_eigenvalue(FIELD)
    assert found.eigenvalue.real == pytest.approx(GROUND, abs=1e-6)


@pytest.mark.parametrize("device", EVERYWHERE)
def test_sampling_vqe_and_qaoa_find_the_cut(at: At, device: str) -> None:
    place = at(device)
    ansatz = n_local(3, "ry", "cx", reps=1, entanglement="linear")
    sampled = algorithms.SamplingVQE(
        place.sampler(300), ansatz, optimizers.COBYLA(maxiter=3), initial_point=[3.0, 0.0, 0.1, 0.0, 3.1, 0.0]
    ).compute_minimum_eigenvalue(CUT)
    assert sampled.best_measurement["value"] == pytest.approx(-2)
    qaoa = algorithms.QAOA(
        place.sampler(300, label="qaoa"), optimizers.COBYLA(maxiter=3), reps=1, initial_point=[0.6, 0.8]
    )
    found = qaoa.compute_minimum_eigenvalue(CUT)
    assert found.best_measurement["bitstring"] in ("010", "101")
    # of both the distribution at the end is one more call
    assert place.count_jobs() == sampled.cost_function_evals + found.cost_function_evals + 2


@pytest.mark.parametrize("device", ["local-exact", *EVERYWHERE])
def test_vqd_finds_the_first_two_levels(at: At, device: str) -> None:
    place = at(device)
    ising = SparsePauliOp.from_list([("Z", 1.0)])
    ansatz = QuantumCircuit(1)
    ansatz.ry(Parameter("a"), 0)
    found = algorithms.VQD(
        place.estimator(None if device == "local-exact" else 400),
        algorithms.state_fidelities.ComputeUncompute(place.sampler(400)),
        ansatz,
        optimizers.COBYLA(maxiter=14, rhobeg=0.8),
        k=2,
        betas=[4.0],
        initial_point=[np.array([2.0]), np.array([0.8])],
    ).compute_eigenvalues(ising)
    np.testing.assert_allclose(np.real(found.eigenvalues), [-1, 1], atol=0.3 if place.noisy else 0.15)


@pytest.mark.parametrize("device", EVERYWHERE)
def test_amplitude_estimation_is_one_call(at: At, device: str) -> None:
    place = at(device)
    prepare = QuantumCircuit(1)
    prepare.ry(2 * np.arcsin(np.sqrt(0.5)), 0)
    problem = algorithms.EstimationProblem(state_preparation=prepare, objective_qubits=[0])
    found = algorithms.AmplitudeEstimation(2, sampler=place.sampler(500)).estimate(problem)
    assert found.estimation == pytest.approx(0.5, abs=0.05)
    assert place.count_jobs() == 1


@pytest.mark.parametrize("device", EVERYWHERE)
def test_a_gradient_is_one_call_although_it_runs_in_a_thread(at: At, device: str) -> None:
    place = at(device)
    a, b = Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(2)
    circuit.ry(a, 0)
    circuit.cx(0, 1)
    circuit.rx(b, 1)
    found = gradients.ParamShiftEstimatorGradient(place.estimator(2000)).run(
        [circuit], [SparsePauliOp("IZ")], [[0.7, 0.3]]
    )
    np.testing.assert_allclose(found.result().gradients[0], [-np.sin(0.7), 0], atol=0.25 if place.noisy else 0.1)
    assert place.count_jobs() == (4 if device in ONE_BY_ONE else 1)
