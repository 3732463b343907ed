"""Durations as people write them."""

from __future__ import annotations

import math
import re

from qflows.errors import ProgramRejected


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
