"""The stored results of a sampler's call, in Qiskit's containers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from qiskit.primitives import PrimitiveResult, SamplerPubResult

from qflows.model import ItemResult
from qflows.primitives.bits import data_bin

KIND = "sampler/1"


def read(
    note: Mapping[str, Any], items: Sequence[ItemResult], job_id: str, metadata: Sequence[Any]
) -> PrimitiveResult[SamplerPubResult]:
    """One result per PUB. `items`: of all circuits, in the order of PUBs and points."""
    results = []
    start = 0
    for pub, of_circuit in zip(note["pubs"], metadata, strict=True):
        shape = tuple(pub["shape"])
        stop = start + math.prod(shape) if pub["is_measured"] else start
        seeds = [f"{job_id}/{place}" for place in range(start, stop)]
        data = data_bin(
            [(name, size) for name, size in pub["registers"]], shape, pub["shots"], items[start:stop], seeds
        )
        results.append(SamplerPubResult(data, metadata={"shots": pub["shots"], "circuit_metadata": of_circuit}))
        start = stop
    return PrimitiveResult(results, metadata={"version": 2})
