"""Medians of the errors in a calibrated Qiskit target."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import Any

_DEAD = 0.999  # a broken coupler stays in the target with an error of 1


def median_errors(target: Any) -> tuple[float | None, float | None]:
    """Medians for two-qubit gates, the best gate of each pair of qubits, and for readout; None if the target has none.

    Broken pairs and qubits are left out: no compiler uses them.
    """
    pairs: dict[tuple[int, ...], float] = {}
    for name in target.operation_names:
        for qubits, properties in (target[name] or {}).items():
            error = getattr(properties, "error", None)
            if qubits is not None and len(qubits) == 2 and error is not None:
                place = tuple(sorted(qubits))
                pairs[place] = min(error, pairs.get(place, 1.0))
    readout = [getattr(one, "error", None) for one in (target["measure"] or {}).values()] if "measure" in target else []
    return _median(pairs.values()), _median(error for error in readout if error is not None)


def _median(errors: Iterable[float]) -> float | None:
    alive = [error for error in errors if error < _DEAD]
    return float(median(alive)) if alive else None
