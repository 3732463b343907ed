"""OpenQASM 3 text in the gate names a vendor understands.

Qiskit's own `qasm3.dumps` is not used: Braket knows no `stdgates.inc`, its gate names differ, and inlined gate
definitions gave silently wrong counts on Braket's simulator (4 of 60 random circuits, default-simulator 1.41.2).
Here every gate is one of the dialect's built-in gates; everything else is compiled to those first, at level 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from qflows.errors import ProgramRejected
from qflows.programs import conditions
from qflows.programs.analysis import DYNAMIC, plain
from qflows.programs.features import Feature
from qflows.programs.gates import NATIVE, OPAQUE, STANDARD, in_radians
from qflows.programs.panics import run_passes
from qflows.programs.program import Program
from qflows.programs.steps import NOT_GATES, Instruction, walk

if TYPE_CHECKING:
    from qiskit import QuantumCircuit


@dataclass(frozen=True)
class Dialect:
    """How a vendor's OpenQASM 3 is written. `header` follows the version line.

    `gates`: name in a program → the vendor's. Everything else is compiled to these, unless the program is verbatim,
    which then is refused. Names of `gates.NATIVE` may be among them; their angles are written in radians.
    `takes`: which of a program's features the vendor's text can hold; they are written in place:

    - BARRIER `barrier q[0], q[1];` and DELAY `delay[100ns] q[0];` (dt, ns, us, ms; `ps` and `s` become ns);
    - RESET, MID_CIRCUIT, FEED_FORWARD: measurements stay in place and write `bit[n_clbits] b`; branches are
      `if (b[0]) {...} else {...}`, of a whole memory `if (b == 3)`, of several bits `if (b[0] && !b[2])`; where
      `bits_are_numbers`, bits are compared one by one, `if (b[0] == 1 && b[2] == 0)`, and those that nothing has
      written yet, which are 0, are not compared at all;
    - PHYSICAL: qubits are `$5`, by `program.labels`, and none is declared;
    - VERBATIM: the gates are put between the two lines of `box`.

    `drops`: features that change nothing on this device and are left out of the text, e.g. barriers where nothing is
    compiled, physical qubits of a simulator. What is neither taken nor dropped is refused, with the reason.
    Make a device's dialect with `dataclasses.replace(BRAKET, takes=frozenset({Feature.BARRIER, ...}))`.
    """

    name: str
    header: str
    gates: Mapping[str, str]
    takes: frozenset[Feature] = frozenset()
    drops: frozenset[Feature] = frozenset({Feature.BARRIER, Feature.PHYSICAL})
    box: tuple[str, str] = ("#pragma braket verbatim\nbox{", "}")
    bits_are_numbers: bool = False


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
    # the interpreter of the same version has neither `!b[0]` nor `b[0] && b[1]` nor `b == 3`, and fails at a branch
    # on a bit that nothing has written
    bits_are_numbers=True,
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

    A program that only measures at the end gets its measurements last, each measured qubit once, in the order of
    `program.measured_qubits`, into `bit[k] b`: outcome k belongs to that qubit (`Readout.from_measured`). Any other
    program, and every one with `mid_circuit`, keeps them in place and writes `bit[n_clbits] b`.
    `mid_circuit` also lets the dialect take resets and mid-circuit measurements. Raises ProgramRejected for what the
    dialect cannot say.
    """
    if mid_circuit:
        dialect = replace(dialect, takes=dialect.takes | {Feature.RESET, Feature.MID_CIRCUIT})
    program = _fitting(program, dialect)
    in_place = mid_circuit or program.has_mid_circuit
    name_of = _qubit_names(program, dialect)
    head = _head(program, dialect, program.n_clbits if in_place else len(program.measured_qubits))
    steps = _Writer(dialect, name_of, program.n_clbits, measures=in_place).lines(_compiled(program, dialect))
    if program.is_verbatim:
        steps = [dialect.box[0], *steps, dialect.box[1]]
    return "\n".join([head, *steps, *([] if in_place else _final_measures(program, name_of))]) + "\n"


def to_openqasm_with_inputs(program: Program, dialect: Dialect) -> tuple[str, dict[str, float]]:
    """As `to_openqasm`, every angle an `input float`; returns the source and the inputs' values in radians.

    Programs that differ in nothing but angles give the same source and the same input names: a compiled shape is kept,
    so all points of a sweep are compiled once. A verbatim program, and one with anything in place after measurements,
    is written with its numbers and has no inputs.
    """
    program = _fitting(program, dialect)
    if program.is_verbatim or program.has_mid_circuit:
        return to_openqasm(program, dialect), {}
    shape, angles = angles_apart(program)
    template = _template(shape, replace(dialect, gates=tuple(sorted(dialect.gates.items()))))  # pyright: ignore[reportArgumentType]
    return template.source, {name: of_angles(angles) for name, of_angles in template.inputs.items()}


def in_gates_of(program: Program, dialect: Dialect) -> Program:
    """The program as the dialect's text holds it: its gates compiled to those of the dialect where they must be."""
    from qflows.programs.convert import to_program

    program = _fitting(program, dialect)
    used = {step.name for step in walk(program.instructions)} - NOT_GATES
    if used <= dialect.gates.keys() or program.is_verbatim:
        return program
    made = to_program(_compiled(program, dialect), name=program.name)
    return made.rewritten(made.ops(), labels=program.labels, metadata=program.metadata)


_REMEDY = {
    Feature.BARRIER: "remove the barriers, or choose a device that honors them",
    Feature.DELAY: "remove the delays, or choose a device that keeps them",
    Feature.RESET: "measure each qubit once, at the end, or choose a device with reset",
    Feature.MID_CIRCUIT: "measure each qubit once, at the end, or choose a device with mid-circuit measurement",
    Feature.FEED_FORWARD: "measure at the end and post-select, or choose a device with feed-forward",
    Feature.PHYSICAL: "give the circuit as it was before it was placed on qubits",
    Feature.VERBATIM: "give the circuit without a verbatim box",
}


def _fitting(program: Program, dialect: Dialect) -> Program:
    """The program as far as the dialect takes it. Raises ProgramRejected for features it neither takes nor drops."""
    missing = sorted(program.features - dialect.takes - dialect.drops - {Feature.NATIVE})
    if missing:
        if not DYNAMIC.isdisjoint(missing):
            missing.sort(key=lambda feature: feature not in DYNAMIC)
        first = Feature(missing[0])
        why = "takes measurements at the end only" if first in DYNAMIC else f"has no {first.value}"
        raise ProgramRejected(
            f"{program.name}: {dialect.name} OpenQASM {why}, and the program has {', '.join(missing)}; {_REMEDY[first]}"
        )
    return plain(program, keep=dialect.takes)


def _qubit_names(program: Program, dialect: Dialect) -> list[str]:
    if program.labels is not None and Feature.PHYSICAL in dialect.takes:
        return [f"${label}" for label in program.labels]
    return [f"q[{qubit}]" for qubit in range(program.n_qubits)]


@lru_cache(maxsize=4096)
def angles_apart(program: Program) -> tuple[Program, tuple[float, ...]]:
    """The program with all angles of named gates at zero, and the angles in order. Global phase is dropped."""
    ops, angles = program.ops(), []
    for op in ops:
        if op[0] in STANDARD:
            angles += op[1]
            op[1] = [0.0] * len(op[1])
    if not angles and not program.global_phase:
        return program, ()
    return program.rewritten(ops, phase=0.0), tuple(angles)


@dataclass(frozen=True)
class _Template:
    """A compiled shape. `inputs` compute an input's value from the angles of a program of this shape, in order."""

    source: str
    inputs: Mapping[str, Callable[[Sequence[float]], float]]


@lru_cache(maxsize=512)
def _template(shape: Program, hashable: Dialect) -> _Template:
    dialect = replace(hashable, gates=dict(hashable.gates))
    lines: list[str] = []
    inputs: dict[str, Callable[[Sequence[float]], float]] = {}
    name_of = _qubit_names(shape, dialect)
    first = 0  # of the step's own angles
    for step, placed in zip(shape.instructions, shape.circuit().data, strict=True):
        on = [name_of[qubit] for qubit in step.qubits]
        if step.name in NOT_GATES:
            lines += [_marker(step.name, step.params, step.unit, on)] * (step.name != "measure")
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
            lines.append(_gate(dialect, gate.name, texts, [on[at] for at in gate.qubits]))
        first += len(step.params) if step.name in STANDARD else 0
    width = len(shape.measured_qubits)
    head = _head(shape, dialect, width, inputs)
    return _Template("\n".join([head, *lines, *_final_measures(shape, name_of)]) + "\n", inputs)


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
    if step.name in NATIVE and step.name in gates:
        angles = in_radians(step.name, step.params)
        return (_Spelled(step.name, angles, tuple(range(len(step.qubits)))),)
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
        if operation.name in NATIVE:
            circuit = circuit.decompose(gates_to_decompose=[operation.name])  # see `_compiled`
        with _compiling:
            circuit = run_passes(_compiler(gates), circuit, operation.name)
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


def _native_elsewhere(program: Program, name: str) -> ProgramRejected:
    gate = name.removeprefix(OPAQUE)
    return ProgramRejected(f"{program.name}: {gate} is native to one vendor and has no OpenQASM form")


def _head(program: Program, dialect: Dialect, width: int, inputs: Iterable[str] = ()) -> str:
    declared = "".join(f"input float {name};\n" for name in inputs)
    is_placed = program.labels is not None and Feature.PHYSICAL in dialect.takes
    registers = [f"bit[{max(width, 1)}] b;"] + ([] if is_placed else [f"qubit[{max(program.n_qubits, 1)}] q;"])
    return f"OPENQASM 3.0;\n{dialect.header}{declared}" + "\n".join(registers)


@dataclass(frozen=True)
class _Writer:
    """Steps of a compiled circuit as lines; `name_of[i]` is qubit i."""

    dialect: Dialect
    name_of: Sequence[str]
    n_clbits: int
    measures: bool
    written: set[int] = field(default_factory=set)  # clbits, as far as the steps have been written

    def lines(self, circuit: QuantumCircuit) -> list[str]:
        return self._block(circuit, dict(enumerate(self.name_of)), {place: place for place in range(self.n_clbits)})

    def _block(self, circuit: QuantumCircuit, qubits: Mapping[int, str], clbits: Mapping[int, int]) -> list[str]:
        lines: list[str] = []
        qubit = {bit: qubits[place] for place, bit in enumerate(circuit.qubits)}
        clbit = {bit: clbits[place] for place, bit in enumerate(circuit.clbits)}
        for step in circuit.data:
            operation, name, on = step.operation, step.operation.name, [qubit[bit] for bit in step.qubits]
            if name == "measure":
                self.written.add(clbit[step.clbits[0]])
                lines += [f"b[{clbit[step.clbits[0]]}] = measure {on[0]};"] * self.measures
            elif name == "if_else":
                lines += self._branch(step, on, [clbit[bit] for bit in step.clbits], clbit)
            elif name in NOT_GATES:
                lines.append(_marker(name, [float(value) for value in operation.params], _unit(operation), on))
            else:
                params = [float(value) for value in operation.params]
                lines.append(_gate(self.dialect, name, [_literal(a) for a in in_radians(name, params)], on))
        return lines

    def _branch(self, step: Any, on: list[str], into: list[int], clbit: Mapping[Any, int]) -> list[str]:
        wanted, is_negated = conditions.read(step.operation.condition, clbit)
        assert not is_negated  # as `rebuild` writes them
        known = self.written.copy()
        blocks = [
            self._block(block, dict(enumerate(on)), dict(enumerate(into))) if block is not None else []
            for block in (*step.operation.params, None)[:2]
        ]
        if self.dialect.bits_are_numbers:
            if any(value and bit not in known for bit, value in wanted.items()):
                return blocks[1]
            wanted = {bit: value for bit, value in wanted.items() if bit in known}
            if not wanted:
                return blocks[0]
        lines = [f"if ({self._condition(wanted)}) {{", *blocks[0], "}"]
        return [*lines[:-1], "} else {", *blocks[1], "}"] if blocks[1] else lines

    def _condition(self, wanted: Mapping[int, int]) -> str:
        if self.dialect.bits_are_numbers:
            if list(wanted.values()) == [1]:
                return f"b[{next(iter(wanted))}]"
            return " && ".join(f"b[{bit}] == {value}" for bit, value in sorted(wanted.items()))
        if len(wanted) == self.n_clbits > 1:
            return f"b == {sum(value << bit for bit, value in wanted.items())}"
        return " && ".join(f"{'' if value else '!'}b[{bit}]" for bit, value in sorted(wanted.items()))


def _unit(operation: Any) -> str | None:
    return operation.unit if operation.name == "delay" else None


_NANOSECONDS = {"ps": 1e-3, "s": 1e9}  # a compiler turns all units into seconds; OpenQASM has no picoseconds


def _marker(name: str, params: Sequence[float], unit: str | None, on: Sequence[str]) -> str:
    """A step that is no gate and no measurement."""
    if name == "delay":
        value, unit = (round(params[0] * _NANOSECONDS[unit], 6), "ns") if unit in _NANOSECONDS else (params[0], unit)
        return f"delay[{int(value) if value == int(value) else value!r}{unit}] {on[0]};"
    return f"{name} {', '.join(on)};"


def _final_measures(program: Program, name_of: Sequence[str]) -> list[str]:
    return [f"b[{k}] = measure {name_of[qubit]};" for k, qubit in enumerate(program.measured_qubits)]


def _literal(value: Any) -> str:
    return repr(float(value))


def _gate(dialect: Dialect, name: str, angles: list[str], on: Sequence[str]) -> str:
    if name not in dialect.gates:
        raise ProgramRejected(f"gate {name} has no form in {dialect.name} OpenQASM; write it with standard gates")
    given = f"({', '.join(angles)})" if angles else ""
    return f"{dialect.gates[name]}{given} {', '.join(on)};"


def _compiled(program: Program, dialect: Dialect) -> QuantumCircuit:
    used = {step.name for step in walk(program.instructions)} - NOT_GATES
    circuit = program.circuit()
    if used <= dialect.gates.keys() or program.is_verbatim:
        return circuit
    if opaque := sorted(name for name in used if name.startswith(OPAQUE)):
        raise _native_elsewhere(program, opaque[0])
    if foreign := sorted(used & NATIVE.keys() - dialect.gates.keys()):
        # by our own definitions: other libraries put theirs into Qiskit's session-wide list of equivalences
        circuit = circuit.decompose(gates_to_decompose=foreign)
    with _compiling:
        return run_passes(_compiler(tuple(dialect.gates)), circuit, program.name)


@lru_cache(maxsize=8)
def _compiler(gates: tuple[str, ...]) -> Any:
    """Pass manager into a dialect's gates; building one costs as much as compiling ten small circuits."""
    from qiskit.transpiler import Target, generate_preset_pass_manager

    basis = [*gates, "measure", "reset", "delay"]
    if native := NATIVE.keys() & set(gates):
        from qiskit.circuit import IfElseOp

        from qflows.programs.native import generic

        target = Target.from_configuration(basis, custom_name_mapping={name: generic(name) for name in native})
        target.add_instruction(IfElseOp, name="if_else")
        return generate_preset_pass_manager(optimization_level=0, target=target)
    return generate_preset_pass_manager(optimization_level=0, basis_gates=[*basis, "if_else"])
