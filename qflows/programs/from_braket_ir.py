"""Braket's own OpenQASM 3 programs (`braket.ir.openqasm.Program`) as programs.

The text is read here, because Braket's reader loses barriers, delays, resets, verbatim boxes and the width of the
classical register (SDK 1.88.1). Only what needs that reader (functions, matrices in pragmas, modifiers on gates that
qiskit has no name for) is left to it, and only where it loses nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from qflows.errors import ProgramRejected
from qflows.programs.braket_sdk import ready_to_import
from qflows.programs.from_braket import read_braket
from qflows.programs.from_qasm import check_text, name_of
from qflows.programs.from_qiskit import read_circuit
from qflows.programs.gates import NATIVE, STANDARD, from_radians
from qflows.programs.placement import compact
from qflows.programs.program import Program

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

# Braket's spelling -> qiskit's, for the gates that are in stdgates.inc
_STDGATES = {
    "h": "h", "x": "x", "y": "y", "z": "z", "s": "s", "si": "sdg", "t": "t", "ti": "tdg", "v": "sx",
    "rx": "rx", "ry": "ry", "rz": "rz", "phaseshift": "p", "cnot": "cx", "cy": "cy", "cz": "cz", "cphaseshift": "cp",
    "swap": "swap", "ccnot": "ccx", "cswap": "cswap",
}  # fmt: skip
# all others: (qubits, angles); a stand-in without effect is built and replaced
_OTHERS = {
    "i": "id", "u": "u", "vi": "sxdg", "prx": "r", "cv": "csx", "iswap": "iswap", "xx": "rxx", "yy": "ryy",
    "zz": "rzz", "ecr": "ecr",
}  # fmt: skip
_STAND_IN = "braket_"
_STDGATES_INC = re.compile(r"""\binclude\s+["']stdgates\.inc["']\s*;""")  # Braket opens it as a file
_FORGOTTEN = re.compile(r"\b(box|barrier|delay|reset|if|for)\b|\$\d")


class _Left(Exception):
    """Something that only Braket's own reader can read."""


def read_ir(program: Any, values: Any, name: str | None) -> Program:
    """Program of Braket's OpenQASM object. Raises ProgramRejected.

    Qubits are packed in ascending order, with their numbers as labels where the text names physical qubits or has a
    verbatim box; clbits keep their numbers and the declared width. Without measurements all qubits are measured into
    register `b`.
    """
    text = str(program.source)
    return _read_text(text, {**(program.inputs or {}), **_named(values)}, name or name_of(text))


def read_ir_text(text: str, values: Any, label: str) -> Program:
    """Program of the same text without its object. Raises ProgramRejected."""
    return _read_text(text, _named(values), label)


def _read_text(text: str, inputs: Mapping[str, Any], label: str) -> Program:
    code = check_text(text, label)
    try:
        circuit, is_verbatim = _read(text, label)
    except (_Left, ProgramRejected) as error:
        if isinstance(error, ProgramRejected) and _FORGOTTEN.search(code):
            raise
        if isinstance(error, _Left) and _FORGOTTEN.search(code):
            _refuse(label, f"{error} together with barriers, delays, resets, boxes or branches", "write the gates out")
        return _by_braket(text, inputs, label)
    known = {parameter.name for parameter in circuit.parameters}
    given = {key: value for key, value in inputs.items() if key in known}
    found = read_circuit(circuit, given if known else None, label)
    placed = found if found.is_physical else compact(found)
    if is_verbatim:
        return placed.rewritten(placed.ops(), is_verbatim=True)
    return placed if found.is_physical else placed.rewritten(placed.ops(), labels=None)


def _named(values: Any) -> dict[str, Any]:
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise ProgramRejected("Braket program: its inputs have no order; pass values as a mapping from name to radians")
    return {str(getattr(key, "name", key)): value for key, value in values.items()}


def _refuse(label: str, why: str, remedy: str) -> NoReturn:
    raise ProgramRejected(f"program {label!r}: {why}; {remedy}")


def _by_braket(text: str, inputs: Mapping[str, Any], label: str) -> Program:
    ready_to_import()
    from braket.circuits import Circuit

    try:
        circuit = Circuit.from_ir(_STDGATES_INC.sub("", text), inputs=dict(inputs))
    except Exception as error:  # noqa: BLE001 - a third-party reader, which may raise anything
        _refuse(label, f"Braket cannot read it ({type(error).__name__}: {error!s:.300})", "correct the text")
    return read_circuit(read_braket(circuit, None)[0], None, label)


def _read(text: str, label: str) -> tuple[QuantumCircuit, bool]:
    """The circuit of the text, and whether it is a verbatim box."""
    from openqasm3 import ast

    from qflows.programs.qasm3 import build_3, parse_tree

    tree = parse_tree(text, label)
    statements, is_verbatim = _unboxed(tree.statements, label)
    statements = [node for node in statements if not isinstance(node, ast.Include)]
    used = _respell(statements)
    head: list[Any] = [ast.Include("stdgates.inc"), *(_stand_in(name) for name in sorted(used))]
    circuit = build_3(ast.Program(statements=[*head, *statements], version="3.0"), label)
    made = _replaced(circuit, is_verbatim)
    return made, is_verbatim


def _unboxed(statements: list[Any], label: str) -> tuple[list[Any], bool]:
    """The statements with those of the verbatim box in its place, and whether there is one."""
    from openqasm3 import ast

    found: list[Any] = []
    boxes, gates_outside, is_next = 0, 0, False
    for node in statements:
        if isinstance(node, ast.Pragma):
            command = " ".join(node.command.split())
            if command == "braket verbatim":
                is_next = True
            elif command.startswith("braket result") and not command.startswith("braket result probability"):
                _refuse(
                    label,
                    f"result type {' '.join(command.split()[2:])[:40]} is not a measurement",
                    "remove it, pass observables= instead",
                )
            elif command not in ("braket result probability", "braket result probability all"):
                raise _Left(f"it has a pragma ({command[:40]})")
            continue
        if isinstance(node, ast.Box):
            if not is_next:
                _refuse(label, "a box that is not verbatim has no meaning here", "write its statements out")
            boxes, is_next = boxes + 1, False
            found += node.body
            continue
        gates_outside += isinstance(node, ast.QuantumGate)
        found.append(node)
    if boxes and gates_outside:
        _refuse(label, "gates stand outside of its verbatim box", "put all gates into one box, or none")
    return found, bool(boxes)


def _respell(statements: list[Any]) -> set[str]:
    """Gate calls in qiskit's names, in place; the names for which stand-ins are needed."""
    from openqasm3 import ast

    used: set[str] = set()
    for node in statements:
        if isinstance(node, ast.QuantumGate):
            own = node.name.name
            if own in _STDGATES:
                node.name = ast.Identifier(_STDGATES[own])
            elif own in _OTHERS or own in NATIVE:
                if node.modifiers:
                    raise _Left(f"it has a modifier on {own}")
                used.add(own)
                node.name = ast.Identifier(_STAND_IN + own)
        elif isinstance(node, ast.IODeclaration) and isinstance(node.type, ast.FloatType | ast.AngleType):
            node.type = ast.FloatType(ast.IntegerLiteral(64))
        elif isinstance(node, ast.QuantumGateDefinition):
            used |= _respell(node.body)
        elif isinstance(node, ast.BranchingStatement):
            used |= _respell(node.if_block) | _respell(node.else_block)
        elif isinstance(node, ast.ForInLoop):
            used |= _respell(node.block)
    return used


def _stand_in(name: str) -> Any:
    from openqasm3 import ast

    width, count = STANDARD[_OTHERS[name]] if name in _OTHERS else NATIVE[name]
    angles = [ast.Identifier(f"t{place}") for place in range(count)]
    return ast.QuantumGateDefinition(
        name=ast.Identifier(_STAND_IN + name),
        arguments=angles,
        qubits=[ast.Identifier(f"a{place}") for place in range(width)],
        body=[],
    )


def _replaced(circuit: QuantumCircuit, is_verbatim: bool) -> QuantumCircuit:  # noqa: FBT001
    """The circuit with the gates behind its stand-ins, and with measurements if it has none."""
    from qiskit.circuit import ClassicalRegister, IfElseOp

    made = circuit.copy_empty_like()
    for step in circuit.data:
        name = step.operation.name
        if name == "if_else":
            blocks: list[Any] = [_replaced_block(block, is_verbatim) for block in step.operation.params]
            made.append(IfElseOp(step.operation.condition, *blocks), step.qubits, step.clbits)
        else:
            _append(made, step, is_verbatim)
    if not any(step.operation.name in ("measure", "if_else") for step in made.data):
        touched = {bit for step in made.data if step.operation.name != "barrier" for bit in step.qubits}
        used = [bit for bit in made.qubits if bit in touched]
        if used:
            taken = {register.name for register in made.cregs}
            bits = ClassicalRegister(len(used), "b" if "b" not in taken else "measured")
            made.add_register(bits)
            made.measure(used, bits)
    made._layout = circuit._layout  # pyright: ignore[reportPrivateUsage]
    return made


def _replaced_block(block: QuantumCircuit | None, is_verbatim: bool) -> QuantumCircuit | None:  # noqa: FBT001
    if block is None:
        return None
    made = block.copy_empty_like()
    for step in block.data:
        _append(made, step, is_verbatim)
    return made


def _append(made: QuantumCircuit, step: Any, is_verbatim: bool) -> None:  # noqa: FBT001
    from qflows.programs.native import NativeGate, write

    own = step.operation.name.removeprefix(_STAND_IN)
    if not step.operation.name.startswith(_STAND_IN):
        made.append(step.operation, step.qubits, step.clbits)
        return
    params = [value if getattr(value, "parameters", None) else float(value) for value in step.operation.params]
    if own in _OTHERS and not (is_verbatim and own == "zz"):
        from qiskit.circuit.library import get_standard_gate_name_mapping

        made.append(get_standard_gate_name_mapping()[_OTHERS[own]].base_class(*params), step.qubits)
    elif is_verbatim:
        made.append(NativeGate(own, from_radians(own, params)), step.qubits)
    else:
        write(made, own, params, [made.find_bit(bit).index for bit in step.qubits])
