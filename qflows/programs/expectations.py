"""Expectation values of Pauli observables with honest error bars, from counts, probabilities, or a statevector.

Every sum runs in a fixed order, so equal counts give the same energy to the last bit, at any time and in any process.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qflows.programs.observables import Group, Observable, masks

_PROBABILITY_SLACK = 1e-6
_CACHED_ENTRIES = 1 << 20


@dataclass(frozen=True)
class TermEstimate:
    """Mean of one Pauli string, from -1 to 1 and without its coefficient, and the error of that mean alone."""

    label: str
    coeff: float
    mean: float
    std_error: float


@dataclass(frozen=True)
class Expectation:
    """An estimated expectation value, in the units of the coefficients.

    `variance` is that of one shot in every group, summed; `std_error` = sqrt(variance / shots). For exact
    probabilities `std_error` is 0 and `variance` says what sampling would cost. From shots, `std_error` is 0 for
    multiples of the identity alone, and never infinite; `variance` is 0 where the square is too small for a float.
    """

    value: float
    std_error: float
    variance: float
    per_term: tuple[TermEstimate, ...]
    shots: int | None = None


def estimate_from_counts(
    groups: Sequence[Group], results: Sequence[Mapping[str, float]], shots: int | None = None
) -> Expectation:
    """The expectation of the one observable behind `groups`; see `estimate_each_from_counts`."""
    estimates = estimate_each_from_counts(groups, results, shots)
    if len(estimates) != 1:
        raise ValueError(f"the groups serve {len(estimates)} observables; use estimate_each_from_counts")
    return estimates[0]


def estimate_each_from_counts(
    groups: Sequence[Group], results: Sequence[Mapping[str, float]], shots: int | None = None
) -> tuple[Expectation, ...]:
    """One Expectation per grouped observable, in the order they were given.

    `results` holds one histogram per group that needs measurement, in group order; keys are n_qubits characters,
    qubit 0 rightmost. With `shots` they are counts, each summing to `shots`; without, exact probabilities.
    Groups are independent. Within one, the error is the standard deviation of the posterior of its weighted sum
    (covariances between terms included) under a Dirichlet prior with the weight of one shot, spread evenly over all
    outcomes; for a single Pauli string that is Jeffreys' prior of `characterize.proportion`. The sample variance would
    be 0 near eigenstates, where it is most wrong (Brown, Cai, DasGupta, Statistical Science 16, 101 (2001)).
    `value` is the plain, unbiased mean, as in qiskit. Near eigenstates counts are skewed, so that a value comes with a
    small error when it is close to the eigenvalue: (value - truth) / std_error has a mean of minus half the skewness
    of the value (Johnson, Journal of the American Statistical Association 73, 536 (1978)). That holds for every error
    that is right on average and computed from the same shots: the mean of (x - mu) / s is the variance of x times the
    derivative of the mean of 1 / s by mu (exponential families: Lehmann and Casella, Theory of Point Estimation,
    section 1.5). Its mean would be 0 with the posterior's mean as the value, which is biased by up to half a shot.
    Raises ValueError if shapes or sums do not fit.
    """
    measured = [group for group in groups if group.needs_measurement]
    if len(measured) != len(results):
        raise ValueError(f"{len(results)} histograms for {len(measured)} groups that need measurement")
    remaining = iter(results)
    parts = [_group_estimates(group, next(remaining) if group.needs_measurement else None, shots) for group in groups]
    n_observables = 1 + max(member.observable for group in groups for member in group.members)
    merged: list[Expectation] = []
    for place in range(n_observables):
        own = [part[place] for part in parts if place in part]
        terms = tuple(sorted((term for estimate in own for term in estimate.per_term), key=lambda term: term.label))
        value = math.fsum(term.coeff * term.mean for term in terms)
        unit = _unit(estimate.std_error for estimate in own)
        error = unit * math.sqrt(math.fsum((estimate.std_error / unit) ** 2 for estimate in own))
        merged.append(Expectation(value, error, math.fsum(estimate.variance for estimate in own), terms, shots))
    return tuple(merged)


def _group_estimates(group: Group, result: Mapping[str, float] | None, shots: int | None) -> dict[int, Expectation]:
    """Per observable place, the part of its expectation that this group measures."""
    if result is None:
        signs, weights = np.ones((len(group.members), 1)), np.ones(1)
        shots = None
    else:
        bits, weights = _histogram(result, len(group.basis), shots)
        signs = _signs([member.label for member in group.members], bits)
    # sums of sign * count are integers below 2**53, hence exact
    means = (signs * weights).sum(axis=1) / (shots or 1.0)
    estimates: dict[int, Expectation] = {}
    for place in sorted({member.observable for member in group.members}):
        rows = [row for row, member in enumerate(group.members) if member.observable == place]
        coeffs = np.array([group.members[row].coeff for row in rows])
        varying = np.array([bool(group.members[row].label.strip("I")) for row in rows])
        coeffs = np.where(varying, coeffs, 0.0)  # a constant has no error
        unit = _unit(np.abs(coeffs))
        coeffs = coeffs / unit
        variance = _variance((np.ascontiguousarray(signs[rows].T) * coeffs).sum(axis=1), weights, shots, coeffs)
        terms = tuple(
            TermEstimate(group.members[row].label, group.members[row].coeff, float(means[row]), error)
            for row, error in zip(rows, _term_errors(means[rows], shots, varying), strict=True)
        )
        error = unit * math.sqrt(variance / shots) if shots else 0.0
        estimates[place] = Expectation(0.0, error, variance * unit * unit, terms, shots)
    return estimates


def _unit(sizes: Iterable[float]) -> float:
    """The power of two at the largest size, 1 if all are 0: squares of sizes in this unit neither vanish nor overflow,
    and nothing else changes, to the last bit."""
    largest = float(max(sizes))
    return math.ldexp(1.0, math.frexp(largest)[1]) if largest else 1.0


def _histogram(
    result: Mapping[str, float], width: int, shots: int | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(bits by outcome and label position, weights), outcomes sorted so that sums do not depend on dict order."""
    keys = sorted(result)
    if not keys or any(len(key) != width or set(key) - set("01") for key in keys):
        raise ValueError(f"counts keys must be {width} characters of 0 and 1; got {[str(k)[:80] for k in keys[:3]]}")
    weights = np.array([result[key] for key in keys], dtype=float)
    total = math.fsum(weights)
    if weights.min() < (0.0 if shots else -_PROBABILITY_SLACK):
        raise ValueError("a count or probability is negative")
    if shots is not None and (total != shots or shots <= 0 or (weights % 1.0).any()):
        raise ValueError(f"counts sum to {total:g}, not to {shots} shots; pass shots=None for probabilities")
    if shots is None and abs(total - 1.0) > _PROBABILITY_SLACK:
        raise ValueError(f"probabilities sum to {total:g}, not to 1; pass shots= for counts")
    bits = np.frombuffer("".join(keys).encode("ascii"), dtype=np.uint8).reshape(len(keys), width) - ord("0")
    return bits.astype(float), weights


def _signs(labels: Sequence[str], bits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Eigenvalue +1 or -1 of each label (row) on each measured outcome (column)."""
    support = np.array([[letter != "I" for letter in label] for label in labels], dtype=float)
    return 1.0 - 2.0 * ((support @ bits.T) % 2.0)


# weight of the prior in shots; one, spread over the two signs of one Pauli string, is Jeffreys' prior of a proportion:
# (k + 1/2) / (n + 1). Near eigenstates one error bar then covers 70 to 72 % at 50 to 100 shots, with a flat prior 75 to
# 79 % (Brown, Cai, DasGupta, Statistical Science 16, 101 (2001); `make pulls`)
_PRIOR_SHOTS = 1.0


def _variance(
    values: NDArray[np.float64], weights: NDArray[np.float64], shots: int | None, coeffs: NDArray[np.float64]
) -> float:
    """Variance of one shot of a group's weighted sum, such that variance / shots is that of the mean.

    Over evenly spread outcomes every Pauli string averages to 0 and different ones are uncorrelated: the prior adds
    nothing to the first moment and the sum of squared coefficients to the second.
    """
    total = float(weights.sum())
    if shots is None:
        deviations = values - float((values * weights).sum()) / total
        return max(float((deviations**2 * weights).sum()) / total, 0.0)
    prior = _PRIOR_SHOTS * float((coeffs**2).sum())
    mean = float((values * weights).sum()) / (total + _PRIOR_SHOTS)
    second = (float((values**2 * weights).sum()) + prior) / (total + _PRIOR_SHOTS)
    return max(second - mean**2, 0.0) * total / (total + _PRIOR_SHOTS + 1.0)


def _term_errors(means: NDArray[np.float64], shots: int | None, varying: NDArray[np.bool_]) -> list[float]:
    if shots is None:
        return [0.0] * len(means)
    smoothed = means * shots / (shots + _PRIOR_SHOTS)
    errors = np.sqrt((1.0 - smoothed**2) / (shots + _PRIOR_SHOTS + 1.0))
    return [float(error) for error in np.where(varying, errors, 0.0)]


def expectation_exact(statevector: NDArray[Any], target: Observable) -> float:
    """⟨ψ|O|ψ⟩ for a normalized statevector of 2**n amplitudes, qubit 0 the least significant index bit.

    Small observables keep their tables of phases. Raises ValueError for a vector of another length or norm.
    """
    psi = np.asarray(statevector).astype(np.complex128).ravel()
    if psi.size != 1 << target.n_qubits:
        raise ValueError(f"{psi.size} amplitudes do not fit an observable on {target.n_qubits} qubits")
    bra = psi.conj()
    norm = float((bra * psi).real.sum())
    if abs(norm - 1.0) > _PROBABILITY_SLACK:
        raise ValueError(f"the statevector has squared norm {norm:g}; normalize it")
    flips = len({masks(label)[0] for label, _ in target})
    rows = _cached_flip_rows(target) if flips * psi.size <= _CACHED_ENTRIES else _flip_rows(target)
    return math.fsum(float((bra[flipped] * phases * psi).real.sum()) for flipped, phases in rows)


def _flip_rows(target: Observable) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Per distinct bit flip x: the flipped indices, and the summed coefficient * phase of all terms with that flip.

    A string acts as P|b⟩ = i**n_y (-1)**popcount(b & z) |b ^ x⟩.
    """
    index = np.arange(1 << target.n_qubits)
    by_flip: dict[int, list[tuple[complex, int]]] = {}
    for label, coeff in target:
        x, z = masks(label)
        by_flip.setdefault(x, []).append((coeff * (1.0, 1j, -1.0, -1j)[label.count("Y") % 4], z))
    for x, terms in by_flip.items():
        phases = np.zeros(index.size, dtype=np.complex128)
        for factor, z in terms:
            odd = index & z
            for shift in (32, 16, 8, 4, 2, 1):  # folds the parity of all bits into bit 0
                odd ^= odd >> shift
            phases += factor * (1 - 2 * (odd & 1))
        yield index ^ x, phases


@lru_cache(maxsize=8)
def _cached_flip_rows(target: Observable) -> tuple[tuple[NDArray[Any], NDArray[Any]], ...]:
    return tuple(_flip_rows(target))
