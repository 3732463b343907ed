"""What the sandbox was asked and what it accepted: the evidence counted by tests and benchmarks."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

KEPT_ENTRIES = 200_000


@dataclass
class Entry:
    """One request. `status` is None while it is being served and 0 when no answer was given."""

    n: int
    time: float
    vendor: str
    route: str
    method: str
    path: str
    status: int | None = None
    accepted: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    key: str | None = None
    duration_ms: float | None = None

    def to_doc(self) -> dict[str, Any]:
        """JSON form, as the admin API shows it."""
        return dict(vars(self))


class Journal:
    """Requests in order, and counts that continue when old entries are dropped."""

    def __init__(self, remember: Callable[[Entry], None]) -> None:
        self._entries: deque[Entry] = deque(maxlen=KEPT_ENTRIES)
        self._remember = remember
        self._n = 0
        self.requests: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()

    def open(self, *, time: float, vendor: str, route: str, method: str, path: str) -> Entry:
        """Record a request at its arrival, so that a parked one can be seen."""
        self._n += 1
        entry = Entry(self._n, time, vendor, route, method, path)
        self._entries.append(entry)
        self.requests[route] += 1
        return entry

    def close(self, entry: Entry, *, status: int, duration_ms: float) -> None:
        """Record how a request ended; status 0 means that no answer was given."""
        entry.status = status
        entry.duration_ms = round(duration_ms, 3)
        self._tally(entry)
        self._remember(entry)

    def _tally(self, entry: Entry) -> None:
        self.statuses[f"{entry.route} {entry.status}"] += 1
        self.faults.update(f"{entry.route} {fault}" for fault in entry.faults)

    def restore(self, doc: dict[str, Any]) -> None:
        """Restore an entry of an earlier process."""
        entry = Entry(**doc)
        self._n = max(self._n, entry.n)
        self._entries.append(entry)
        self.requests[entry.route] += 1
        self._tally(entry)

    def entries(
        self, *, vendor: str | None = None, route: str | None = None, after: int = 0, limit: int = 1000
    ) -> list[Entry]:
        """Entries with n > `after` in order, at most `limit`."""
        found: list[Entry] = []
        for entry in self._entries:
            if entry.n > after and vendor in (None, entry.vendor) and route in (None, entry.route):
                found.append(entry)
                if len(found) == limit:
                    break
        return found

    def clear(self) -> None:
        """Forget everything; numbering continues, so that a reader's position stays valid."""
        self._entries.clear()
        for counter in (self.requests, self.statuses, self.faults):
            counter.clear()
