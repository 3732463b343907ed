"""The allowed contents of `action` of CreateQuantumTask, checked against the device and split into executables."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from qflows.sandbox.braket.capabilities import OPENQASM, PROGRAM_SET
from qflows.sandbox.braket.devices import Device
from qflows.sandbox.braket.feedforward import listeners
from qflows.sandbox.braket.flat import Flat, read
from qflows.sandbox.errors import Refusal

SwitchReader = Callable[[str], Any]

# integration tests of amazon-braket-sdk, 2026-08; PennyLane demos pull request 573
ALL_MEASURED = (
    "Device requires all qubits in the program to be measured. This may be caused by declaring non-contiguous qubits "
    "or measuring partial qubits"
)
_ALLOWED_PRAGMA = re.compile(r"#pragma braket (verbatim|result (sample|expectation|variance|probability)\b)")
_ARRAY = re.compile(r"\w+\[\s*(-|\{|[^\]]*:)|\+\+")
_SELF_INVERSE = frozenset({"x", "y", "z", "h", "cz", "cnot", "swap", "ccnot", "cy"})
_FEEDBACK = re.compile(r"\b(measure_ff|cc_prx|if)\b")


@dataclass
class Action:
    """A checked action. `executables` are the worker's payload; `place[i]` is (program, inputs index) of each."""

    kind: str
    programs: list[dict[str, Any]]
    executables: list[dict[str, Any]] = field(default_factory=list)
    place: list[tuple[int, int]] = field(default_factory=list)
    shots_each: int = 0

    @property
    def is_set(self) -> bool:
        """True for many executables in one task."""
        return self.kind == PROGRAM_SET


@dataclass(frozen=True)
class Rules:
    """What the device, the switches and the task itself allow."""

    device: Device
    sets: tuple[int, int] | None
    experimental: bool
    switch: SwitchReader


def bad(message: str) -> Refusal:
    """A validation failure."""
    return Refusal(400, message, code="ValidationException")


def take_apart(text: str, shots: int, rules: Rules) -> Action:
    """Check an action. Raises Refusal(400)."""
    try:
        document = json.loads(text)
        kind = document["braketSchemaHeader"]["name"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise bad("action is not a Braket IR document") from None
    if kind == PROGRAM_SET:
        return _program_set(document, shots, rules)
    if kind != OPENQASM:
        raise bad(f"the device does not support action {kind}")
    _check_shots(rules.device, shots)
    action = Action(kind, [document], shots_each=shots)
    inputs = document.get("inputs") or {}
    if not isinstance(inputs, dict):
        raise bad("inputs must be an object")
    action.executables.append(_executable(document, inputs, shots, rules))
    action.place.append((0, 0))
    return action


def _program_set(document: dict[str, Any], shots: int, rules: Rules) -> Action:
    if rules.sets is None:
        raise bad(f"{rules.device.name} does not support action {PROGRAM_SET}")
    programs = document.get("programs")
    if not isinstance(programs, list) or not programs or not all(isinstance(p, dict) for p in programs):
        raise bad("a program set needs programs")
    action = Action(PROGRAM_SET, programs)
    problems: list[dict[str, Any]] = []
    for index, program in enumerate(programs):
        for inputs_index, inputs in enumerate(_input_sets(program, index)):
            try:
                action.executables.append(_executable(program, inputs, 1, rules))
            except Refusal as refusal:
                place = {"programIndex": index, "inputsIndex": inputs_index}
                problems.append(place | {"errors": [refusal.message]})
            action.place.append((index, inputs_index))
    if problems:
        raise _SetRefusal(problems)
    _check_size(action, shots, rules)
    return action


def _check_size(action: Action, shots: int, rules: Rules) -> None:
    most_executables, most_shots = rules.sets or (1, 0)
    count = len(action.executables)
    if count > most_executables:
        raise bad(f"{count} executables; the maximum is {most_executables}")
    if shots > most_shots:
        raise bad(f"{shots} shots; the maximum of a program set is {most_shots}")
    if shots % count and rules.switch("program_set_shots") == "refuse":
        raise bad(f"{shots} shots cannot be divided among {count} executables")
    action.shots_each = shots // count
    _check_shots(rules.device, action.shots_each)


class _SetRefusal(Refusal):
    """A program set with bad members; `details` goes into the answer."""

    def __init__(self, problems: list[dict[str, Any]]) -> None:
        super().__init__(400, "the program set is not valid", code="ValidationException")
        self.details = {"reason": "ProgramSetValidationFailed", "programSetValidationFailures": problems}


def _input_sets(program: Mapping[str, Any], index: int) -> list[dict[str, Any]]:
    inputs = program.get("inputs") or {}
    if not isinstance(inputs, dict) or not all(isinstance(values, list) for values in inputs.values()):
        raise bad(f"program {index}: inputs of a program set must be lists")
    lengths = {len(values) for values in inputs.values()}
    if len(lengths) > 1:
        raise bad(f"program {index}: inputs must be of equal length")
    if not inputs:
        return [{}]
    return [{name: values[place] for name, values in inputs.items()} for place in range(lengths.pop())]


def _check_shots(device: Device, shots: int) -> None:
    low, high = device.shots
    if not low <= shots <= high:
        raise bad(f"shots must be in {low}..{high} on {device.name}, not {shots}")


def _executable(program: Mapping[str, Any], inputs: dict[str, Any], shots: int, rules: Rules) -> dict[str, Any]:
    source = program.get("source")
    if not isinstance(source, str) or not source.strip():
        raise bad("a program needs a source")
    flat = read(source, inputs)
    if flat is None:
        if "measure" not in source and "#pragma" not in source and shots == 0:
            raise bad("shots=0 needs result types")
        if rules.device.is_qpu:
            _check_text(re.sub(r"//[^\n]*", "", source), rules)
        return {"source": source, "inputs": inputs}
    if shots == 0:
        raise bad("shots=0 needs result types")
    _check_flat(flat, rules)
    gates = flat.gates
    if rules.device.is_qpu and not flat.verbatim and rules.switch("barriers") == "merged":
        gates = _merged(gates)
    return {"gates": gates, "measured": flat.readout}


def _merged(gates: list[list[Any]]) -> list[list[Any]]:
    """Without pairs of equal self-inverse gates that follow each other, as left by a compiler that ignores barriers."""
    kept: list[list[Any]] = []
    for gate in gates:
        touching = [i for i, other in enumerate(kept) if set(other[2]) & set(gate[2])]
        if touching and gate[0] in _SELF_INVERSE and kept[touching[-1]] == gate:
            del kept[touching[-1]]
        else:
            kept.append(gate)
    return kept


def _check_text(source: str, rules: Rules) -> None:
    """Refuse what a QPU does not accept in a program and the reader of flat texts does not know."""
    name = rules.device.name
    for pragma in re.findall(r"#pragma[^\n]*", source):
        if not _ALLOWED_PRAGMA.match(pragma):
            raise bad(f"{name} does not support {pragma.strip()}")
    code = re.sub(r"#pragma[^\n]*", "", source)
    if "@" in code:
        raise bad(f"{name} does not support gate modifiers")
    if len(re.findall(r"\bqubit\b", code)) > 1 or len(re.findall(r"\bbit\b", code)) > 1:
        raise bad(f"{name} takes one qubit array and one classical array")
    if _ARRAY.search(code):
        raise bad(f"{name} does not support array operations")
    if unknown := re.search(r"\b(reset|for|while|def)\b", code) or (
        rules.switch("unlisted_delay") == "refuse" and re.search(r"\bdelay\b", code)
    ):
        raise bad(f"{name} does not support {unknown[0]}")
    if _FEEDBACK.search(code) or re.search(r"\bmeasure\b[^;]*;(?!\s*(\w+(\[\d+\])?\s*=\s*)?measure\b)\s*[^\s}]", code):
        if "measure_ff" not in rules.device.gates:
            raise bad(f"{name} does not support measurements before the end of a program")
        if not rules.experimental:
            raise bad(f"{name} needs experimentalCapabilities for measurements before the end of a program")
        if rules.switch("feedforward") == "one_source":
            _check_sources(code, name)


def _check_sources(code: str, name: str) -> None:
    for qubit, heard in listeners(code).items():
        if len(heard) > 1:
            raise bad(f"{name}: {qubit} listens to {' and '.join(sorted(heard))}; a qubit has one feedback source")


def _check_flat(flat: Flat, rules: Rules) -> None:
    device = rules.device
    if not flat.readout:
        raise bad("the program has no gate and no measurement")
    _check_qubits(flat, device)
    verbatim = set(flat.verbatim)
    outside = {gate[0] for place, gate in enumerate(flat.gates) if place not in verbatim}
    if unknown := sorted(outside - set(device.gates)):
        raise bad(f"{device.name} does not support gate {unknown[0]}")
    if flat.has_barrier and "barrier" not in device.gates and rules.switch("unlisted_barrier") == "refuse":
        raise bad(f"{device.name} does not support barrier")
    if flat.has_delay and rules.switch("unlisted_delay") == "refuse":
        raise bad(f"{device.name} does not support delay")
    if verbatim:
        _check_verbatim(flat, device, has_more=bool(outside))


def _check_qubits(flat: Flat, device: Device) -> None:
    used = {qubit for _, _, qubits in flat.gates for qubit in qubits} | set(flat.measured)
    if device.is_qpu and (flat.qubit_arrays > 1 or flat.bit_arrays > 1):
        raise bad(f"{device.name} takes one qubit array and one classical array")
    if flat.has_physical:
        if not device.is_qpu:
            raise bad(f"{device.name} does not support physical qubits")
        if flat.n_qubits:
            raise bad("a program has either physical qubits or a qubit array")
        if missing := sorted(used - set(device.labels)):
            raise bad(f"{device.name} has no qubit ${missing[0]}")
    elif flat.n_qubits > device.qubits:
        raise bad(f"{device.name} has {device.qubits} qubits; the program uses {flat.n_qubits}")
    asked = used if flat.has_physical else set(range(flat.n_qubits))
    if device.measures_all and flat.slots and set(flat.measured) != asked:
        raise bad(ALL_MEASURED)


def _check_verbatim(flat: Flat, device: Device, *, has_more: bool) -> None:
    if not device.native:
        raise bad(f"{device.name} does not support verbatim")
    if flat.n_qubits or not flat.has_physical:
        raise bad("a verbatim box needs physical qubits")
    if has_more and not device.takes_partial_box:
        raise bad(f"{device.name} does not support gates outside of a verbatim box")
    native = {name.lower() for name in device.native}
    pairs = None if device.edges is None else {frozenset(edge) for edge in device.edges}
    for place in flat.verbatim:
        name, _, qubits = flat.gates[place]
        if name not in native:
            raise bad(f"{name} is not native on {device.name}; native are {', '.join(device.native)}")
        if len(qubits) == 2 and pairs is not None and frozenset(qubits) not in pairs:
            raise bad(f"qubits {qubits[0]} and {qubits[1]} of {device.name} are not connected")
