"""How far a device is from its own history: the farthest of its newest values, in sigmas."""

from __future__ import annotations

from datetime import timedelta

from qflows.ledger import measurements
from qflows.ledger.store import Ledger, utc_now

_RECENT = timedelta(days=7)


def farthest(ledger: Ledger, device: str) -> float | None:
    """Of the newest headline value of each quantity of the last week against its last 30; None where none is judged."""
    from qflows.core.drift import judge  # scipy takes a while to load, and most rules do not ask

    now = utc_now()
    found: list[float] = []
    for newest in measurements.newest_of_each(ledger, since=now - _RECENT, until=now):
        if newest.device == device:
            verdict = judge(measurements.series(ledger, *newest.series))[-1]
            found += [abs(verdict.sigmas)] if verdict.sigmas is not None else []
    return max(found, default=None)
