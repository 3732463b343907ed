"""The callers: keys, the account of each, and how many requests it may send."""

from __future__ import annotations

import hashlib
import re
from collections import deque

from qflows.sandbox.errors import Refusal
from qflows.sandbox.vendor import Call

WINDOW_S = 900.0
_QBR_HEX = re.compile(r"qbr_[0-9a-f]+")
_WELL_FORMED = re.compile(r"[\x21-\x7e]{1,512}")


def key_of(call: Call) -> str:
    """The key or token of a request; empty without one."""
    return (call.headers.get("x-access-token") or call.headers.get("x-api-key") or "").strip()


def account_of(call: Call) -> str:
    """The 4 hex digits that name the caller's context, as in the QRNs of its jobs."""
    return hashlib.sha256(key_of(call).encode()).hexdigest()[:4]


def personal(account: str) -> str:
    """The personal context of an account's owner."""
    return hashlib.sha256(f"personal {account}".encode()).hexdigest()[:4]


def is_visible(call: Call, account: str | None) -> bool:
    """True if the caller may see what belongs to `account`."""
    return call.switch("accounts") == "shared" or account in (None, account_of(call))


def authorise(call: Call) -> None:
    """Refuse invalid and unknown keys. Words as recorded 2026-09-22."""
    key = key_of(call)
    if not key:
        raise Refusal(401, "No valid authentication provided", code="NO_VALID_AUTHENTICATION")
    pattern = _QBR_HEX if call.switch("key_format") == "qbr_hex" else _WELL_FORMED
    if not pattern.fullmatch(key):
        raise Refusal(401, "Invalid API key format", code="INVALID_API_KEY_FORMAT")
    known = str(call.switch("known_keys"))
    if known and key not in known.split(","):
        raise Refusal(401, "Invalid API key", code="INVALID_API_KEY")


class RequestLimit:
    """Requests of each caller in a rolling window."""

    def __init__(self) -> None:
        self._sent: dict[str, deque[float]] = {}
        self._clock: object = None

    def check(self, call: Call) -> None:
        """Count a request, or refuse it with the seconds until the oldest one leaves the window."""
        clock = call.world.clock
        if self._clock is not clock:  # a reset gives the world a new clock
            self._clock = clock
            self._sent.clear()
        key = key_of(call)
        limit = int(call.switch("requests_per_window" if key else "requests_without_key"))
        if limit <= 0:
            return
        sent, now = self._sent.setdefault(key, deque()), clock.now()
        while sent and sent[0] <= now - WINDOW_S:
            sent.popleft()
        if len(sent) >= limit:
            wait_s = max(1, round(sent[0] + WINDOW_S - now + 0.5))
            raise Refusal(429, "Too many requests, please try again later", headers={"Retry-After": str(wait_s)})
        sent.append(now)
