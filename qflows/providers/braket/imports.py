"""Tasks that others submitted to this account's Braket, read back.

GetQuantumTask does not show the program; the result does (`additionalMetadata.action`), so the circuit of a task is
known once it has a result; until then nothing is imported. For a task that failed, and for a program that qflows cannot
read, a stand-in records which qubits were measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from qflows.errors import ProgramRejected, Refused
from qflows.model import ItemError, ItemResult
from qflows.programs import Program
from qflows.programs.unknown import unknown_program
from qflows.protocol import Foreign, JobSpec, Listed, Phase
from qflows.providers.braket import bulk, results, wire
from qflows.providers.braket.devices import OPENQASM, PROGRAM_SET

_MOST_PROGRAMS = 1_000
_NOT_KEPT = "Braket shows the program of a task with its result only"
Search = Callable[[str, list[dict[str, Any]], str | None], dict[str, Any]]


def listed(search: Search, regions: Sequence[str], *, since: datetime, until: datetime | None) -> Iterator[Listed]:
    """SearchQuantumTasks by time in every region, 100 a page."""
    seen: set[str] = set()
    for region in dict.fromkeys(regions):
        for task in bulk.pages_of(search, region, bulk.created_in(since, until)):
            if str(task["quantumTaskArn"]) not in seen:
                seen.add(str(task["quantumTaskArn"]))
                yield entry(task)


def entry(task: Mapping[str, Any]) -> Listed:
    """One task as a list shows it."""
    tags = task.get("tags") or {}
    labels = tuple(f"{name}={value}" if value else str(name) for name, value in tags.items())
    key = tags.get(wire.KEY)
    return Listed(
        str(task["quantumTaskArn"]),
        str(task.get("deviceArn") or ""),
        wire.moment(task.get("createdAt")),
        str(key) if key else None,
        labels,
    )


def foreign(task: Mapping[str, Any], read: results.Read) -> Foreign:
    """A task with what its result says of its program. `read`: the bytes of one of its files, None if missing."""
    look, shown = wire.observation(task), entry(task)
    document: Mapping[str, Any] = {}
    notes: list[str] = []
    if look.phase in (Phase.QUEUED, Phase.RUNNING, Phase.UNKNOWN):
        raise Refused(
            f"braket task {shown.vendor_id} is {look.word}: Braket shows a task's program with its result only; import "
            "it when it is over",
            provider="braket",
        )
    if look.phase is Phase.DONE:
        document = results.gathered(results.download(read))
    programs, plan = _programs(document, notes)
    total = task.get("shots")
    shots = int(total) // max(len(programs), 1) if isinstance(total, int) and total > 0 else None
    tags = {str(k): str(v) for k, v in (task.get("tags") or {}).items() if not str(k).startswith("qflows:")}
    spec = JobSpec(
        provider="braket",
        device_id=shown.device_id,
        programs=tuple(programs),
        shots=shots,
        options={"imported": {"programs": plan} if plan else {}},
        name=str((task.get("tags") or {}).get(wire.NAME) or programs[0].name)[:255],
        tags=tags,
    )
    return Foreign(shown, spec, look, notes=tuple(notes))


def _programs(document: Mapping[str, Any], notes: list[str]) -> tuple[list[Program], list[int]]:
    """Programs in the order of the results, and for a program set the executables of each of its programs."""
    if "programResults" in document:
        return _of_set(document, notes)
    action = (document.get("additionalMetadata") or {}).get("action")
    return [_program(action, {}, document.get("measuredQubits"), notes)], []


def _of_set(document: Mapping[str, Any], notes: list[str]) -> tuple[list[Program], list[int]]:
    entries = document["programResults"]
    sources = _sources(document)
    found: list[Program] = []
    plan: list[int] = []
    for place, one in enumerate(entries):
        executed = one.get("executableResults") or [{}]
        source = sources[place] if place < len(sources) else one.get("source")
        inputs = source.get("inputs") if isinstance(source, Mapping) else None
        plan.append(len(executed))
        for executable in executed:
            index = int(executable.get("inputsIndex", 0))
            values = {name: row[index] for name, row in (inputs or {}).items() if index < len(row)}
            found.append(_program(source, values, executable.get("measuredQubits"), notes))
        if len(found) > _MOST_PROGRAMS:
            raise Refused(f"a program set of more than {_MOST_PROGRAMS} executables is not imported", provider="braket")
    return found, plan


def _sources(document: Mapping[str, Any]) -> list[Any]:
    action = (document.get("additionalMetadata") or {}).get("action")
    if isinstance(action, Mapping) and _header(action) == PROGRAM_SET and isinstance(action.get("programs"), list):
        return action["programs"]
    return []


def _header(action: Any) -> str:
    header = action.get("braketSchemaHeader") if isinstance(action, Mapping) else None
    return str(header.get("name")) if isinstance(header, Mapping) else ""


def _program(action: Any, values: Mapping[str, Any], measured: Any, notes: list[str]) -> Program:
    why = _NOT_KEPT
    if isinstance(action, Mapping) and isinstance(action.get("source"), str) and _header(action) in ("", OPENQASM):
        from qflows.programs.from_braket_ir import read_ir
        from qflows.programs.loading import load_qiskit

        load_qiskit()
        inputs = values or {k: v for k, v in (action.get("inputs") or {}).items() if not isinstance(v, list)}
        try:
            return read_ir(SimpleNamespace(source=action["source"], inputs=inputs), None, None)
        except ProgramRejected as error:
            why = f"its program cannot be read ({str(error)[:200]})"
    if why not in notes:
        notes.append(why)
    qubits = [int(qubit) for qubit in measured] if isinstance(measured, list) else [0]
    metadata = {"source": action["source"][:100_000]} if isinstance(action, Mapping) and "source" in action else None
    return unknown_program(
        max(qubits) + 1, [(qubit, clbit) for clbit, qubit in enumerate(qubits)], name="task", metadata=metadata
    )


def items(spec: JobSpec, document: Mapping[str, Any]) -> tuple[ItemResult, ...]:
    """One result per program of an imported task."""
    plan = spec.options["imported"].get("programs")
    if not plan:
        return results.items(spec, document)
    found: list[ItemResult] = []
    for n_executed, one in zip(plan, document["programResults"], strict=True):
        executed = one.get("executableResults") or []
        for place in range(n_executed):
            if place < len(executed):
                found.append(results.executed_item(spec.programs[len(found)], executed[place], spec))
            else:
                found.append(ItemResult(error=ItemError("MISSING", "the result leaves this program out")))
    return tuple(found)


def reader(read_object: Callable[[str], bytes]) -> results.Read:
    """A reader of the files of a task that may have none."""

    def read(path: str) -> bytes | None:
        try:
            return read_object(path)
        except Refused as error:
            if error.vendor_code in ("NoSuchKey", "404"):
                return None
            raise

    return read
