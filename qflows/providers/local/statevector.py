"""Exact state vectors of narrow programs, straight from the canonical text.

A VQE evaluates thousands of circuits of a few qubits; rebuilding a qiskit circuit and evolving it there costs several
milliseconds each, more than the whole evaluation here (2 to 4 qubits: below 1 ms, two shared cores). Gate matrices are
qiskit's; the global phase is left out, because no probability or expectation value shows it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qflows.programs import Program
from qflows.programs.gates import NATIVE

Vector = NDArray[np.complex128]
_NOT_GATES = frozenset({"measure", "delay", "barrier", "reset", "id"})  # a reset here is one of an untouched qubit


def state_vector(program: Program) -> Vector:
    """2**n amplitudes before the final measurements, qubit 0 the least significant index bit.

    The program has no mid-circuit measurement, reset or opaque gate; `LocalProvider.check` refuses those.
    """
    n_qubits = program.n_qubits
    state = np.zeros(1 << n_qubits, dtype=np.complex128)
    state[0] = 1.0
    for step in program.instructions:
        if step.name not in _NOT_GATES:
            rows = _rows(n_qubits, step.qubits)
            state[rows] = _matrix(step.name, step.params, len(step.qubits)).dot(state[rows])
    return state


@lru_cache(maxsize=1024)
def _rows(n_qubits: int, qubits: tuple[int, ...]) -> NDArray[np.int64]:
    """State indices, one row per value of the gate's qubits (qubits[0] least significant), one column per rest."""
    rest = [qubit for qubit in range(n_qubits) if qubit not in qubits]
    return _spread(qubits)[:, None] + _spread(rest)[None, :]


def _spread(qubits: tuple[int, ...] | list[int]) -> NDArray[np.int64]:
    values = np.arange(1 << len(qubits))
    return sum(((values >> place & 1) << qubit for place, qubit in enumerate(qubits)), np.zeros_like(values))


def _rx(angle: float) -> Vector:
    cos, sin = math.cos(angle / 2), math.sin(angle / 2)
    return np.array([[cos, -1j * sin], [-1j * sin, cos]])


def _ry(angle: float) -> Vector:
    cos, sin = math.cos(angle / 2), math.sin(angle / 2)
    return np.array([[cos, -sin], [sin, cos]], dtype=np.complex128)


def _rz(angle: float) -> Vector:
    turn = complex(math.cos(angle / 2), math.sin(angle / 2))
    return np.array([[turn.conjugate(), 0], [0, turn]])


# the gates of nearly every ansatz; qiskit's classes take five times as long to build (measured)
_QUICK: dict[str, Callable[[float], Vector]] = {"rx": _rx, "ry": _ry, "rz": _rz}


def _matrix(name: str, params: tuple[float, ...], n_qubits: int) -> Vector:
    if not params:
        return _fixed(name)
    if name in _QUICK:
        return _QUICK[name](*params)
    if name in NATIVE:
        from qflows.programs.native import NativeGate

        return np.asarray(NativeGate(name, params).to_matrix())
    if name == "unitary":
        return np.array(params).view(np.complex128).reshape(1 << n_qubits, 1 << n_qubits)
    return np.asarray(_classes()[name].base_class(*params).to_matrix())


@lru_cache(maxsize=128)
def _fixed(name: str) -> Vector:
    if name == "mcx":
        return _controlled_x(3)
    return np.asarray(_classes()[name].base_class().to_matrix())


def _controlled_x(n_controls: int) -> Vector:
    """X on the last qubit when all others are 1."""
    target, both = 1 << n_controls, (1 << n_controls) - 1
    matrix = np.eye(2 * target, dtype=np.complex128)
    matrix[[both, both + target]] = matrix[[both + target, both]]
    return matrix


@lru_cache(maxsize=1)
def _classes() -> dict[str, Any]:
    from qiskit.circuit.library import get_standard_gate_name_mapping

    return get_standard_gate_name_mapping()
