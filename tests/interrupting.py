"""Interrupts at a line of one's choice."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Collection
from types import FrameType
from typing import Any


class InterruptAt:
    """Raises KeyboardInterrupt before the n-th line of Python below the block, counted in files whose names have one of
    `places` in them. `where` says before which, or is empty if there were fewer lines.

    Not before `with self._lock:`. Python traces that line again when it leaves the block, in a place where it delivers
    no interrupt, and an exception there would leave the lock taken.
    """

    def __init__(self, n: int, places: Collection[str]) -> None:
        self._left = n
        self._places = places
        self.where = ""

    def __enter__(self) -> InterruptAt:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, kind: str, argument: Any) -> Callable[..., Any] | None:
        if frame.f_code is InterruptAt.__exit__.__code__:
            return None
        if kind == "line" and any(place in frame.f_code.co_filename for place in self._places):
            self._left -= "_lock:" not in linecache.getline(frame.f_code.co_filename, frame.f_lineno)
            if self._left == 0:
                self.where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                raise KeyboardInterrupt
        return self._trace
