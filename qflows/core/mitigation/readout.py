"""Readout errors of single qubits, measured by two circuits and corrected.

Every qubit has two error probabilities, of reading 1 for 0 and 0 for 1, independent of the other qubits: the tensor
product model of Bravyi, Sheldon, Kandala, McKay, Gambetta, Phys. Rev. A 103, 042605 (2021). Expectation values are
corrected shot by shot; distributions are corrected over the observed outcomes, as in Nation, Kang, Sundaresan,
Gambetta, PRX Quantum 2, 040326 (2021).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qflows.errors import QflowsError

_LEAST = 0.05  # 1 - both probabilities: below this, a reading carries almost no information
MOST_OUTCOMES = 4000


@dataclass(frozen=True)
class Confusion:
    """`chances[q]`: of reading 1 for 0 and 0 for 1, with their variances in the same order; q: position in the
    labels."""

    chances: NDArray[np.float64]
    variances: NDArray[np.float64]


def measured(zeros: Mapping[str, float], ones: Mapping[str, float], n: int) -> Confusion:
    """Error probabilities of all qubits from the counts of the two calibration circuits, keys with qubit 0 rightmost.

    Variances are those of a beta posterior with Jeffreys' prior, so that zero observed errors do not mean certainty.
    """
    chances, variances = np.zeros((n, 2)), np.zeros((n, 2))
    for column, (counts, wrong) in enumerate(((zeros, "1"), (ones, "0"))):
        total = sum(counts.values())
        for qubit in range(n):
            seen = sum(number for key, number in counts.items() if key[n - 1 - qubit] == wrong)
            chances[qubit, column] = seen / total
            a, b = seen + 0.5, total - seen + 0.5
            variances[qubit, column] = a * b / ((a + b) ** 2 * (a + b + 1))
    if np.any(1 - chances.sum(axis=1) < _LEAST):
        bad = int(np.argmax(chances.sum(axis=1)))
        raise QflowsError(
            f"qubit {bad} of the calibration is misread in {chances[bad, 0]:.0%} and "
            f"{chances[bad, 1]:.0%} of cases, which cannot be corrected; leave readout out, or choose other qubits"
        )
    return Confusion(chances, variances)


def weights(chances: NDArray[np.float64]) -> NDArray[np.float64]:
    """For every qubit, what its bits 0 and 1 count for Z instead of 1 and -1, so that the mean is unbiased."""
    a, b = chances[:, 0], chances[:, 1]
    return np.stack([(1 - b + a), -(1 - a + b)], axis=1) / (1 - a - b)[:, None]


def quasi_distribution(counts: Mapping[str, int], chances: NDArray[np.float64]) -> dict[str, float]:
    """The distribution before readout errors, over the observed outcomes; sums to 1, and some values may be negative.

    `chances[i]` belongs to bit i of the keys, not counting spaces. Raises QflowsError for too many outcomes.
    """
    keys = sorted(counts)
    if len(keys) > MOST_OUTCOMES:
        raise QflowsError(
            f"{len(keys)} different outcomes; a distribution can be corrected for at most "
            f"{MOST_OUTCOMES}. Ask for observables instead"
        )
    bits = np.array([[int(c) for c in key.replace(" ", "")[::-1]] for key in keys], dtype=np.int64)
    matrix = np.ones((len(keys), len(keys)))
    for qubit in range(bits.shape[1]):
        a, b = chances[qubit]
        single = np.array([[1 - a, b], [a, 1 - b]])  # [read, true]
        matrix *= single[bits[:, qubit][:, None], bits[:, qubit][None, :]]
    matrix /= matrix.sum(axis=0)
    total = sum(counts.values())
    found = np.linalg.solve(matrix, np.array([counts[key] / total for key in keys]))
    return dict(zip(keys, found.tolist(), strict=True))


def of_bits(reads: Sequence[int | None], labels: Sequence[int], errors: Confusion) -> NDArray[np.float64]:
    """The chances of each bit; none for bits that nothing writes."""
    known = {label: place for place, label in enumerate(labels)}
    return np.array([errors.chances[known[one]] if one is not None else (0.0, 0.0) for one in reads]).reshape(-1, 2)
