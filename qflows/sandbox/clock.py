"""When a job is due: at once, after n reads, after real seconds, or on request; and a time of day that can be moved."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

Phase = Literal["queued", "running", "due"]
MODES = ("instant", "count", "time", "frozen")


@dataclass(frozen=True)
class Pace:
    """How jobs move from accepted to done. Written `instant`, `count:3`, `time:2,0.5` or `frozen`."""

    mode: str = "instant"
    reads: int = 0
    queue_s: float = 0.0
    run_s: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Pace:
        """Read the written form. Raises ValueError listing the allowed forms."""
        mode, _, rest = text.strip().partition(":")
        try:
            if mode in ("instant", "frozen") and not rest:
                return cls(mode)
            if mode == "count":
                reads = int(rest)
                if reads >= 0:
                    return cls(mode, reads=reads)
            if mode == "time":
                queue_s, _, run_s = rest.partition(",")
                pace = cls(mode, queue_s=float(queue_s), run_s=float(run_s or 0))
                if pace.queue_s >= 0 and pace.run_s >= 0:
                    return pace
        except ValueError:
            pass
        raise ValueError(f"clock {text!r}: use instant, count:<reads>, time:<queue_s>,<run_s> or frozen")

    def __str__(self) -> str:
        if self.mode == "count":
            return f"count:{self.reads}"
        if self.mode == "time":
            return f"time:{self.queue_s:g},{self.run_s:g}"
        return self.mode


@dataclass
class Clock:
    """The sandbox's time of day (unix seconds, movable forward) and the pace of its jobs."""

    pace: Pace = field(default_factory=Pace)
    offset_s: float = 0.0

    def now(self) -> float:
        """Unix seconds, shifted by all advances."""
        return time.time() + self.offset_s

    def advance(self, seconds: float) -> None:
        """Move the time of day forward: jobs by time, TTLs and lags take effect at once."""
        self.offset_s += seconds

    def phase(self, *, created_at: float, reads: int, released: bool) -> Phase:
        """The phase of a job that was accepted at `created_at` and whose status was read `reads` times."""
        if released or self.pace.mode == "instant":
            return "due"
        if self.pace.mode == "frozen":
            return "queued"
        if self.pace.mode == "count":
            if reads >= self.pace.reads:
                return "due"
            return "running" if reads == self.pace.reads - 1 else "queued"
        age = self.now() - created_at
        if age >= self.pace.queue_s + self.pace.run_s:
            return "due"
        return "running" if age >= self.pace.queue_s else "queued"
