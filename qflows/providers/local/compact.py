"""Idle qubits taken out, so that a circuit compiled to a wide device runs here at the width it uses."""

from __future__ import annotations

import json
from functools import lru_cache

from qflows.programs import Program
from qflows.programs.program import seal


def active_qubits(program: Program) -> tuple[int, ...]:
    """Qubits that a gate, reset or measurement touches, ascending."""
    return tuple(sorted({qubit for step in program.instructions if step.name != "delay" for qubit in step.qubits}))


@lru_cache(maxsize=256)
def compacted(program: Program) -> Program:
    """The same program on its active qubits alone, in the same order; clbits and registers stay as they are.

    Counts keys are those of `program`, because they speak of clbits only.
    """
    active = active_qubits(program)
    if len(active) == program.n_qubits:
        return program
    place = {qubit: i for i, qubit in enumerate(active)}
    ops = [
        [op[0], op[1], [place[qubit] for qubit in op[2]], *op[3:]]
        for op in json.loads(program.text)["ops"]
        if all(qubit in place for qubit in op[2])
    ]
    return seal(
        n_qubits=len(active),
        n_clbits=program.n_clbits,
        registers=[(register.name, register.bits) for register in program.registers],
        phase=program.global_phase,
        ops=ops,
        name=program.name,
    )
