"""The stored results of an estimator's call, in Qiskit's containers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from qiskit.primitives import DataBin, PrimitiveResult, PubResult

from qflows.core.mitigation import combine
from qflows.model import Expectation, ItemResult
from qflows.programs import estimation
from qflows.programs.grid import pairing

KIND = "estimator/1"


def read(
    note: Mapping[str, Any], items: Sequence[ItemResult], job_id: str, metadata: Sequence[Any]
) -> PrimitiveResult[PubResult]:
    """One result per PUB. `items`: of all circuits, in the order of PUBs, points and measurement bases."""
    results = []
    mitigation = note.get("mitigation")
    place = mitigation["calibrations"] if mitigation else 0
    errors = combine.confusion(mitigation, items) if mitigation else None
    number = 0  # of the point, among those that have circuits
    for pub, of_circuit in zip(note["pubs"], metadata, strict=True):
        points: list[Sequence[Expectation]] = []
        told: dict[str, Any] = {"mitigation": {"by": note["mitigated_by"]}} if "mitigated_by" in note else {}
        for plan, n_circuits in pub["points"]:
            mine = items[place : place + n_circuits]
            place += n_circuits
            text = "" if plan is None else note["plans"][plan]
            if mitigation and n_circuits:
                found = combine.of_point(mitigation, number, mine, text, errors)
                number += 1
                points.append(found.expectations or ())
                told["mitigation"] = found.metadata["mitigation"]
                told.setdefault("unmitigated", []).append(found.metadata["unmitigated"])
            else:
                points.append(_values(text, mine, pub["shots"], is_native=note["is_native"]))
        results.append(PubResult(_data(pub, points), metadata=_metadata(pub, of_circuit) | told))
    return PrimitiveResult(results, metadata={"version": 2})


def _values(plan: str, items: Sequence[ItemResult], shots: int | None, *, is_native: bool) -> Sequence[Expectation]:
    if not plan:  # a point without observables, in an array without entries
        return ()
    if is_native and items:
        return items[0].expectations or ()
    return estimation.combine(plan, items, shots).expectations or ()


def _data(pub: Mapping[str, Any], points: Sequence[Sequence[Expectation]]) -> DataBin:
    pairs, needs = pairing(tuple(pub["shape"]), tuple(pub["observables"]))
    rank = [{wanted: place for place, wanted in enumerate(sorted(need))} for need in needs]
    evs = np.zeros(pairs.shape[:-1])
    stds = np.zeros(pairs.shape[:-1])
    for at in np.ndindex(evs.shape):
        point, wanted = pairs[at].tolist()
        found = points[point][rank[point][wanted]]
        evs[at], stds[at] = found.value, found.std_error
    return DataBin(evs=evs, stds=stds, shape=evs.shape)


def _metadata(pub: Mapping[str, Any], of_circuit: Any) -> dict[str, Any]:
    shots = {} if pub["shots"] is None else {"shots": pub["shots"]}
    return {"target_precision": pub["precision"], **shots, "circuit_metadata": of_circuit}
