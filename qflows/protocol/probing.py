"""What adapters share when they measure an account: waiting until something shows, and reading the bit order."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from qflows.protocol.diagnosis import Fact
from qflows.protocol.jobs import Phase

Seen = tuple[float, int]
"""Seconds until something appeared, and the number of requests that took."""
ENDED = frozenset({Phase.DONE, Phase.FAILED, Phase.CANCELLED})


def until(ask: Callable[[], bool], *, patience_s: float, every_s: float) -> Seen | None:
    """Ask until the answer is yes. 0 seconds if the first request saw it; None if it never was within the patience."""
    began, looks = time.monotonic(), 0
    while time.monotonic() - began < patience_s:
        looks += 1
        if ask():
            return (0.0 if looks == 1 else round(time.monotonic() - began, 2)), looks
        time.sleep(every_s)
    return None


def seconds(name: str, seen: Seen | None, *, never: str = "never within the time limit") -> Fact:
    """How long something took to appear, as a fact."""
    return Fact(name, None, never) if seen is None else Fact(name, seen[0], f"at request {seen[1]}")


def bit_order(counts: Mapping[str, float], *, right: tuple[str, str], left: tuple[str, str]) -> Fact:
    """The side of qubit 0, from counts of x on qubit 0 of three. `right`, `left`: the value seen then, and a note."""
    most = max(counts, key=lambda key: counts[key], default="")
    known = {"001": right, "100": left}
    return Fact("bit_order", *known[most]) if most in known else Fact("bit_order", None, f"unclear: {most}")


ALL_ONES, REPEATS = "11", 60
"""Outcome of two qubits in |1>, and how many cz gates with barriers between them follow where barriers are measured."""
_KEPT_LOSS, _MERGED_LOSS = 0.2, 0.12


def barriers(reference: Mapping[str, float], repeated: Mapping[str, float]) -> Fact:
    """Whether barriers are kept, from the counts of two qubits in |1> without and with many cz gates between barriers.

    Kept gates lose the state through their errors; a compiler that ignores barriers removes them in pairs.
    """
    before, after = _share(reference), _share(repeated)
    note = f"{REPEATS} cz gates between barriers: |11> falls from {before:.2f} to {after:.2f}"
    if before - after >= _KEPT_LOSS:
        return Fact("barriers", "kept", note)
    if before - after <= _MERGED_LOSS:
        return Fact("barriers", "merged", f"{note}; or the device errs too little to tell: repeat before trusting this")
    return Fact("barriers", None, f"{note}: too little to tell")


def _share(counts: Mapping[str, float]) -> float:
    return counts.get(ALL_ONES, 0.0) / (sum(counts.values()) or 1.0)
