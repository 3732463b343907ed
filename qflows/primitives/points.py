"""The circuits of a PUB: one program for each point of its parameters."""

from __future__ import annotations

import math
from typing import Any

from qiskit import QuantumCircuit
from qiskit.primitives.containers.bindings_array import BindingsArray

from qflows.programs import Program, to_program


def programs_of(circuit: QuantumCircuit, values: BindingsArray) -> list[Program]:
    """The bound programs, in C order of the shape of `values`. Raises ProgramRejected."""
    n = math.prod(values.shape)
    if not circuit.num_parameters:
        return [to_program(circuit)] * n if n else []
    names = [parameter.name for parameter in circuit.parameters]
    rows: list[Any] = values.as_array(names).reshape(n, len(names)).tolist()
    return [to_program(circuit, row) for row in rows]
