"""Braket's built-in OpenQASM gates as matrices. The FIRST target is the most significant bit of a matrix index.

Meanings: docs.aws.amazon.com/braket, "Supported gates"; angles in radians. A test compares every matrix with
amazon-braket-default-simulator 1.41.2.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from qflows.sandbox.errors import WorkError
from qflows.sandbox.statevector import Array, Op

_R = 1 / math.sqrt(2)
_X = np.array([[0, 1], [1, 0]], dtype=complex)
_Y = np.array([[0, -1j], [1j, 0]])
_Z = np.diag([1, -1]).astype(complex)
_V = np.array([[1 + 1j, 1 - 1j], [1 - 1j, 1 + 1j]]) / 2


def _phase(angle: float) -> complex:
    return cmath.exp(1j * angle)


def _rotation(pauli: Array, angle: float) -> Array:
    return math.cos(angle / 2) * np.eye(len(pauli)) - 1j * math.sin(angle / 2) * pauli


def _prx(angle: float, axis: float) -> Array:
    return _rotation(math.cos(axis) * _X + math.sin(axis) * _Y, angle)


def _gpi(phase: float) -> Array:
    return np.array([[0, _phase(-phase)], [_phase(phase), 0]])


def _ms(first: float, second: float, angle: float = math.pi / 2) -> Array:
    return _rotation(np.kron(_gpi(first), _gpi(second)), angle)


def _u(theta: float, phi: float, lam: float) -> Array:
    c, s = math.cos(theta / 2), math.sin(theta / 2)
    return np.array([[c, -_phase(lam) * s], [_phase(phi) * s, _phase(phi + lam) * c]])


def _inner(block: Array) -> Array:
    """A matrix on two qubits that acts on |01>, |10> only."""
    whole = np.eye(4, dtype=complex)
    whole[1:3, 1:3] = block
    return whole


def _xy(angle: float) -> Array:
    c, s = math.cos(angle / 2), 1j * math.sin(angle / 2)
    return _inner(np.array([[c, s], [s, c]]))


def _cphase(place: int) -> Callable[[float], Array]:
    def matrix(angle: float) -> Array:
        values = np.ones(4, dtype=complex)
        values[place] = _phase(angle)
        return np.diag(values)

    return matrix


def _controlled(matrix: Array) -> Array:
    whole = np.eye(2 * len(matrix), dtype=complex)
    whole[len(matrix) :, len(matrix) :] = matrix
    return whole


_SWAP = _inner(_X)
_CNOT = _controlled(_X)
_ECR = np.array([[0, 0, 1, 1j], [0, 0, 1j, 1], [1, -1j, 0, 0], [-1j, 1, 0, 0]]) * _R

# name -> (targets, angles, matrix of the angles)
GATES: dict[str, tuple[int, int, Callable[..., Any]]] = {
    "i": (1, 0, lambda: np.eye(2)),
    "h": (1, 0, lambda: np.array([[1, 1], [1, -1]]) * _R),
    "x": (1, 0, lambda: _X),
    "y": (1, 0, lambda: _Y),
    "z": (1, 0, lambda: _Z),
    "s": (1, 0, lambda: np.diag([1, 1j])),
    "si": (1, 0, lambda: np.diag([1, -1j])),
    "t": (1, 0, lambda: np.diag([1, _phase(math.pi / 4)])),
    "ti": (1, 0, lambda: np.diag([1, _phase(-math.pi / 4)])),
    "v": (1, 0, lambda: _V),
    "vi": (1, 0, lambda: _V.conj().T),
    "rx": (1, 1, lambda a: _rotation(_X, a)),
    "ry": (1, 1, lambda a: _rotation(_Y, a)),
    "rz": (1, 1, lambda a: _rotation(_Z, a)),
    "phaseshift": (1, 1, lambda a: np.diag([1, _phase(a)])),
    "prx": (1, 2, _prx),
    "gpi": (1, 1, _gpi),
    "gpi2": (1, 1, lambda a: _rotation(_gpi(a), math.pi / 2)),
    "U": (1, 3, _u),
    "cnot": (2, 0, lambda: _CNOT),
    "cv": (2, 0, lambda: _controlled(_V)),
    "cy": (2, 0, lambda: _controlled(_Y)),
    "cz": (2, 0, lambda: _controlled(_Z)),
    "ecr": (2, 0, lambda: _ECR),
    "cphaseshift": (2, 1, _cphase(3)),
    "cphaseshift00": (2, 1, _cphase(0)),
    "cphaseshift01": (2, 1, _cphase(1)),
    "cphaseshift10": (2, 1, _cphase(2)),
    "swap": (2, 0, lambda: _SWAP),
    "iswap": (2, 0, lambda: _inner(1j * _X)),
    "pswap": (2, 1, lambda a: _inner(_phase(a) * _X)),
    "xy": (2, 1, _xy),
    "xx": (2, 1, lambda a: _rotation(np.kron(_X, _X), a)),
    "yy": (2, 1, lambda a: _rotation(np.kron(_Y, _Y), a)),
    "zz": (2, 1, lambda a: _rotation(np.kron(_Z, _Z), a)),
    "ms": (2, 3, _ms),
    "ccnot": (3, 0, lambda: _controlled(_CNOT)),
    "cswap": (3, 0, lambda: _controlled(_SWAP)),
}


def operation(name: str, angles: list[float], qubits: list[int]) -> Op:
    """The gate as an operation of the simulator, whose targets start at the least significant bit."""
    if name not in GATES:
        raise WorkError("UnsupportedGate", f"gate {name} is not built in")
    return Op(np.asarray(GATES[name][2](*angles), dtype=complex), tuple(reversed(qubits)))
