"""Problems: frozen lists against exact diagonalisation, and ansatz circuits that reach the reference."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from qiskit.quantum_info import SparsePauliOp, Statevector
from scipy.linalg import expm

from qflows.algorithms.optimizers import minimize
from qflows.algorithms.problems import (
    PROBLEMS,
    Problem,
    Rotation,
    ansatz,
    initial_point,
    problem,
    problem_from_operator,
)
from qflows.errors import ProgramRejected
from qflows.programs.expectations import expectation_exact
from qflows.programs.observables import observable

REFERENCES = {  # hartree, of the literature values that the frozen lists must give back
    "h2-0.735": -1.137306036,
    "h2-0.7414": -1.137270175,
    "lih-1.5949": -7.881146469,
}
CHAINS = {"tfim-4": -4.758770483, "tfim-6": -7.296229811, "tfim-8": -9.837951447}


def matrix(terms) -> np.ndarray:
    return SparsePauliOp.from_list(list(terms)).to_matrix()


def energy_of(item: Problem):
    """Exact energy as a function of the ansatz's parameters."""
    circuit, target = ansatz(item), observable(item.hamiltonian)

    def energy(point) -> float:
        return expectation_exact(Statevector(circuit.assign_parameters(point)).data, target) + item.offset

    return energy


@pytest.mark.parametrize("name", REFERENCES)
def test_frozen_list_diagonalises_to_the_published_energy(name):
    item = problem(name)
    lowest = np.linalg.eigvalsh(matrix(item.hamiltonian))[0] + item.offset_hartree
    assert lowest == pytest.approx(REFERENCES[name], abs=1e-8)
    assert item.reference_energy == pytest.approx(lowest, abs=1e-10)


@pytest.mark.parametrize("name", CHAINS)
def test_chain_diagonalises_to_the_closed_form(name):
    item = problem(name)
    lowest = np.linalg.eigvalsh(matrix(item.hamiltonian))[0]
    assert lowest == pytest.approx(CHAINS[name], abs=1e-9)
    assert item.reference_energy == pytest.approx(lowest, abs=1e-9)


def test_h2_has_five_terms_and_lih_one_hundred():
    assert [len(problem(name).hamiltonian) for name in REFERENCES] == [5, 5, 100]
    assert [problem(name).n_qubits for name in REFERENCES] == [2, 2, 4]
    assert dict(problem("h2-0.735").constants)["nuclear_repulsion"] == pytest.approx(0.719968994, abs=1e-9)
    assert set(dict(problem("lih-1.5949").constants)) == {"nuclear_repulsion", "frozen_core"}


@pytest.mark.parametrize("name", PROBLEMS)
def test_hamiltonian_is_already_canonical(name):
    item = problem(name)
    assert observable(item.hamiltonian).terms == item.hamiltonian
    assert item.source


@pytest.mark.parametrize("name", REFERENCES)
def test_start_of_a_molecule_is_hartree_fock(name):
    item = problem(name)
    assert energy_of(item)(initial_point(item)) == pytest.approx(item.hartree_fock_energy, abs=1e-9)


def test_h2_hartree_fock_energy_is_the_published_one():
    assert problem("h2-0.735").hartree_fock_energy == pytest.approx(-1.116998997, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "budget"), [("h2-0.735", 20), ("h2-0.7414", 20), ("lih-1.5949", 200), ("tfim-4", 400)]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_default_run_reaches_the_reference_within_its_budget(name, budget, seed):
    item = problem(name)
    result = minimize(energy_of(item), initial_point(item, seed), seed=seed)
    assert result.fun == pytest.approx(item.reference_energy, abs=1e-6)
    assert result.n_evaluations <= budget


@pytest.mark.parametrize("name", ["h2-0.735", "lih-1.5949", "tfim-3"])
def test_circuit_applies_the_rotations_it_lists(name):
    item = problem(name)
    point = np.random.default_rng(3).uniform(-2, 2, ansatz(item).num_parameters)
    letters = {"0": [1, 0], "1": [0, 1], "+": [0.5**0.5, 0.5**0.5]}
    expected = np.array([1.0 + 0j])
    for letter in item.reference_state:
        expected = np.kron(expected, letters[letter])
    for rotation in item.rotations:
        angle = rotation.factor * point[rotation.parameter]
        expected = expm(-0.5j * angle * matrix([(rotation.label, 1.0)])) @ expected
    actual = Statevector(ansatz(item).assign_parameters(point)).data
    assert abs(np.vdot(expected, actual)) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("name", [*PROBLEMS, "tfim-13"])
def test_parameters_come_in_index_order_and_match_the_start(name):
    item = problem(name)
    circuit = ansatz(item)
    assert [str(p) for p in circuit.parameters] == [f"theta[{i}]" for i in range(circuit.num_parameters)]
    assert initial_point(item).shape == (circuit.num_parameters,)
    assert {"x", "h", "s", "sdg", "cx", "rz"} >= set(circuit.count_ops())


def test_start_depends_on_the_seed_alone():
    chain = problem("tfim-4")
    assert np.array_equal(initial_point(chain, 5), initial_point(chain, 5))
    assert not np.array_equal(initial_point(chain, 5), initial_point(chain, 6))


@pytest.mark.parametrize("name", ["h2", "tfim-1", "tfim-0", "tfim-04", "tfim-1000", "tfim-x", "../secret", ""])
def test_unknown_name_is_rejected_with_the_known_ones(name):
    with pytest.raises(ProgramRejected, match="lih-1.5949 and tfim-N"):
        problem(name)


def test_operator_of_the_user_becomes_a_problem_with_its_ground_energy():
    operator = SparsePauliOp.from_list([("XZ", 0.5), ("ZI", -1.0), ("XZ", 0.5)])
    item = problem_from_operator(operator)
    assert item.hamiltonian == (("XZ", 1.0), ("ZI", -1.0))
    assert item.reference_energy == pytest.approx(-(2**0.5))
    assert item.offset == 0.0
    assert problem_from_operator(observable(operator), name="operator").hamiltonian == item.hamiltonian


@pytest.mark.parametrize(
    ("terms", "qubits"),
    [([("Z", 1.0), ("X", 0.5)], 1), ([("XY", 1.0), ("IZ", 0.3)], 2), ([("ZZI", 1.0), ("IXX", 0.7)], 3)],
)
def test_hardware_efficient_ansatz_finds_small_ground_states(terms, qubits):
    item = problem_from_operator(terms)
    circuit = ansatz(item)
    assert circuit.num_qubits == qubits
    result = minimize(energy_of(item), initial_point(item, 1), seed=1)
    assert result.fun == pytest.approx(item.reference_energy, abs=1e-5)


def test_wide_operator_has_no_reference():
    assert problem_from_operator([("Z" * 14, 1.0)]).reference_energy is None


@pytest.mark.parametrize("terms", [[], [("X", 1j)], [("XX", 1.0), ("X", 1.0)], [("A", 1.0)], [("X", float("nan"))]])
def test_bad_operator_is_rejected(terms):
    with pytest.raises(ProgramRejected):
        problem_from_operator(terms)


def test_rotation_defaults_to_the_plain_angle():
    assert Rotation("XY", 0).factor == 1.0


def test_importing_the_numerics_loads_no_qiskit():
    code = (
        "import sys, qflows.algorithms.problems, qflows.programs.observables, qflows.algorithms.optimizers\n"
        "print([name for name in ('qiskit', 'scipy', 'prefect') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
