"""What a vendor adapter must do. Adapters know nothing of the ledger, of Prefect, or of each other.

Every method may raise the `ProviderError` family; which member it raises decides whether the caller may repeat.
Instances are used from several threads at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Protocol, cast, overload, runtime_checkable

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from qflows.errors import Ambiguous, ProgramRejected
from qflows.keys import content_digest, digest
from qflows.model import Cost, ItemResult, Quote
from qflows.programs import Feature, Program
from qflows.programs.observables import Observable


class VendorCredentials(BaseModel):
    """Base of a vendor's credentials: its fields are what the entry point's `connect` is given.

    A subclass named in `<vendor folder>/credentials.py` becomes a Prefect block type; secrets are `SecretStr`. Import
    no vendor SDK there, because Prefect loads block types when it starts.
    """

    model_config = ConfigDict(extra="forbid")

    vendor: ClassVar[str]
    title: ClassVar[str]
    logo_url: ClassVar[str]
    documentation_url: ClassVar[str]


class VendorOptions(BaseModel):
    """Base of the options a vendor takes for one job; its fields are what `options=` may hold.

    Values are checked strictly, so that "no" is not a true bool; text from a command line goes through `parse`. What
    was set explicitly is sent, also when it is false. A field whose vendor default costs money says so in
    `json_schema_extra={"vendor_default": ..., "costs": "why"}`.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @classmethod
    def parse(cls, texts: Mapping[str, str]) -> dict[str, Any]:
        """Values of options given as text, such as `false` or `0.5` on a command line, by the types of the fields.

        Names that are no field are passed on as they are, for `check` to refuse. A text that does not fit its field's
        type raises ProgramRejected.
        """
        found: dict[str, Any] = {}
        for name, text in texts.items():
            field = cls.model_fields.get(name)
            if field is None:
                found[name] = text
                continue
            read: TypeAdapter[Any] = TypeAdapter(cast(Any, field.annotation))
            for reading in (lambda r=read, t=text: r.validate_json(t), lambda r=read, t=text: r.validate_python(t)):
                try:
                    found[name] = reading()
                    break
                except ValidationError as error:
                    problem = error.errors(include_input=False, include_url=False)[0]["msg"]
            else:
                raise ProgramRejected(f"option {name}={text[:80]!r}: {problem}")
        return found


class Lookup(StrEnum):
    """How a submission whose answer was lost can be found again by our key."""

    NONE = "none"  # it cannot; a person must look
    SCAN = "scan"  # by reading the account's job list to the end
    QUERY = "query"  # by asking for the tag
    LOCAL = "local"  # there is no remote party: submitting again changes nothing


@dataclass(frozen=True, slots=True)
class Pace:
    """How often an account may be polled, as its vendor's documents have it.

    `first_s`: the shortest time between two polls, seconds; a job that gets older is looked at every tenth of its age,
    at least every `max_s`. `rate` and `burst` bound the polls of an account as a token bucket does: requests a second
    in the long run, and how many may come at once.
    """

    first_s: float
    max_s: float = 30.0
    rate: float = 1.0
    burst: float = 10.0


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a vendor's API offers, as data, so that the core needs no vendor names.

    `settle_s`: how long a listing may lag behind an accepted submission before absence counts as proved.
    `poll_page`: jobs whose status one request can read. `max_programs`: programs one job may carry (1: no
    composite jobs); `max_job_bytes`, `max_job_gates`, `max_job_shots` bound a composite job as a whole, shots
    summed over its programs. `estimator`: expectation values are computed by the device itself. `repeats_posts`: the
    vendor's client repeats submissions by itself, so a look for extras is due after an apparent success.
    `native_groups`: the vendor keeps groups itself (`core/native_groups.py`); a job's `session_id` names one.
    `retags`: name and tags can be changed at the vendor after the submission (`TagProvider`). `imports`: jobs that
    others submitted can be listed and read back (`ImportProvider`). `posts_at_once` and `reads_at_once`: submissions
    and downloads of results that may be under way together, within its quotas.
    """

    lookup: Lookup
    settle_s: float
    poll_page: int
    pace: Pace
    max_programs: int = 1
    max_job_bytes: int | None = None
    max_job_gates: int | None = None
    max_job_shots: int | None = None
    estimator: bool = False
    repeats_posts: bool = False
    sessions: frozenset[str] = frozenset()
    native_groups: bool = False
    retags: bool = False
    imports: bool = False
    posts_at_once: int = 1
    reads_at_once: int = 4


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One purchase to be made: what runs, where, how often.

    `shots` is None for an exact evaluation. `observables[i]` belongs to `programs[i]`; both are tuples of equal
    length, the inner tuple empty when counts are wanted. `options` is JSON and part of the identity; `name` and
    `tags` are labels and are not.
    """

    provider: str
    device_id: str
    programs: tuple[Program, ...]
    shots: int | None
    observables: tuple[tuple[Observable, ...], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    label: str = ""
    session_id: str | None = None
    estimate: str = ""  # how counts of all programs become expectation values; empty when they do not

    @property
    def content(self) -> str:
        """Digest of everything that makes this the same work as another spec."""
        return content_digest(
            label=self.label,
            provider=self.provider,
            device_id=self.device_id,
            programs=[program.digest for program in self.programs],
            observables=[digest([o.to_json() for o in group]) for group in self.observables]
            + ([digest("estimate/1", self.estimate)] if self.estimate else []),
            shots=self.shots,
            options=self.options,
        )

    def observables_of(self, index: int) -> tuple[Observable, ...]:
        """The observables wanted from program `index`; empty when counts are wanted."""
        return self.observables[index] if self.observables else ()


@dataclass(frozen=True, slots=True)
class Limits:
    """What a device accepts, checked before anything is sent. None: no limit known."""

    max_qubits: int | None = None
    max_shots: int | None = None
    min_shots: int = 1
    gates: frozenset[str] | None = None
    max_programs: int | None = None
    exact: bool = False  # may run without shots
    mid_circuit: bool = False  # reset, or gates after a measurement
    max_total_shots: int | None = None  # summed over the programs of one job
    max_unfinished: int | None = None  # jobs of the account at work on the device at once; more are paced, not refused
    labels: tuple[int, ...] | None = None  # the vendor's numbers of the qubits, where they are not 0 to n-1
    measures_all: bool = False  # every qubit must be measured; qflows measures the others and drops their columns
    takes: frozenset[Feature] | None = None  # what programs may hold beyond gates and final measurements


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A device as the vendor describes it now."""

    device_id: str
    n_qubits: int | None
    is_simulator: bool
    is_available: bool
    queue_s: float | None = None
    queue_length: int | None = None
    note: str | None = None
    calibration: Mapping[str, Any] = field(default_factory=dict)


_LONGEST_ID = 255  # characters that the ledger keeps of a vendor's id


@dataclass(frozen=True, slots=True)
class DeviceList(Sequence[DeviceInfo]):
    """Devices where not everything could be asked. `troubles`: what could not, by place, such as a region of a cloud,
    with the reason."""

    found: tuple[DeviceInfo, ...]
    troubles: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.found)

    @overload
    def __getitem__(self, index: int) -> DeviceInfo: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[DeviceInfo]: ...

    def __getitem__(self, index: int | slice) -> DeviceInfo | Sequence[DeviceInfo]:
        return self.found[index]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The vendor took the job.

    Raises Ambiguous for an id that can be none: empty, longer than 255 characters, or not printable ASCII. Something
    answered, but a job could never be found again under it.
    """

    vendor_id: str
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        said = self.vendor_id
        if not 0 < len(said) <= _LONGEST_ID or not said.isascii() or not said.isprintable():
            raise Ambiguous(f"the answer to a submission names a job {said!r:.80}, which is no id; it may have the job")


@dataclass(frozen=True, slots=True)
class Found:
    """A job at the vendor that bears one of our keys."""

    vendor_id: str
    created_at: datetime | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A submission that is ready for the wire. `body` is the adapter's own; `note`: what compiling changed."""

    spec: JobSpec
    key: str
    body: Any
    note: str = ""


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """What a vendor answered for a finished job, as bytes, before anything is read out of it.

    `documents`: bodies by a name that `decode` knows, in the order they were fetched. Kept once and for good, so that
    a later version can decode again without the vendor. `is_only_copy`: the vendor will not give it a second time.
    """

    documents: Mapping[str, bytes]
    is_only_copy: bool = False


class Phase(StrEnum):
    """What a status read says, in one vocabulary; each adapter maps its vendor's words in one table."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"  # results can be fetched
    HELD = "held"  # finished, but the vendor withholds the results, e.g. because of the account's state
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"  # a word nobody documented: recorded, never guessed


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at one job. `word` is the vendor's own status."""

    phase: Phase
    word: str
    started_at: datetime | None = None
    finished_at: datetime | None = None
    queue_position: int | None = None
    queue_note: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    cost: Cost | None = None  # of a job that ended without counts: what the vendor bills for it, where that is known
    is_retryable: bool | None = None  # whether a new purchase may succeed, by the vendor's documents; None: unknown


@dataclass(frozen=True, slots=True)
class VendorResult:
    """Everything a finished job gave: one item per program, in order, and what it cost."""

    items: tuple[ItemResult, ...]
    cost: Cost | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    qpu_s: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Provider(Protocol):
    """A vendor behind five verbs and a look-up."""

    @property
    def name(self) -> str:
        """The vendor's folder name."""
        ...

    @property
    def account(self) -> str:
        """Names the credentials without revealing them; with `name` it names the polling lane."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What this vendor's API offers."""
        ...

    @property
    def job_page(self) -> str | None:
        """Where a person looks at a job in the vendor's console, `{id}` standing for its id; None where there is no
        such page, and for an emulator."""
        ...

    def read(self, source: Any) -> Program | None:
        """`source` as a program if it is of this vendor's own form, else None."""
        ...

    def devices(self) -> Sequence[DeviceInfo]:
        """All devices the account may use; a `DeviceList` where a part of them could not be asked for."""
        ...

    def limits(self, device_id: str) -> Limits:
        """Limits of a device that has no profile; may ask the vendor. Raises Refused for an unknown device."""
        ...

    def check(self, spec: JobSpec) -> None:
        """Raises ProgramRejected for what this vendor's wire format cannot carry. No I/O."""
        ...

    def options_model(self, device_id: str) -> type[VendorOptions]:
        """The options that jobs on this device take. No I/O."""
        ...

    def prepare(self, spec: JobSpec, key: str) -> Prepared:
        """Everything up to the first byte of the submission: compiling, reading targets, building the body.

        Nothing that it raises leaves a doubt: ProgramRejected or Refused for a job that cannot be sent, NotSent when
        something it needs is out of reach; anything else counts as a rejection, with its text.
        """
        ...

    def send(self, prepared: Prepared) -> Accepted:
        """Sends one prepared job, once. Anything but a clear answer raises Ambiguous."""
        ...

    def find_submitted(
        self, keys: Collection[str], *, since: datetime, device_ids: Collection[str]
    ) -> Mapping[str, Sequence[Found]]:
        """Jobs at the vendor bearing one of `keys`, oldest first; a key without any is absent."""
        ...

    def poll(self, vendor_ids: Sequence[str]) -> Mapping[str, Observation]:
        """Statuses in ceil(n / poll_page) requests; an id the vendor does not list is absent, not finished."""
        ...

    def exists(self, vendor_id: str) -> bool:
        """Asks for one job by its id: False only on the vendor's own word that it has no such job."""
        ...

    def fetch(self, vendor_id: str, spec: JobSpec) -> RawAnswer:
        """Downloads everything a finished job gave, cost included; safe to repeat. Nothing is interpreted beyond what
        finding the documents needs."""
        ...

    def decode(self, raw: RawAnswer, spec: JobSpec, key: str) -> VendorResult:
        """Reads a downloaded answer. Pure: no I/O, the same answer for the same bytes. Raises Unreadable."""
        ...

    def cancel(self, vendor_id: str) -> None:
        """Asks the vendor to cancel; whether it worked is seen by the next poll. Finished jobs: no error."""
        ...

    def estimate(self, spec: JobSpec) -> Quote | None:
        """What the job would cost, the vendor's costly defaults counted, or None where nothing can be said of it.

        May ask the vendor for prices and buys nothing. A job inside a session is priced as if it were outside.
        """
        ...


@dataclass(frozen=True, slots=True)
class CompileWish:
    """How a program is to be compiled on this side of the wire.

    `level`: "default" leaves it to the adapter, "none" keeps every gate, 0 to 3 are Qiskit's optimization levels.
    `physical_qubits[i]`: the device's own qubit for qubit i of the program, where it stays; None lets the compiler
    choose.
    """

    level: str | int = "default"
    physical_qubits: tuple[int, ...] | None = None


@runtime_checkable
class CompilingProvider(Protocol):
    """A provider that compiles on this side of the wire, and can therefore show what will run.

    A device whose options have `compile` and `physical_qubits` compiles when a job is prepared; for any other the
    core calls `compile` when one of the two is asked for, and the job records what it returns.
    """

    def compile(self, spec: JobSpec, wish: CompileWish) -> Program:
        """The one program of `spec` as the device runs it: submitting it runs exactly it.

        It is in the device's own gates, and on its own qubits (`labels`) where it has places; `is_verbatim` is set
        where the device has such programs. Its clbits are those of the spec's program. Nothing is sent but requests for
        the device's description. Raises ProgramRejected with the vendor's reason for a wish that cannot be honored,
        or what reading the description raises.
        """
        ...

    def duration_s(self, device_id: str, options: Mapping[str, Any], program: Program) -> float | None:
        """Seconds of one shot of a compiled program; None if unknown."""
        ...


class TagProvider(Provider, Protocol):
    """A provider whose `capabilities.retags` is true."""

    def check_tags(self, *, name: str, tags: Mapping[str, str]) -> None:
        """Raises ProgramRejected for labels that the vendor cannot hold. No I/O."""
        ...

    def retag(
        self, vendor_id: str, key: str, *, name: str, tags: Mapping[str, str], ours: Collection[str]
    ) -> Sequence[str]:
        """Makes these the name and tags of a job, and returns all it bears afterwards, read back from the vendor.

        Tags named in `ours` that are not in `tags` go; tags that others put there stay; so does the key, at every
        moment. Safe to repeat.
        """
        ...


@dataclass(frozen=True, slots=True)
class Listed:
    """A job of the account as a list of the vendor shows it, whoever submitted it.

    `key`: the job key that it bears, if it is one of ours. `labels`: its tags as the vendor has them, plain or as
    `name=value`.
    """

    vendor_id: str
    device_id: str
    created_at: datetime | None
    key: str | None = None
    labels: tuple[str, ...] = ()

    @property
    def tags(self) -> dict[str, str]:
        """The labels by name; a plain one has an empty value."""
        found: dict[str, str] = {}
        for label in self.labels:
            name, _, value = label.partition("=")
            found[name] = value
        return found


@dataclass(frozen=True, slots=True)
class Foreign:
    """A job read back from the vendor, with all that decoding its answer needs.

    `spec` says what was asked for, as far as the vendor keeps it; its options are the adapter's own, marked
    `imported`. `client`: who submitted it, in the vendor's or the client's words, empty where nothing says so.
    `notes`: what is not known of it, one sentence each.
    """

    listed: Listed
    spec: JobSpec
    look: Observation
    client: str = ""
    notes: tuple[str, ...] = ()


class ImportProvider(Provider, Protocol):
    """A provider whose `capabilities.imports` is true. Nothing here changes anything at the vendor."""

    def listed(self, *, since: datetime, until: datetime | None = None) -> Iterator[Listed]:
        """Jobs of the account created in this time, in the vendor's order; children of composite jobs left out."""
        ...

    def foreign(self, vendor_id: str) -> Foreign:
        """Reads one job back. Raises Refused for one that is unknown, or that the vendor does not give back."""
        ...


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A vendor's session as it is now. Times UTC, durations in seconds; None where the vendor does not say."""

    session_id: str
    device_id: str
    mode: str  # dedicated or batch
    state: str  # the vendor's own word
    is_open: bool  # accepts jobs
    created_at: datetime | None = None
    started_at: datetime | None = None
    closed_at: datetime | None = None
    max_time_s: float | None = None
    idle_limit_s: float | None = None
    usage_s: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


class SessionProvider(Provider, Protocol):
    """A provider whose `capabilities.sessions` is not empty."""

    def open_session(self, device_id: str, *, mode: str, max_time_s: float | None, options: Mapping[str, Any]) -> str:
        """Opens one session and returns its id. Sent once; raises as `send` does."""
        ...

    def session_quote(
        self, device_id: str, *, mode: str, max_time_s: float | None, options: Mapping[str, Any]
    ) -> Quote | None:
        """What holding the device costs at most, jobs inside included; free where only the jobs are billed. No I/O."""
        ...

    def session(self, session_id: str) -> SessionInfo:
        """Reads a session. Raises Refused for an unknown one."""
        ...

    def recent_sessions(self, device_id: str, *, since: datetime) -> Sequence[SessionInfo]:
        """Sessions created since then, for finding one whose answer was lost; empty where they cannot be listed."""
        ...

    def close_session(self, session_id: str) -> None:
        """No more jobs; queued ones still run. No error if it is closed already."""
        ...

    def cancel_session(self, session_id: str) -> None:
        """No more jobs; queued ones do not run. No error if it is closed already."""
        ...


class Verdict(StrEnum):
    """How one check of a diagnosis ended."""

    OK = "ok"
    ADVICE = "advice"  # works, with a drawback
    WRONG = "wrong"  # something asked for will fail
    UNKNOWN = "unknown"  # it could not be told here


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a diagnosis: what was looked at, what was seen, and what to do where that is not fine."""

    check: str
    verdict: Verdict
    seen: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Fact:
    """What one account showed of a point that the vendor's documents leave open.

    `seen`: plain JSON; None where this account could not tell, and `note` then says why. The sandbox has a switch of
    the same name where it can play both answers.
    """

    name: str
    seen: str | int | float | bool | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Bought:
    """A job that a bench bought: key and id, its spec, and when its submission was answered (monotonic seconds)."""

    key: str
    vendor_id: str
    spec: JobSpec
    answered_at: float


class Bench(Protocol):
    """What measuring an account needs: jobs bought once, under keys, and never above the amount that was allowed."""

    patience_s: float
    """How long one thing is waited for."""

    def cheapest(self, options: Mapping[str, Any] | None = None) -> str | None:
        """The vendor's id of the cheapest device whose jobs, with these options, can be afforded, free simulators
        first; None if none can."""
        ...

    def buy(
        self, programs: Sequence[Any], *, device_id: str, shots: int, options: Mapping[str, Any] | None = None
    ) -> Bought | None:
        """Buys one job with these programs through the ledger. None if it could cost more than what is left, if the
        device takes no such job, or if it was not accepted; `why` says which."""
        ...

    @property
    def why(self) -> str:
        """Why the last purchase was none."""
        ...

    def may_repeat(self, bought: Bought) -> bool:
        """Sets the price of one more job like this one aside, for a test of whether the vendor recognizes a repeat.
        False if that is more than what is left."""
        ...

    def did_not(self, bought: Bought) -> None:
        """No job came of what `may_repeat` allowed: its price is free again."""
        ...

    def finish(self, bought: Bought) -> Sequence[ItemResult] | None:
        """Waits for a job and stores its result as every job's; None if it did not complete in time."""
        ...

    def raw(self, bought: Bought) -> Mapping[str, bytes]:
        """The kept answer of a finished job by document."""
        ...


@runtime_checkable
class MeasuredProvider(Protocol):
    """A provider that can find out what its vendor's documents leave open. Optional for a vendor."""

    def measure(self, bench: Bench) -> Iterator[Fact]:
        """Facts, found by reading and by the smallest jobs, bought at `bench`. Opens nothing that it does not close."""
        ...

    def learn(self, facts: Mapping[str, Any]) -> None:
        """Takes what was measured with this account before, by name of the fact."""
        ...


@runtime_checkable
class DiagnosedProvider(Protocol):
    """A provider that can examine its account. Optional for a vendor."""

    def addresses(self) -> Mapping[str, str]:
        """The addresses that requests go to, by a name for people. No I/O."""
        ...

    def diagnose(self) -> Iterable[Finding]:
        """Examines credentials, rights and client versions. Buys nothing, changes nothing. No error leaves it but
        those of the `ProviderError` family."""
        ...
