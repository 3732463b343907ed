"""Gradients of expectation values by parameter shifts: exact on average, whatever the shot noise.

For a rotation exp(-i a P / 2) with P² = 1, dE/da = (E(a + π/2) - E(a - π/2)) / 2 (Schuld et al., Phys. Rev. A 99,
032331 (2019)). A parameter that enters several gates, or with a factor, gets the sum over its gates (chain rule).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qflows.errors import ProgramRejected
from qflows.programs.panics import refused_if_qiskit_panics

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

_ROTATIONS = ("rx", "ry", "rz")
_BASIS = (*_ROTATIONS, "h", "x", "y", "z", "s", "sdg", "t", "tdg", "sx", "sxdg", "cx", "cz", "swap")


@dataclass(frozen=True)
class ShiftRule:
    """`circuit` equals the ansatz, with a separate angle for each rotation; `angles` are those as expressions."""

    circuit: QuantumCircuit
    parameters: tuple[Any, ...]
    angles: tuple[Any, ...]

    @property
    def n_evaluations(self) -> int:
        """Number of circuits for one gradient."""
        return 2 * len(self.angles)

    def shifted(self, point: NDArray[np.float64]) -> list[list[float]]:
        """Values of `circuit.parameters`: for every angle in turn, once with π/2 more and once with π/2 less."""
        base = [_number(angle, self._bound(angle, point)) for angle in self.angles]
        rows = []
        for place in range(len(base)):
            for shift in (pi / 2, -pi / 2):
                row = list(base)
                row[place] += shift
                rows.append(row)
        return rows

    def gradient(self, point: NDArray[np.float64], values: list[float]) -> NDArray[np.float64]:
        """Derivatives with respect to the ansatz's parameters, from the values of `shifted(point)` in the same
        order."""
        found = np.zeros(len(self.parameters))
        for place, angle in enumerate(self.angles):
            slope = (values[2 * place] - values[2 * place + 1]) / 2
            bound = self._bound(angle, point)
            for index, parameter in enumerate(self.parameters):
                if parameter in angle.parameters:
                    found[index] += slope * _number(angle.gradient(parameter), bound)
        return found

    def _bound(self, angle: Any, point: NDArray[np.float64]) -> dict[Any, float]:
        return {one: float(x) for one, x in zip(self.parameters, point, strict=True) if one in angle.parameters}


def shift_rule(ansatz: QuantumCircuit) -> ShiftRule:
    """The rule for a circuit without measurements.

    Raises ProgramRejected if a gate cannot be written as rotations.
    """
    from qiskit import QuantumCircuit, transpile
    from qiskit.circuit import ParameterExpression, ParameterVector
    from qiskit.exceptions import QiskitError

    try:
        with refused_if_qiskit_panics(ansatz.name):
            plain = transpile(ansatz, basis_gates=list(_BASIS), optimization_level=0)
    except QiskitError as error:
        raise ProgramRejected(f"cannot compute parameter shifts for {ansatz.name}: {str(error)[:300]}") from None
    angles = []
    for item in plain.data:
        if any(isinstance(one, ParameterExpression) and one.parameters for one in item.operation.params):
            if item.operation.name not in _ROTATIONS:
                raise ProgramRejected(f"no parameter shifts for gate {item.operation.name} of {ansatz.name}")
            angles.append(item.operation.params[0])
    own = ParameterVector("angle", len(angles))
    circuit = QuantumCircuit(plain.num_qubits, name=f"{ansatz.name} shifted")
    place = 0
    for item in plain.data:
        operation = item.operation
        if any(isinstance(one, ParameterExpression) and one.parameters for one in operation.params):
            operation = type(operation.base_class(0.0))(own[place])
            place += 1
        circuit.append(operation, [plain.find_bit(qubit).index for qubit in item.qubits])
    return ShiftRule(circuit, tuple(ansatz.parameters), tuple(angles))


def _number(expression: Any, bound: dict[Any, float]) -> float:
    """The value of an expression; constant derivatives are already plain numbers."""
    if not hasattr(expression, "parameters"):
        return float(expression)
    return float(expression.bind({one: x for one, x in bound.items() if one in expression.parameters}))
