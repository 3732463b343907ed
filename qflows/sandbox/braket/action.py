"""What `action` of CreateQuantumTask may hold, checked against the device and taken apart into executables."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from qflows.sandbox.braket.devices import MAX_EXECUTABLES, MAX_SET_SHOTS, OPENQASM, PROGRAM_SET, Device
from qflows.sandbox.braket.flat import Flat, read
from qflows.sandbox.errors import Refusal

SwitchReader = Callable[[str], Any]


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
        """Many executables in one task."""
        return self.kind == PROGRAM_SET


def bad(message: str) -> Refusal:
    """A validation failure."""
    return Refusal(400, message, code="ValidationException")


def take_apart(text: str, device: Device, shots: int, *, takes_sets: bool, switch: SwitchReader) -> Action:
    """Check an action. Raises Refusal(400)."""
    try:
        document = json.loads(text)
        kind = document["braketSchemaHeader"]["name"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise bad("action is not a Braket IR document") from None
    if kind == PROGRAM_SET:
        return _program_set(document, device, shots, takes_sets=takes_sets, switch=switch)
    if kind != OPENQASM:
        raise bad(f"the device does not support action {kind}")
    _check_shots(device, shots)
    action = Action(kind, [document], shots_each=shots)
    inputs = document.get("inputs") or {}
    if not isinstance(inputs, dict):
        raise bad("inputs must be an object")
    action.executables.append(_executable(document, inputs, device, shots, switch))
    action.place.append((0, 0))
    return action


def _program_set(
    document: dict[str, Any], device: Device, shots: int, *, takes_sets: bool, switch: SwitchReader
) -> Action:
    if not takes_sets:
        raise bad(f"{device.name} does not support action {PROGRAM_SET}")
    programs = document.get("programs")
    if not isinstance(programs, list) or not programs or not all(isinstance(p, dict) for p in programs):
        raise bad("a program set needs programs")
    action = Action(PROGRAM_SET, programs)
    problems: list[dict[str, Any]] = []
    for index, program in enumerate(programs):
        for inputs_index, inputs in enumerate(_input_sets(program, index)):
            try:
                action.executables.append(_executable(program, inputs, device, 1, switch))
            except Refusal as refusal:
                place = {"programIndex": index, "inputsIndex": inputs_index}
                problems.append(place | {"errors": [refusal.message]})
            action.place.append((index, inputs_index))
    if problems:
        raise _SetRefusal(problems)
    count = len(action.executables)
    if count > MAX_EXECUTABLES:
        raise bad(f"{count} executables; the maximum is {MAX_EXECUTABLES}")
    if shots > MAX_SET_SHOTS:
        raise bad(f"{shots} shots; the maximum of a program set is {MAX_SET_SHOTS}")
    if shots % count and switch("program_set_shots") == "refuse":
        raise bad(f"{shots} shots cannot be divided among {count} executables")
    action.shots_each = shots // count
    _check_shots(device, action.shots_each)
    return action


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


def _executable(
    program: Mapping[str, Any], inputs: dict[str, Any], device: Device, shots: int, switch: SwitchReader
) -> dict[str, Any]:
    source = program.get("source")
    if not isinstance(source, str) or not source.strip():
        raise bad("a program needs a source")
    flat = read(source, inputs)
    if flat is None:
        if "measure" not in source and "#pragma" not in source and shots == 0:
            raise bad("shots=0 needs result types")
        return {"source": source, "inputs": inputs}
    if shots == 0:
        raise bad("shots=0 needs result types")
    _check_flat(flat, device, switch)
    return {"gates": flat.gates, "measured": flat.readout}


def _check_flat(flat: Flat, device: Device, switch: SwitchReader) -> None:
    if not flat.readout:
        raise bad("the program has no gate and no measurement")
    used = {qubit for _, _, qubits in flat.gates for qubit in qubits} | set(flat.measured)
    if max(used) >= device.qubits or flat.n_qubits > device.qubits:
        raise bad(f"{device.name} has {device.qubits} qubits; the program uses {max(max(used) + 1, flat.n_qubits)}")
    verbatim = set(flat.verbatim)
    outside = {gate[0] for place, gate in enumerate(flat.gates) if place not in verbatim}
    if unknown := sorted(outside - set(device.gates)):
        raise bad(f"{device.name} does not support gate {unknown[0]}")
    if flat.has_barrier and device.is_qpu and switch("barrier_on_qpu") == "refuse":
        raise bad(f"{device.name} does not support barrier")
    if verbatim:
        _check_verbatim(flat, device)


def _check_verbatim(flat: Flat, device: Device) -> None:
    if not device.native:
        raise bad(f"{device.name} does not support verbatim")
    if flat.n_qubits or not flat.has_physical:
        raise bad("a verbatim box needs physical qubits")
    pairs = None if device.edges is None else {frozenset(edge) for edge in device.edges}
    for place in flat.verbatim:
        name, _, qubits = flat.gates[place]
        if name not in device.native:
            raise bad(f"{name} is not native on {device.name}; native are {', '.join(device.native)}")
        if len(qubits) == 2 and pairs is not None and frozenset(qubits) not in pairs:
            raise bad(f"qubits {qubits[0]} and {qubits[1]} of {device.name} are not connected")
