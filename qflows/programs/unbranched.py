"""Where to place a circuit with branches: Qiskit's layouts ignore gates inside branches (2.5, measured).

A gate on three qubits in a branch then became 162 gates on two qubits of a Heron, 168 at worst, where 10 are enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from qflows.programs.panics import run_passes

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

_LEFT_OUT = frozenset({"measure", "reset", "delay", "barrier"})


def has_branches(circuit: QuantumCircuit) -> bool:
    """True if a gate depends on measured bits."""
    return any(step.operation.name == "if_else" for step in circuit.data)


def unbranched(circuit: QuantumCircuit) -> QuantumCircuit:
    """The gates of the circuit with those of all branches in their place, as if each were taken."""
    from qiskit import QuantumCircuit

    made = QuantumCircuit(circuit.num_qubits)
    _append(made, circuit, range(circuit.num_qubits))
    return made


def _append(made: QuantumCircuit, circuit: QuantumCircuit, place: Sequence[int]) -> None:
    index = {qubit: place[i] for i, qubit in enumerate(circuit.qubits)}
    for step in circuit.data:
        on = [index[qubit] for qubit in step.qubits]
        if step.operation.name == "if_else":
            for block in step.operation.blocks:
                _append(made, block, on)
        elif step.operation.name not in _LEFT_OUT:
            made.append(step.operation, on)


def best_placed(circuit: QuantumCircuit, manager: Any, manager_at: Callable[[tuple[int, ...]], Any]) -> QuantumCircuit:
    """A circuit with branches as `manager` compiles it, or as the manager for the layout that its gates have without
    branches does, whichever has fewer gates on two qubits.
    """
    made = run_passes(manager, circuit, circuit.name)
    layout = run_passes(manager, unbranched(circuit), circuit.name).layout
    if layout is None:
        return made
    other = run_passes(manager_at(tuple(layout.initial_index_layout(filter_ancillas=True))), circuit, circuit.name)
    return min(made, other, key=two_qubit_gates)


def two_qubit_gates(circuit: QuantumCircuit) -> int:
    """Gates on two qubits, those in branches included."""
    found = 0
    for step in circuit.data:
        if step.operation.name == "if_else":
            found += sum(map(two_qubit_gates, step.operation.blocks))
        elif len(step.qubits) == 2 and step.operation.name != "barrier":
            found += 1
    return found
