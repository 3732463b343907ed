"""Queue positions: Braket gives them one task at a time, searches do not, and the account's requests are limited.

So only a few tasks are asked for, however many wait, those never asked for first; the last known position is shown with
its time. A position that was not asked for is None, and the note says so.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from threading import Lock

from qflows.errors import ProviderError
from qflows.protocol import Observation, Phase

ASKED = 5  # tasks per WINDOW_S seconds
WINDOW_S = 30.0
_REMEMBERED = 10_000
NOT_ASKED = "place not asked for: Braket tells it one task at a time"


@dataclass(frozen=True)
class _Place:
    look: Observation
    heard_s: float
    heard_at: datetime


class Places:
    """Adds positions to observations of queued tasks. `get` reads one task in full. Thread-safe."""

    def __init__(self, get: Callable[[str], Observation], clock: Callable[[], float] = time.monotonic) -> None:
        self._get = get
        self._clock = clock
        self._known: OrderedDict[str, _Place] = OrderedDict()
        self._asked: deque[float] = deque(maxlen=ASKED)
        self._lock = Lock()

    def added(self, looks: Mapping[str, Observation]) -> dict[str, Observation]:
        """The same observations, queued ones with a position or the reason for its absence. At most ASKED requests."""
        queued = [arn for arn, look in looks.items() if look.phase is Phase.QUEUED and look.queue_position is None]
        for arn in self._due(queued):
            try:
                look = self._get(arn)
            except ProviderError:  # the position is optional: the search has already given the status
                break
            with self._lock:
                self._known[arn] = _Place(look, self._clock(), datetime.now(UTC))
                self._known.move_to_end(arn)
                while len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)
        return {**looks, **{arn: self._placed(arn, looks[arn]) for arn in queued}}

    def _due(self, queued: list[str]) -> list[str]:
        """Tasks whose turn it is, those never asked for first; they are charged to the window."""
        now = self._clock()
        with self._lock:
            while self._asked and now - self._asked[0] >= WINDOW_S:
                self._asked.popleft()
            heard = {arn: self._known[arn].heard_s for arn in queued if arn in self._known}
            stale = [arn for arn in queued if now - heard.get(arn, -WINDOW_S) >= WINDOW_S]
            stale.sort(key=lambda arn: heard.get(arn, -1.0))
            due = stale[: ASKED - len(self._asked)]
            self._asked.extend([now] * len(due))
        return due

    def _placed(self, arn: str, look: Observation) -> Observation:
        with self._lock:
            place = self._known.get(arn)
        if place is None:
            return replace(look, queue_note=NOT_ASKED)
        position, said = place.look.queue_position, place.look.queue_note
        what = said or ("place" if position is not None else "Braket names no place")
        return replace(look, queue_position=position, queue_note=f"{what} as of {place.heard_at:%H:%M:%S} UTC")
