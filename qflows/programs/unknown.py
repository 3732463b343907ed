"""A stand-in for a circuit that a vendor does not give back: its readout is known, its gates are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qflows.programs.gates import OPAQUE
from qflows.programs.program import Program, seal

UNKNOWN = OPAQUE + "not-kept"


def is_unread(program: Program) -> bool:
    """True for a stand-in without even known measurements: no answer can be read with it."""
    return not program.measured and program.instructions[0].name == UNKNOWN


def unknown_program(
    n_qubits: int,
    measured: Sequence[tuple[int, int]],
    *,
    n_clbits: int | None = None,
    registers: Sequence[tuple[str, Sequence[int]]] | None = None,
    name: str = "unknown",
    metadata: Mapping[str, Any] | None = None,
) -> Program:
    """One gate without a meaning on all qubits, then the measurements as (qubit, clbit).

    No device takes such a program, so it cannot be bought by accident. One register `c` of all clbits unless given.
    """
    width = max([*(clbit + 1 for _, clbit in measured), n_clbits or 0, 0])
    qubits = max([*(qubit + 1 for qubit, _ in measured), n_qubits, 1])
    ops: list[list[Any]] = [[UNKNOWN, [], list(range(qubits)), []]]
    ops += [["measure", [], [qubit], [clbit]] for qubit, clbit in sorted(measured, key=lambda pair: pair[1])]
    return seal(
        n_qubits=qubits,
        n_clbits=width,
        registers=registers if registers is not None else [("c", list(range(width)))] if width else [],
        phase=0.0,
        ops=ops,
        name=name,
        metadata=metadata,
    )
