"""The circuits of a PUB: one program for each point of its parameters."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from qiskit import QuantumCircuit
from qiskit.primitives.containers.bindings_array import BindingsArray

from qflows.programs import Program, to_program


def programs_of(circuit: QuantumCircuit, values: BindingsArray) -> list[Program]:
    """The bound programs, in C order of the shape of `values`. Raises ProgramRejected."""
    n = math.prod(values.shape)
    if not circuit.num_parameters:
        return [_without_overwritten(to_program(circuit))] * n if n else []
    names = [parameter.name for parameter in circuit.parameters]
    rows: list[Any] = values.as_array(names).reshape(n, len(names)).tolist()
    return [_without_overwritten(to_program(circuit, row)) for row in rows]


def _without_overwritten(program: Program) -> Program:
    """The program without final measurements into bits that a later one overwrites: nobody can read them, and devices
    that take no measurement before the end would refuse them.
    """
    if not program.has_mid_circuit:
        return program
    ops = program.ops()
    times = Counter(op[3][0] for op in ops if op[0] == "measure")
    if max(times.values(), default=0) < 2 or any(op[0] == "if_else" for op in ops):
        return program
    kept: list[Any] = []
    later: set[int] = set()  # qubits that have more than a measurement after this step
    written: set[int] = set()
    for op in reversed(ops):
        if op[0] != "measure":
            later.update(op[2] if op[0] != "barrier" else ())
        elif op[3][0] in written and op[2][0] not in later:
            continue
        else:
            written.add(op[3][0])
        kept.append(op)
    return program.rewritten(kept[::-1]) if len(kept) < len(ops) else program
