"""Pure translation between qflows and IBM's JSON: tags, options, states, and results without IBM's decoder.

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

from qflows.errors import ProgramRejected, Unreadable
from qflows.model import Counts, Expectation, ItemResult
from qflows.programs import Program
from qflows.programs.readout import check_total, readout
from qflows.protocol import JobSpec, Observation, Phase, SessionInfo

MARK = "qflows"  # every job of ours bears it, so that one list shows them all
PREFIX = "qflows:"
MAX_TAGS, MAX_TAG = 8, 86  # IBM docs, job tags; registry codes 1204 and 1205
MAX_EXECUTIONS = 10_000_000  # IBM docs, job limits: circuits x shots of one sampler job
REGISTER = "c"
_MAX_UNPACKED = 400_000_000
_BODY_CAP = 4_000

# our own options, and those handed to the client's option classes as they are
OWN_OPTIONS = frozenset(
    {
        "optimization_level",
        "initial_layout",
        "seed_transpiler",
        "use_fractional_gates",
        "literal_angles",  # no parameter arrays: every program is a PUB of its own
        "memory",
        "private",
        "primitives",
    }
)
PRIMITIVES = ("server", "executor")  # who prepares and reads: IBM's sampler and estimator, or the client (ADR 7)
SAMPLER_OPTIONS = frozenset({"dynamical_decoupling", "twirling", "execution", "max_execution_time", "experimental"})
ESTIMATOR_OPTIONS = SAMPLER_OPTIONS | {"resilience_level", "resilience", "seed_estimator"}
EXECUTOR_SAMPLER_OPTIONS = SAMPLER_OPTIONS
EXECUTOR_ESTIMATOR_OPTIONS = SAMPLER_OPTIONS | {"resilience_level", "resilience"}

# `state.status`, any case. OpenAPI 0.45.3, JobState; the client reads nothing else
STATUS = {
    "queued": Phase.QUEUED,
    "running": Phase.RUNNING,
    "completed": Phase.DONE,
    "failed": Phase.FAILED,
    "cancelled": Phase.CANCELLED,
}
RAN_TOO_LONG = "1305"  # with Cancelled: the time limit; the client calls it an error (runtime_job_v2.py)
# states of a session that take jobs, if `accepting_jobs` does not say so itself (OpenAPI 0.45.3, SessionState)
_OPEN_STATES = frozenset({"open", "active", "inactive", "pending_inactive"})


def key_tag(key: str) -> str:
    """The tag that bears a job key: 71 characters for ours of 64."""
    return PREFIX + key


def tags(spec: JobSpec, key: str) -> list[str]:
    """Mark, key, then name and tags of the caller as far as IBM's limits allow; the ledger has them all."""
    fitting = [text for text in label_tags(spec.name, spec.tags) if len(text) <= MAX_TAG]
    return [MARK, key_tag(key), *fitting][:MAX_TAGS]


def label_tags(name: str, labels: Mapping[str, str]) -> list[str]:
    """Name and tags of the caller as IBM's tags, which are plain texts."""
    wanted = [f"name={name}"] if name else []
    wanted += [f"{label}={value}" for label, value in labels.items()]
    return list(dict.fromkeys(wanted))


def is_label(tag: str, labels: Collection[str]) -> bool:
    """True if a tag at IBM is the name, or the value of one of these labels."""
    return any(tag.startswith(f"{label}=") for label in ("name", *labels))


def phase_of(word: str) -> Phase:
    """What a status word means; UNKNOWN for one that no document has."""
    return STATUS.get(word.lower(), Phase.UNKNOWN)


def observation(job: Mapping[str, Any]) -> Observation:
    """One look at a job object. IBM gives no place in the queue any more."""
    state = job.get("state")
    state = state if isinstance(state, dict) else {}
    word = str(state.get("status", ""))
    phase, code = phase_of(word), state.get("reason_code") or state.get("reasonCode")
    if phase is Phase.CANCELLED and str(code) == RAN_TOO_LONG:
        phase = Phase.FAILED
    reason = state.get("reason")
    is_bad = phase in (Phase.FAILED, Phase.CANCELLED)
    return Observation(
        phase=phase,
        word=word[:200],
        finished_at=moment(job.get("ended")),
        queue_note=None if phase is not Phase.QUEUED else "IBM Runtime does not say the place in the queue",
        error_code=str(code) if code is not None and is_bad else None,
        error_message=str(reason)[:2000] if reason and is_bad else None,
    )


def moment(text: Any) -> datetime | None:
    """A time of the API, UTC; None for none or an unreadable one."""
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
        raise Unreadable("ibm: a session without an id", provider="ibm", body=str(body)[:_BODY_CAP])
    state = str(body.get("state", ""))
    accepts = body.get("accepting_jobs")
    is_open = state != "closed" and (accepts if isinstance(accepts, bool) else state in _OPEN_STATES)
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
        max_time_s=_seconds(body.get("max_ttl")),
        idle_limit_s=_seconds(body.get("interactive_ttl")),
        usage_s=_seconds(body.get("elapsed_time")),
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
        device_id=str(row.get("backend", "")),
        mode=WORKLOAD_MODES.get(str(row.get("mode")), str(row.get("mode"))),
        state=status,
        is_open=accepts if isinstance(accepts, bool) else status in ("pending", "in_progress"),
        created_at=moment(row.get("created")),
        closed_at=moment(row.get("ended")),
        usage_s=_seconds(usage.get("qpu_charge_time_seconds")) if isinstance(usage, dict) else None,
    )


def _seconds(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


# -- results -------------------------------------------------------------------------------------------------------


def pub_results(text: str) -> list[Mapping[str, Any]]:
    """`{field: value}` per PUB of a primitive's result text, arrays decoded. Raises Unreadable, keeping the text."""
    try:
        body = json.loads(text, object_hook=_typed)
        return [_fields(pub) for pub in body["pub_results"]]
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, zlib.error) as error:
        raise Unreadable(
            f"ibm: a result that cannot be read ({type(error).__name__})", provider="ibm", body=text[:_BODY_CAP]
        ) from None


def _fields(pub: Mapping[str, Any]) -> Mapping[str, Any]:
    return dict(pub["data"]["fields"]) | {"metadata": pub.get("metadata") or {}}


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
        raise Unreadable(f"ibm: a sampler result without register {REGISTER}", provider="ibm") from None
    array = array[None] if array.ndim == 2 else array
    is_whole = array.ndim == 3 and array.shape[0] == len(programs) and array.shape[2] == (n_bits + 7) // 8
    if n_bits != programs[0].n_clbits or not is_whole or array.dtype != np.uint8:
        raise Unreadable(
            f"ibm: a register of {n_bits} bits, shape {array.shape}, where {programs[0].n_clbits} bits of "
            f"{len(programs)} program(s) were measured",
            provider="ibm",
        )
    if is_twirled and shots is not None:
        shots = max(shots, array.shape[1])
    metadata = _plain(fields["metadata"])
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
        raise Unreadable("ibm: an estimator result without evs and stds", provider="ibm") from None
    wanted = n_programs * n_observables
    are_finite = bool(np.all(np.isfinite(values)) and np.all(np.isfinite(errors)))
    if values.size != wanted or errors.size != wanted or not are_finite:
        raise Unreadable(
            f"ibm returned {values.size} expectation values, {wanted} finite ones were asked for", provider="ibm"
        )
    metadata = _plain(fields["metadata"])
    pairs = zip(values.reshape(n_programs, -1).tolist(), errors.reshape(n_programs, -1).tolist(), strict=True)
    return [ItemResult(expectations=tuple(map(Expectation, *pair)), metadata=dict(metadata)) for pair in pairs]


def _plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata that JSON can hold; the rest is left out."""
    return {name: value for name, value in metadata.items() if isinstance(value, str | int | float | bool | None)}


# -- admission -----------------------------------------------------------------------------------------------------


def check_options(spec: JobSpec) -> None:
    """Raises ProgramRejected for options that nobody reads, or that fit only the other primitive."""
    theirs = options_of(spec)
    unknown = sorted(set(spec.options) - OWN_OPTIONS - theirs)
    if unknown:
        known = ", ".join(sorted(OWN_OPTIONS | theirs))
        raise ProgramRejected(f"ibm has no option {unknown[0]!r} for this job; there are {known}")
    level = spec.options.get("optimization_level", 2)
    if level not in (0, 1, 2, 3) or isinstance(level, bool):
        raise ProgramRejected(f"optimization_level is 0, 1, 2 or 3, not {level!r}")
    if spec.options.get("primitives", PRIMITIVES[0]) not in PRIMITIVES:
        raise ProgramRejected(f"primitives is {' or '.join(PRIMITIVES)}, not {spec.options['primitives']!r}")
    for name in ("use_fractional_gates", "literal_angles", "memory", "private"):
        if not isinstance(spec.options.get(name, False), bool):
            raise ProgramRejected(f"{name} is true or false")


def is_executor(spec: JobSpec) -> bool:
    """True if the client prepares the job and `executor` runs it."""
    return spec.options.get("primitives") == "executor"


def options_of(spec: JobSpec) -> frozenset[str]:
    """Names of the client's options that this job may have."""
    if any(spec.observables):
        return EXECUTOR_ESTIMATOR_OPTIONS if is_executor(spec) else ESTIMATOR_OPTIONS
    return EXECUTOR_SAMPLER_OPTIONS if is_executor(spec) else SAMPLER_OPTIONS


def is_twirled(spec: JobSpec) -> bool:
    """True if shots are split over randomisations, which rounds their number up."""
    twirling = spec.options.get("twirling")
    return isinstance(twirling, dict) and bool(twirling.get("enable_gates") or twirling.get("enable_measure"))


def chosen(options: Mapping[str, Any], names: Sequence[str] | frozenset[str]) -> dict[str, Any]:
    """The options among `names`."""
    return {name: value for name, value in options.items() if name in names}
