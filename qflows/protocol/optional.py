"""What an adapter may offer beyond `Provider`: compiling, changing tags, ending pauses, importing jobs, sessions."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from qflows.model import Quote
from qflows.programs import Program
from qflows.protocol.jobs import JobSpec, Observation, Phase
from qflows.protocol.provider import Provider


@dataclass(frozen=True, slots=True)
class CompileWish:
    """How to compile a program on this side of the wire.

    `level`: "default" leaves it to the adapter, "none" keeps every gate, 0 to 3 are Qiskit's optimization levels.
    `physical_qubits[i]`: the device's own qubit that qubit i of the program stays on; None lets the compiler choose.
    """

    level: str | int = "default"
    physical_qubits: tuple[int, ...] | None = None


@runtime_checkable
class CompilingProvider(Protocol):
    """A provider that compiles on this side of the wire, and can therefore show what will run.

    A device whose options have `compile` and `physical_qubits` compiles when a job is prepared; for any other the core
    calls `compile` if one of the two is requested, and the job records what it returns.
    """

    def compile(self, spec: JobSpec, wish: CompileWish) -> Program:
        """The one program of `spec` as the device runs it: submitting it runs exactly that.

        It is in the device's own gates, and on its own qubits (`labels`) if the device distinguishes them;
        `is_verbatim` is set if the device has such programs. Its clbits are those of the spec's program. Only requests
        for the device's description are sent. Raises ProgramRejected with the vendor's reason for a wish that cannot be
        honored, or what reading the description raises.
        """
        ...

    def duration_s(self, device_id: str, options: Mapping[str, Any], program: Program) -> float | None:
        """Seconds of one shot of a compiled program; None if unknown."""
        ...


@dataclass(frozen=True, slots=True)
class Condition:
    """How good a device is now, by the vendor's own calibration. Shares from 0 to 1, medians; None: not reported.

    `opens_s`: seconds until its availability window, 0 inside of it. `source`: what was read, with its date.
    """

    two_qubit_error: float | None = None
    readout_error: float | None = None
    opens_s: float | None = None
    source: str = ""


@runtime_checkable
class ConditionProvider(Protocol):
    """A provider whose devices publish a calibration or availability windows."""

    def condition(self, device_id: str) -> Condition:
        """What the vendor reports of a device now. Raises as `Provider.limits`."""
        ...


@runtime_checkable
class ChildrenProvider(Protocol):
    """A provider that shows the progress of the single circuits of a composite job."""

    def children(self, vendor_id: str) -> Mapping[Phase, int]:
        """Number of circuits by phase, as the vendor reports now. Raises ProviderError."""
        ...


@runtime_checkable
class CalibrationProvider(Protocol):
    """A provider whose devices publish a calibration worth keeping with the counts."""

    def calibration(self, device_id: str) -> Mapping[str, Any] | None:
        """The vendor's current document, plain JSON; None, without a request, for a simulator."""
        ...


@runtime_checkable
class PatientProvider(Protocol):
    """A provider that itself keeps a pause its vendor asked for, for all of its requests. Optional for a vendor."""

    def end_pause(self) -> None:
        """End the pause because a person wants the vendor asked now (`qflows lanes free`)."""
        ...


class TagProvider(Provider, Protocol):
    """A provider whose `capabilities.retags` is true."""

    def check_tags(self, *, name: str, tags: Mapping[str, str]) -> None:
        """Raise ProgramRejected for labels that the vendor cannot hold. No I/O."""
        ...

    def retag(
        self, vendor_id: str, key: str, *, name: str, tags: Mapping[str, str], ours: Collection[str]
    ) -> Sequence[str]:
        """Make these the name and tags of a job, and return all it carries afterwards, read back from the vendor.

        Tags named in `ours` that are not in `tags` are removed; tags that others put there stay; so does the key, at
        every moment. Safe to repeat.
        """
        ...


@dataclass(frozen=True, slots=True)
class Listed:
    """A job of the account as the vendor lists it, from any submitter.

    `key`: the job key that it carries, if it is one of ours. `labels`: its tags as the vendor has them, plain or as
    `name=value`. `look`: set only if the list says enough to rebuild a job of ours without reading it by its id: its
    status, `shots`, and the number of its programs.
    """

    vendor_id: str
    device_id: str
    created_at: datetime | None
    key: str | None = None
    labels: tuple[str, ...] = ()
    look: Observation | None = None
    shots: int | None = None
    n_programs: int = 1

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
    """A job read back from the vendor, with everything needed to decode its answer.

    `spec`: what was ordered, as far as the vendor keeps it; its options are the adapter's own, marked `imported`.
    `client`: who submitted it, in the vendor's or the client's words, empty if nothing says so. `notes`: what is not
    known of it, one sentence each.
    """

    listed: Listed
    spec: JobSpec
    look: Observation
    client: str = ""
    notes: tuple[str, ...] = ()


class ImportProvider(Provider, Protocol):
    """A provider whose `capabilities.imports` is true. Nothing here changes anything at the vendor."""

    def listed(self, *, since: datetime, until: datetime | None = None) -> Iterator[Listed]:
        """Jobs of the account created in this time, in the vendor's order, without children of composite jobs."""
        ...

    def foreign(self, vendor_id: str) -> Foreign:
        """Read one job back. Raises Refused if it is unknown, or if the vendor does not give it back."""
        ...


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A vendor's session as it is now. Times UTC, durations in seconds; None if the vendor does not say."""

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
        """Open one session and return its id. Sent once; raises as `send` does."""
        ...

    def session_quote(
        self, device_id: str, *, mode: str, max_time_s: float | None, options: Mapping[str, Any]
    ) -> Quote | None:
        """The most that holding the device costs, including jobs inside; free if only the jobs are billed. No I/O."""
        ...

    def session(self, session_id: str) -> SessionInfo:
        """Read a session. Raises Refused for an unknown one."""
        ...

    def recent_sessions(self, device_id: str, *, since: datetime) -> Sequence[SessionInfo]:
        """Sessions created since then, for finding one whose answer was lost; empty if they cannot be listed."""
        ...

    def close_session(self, session_id: str) -> None:
        """Take no more jobs; queued ones still run. No error if it is already closed."""
        ...

    def cancel_session(self, session_id: str) -> None:
        """Take no more jobs; queued ones do not run. No error if it is already closed."""
        ...
