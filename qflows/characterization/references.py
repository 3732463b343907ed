"""Reference circuits of `core/references` as blocks of a suite: probes that a gate runs by themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from qflows.characterization.characterize import Block, Reading
from qflows.core.references import FAMILY, MOST, Reference, overlap, read
from qflows.model import Counts

__all__ = ["FAMILY", "MOST", "Reference", "block", "read", "read_overlap"]


def block(one: Reference) -> Block:
    """The circuit as a block of a suite. It must have its distribution."""
    assert one.expected is not None
    n = one.program.n_qubits
    return Block(FAMILY, one.metric, n, (one.program,), partial(read_overlap, one.metric, n, one.expected))


def read_overlap(metric: str, n: int, expected: Mapping[str, float], counts: Sequence[Counts]) -> list[Reading]:
    """The overlap of the counts with the expected distribution, and its standard error."""
    (found,) = counts
    value, error = overlap(expected, found)
    note = "" if len(expected) > 1 else "share of the right answer"
    return [Reading(metric, value, error, found.shots, n, note=note)]
