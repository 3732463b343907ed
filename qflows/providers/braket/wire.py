"""Braket's documents, both ways; pure functions, no socket.

Sources: botocore 1.44.5 model braket/2019-09-01; amazon-braket-schemas 1.32.1; what amazon-braket-sdk 1.88.1 sends
(measured). Column k of a result is qubit `measuredQubits[k]`; which column holds which qubit is taken from that list,
never from the order of our own measure statements.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from qflows.errors import ProgramRejected, Unreadable
from qflows.model import Counts, ItemError, ItemResult
from qflows.programs import Program
from qflows.programs.gates import OPAQUE
from qflows.programs.readout import check_total, merge, readout
from qflows.programs.to_openqasm import BRAKET, Dialect, angles_apart, to_openqasm, to_openqasm_with_inputs
from qflows.protocol import JobSpec, Observation, Phase

KEY = "qflows:key"
NAME = "qflows:name"
OPENQASM = "braket.ir.openqasm.program"
PROGRAM_SET = "braket.ir.openqasm.program_set"
# literal_angles writes angles into the text, for a device that takes no inputs: capabilities do not tell which do
OPTIONS = frozenset(
    {"verbatim", "literal_angles", "disable_qubit_rewiring", "error_mitigation", "reservation_arn", "memory"}
)
MITIGATIONS = frozenset({"debias"})
MIN_MITIGATED_SHOTS = 2_500  # docs.aws.amazon.com/braket, IonQ error mitigation (stored copy, 2026)
# of a program set, all executables together; `maximumTotalShots` of a device counts where it says less
MAX_SET_SHOTS = 1_000_000
_MESSAGE_CAP = 2_000
MAX_TAGS = 48  # AWS-wide 50 a resource; two are ours

# botocore 1.44.5, QuantumTaskStatus; CANCELLING is not final, the task may still complete
STATUS: dict[str, Phase] = {
    "CREATED": Phase.QUEUED,
    "QUEUED": Phase.QUEUED,
    "RUNNING": Phase.RUNNING,
    "COMPLETED": Phase.DONE,
    "FAILED": Phase.FAILED,
    "CANCELLING": Phase.RUNNING,
    "CANCELLED": Phase.CANCELLED,
}
LIVE = tuple(word for word, phase in STATUS.items() if phase in (Phase.QUEUED, Phase.RUNNING))

# gates that only a verbatim box may hold besides the named ones; numbers as Braket takes them, angles in radians
NATIVE = frozenset({"gpi", "gpi2", "ms", "zz", "xy", "pswap", "cphaseshift00", "cphaseshift01", "cphaseshift10"})
VERBATIM = dict(BRAKET.gates) | {OPAQUE + name: name for name in NATIVE}

_PARAMETERS = "braket.device_schema."


def region_of(arn: str) -> str | None:
    """The region inside an ARN; None for managed simulators, which run in the caller's."""
    parts = arn.split(":")
    return parts[3] or None if len(parts) > 3 else None


def is_task(vendor_id: str) -> bool:
    """True for the ARN of a quantum task."""
    return vendor_id.startswith("arn:") and ":quantum-task/" in vendor_id and region_of(vendor_id) is not None


def is_device(device_id: str) -> bool:
    """True for the ARN of a device."""
    return device_id.startswith("arn:") and "::device/" in device_id


def dialect(operations: Iterable[str]) -> Dialect:
    """Braket's gate names as far as a device lists them in `supportedOperations`; all of them if it lists none."""
    listed = {name.lower() for name in operations}
    gates = {ours: theirs for ours, theirs in BRAKET.gates.items() if theirs in listed}
    return Dialect("braket", "", gates) if gates else BRAKET


def request(spec: JobSpec, key: str, *, gates: Dialect, bucket: str, prefix: str) -> dict[str, Any]:
    """Parameters of CreateQuantumTask. The key is the client token, a tag, and part of the results' place.

    Raises ProgramRejected for what Braket's OpenQASM cannot say.
    """
    body: dict[str, Any] = {
        "clientToken": key,
        "deviceArn": spec.device_id,
        "shots": (spec.shots or 0) * len(spec.programs),
        "outputS3Bucket": bucket,
        "outputS3KeyPrefix": f"{prefix}/{key}",
        "action": json.dumps(action(spec, gates), separators=(",", ":")),
        "tags": label_tags(spec.name, spec.tags, key),
    }
    if len(spec.programs) == 1:
        body["deviceParameters"] = json.dumps(_device_parameters(spec), separators=(",", ":"))
    if arn := spec.options.get("reservation_arn"):
        body["associations"] = [{"arn": str(arn), "type": "RESERVATION_TIME_WINDOW_ARN"}]
    return body


def action(spec: JobSpec, gates: Dialect) -> dict[str, Any]:
    """One OpenQASM program, or a program set: one program per shape, whose inputs list the angles of its executables.

    Inputs: docs.aws.amazon.com/braket, "What OpenQASM features does Braket support"; lists: amazon-braket-schemas
    1.32.1, `ProgramSet`.
    """
    members = []
    for group in layout(spec):
        written = [source_of(spec.programs[index], spec, gates) for index in group]
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


def source_of(program: Program, spec: JobSpec, gates: Dialect) -> tuple[str, dict[str, float]]:
    """OpenQASM of one program, measured last in ascending clbit order, and its inputs in radians."""
    if not program.measured:
        raise ProgramRejected(f"{program.name} measures nothing; Braket would then measure every qubit")
    if spec.options.get("verbatim"):
        return _verbatim(program), {}
    return _exported(program, tuple(sorted(gates.gates.items())), has_inputs=not _has_literal_angles(spec))


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


def _verbatim(program: Program) -> str:
    """The gates as they are, on physical qubits: qubit i is `$i`. Nothing is compiled, by us or by Braket."""
    if program.has_mid_circuit:
        raise ProgramRejected(f"{program.name}: Braket takes measurements at the end only")
    lines = ["OPENQASM 3.0;", f"bit[{len(program.measured)}] b;", "#pragma braket verbatim", "box{"]
    for step in program.instructions:
        if step.name in ("measure", "delay"):
            continue
        if step.name not in VERBATIM:
            raise ProgramRejected(
                f"{program.name}: {step.name} is no Braket gate; verbatim takes the device's own only"
            )
        angles = f"({', '.join(repr(value) for value in step.params)})" if step.params else ""
        lines.append(f"{VERBATIM[step.name]}{angles} {', '.join(f'${qubit}' for qubit in step.qubits)};")
    lines += ["}", *(f"b[{k}] = measure ${qubit};" for k, (qubit, _) in enumerate(program.measured))]
    return "\n".join(lines) + "\n"


def _device_parameters(spec: JobSpec) -> dict[str, Any]:
    """As the SDK writes them: by vendor for IonQ, Rigetti and OQC, the simulator's class for everybody else."""
    family = next((name for name in ("ionq", "rigetti", "oqc") if f"/{name}/" in spec.device_id), None)
    name = f"{family}.{family}_device_parameters" if family else "simulators.gate_model_simulator_device_parameters"
    rewiring_off = bool(spec.options.get("disable_qubit_rewiring") or spec.options.get("verbatim"))
    body: dict[str, Any] = {
        "braketSchemaHeader": {"name": _PARAMETERS + name, "version": "1"},
        "paradigmParameters": {
            "braketSchemaHeader": {"name": _PARAMETERS + "gate_model_parameters", "version": "1"},
            "qubitCount": spec.programs[0].n_qubits,
            "disableQubitRewiring": rewiring_off,
        },
    }
    if spec.options.get("error_mitigation") == "debias":
        body["errorMitigation"] = [{"type": "braket.device_schema.error_mitigation.debias.Debias"}]
    return body


def label_tags(name: str, labels: Mapping[str, str], key: str) -> dict[str, str]:
    """The user's tags as AWS takes them, and ours. AWS tag rules: letters, digits, space and + - = . _ : / @."""
    tags = {
        tag_name(label): _tag_text(value, 256)
        for label, value in list(labels.items())[:MAX_TAGS]
        if not label.lower().startswith(("aws:", "qflows:"))
    }
    if name:
        tags[NAME] = _tag_text(name, 256)
    return tags | {KEY: key}


def tag_name(label: str) -> str:
    """A label's name as AWS takes it."""
    return _tag_text(label, 128)


def _tag_text(text: Any, longest: int) -> str:
    return "".join(c if c.isalnum() or c in " +-=._:/@" else "_" for c in str(text))[:longest]


def key_in(task: Mapping[str, Any], keys: Iterable[str]) -> str | None:
    """Which of our keys a task bears: in its tag, else in the place of its results, which no tag policy can drop."""
    wanted = set(keys)
    tag = (task.get("tags") or {}).get(KEY)
    if tag in wanted:
        return str(tag)
    return next((part for part in str(task.get("outputS3Directory") or "").split("/") if part in wanted), None)


def observation(task: Mapping[str, Any]) -> Observation:
    """A task of GetQuantumTask or SearchQuantumTasks. An undocumented status is UNKNOWN."""
    word = str(task.get("status"))
    queue = task.get("queueInfo") or {}
    position = str(queue.get("position", ""))
    reason = task.get("failureReason")
    return Observation(
        phase=STATUS.get(word, Phase.UNKNOWN),
        word=word,
        finished_at=moment(task.get("endedAt")),
        queue_position=int(position) if position.isdecimal() else None,
        queue_note=position if position.startswith(">") else None,
        error_message=str(reason)[:_MESSAGE_CAP] if reason else None,
    )


def moment(value: Any) -> datetime | None:
    """A time of day as boto3 gives it, or None."""
    return value if isinstance(value, datetime) else None


# -- results -------------------------------------------------------------------------------------------------------


def items(spec: JobSpec, document: Any) -> tuple[ItemResult, ...]:
    """One result per program from a `results.json`. Raises Unreadable for anything but the documented shapes."""
    try:
        if len(spec.programs) == 1:
            return (_single(spec.programs[0], document, spec),)
        return _members(spec, document["programResults"])
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise Unreadable(
            f"braket: the result is not in the documented shape: {error!r}",
            provider="braket",
            body=str(document)[:4000],
        ) from error


def _members(spec: JobSpec, results: Sequence[Mapping[str, Any]]) -> tuple[ItemResult, ...]:
    groups = layout(spec)
    if len(results) != len(groups):
        raise Unreadable(f"braket: {len(results)} programs in a result where {len(groups)} were sent")
    found: dict[int, ItemResult] = {}
    for group, entry in zip(groups, results, strict=True):
        executed = {int(executable["inputsIndex"]): executable for executable in entry["executableResults"]}
        if len(executed) != len(entry["executableResults"]) or executed.keys() != set(range(len(group))):
            raise Unreadable(f"braket: executables {sorted(executed)} in a result where {len(group)} were sent")
        for place, index in enumerate(group):
            found[index] = _member(spec.programs[index], executed[place], spec)
    return tuple(found[index] for index in range(len(spec.programs)))


def _member(program: Program, executable: Mapping[str, Any], spec: JobSpec) -> ItemResult:
    failure = executable.get("failureMetadata")
    if failure is None:
        return _single(program, executable, spec)
    return ItemResult(
        error=ItemError(str(failure.get("category") or "FAILED"), str(failure.get("failureReason"))[:_MESSAGE_CAP]),
        metadata={"retryable": bool(failure.get("retryable"))},
    )


def _single(program: Program, result: Mapping[str, Any], spec: JobSpec) -> ItemResult:
    key_of = _reader(program, result["measuredQubits"])
    rows = result.get("measurements")
    if rows:
        texts = ["".join(map(str, row)) for row in rows]
        counts = Counts(merge(Counter(texts), key_of))
        check_total(counts, spec.shots, "braket")
        memory = tuple(map(key_of, texts)) if spec.options.get("memory") else None
        return ItemResult(counts=counts, memory=memory)
    frequencies = {str(text): float(p) for text, p in result["measurementProbabilities"].items()}
    if abs(math.fsum(frequencies.values()) - 1) > 1e-6:
        raise Unreadable("braket: measurement probabilities do not sum to 1", provider="braket")
    probabilities = merge(frequencies, key_of)
    return ItemResult(counts=apportion(probabilities, spec.shots or 0), probabilities=probabilities)


def _reader(program: Program, measured: Sequence[Any]) -> Callable[[str], str]:
    """A function from a row of outcomes, written as text in the order of `measured`, to a counts key."""
    column = {int(qubit): place for place, qubit in enumerate(measured)}
    missing = [qubit for qubit, _ in program.measured if qubit not in column]
    if missing or len(column) != len(measured):
        raise Unreadable(f"braket: the result has qubits {list(measured)}, the program measures {program.measured}")
    columns = [column[qubit] for qubit, _ in program.measured]
    layout = readout(program)

    @lru_cache(maxsize=65_536)
    def key_of(text: str) -> str:
        if len(text) != len(column) or text.strip("01"):
            raise Unreadable(f"braket: {text[:40]!r} is no outcome of {len(column)} qubits")
        return layout.from_measured("".join(text[place] for place in columns))

    return key_of


def apportion(probabilities: Mapping[str, float], shots: int) -> Counts:
    """Whole counts that sum to `shots`, by the largest remainder; the SDK's own rounding can miss the total."""
    floors = {key: math.floor(p * shots + 1e-9) for key, p in probabilities.items()}
    by_remainder = sorted(probabilities, key=lambda key: (floors[key] - probabilities[key] * shots, key))
    for key in by_remainder[: max(shots - sum(floors.values()), 0)]:
        floors[key] += 1
    return Counts({key: n for key, n in sorted(floors.items()) if n})
