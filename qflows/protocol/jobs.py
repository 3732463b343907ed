"""What passes between the core and an adapter for one job: the order, the answers, the statuses, the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from qflows.errors import Ambiguous
from qflows.keys import content_digest, digest
from qflows.model import Cost, ItemResult
from qflows.programs import Program
from qflows.programs.observables import Observable


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One purchase to be made: what runs, where, how often.

    `shots` is None for an exact evaluation. `observables[i]` belongs to `programs[i]`; both are tuples of equal length,
    the inner tuple empty if counts are wanted. `options` is JSON and part of the identity; `name` and `tags` are labels
    and are not.
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
    estimate: str = ""  # how counts of all programs become expectation values; empty if they do not

    @property
    def content(self) -> str:
        """Digest of everything that identifies the work, so that equal work has equal digests."""
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
        """The observables wanted from program `index`; empty if counts are wanted."""
        return self.observables[index] if self.observables else ()


_LONGEST_ID = 255  # characters of a vendor's id that the ledger stores


@dataclass(frozen=True, slots=True)
class Accepted:
    """The vendor took the job.

    Raises Ambiguous for an invalid id: empty, longer than 255 characters, or not printable ASCII. The vendor answered,
    but no job could ever be found again under that id.
    """

    vendor_id: str
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        said = self.vendor_id
        if not 0 < len(said) <= _LONGEST_ID or not said.isascii() or not said.isprintable():
            raise Ambiguous(
                f"the answer to a submission names a job {said!r:.80}, which is not a valid id; "
                "the vendor may have the job"
            )


@dataclass(frozen=True, slots=True)
class Found:
    """A job at the vendor that carries one of our keys."""

    vendor_id: str
    created_at: datetime | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A submission that is ready to send. `body`: the adapter's own; `note`: what compiling changed."""

    spec: JobSpec
    key: str
    body: Any
    note: str = ""


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """A vendor's answer for a finished job, as bytes, before anything is read from it.

    `documents`: bodies by a name that `decode` knows, in the order they were fetched. Stored once and permanently, so
    that a later version can decode again without the vendor. `is_only_copy`: the vendor will not give it a second time.
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
    UNKNOWN = "unknown"  # an undocumented word: recorded, never guessed


@dataclass(frozen=True, slots=True)
class Observation:
    """The status of one job as read once. `word`: the vendor's own status.

    `steps`: times that the vendor reports, by its own names. `expected_start_at`, `expected_end_at`: its prediction.
    """

    phase: Phase
    word: str
    started_at: datetime | None = None
    finished_at: datetime | None = None
    queue_position: int | None = None
    queue_note: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    cost: Cost | None = None  # of a job that ended without counts: what the vendor bills for it, if known
    is_retryable: bool | None = None  # whether a new purchase may succeed, by the vendor's documents; None: unknown
    steps: Mapping[str, datetime] = field(default_factory=dict)
    expected_start_at: datetime | None = None
    expected_end_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class VendorResult:
    """Everything a finished job returned: one item per program, in order, and its cost. `steps` as in `Observation`."""

    items: tuple[ItemResult, ...]
    cost: Cost | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    qpu_s: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    steps: Mapping[str, datetime] = field(default_factory=dict)
