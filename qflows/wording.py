"""Numbers with their nouns, for messages and pages."""

from __future__ import annotations


def plural(n: int, one: str, many: str = "") -> str:
    """`1 job`, `2 jobs`, `1,000 jobs`."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"
