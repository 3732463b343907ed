"""Whether a circuit is in a device's own gates, on pairs that are coupled (IBM calls it an ISA circuit)."""

from __future__ import annotations

from typing import Any

from qiskit import QuantumCircuit
from qiskit.circuit import ControlFlowOp

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
