"""Durations and times as people write them."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

from qflows.errors import ProgramRejected, QflowsError

Moment = str | datetime | timedelta | float


def seconds(text: str | float | None) -> float | None:
    """`"2h 30m"`, `"90s"`, `1800` as seconds; None stays None. Raises ProgramRejected for anything else."""
    if text is None:
        return None
    if isinstance(text, int | float) and 0 <= text < math.inf:
        return float(text)
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([hms])", text) if isinstance(text, str) else []
    if not parts or not isinstance(text, str) or re.sub(r"(\d+(?:\.\d+)?)\s*([hms])|[\s,]", "", text):
        raise ProgramRejected(f"{text!r} is not a duration; write '30m', '2h 30m', '90s', or a number of seconds")
    return sum(float(number) * {"h": 3600, "m": 60, "s": 1}[unit] for number, unit in parts)


def past(given: Moment) -> datetime:
    """A time: a date or time (UTC unless stated otherwise), or how long ago ('7d', '12h', seconds).

    Raises ProgramRejected for anything else.
    """
    if isinstance(given, datetime):
        return given if given.tzinfo else given.replace(tzinfo=UTC)
    if isinstance(given, timedelta):
        return datetime.now(UTC) - given
    text = str(given).strip()
    try:
        found = datetime.fromisoformat(text)
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    except ValueError:
        pass
    days = text.removesuffix("d")
    if text.endswith("d") and days.isdecimal():
        return datetime.now(UTC) - timedelta(days=int(days))
    try:
        return datetime.now(UTC) - timedelta(
            seconds=float(text) if text.replace(".", "", 1).isdecimal() else seconds(text) or 0
        )
    except QflowsError:
        raise ProgramRejected(
            f"{text[:40]!r} is neither a date ('2026-11-01', '2026-11-01T12:00') nor a time ago ('7d', '12h', '30m')"
        ) from None
