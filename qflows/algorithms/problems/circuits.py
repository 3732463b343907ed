"""Ansatz circuits and starting points: few parameters, because every evaluation is a paid job."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

    from qflows.algorithms.problems import Problem

PARAMETERS = "theta"
# spread of the seeded part of a starting point, in radians
_CHAIN_JITTER = 0.02
_HARDWARE_SPREAD = 1.0
# largest angle of the annealing ramp; 1.4 took the fewest evaluations of 0.8 to 2.0 that worked for every seed tried
_CHAIN_STEP = 1.4


@dataclass(frozen=True)
class Rotation:
    """exp(-i * factor * theta[parameter] / 2 * label); `label` has qubit 0 rightmost."""

    label: str
    parameter: int
    factor: float = 1.0


def ansatz(problem: Problem) -> QuantumCircuit:
    """The problem's trial state, without measurement; parameters `theta[0]`, `theta[1]`, ... in that order.

    Gates are x, h, s, sdg, cx, rz and, for a user's operator, ry: every vendor has them. The molecules start at
    Hartree-Fock and can reach the ground state exactly; so can Ising chains of up to 4 sites, from |+...+> (with
    6 sites the best run measured ended 1e-7 above it). A user's operator gets a hardware-efficient circuit, which
    may or may not reach it.
    """
    from qiskit import QuantumCircuit
    from qiskit.circuit import ParameterVector

    if not problem.rotations:
        return _hardware_efficient(problem)
    circuit = QuantumCircuit(problem.n_qubits, name=f"ansatz-{problem.name}")
    for qubit, letter in enumerate(reversed(problem.reference_state)):
        if letter == "1":
            circuit.x(qubit)
        elif letter == "+":
            circuit.h(qubit)
    theta = ParameterVector(PARAMETERS, _n_parameters(problem))
    for rotation in problem.rotations:
        _rotate(circuit, rotation.label, rotation.factor * theta[rotation.parameter])
    return circuit


def initial_point(problem: Problem, seed: int = 0) -> NDArray[np.float64]:
    """The optimizer's starting point, in radians, in the order of the ansatz's parameters.

    Molecules start at Hartree-Fock, all zeros, whatever the seed. Ising chains start on an annealing ramp with a
    small seeded jitter (the symmetric point of all zeros has no gradient); other operators at seeded random angles.
    """
    n = _n_parameters(problem)
    if problem.rotations and "+" not in problem.reference_state:
        return np.zeros(n)
    generator = np.random.Generator(np.random.PCG64(seed))
    if not problem.rotations:
        return generator.uniform(-_HARDWARE_SPREAD, _HARDWARE_SPREAD, n)
    sites = problem.n_qubits
    layers = n // sites
    ramp = (np.arange(layers)[:, np.newaxis] + 0.5) / layers
    is_bond = np.arange(sites) < sites // 2
    start = _CHAIN_STEP * np.where(is_bond, ramp, 1.0 - ramp).ravel()
    return start + generator.uniform(-_CHAIN_JITTER, _CHAIN_JITTER, n)


def _n_parameters(problem: Problem) -> int:
    if problem.rotations:
        return 1 + max(rotation.parameter for rotation in problem.rotations)
    return problem.n_qubits * (_layers(problem) + 1) * (1 if _is_real(problem) else 2)


def _is_real(problem: Problem) -> bool:
    """True if the matrix is real: then real amplitudes suffice, with half of the parameters."""
    return all(label.count("Y") % 2 == 0 for label, _ in problem.hamiltonian)


def _layers(problem: Problem) -> int:
    return 0 if problem.n_qubits == 1 else min(problem.n_qubits, 6)


def _hardware_efficient(problem: Problem) -> QuantumCircuit:
    """Layers of ry (and rz for a complex operator) on every qubit, with a line of cx between them."""
    from qiskit import QuantumCircuit
    from qiskit.circuit import ParameterVector

    qubits = range(problem.n_qubits)
    circuit = QuantumCircuit(problem.n_qubits, name=f"ansatz-{problem.name}")
    theta = iter(ParameterVector(PARAMETERS, _n_parameters(problem)))
    for layer in range(_layers(problem) + 1):
        if layer:
            for qubit in qubits[:-1]:
                circuit.cx(qubit, qubit + 1)
        for gate in (circuit.ry,) if _is_real(problem) else (circuit.ry, circuit.rz):
            for qubit in qubits:
                gate(next(theta), qubit)
    return circuit


def _rotate(circuit: QuantumCircuit, label: str, angle: Any) -> None:
    """Append exp(-i angle/2 label): into the Z basis, parity onto the last qubit, rz, and back."""
    letters = {qubit: letter for qubit, letter in enumerate(reversed(label)) if letter != "I"}
    qubits = sorted(letters)
    for qubit, letter in letters.items():
        if letter == "Y":
            circuit.sdg(qubit)
        if letter != "Z":
            circuit.h(qubit)
    pairs = list(pairwise(qubits))
    for control, target in pairs:
        circuit.cx(control, target)
    circuit.rz(angle, qubits[-1])
    for control, target in reversed(pairs):
        circuit.cx(control, target)
    for qubit, letter in letters.items():
        if letter != "Z":
            circuit.h(qubit)
        if letter == "Y":
            circuit.s(qubit)
