"""Values that pass between vendors, ledger and users: frozen, plain and picklable. Nothing here does I/O.

One bit order everywhere: in a counts key the rightmost character is classical bit 0; classical registers are
separated by one space, the first declared register rightmost (Qiskit's convention). A classical bit that no
measurement writes reads "0", as it does on hardware; an unmeasured qubit does not appear at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from importlib import import_module
from typing import Any

from qflows import display
from qflows.errors import QflowsError
from qflows.privacy.accounts import is_emulated
from qflows.states import TERMINAL, JobStatus, SessionState


class Counts(dict[str, int]):
    """Histogram: bit string → number of shots.

    The rightmost character is classical bit 0. Registers are separated by one space, the first declared one rightmost.

    Examples:
        >>> counts = qflows.Counts({"01": 750, "11": 250})
        >>> counts.probabilities()
        {'01': 0.75, '11': 0.25}
        >>> counts.marginal([1])  # the left bit
        {'0': 750, '1': 250}
    """

    @property
    def shots(self) -> int:
        """The sum over all outcomes."""
        return sum(self.values())

    def probabilities(self) -> dict[str, float]:
        """Relative frequencies, same keys; empty for an empty histogram."""
        total = self.shots
        return {key: n / total for key, n in self.items()} if total else {}

    def marginal(self, bits: Iterable[int]) -> Counts:
        """Counts over the classical bits `bits` alone, first of them rightmost, registers dissolved."""
        chosen = tuple(bits)
        if wrong := [bit for bit in chosen if not hasattr(bit, "__index__")]:
            raise QflowsError(
                f"a classical bit is a whole number, not {wrong[0]!r}; write for example marginal([0, 2])"
            )
        out: Counts = Counts()
        for key, n in self.items():
            flat = key.replace(" ", "")[::-1]
            if wrong := [bit for bit in chosen if not 0 <= bit < len(flat)]:
                raise QflowsError(f"there is no classical bit {wrong[0]}; these counts have bits 0 to {len(flat) - 1}")
            short = "".join(flat[b] for b in reversed(chosen))
            out[short] = out.get(short, 0) + n
        return out


@dataclass(frozen=True, slots=True)
class Expectation:
    """One expectation value. `std_error` is the standard error of `value`; 0.0 when computed exactly."""

    value: float
    std_error: float


@dataclass(frozen=True, slots=True)
class ItemError:
    """Why one circuit of a job has no counts."""

    code: str | None
    message: str


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What a vendor returned for one program of a job."""

    counts: Counts | None = None
    probabilities: dict[str, float] | None = None  # exact ones, where the vendor computes them
    memory: tuple[str, ...] | None = None  # one key per shot, in shot order
    expectations: tuple[Expectation, ...] | None = None
    error: ItemError | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def success(self) -> bool:
        """True when there is no error. An alias, as qBraid spells it."""
        return self.error is None

    @property
    def ensemble_standard_errors(self) -> tuple[float, ...] | None:
        """IBM's `ensemble_standard_error`, one for each expectation value, in its unit: the spread over twirled
        circuits and shots together. None where the device gives none."""
        found = self.metadata.get("ensemble_standard_error")
        if found is None:
            return None
        return tuple(float(one) for one in (found if isinstance(found, list | tuple) else [found]))

    @property
    def compiled(self) -> Any:
        """What was compiled from the program: IBM's depth, gates and layout as a dict; None where it is not known."""
        return self.metadata.get("compiled")


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, UTC, in which a device ran a part of a job. `data_slices`: which part, as the vendor says."""

    start: datetime
    stop: datetime
    data_slices: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.stop - self.start).total_seconds()


def spans_of(provenance: Mapping[str, Any]) -> tuple[Span, ...]:
    """The execution spans among what was recorded beside counts; those that cannot be read are left out."""
    vendor = provenance.get("vendor")
    told = vendor.get("execution_spans") if isinstance(vendor, Mapping) else None
    found: list[Span] = []
    for one in told if isinstance(told, list) else ():
        if not isinstance(one, Mapping):
            continue
        start, stop = _moment(one.get("start")), _moment(one.get("stop"))
        if start and stop:
            slices = one.get("data_slices")
            found.append(Span(start, stop, dict(slices) if isinstance(slices, Mapping) else {}))
    return tuple(found)


def _moment(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found


def calibration_of(provenance: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The calibration among what was recorded beside counts: of the compiler's target, else of the vendor's page."""
    vendor = provenance.get("vendor")
    target = vendor.get("target") if isinstance(vendor, Mapping) else None
    return target or (provenance.get("submission") or {}).get("target") or provenance.get("calibration")


def versions_of(provenance: Mapping[str, Any]) -> dict[str, Mapping[str, str]]:
    """See `Result.versions`."""
    sent = (provenance.get("submission") or {}).get("versions") or {}
    return {"submitted": dict(sent), "decoded": dict(provenance.get("versions") or {})}


def compiled_of(items: Iterable[ItemResult | None], provenance: Mapping[str, Any]) -> tuple[Any, ...]:
    """By program, what was compiled from it: IBM's summary, or the text of qBraid or of an IQM device on Braket."""
    vendor = provenance.get("vendor")
    vendor = vendor if isinstance(vendor, Mapping) else {}
    texts = vendor.get("compiled") or vendor.get("compiled_program")
    listed = list(items)
    several = texts if isinstance(texts, list | tuple) and len(texts) == len(listed) else [texts] * len(listed)
    own = [item.compiled if item is not None else None for item in listed]
    return tuple(one or text for one, text in zip(own, several, strict=True))


@dataclass(frozen=True, slots=True)
class ResultData:
    """The counts of one job, in the form of qBraid's `result.data`."""

    item: ItemResult

    def get_counts(self) -> dict[str, int]:
        """The histogram; empty if the program ran without shots."""
        return dict(self.item.counts or {})

    def get_probabilities(self) -> dict[str, float]:
        """Exact probabilities if the device computes them, otherwise relative frequencies."""
        if self.item.probabilities is not None:
            return dict(self.item.probabilities)
        return self.item.counts.probabilities() if self.item.counts else {}

    @property
    def measurement_counts(self) -> dict[str, int]:
        """The histogram."""
        return self.get_counts()


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a job's processing. `is_reported`: the vendor gives the time itself; otherwise it is when qflows
    first saw the vendor's status `name`."""

    name: str
    at: datetime
    is_reported: bool


@dataclass(frozen=True, slots=True)
class Timeline:
    """When things happened, UTC, as far as known; `qpu_s` is billed or reported execution time in seconds.

    `steps`: every step the vendor reports and every status seen, oldest first. `expected_start`, `expected_end`: what
    the vendor predicted last for a job that waits or runs; None if it predicts nothing (only IonQ does).
    """

    created: datetime | None = None
    submitted: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    qpu_s: float | None = None
    steps: tuple[Step, ...] = ()
    expected_start: datetime | None = None
    expected_end: datetime | None = None

    @property
    def queue_s(self) -> float | None:
        """Seconds between submission and start."""
        return _span_s(self.submitted, self.started)

    @property
    def execution_s(self) -> float | None:
        """Seconds between start and end."""
        return _span_s(self.started, self.finished)


_LATE_ANSWER_S = 5.0  # a job may start before its submission is answered, which is the moment that we know


def _span_s(start: datetime | None, end: datetime | None) -> float | None:
    span_s = (end - start).total_seconds() if start and end else None
    # a job that was adopted long after its start, or a clock that differs, gives no span rather than a negative one
    return None if span_s is None or span_s < -_LATE_ANSWER_S else max(span_s, 0.0)


@dataclass(frozen=True, slots=True)
class Cost:
    """An amount in the vendor's unit; `is_estimate` until the vendor has billed."""

    amount: float
    unit: str  # usd, credits, qpu_s
    is_estimate: bool


@dataclass(frozen=True, slots=True)
class Quote:
    """What a job would cost if bought, in the vendor's unit.

    `expected`: None if unknown. `bound`: the maximum cost by the vendor's own rules; None if there is no known bound.
    `source`: the price list, endpoint or formula, with its date.
    """

    expected: Decimal | None
    bound: Decimal | None
    unit: str  # as in Cost
    source: str

    @property
    def is_free(self) -> bool:
        """True if it certainly costs nothing."""
        return self.bound == 0


def exact(amount: float | str) -> Decimal:
    """An amount of money exactly as written, without binary rounding."""
    return Decimal(str(amount))


@dataclass(frozen=True, slots=True)
class Job:
    """A durable handle: a snapshot of the job's ledger row. `qflows.attach(job.key)` reads it again."""

    key: str
    run_key: str
    label: str
    provider: str
    account: str
    device: str  # profile name, or vendor:device-id
    device_id: str  # the vendor's own name
    shots: int | None
    status: JobStatus
    vendor_id: str | None
    fence: int
    epoch: int
    ordinal: int
    name: str
    tags: Mapping[str, str]
    n_programs: int
    created_at: datetime
    error_kind: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    error_retryable: bool | None = None
    n_errors: int = 0  # programs of a finished job that have an error instead of counts
    is_held: bool = False  # finished at the vendor, who withholds the results
    word: str | None = None  # the vendor's own status, as last read
    session_id: str | None = None
    queue_position: int | None = None
    queue_note: str | None = None
    cancel_requested_at: datetime | None = None
    sends: int = 0  # submissions whose answer was lost
    bad_reads: int = 0  # times in a row that its answer could not be read
    has_answer: bool = False  # the vendor's answer is stored, and was not decoded yet
    asks_person: bool = False  # in doubt, and only a person can settle it
    timeline: Timeline = field(default_factory=Timeline)
    cost: Cost | None = None
    origin: str | None = None  # imported or rebuilt; None: bought by this ledger

    @property
    def is_imported(self) -> bool:
        """True for a job that was bought elsewhere: qflows reads it, but never sends, cancels or retags it."""
        return self.origin == "imported"

    @property
    def id(self) -> str:
        """The vendor's id, or the key until there is one. An alias of `vendor_id`, as vendors' clients spell it."""
        return self.vendor_id or self.key

    @property
    def job_id(self) -> str:
        """An alias of `id`."""
        return self.id

    @property
    def is_terminal(self) -> bool:
        """True when the status is final."""
        return self.status in TERMINAL

    @property
    def programs(self) -> tuple[Any, ...]:
        """The programs that were ordered, from the ledger in force; `job.programs[0].circuit()` is Qiskit's circuit."""
        return _client().spec(self.key).programs

    @property
    def options(self) -> dict[str, Any]:
        """The vendor options that were ordered, from the ledger in force."""
        return dict(_client().spec(self.key).options)

    def progress(self) -> dict[JobStatus, int]:
        """How many of its circuits are in each status; a composite job that runs is asked for at the vendor (IonQ)."""
        return _client().progress(self.key)

    def refresh(self) -> Job:
        """A fresh handle, after one look at the vendor; see `qflows.refresh`."""
        return _client().refresh([self.key])[self.key]

    def __repr__(self) -> str:
        shots = "exact" if self.shots is None else f"{self.shots:,} shots"
        return f"<Job {self.key[:12]} {self.name!r} on {self.device}, {shots}: {self.status.value}{self._origin()}>"

    def _origin(self) -> str:
        return f", {self.origin}" if self.origin else ""

    def _repr_html_(self) -> str:
        return display.pairs(
            {
                "job": self.key[:12],
                "name": self.name,
                "device": self.device,
                "shots": "exact" if self.shots is None else f"{self.shots:,}",
                "status": self.status.value,
                "vendor id": self.vendor_id,
                "queue": self.queue_note or self.queue_position,
                "expected start": self.timeline.expected_start,
                "expected end": self.timeline.expected_end,
                "cost": f"{self.cost.amount:g} {self.cost.unit}" if self.cost else None,
                "error": self.error_message,
                "run key": self.run_key,
                "origin": self.origin,
            }
        )

    @property
    def is_emulated(self) -> bool:
        """True if an emulator on this machine stands in for the vendor: simulated counts, and no money spent."""
        return is_emulated(self.account)


def _client() -> Any:
    """The client of this process, which public verbs use too; found by name, because values import nothing above."""
    return import_module("qflows.prefect.client").client()


_SHOWN = 4


def gist(item: ItemResult) -> str:
    """One program's outcome in a few words."""
    if item.error is not None:
        return f"error {item.error.code or ''} {item.error.message}".strip()[:120]
    if item.expectations is not None:
        return ", ".join(uncertain(one.value, one.std_error) for one in item.expectations[:_SHOWN])
    values = item.counts if item.counts is not None else item.probabilities or {}
    top = sorted(values.items(), key=lambda pair: -pair[1])[:_SHOWN]
    rest = f", and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return ", ".join(f"{key}: {value:g}" for key, value in top) + rest


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of one job. A job of one program has `.counts` and friends; a composite job has `.items`.

    `provenance["circuits"]`: name and metadata of each circuit, as they were given.
    """

    job: Job
    items: tuple[ItemResult, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        shown = "; ".join(gist(item) for item in self.items[:_SHOWN])
        more = f"; and {len(self.items) - _SHOWN} more" if len(self.items) > _SHOWN else ""
        return f"<Result of job {self.job.key[:12]} {self.job.name!r} on {self.job.device}: {shown}{more}>"

    def _repr_html_(self) -> str:
        pages = [self.job._repr_html_()]
        for item in self.items[:_SHOWN]:
            values = item.counts if item.counts is not None else item.probabilities
            pages.append(display.bars(values) if values else display.pairs({"value": gist(item)}))
        return "".join(pages)

    def _only(self) -> ItemResult:
        if len(self.items) != 1:
            raise QflowsError(
                f"job {self.job.key[:12]} holds {len(self.items)} programs; read .items[i] instead of the single result"
            )
        return self.items[0]

    @property
    def counts(self) -> Counts:
        """Histogram of the single program. Raises an error that says so if it ran exactly, without shots."""
        counts = self._only().counts
        if counts is None:
            raise QflowsError(
                f"job {self.job.key[:12]} has no counts: it ran without shots; read .probabilities or .expectation"
            )
        return counts

    @property
    def probabilities(self) -> dict[str, float]:
        """Exact probabilities if the device computes them, otherwise relative frequencies."""
        item = self._only()
        return item.probabilities if item.probabilities is not None else self.counts.probabilities()

    @property
    def memory(self) -> tuple[str, ...] | None:
        """Outcome of every shot in order, or None if the device does not offer it."""
        return self._only().memory

    @property
    def expectation(self) -> Expectation:
        """Value and standard error of the single requested observable."""
        values = self.expectations
        if len(values) != 1:
            raise QflowsError(f"{len(values)} observables were given; read .expectations[i]")
        return values[0]

    @property
    def expectations(self) -> tuple[Expectation, ...]:
        """One value per observable, in the order given."""
        values = self._only().expectations
        if values is None:
            raise QflowsError("no observables were given; pass observables= to submit")
        return values

    @property
    def data(self) -> ResultData:
        """`result.data.get_counts()`, as qBraid spells `result.counts`."""
        return ResultData(self._only())

    @property
    def success(self) -> bool:
        """True when every program has a result. An alias: a failed job raises JobFailed instead."""
        return all(item.success for item in self.items)

    @property
    def details(self) -> dict[str, Any]:
        """Job, device, shots, times and cost in one dictionary. An alias of the fields of `job`."""
        return {
            "job_id": self.job.id,
            "key": self.job.key,
            "device": self.job.device,
            "shots": self.job.shots,
            "status": self.job.status.value,
            "submitted": self.job.timeline.submitted,
            "finished": self.job.timeline.finished,
            "cost": self.job.cost,
        }

    @property
    def cost(self) -> Cost | None:
        """What the vendor billed, or its estimate; None if neither is known."""
        return self.job.cost

    @property
    def calibration(self) -> Mapping[str, Any] | None:
        """The device's calibration when the job was compiled (IBM) or its result fetched (IonQ, Braket, qBraid), as the
        vendor has it; None for simulators, and where the vendor publishes none."""
        return calibration_of(self.provenance)

    @property
    def compiled(self) -> Any:
        """What was compiled from the single program: IBM's depth, gates and layout, or the vendor's text; else None."""
        return compiled_of([self._only()], self.provenance)[0]

    @property
    def execution_spans(self) -> tuple[Span, ...]:
        """When the device ran what, where the vendor says so (IBM)."""
        return spans_of(self.provenance)

    @property
    def versions(self) -> dict[str, Mapping[str, str]]:
        """Library versions: `submitted`, of the process that sent the job, and `decoded`, of the one that read it."""
        return versions_of(self.provenance)

    @property
    def timeline(self) -> Timeline:
        """Created, submitted, started, finished."""
        return self.job.timeline


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session as recorded in the ledger."""

    key: str
    run_key: str
    name: str
    provider: str
    account: str
    device: str
    device_id: str
    mode: str
    max_time_s: float | None
    options: Mapping[str, Any]
    state: SessionState
    vendor_id: str | None
    fence: int
    epoch: int
    owner: str | None
    created_at: datetime
    claimed_at: datetime | None
    opened_at: datetime | None
    closed_at: datetime | None
    close_reason: str | None


_FINEST, _LARGEST = 1e-12, 1e9


def uncertain(value: float, error: float | None, *, sign: bool = False) -> str:
    """`-1.1373 ± 0.0042`: the standard error with two digits, the value with as many places.

    Without an error (None or 0: known exactly), ten significant digits; an error that is not finite is named.
    Very small or large numbers share an exponent: `(1.52 ± 0.13)e-20`. `sign` also writes a plus sign.
    """
    plus = "+" if sign else ""
    if not math.isfinite(value):
        return str(value)
    if not error:
        return f"{value:{plus}.10g}"
    if not math.isfinite(error):
        return f"{value:{plus}.3g} ± unknown"
    size = max(abs(value), error)
    if error < _FINEST or size >= _LARGEST:
        exponent = math.floor(math.log10(size))
        scale = 10.0**-exponent
        return f"({uncertain(value * scale, error * scale, sign=sign)})e{exponent:+03d}"
    places = _places(error)
    return f"{value:{plus}.{places}f} ± {error:.{places}f}"


def rounded(value: float, error: float | None) -> str:
    """`value` alone, with the digits that `uncertain` gives it."""
    return uncertain(value, error).replace("(", "").partition(" ± ")[0]


def _places(error: float) -> int:
    two_digits = float(f"{error:.1e}")  # 0.0996 becomes 0.10, which has a place less
    return max(1 - math.floor(math.log10(two_digits)), 0)
