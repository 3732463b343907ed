"""Scripted misbehavior: which call of which route fails, and how.

A fault names a route ("ionq.submit"; shell wildcards work: "ionq.*"), lets `skip` matching calls pass and then acts
on the next `times` ones (None: on all). Routes are counted per fault, from the moment the fault is added.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any

# kind -> what it does; the table is also the admin API's help text
KINDS = {
    "drop_before": "connection closed, nothing accepted",
    "drop_after": "handled (a job accepted), connection closed without an answer",
    "status": "answer `status`, after handling if `accepted`; `retry_after`, `html`, `body` shape the answer",
    "delay": "wait `seconds`, `when` before or after handling",
    "truncate": "handled, then only part of the announced body is sent",
    "hold": "park the request, `when` before or after handling, until released",
    "stale": "handled, but jobs show as queued",
    "list_lag": "new jobs are absent from lists for `seconds` or for `calls` list calls",
    "rate_limit": "token bucket of `burst`, refilled at `rate_per_s`; 429 with Retry-After",
    "fail_job": "the accepted job fails, or only `children` (positions) of a composite",
}
ALWAYS_BY_NATURE = frozenset({"list_lag", "rate_limit"})
AT_ACCEPTANCE = frozenset({"fail_job"})
WHEN = ("before", "after")


@dataclass
class Fault:
    """One scripted fault. Unused fields are ignored by its kind."""

    kind: str
    route: str
    skip: int = 0
    times: int | None = 1
    status: int = 503
    accepted: bool = False
    retry_after: float | None = None
    html: bool = False
    body: str | None = None
    message: str | None = None
    code: str | None = None
    seconds: float = 0.0
    when: str = "before"
    calls: int = 0
    rate_per_s: float = 1.0
    burst: int = 1
    children: list[int] | None = None
    id: int = 0
    seen: int = 0
    fired: int = 0
    tokens: float | None = None
    refilled_at: float = 0.0

    @classmethod
    def from_doc(cls, doc: dict[str, Any]) -> Fault:
        """Check an external fault. Raises ValueError naming the member and the allowed values."""
        kind = doc.get("kind")
        if kind not in KINDS:
            raise ValueError(f"kind {kind!r} is none of {', '.join(KINDS)}")
        route = doc.get("route")
        if not isinstance(route, str) or "." not in route:
            raise ValueError("route is required, as <vendor>.<route name>; wildcards work, as in ionq.*")
        known = set(cls.__dataclass_fields__) - {"id", "seen", "fired", "tokens", "refilled_at"}
        if unknown := set(doc) - known:
            raise ValueError(f"unknown member {sorted(unknown)[0]!r}; known: {', '.join(sorted(known))}")
        _check_numbers(doc)
        if doc.get("when", "before") not in WHEN:
            raise ValueError("when is before or after")
        for name in ("accepted", "html"):
            if not isinstance(doc.get(name, False), bool):
                raise ValueError(f"{name} must be true or false")
        for name in ("body", "message", "code"):
            if not isinstance(doc.get(name), str | None):
                raise ValueError(f"{name} must be text")
        children = doc.get("children")
        if children is not None and not (
            isinstance(children, list) and all(type(i) is int and i >= 0 for i in children)
        ):
            raise ValueError("children must be a list of positions, from 0")
        members: dict[str, Any] = {"times": None if kind in ALWAYS_BY_NATURE else 1}
        return cls(**(members | doc))

    def matches(self, route: str) -> bool:
        """True if the fault acts on this call of `route`. Counts the call."""
        if not fnmatchcase(route, self.route):
            return False
        self.seen += 1
        if self.seen <= self.skip or (self.times is not None and self.seen > self.skip + self.times):
            return False
        self.fired += 1
        return True

    def wait_for_token(self, now: float) -> float:
        """Take a token. Returns 0.0, or the seconds until the next one."""
        if self.tokens is None:
            self.tokens = float(self.burst)
        else:
            self.tokens = min(float(self.burst), self.tokens + (now - self.refilled_at) * self.rate_per_s)
        self.refilled_at = now
        if self.tokens >= 1:
            self.tokens -= 1
            return 0.0
        return (1 - self.tokens) / self.rate_per_s

    def to_doc(self) -> dict[str, Any]:
        """JSON form, counters included."""
        return asdict(self)


_BOUNDS = {
    "skip": (0, 10**9),
    "times": (0, 10**9),
    "status": (200, 599),
    "retry_after": (0, 86_400),
    "seconds": (0, 86_400),
    "calls": (0, 10**9),
    "rate_per_s": (1e-6, 1e9),
    "burst": (1, 10**9),
}


def _check_numbers(doc: dict[str, Any]) -> None:
    whole = {"skip", "times", "status", "calls", "burst"}
    for name, (low, high) in _BOUNDS.items():
        value = doc.get(name)
        if value is None:
            if name in doc and name not in ("times", "retry_after"):
                raise ValueError(f"{name} must be a number")
            continue
        kinds = (int,) if name in whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
            raise ValueError(f"{name} must be {'a whole number' if name in whole else 'a number'} in {low}..{high}")


class Faults:
    """All scripted faults, oldest first."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._ids = itertools.count(1)

    def add(self, fault: Fault) -> Fault:
        """Script a fault and give it an id."""
        fault.id = next(self._ids)
        self._faults.append(fault)
        return fault

    def take(self, route: str) -> list[Fault]:
        """Faults that act on this request, oldest first. Counts the call for each."""
        return [f for f in self._faults if f.kind not in AT_ACCEPTANCE and f.matches(route)]

    def take_at_acceptance(self, route: str) -> list[Fault]:
        """Faults that act on the job being accepted by `route`. Counts the acceptance for each."""
        return [f for f in self._faults if f.kind in AT_ACCEPTANCE and f.matches(route)]

    def remove(self, ids: Iterable[int] | None = None) -> int:
        """Remove by id, or all. Returns how many were removed."""
        before = len(self._faults)
        gone = None if ids is None else set(ids)
        self._faults = [] if gone is None else [f for f in self._faults if f.id not in gone]
        return before - len(self._faults)

    def listing(self) -> list[Fault]:
        """All faults, spent ones included."""
        return list(self._faults)


@dataclass
class Parked:
    """A request that is held."""

    id: int
    vendor: str
    route: str
    when: str
    entry_n: int
    accepted: list[str] = field(default_factory=list)
    gate: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def to_doc(self) -> dict[str, Any]:
        """JSON form, as the admin API shows it."""
        return {name: getattr(self, name) for name in ("id", "vendor", "route", "when", "entry_n", "accepted")}


class Holds:
    """Requests waiting to be released. A client that dies meanwhile changes nothing: the vendor has the request."""

    def __init__(self) -> None:
        self._parked: dict[int, Parked] = {}
        self._ids = itertools.count(1)

    async def park(self, *, vendor: str, route: str, when: str, entry_n: int, accepted: list[str]) -> str:
        """Wait until released. Returns `proceed` or `drop`."""
        parked = Parked(next(self._ids), vendor, route, when, entry_n, list(accepted))
        self._parked[parked.id] = parked
        try:
            return await parked.gate
        finally:
            self._parked.pop(parked.id, None)

    def listing(self) -> list[Parked]:
        """All parked requests, longest first."""
        return list(self._parked.values())

    def release(self, *, ids: Iterable[int] | None = None, verdict: str = "proceed") -> int:
        """Let requests continue (`proceed`) or close their connections (`drop`). Returns how many."""
        wanted = list(self._parked) if ids is None else [i for i in ids if i in self._parked]
        for parked_id in wanted:
            gate = self._parked[parked_id].gate
            if not gate.done():
                gate.set_result(verdict)
        return len(wanted)
