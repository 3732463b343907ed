"""Molecules by the drop-in estimator in an ordinary loop, and QAOA on a ring, against what is known."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit.quantum_info import SparsePauliOp
from scipy import optimize

from qflows.algorithms.problems import ansatz, problem
from qflows.algorithms.qaoa import maxcut, solve_qaoa
from qflows.core.client import Client
from qflows.core.scope import script_scope
from qflows.primitives import EstimatorV2


@pytest.mark.parametrize("name", ["h2-0.735", "lih-1.5949"])
def test_a_loop_on_the_drop_in_estimator_finds_the_energy_of_a_molecule(core: Client, name: str) -> None:
    molecule = problem(name)
    circuit, operator = ansatz(molecule), SparsePauliOp.from_list(list(molecule.hamiltonian))
    exact = EstimatorV2("local-exact", run_key="exact", client=core)

    def energy(point: np.ndarray) -> float:
        return float(exact.run([(circuit, operator, point)]).result()[0].data.evs)

    start = np.zeros(circuit.num_parameters)
    found = optimize.minimize(energy, start, method="SLSQP", options={"ftol": 1e-12, "maxiter": 100})
    assert found.fun + molecule.offset == pytest.approx(molecule.reference_energy, abs=1e-6)
    sampler = EstimatorV2("local-aer", shots=20_000, run_key="shots", client=core)
    data = sampler.run([(circuit, operator, found.x)]).result()[0].data
    assert abs(float(data.evs) + molecule.offset - molecule.reference_energy) < 3.5 * float(data.stds)


def test_qaoa_of_one_layer_cuts_three_quarters_of_a_ring(core: Client) -> None:
    ring = [(n, (n + 1) % 6) for n in range(6)]
    found = solve_qaoa(core, script_scope("ring"), maxcut(ring), device="local-exact", shots=None, seed=1)
    assert -found.cost / 6 == pytest.approx(0.75, abs=1e-6)
