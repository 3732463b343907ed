"""Where a loop asked in its earlier lives, so that a replay on another processor asks for the same points bit for bit.

Another kind of processor has another BLAS, whose sums differ in the last bits; so would the points, and every
evaluation from there on would be a new job.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from qflows.ledger import points
from qflows.ledger.store import Ledger

log = logging.getLogger("qflows.loops")

# radians where points are angles; far above what rounding does to a point, far below what it means to a device
SAME = 1e-6

Point = tuple[float, ...]


class Trail:
    """The points of one loop by the number of the question, from 1; kept before what answers them is bought."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._loop: str | None = None
        self._before: dict[int, Point] = {}

    def open(self, loop: str) -> None:
        """Names the loop (at most 64 characters) and reads what it asked before. Points are kept from now on."""
        self._loop = loop
        self._before = points.trail(self._ledger, loop)

    def point(self, number: int, asked: Sequence[float]) -> Point:
        """The point of an earlier life under this number if it is the same but for rounding, else `asked`, kept.

        From the first that is elsewhere the walk is another one, and the earlier points mean nothing.
        """
        wanted = tuple(float(x) for x in asked)
        if self._loop is None:
            return wanted
        before = self._before.get(number)
        if before is not None:
            if len(before) == len(wanted) and all(
                abs(old - new) <= SAME for old, new in zip(before, wanted, strict=True)
            ):
                return before
            self._before = {}
            log.warning(
                "evaluation %d differs from the earlier attempt of this run; evaluations from here on are new", number
            )
        points.keep(self._ledger, self._loop, number, wanted)
        return wanted

    def is_stopped(self, run_key: str) -> bool:
        """True, once, if somebody asked the run to stop; see `points.ask_to_stop`."""
        return points.take_stop(self._ledger, run_key)
