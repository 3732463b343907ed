"""qiskit circuits in canonical form: values bound, foreign gates replaced by their definitions, bits as indices."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from qflows.errors import ProgramRejected
from qflows.programs import conditions
from qflows.programs.gates import DELAY_UNITS, MAX_UNITARY_QUBITS, NATIVE, OPAQUE, STANDARD
from qflows.programs.notes import plain_notes
from qflows.programs.placement import compact, is_placed
from qflows.programs.program import Program, seal

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

MAX_STEPS = 500_000
"""Steps visited while definitions are expanded; 60 lines of nested gate definitions can ask for 2**60."""
DEFINITION_STEPS = 5
"""What looking up one definition counts as: building it takes qiskit about 50 us, a plain step 2 us (measured)."""
MAX_NESTING = 200
MAX_BRANCHES = 16
"""Branches and loops inside each other."""
_MS_ANGLE = 0.25  # turns; fully entangling, and what IonQ takes where a gate gives two phases only

BUILDER_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What third-party circuit code raises on unforeseen input, besides QiskitError."""


def read_circuit(circuit: QuantumCircuit, values: Any, name: str | None) -> Program:
    """Canonical program of a circuit with `values` bound. Raises ProgramRejected."""
    from qiskit.exceptions import QiskitError

    label = name or circuit.name or "program"
    try:
        bound = bind(circuit, values, label)
        reader = _Reader(label, bound)
        reader.expand(bound)
        clbits = reader.clbits
        program = seal(
            n_qubits=len(reader.qubits),
            n_clbits=len(clbits),
            registers=_registers(bound, clbits, label),
            phase=reader.phase,
            ops=reader.ops,
            name=label,
            metadata=plain_notes(circuit.metadata, label),
        )
        return compact(program) if is_placed(bound) else program
    except (QiskitError, *BUILDER_ERRORS) as error:
        raise ProgramRejected(
            f"program {label!r} cannot be expanded into standard gates ({type(error).__name__}: {error!s:.300}); "
            "try qiskit.transpile(circuit, basis_gates=['u', 'cx']) first"
        ) from error


def bind(circuit: QuantumCircuit, values: Any, label: str) -> QuantumCircuit:
    """The circuit without free parameters. Raises ProgramRejected naming those that are missing or unknown."""
    if values is None:
        if circuit.num_parameters:
            raise ProgramRejected(
                f"program {label!r} has unbound parameters: {_names(circuit)}; pass (circuit, values) with values in "
                "this order, or as a mapping from name to number"
            )
        return circuit
    if isinstance(values, Mapping):
        return _bind_mapping(circuit, values, label)
    try:
        if isinstance(values, str):
            raise TypeError("text has no numbers")
        numbers = [_real(value) for value in values]
    except (TypeError, ValueError) as error:
        raise ProgramRejected(
            f"program {label!r}: values must be one flat sequence of real numbers or a mapping, not "
            f"{type(values).__name__} ({error}); many sets of values at once: qflows.batch((circuit, values), ...)"
        ) from error
    _require_finite(numbers, label)
    if len(numbers) != circuit.num_parameters:
        raise ProgramRejected(
            f"program {label!r}: {len(numbers)} values for {circuit.num_parameters} parameters "
            f"({_names(circuit)}); give one value each, in this order"
        )
    return circuit.assign_parameters(numbers, flat_input=True) if numbers else circuit


def _bind_mapping(circuit: QuantumCircuit, values: Mapping[Any, Any], label: str) -> QuantumCircuit:
    from qiskit.circuit import ParameterVector
    from qiskit.circuit.exceptions import CircuitError

    known = {parameter.name: parameter for parameter in circuit.parameters}
    bound: dict[Any, float] = {}
    try:
        for key, value in values.items():
            if isinstance(key, ParameterVector):
                bound.update(zip([element.name for element in key], map(_real, value), strict=True))
            else:
                name = key if isinstance(key, str) else key.name
                if name in bound:
                    raise ProgramRejected(f"program {label!r}: parameter {name} is given twice; give it one value")
                bound[name] = _real(value)
    except (AttributeError, TypeError, ValueError) as error:
        raise ProgramRejected(
            f"program {label!r}: values must map a parameter, a ParameterVector or a name to real numbers ({error})"
        ) from error
    _require_finite(bound.values(), label)
    if set(bound) != set(known):
        missing, extra = sorted(set(known) - set(bound)), sorted(set(bound) - set(known))
        raise ProgramRejected(
            f"program {label!r}: values do not match its parameters; missing: {_few(missing)}, unknown: {_few(extra)}"
        )
    try:
        return circuit.assign_parameters({known[key]: value for key, value in bound.items()}) if bound else circuit
    except CircuitError as error:
        raise ProgramRejected(f"program {label!r}: values cannot be bound ({error!s:.300})") from error


def _real(value: Any) -> float:
    if getattr(value, "imag", 0):  # NumPy's complex numbers would lose it with a warning
        raise TypeError("a value has an imaginary part")
    return float(getattr(value, "real", value))


def _require_finite(numbers: Iterable[float], label: str) -> None:
    if not all(map(math.isfinite, numbers)):
        raise ProgramRejected(f"program {label!r}: a value is nan or infinite; give finite values")


def _names(circuit: QuantumCircuit) -> str:
    return _few([parameter.name for parameter in circuit.parameters])


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:12]) or "none"
    return shown if len(names) <= 12 else f"{shown} and {len(names) - 12} more"


def _registers(circuit: QuantumCircuit, clbits: dict[Any, int], label: str) -> list[tuple[str, list[int]]]:
    registers = [(register.name, [clbits[bit] for bit in register]) for register in circuit.cregs]
    places = [bit for _, bits in registers for bit in bits]
    if len(set(places)) != len(places):
        raise ProgramRejected(
            f"program {label!r}: classical registers share a bit, so a count string would show it twice; "
            "give every register its own bits"
        )
    return registers


class _Reader:
    """Walks a circuit with an explicit stack, so that nesting costs neither Python frames nor unbounded work."""

    def __init__(self, label: str, circuit: QuantumCircuit) -> None:
        self.label = label
        self.ops: list[list[Any]] = []
        self.phase = 0.0
        self.visits = 0
        self.branches = 0
        _ = circuit.data  # library circuits build themselves, and fix their bits, on first access
        self.qubits: dict[Any, int] = {bit: place for place, bit in enumerate(circuit.qubits)}
        self.clbits: dict[Any, int] = {bit: place for place, bit in enumerate(circuit.clbits)}

    def expand(self, circuit: QuantumCircuit) -> None:
        """Append every step of `circuit`, definitions in place of the gates they define."""
        self._walk(circuit, self.qubits, self.clbits)

    def _walk(self, circuit: QuantumCircuit, qubits: dict[Any, int], clbits: dict[Any, int]) -> None:
        self.phase += float(circuit.global_phase)
        stack = [(iter(circuit.data), qubits, clbits)]
        while stack:
            steps, qubits, clbits = stack[-1]
            inner = self._run_until_definition(steps, qubits, clbits)
            if inner is None:
                stack.pop()
                continue
            if len(stack) >= MAX_NESTING:
                self.refuse(f"gate definitions are nested more than {MAX_NESTING} deep", "flatten the definitions")
            self.visits += DEFINITION_STEPS
            definition, on_qubits, on_clbits = inner
            self.phase += float(definition.global_phase)
            stack.append(
                (
                    iter(definition.data),
                    dict(zip(definition.qubits, on_qubits, strict=True)),
                    dict(zip(definition.clbits, on_clbits, strict=True)),
                )
            )

    def _run_until_definition(
        self, steps: Iterator[Any], qubits: dict[Any, int], clbits: dict[Any, int]
    ) -> tuple[QuantumCircuit, list[int], list[int]] | None:
        """Emit steps until one has to be replaced by its definition; None at the end."""
        ops = self.ops
        for step in steps:
            self.visits += 1
            if self.visits > MAX_STEPS:
                self.refuse(f"it expands to more than {MAX_STEPS} steps", "split it")
            on = [qubits[bit] for bit in step.qubits]
            # qiskit's own verdict, by type: a user's Gate("h") is not standard, a label or subclass of HGate still is,
            # as it is for every qiskit simulator and compiler
            if step.is_standard_gate() and step.name in STANDARD:
                params = step.params
                ops.append([step.name, [self._number(value, step.name) for value in params] if params else [], on, []])
                continue
            into = [clbits[bit] for bit in step.clbits]
            if step.is_control_flow():
                self._flow(step, on, into, clbits)
                continue
            definition = self._emit_or_define(step, on, into)
            if definition is not None:
                return definition, on, into
        return None

    def _emit_or_define(self, step: Any, on: list[int], into: list[int]) -> QuantumCircuit | None:
        """Append a step that is not a standard gate, or return the circuit that defines it."""
        from qiskit.circuit import Barrier, Delay, Gate, Instruction, Measure, Reset
        from qiskit.circuit.library import GlobalPhaseGate, UnitaryGate

        operation = step.operation
        kind = getattr(operation, "base_class", type(operation))
        if kind is Measure:
            self.ops.append(["measure", [], on, into])
        elif kind is Reset:
            self.ops.append(["reset", [], on, []])
        elif kind is GlobalPhaseGate:
            self.phase += self._number(step.params[0], "global_phase")
        elif kind is UnitaryGate:
            self._unitary(operation, on)
        elif kind is Delay:
            self._delay(operation, on)
        elif kind is Barrier:
            self.ops += [["barrier", [], sorted(on), []]] if on else []
        elif not isinstance(operation, Instruction):
            return _synthesised(operation)
        elif step.name in ("break_loop", "continue_loop"):
            self._refuse_flow(step.name)
        elif getattr(operation, "_directive", False):
            self.refuse(f"simulator instruction {step.name!r} has no meaning on a device", "remove it")
        elif kind.__module__.startswith(("qiskit_ionq.", "qflows.")) and step.name in NATIVE:
            self._native(step, on)
        else:
            definition = _definition(operation)
            if definition is not None:
                return definition
            if not isinstance(operation, Gate):
                self.refuse(f"instruction {step.name!r} has no definition", "remove it, or define it with gates")
            self._undefined_gate(step, on)
        return None

    def _flow(self, step: Any, on: list[int], into: list[int], clbits: dict[Any, int]) -> None:
        """Append a branch, or a loop over known numbers step by step. Refuses all other control flow."""
        self.branches += 1
        if self.branches > MAX_BRANCHES:
            self.refuse(f"branches and loops are nested more than {MAX_BRANCHES} deep", "flatten them")
        if step.name == "if_else":
            self._branch(step, on, into, clbits)
        elif step.name == "for_loop":
            indices, parameter, body = step.operation.params
            for index in indices:
                self.visits += DEFINITION_STEPS
                bound = body.assign_parameters({parameter: index}) if parameter in body.parameters else body
                self._walk(bound, *_wires(bound, on, into))
        else:
            self._refuse_flow(step.name)
        self.branches -= 1

    def _refuse_flow(self, name: str) -> NoReturn:
        self.refuse(
            f"it contains control flow ({name}); qflows takes if/else on measured bits and loops over known numbers",
            "write it with those, or measure at the end and post-select",
        )

    def _branch(self, step: Any, on: list[int], into: list[int], clbits: dict[Any, int]) -> None:
        try:
            wanted, is_negated = conditions.read(step.operation.condition, clbits)
        except conditions.Unreadable as error:
            self.refuse(f"the condition of an if {error}", "compare measured bits with known values, joined by and")
        sides: list[list[Any]] = []
        outer, phase = self.ops, self.phase
        for block in step.operation.params:
            self.ops = []
            if block is not None:
                self._walk(block, *_wires(block, on, into))
            sides.append(self.ops)
        # the phase of a branch, taken or not, shows in no outcome
        self.ops, self.phase = outer, phase
        self.ops += conditions.branch(wanted, *(sides[::-1] if is_negated else sides))

    def _undefined_gate(self, step: Any, on: list[int]) -> None:
        # a gate with a matrix means that matrix, whatever its name; only a bare name is left to the vendor
        if hasattr(step.operation, "__array__") and len(on) <= MAX_UNITARY_QUBITS:
            from qiskit.circuit.library import UnitaryGate

            self._unitary(UnitaryGate(step.operation.to_matrix(), check_input=False), on)
        else:
            self._native(step, on)

    def _native(self, step: Any, on: list[int]) -> None:
        """A gate that is known by its name: one of the table, or one whose meaning is the vendor's."""
        params = [self._number(value, step.name) for value in step.params]
        if step.name == "ms" and len(params) == 2:
            params.append(_MS_ANGLE)
        known = NATIVE.get(step.name) == (len(on), len(params))
        self.ops.append([step.name if known else OPAQUE + step.name, params, on, []])

    def _delay(self, operation: Any, on: list[int]) -> None:
        given, unit = operation.duration, operation.unit
        if unit == "expr":
            constant: Any = getattr(given, "value", None)  # of an expression that is one number
            if not hasattr(constant, "unit"):
                self.refuse("a delay is computed while the circuit runs", "give its duration as a number")
            given, unit = constant.value(), constant.unit()
        if unit not in DELAY_UNITS:
            self.refuse(f"a delay has unit {unit!r}", f"use one of {sorted(DELAY_UNITS)}")
        duration = self._number(given, "delay")
        if duration < 0:
            self.refuse(f"a delay of {duration} {unit} is negative", "give a duration of 0 or more")
        self.ops.append(["delay", [duration], on, [], unit])

    def _unitary(self, operation: Any, on: list[int]) -> None:
        """Append a matrix as floats. Refuses one that is too wide or not unitary."""
        import numpy

        if not 1 <= len(on) <= MAX_UNITARY_QUBITS:
            self.refuse(f"a unitary matrix acts on {len(on)} qubits", f"decompose it to {MAX_UNITARY_QUBITS} or fewer")
        matrix = numpy.ascontiguousarray(operation.params[0], dtype=complex)
        side = 2 ** len(on)
        if matrix.shape != (side, side) or not numpy.allclose(matrix @ matrix.conj().T, numpy.eye(side), atol=1e-7):
            self.refuse(f"matrix {operation.label or 'unitary'!r} is not unitary", "renormalize it")
        self.visits += side * side
        self.ops.append(["unitary", (matrix.view(float).ravel() + 0.0).tolist(), on, []])

    def _number(self, value: Any, gate: str) -> float:
        if type(value) is float:
            return value + 0.0  # -0.0 becomes 0.0
        if getattr(value, "parameters", None):
            names = _few(sorted(parameter.name for parameter in value.parameters))
            self.refuse(f"gate {gate} has unbound parameters: {names}", "bind them with values")
        try:
            return float(value) + 0.0
        except (TypeError, ValueError, OverflowError) as error:
            raise ProgramRejected(
                f"program {self.label!r}: parameter {value!r:.60} of {gate} is not a real number; give a float"
            ) from error

    def refuse(self, why: str, remedy: str) -> NoReturn:
        """Raise ProgramRejected for this program."""
        raise ProgramRejected(f"program {self.label!r}: {why}; {remedy}")


def _wires(circuit: QuantumCircuit, on: list[int], into: list[int]) -> tuple[dict[Any, int], dict[Any, int]]:
    """The program's qubits and clbits by the bits of a block."""
    _ = circuit.data
    return dict(zip(circuit.qubits, on, strict=True)), dict(zip(circuit.clbits, into, strict=True))


def _definition(operation: Any) -> QuantumCircuit | None:
    """The circuit that defines `operation`, with its controls on 1; None if it has only a name."""
    from qiskit import QuantumCircuit
    from qiskit.circuit import ControlledGate
    from qiskit.circuit.library import C3XGate, MCXGate

    if isinstance(operation, ControlledGate):
        zeros = [place for place in range(operation.num_ctrl_qubits) if not operation.ctrl_state >> place & 1]
        if zeros:  # spelled out, so that no reader of the text can forget a control on 0
            closed = operation.to_mutable()
            closed.ctrl_state = None
            spelled = QuantumCircuit(operation.num_qubits)
            spelled.x(zeros)
            spelled.append(closed, range(operation.num_qubits))
            spelled.x(zeros)
            return spelled
        if operation.base_class is MCXGate and operation.num_ctrl_qubits == 3:
            closed = QuantumCircuit(4)
            closed.append(C3XGate(), range(4))
            return closed
    return operation.definition


def _synthesised(operation: Any) -> QuantumCircuit:
    """Circuit of an abstract operation (annotated gate, Clifford, ...) by qiskit's own synthesis."""
    from qiskit import QuantumCircuit

    single = QuantumCircuit(operation.num_qubits, operation.num_clbits)
    single.append(operation, range(operation.num_qubits), range(operation.num_clbits))
    return single.decompose()
