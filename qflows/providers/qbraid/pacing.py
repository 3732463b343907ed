"""How many requests an account may send, and when it was asked to pause.

qBraid takes 1,000 requests in a rolling 15 minutes of a user (docs.qbraid.com/v2, read 2026-10). Here they are counted
before they are sent, so that a list of many jobs cannot use up what a cancellation or a result needs. Processes that
share an account do not see each other's requests; excess requests are answered 429.
"""

from __future__ import annotations

import math
import time
from collections import deque
from enum import Enum
from threading import Lock

from qflows.bounded_http import MAX_RETRY_AFTER_S, Headers, retry_after_number, retry_after_s
from qflows.errors import Throttled

REQUESTS = 1_000
WINDOW_S = 900.0
_MILLISECONDS_ABOVE = 60.0  # qbraid-core 0.6.37, retry.py: such values "are assumed to be milliseconds"
_LONGEST_DOUBLING = 9  # 2**9 s is longer than any pause


class Purpose(Enum):
    """What a request is for; the value is the share of the window that such requests may fill."""

    WATCH = 0.6
    WORK = 0.9
    CANCEL = 1.0


class Pacing:
    """The requests of one account, counted in this process. Thread-safe."""

    def __init__(self, requests: int = REQUESTS, window_s: float = WINDOW_S) -> None:
        self._requests = requests
        self._window_s = window_s
        self._sent: deque[float] = deque()
        self._closed_until = -math.inf
        self._refusals = 0
        self._lock = Lock()

    def take(self, purpose: Purpose) -> None:
        """Count a request about to be sent. Raises Throttled, and counts nothing, if it must wait."""
        with self._lock:
            now = time.monotonic()
            while self._sent and self._sent[0] <= now - self._window_s:
                self._sent.popleft()
            if now < self._closed_until:
                raise _throttled("qbraid asked qflows to wait", self._closed_until - now)
            allowed = max(int(self._requests * purpose.value), 1)
            if len(self._sent) >= allowed:
                oldest = self._sent[len(self._sent) - allowed]
                raise _throttled(
                    f"qbraid takes {self._requests} requests in {self._window_s / 60:g} minutes, and all are used",
                    oldest + self._window_s - now,
                )
            self._sent.append(now)

    def left(self, purpose: Purpose) -> int:
        """Requests for this purpose that may still be sent in the present window."""
        with self._lock:
            oldest = time.monotonic() - self._window_s
            used = sum(1 for moment in self._sent if moment > oldest)
            return max(int(self._requests * purpose.value) - used, 0)

    def refused(self, headers: Headers) -> float:
        """Note that the vendor asked for a pause: nothing is sent until it is over. Returns the seconds.

        A number above 60 is read as milliseconds, as the vendor's client reads it; if that was too short, each
        further refusal doubles the pause, up to the number read as seconds.
        """
        with self._lock:
            self._refusals = min(self._refusals + 1, _LONGEST_DOUBLING)
            doubling_s = 2.0 ** (self._refusals - 1)
            asked_s = retry_after_s(headers)
            number = retry_after_number(headers.get("retry-after", ""))
            if asked_s is None:
                pause_s = doubling_s
            elif number is not None and _MILLISECONDS_ABOVE < number < math.inf:
                pause_s = min(max(number / 1000, doubling_s), number)
            else:
                pause_s = asked_s
            pause_s = min(pause_s, MAX_RETRY_AFTER_S)
            self._closed_until = max(self._closed_until, time.monotonic() + pause_s)
            return pause_s

    def end_pause(self) -> None:
        """Allow requests again, whatever pause was asked for; used-up requests stay used up."""
        with self._lock:
            self._closed_until = -math.inf

    def answered(self) -> None:
        """Note that the vendor answered something other than a request to pause."""
        with self._lock:
            self._refusals = 0


def _throttled(why: str, wait_s: float) -> Throttled:
    wait_s = min(max(wait_s, 0.0), MAX_RETRY_AFTER_S)
    return Throttled(
        f"{why}; nothing was sent, the next request may go in {wait_s:.0f} s", provider="qbraid", retry_after_s=wait_s
    )
