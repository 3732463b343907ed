"""Pure translation between qflows and IBM's JSON: tags, options, statuses, and results without IBM's decoder.

Facts: qiskit-ibm-runtime 0.51.0 (json.py, runtime_job_v2.py) and IBM's OpenAPI 0.45.3, read 2026-11.
"""

from __future__ import annotations

import base64
import io
import json
import math
import zlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from qflows.display import plural
from qflows.errors import Unreadable
from qflows.model import Cost, Counts, Expectation, ItemError, ItemResult
from qflows.programs import Program
from qflows.programs.readout import check_total, readout
from qflows.protocol import JobSpec, Observation, Phase, SessionInfo
from qflows.providers.ibm.failures import RAN_TOO_LONG, helps_to_buy_again

MARK = "qflows"  # every job of ours carries it, so that one list shows them all
PREFIX = "qflows:"
MAX_TAGS, MAX_TAG = 8, 86  # IBM docs, job tags; registry codes 1204 and 1205
MAX_EXECUTIONS = 10_000_000  # IBM docs, job limits: circuits x shots of one sampler job
REGISTER = "c"
_MAX_UNPACKED = 400_000_000
_MAX_KEPT = 4_096  # numbers of one array that metadata may hold
BODY_CAP = 4_000

# options passed unchanged to the client's option classes
SAMPLER_OPTIONS = frozenset({"dynamical_decoupling", "twirling", "execution", "max_execution_time", "experimental"})
ESTIMATOR_OPTIONS = SAMPLER_OPTIONS | {"resilience_level", "resilience", "seed_estimator"}
EXECUTOR_ESTIMATOR_OPTIONS = SAMPLER_OPTIONS | {"resilience_level", "resilience"}

# `state.status`, any case. OpenAPI 0.45.3, JobState; the client reads nothing else
STATUS = {
    "queued": Phase.QUEUED,
    "running": Phase.RUNNING,
    "completed": Phase.DONE,
    "failed": Phase.FAILED,
    "cancelled": Phase.CANCELLED,
    # in `state.status` since March 2026 (qiskit-ibm-runtime issue 2673); over the time limit, which is a failure
    "cancelled - ran too long": Phase.FAILED,
}
# states of a session that take jobs, if `accepting_jobs` does not say so itself (OpenAPI 0.45.3, SessionState)
_OPEN_STATES = frozenset({"open", "active", "inactive", "pending_inactive"})


def key_tag(key: str) -> str:
    """The tag that carries a job key: 71 characters for ours of 64."""
    return PREFIX + key


def tags(spec: JobSpec, key: str) -> list[str]:
    """Mark, key, then name and tags of the caller, which `Tags.check_tags` has accepted."""
    return [MARK, key_tag(key), *label_tags(spec.name, spec.tags)]


def label_tags(name: str, labels: Mapping[str, str]) -> list[str]:
    """Name and tags of the caller as IBM's tags, which are plain texts. A long name is cut; the ledger has it whole."""
    wanted = [f"name={name}"[:MAX_TAG]] if name else []
    wanted += [f"{label}={value}" for label, value in labels.items()]
    return list(dict.fromkeys(wanted))


def is_label(tag: str, labels: Collection[str]) -> bool:
    """True if a tag at IBM is the name, or the value of one of these labels."""
    return any(tag.startswith(f"{label}=") for label in ("name", *labels))


def phase_of(word: str) -> Phase:
    """The meaning of a status word; UNKNOWN for an undocumented one."""
    return STATUS.get(word.lower(), Phase.UNKNOWN)


def observation(job: Mapping[str, Any]) -> Observation:
    """The status in a job object. IBM no longer gives a queue position."""
    state = job.get("state")
    state = state if isinstance(state, dict) else {}
    word = str(state.get("status", ""))
    phase, code = phase_of(word), state.get("reason_code") or state.get("reasonCode")
    if code is None and phase is Phase.FAILED and word.lower() != "failed":
        code = RAN_TOO_LONG
    if phase is Phase.CANCELLED and str(code) == RAN_TOO_LONG:
        phase = Phase.FAILED  # the client also calls it an error (0.51.0, runtime_job_v2.py)
    reason = " ".join(str(text) for text in (state.get("reason"), state.get("reason_solution")) if text)
    is_bad = phase in (Phase.FAILED, Phase.CANCELLED)
    return Observation(
        phase=phase,
        word=word[:200],
        finished_at=moment(job.get("ended")),
        queue_note=None if phase is not Phase.QUEUED else "IBM Runtime does not tell the place in the queue",
        error_code=str(code) if code is not None and is_bad else None,
        error_message=reason[:2000] if reason and is_bad else None,
        cost=charged(job) if is_bad else None,
        is_retryable=helps_to_buy_again(str(code)) if code is not None and phase is Phase.FAILED else None,
        steps=steps(job, ("created", "ended")),
    )


def steps(times: Mapping[str, Any], names: Collection[str]) -> dict[str, datetime]:
    """The times of these members, by name; without missing and unreadable ones."""
    return {name: at for name in names if (at := moment(times.get(name))) is not None}


def charged(job: Mapping[str, Any]) -> Cost | None:
    """QPU seconds charged according to a job object; None until IBM calls its count complete."""
    usage = job.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    seconds = usage.get("qpu_charge_time_seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds) or seconds < 0:
        return None
    return Cost(float(seconds), "qpu_s", False) if usage.get("status") == "complete" else None


def moment(text: Any) -> datetime | None:
    """A time from the API, UTC; None for a missing or unreadable one."""
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def session(body: Mapping[str, Any]) -> SessionInfo:
    """A session object. Raises Unreadable without an id."""
    if not isinstance(body.get("id"), str):
        raise Unreadable("ibm: the session has no id", provider="ibm", body=str(body)[:BODY_CAP])
    state = str(body.get("state", ""))
    accepts = body.get("accepting_jobs")
    # the state first: a closed session that was set to accept jobs says so, and stays closed (seen 2026)
    takes_jobs = accepts if isinstance(accepts, bool) else state in _OPEN_STATES
    is_open = takes_jobs and state not in ("closed", "pending_closed")
    history = [one for one in body.get("timestamps") or [] if isinstance(one, dict)]
    opened = next((one.get("timestamp") for one in history if one.get("status") == "open"), None)
    return SessionInfo(
        session_id=body["id"],
        device_id=str(body.get("backend_name") or ""),
        mode=str(body.get("mode", "")),
        state=state,
        is_open=is_open,
        created_at=moment(body.get("created_at") or opened),
        started_at=moment(body.get("started_at")),
        closed_at=moment(body.get("closed_at")),
        max_time_s=seconds(body.get("max_ttl")),
        idle_limit_s=seconds(body.get("interactive_ttl")),
        usage_s=seconds(body.get("elapsed_time")),
        details={name: value for name, value in body.items() if name not in ("user_id",)},
    )


# the workloads list and the session object name modes differently (OpenAPI 0.45.3, WorkloadResponse, ExecutionMode)
WORKLOAD_MODES = {"session": "dedicated", "batch": "batch"}


def workload(row: Mapping[str, Any]) -> SessionInfo:
    """A session or batch as the workloads list shows it: no TTLs there."""
    status = str(row.get("status", ""))
    accepts = row.get("accepting_jobs")
    usage = row.get("usage")
    return SessionInfo(
        session_id=str(row.get("id")),
        device_id=str(row.get("backend") or ""),
        mode=WORKLOAD_MODES.get(str(row.get("mode")), str(row.get("mode"))),
        state=status,
        is_open=accepts if isinstance(accepts, bool) else status in ("pending", "in_progress"),
        created_at=moment(row.get("created")),
        closed_at=moment(row.get("ended")),
        usage_s=seconds(usage.get("qpu_charge_time_seconds")) if isinstance(usage, dict) else None,
    )


def seconds(value: Any) -> float | None:
    """A finite number; None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


# -- results -------------------------------------------------------------------------------------------------------


def pub_results(text: str) -> tuple[list[Mapping[str, Any]], dict[str, Any]]:
    """`{field: value}` per PUB of a primitive's result text, arrays decoded; and what is said of the whole job.

    Raises Unreadable, keeping the text. A text without `support_qiskit` has plain JSON and hex samples.
    """
    try:
        body = json.loads(text, object_hook=_typed)
        if "pub_results" not in body and "results" in body:
            pubs = [_plain_fields(pub) for pub in body["results"]]
        else:
            pubs = [_fields(pub) for pub in body["pub_results"]]
        return pubs, _about(body.get("metadata"))
    except Exception as error:  # noqa: BLE001  (decoder edge: any body may come)
        raise Unreadable(
            f"ibm: a result that cannot be read ({type(error).__name__})", provider="ibm", body=text[:BODY_CAP]
        ) from None


def _fields(pub: Mapping[str, Any]) -> Mapping[str, Any]:
    return dict(pub["data"]["fields"]) | {"metadata": pub.get("metadata") or {}}


def _plain_fields(pub: Mapping[str, Any]) -> Mapping[str, Any]:
    found: dict[str, Any] = {"metadata": pub.get("metadata") or {}}
    for name, value in pub["data"].items():
        if isinstance(value, dict) and "samples" in value:
            n_bytes = (int(value["num_bits"]) + 7) // 8
            rows = b"".join(int(sample, 16).to_bytes(n_bytes, "big") for sample in value["samples"])
            array = np.frombuffer(rows, dtype=np.uint8).reshape(len(value["samples"]), n_bytes)
            found[name] = {"array": array, "num_bits": value["num_bits"]}
        else:
            found[name] = np.asarray(value)
    return found


def _about(metadata: Any) -> dict[str, Any]:
    """When the device ran each part: spans as {start, stop, data_slices}."""
    execution = metadata.get("execution") if isinstance(metadata, dict) else None
    spans = execution.get("execution_spans") if isinstance(execution, dict) else None
    if isinstance(spans, dict):
        spans = spans.get("spans")
    return {"execution_spans": plain(spans)} if isinstance(spans, list) else {}


def _typed(node: dict[str, Any]) -> Any:
    """Typed values `{"__type__", "__value__"}`. Known containers are unwrapped; only arrays are decoded."""
    kind = node.get("__type__")
    if kind is None:
        return node
    value = node.get("__value__")
    if kind == "ndarray":
        return _array(value)
    return value


def _array(value: Any) -> np.ndarray[Any, Any]:
    if not isinstance(value, str):
        return np.asarray(value)
    stream = zlib.decompressobj()
    data = stream.decompress(base64.b64decode(value), _MAX_UNPACKED)
    if stream.unconsumed_tail:
        raise ValueError("an array is too large")
    return np.load(io.BytesIO(data), allow_pickle=False)


def counts_items(
    programs: Sequence[Program], fields: Mapping[str, Any], *, shots: int | None, with_memory: bool, is_twirled: bool
) -> list[ItemResult]:
    """Counts of one sampler PUB, program by program. Its one register `c` holds all clbits of a program.

    `array` is uint8 of shape (programs, shots, bytes), without the first axis for a single program; big-endian: clbit
    0 is the lowest bit of the LAST byte (qiskit-ibm-runtime 0.51.0, BitArray). Raises Unreadable if the shots do not
    add up; twirled ones are at least as many as wanted.
    """
    found = fields.get(REGISTER)
    try:
        array, n_bits = np.asarray(found["array"]), int(found["num_bits"])  # pyright: ignore[reportOptionalSubscript]
    except (KeyError, TypeError, ValueError):
        raise Unreadable(f"ibm: the sampler result lacks register {REGISTER}", provider="ibm") from None
    array = array[None] if array.ndim == 2 else array
    is_whole = array.ndim == 3 and array.shape[0] == len(programs) and array.shape[2] == (n_bits + 7) // 8
    if n_bits != programs[0].n_clbits or not is_whole or array.dtype != np.uint8:
        raise Unreadable(
            f"ibm: a register of {n_bits} bits, shape {array.shape}, where {programs[0].n_clbits} bits of "
            f"{plural(len(programs), 'program')} were measured",
            provider="ibm",
        )
    if is_twirled and shots is not None:
        shots = max(shots, array.shape[1])
    metadata = plain(fields["metadata"])
    pairs = zip(programs, array, strict=True)
    return [_counts_item(program, rows, shots, metadata, with_memory=with_memory) for program, rows in pairs]


def _counts_item(
    program: Program, array: np.ndarray[Any, Any], shots: int | None, metadata: dict[str, Any], *, with_memory: bool
) -> ItemResult:
    layout = readout(program)
    rows = [row.tobytes() for row in array]
    key_of = {row: layout.from_clbits(int.from_bytes(row, "big")) for row in set(rows)}
    counts = Counts(sorted((key_of[row], n) for row, n in Counter(rows).items()))
    check_total(counts, shots, "ibm")
    memory = tuple(key_of[row] for row in rows) if with_memory else None
    return ItemResult(counts=counts, memory=memory, metadata=dict(metadata))


def expectations_items(fields: Mapping[str, Any], n_programs: int, n_observables: int) -> list[ItemResult]:
    """Values and standard errors of one estimator PUB, program by program, in the order of its observables.

    `evs` and `stds` have shape (programs, observables), without the first axis for a single program.
    """
    try:
        values, errors = (np.asarray(fields[name], dtype=float) for name in ("evs", "stds"))
    except (KeyError, TypeError, ValueError):
        raise Unreadable("ibm: the estimator result has no evs and stds", provider="ibm") from None
    wanted = n_programs * n_observables
    if values.size != wanted or errors.size != wanted:
        raise Unreadable(f"ibm returned {values.size} expectation values, {wanted} were requested", provider="ibm")
    metadata = plain(fields["metadata"])
    extras = _extras(fields, n_programs)
    rows = zip(values.reshape(n_programs, -1), errors.reshape(n_programs, -1), strict=True)
    return [_expectations(*row, metadata | extras[index]) for index, row in enumerate(rows)]


def _expectations(values: np.ndarray[Any, Any], errors: np.ndarray[Any, Any], metadata: dict[str, Any]) -> ItemResult:
    if not (np.all(np.isfinite(values)) and np.all(np.isfinite(errors))):
        told = {"evs": plain(values.tolist()), "stds": plain(errors.tolist())}
        error = ItemError(None, f"ibm returned values that are not finite: {told}"[:1000])
        return ItemResult(error=error, metadata=metadata | told)
    pairs = zip(values.tolist(), errors.tolist(), strict=True)
    return ItemResult(expectations=tuple(Expectation(*pair) for pair in pairs), metadata=dict(metadata))


def _extras(fields: Mapping[str, Any], n_programs: int) -> list[dict[str, Any]]:
    """Further arrays of a PUB by program: `ensemble_standard_error`, and those of zero-noise extrapolation
    (`evs_noise_factors`, `stds_noise_factors`, `evs_extrapolated`, ...), observables first, noise factors last."""
    found: list[dict[str, Any]] = [{} for _ in range(n_programs)]
    for name, value in fields.items():
        if name in ("evs", "stds", "metadata") or not isinstance(value, np.ndarray) or not value.size:
            continue
        if value.size % n_programs or value.size // n_programs > _MAX_KEPT or not np.issubdtype(value.dtype, np.number):
            continue
        shape = value.shape[1:] if n_programs > 1 and value.shape[0] == n_programs else value.shape
        parts = value.reshape(n_programs, *shape) if n_programs > 1 else [value]
        for item, part in zip(found, parts, strict=True):
            item[name] = plain(part.tolist())
    return found


def plain(value: Any) -> Any:
    """The part of a value that JSON can hold; numbers that are not finite become text."""
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items() if _is_plain(one)}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value if _is_plain(one)]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _is_plain(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.size <= _MAX_KEPT and value.dtype.kind in "biuf"
    return isinstance(value, str | int | float | bool | None | Mapping | list | tuple | np.integer | np.floating)


def chosen(options: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """The options among `names` that were set; None counts as unset."""
    return {name: _set(value) for name, value in options.items() if name in names and value is not None}


def _set(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _set(one) for name, one in value.items() if one is not None}
    return value
