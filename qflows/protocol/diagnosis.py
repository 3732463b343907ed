"""What an adapter may offer to `qflows doctor`: account checks, and measurements of what vendors leave undocumented."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from qflows.model import ItemResult
from qflows.protocol.jobs import JobSpec


class Verdict(StrEnum):
    """How one check of a diagnosis ended."""

    OK = "ok"
    ADVICE = "advice"  # works, with a drawback
    WRONG = "wrong"  # something that was asked for will fail
    UNKNOWN = "unknown"  # it could not be determined here


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a diagnosis: what was checked, what was seen, and what to do if that is not fine."""

    check: str
    verdict: Verdict
    seen: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Fact:
    """What one account showed about a point that the vendor's documents leave open.

    `seen`: plain JSON; None if this account could not tell, and `note` then says why. The sandbox has a switch of the
    same name if it can play both answers.
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
    """What measuring an account needs: jobs bought once, under keys, and never above the allowed amount."""

    patience_s: float
    """How long to wait for one thing."""

    def cheapest(self, options: Mapping[str, Any] | None = None, *, shots: int = 1, is_qpu: bool = False) -> str | None:
        """The vendor's id of the cheapest device of which a job of so many shots, with these options, can be afforded,
        free simulators first; None if there is none. `is_qpu`: simulators do not count."""
        ...

    def buy(
        self, programs: Sequence[Any], *, device_id: str, shots: int, options: Mapping[str, Any] | None = None
    ) -> Bought | None:
        """Buy one job with these programs through the ledger. None if it could cost more than what is left, if the
        device does not take such a job, or if it was not accepted; `why` says which."""
        ...

    @property
    def why(self) -> str:
        """Why the last purchase was not made."""
        ...

    def may_repeat(self, bought: Bought) -> bool:
        """Set aside the price of one more job like this one, to test whether the vendor recognizes a repeat. False if
        that is more than what is left."""
        ...

    def did_not(self, bought: Bought) -> None:
        """Free the price set aside by `may_repeat`: no job came of it."""
        ...

    def finish(self, bought: Bought) -> Sequence[ItemResult] | None:
        """Wait for a job and store its result like any job's; None if it did not complete in time."""
        ...

    def raw(self, bought: Bought) -> Mapping[str, bytes]:
        """The stored answer of a finished job by document."""
        ...


@runtime_checkable
class MeasuredProvider(Protocol):
    """A provider that can find out what its vendor's documents leave open. Optional for a vendor."""

    def measure(self, bench: Bench) -> Iterator[Fact]:
        """Facts, found by reading and by the smallest jobs, bought at `bench`. Leaves nothing open."""
        ...

    def learn(self, facts: Mapping[str, Any]) -> None:
        """Take in what was measured with this account before, by name of the fact."""
        ...


@runtime_checkable
class DiagnosedProvider(Protocol):
    """A provider that can check its account. Optional for a vendor."""

    def addresses(self) -> Mapping[str, str]:
        """The addresses that requests go to, by readable name. No I/O."""
        ...

    def diagnose(self) -> Iterable[Finding]:
        """Check credentials, rights and client versions. Buys nothing, changes nothing. Raises only errors of the
        `ProviderError` family."""
        ...
