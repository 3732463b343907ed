"""Whether a device has drifted: each value against the last thirty of the same quantity. Pure.

The statistic
-------------
A value x is compared with the n <= 30 values before it, of the same device, quantity and set-up:

    t = (|x - m| - 1/(8 shots)) / sqrt(c s^2 (u^2 r + tau^2 + 1 / sum(w))),
    m = sum(w x_i) / sum(w),    w_i = 1 / (u_i^2 + tau^2),    s^2 = sum((x_i - m)^2 / (u_i^2 r_i + tau^2)) / (n - 1)

u: standard uncertainties from shots. They are pooled: shots times variance is averaged over the history, because the
uncertainty of a single value near 0 or 1 depends on that very value and would give lucky nights more weight. tau: the
scatter from night to night beyond shot noise (DerSimonian and Laird, Controlled Clinical Trials 7, 177 (1986)). 1 /
sum(w): the uncertainty of the mean. s: scales both by the observed spread (Hartung and Knapp, Statistics in Medicine
20, 1771 (2001)), so that with equal shots t has Student's distribution with n - 1 degrees of freedom whatever the true
scatter; deciding first whether there is any scatter flags short series two to three times too often.

r: the cube root of a value's own variance of a single shot over the pooled one. Counts near 0 or 1 are skewed; on the
scale where they are not, a value is about (x - m) / sqrt(r) away (the root is that of Wilson and Hilferty, PNAS 17, 684
(1931)). Without it in s, nights with few errors have a small mean and a small spread at once. An eighth of a count is
allowed for values being whole numbers of counts. c = 1.04 where the history holds values that were judged: those
flagged by chance are missing from it, which makes s too small, and one false flag makes the next more likely.

`sigmas` is t on the scale of a normal distribution, so "beyond 3" means p = 0.27 % for a short history as for a long
one. Of simulated values of stable devices, 0.24 to 0.31 % are flagged far from 0 and 1, with 8 to 30 values and a
scatter between nights of up to three times the shot noise (40,000 series of each kind, sampling error 0.026 %); 0.15 to
0.33 % where nights have two to ten errors, and 0.12 % with three and no scatter (`make pulls`). Whole counts have no
exact test here: it would have to know how the scatter is distributed, not only how large it is. On the scale on which
a proportion is closest to normal (Cox and Snell, Journal of the Royal Statistical Society B 30, 248 (1968)) Student's
t gives 0.15 to 0.31 %.

`sigmas` is at most `SHOT_CAP` times the distance in units of shot noise alone: seven nights of 0 errors in 1000 shots
have no spread, and one error in the eighth is not drift. Fewer than `MIN_HISTORY` values judge nothing, and a value
without a finite, positive uncertainty is neither judged nor compared with.

A flagged value stays out of the history, so that neither a bad night nor a lasting jump hides what follows. When
`SETTLED` values in a row are flagged on the same side, they become the new level, and the comparison starts again from
them. A drift that is slow compared with the scatter of 30 values is not flagged; it shows on the plot.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import special

from qflows.ledger.measurements import Measurement

WINDOW = 30
MIN_HISTORY = 7  # with fewer, the scatter is a guess: some flags would be chance, and real jumps would be missed
SETTLED = 5  # consecutive flagged nights, on one side, that make a new level
SIGMAS = 3.0
SHOT_CAP = 2.0
MISSING_CHANCE = (
    1.04  # found by simulation: 1 gives 0.31 to 0.34 % of flags in series of 20 and more, 1.06 gives 0.23 %
)
GRAIN = 1 / 8  # of a count: 0 gives up to 0.37 % with four counts, 1/2 gives 0.11 %
_Number = int | float

_FARTHEST = 37.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """One value against the ones before it; see the module's docstring.

    `mean`, `scatter` (tau) and `spread` (a third of the distance beyond which a value is flagged) are in the value's
    unit, None when `n` is too small.
    `level_since`: when the level it is compared with began, if it began with a jump.
    """

    measurement: Measurement
    n: int
    mean: float | None
    scatter: float | None
    spread: float | None
    sigmas: float | None
    level_since: datetime | None

    @property
    def is_flagged(self) -> bool:
        """True beyond three sigmas."""
        return self.sigmas is not None and abs(self.sigmas) > SIGMAS

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; values that are not judged have null in `sigmas`."""
        return self.measurement.to_json() | {
            "compared_with": self.n,
            "mean": self.mean,
            "scatter": self.scatter,
            "spread": self.spread,
            "sigmas": self.sigmas,
            "is_flagged": self.is_flagged,
            "level_since": self.level_since.isoformat() if self.level_since else None,
        }


def judge(series: Sequence[Measurement]) -> list[Verdict]:
    """A verdict for each value of one series, oldest first. Raises ValueError if the values are of several series."""
    if len({one.series for one in series}) > 1:
        raise ValueError("values of different devices, quantities or setups cannot be compared")
    history: list[Measurement] = []  # of values with an error bar
    astray: list[Measurement] = []
    since: datetime | None = None
    verdicts = []
    for one in sorted(series, key=lambda one: one.at):
        verdict = _compare(one, history[-WINDOW:], since)
        verdicts.append(verdict)
        if not _has_error_bar(one):
            continue
        if not verdict.is_flagged:
            history.append(one)
            astray = []
            continue
        assert verdict.mean is not None
        is_higher = one.value > verdict.mean
        astray = [old for old in astray if (old.value > verdict.mean) == is_higher] + [one]
        if len(astray) >= SETTLED:
            history, since, astray = astray, astray[0].at, []
    return verdicts


def _compare(one: Measurement, history: Sequence[Measurement], since: datetime | None) -> Verdict:
    n = len(history)
    if n < MIN_HISTORY or not _has_error_bar(one):
        return Verdict(one, n, None, None, None, None, since)
    values = np.array([old.value for old in history])
    pooled = _pooled_variances([*history, one], n)
    tau2 = _scatter2(values, pooled[:n])
    weights = 1 / (pooled[:n] + tau2)
    mean = float(np.sum(weights * values) / np.sum(weights))
    skews = _skews([*history, one], pooled)
    seen2 = float(np.sum((values - mean) ** 2 / (pooled[:n] * skews[:n] + tau2))) / (n - 1)
    if n > MIN_HISTORY:
        seen2 *= MISSING_CHANCE
    scale = math.sqrt(seen2 * (float(pooled[n] * skews[n]) + tau2 + 1 / float(np.sum(weights))))
    shot_noise = math.sqrt(max(one.std_error**2, float(pooled[n])) + 1 / float(np.sum(1 / pooled[:n])))
    off, grain = one.value - mean, GRAIN / one.shots if one.shots > 0 else 0.0
    beyond = math.copysign(max(abs(off) - grain, 0.0), off)
    sigmas = as_normal(beyond / scale, n - 1) if scale > 0 else math.copysign(_FARTHEST, off)
    if abs(sigmas) > SHOT_CAP * abs(off) / shot_noise:
        sigmas = SHOT_CAP * off / shot_noise
    limit = max(scale * _student_limit(n - 1) + grain, shot_noise * SIGMAS / SHOT_CAP)
    return Verdict(one, n, mean, math.sqrt(tau2), limit / SIGMAS, sigmas, since)


def _has_error_bar(one: Measurement) -> bool:
    """False for single shots and eigenstates stored by older versions, whose error is infinite or 0."""
    return math.isfinite(one.value) and math.isfinite(one.std_error) and one.std_error > 0


@lru_cache(maxsize=WINDOW)
def _student_limit(degrees: int) -> float:
    """The t that is three sigmas on the scale of a normal distribution."""
    return -float(special.stdtrit(degrees, special.ndtr(-SIGMAS)))


def _pooled_variances(values: Sequence[Measurement], n: int) -> np.ndarray:
    """Variances from shots with the first n's mean variance of a single shot. Without shots: as given."""
    if any(one.shots <= 0 for one in values):
        return np.array([one.std_error**2 for one in values])
    single = float(np.mean([one.shots * one.std_error**2 for one in values[:n]]))
    return np.array([single / one.shots for one in values])


def _skews(values: Sequence[Measurement], pooled: np.ndarray) -> np.ndarray:
    """Of each value: the cube root of its own variance over the pooled one; 1 where variances are not pooled."""
    return (np.array([one.std_error**2 for one in values]) / pooled) ** (1 / 3)


def _scatter2(values: np.ndarray, variances: np.ndarray) -> float:
    """The variance between nights beyond shot noise, by the method of moments; 0 when shot noise explains it all."""
    weights = 1 / variances
    total = float(np.sum(weights))
    mean = float(np.sum(weights * values)) / total
    excess = float(np.sum(weights * (values - mean) ** 2)) - (len(values) - 1)
    return max(0.0, excess / (total - float(np.sum(weights**2)) / total))


def as_normal(t: float, degrees: int) -> float:
    """The normal deviate with the two-sided tail and the sign of Student's t. At most 37, where tails vanish."""
    tail = float(special.stdtr(degrees, -abs(t)))
    return math.copysign(min(-float(special.ndtri(tail)), _FARTHEST), t)


def calibration_changes(
    before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, *, most: int = 5
) -> list[str]:
    """What differs between two calibration snapshots, the largest relative changes of numbers first.

    Vendor text is passed through unchanged: escape the output.
    """
    if before is None or after is None:
        return []
    old, new = dict(_leaves(before)), dict(_leaves(after))
    changed: list[tuple[float, str]] = []
    for name in sorted(old.keys() | new.keys()):
        was, now = old.get(name), new.get(name)
        if was == now:
            continue
        if isinstance(was, _Number) and isinstance(now, _Number):
            size = abs(now - was) / max(abs(was), abs(now))
            changed.append((size, f"{name} {was:.4g} → {now:.4g}"))
        else:
            # a time or a version: a change of name ranks before a small change of value
            changed.append((math.inf, f"{name} {was} → {now}"))
    changed.sort(key=lambda pair: (-pair[0], pair[1]))
    more = [f"and {len(changed) - most} more"] if len(changed) > most else []
    return [text for _, text in changed[:most]] + more


def _leaves(body: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    if isinstance(body, Mapping):
        for name in body:
            yield from _leaves(body[name], f"{path}.{name}" if path else str(name))
    elif isinstance(body, list):
        yield path, ", ".join(str(one) for one in body)
    else:
        yield path, body
