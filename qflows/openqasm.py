"""OpenQASM 3 text in the gate names a vendor understands.

Qiskit's own `qasm3.dumps` is not used: Braket knows no `stdgates.inc`, its gate names differ, and inlined gate
definitions gave silently wrong counts on Braket's simulator (4 of 60 random circuits, default-simulator 1.41.2).
Here every gate is one of the dialect's built-in gates; everything else is compiled to those first, at level 0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from qflows.errors import ProgramRejected
from qflows.programs import Program
from qflows.programs.gates import STANDARD
from qflows.programs.program import seal

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

Angle = Callable[[Any], str]


@dataclass(frozen=True)
class Dialect:
    """Gate names: qiskit's → the vendor's. `header` follows the version line; `identity` gates are left out."""

    name: str
    header: str
    gates: Mapping[str, str]


_compiling = Lock()  # passes keep state while they run
_SAME = ("h", "x", "y", "z", "s", "t", "rx", "ry", "rz", "cy", "cz", "swap")

# docs.aws.amazon.com/braket, "Supported gates"; names as in amazon-braket-default-simulator 1.41.2
BRAKET = Dialect(
    "braket",
    "",
    {name: name for name in _SAME}
    | {"sdg": "si", "tdg": "ti", "sx": "v", "sxdg": "vi", "id": "i", "p": "phaseshift", "cp": "cphaseshift"}
    | {"cx": "cnot", "ccx": "ccnot", "cswap": "cswap", "iswap": "iswap", "ecr": "ecr", "r": "prx", "csx": "cv"}
    | {"rxx": "xx", "ryy": "yy", "rzz": "zz"},
)

# stdgates.inc of the OpenQASM 3 specification; rxx and friends are not in it
STDGATES = Dialect(
    "stdgates",
    'include "stdgates.inc";\n',
    {name: name for name in (*_SAME, "sdg", "tdg", "sx", "id", "p", "cx", "cp", "crx", "cry", "crz", "ch")}
    | {"ccx": "ccx", "cswap": "cswap", "u3": "u3"},
)


def to_openqasm(program: Program, dialect: Dialect, *, mid_circuit: bool = False) -> str:
    """OpenQASM 3 source of `program`.

    Without `mid_circuit` the measurements come last, in ascending clbit order, into `bit[k] b`: outcome k belongs to
    `program.measured[k]`. With it they stay in place and write `bit[n_clbits] b`. Raises ProgramRejected for what
    the dialect cannot say.
    """
    if program.has_mid_circuit and not mid_circuit:
        raise _measured_too_early(program, dialect)
    head = _head(program, dialect, program.n_clbits if mid_circuit else len(program.measured))
    steps = _steps(_compiled(program.circuit(), program, dialect), dialect, _literal, measures=mid_circuit)
    return "\n".join([head, *steps, *([] if mid_circuit else _final_measures(program))]) + "\n"


def to_openqasm_with_inputs(program: Program, dialect: Dialect) -> tuple[str, dict[str, float]]:
    """As `to_openqasm`, every angle an `input float`; returns the source and the inputs' values in radians.

    Programs that differ in nothing but angles give the same source and the same input names: a compiled shape is kept,
    so all points of a sweep are compiled once.
    """
    if program.has_mid_circuit:
        raise _measured_too_early(program, dialect)
    shape, angles = angles_apart(program)
    template = _template(shape, dialect.name, dialect.header, tuple(sorted(dialect.gates.items())))
    given = dict(zip(template.parameters, angles, strict=True))
    return template.source, {name: _value(expression, given) for name, expression in template.inputs.items()}


@lru_cache(maxsize=4096)
def angles_apart(program: Program) -> tuple[Program, tuple[float, ...]]:
    """The program with all angles of named gates at zero, and the angles in order. Global phase is dropped."""
    ops, angles = json.loads(program.text)["ops"], []
    for op in ops:
        if op[0] in STANDARD:
            angles += op[1]
            op[1] = [0.0] * len(op[1])
    shape = seal(
        n_qubits=program.n_qubits,
        n_clbits=program.n_clbits,
        registers=[(register.name, register.bits) for register in program.registers],
        phase=0.0,
        ops=ops,
        name=program.name,
    )
    return shape, tuple(angles)


@dataclass(frozen=True)
class _Template:
    """A compiled shape: `inputs` are qiskit expressions of `parameters`, which stand for the shape's angles."""

    source: str
    inputs: Mapping[str, Any]
    parameters: tuple[Any, ...]


@lru_cache(maxsize=512)
def _template(shape: Program, name: str, header: str, gates: tuple[tuple[str, str], ...]) -> _Template:
    from qiskit.circuit import Parameter, ParameterExpression

    dialect = Dialect(name, header, dict(gates))
    circuit, parameters = shape.circuit(), []
    open_circuit = circuit.copy_empty_like()
    for step in circuit.data:
        operation = step.operation
        if operation.name in STANDARD and operation.params:
            own = [Parameter(f"angle_{len(parameters) + k}") for k in range(len(operation.params))]
            parameters += own
            operation = operation.base_class(*own)
        open_circuit.append(operation, step.qubits, step.clbits, copy=False)
    names: dict[Any, str] = {}

    def angle(value: Any) -> str:
        is_open = isinstance(value, ParameterExpression) and value.parameters
        return names.setdefault(value, f"theta_{len(names)}") if is_open else _literal(value)

    lines = _steps(_compiled(open_circuit, shape, dialect), dialect, angle, measures=False)
    head = _head(shape, dialect, len(shape.measured), names.values())
    source = "\n".join([head, *lines, *_final_measures(shape)]) + "\n"
    return _Template(source, {name: value for value, name in names.items()}, tuple(parameters))


def _value(expression: Any, given: Mapping[Any, float]) -> float:
    if expression in given:
        return given[expression]
    return float(expression.bind({parameter: given[parameter] for parameter in expression.parameters}))


def _measured_too_early(program: Program, dialect: Dialect) -> ProgramRejected:
    return ProgramRejected(f"{program.name}: {dialect.name} OpenQASM takes measurements at the end only")


def _head(program: Program, dialect: Dialect, width: int, inputs: Iterable[str] = ()) -> str:
    declared = "".join(f"input float {name};\n" for name in inputs)
    registers = f"bit[{max(width, 1)}] b;\nqubit[{max(program.n_qubits, 1)}] q;"
    return f"OPENQASM 3.0;\n{dialect.header}{declared}{registers}"


def _steps(circuit: QuantumCircuit, dialect: Dialect, angle: Angle, *, measures: bool) -> list[str]:
    lines = []
    index = {bit: i for i, bit in enumerate(circuit.qubits)}
    clbit = {bit: i for i, bit in enumerate(circuit.clbits)}
    for step in circuit.data:
        name, on = step.operation.name, [index[q] for q in step.qubits]
        if name == "measure":
            if measures:
                lines.append(f"b[{clbit[step.clbits[0]]}] = measure q[{on[0]}];")
        elif name == "reset":
            lines.append(f"reset q[{on[0]}];")
        elif name not in ("barrier", "delay"):  # neither changes an ideal outcome, and Braket takes no delay
            lines.append(_gate(dialect, name, [angle(p) for p in step.operation.params], on))
    return lines


def _final_measures(program: Program) -> list[str]:
    return [f"b[{k}] = measure q[{qubit}];" for k, (qubit, _) in enumerate(program.measured)]


def _literal(value: Any) -> str:
    return repr(float(value))


def _gate(dialect: Dialect, name: str, angles: list[str], on: list[int]) -> str:
    if name not in dialect.gates:
        raise ProgramRejected(f"gate {name} has no form in {dialect.name} OpenQASM; write it with standard gates")
    given = f"({', '.join(angles)})" if angles else ""
    return f"{dialect.gates[name]}{given} {', '.join(f'q[{i}]' for i in on)};"


def _compiled(circuit: QuantumCircuit, program: Program, dialect: Dialect) -> QuantumCircuit:
    used = {step.name for step in program.instructions} - {"measure", "reset", "delay"}
    if used <= dialect.gates.keys():
        return circuit
    opaque = sorted(name for name in used if name.startswith("opaque:"))
    if opaque:
        raise ProgramRejected(f"{program.name}: {opaque[0][7:]} is native to one vendor and has no OpenQASM form")
    with _compiling:
        return _compiler(tuple(dialect.gates)).run(circuit)


@lru_cache(maxsize=8)
def _compiler(gates: tuple[str, ...]) -> Any:
    """Pass manager into a dialect's gates; building one costs as much as compiling ten small circuits."""
    from qiskit.transpiler import generate_preset_pass_manager

    return generate_preset_pass_manager(optimization_level=0, basis_gates=[*gates, "measure", "reset", "delay"])
