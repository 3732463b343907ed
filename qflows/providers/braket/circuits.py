"""Programs as Braket takes them: OpenQASM in a device's own gates and qubits, alone or in program sets."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

from qflows.errors import ProgramRejected
from qflows.programs import Program
from qflows.programs.analysis import plain
from qflows.programs.gates import in_radians
from qflows.programs.program import seal
from qflows.programs.to_openqasm import BRAKET, Dialect, angles_apart, to_openqasm, to_openqasm_with_inputs
from qflows.protocol import JobSpec
from qflows.providers.braket.devices import OPENQASM, PROGRAM_SET, Device

# gates that only a verbatim box may hold besides the named ones; numbers as Braket takes them, angles in radians
NATIVE = frozenset({"gpi", "gpi2", "ms", "zz", "xy", "pswap", "cphaseshift00", "cphaseshift01", "cphaseshift10"})
VERBATIM = dict(BRAKET.gates) | {name: name for name in NATIVE}


def action(spec: JobSpec, device: Device) -> dict[str, Any]:
    """One OpenQASM program, or a program set: one program per shape, whose inputs list the angles of its executables.

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
    """Which programs travel together: entry p of a set is executed once for each index in `layout(spec)[p]`, in order.

    Programs without angles are never put together, since a set has no other way to say "twice".
    """
    groups: dict[str | int, list[int]] = {}
    for index, program in enumerate(spec.programs):
        shape, angles = (program, ()) if _has_literal_angles(spec) else angles_apart(program)
        groups.setdefault(shape.digest if angles else index, []).append(index)
    return list(groups.values())


def _has_literal_angles(spec: JobSpec) -> bool:
    return bool(spec.options.get("verbatim") or spec.options.get("literal_angles"))


def is_physical(spec: JobSpec) -> bool:
    """True if the programs name the device's own qubits: qubit i is `$i`."""
    return bool(spec.options.get("verbatim") or spec.options.get("disable_qubit_rewiring"))


def number_of(program: Program, qubit: int, spec: JobSpec) -> int:
    """The number by which a result calls a qubit of the program."""
    return qubit


def source_of(program: Program, spec: JobSpec, device: Device | None) -> tuple[str, dict[str, float]]:
    """OpenQASM of one program, measured last in ascending clbit order, and its inputs in radians.

    Where the device wants all qubits measured, the others follow; their columns are dropped from the result. Without
    a device everything is checked that every device refuses. Raises ProgramRejected.
    """
    if not program.measured:
        raise ProgramRejected(f"{program.name} measures nothing; Braket would then measure every qubit")
    if program.has_mid_circuit:
        raise ProgramRejected(f"{program.name}: braket OpenQASM takes measurements at the end only")
    if any(step.name == "delay" for step in program.instructions):
        raise ProgramRejected(f"{program.name} has a delay, and no device of Braket takes one; remove it")
    if device is not None:
        _check_numbers(program, spec, device)
    if spec.options.get("verbatim"):
        return _verbatim(program, device), {}
    whole = _completed(program) if device is not None and device.measures_all and not is_physical(spec) else program
    gates = (device.dialect if device is not None else BRAKET).gates
    source, inputs = _exported(whole, tuple(sorted(gates.items())), has_inputs=not _has_literal_angles(spec))
    return (_on_own_qubits(source) if is_physical(spec) else source), inputs


def _check_numbers(program: Program, spec: JobSpec, device: Device) -> None:
    """Raises ProgramRejected for qubits that the device does not have."""
    used = {qubit for step in program.instructions for qubit in step.qubits}
    known = set(device.labels or range(device.n_qubits or 0))
    if is_physical(spec) and known and (missing := sorted(used - known)):
        raise ProgramRejected(
            f"{program.name} is to run on the device's own qubits, and {device.name} has no qubit {missing[0]}; it has "
            f"{_spans(sorted(known))}"
        )


def _spans(numbers: list[int]) -> str:
    """Numbers as text, such as 0-7, 9-107."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][-1] + 1:
            found[-1][1:] = [number]
        else:
            found.append([number])
    return ", ".join("-".join(map(str, span)) for span in found)


@lru_cache(maxsize=4096)
def _completed(program: Program) -> Program:
    """The program with every qubit measured: the asked ones first, into bits of their own."""
    ops = [op for op in json.loads(program.text)["ops"] if op[0] != "measure"]
    asked = list(program.measured_qubits)
    rest = [qubit for qubit in range(program.n_qubits) if qubit not in asked]
    ops += [["measure", [], [qubit], [bit]] for bit, qubit in enumerate(asked + rest)]
    bits = range(program.n_qubits)
    registers = [("b", list(bits))]
    return seal(
        n_qubits=program.n_qubits, n_clbits=len(bits), registers=registers, phase=0.0, ops=ops, name=program.name
    )


def _on_own_qubits(source: str) -> str:
    return re.sub(r"\bq\[(\d+)\]", r"$\1", re.sub(r"\nqubit\[\d+\] q;", "", source))


@lru_cache(maxsize=512)
def _exported(
    program: Program, gates: tuple[tuple[str, str], ...], *, has_inputs: bool
) -> tuple[str, dict[str, float]]:
    from qiskit.exceptions import QiskitError

    dialect = Dialect("braket", "", dict(gates))
    try:
        return to_openqasm_with_inputs(program, dialect) if has_inputs else (to_openqasm(program, dialect), {})
    except QiskitError as error:
        names = ", ".join(theirs for _, theirs in gates)
        raise ProgramRejected(f"{program.name} cannot be written with the device's gates ({names}): {error}") from error


def _verbatim(program: Program, device: Device | None) -> str:
    """The gates as they are, on physical qubits: qubit i is `$i`. Nothing is compiled, by us or by Braket."""
    lines = ["OPENQASM 3.0;", f"bit[{len(program.measured_qubits)}] b;", "#pragma braket verbatim", "box{"]
    for step in plain(program).instructions:
        if step.name == "measure":
            continue
        if step.name not in VERBATIM:
            raise ProgramRejected(
                f"{program.name}: {step.name} is no Braket gate; verbatim takes the device's own only"
            )
        if device is not None:
            _check_native(program, VERBATIM[step.name], step.qubits, device)
        values = in_radians(step.name, step.params)
        angles = f"({', '.join(map(repr, values))})" if values else ""
        lines.append(f"{VERBATIM[step.name]}{angles} {', '.join(f'${qubit}' for qubit in step.qubits)};")
    lines += ["}", *(f"b[{k}] = measure ${qubit};" for k, qubit in enumerate(program.measured_qubits))]
    return "\n".join(lines) + "\n"


def _check_native(program: Program, gate: str, qubits: tuple[int, ...], device: Device) -> None:
    """Raises ProgramRejected for a gate that a verbatim box of this device cannot hold."""
    if not device.takes_verbatim:
        raise ProgramRejected(f"{device.name} takes no verbatim programs")
    if device.native and gate not in device.native:
        natives = ", ".join(sorted(device.native))
        raise ProgramRejected(f"{program.name}: {gate} is not native on {device.name}; native are {natives}")
    if len(qubits) == 2 and device.pairs is not None and frozenset(qubits) not in device.pairs:
        raise ProgramRejected(
            f"{program.name}: qubits {qubits[0]} and {qubits[1]} of {device.name} are not connected; verbatim programs "
            "stay on its couplers"
        )
