"""Programs as Braket takes them: OpenQASM in a device's own gates and qubits, alone or in program sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from qflows.errors import ProgramRejected
from qflows.programs import Program
from qflows.programs.features import Feature
from qflows.programs.gates import NATIVE
from qflows.programs.steps import NOT_GATES, Instruction
from qflows.programs.to_openqasm import BRAKET, Dialect, angles_apart, to_openqasm, to_openqasm_with_inputs
from qflows.protocol import JobSpec
from qflows.providers.braket.devices import DYNAMIC, OPENQASM, PROGRAM_SET, Device

# what a verbatim box may hold: the named gates, and those that are native to one vendor
VERBATIM: Mapping[str, str] = dict(BRAKET.gates) | {name: name for name in NATIVE}
# for a device whose document is not known yet: everything that some Braket device takes
_ANY = replace(BRAKET, takes=frozenset(Feature) - {Feature.DELAY, Feature.RESET})
_ANY_STATIC = replace(_ANY, takes=_ANY.takes - DYNAMIC)


def action(spec: JobSpec, device: Device) -> dict[str, Any]:
    """One OpenQASM program, or a program set: one program per shape, with inputs listing the angles of its executables.

    Inputs: docs.aws.amazon.com/braket, "What OpenQASM features does Braket support"; lists: amazon-braket-schemas
    1.32.1, `ProgramSet`.
    """
    members = []
    for group in layout(spec):
        written = [source_of(spec.programs[index], spec, device) for index in group]
        source, inputs = written[0]
        lists = {name: [values[name] for _, values in written] for name in inputs}
        members.append(
            {
                "braketSchemaHeader": {"name": OPENQASM, "version": "1"},
                "source": source,
                "inputs": lists if len(spec.programs) > 1 else inputs,
            }
        )
    if len(spec.programs) == 1:
        return members[0]
    return {"braketSchemaHeader": {"name": PROGRAM_SET, "version": "1"}, "programs": members}


def layout(spec: JobSpec) -> list[list[int]]:
    """Which programs go together: entry p of a set is executed once for each index in `layout(spec)[p]`, in order.

    Programs without angles are never grouped, because a set has no other way to say "twice".
    """
    groups: dict[str | int, list[int]] = {}
    for index, program in enumerate(spec.programs):
        shape, angles = (program, ()) if _has_literal_angles(program, spec) else angles_apart(program)
        groups.setdefault(shape.digest if angles else index, []).append(index)
    return list(groups.values())


def _has_literal_angles(program: Program, spec: JobSpec) -> bool:
    return bool(spec.options.get("literal_angles")) or is_verbatim(program, spec) or program.has_mid_circuit


def is_verbatim(program: Program, spec: JobSpec) -> bool:
    """True if the gates run as written."""
    return program.is_verbatim or bool(spec.options.get("verbatim"))


def is_physical(program: Program, spec: JobSpec) -> bool:
    """True if the program names the device's own qubits: by labels, otherwise qubit i is `$i`."""
    return program.is_physical or is_verbatim(program, spec) or bool(spec.options.get("disable_qubit_rewiring"))


def number_of(program: Program, qubit: int) -> int:
    """The number of a program's qubit in results."""
    return program.labels[qubit] if program.labels is not None else qubit


def source_of(program: Program, spec: JobSpec, device: Device | None) -> tuple[str, dict[str, float]]:
    """OpenQASM of one program, measured last in ascending clbit order, and its inputs in radians.

    If the device wants all qubits measured, the others follow; their columns are dropped from the result. Without a
    device, only what every device refuses is refused. Raises ProgramRejected.
    """
    if not program.measured:
        raise ProgramRejected(f"{program.name} measures nothing; Braket would then measure every qubit")
    placed = _placed(program, is_physical=is_physical(program, spec), is_verbatim=is_verbatim(program, spec))
    if device is not None:
        _check_qubits(placed, device)
        if "measure_ff" in device.operations:
            _check_sources(placed, device)
        if device.measures_all:
            placed = _completed(placed)
    dialect = device.dialect if device is not None else _ANY if "/iqm/" in spec.device_id else _ANY_STATIC
    if placed.is_verbatim:
        dialect = replace(dialect, gates=_native_gates(placed, device))
    hashable = replace(dialect, gates=tuple(sorted(dialect.gates.items())))  # pyright: ignore[reportArgumentType]
    return _exported(placed, hashable, has_inputs=not _has_literal_angles(program, spec))


@lru_cache(maxsize=4096)
def _placed(program: Program, *, is_physical: bool, is_verbatim: bool) -> Program:
    """The program with the options' choices for qubits and compiling."""
    labels = program.labels if program.labels is not None else range(program.n_qubits) if is_physical else None
    if labels == program.labels and is_verbatim == program.is_verbatim:
        return program
    return program.rewritten(program.ops(), labels=labels, is_verbatim=is_verbatim)


@lru_cache(maxsize=4096)
def without_labels(program: Program) -> Program:
    """The program with a register of qubits instead of a device's own."""
    return program if program.labels is None else program.rewritten(program.ops(), labels=None, is_verbatim=False)


@lru_cache(maxsize=4096)
def _completed(program: Program) -> Program:
    """The program with every qubit measured: the requested ones first, into bits of their own."""
    if program.has_mid_circuit:
        return program
    ops = [op for op in program.ops() if op[0] != "measure"]
    used = {qubit for op in ops for qubit in op[2]}
    asked = list(program.measured_qubits)
    # of the device's own qubits only those in use are declared
    rest = [q for q in range(program.n_qubits) if q not in asked and (q in used or not program.is_physical)]
    order = asked + rest
    ops += [["measure", [], [qubit], [bit]] for bit, qubit in enumerate(order)]
    return program.rewritten(ops, n_clbits=len(order), registers=[("b", list(range(len(order))))])


@lru_cache(maxsize=512)
def _exported(program: Program, hashable: Dialect, *, has_inputs: bool) -> tuple[str, dict[str, float]]:
    from qiskit.exceptions import QiskitError

    dialect = replace(hashable, gates=dict(hashable.gates))
    try:
        return to_openqasm_with_inputs(program, dialect) if has_inputs else (to_openqasm(program, dialect), {})
    except QiskitError as error:
        names = ", ".join(dialect.gates.values())
        raise ProgramRejected(f"{program.name} cannot be written with the device's gates ({names}): {error}") from error


def _check_qubits(program: Program, device: Device) -> None:
    """Raise ProgramRejected for qubits that the device does not have."""
    used = {number_of(program, qubit) for step in program.instructions for qubit in step.qubits}
    known = set(device.labels or range(device.n_qubits or 0))
    if program.is_physical and known and not device.is_simulator and (missing := sorted(used - known)):
        raise ProgramRejected(
            f"{program.name} is to run on the device's own qubits, and {device.name} has no qubit {missing[0]}; "
            f"its qubits are {_spans(sorted(known))}"
        )


def _check_sources(program: Program, device: Device) -> None:
    """Raise ProgramRejected if a qubit would follow several measured qubits, of which IQM's hear one each.

    amazon-braket-examples, introduction to dynamic circuits, 2025-06.
    """
    for qubit, heard in _listeners(program).items():
        if len(heard) > 1:
            sources = " and ".join(str(number_of(program, one)) for one in sorted(heard))
            raise ProgramRejected(
                f"{program.name}: gates on qubit {number_of(program, qubit)} follow the measurements of {sources}; on "
                f"{device.name} a qubit follows one measured qubit: amazon-braket-examples, dynamic circuits, 2025-06"
            )


def _listeners(program: Program) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    measured: dict[int, int] = {}

    def follow(steps: Iterable[Instruction], sources: frozenset[int]) -> None:
        for step in steps:
            if step.condition is not None:
                heard = sources.union(measured[bit] for bit in step.condition.bits if bit in measured)
                follow(step.then, heard)
                follow(step.otherwise, heard)
                continue
            if step.name == "measure":
                measured[step.clbits[0]] = step.qubits[0]
            elif sources and step.name not in NOT_GATES:
                for qubit in step.qubits:
                    found.setdefault(qubit, set()).update(sources)

    follow(program.instructions, frozenset())
    return found


def _spans(numbers: list[int]) -> str:
    """Numbers as text, such as 0-7, 9-107."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][-1] + 1:
            found[-1][1:] = [number]
        else:
            found.append([number])
    return ", ".join("-".join(map(str, span)) for span in found)


def _native_gates(program: Program, device: Device | None) -> Mapping[str, str]:
    """Names for a verbatim box. Raises ProgramRejected for gates and pairs that the device cannot run as written."""
    for step in program.instructions:
        if step.name in NOT_GATES:
            continue
        gate = VERBATIM.get(step.name)
        if gate is None:
            raise ProgramRejected(
                f"{program.name}: {step.name} is not a Braket gate; verbatim programs take only the device's own gates"
            )
        if device is not None:
            _check_native(program, gate, [number_of(program, qubit) for qubit in step.qubits], device)
    return VERBATIM


def _check_native(program: Program, gate: str, numbers: list[int], device: Device) -> None:
    if not device.takes_verbatim:
        raise ProgramRejected(f"{device.name} takes no verbatim programs")
    if device.native and gate not in device.native:
        natives = ", ".join(sorted(device.native))
        raise ProgramRejected(f"{program.name}: {gate} is not native on {device.name}; its native gates are {natives}")
    if len(numbers) == 2 and device.pairs is not None and frozenset(numbers) not in device.pairs:
        raise ProgramRejected(
            f"{program.name}: qubits {numbers[0]} and {numbers[1]} of {device.name} are not connected; verbatim "
            "programs stay on its couplers"
        )


def needs_experiments(spec: JobSpec) -> bool:
    """True if a program measures before its end, which Braket counts as an experimental capability."""
    return any(not program.features.isdisjoint(DYNAMIC) for program in spec.programs)
