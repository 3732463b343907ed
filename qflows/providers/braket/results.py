"""Result files of a task: which exist, and what they say; no socket.

A single program has one file; a program set has a tree of files (raw results of Garnet in amazon-braket-examples,
2025-08, and of Forte-1 in a public repository, 2026-08) or, as amazon-braket-schemas 1.32.1 also allows, one file for
everything. Column k of a result is qubit `measuredQubits[k]`: only that list says which column holds which qubit.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

from qflows.errors import Unreadable
from qflows.model import Counts, ItemError, ItemResult
from qflows.programs import Program
from qflows.programs.readout import check_total, merge, readout
from qflows.protocol import JobSpec
from qflows.providers.braket import circuits, failures, wire

ROOT = "results.json"
_MOST_FILES = 1_000  # 100 executables in 100 programs are 202
_MOST_BYTES = 256_000_000  # of one task, all files together
_AT_ONCE = 8
_PATH = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*\.json")
_MESSAGE_CAP = 2_000
# frequencies are written with few digits; their sum may miss 1 by this much, and is corrected with a note
_ROUNDING = 1e-3

Read = Callable[[str], bytes | None]


def download(read: Read) -> dict[str, bytes]:
    """Every file of a task that holds outcomes or metadata, by its path below the task's directory, the main file
    first.

    `read` gives the bytes of one file, or None for an optional file that does not exist. The programs that the tree
    quotes are our own and are left out. Raises Unreadable for paths that lead elsewhere and for too many files.
    """
    root = read(ROOT)
    if root is None:
        return {}
    found = {ROOT: root}
    document = _parsed(root, ROOT)
    if not isinstance(document, dict):
        return found
    named = [document.get("taskMetadata"), *_list(document.get("programResults"))]
    found |= _read_all(read, found, [_path("", name) for name in named if isinstance(name, str)])
    members = []
    for path in list(found):
        program = _parsed(found[path], path)
        if path.startswith("programs/") and isinstance(program, dict):
            members += [_path(path, name) for name in _list(program.get("executableResults")) if isinstance(name, str)]
    return found | _read_all(read, found, members)


def _read_all(read: Read, found: Mapping[str, bytes], paths: Sequence[str]) -> dict[str, bytes]:
    if len(found) + len(paths) > _MOST_FILES:
        raise Unreadable(f"braket: a result of {len(paths)} files, more than {_MOST_FILES}", provider="braket")
    if not paths:
        return {}
    with ThreadPoolExecutor(min(_AT_ONCE, len(paths)), thread_name_prefix="qflows-braket") as pool:
        read_ones = {path: body for path, body in zip(paths, pool.map(read, paths), strict=True) if body is not None}
    if sum(map(len, (*found.values(), *read_ones.values()))) > _MOST_BYTES:
        raise Unreadable(f"braket: a result of more than {_MOST_BYTES} bytes", provider="braket")
    return read_ones


def _path(beside: str, name: str) -> str:
    """A path below the task's directory; `name` is relative to the folder of the file that names it."""
    if not _PATH.fullmatch(name) or len(name) > 200:
        raise Unreadable(f"braket: a result names the file {name!r:.80}", provider="braket")
    folder = beside.rpartition("/")[0]
    return f"{folder}/{name}" if folder else name


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _parsed(body: bytes, path: str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Unreadable(
            f"braket: the result file {path} is not JSON",
            provider="braket",
            body=body[:4000].decode("utf-8", "replace"),
        ) from None


def gathered(files: Mapping[str, bytes]) -> dict[str, Any]:
    """The files as one document, as if it had come in one. Raises Unreadable unless shapes are as documented."""
    root = _parsed(files[ROOT], ROOT) if ROOT in files else None
    if not isinstance(root, dict):
        raise Unreadable("braket: the result is not in the documented shape", provider="braket", body=str(root)[:4000])
    if isinstance(name := root.get("taskMetadata"), str):
        root["taskMetadata"] = _file(files, _path("", name)) or {}
    if "programResults" in root:
        root["programResults"] = [_program(files, entry) for entry in _list(root["programResults"])]
    return root


def _program(files: Mapping[str, bytes], entry: Any) -> dict[str, Any]:
    beside = _path("", entry) if isinstance(entry, str) else ""
    program = _file(files, beside) if beside else entry
    if not isinstance(program, dict):
        return {"executableResults": []}
    members = _list(program.get("executableResults"))
    members = [_file(files, _path(beside, one)) if isinstance(one, str) else one for one in members]
    return program | {"executableResults": [one for one in members if one is not None]}


def _file(files: Mapping[str, bytes], path: str) -> Any:
    return _parsed(files[path], path) if path in files else None


def metadata(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a result says besides outcomes: shots that succeeded, and the program that IQM's compiler made."""
    found: dict[str, Any] = {}
    task, more = document.get("taskMetadata"), document.get("additionalMetadata")
    if isinstance(task, dict) and isinstance(shots := task.get("successfulShots"), int):
        found["successful_shots"] = shots
    vendor = more.get("iqmMetadata") if isinstance(more, dict) else None
    if isinstance(vendor, dict) and isinstance(compiled := vendor.get("compiledProgram"), str):
        found["compiled_program"] = compiled
    return found


# -- outcomes ------------------------------------------------------------------------------------------------------


def items(spec: JobSpec, document: Any, *, is_partial: bool = False) -> tuple[ItemResult, ...]:
    """One result per program from a gathered document. Raises Unreadable unless shapes are as documented.

    `is_partial`: the task failed, so that executables may be missing; each missing one becomes an error.
    """
    try:
        if len(spec.programs) == 1:
            return (_single(spec.programs[0], document, spec),)
        return _members(spec, document["programResults"], is_partial=is_partial)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        raise Unreadable(
            f"braket: the result is not in the documented shape: {error!r:.300}",
            provider="braket",
            body=str(document)[:4000],
        ) from error


def _members(spec: JobSpec, results: Sequence[Mapping[str, Any]], *, is_partial: bool) -> tuple[ItemResult, ...]:
    groups = circuits.layout(spec)
    if len(results) != len(groups) and not (is_partial and len(results) < len(groups)):
        raise Unreadable(f"braket: {len(results)} programs in a result where {len(groups)} were sent")
    found: dict[int, ItemResult] = {}
    for group, entry in zip(groups, results, strict=False):
        executed = {int(executable["inputsIndex"]): executable for executable in entry["executableResults"]}
        wanted = set(range(len(group)))
        if len(executed) != len(entry["executableResults"]) or not executed.keys() <= wanted:
            raise Unreadable(f"braket: executables {sorted(executed)} in a result where {len(group)} were sent")
        if executed.keys() != wanted and not is_partial:
            raise Unreadable(f"braket: executables {sorted(executed)} in a result where {len(group)} were sent")
        for place, executable in executed.items():
            found[group[place]] = executed_item(spec.programs[group[place]], executable, spec)
    missing = ItemResult(error=ItemError("MISSING", "the task failed, and its result leaves this program out"))
    return tuple(found.get(index, missing) for index in range(len(spec.programs)))


def executed_item(program: Program, executable: Mapping[str, Any], spec: JobSpec) -> ItemResult:
    """One executable of a program set."""
    failure = executable.get("failureMetadata")
    if failure is None:
        return _single(program, executable, spec)
    return ItemResult(
        error=ItemError(str(failure.get("category") or "FAILED"), str(failure.get("failureReason"))[:_MESSAGE_CAP]),
        metadata={"retryable": failures.executable_helps(failure)},
    )


def _single(program: Program, result: Mapping[str, Any], spec: JobSpec) -> ItemResult:
    if wire.is_simulator(spec.device_id):  # which is given a register, whatever labels the program has
        program = circuits.without_labels(program)
    key_of = _reader(program, result["measuredQubits"])
    rows = result.get("measurements")
    if rows:
        texts = ["".join(map(str, row)) for row in rows]
        counts = Counts(merge(Counter(texts), key_of))
        check_total(counts, spec.shots, "braket")
        memory = tuple(map(key_of, texts)) if spec.options.get("memory") else None
        return ItemResult(counts=counts, memory=memory)
    frequencies = {str(text): float(p) for text, p in result["measurementProbabilities"].items()}
    total = math.fsum(frequencies.values())
    if not abs(total - 1) <= _ROUNDING or min(frequencies.values()) < 0:
        raise Unreadable(f"braket: measurement probabilities sum to {total!r:.30}", provider="braket")
    probabilities = merge({text: p / total for text, p in frequencies.items()}, key_of)
    note = {"note": f"frequencies summed to {total:.6f} and were scaled to 1"} if abs(total - 1) > 1e-9 else {}
    return ItemResult(counts=apportion(probabilities, spec.shots or 0), probabilities=probabilities, metadata=note)


def _reader(program: Program, measured: Iterable[Any]) -> Callable[[str], str]:
    """A function from a row of outcomes, written as text in the order of `measured`, to a counts key."""
    listed = [int(qubit) for qubit in measured]
    if program.has_mid_circuit:
        return _reader_in_place(program, listed)
    column = {qubit: place for place, qubit in enumerate(listed)}
    wanted = [circuits.number_of(program, qubit) for qubit in program.measured_qubits]
    if not column.keys() >= set(wanted) or len(column) != len(listed):
        raise Unreadable(f"braket: the result has qubits {listed}, the program measures {wanted}")
    columns = [column[qubit] for qubit in wanted]
    layout = readout(program)

    @lru_cache(maxsize=65_536)
    def key_of(text: str) -> str:
        if len(text) != len(column) or text.strip("01"):
            raise Unreadable(f"braket: {text[:40]!r} is not an outcome of {len(column)} qubits")
        return layout.from_measured("".join(text[place] for place in columns))

    return key_of


def _reader_in_place(program: Program, listed: list[int]) -> Callable[[str], str]:
    """The same for measurements that stay in place: one column for each written classical bit, ascending.

    That is how amazon-braket-default-simulator 1.41.2 reports them; no captured result of a device shows it. So the
    qubits must be the expected ones, column by column.
    """
    wanted = [circuits.number_of(program, qubit) for qubit, _ in program.measured]
    if listed != wanted:
        raise Unreadable(f"braket: the result has qubits {listed}, the program measures {wanted}")
    layout = readout(program)

    @lru_cache(maxsize=65_536)
    def key_of(text: str) -> str:
        if len(text) != len(wanted) or text.strip("01"):
            raise Unreadable(f"braket: {text[:40]!r} is not an outcome of {len(wanted)} bits")
        bits = zip(text, program.measured, strict=True)
        return layout.from_clbits(sum(1 << clbit for value, (_, clbit) in bits if value == "1"))

    return key_of


def apportion(probabilities: Mapping[str, float], shots: int) -> Counts:
    """Whole counts that sum to `shots`, by the largest remainder; the SDK's own rounding can miss the total."""
    floors = {key: math.floor(p * shots + 1e-9) for key, p in probabilities.items()}
    by_remainder = sorted(probabilities, key=lambda key: (floors[key] - probabilities[key] * shots, key))
    for key in by_remainder[: max(shots - sum(floors.values()), 0)]:
        floors[key] += 1
    return Counts({key: n for key, n in sorted(floors.items()) if n})
