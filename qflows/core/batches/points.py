"""Expectation values of many points on devices that only sample: points to measurement circuits, and back.

The mapping is stored with the batch, so that any later version combines results as planned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from qflows.core.batches.results import CircuitError
from qflows.model import ItemResult
from qflows.programs import Program, estimation
from qflows.programs.grid import Sweep
from qflows.programs.observables import Observable

Outcome = tuple[ItemResult | None, CircuitError | None]


def expand(programs: Sequence[Program], wanted: Sequence[Sequence[Observable]]) -> tuple[list[Program], dict[str, Any]]:
    """Measurement programs of all points, and the point of each, as JSON. Raises ProgramRejected."""
    measured: list[Program] = []
    plans: dict[str, int] = {}
    points: list[list[int]] = []
    for program, observables in zip(programs, wanted, strict=True):
        circuits, text = estimation.plan(program, tuple(observables))
        points.append([plans.setdefault(text, len(plans)), len(circuits)])
        measured += circuits
    return measured, {"plans": list(plans), "points": points}


def noted(
    sweep: Sweep | None, estimates: Mapping[str, Any] | None, mitigation: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What a batch must store about its sweep, as JSON; a plain list has no shape."""
    shape = sweep.observable_shape if sweep else None
    made: dict[str, Any] = {
        "shape": list(sweep.shape) if sweep else None,
        "observable_shape": None if shape is None else list(shape),
        "estimates": dict(estimates) if estimates else None,
    }
    return made | ({"mitigation": dict(mitigation)} if mitigation else {})


def by_point(found: Mapping[int, Outcome], names: Sequence[str], note: Mapping[str, Any]) -> tuple[
    dict[int, Outcome], list[str]
]:  # fmt: skip
    """Outcomes and names of points, from those of circuits; the same if a point is one circuit.

    A point that lacks circuits has the error of the first missing one.
    """
    estimates = note.get("estimates")
    mitigation = note.get("mitigation")
    if not estimates:
        return dict(found), list(names)
    points: dict[int, Outcome] = {}
    labels: list[str] = []
    start = mitigation["calibrations"] if mitigation else 0
    calibrations = [found[k] for k in range(start)]
    for point, (plan, n_circuits) in enumerate(estimates["points"]):
        parts = [found[start + k] for k in range(n_circuits)]
        labels.append(names[start].rpartition("[")[0] if plan is not None else names[start].partition(" x")[0])
        start += n_circuits
        errors = [error for _, error in (*calibrations, *parts) if error is not None]
        items = [item for item, _ in parts if item is not None]
        text = estimates["plans"][plan] if plan is not None else None
        if errors:
            points[point] = None, replace(errors[0], index=point)
        elif mitigation:
            from qflows.core.mitigation import combine

            chances = combine.confusion(mitigation, [item for item, _ in calibrations if item is not None])
            points[point] = combine.of_point(mitigation, point, items, text, chances), None
        else:
            points[point] = _estimate(text or "", items), None
    return points, labels


def _estimate(plan: str, items: Sequence[ItemResult]) -> ItemResult:
    counts = items[0].counts
    return estimation.combine(plan, items, counts.shots if counts is not None else None)
