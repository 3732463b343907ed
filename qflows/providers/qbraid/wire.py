"""qBraid's JSON in both directions; pure functions, no socket.

Sources: REST API v1 ("Runtime API, version 2"), models of `qbraid-core` 0.6.37 and `qbraid` 0.13.0, read 2026-11.
Answers are read leniently: the documented 201 lacks members that the vendor's own client requires, `cost` and
`timeStamps` may be null, and status words may be new.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from qflows.errors import ProgramRejected, Unreadable
from qflows.model import Cost, Counts, ItemError, ItemResult
from qflows.programs import Feature, Program, to_program
from qflows.programs.analysis import DYNAMIC
from qflows.programs.placement import on_qubits
from qflows.programs.readout import check_total, merge, readout
from qflows.programs.to_openqasm import STDGATES, in_gates_of, to_openqasm
from qflows.protocol import CompileWish, DeviceInfo, JobSpec, Limits, Observation, Phase
from qflows.providers.qbraid.failures import is_worth_buying_again
from qflows.providers.qbraid.options import options_of

KEY = "qflows_key"  # one logical submission
LOT = "qflows_lot"  # up to a page of submissions of one process, so that one request reads them all
MARK = "qflows"  # every job of qflows, from any submitter
FORMAT = "qasm3"
LINKED = "openquantum:"  # devices paid from a linked account: qBraid's 0 is not a price
_MESSAGE_CAP = 2_000
MOST_PROGRAMS = 2_000  # qBraid's own validator of a batch, 2026-09
_NAME_CAP = 128
_DETAILS_CAP = 4_000
_WORD_CAP = 64
_COMPILED_CAP = 100_000  # characters of compiled programs stored with the counts; the raw answer holds them all
_ROUNDED = 1e-4  # probabilities written with few digits miss 1 by this much
_OBJECT_ID = re.compile(r"-qjob-([0-9a-f]{8})[0-9a-f]{16}\Z")

# JobStatus of qbraid-core 0.6.37 (read 2026-11). HOLD: finished, results withheld because of the account's state;
# the vendor's client polls it endlessly. It is not an end: the results come once the account is in order.
STATUS: dict[str, Phase] = {
    "INITIALIZING": Phase.QUEUED,
    "VALIDATING": Phase.QUEUED,
    "QUEUED": Phase.QUEUED,
    "RUNNING": Phase.RUNNING,
    "CANCELLING": Phase.RUNNING,
    "HOLD": Phase.HELD,
    "COMPLETED": Phase.DONE,
    "FAILED": Phase.FAILED,
    "CANCELLED": Phase.CANCELLED,
    "UNKNOWN": Phase.UNKNOWN,
}
HOLD_NOTE = "qBraid withholds the results because of the account's state; settle the account, and they become available"


def payload(spec: JobSpec, key: str, lot: str) -> dict[str, Any]:
    """The body of POST /jobs: one program, or a list for a batch. Raises ProgramRejected for what QASM 3 lacks.

    `spec.session_id` names a group: qBraid has no sessions, and like a session a group is not part of the identity.
    """
    programs = [{"format": FORMAT, "data": qasm_of(program, spec.device_id)} for program in spec.programs]
    chosen = options_of(spec)
    options = dict(chosen.runtime_options)
    if (noise := getattr(chosen, "noise_model", None)) is not None:
        options["noiseModel"] = noise
    body: dict[str, Any] = {
        "name": (spec.name or spec.programs[0].name)[:_NAME_CAP],
        "shots": spec.shots,
        "deviceQrn": spec.device_id,
        "tags": {**{str(k): str(v) for k, v in spec.tags.items()}, KEY: key, LOT: lot, MARK: "1"},
        "runtimeOptions": options,
        "program": programs if len(programs) > 1 else programs[0],
    }
    if spec.session_id:
        body["groupJobQrn"] = spec.session_id
    return body


# Nothing is compiled on a simulator, so a barrier changes nothing there and names of qubits are free. On a QPU neither
# is kept: compilers behind Cepheus and Garnet remove what cancels even across barriers (users' reports, 2026-09).
_ON_SIMULATORS = replace(STDGATES, name="qBraid's", drops=frozenset({Feature.BARRIER, Feature.PHYSICAL}))
_ON_QPUS = replace(_ON_SIMULATORS, drops=frozenset())


_UNDOCUMENTED = "qBraid documents it for none of its devices: docs.qbraid.com/v2, 2026-11"
_TERMS = {
    Feature.DELAY: "devices behind qBraid drop delays, so that the circuit would run without them: qBraid#1269",
    Feature.RESET: _UNDOCUMENTED,
    Feature.MID_CIRCUIT: _UNDOCUMENTED,
    Feature.FEED_FORWARD: _UNDOCUMENTED,
    Feature.NATIVE: "OpenQASM with stdgates is sent, which has no vendor-native gates",
    Feature.VERBATIM: "qBraid's OpenQASM has no verbatim box; buy from the device's own vendor",
}
_UNCHANGED = "changes nothing on a simulator that compiles nothing, and is left out"
_TERMS_OF_SIMULATORS = _TERMS | {Feature.BARRIER: _UNCHANGED, Feature.PHYSICAL: _UNCHANGED}
_TERMS_OF_QPUS = _TERMS | {
    Feature.BARRIER: "compilers behind qBraid remove what cancels, even across barriers: users' reports, 2026-09",
    Feature.PHYSICAL: "vendors behind qBraid place the qubits themselves",
}


def is_qpu(device_id: str) -> bool:
    """True for a QPU, by the third part of its QRN."""
    return ":qpu:" in device_id


def qasm_of(program: Program, device_id: str) -> str:
    """OpenQASM 3 with stdgates for this device.

    Bit k of its only register is `program.measured_qubits[k]`, or clbit k if mid-circuit. One register, because qir-sv
    sorts registers by name (qBraid#1327). Raises ProgramRejected for what the text or the device cannot keep.
    """
    return _qasm(program, on_qpu=is_qpu(device_id))


@lru_cache(maxsize=1024)
def _qasm(program: Program, *, on_qpu: bool) -> str:
    if Feature.DELAY in program.features:  # qBraid#1269; its client refuses them too, qBraid#1270
        raise ProgramRejected(
            f"{program.name}: devices behind qBraid drop delays, so the circuit would run without them; remove "
            "them, or choose a device that keeps them"
        )
    return to_openqasm(program, _ON_QPUS if on_qpu else _ON_SIMULATORS, mid_circuit=program.has_mid_circuit)


def compiled(spec: JobSpec, wish: CompileWish) -> Program:
    """The one program of `spec` as in the text; only simulators run what they are given. Raises ProgramRejected."""
    (program,) = spec.programs
    if is_qpu(spec.device_id):
        raise ProgramRejected(
            f"{program.name}: the vendors behind qBraid compile for their processors themselves, place the qubits "
            "and show nothing beforehand; leave out compile and physical_qubits, or buy from that vendor directly"
        )
    if wish.level not in ("default", "none"):
        raise ProgramRejected(
            f"{program.name}: {spec.device_id} is a simulator, which compiles nothing; leave compile out, or say 'none'"
        )
    qasm_of(program, spec.device_id)
    made = in_gates_of(program, replace(_ON_SIMULATORS, takes=_ON_SIMULATORS.takes | DYNAMIC | {Feature.RESET}))
    if wish.level == "none" and made.digest != program.digest:
        raise ProgramRejected(
            f"{program.name} has gates that are not in OpenQASM's stdgates; leave out compile='none' to have them "
            "rewritten in stdgates"
        )
    return made if wish.physical_qubits is None else on_qubits(made, wish.physical_qubits)


def tag_filter(**tags: str) -> tuple[str, str]:
    """The `tags` parameter of GET /jobs."""
    return "tags", json.dumps(tags, separators=(",", ":"))


def observation(job: Mapping[str, Any]) -> Observation:
    """One RuntimeJob. An undocumented status is UNKNOWN; the message is this job's own `statusMsg`."""
    word = str(job.get("status"))[:_WORD_CAP]
    phase = STATUS.get(word, Phase.UNKNOWN)
    position = job.get("queuePosition")
    message = str(job["statusMsg"])[:_MESSAGE_CAP] if job.get("statusMsg") else None
    is_over = phase in (Phase.FAILED, Phase.CANCELLED)
    note = HOLD_NOTE if word == "HOLD" else None
    return Observation(
        phase=phase,
        word=word,
        finished_at=moment(_times(job).get("endedAt")) if is_over or phase is Phase.DONE else None,
        queue_position=position if _is_whole(position) and phase is Phase.QUEUED else None,
        queue_note=note,
        error_code=word if is_over or word == "HOLD" else None,
        error_message=message or note or ("qBraid gives no reason" if phase is Phase.FAILED else None),
        cost=(cost_of({"cost": job.get("cost")}) or Cost(0.0, "credits", False)) if is_over else None,  # full refund
        is_retryable=is_worth_buying_again(message) if phase is Phase.FAILED else None,
        steps=steps(job),
    )


def steps(body: Mapping[str, Any]) -> dict[str, datetime]:
    """`timeStamps` by name; without `createdAt`, which changes during the life of a job."""
    return {"endedAt": at} if (at := moment(_times(body).get("endedAt"))) is not None else {}


def tags_of(job: Mapping[str, Any]) -> Mapping[str, Any]:
    """The job's tags; empty if the answer has none."""
    tags = job.get("tags")
    return tags if isinstance(tags, dict) else {}


def created_at(job: Mapping[str, Any]) -> datetime | None:
    """When the job or group was created, if it says so.

    `timeStamps.createdAt` changes during the life of a job, so it comes last: after `createdAt`, and the second in
    which the object id of the job's QRN was created.
    """
    at = moment(job.get("createdAt"))
    if at is None and (made := _OBJECT_ID.search(str(job.get("jobQrn")))):
        at = datetime.fromtimestamp(int(made[1], 16), UTC)
    return at or moment(_times(job).get("createdAt"))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9


def _times(body: Mapping[str, Any]) -> Mapping[str, Any]:
    times = body.get("timeStamps")
    return times if isinstance(times, dict) else {}


def moment(text: Any) -> datetime | None:
    """ISO 8601, UTC if it names no zone; None for anything else."""
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found


def finished_at(body: Mapping[str, Any]) -> datetime | None:
    """End of a job or result."""
    return moment(_times(body).get("endedAt"))


def execution_s(body: Mapping[str, Any]) -> float | None:
    """`executionDuration` is in milliseconds (qbraid-core 0.6.37, TimeStamps)."""
    duration_ms = _times(body).get("executionDuration")
    return duration_ms / 1000 if isinstance(duration_ms, int | float) and not isinstance(duration_ms, bool) else None


def cost_of(body: Mapping[str, Any]) -> Cost | None:
    """Credits billed, otherwise credits estimated, otherwise None."""
    for name, is_estimate in (("cost", False), ("estimatedCost", True)):
        amount = _number(body.get(name))
        if amount is not None:
            return Cost(amount, "credits", is_estimate)
    return None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)  # decimals are sent as text in results: "0", "0E-33"
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def items_of(body: Mapping[str, Any], spec: JobSpec) -> list[ItemResult]:
    """One item per program of a Result or BatchResult, in input order. Raises Unreadable for any other shape."""
    order = str(spec.options.get("bit_order") or "c0_right")
    of_clbits = bool(spec.options.get("imported"))  # keys of programs that others wrote hold every classical bit
    parts = body.get("results")
    if parts is None and len(spec.programs) == 1:
        parts = [body]
    if not isinstance(parts, list) or len(parts) != len(spec.programs):
        found = len(parts) if isinstance(parts, list) else "no list of"
        raise Unreadable(
            f"qbraid: {found} results where {len(spec.programs)} circuits were sent",
            provider="qbraid",
            body=str(body)[:_DETAILS_CAP],
        )
    pairs = zip(parts, spec.programs, strict=True)
    return [_item(part, program, spec.shots, order, of_clbits=of_clbits) for part, program in pairs]


def _item(part: Any, program: Program, shots: int | None, order: str, *, of_clbits: bool) -> ItemResult:
    data = part.get("resultData") if isinstance(part, dict) else None
    if not isinstance(data, dict):
        raise Unreadable("qbraid: the result has no resultData", provider="qbraid", body=str(part)[:_DETAILS_CAP])
    word = str(part.get("status"))
    counts = _either(data, "measurementCounts", "measurement_counts")
    shares = _either(data, "measurementProbabilities", "measurement_probabilities")
    if STATUS.get(word) in (Phase.FAILED, Phase.CANCELLED) or not (counts or shares):
        reason = str(data.get("statusMsg") or part.get("statusMsg") or f"qBraid gives no counts, status {word}")
        return ItemResult(error=ItemError(word, reason[:_MESSAGE_CAP]))
    probabilities = _keyed(shares, program, order, float, of_clbits=of_clbits) if shares else None
    if counts:
        read = _keyed(counts, program, order, int, of_clbits=of_clbits)
        found = Counts({key: n for key, n in read.items() if n})
        check_total(found, shots, "qbraid")
        return ItemResult(counts=found, probabilities=probabilities, metadata=_details(data))
    assert probabilities is not None
    total, notes = math.fsum(probabilities.values()), {}
    if not abs(total - 1) <= _ROUNDED:
        raise Unreadable("qbraid: the probabilities do not sum to 1", provider="qbraid", body=str(data)[:_DETAILS_CAP])
    if abs(total - 1) > 1e-12:
        notes = {"probabilities_summed_to": total}
        probabilities = {key: share / total for key, share in probabilities.items()}
    counts_of = _apportion(probabilities, shots) if shots is not None else None
    return ItemResult(counts=counts_of, probabilities=probabilities, metadata=_details(data) | notes)


def _either(data: Mapping[str, Any], *names: str) -> Any:
    return next((data[name] for name in names if data.get(name) is not None), None)


def _keyed(values: Any, program: Program, order: str, kind: type, *, of_clbits: bool) -> dict[str, Any]:
    """Vendor keys as ours. The text holds the bits of register `b`, bit 0 rightmost, or leftmost if `order` says so.

    `of_clbits`: the text holds all classical bits of the program instead, including those that nothing writes.
    """
    if not isinstance(values, dict):
        raise Unreadable(f"qbraid: expected a histogram, got {str(values)[:200]!r}", provider="qbraid")
    layout = readout(program)
    of_clbits = of_clbits or program.has_mid_circuit
    width = program.n_clbits if of_clbits else len(program.measured_qubits)

    def key_of(outcome: str) -> str:
        bits = outcome.replace(" ", "")
        if len(bits) > width or set(bits) - {"0", "1"}:
            raise Unreadable(f"qbraid: {outcome[:40]!r} is not an outcome of {width} bits", provider="qbraid")
        bits = bits.zfill(width)  # the vendor's client pads on the left too
        from_zero = bits if order == "c0_left" else bits[::-1]
        if of_clbits:
            return layout.from_clbits(int(from_zero[::-1], 2))
        return layout.from_measured(from_zero)

    return merge({str(key): _amount(value, kind) for key, value in values.items()}, key_of)


def _amount(value: Any, kind: type) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
    if not is_number or (kind is int and value != int(value)):
        raise Unreadable(
            f"qbraid: {str(value)[:40]!r} is not a {'count' if kind is int else 'share'}", provider="qbraid"
        )
    return kind(value)


def _apportion(probabilities: Mapping[str, float], shots: int) -> Counts:
    """Counts that sum to `shots`, by the largest remainder."""
    floors = {key: math.floor(p * shots + 1e-9) for key, p in probabilities.items()}
    by_remainder = sorted(probabilities, key=lambda key: (floors[key] - probabilities[key] * shots, key))
    for key in by_remainder[: max(shots - sum(floors.values()), 0)]:
        floors[key] += 1
    return Counts({key: n for key, n in sorted(floors.items()) if n})


def _details(data: Mapping[str, Any]) -> dict[str, Any]:
    """Other details from the device, if they are small and plain."""
    known = {"measurementCounts", "measurement_counts", "measurements"}
    known |= {"measurementProbabilities", "measurement_probabilities"}
    rest = {str(k): v for k, v in data.items() if k not in known and v is not None}
    return {"details": rest} if rest and len(json.dumps(rest, default=str)) <= _DETAILS_CAP else {}


def device_info(entry: Mapping[str, Any]) -> DeviceInfo:
    """One entry of GET /devices. `avgQueueTime` is in minutes."""
    minutes = entry.get("avgQueueTime")
    width, depth = entry.get("numberQubits"), entry.get("queueDepth")
    return DeviceInfo(
        device_id=str(entry.get("qrn")),
        n_qubits=width if isinstance(width, int) else None,
        is_simulator=entry.get("deviceType") == "SIMULATOR",
        is_available=entry.get("status") == "ONLINE" and entry.get("directAccess", True) is not False,
        queue_s=minutes * 60.0 if isinstance(minutes, int | float) else None,
        queue_length=depth if isinstance(depth, int) else None,
        note=str(entry.get("statusMsg") or entry.get("status")),
    )


def device_limits(entry: Mapping[str, Any], max_programs: int) -> Limits:
    """Limits of one device; one program per job unless it has `batchJobSupport`."""

    def whole(name: str) -> int | None:
        value = entry.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None

    return Limits(
        max_qubits=whole("numberQubits"),
        max_shots=whole("maxShots"),
        min_shots=whole("minShots") or 1,
        max_programs=max_programs if entry.get("batchJobSupport") is True else 1,
        takes=frozenset() if entry.get("deviceType") == "QPU" else frozenset({Feature.BARRIER, Feature.PHYSICAL}),
        terms=_TERMS_OF_QPUS if entry.get("deviceType") == "QPU" else _TERMS_OF_SIMULATORS,
    )


def read_program(source: Any) -> Program | None:
    """qBraid's `{"format": "qasm2" or "qasm3", "data": text}` as a program, otherwise None."""
    if not isinstance(source, Mapping) or set(source) != {"format", "data"}:
        return None
    if source["format"] not in ("qasm2", "qasm3") or not isinstance(source["data"], str):
        raise ProgramRejected(f"qBraid program of format {str(source['format'])[:40]!r}: qflows reads qasm2 and qasm3")
    return to_program(source["data"])


def jobs_of(data: Any) -> Sequence[Mapping[str, Any]]:
    """The jobs of a list; null is an empty one, as in the vendor's client. Raises Unreadable for anything but a list.

    An entry that is not a job is left out: it must not hide the others.
    """
    if data is None:
        return ()
    if not isinstance(data, list):
        raise Unreadable("qbraid: the job list is not a list", provider="qbraid", body=str(data)[:_DETAILS_CAP])
    return [job for job in data if isinstance(job, dict) and isinstance(job.get("jobQrn"), str)]


def compiled_of(data: Any) -> list[str]:
    """Texts of a compiled program, one for each circuit, if they are text and not too long."""
    entries = data if isinstance(data, list) else [data]
    texts = [entry.get("data") if isinstance(entry, dict) else entry for entry in entries]
    found = [text for text in texts if isinstance(text, str)]
    return found if sum(map(len, found)) <= _COMPILED_CAP else []
