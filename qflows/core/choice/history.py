"""How far a device is from its own history: the largest deviation of its newest values, in sigmas."""

from __future__ import annotations

from datetime import timedelta

from qflows.ledger import measurements
from qflows.ledger.store import Ledger, utc_now

_RECENT = timedelta(days=7)


def farthest(ledger: Ledger, device: str) -> float | None:
    """Largest deviation of last week's newest headline values from the last 30 of each; None if none is judged."""
    from qflows.core.drift import judge  # scipy is slow to load, and most rules do not need it

    now = utc_now()
    found: list[float] = []
    for newest in measurements.newest_of_each(ledger, since=now - _RECENT, until=now):
        if newest.device == device:
            verdict = judge(measurements.series(ledger, *newest.series))[-1]
            found += [abs(verdict.sigmas)] if verdict.sigmas is not None else []
    return max(found, default=None)
