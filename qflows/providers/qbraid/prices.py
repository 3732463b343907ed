"""Prices of qBraid: a device's document gives the cost of a task, a shot and a minute, in credits of 0.01 USD.

The server computes perTask + perShot x shots + perMinute x minutes, reserves it when it accepts a job and charges it
when the job is over; failed and cancelled jobs cost nothing (recordings of 2026-09-22 and 2026-09-28).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from qflows.model import Quote, exact

_UNIT = "credits"


def by_task_and_shot(pricing: Mapping[str, Any], shots: int, programs: int) -> Quote | None:
    """The cost of a job if no minutes are billed: exact. None if they are, or a price is not a number."""
    each, shot, minute = (_amount(pricing.get(name)) for name in ("perTask", "perShot", "perMinute"))
    if each is None or shot is None or minute is None or minute > 0:
        return None
    amount = programs * (each + shot * shots)
    return Quote(amount, amount, _UNIT, f"the device's document, read now: {each:f} a task, {shot:f} a shot")


def by_minute(expected: Decimal, pricing: Mapping[str, Any] | None) -> Quote:
    """qBraid's own estimate for a device that bills minutes: a circuit does not determine its duration."""
    minute = _amount((pricing or {}).get("perMinute"))
    rate = f", {minute:f} credits a minute" if minute is not None else ""
    return Quote(expected, None, _UNIT, f"qBraid's estimate, asked now{rate}; nothing limits the minutes")


def _amount(value: Any) -> Decimal | None:
    if value is None:
        return Decimal(0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        return None
    return exact(value)
