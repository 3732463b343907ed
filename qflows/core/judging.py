"""Whether newly measured values say that a device is bad: each against its own history, only for the worse.

Used by gates before a purchase, and for the reference circuits inside a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import special

from qflows.core.drift import Verdict, judge
from qflows.display import plural
from qflows.ledger.measurements import Measurement

FALSE_HOLD = 0.01
_DESIGNED = 0.007
_LARGER_IS_WORSE = frozenset({"readout", "vqe"})
_FEW = 10.0  # wrong shots of a value, below which their number is judged as a number


@dataclass(frozen=True, slots=True)
class Health:
    """The result of one look. `evidence`: one mapping per value."""

    is_good: bool
    why: str
    evidence: tuple[dict[str, Any], ...]


def limit(k: int) -> float:
    """How many sigmas for the worse are allowed for one of `k` values."""
    return -float(special.ndtri(_DESIGNED / max(k, 1)))


def health(series: Sequence[Sequence[Measurement]], least: Mapping[str, float] | None = None) -> Health:
    """The health of a device by its newest values; each series oldest first, its newest value is judged.

    `least`: by quantity, the value below which the device is bad whatever its history.
    """
    verdicts = [judge(one)[-1] for one in series if one]
    judged = [one for one in verdicts if one.sigmas is not None]
    least = least or {}
    newest = [one.measurement for one in verdicts]
    floors = [(one, least[one.name]) for one in newest if one.name in least]
    k = len(judged) + len(floors)
    bound = limit(k)
    evidence = tuple(
        {
            "quantity": one.measurement.name,
            "value": one.measurement.value,
            "std_error": one.measurement.std_error,
            "mean": one.mean,
            "worse_by": worse_by(one),
            "compared_with": one.n,
        }
        for one in verdicts
    )
    bad = [
        f"{one.measurement.name} {one.measurement.value:.4g}, worse than {one.mean:.4g} by {worse_by(one):.1f} sigma"
        for one in judged
        if (worse_by(one) or 0.0) > bound and not is_chance(one, k)
    ]
    bad += [
        f"{one.name} {one.value:.4g}, below {floor:.4g} by {(floor - one.value) / one.std_error:.1f} sigma"
        for one, floor in floors
        if floor - one.value > bound * one.std_error
    ]
    if bad:
        told = f"{', '.join(bad)} (limit {bound:.2f} for {plural(k, 'comparison')})"
        return Health(False, told, evidence)
    if floors and not judged:
        told = f"{len(floors)} of {len(verdicts)} values compared with what they must be at least (limit {bound:.2f})"
        return Health(True, f"{told}; no value has 7 nights behind it yet", evidence)
    if not judged:
        return Health(True, "no value has 7 nights of history yet, so nothing is judged", evidence)
    worst = max(worse_by(one) or 0.0 for one in judged)
    told = f"{len(judged)} of {len(verdicts)} values judged, the worst by {worst:.1f} sigma (limit {bound:.2f})"
    return Health(True, told, evidence)


def is_chance(verdict: Verdict, k: int) -> bool:
    """Whether a value that rests on few wrong shots may come by chance, in one of `k` comparisons.

    A device with one wrong shot a night sometimes has four: the normal distribution calls that rarer than it is. The
    number of a night follows the negative binomial distribution that the n earlier nights predict (gamma prior of
    Jeffreys; Gelman et al., Bayesian Data Analysis, section 2.6).
    """
    one = verdict.measurement
    if one.shots <= 0 or one.family == "vqe" or verdict.mean is None or not verdict.n:
        return False
    is_error = one.family in _LARGER_IS_WORSE
    wrong, before = ((value if is_error else 1 - value) * one.shots for value in (one.value, verdict.mean))
    if before > _FEW or wrong <= 0:
        return False
    tail = special.betainc(wrong, verdict.n * max(before, 0.0) + 0.5, 1 / (verdict.n + 1))
    return float(tail) > _DESIGNED / max(k, 1)


def worse_by(verdict: Verdict) -> float | None:
    """Sigmas for the worse; negative if the value is better than its history."""
    if verdict.sigmas is None:
        return None
    return verdict.sigmas if verdict.measurement.family in _LARGER_IS_WORSE else -verdict.sigmas
