"""The single entry point for everything users pass; it decides which reader takes the object."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from qflows.errors import ProgramRejected
from qflows.programs.loading import load_qiskit
from qflows.programs.panics import refused_if_qiskit_panics
from qflows.programs.program import Program


def to_program(obj: Any, values: Any = None, name: str | None = None) -> Program:
    """Canonical program of a circuit. Nothing is sent, nothing is compiled for a device.

    `obj`: Program, qiskit `QuantumCircuit`, `(circuit, values)`, OpenQASM 2 or 3 text, the path of such a file, or a
    Braket `Circuit` or OpenQASM `Program`, a Cirq or pytket circuit (see `exported`). `values`: a sequence in the order
    of `circuit.parameters`, or a mapping from parameter or name to number; radians. `name` is a label and not part of
    the digest.
    Everything is kept in its place: barriers, delays, resets, branches on measured bits, physical qubits (`$5`, a
    circuit that a compiler placed on a device), verbatim boxes, `circuit.metadata` (as a label).
    Raises ProgramRejected with the reason and the remedy.
    """
    with refused_if_qiskit_panics(name or str(getattr(obj, "name", "program"))[:100]):
        return _read(obj, values, name)


def _read(obj: Any, values: Any, name: str | None) -> Program:
    if isinstance(obj, tuple) and len(obj) == 2:
        if values is not None:
            raise ProgramRejected("values were given twice, in the tuple and as values=; give them once")
        obj, values = obj
    if isinstance(obj, Program):
        if values is not None:
            raise ProgramRejected(f"program {obj.name!r} is already bound; pass the circuit itself with its values")
        return obj if name is None else replace(obj, name=name)
    if isinstance(obj, str | Path):
        from qflows.programs.from_qasm import is_brakets, read_qasm, text_of

        load_qiskit()
        text, label = text_of(obj)
        if is_brakets(text):
            from qflows.programs.from_braket_ir import read_ir_text

            return read_ir_text(text, values, name or label)
        circuit, label = read_qasm(obj)
        return _from_qiskit(circuit, values, name or label)
    kind = type(obj)
    if any(base.__module__.startswith("braket.") for base in kind.__mro__):
        load_qiskit()
        return _from_braket(obj, values, name)
    if any(base.__module__.startswith(("cirq.", "pytket.")) for base in kind.__mro__):
        from qflows.programs.exported import library_of, read_exported

        if library_of(obj) is not None:
            load_qiskit()
            return read_exported(obj, values, name)
    # an object can be a QuantumCircuit only if qiskit is already imported: do not pay for the import to say no
    if "qiskit" in sys.modules:
        from qiskit import QuantumCircuit

        if isinstance(obj, QuantumCircuit):
            return _from_qiskit(obj, values, name)
    if isinstance(obj, list):
        raise ProgramRejected(
            f"a list of {len(obj)} was given where one circuit is expected; use qflows.batch for a list"
        )
    raise ProgramRejected(
        f"cannot make a program of {kind.__module__}.{kind.__qualname__}; pass a qiskit QuantumCircuit, "
        "(circuit, values), OpenQASM 2 or 3 text or path, a Braket, Cirq or pytket circuit, or a qflows Program"
    )


def _from_braket(obj: Any, values: Any, name: str | None) -> Program:
    if isinstance(getattr(obj, "source", None), str):
        from qflows.programs.from_braket_ir import read_ir

        return read_ir(obj, values, name)
    from qflows.programs.from_braket import read_braket

    circuit, labels = read_braket(obj, values)
    program = _from_qiskit(circuit, None, name or "braket-circuit")
    return program if labels is None else program.rewritten(program.ops(), labels=labels, is_verbatim=True)


def _from_qiskit(circuit: Any, values: Any, name: str | None) -> Program:
    from qflows.programs.from_qiskit import read_circuit

    return read_circuit(circuit, values, name)
