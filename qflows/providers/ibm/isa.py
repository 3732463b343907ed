"""Whether a circuit is in a device's own gates, on pairs that are coupled (IBM calls it an ISA circuit)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qiskit import QuantumCircuit
from qiskit.circuit import ControlFlowOp

from qflows.programs.gates import STANDARD

if TYPE_CHECKING:
    from qflows.programs import Program

_ANYWHERE = frozenset({"barrier", "delay", "store"})


def first_stranger(circuit: QuantumCircuit, target: Any, qubits: tuple[int, ...] | None = None) -> str | None:
    """The first instruction that the device does not have, in words; None for a circuit that can run as it is.

    `qubits`: the device qubits of the circuit's qubits, in order; the same numbers by default.
    """
    if circuit.num_qubits > (target.num_qubits or 0):
        return f"{circuit.num_qubits} qubits, the device has {target.num_qubits}"
    index = {qubit: (i if qubits is None else qubits[i]) for i, qubit in enumerate(circuit.qubits)}
    for step in circuit.data:
        operation, on = step.operation, tuple(index[qubit] for qubit in step.qubits)
        if operation.name in _ANYWHERE:
            continue
        if isinstance(operation, ControlFlowOp):
            if operation.name not in target.operation_names:
                return f"{operation.name}"
            inner = (first_stranger(block, target, on) for block in operation.blocks)
            found = next((one for one in inner if one is not None), None)
            if found is not None:
                return found
        elif not target.instruction_supported(operation.name, on):
            return f"{operation.name} on qubit{'s' if len(on) > 1 else ''} {', '.join(map(str, on))}"
    return None


def pairs(target: Any) -> frozenset[frozenset[int]]:
    """The device's coupled pairs, whichever way its gates are directed."""
    return frozenset(frozenset(on) for on in target.qargs or () if len(on) == 2)


def is_in_own_gates(program: Program, target: Any, layout: Sequence[int]) -> bool:
    """Whether all steps are gates that the device has there, measurements and barriers; program qubit i is on device
    qubit `layout[i]`.

    False where Qiskit might change such a step: gates whose angles have bounds.
    """
    if any(not 0 <= qubit < (target.num_qubits or 0) for qubit in layout) or target.has_angle_bounds():
        return False
    for step in program.instructions:
        if step.name == "barrier":
            continue
        if step.name != "measure" and step.name not in STANDARD:
            return False
        if not target.instruction_supported(step.name, tuple(layout[qubit] for qubit in step.qubits)):
            return False
    return True
