"""What a vendor's API offers and what its devices accept, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, overload

from qflows.programs import Feature


class Lookup(StrEnum):
    """How a submission whose answer was lost can be found again by our key."""

    NONE = "none"  # it cannot; a person must check
    SCAN = "scan"  # by reading the account's job list to the end
    QUERY = "query"  # by asking for the tag
    LOCAL = "local"  # there is no remote party: submitting again changes nothing


@dataclass(frozen=True, slots=True)
class Pace:
    """How often an account may be polled, according to its vendor's documents.

    `first_s`: the shortest time between two polls, seconds; an aging job is polled every tenth of its age, at least
    every `max_s`. `rate` and `burst` bound the polls of an account as a token bucket does: requests per second in the
    long run, and how many may come at once.
    """

    first_s: float
    max_s: float = 30.0
    rate: float = 1.0
    burst: float = 10.0


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a vendor's API offers, as data, so that the core needs no vendor names.

    `settle_s`: how long a listing may lag behind an accepted submission before absence counts as proved. `poll_page`:
    jobs whose status one request can read. `max_programs`: programs one job may carry (1: no composite jobs);
    `max_job_bytes`, `max_job_gates`, `max_job_shots` bound a composite job as a whole, shots summed over its programs.
    `estimator`: expectation values are computed by the device itself. `repeats_posts`: the vendor's client repeats
    submissions by itself, so extras must be looked for after an apparent success. `native_groups`: the vendor keeps
    groups itself (`core/native_groups.py`); a job's `session_id` names one. `retags`: name and tags can be changed at
    the vendor after the submission (`TagProvider`). `imports`: jobs that others submitted can be listed and read back
    (`ImportProvider`). `posts_at_once` and `reads_at_once`: concurrent submissions and result downloads within its
    quotas. `sends_inputs`: angles are sent separately from the circuit.
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
    sends_inputs: bool = False
    posts_at_once: int = 1
    reads_at_once: int = 4


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
    max_unfinished: int | None = None  # unfinished jobs of the account on the device; more are paced, not refused
    labels: tuple[int, ...] | None = None  # the vendor's numbers of the qubits, if they are not 0 to n-1
    measures_all: bool = False  # every qubit must be measured; qflows measures the others and drops their columns
    takes: frozenset[Feature] | None = None  # what programs may hold beyond gates and final measurements
    # the vendor's own words with their source: why a feature is not taken, or on which terms it is
    terms: Mapping[Feature, str] = field(default_factory=dict)


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


@dataclass(frozen=True, slots=True)
class DeviceList(Sequence[DeviceInfo]):
    """Devices of a list that is incomplete. `troubles`: what could not be asked, by place, such as a region of a cloud,
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
