"""OpenQASM 3 text in the gate names a vendor understands.

Qiskit's own `qasm3.dumps` is not used: Braket knows no `stdgates.inc`, its gate names differ, and inlined gate
definitions gave silently wrong counts on Braket's simulator (4 of 60 random circuits, default-simulator 1.41.2).
Here every gate is one of the dialect's built-in gates; everything else is compiled to those first, at level 0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from qflows.errors import ProgramRejected
from qflows.programs import Instruction, Program
from qflows.programs.gates import OPAQUE, STANDARD
from qflows.programs.program import NOT_GATES, seal

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
    steps = _steps(_compiled(program, dialect), dialect, _literal, measures=mid_circuit)
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
    return template.source, {name: of_angles(angles) for name, of_angles in template.inputs.items()}


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
    """A compiled shape. `inputs` compute an input's value from the angles of a program of this shape, in order."""

    source: str
    inputs: Mapping[str, Callable[[Sequence[float]], float]]


@lru_cache(maxsize=512)
def _template(shape: Program, name: str, header: str, gates: tuple[tuple[str, str], ...]) -> _Template:
    dialect = Dialect(name, header, dict(gates))
    lines: list[str] = []
    inputs: dict[str, Callable[[Sequence[float]], float]] = {}
    first = 0  # of the step's own angles
    for step, placed in zip(shape.instructions, shape.circuit().data, strict=True):
        if step.name in NOT_GATES:
            lines += [f"reset q[{step.qubits[0]}];"] * (step.name == "reset")
            continue
        known: dict[_Angle, str] = {}
        for gate in _spelled(shape, placed.operation, step, tuple(dialect.gates)):
            texts = []
            for angle in gate.angles:
                if not isinstance(angle, _Angle):
                    texts.append(_literal(angle))
                    continue
                if angle not in known:
                    known[angle] = f"theta_{len(inputs)}"
                    inputs[known[angle]] = partial(angle.of, first=first)
                texts.append(known[angle])
            lines.append(_gate(dialect, gate.name, texts, [step.qubits[at] for at in gate.qubits]))
        first += len(step.params) if step.name in STANDARD else 0
    source = "\n".join([_head(shape, dialect, len(shape.measured), inputs), *lines, *_final_measures(shape)]) + "\n"
    return _Template(source, inputs)


@dataclass(frozen=True, eq=False)
class _Angle:
    """An input as a function of the angles of one gate, which are few."""

    expression: Any
    own: tuple[Any, ...]

    def of(self, angles: Sequence[float], *, first: int) -> float:
        """Its value when the gate's angles begin at `first` in those of the program."""
        if (offset_and_slopes := self._linear) is None:
            given = {p: angles[first + k] for k, p in enumerate(self.own) if p in self.expression.parameters}
            return float(self.expression.bind(given))
        offset, slopes = offset_and_slopes
        return sum((slope * angles[first + k] for k, slope in enumerate(slopes) if slope), offset)

    @cached_property
    def _linear(self) -> tuple[float, list[float]] | None:
        """Nearly all decompositions are linear in the angles, and then no symbols are needed."""
        slopes = [self.expression.gradient(p) if p in self.expression.parameters else 0.0 for p in self.own]
        if not all(isinstance(slope, int | float) for slope in slopes):
            return None
        return float(self.expression.bind(dict.fromkeys(self.expression.parameters, 0.0))), [float(x) for x in slopes]


@dataclass(frozen=True)
class _Spelled:
    """A gate of a dialect inside a step: `qubits` are places among the step's."""

    name: str
    angles: tuple[float | _Angle, ...]
    qubits: tuple[int, ...]


def _spelled(shape: Program, operation: Any, step: Instruction, gates: tuple[str, ...]) -> tuple[_Spelled, ...]:
    """One step in the dialect's gates.

    Step by step: the global phase of a whole circuit with open angles sums them all up, and 20 gates took minutes.
    """
    if step.name in STANDARD:
        return _spelled_gate(operation.base_class, *STANDARD[step.name], gates)
    if step.name.startswith(OPAQUE):
        raise _native_elsewhere(shape, step.name)
    return _spelled_circuit(operation, len(step.qubits), gates, ())


@lru_cache(maxsize=1024)
def _spelled_gate(kind: Any, width: int, n_angles: int, gates: tuple[str, ...]) -> tuple[_Spelled, ...]:
    from qiskit.circuit import Parameter

    own = tuple(Parameter(f"angle_{k}") for k in range(n_angles))
    return _spelled_circuit(kind(*own), width, gates, own)


def _spelled_circuit(operation: Any, width: int, gates: tuple[str, ...], own: tuple[Any, ...]) -> tuple[_Spelled, ...]:
    from qiskit import QuantumCircuit

    circuit = QuantumCircuit(width)
    circuit.append(operation, range(width))
    if operation.name not in gates:
        with _compiling:
            circuit = _compiler(gates).run(circuit)
    known: dict[Any, _Angle] = {}
    found = []
    for step in circuit.data:
        angles = tuple(_angle(value, own, known) for value in step.operation.params)
        found.append(_Spelled(step.operation.name, angles, tuple(circuit.find_bit(q).index for q in step.qubits)))
    return tuple(found)


def _angle(value: Any, own: tuple[Any, ...], known: dict[Any, _Angle]) -> float | _Angle:
    if not getattr(value, "parameters", None):
        return float(value)
    return known.setdefault(value, _Angle(value, own))


def _measured_too_early(program: Program, dialect: Dialect) -> ProgramRejected:
    return ProgramRejected(f"{program.name}: {dialect.name} OpenQASM takes measurements at the end only")


def _native_elsewhere(program: Program, name: str) -> ProgramRejected:
    gate = name.removeprefix(OPAQUE)
    return ProgramRejected(f"{program.name}: {gate} is native to one vendor and has no OpenQASM form")


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


def _compiled(program: Program, dialect: Dialect) -> QuantumCircuit:
    used = {step.name for step in program.instructions} - {"measure", "reset", "delay"}
    circuit = program.circuit()
    if used <= dialect.gates.keys():
        return circuit
    if opaque := sorted(name for name in used if name.startswith(OPAQUE)):
        raise _native_elsewhere(program, opaque[0])
    with _compiling:
        return _compiler(tuple(dialect.gates)).run(circuit)


@lru_cache(maxsize=8)
def _compiler(gates: tuple[str, ...]) -> Any:
    """Pass manager into a dialect's gates; building one costs as much as compiling ten small circuits."""
    from qiskit.transpiler import generate_preset_pass_manager

    return generate_preset_pass_manager(optimization_level=0, basis_gates=[*gates, "measure", "reset", "delay"])
