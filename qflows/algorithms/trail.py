"""The points of a loop's earlier lives, so that a replay on another processor asks for the same points bit for bit.

Another kind of processor has another BLAS, whose sums differ in the last bits; so would the points, and every
evaluation from there on would be a new job.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from qflows.ledger import points
from qflows.ledger.store import Ledger

log = logging.getLogger("qflows.loops")

# radians if points are angles; far above rounding of a point, far below what a device can resolve
SAME = 1e-6

Point = tuple[float, ...]


class Trail:
    """The points of one loop by evaluation number, from 1; stored before what answers them is bought."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._loop: str | None = None
        self._before: dict[int, Point] = {}

    def open(self, loop: str) -> None:
        """Name the loop (at most 64 characters) and read its earlier points. Points are stored from now on."""
        self._loop = loop
        self._before = points.trail(self._ledger, loop)

    def point(self, number: int, asked: Sequence[float]) -> Point:
        """The stored point with this number if it is the same up to rounding, otherwise `asked`, which is stored.

        From the first point that differs, the path is another one, and later stored points mean nothing.
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
