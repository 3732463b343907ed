"""Gates of a device's own set with their meaning, so that every simulator and compiler can run them. Imports qiskit.

Matrices: docs.ionq.com, "Native gates" (gpi, gpi2, ms, zz; angles in turns); amazon-braket-sdk 1.88.1,
braket/circuits/gates.py (xy, pswap, cphaseshift00, cphaseshift01, cphaseshift10; radians). Braket's own gpi, gpi2, ms
and zz are the same gates with angles in radians.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Gate, Parameter
from qiskit.circuit.library import XXPlusYYGate
from qiskit.quantum_info import Operator

from qflows.programs.gates import NATIVE, in_radians


class NativeGate(Gate):
    """A gate of `gates.NATIVE`; `params` as there."""

    def __init__(self, name: str, params: Sequence[Any]) -> None:
        super().__init__(name, NATIVE[name][0], list(params))

    def _define(self) -> None:
        circuit = QuantumCircuit(self.num_qubits)
        write(
            circuit, self.name, in_radians(self.name, [float(value) for value in self.params]), range(self.num_qubits)
        )
        self.definition = circuit

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        return np.asarray(Operator(cast(QuantumCircuit, self.definition)).data, dtype=dtype)


def generic(name: str) -> NativeGate:
    """The gate with open parameters, as a compiler's target lists it."""
    return NativeGate(name, [Parameter(f"{name}_{place}") for place in range(NATIVE[name][1])])


def write(circuit: QuantumCircuit, name: str, angles: Sequence[float], on: Sequence[int]) -> None:
    """Append the gate in standard gates; `angles` in radians."""
    _WRITTEN_OUT[name](circuit, on, *angles)


def _gpi(circuit: QuantumCircuit, on: Sequence[int], phase: float) -> None:
    circuit.rz(-2 * phase, on[0])
    circuit.x(on[0])


def _gpi2(circuit: QuantumCircuit, on: Sequence[int], phase: float) -> None:
    circuit.r(math.pi / 2, phase, on[0])


def _ms(circuit: QuantumCircuit, on: Sequence[int], first: float, second: float, angle: float = math.pi / 2) -> None:
    circuit.rz(-first, on[0])
    circuit.rz(-second, on[1])
    circuit.rxx(angle, on[0], on[1])
    circuit.rz(first, on[0])
    circuit.rz(second, on[1])


def _zz(circuit: QuantumCircuit, on: Sequence[int], angle: float) -> None:
    circuit.rzz(angle, on[0], on[1])


def _xy(circuit: QuantumCircuit, on: Sequence[int], angle: float) -> None:
    circuit.append(XXPlusYYGate(-angle), on)


def _pswap(circuit: QuantumCircuit, on: Sequence[int], angle: float) -> None:
    circuit.cx(on[0], on[1])
    circuit.p(angle, on[1])
    circuit.cx(on[0], on[1])
    circuit.swap(on[0], on[1])


def _cphase_on(zeros: tuple[int, ...]) -> Callable[..., None]:
    def written(circuit: QuantumCircuit, on: Sequence[int], angle: float) -> None:
        flipped = [on[place] for place in zeros]
        circuit.x(flipped)
        circuit.cp(angle, on[0], on[1])
        circuit.x(flipped)

    return written


_WRITTEN_OUT: dict[str, Callable[..., None]] = {
    "gpi": _gpi,
    "gpi2": _gpi2,
    "ms": _ms,
    "zz": _zz,
    "xy": _xy,
    "pswap": _pswap,
    "cphaseshift00": _cphase_on((0, 1)),
    "cphaseshift01": _cphase_on((0,)),
    "cphaseshift10": _cphase_on((1,)),
}
