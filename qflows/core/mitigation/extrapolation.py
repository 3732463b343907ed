"""Extrapolation from values at raised noise to the value without noise, with its standard error.

Richardson and linear: Temme, Bravyi, Gambetta, Phys. Rev. Lett. 119, 180509 (2017); Li, Benjamin, Phys. Rev. X 7,
021050 (2017). Exponential: Endo, Benjamin, Li, Phys. Rev. X 8, 031027 (2018). The first two are weighted sums of the
values, so their error bars are exact, and cover as long as the polynomial is right. Richardson goes through all points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SIGNIFICANT = 3.0  # how far every value must be from 0, in standard errors, to fit an exponential


@dataclass(frozen=True)
class Extrapolated:
    """`slopes[i]`: how `value` changes with the i-th value; `method`: the one that was used."""

    value: float
    slopes: NDArray[np.float64]
    method: str


def extrapolate(
    method: str, factors: Sequence[float], values: Sequence[float], errors: Sequence[float]
) -> Extrapolated:
    """The value at factor 0.

    An exponential is fitted if all values have one sign and are at least three standard errors from 0; otherwise the
    linear rule is used, and `method` says so.
    """
    x, y = np.array(factors, dtype=float), np.array(values, dtype=float)
    if method == "exponential":
        found = _exponential(x, y, np.array(errors, dtype=float))
        if found is not None:
            return found
        return Extrapolated(float(_linear(x) @ y), _linear(x), "linear: too close to 0 for an exponential fit")
    slopes = _richardson(x) if method == "richardson" else _linear(x)
    return Extrapolated(float(slopes @ y), slopes, method)


def _richardson(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([np.prod([b / (b - a) for b in x if b != a]) for a in x], dtype=np.float64)


def _linear(x: NDArray[np.float64]) -> NDArray[np.float64]:
    away = x - x.mean()
    return 1 / len(x) - x.mean() * away / (away @ away)


def _exponential(x: NDArray[np.float64], y: NDArray[np.float64], errors: NDArray[np.float64]) -> Extrapolated | None:
    """A exp(-c x), fitted as a line to log |y|, weighted by the errors of the logarithms."""
    if not (np.all(y > 0) or np.all(y < 0)) or np.any(np.abs(y) < _SIGNIFICANT * errors):
        return None
    size = np.abs(y)
    weights = (size / np.where(errors > 0, errors, 1.0)) ** 2
    total = weights.sum()
    away = x - (weights * x).sum() / total
    spread = (weights * away**2).sum()
    # of the weighted line's height at 0
    heights = weights / total - (weights * x).sum() / total * weights * away / spread
    value = float(np.sign(y[0]) * np.exp(heights @ np.log(size)))
    return Extrapolated(value, heights * value / y, "exponential")
