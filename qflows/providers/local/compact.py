"""Removal of idle qubits, so that a circuit compiled to a wide device runs here at the width it uses."""

from __future__ import annotations

from functools import lru_cache

from qflows.programs import Program
from qflows.programs.placement import moved
from qflows.programs.steps import walk

_IDLE = frozenset({"delay", "barrier", "if_else"})


def active_qubits(program: Program) -> tuple[int, ...]:
    """Qubits that a gate, reset or measurement touches, ascending."""
    return tuple(sorted({q for step in walk(program.instructions) if step.name not in _IDLE for q in step.qubits}))


@lru_cache(maxsize=256)
def compacted(program: Program) -> Program:
    """The same program on its active qubits alone, in the same order; clbits and registers stay as they are.

    Counts keys are those of `program`, because they depend only on clbits.
    """
    active = active_qubits(program)
    if len(active) == program.n_qubits:
        return program
    labels = [program.labels[qubit] for qubit in active] if program.labels is not None else None
    ops = moved(program.ops(), {qubit: i for i, qubit in enumerate(active)})
    return program.rewritten(ops, n_qubits=len(active), labels=labels)
