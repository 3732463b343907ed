"""From the counts of all circuits of a point to its value, with the error from shots, calibration and extrapolation.

A value is a function of the counts at every noise factor and of the probabilities of readout errors. Its variance is
the sum over all of them of slope squared times variance (delta method); all factors share the calibration, so its
slopes are taken through the extrapolation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qflows.core.mitigation import readout
from qflows.core.mitigation.extrapolation import extrapolate
from qflows.core.mitigation.layout import summary
from qflows.core.mitigation.readout import Confusion
from qflows.model import Counts, Expectation, ItemResult
from qflows.programs import estimation
from qflows.programs.observables import Group

_PRIOR = 2.0  # shots, as in `expectations.estimate_each_from_counts`
_STEP = 1e-5  # of a probability, for slopes


def confusion(note: Mapping[str, Any], items: Sequence[ItemResult]) -> Confusion | None:
    """The readout errors that the calibration circuits show; None without such circuits. Raises QflowsError."""
    n = note["calibrations"]
    if not n:
        return None
    zeros, ones = (_summed(items[start:n:2]) for start in (0, 1))
    return readout.measured(zeros, ones, len(note["labels"]))


def of_point(
    note: Mapping[str, Any], point: int, items: Sequence[ItemResult], plan: str | None, errors: Confusion | None
) -> ItemResult:
    """One item: expectation values if there is a plan of observables, otherwise raw counts and the corrected
    distribution as `probabilities`. `items`: all of this point. `metadata`: what was done, and raw values.
    """
    per_basis = len(note["factors"]) * note["randomizations"]
    bases = [items[start : start + per_basis] for start in range(0, len(items), per_basis)]
    reads: list[list[int | None]] = note["reads"][point]
    if plan is None:
        counts = _summed(bases[0])
        corrected = None
        if errors is not None:
            corrected = readout.quasi_distribution(counts, readout.of_bits(reads[0], note["labels"], errors))
        return ItemResult(counts=counts, probabilities=corrected, metadata={"mitigation": summary(note)})
    groups = estimation.read_plan(plan)
    measured = [group for group in groups if group.needs_measurement]
    point_ = _Point(note, groups, [_split(note, basis) for basis in bases[: len(measured)]], reads, errors)
    found = [point_.value(place) for place in range(1 + max(m.observable for g in groups for m in g.members))]
    return ItemResult(
        expectations=tuple(value for value, _, _ in found),
        metadata={
            "mitigation": summary(note) | ({"used": [used for _, _, used in found]} if note["extrapolation"] else {}),
            "unmitigated": [raw for _, raw, _ in found],
            "raw_counts": [dict(_summed(row[0])) for row in point_.rows],
        },
    )


def _split(note: Mapping[str, Any], basis: Sequence[ItemResult]) -> list[list[ItemResult]]:
    n = note["randomizations"]
    return [list(basis[start : start + n]) for start in range(0, len(basis), n)]


def _summed(items: Sequence[ItemResult]) -> Counts:
    total: dict[str, int] = {}
    for item in items:
        for key, n in (item.counts or {}).items():
            total[key] = total.get(key, 0) + n
    return Counts(total)


class _Point:
    """The counts of one point by basis, factor and randomization."""

    def __init__(
        self,
        note: Mapping[str, Any],
        groups: Sequence[Group],
        rows: list[list[list[ItemResult]]],
        reads: Sequence[Sequence[int | None]],
        errors: Confusion | None,
    ) -> None:
        self.factors: list[int] = note["factors"]
        self.method: str = note["extrapolation"] or ""
        self.rows = rows
        self._groups = [group for group in groups if group.needs_measurement]
        self._constants = [m for g in groups for m in g.members if not m.label.strip("I")]
        # all qubits of an observable are measured
        known = {label: at for at, label in enumerate(note["labels"])}
        self._reads = [[known.get(one, 0) for one in bits if one is not None] for bits in reads]
        self._errors = errors
        self._outcomes = [[[_outcomes(item) for item in factor] for factor in basis] for basis in rows]

    def value(self, place: int) -> tuple[Expectation, float, str]:
        """(mitigated value, raw value, extrapolation method) of one observable."""
        constant = sum(m.coeff for m in self._constants if m.observable == place)
        chances = self._errors.chances if self._errors is not None else None
        means, variances = self._by_factor(place, chances)
        raw = constant + float(self._by_factor(place, None)[0][0])
        slopes, value, used = np.ones(1), float(means[0]), ""
        if self.method:
            found = extrapolate(self.method, self.factors, means.tolist(), np.sqrt(variances).tolist())
            slopes, value, used = found.slopes, found.value, found.method
        variance = float((slopes**2) @ variances)
        if self._errors is not None:
            variance += self._of_calibration(place, slopes, self._errors)
        return Expectation(constant + value, float(np.sqrt(variance))), raw, used

    def _of_calibration(self, place: int, slopes: NDArray[np.float64], errors: Confusion) -> float:
        used = sorted({self._reads[b][bit] for b, group in enumerate(self._groups) for m in group.members
                       if m.observable == place for bit in _support(m.label)})  # fmt: skip
        total = 0.0
        for qubit in used:
            for column in (0, 1):
                ends = []
                for step in (_STEP, -_STEP):
                    moved = errors.chances.copy()
                    moved[qubit, column] += step
                    ends.append(float(slopes @ self._by_factor(place, moved)[0]))
                total += ((ends[0] - ends[1]) / (2 * _STEP)) ** 2 * errors.variances[qubit, column]
        return total

    def _by_factor(
        self, place: int, chances: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Means and variances of the varying part at every factor."""
        means, variances = np.zeros(len(self.factors)), np.zeros(len(self.factors))
        for basis, group in enumerate(self._groups):
            members = [m for m in group.members if m.observable == place and m.label.strip("I")]
            if not members:
                continue
            n_bits = len(group.basis)
            table = np.tile([1.0, -1.0], (n_bits, 1))
            if chances is not None:
                table = readout.weights(chances[list(self._reads[basis])])
            for factor, rows in enumerate(self._outcomes[basis]):
                parts = [_mean(bits, counts, members, table) for bits, counts in rows]
                mean, variance = _pooled(parts)
                means[factor] += mean
                variances[factor] += variance
        return means, variances


def _outcomes(item: ItemResult) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Bits by outcome, bit 0 first, and how often."""
    counts = item.counts or {}
    keys = sorted(counts)
    bits = np.array([[int(c) for c in key.replace(" ", "")[::-1]] for key in keys], dtype=np.int64)
    return bits, np.array([counts[key] for key in keys], dtype=float)


def _support(label: str) -> list[int]:
    return [bit for bit, letter in enumerate(reversed(label)) if letter != "I"]


def _mean(
    bits: NDArray[np.int64], counts: NDArray[np.float64], members: Sequence[Any], table: NDArray[np.float64]
) -> tuple[float, float, float]:
    """(mean, its variance, shots) of a weighted sum of Pauli strings, over one histogram."""
    values = np.zeros(len(counts))
    spread = 0.0
    for member in members:
        product = np.full(len(counts), member.coeff)
        size = member.coeff**2
        for bit in _support(member.label):
            product = product * table[bit][bits[:, bit]]
            size *= float((table[bit] ** 2).mean())
        values += product
        spread += size
    n = float(counts.sum())
    first, second = float(counts @ values), float(counts @ values**2)
    posterior = (second + _PRIOR * spread) / (n + _PRIOR) - (first / (n + _PRIOR)) ** 2
    return first / n, posterior / (n + _PRIOR + 1), n


def _pooled(parts: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """Mean and variance over randomizations, which share the shots equally.

    Coherent errors differ between randomizations; if the values then scatter more than shots explain, that scatter
    counts.
    """
    n = len(parts)
    means = np.array([mean for mean, _, _ in parts])
    by_shots = float(sum(variance for _, variance, _ in parts)) / n**2
    between = float(means.var(ddof=1)) / n if n > 1 else 0.0
    return float(means.mean()), max(by_shots, between)
