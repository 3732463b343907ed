"""Exact simulation of small circuits with numpy. Qubit 0 is the least significant bit of every index.

Made for the sandbox's worker: it answers in a fraction of a millisecond for a few qubits and needs no heavy import.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qflows.sandbox.errors import WorkError

# 2**20 amplitudes are 16 MB; clients widen circuits to a whole device, so unused qubits are taken out first
MAX_ACTIVE_QUBITS = 20
NEGLIGIBLE = 1e-14
LARGE_STATE = 1 << 10
# widest register whose outcomes fit a machine word
WORD_QUBITS = 62

Array = NDArray[Any]


@dataclass(frozen=True)
class Op:
    """A unitary on `targets` (targets[0] is the least significant bit of the matrix index), if all `controls` are 1."""

    matrix: Array
    targets: tuple[int, ...]
    controls: tuple[int, ...] = ()

    @property
    def qubits(self) -> tuple[int, ...]:
        """All qubits the operation touches."""
        return self.targets + self.controls

    def moved(self, to: Mapping[int, int]) -> Op:
        """The same operation on other qubits."""
        return Op(self.matrix, tuple(to[q] for q in self.targets), tuple(to[q] for q in self.controls))


def compact(ops: Sequence[Op], *, limit: int = MAX_ACTIVE_QUBITS) -> tuple[list[Op], list[int]]:
    """Leave out unused qubits. Returns the operations on 0..k-1 and the original qubit of each.

    Raises WorkError NotEnoughQubits above the limit.
    """
    active = sorted({qubit for op in ops for qubit in op.qubits})
    if len(active) > limit:
        raise WorkError("NotEnoughQubits", f"{len(active)} active qubits; this sandbox simulates {limit}")
    place = {qubit: index for index, qubit in enumerate(active)}
    return [op.moved(place) for op in ops], active


def apply(state: Array, op: Op, n_qubits: int) -> Array:
    """The state (2**n amplitudes) after the operation. May change its argument; use the returned one."""
    if not op.controls and len(op.targets) == 1:
        halves = state.reshape(-1, 2, 1 << op.targets[0])
        if len(state) < LARGE_STATE:
            return np.matmul(op.matrix, halves).reshape(-1)
        # many tiny products are slow in matmul, whole halves are not
        after = np.empty_like(halves)
        for row in (0, 1):
            after[:, row] = op.matrix[row, 0] * halves[:, 0] + op.matrix[row, 1] * halves[:, 1]
        return after.reshape(-1)
    tensor = state.reshape((2,) * n_qubits)
    where: list[Any] = [slice(None)] * n_qubits
    for control in op.controls:
        where[n_qubits - 1 - control] = 1
    block = tensor[tuple(where)]
    free = [qubit for qubit in reversed(range(n_qubits)) if qubit not in op.controls]
    axes = [free.index(target) for target in reversed(op.targets)]
    moved = np.moveaxis(block, axes, range(len(axes)))
    after = (op.matrix @ moved.reshape(len(op.matrix), -1)).reshape(moved.shape)
    tensor[tuple(where)] = np.moveaxis(after, range(len(axes)), axes)
    return tensor.reshape(-1)


def evolve(ops: Iterable[Op], n_qubits: int) -> Array:
    """The state vector after the operations on |0...0>."""
    state = np.zeros(1 << n_qubits, dtype=complex)
    state[0] = 1
    for op in ops:
        state = apply(state, op, n_qubits)
    return state


def probabilities(ops: Sequence[Op], n_qubits: int) -> Array:
    """Exact probability of each basis state."""
    return np.abs(evolve(ops, n_qubits)) ** 2


def sample(weights: Array, shots: int, seed: int) -> dict[int, int]:
    """A histogram of `shots` draws; outcomes that never occurred are left out."""
    weights = np.clip(weights, 0, None)
    draws = np.random.default_rng(seed).multinomial(shots, weights / weights.sum())
    kept = np.flatnonzero(draws)
    return dict(zip(kept.tolist(), draws[kept].tolist(), strict=True))


def spread(values: Mapping[int, Any], active: Sequence[int]) -> dict[int, Any]:
    """Outcomes of compacted qubits as outcomes of the original ones; unused qubits read 0.

    Every outcome must be below 2**len(active): otherwise two of them would coincide.
    """
    word = np.int64 if max(active, default=0) <= WORD_QUBITS else object
    found = np.array(list(values), dtype=word)
    moved = np.zeros(len(found), dtype=word)
    for place, qubit in enumerate(active):
        moved |= (found >> place & 1) << qubit
    outcomes = dict(zip(moved.tolist(), values.values(), strict=True))
    if len(outcomes) < len(values):
        raise ValueError(f"{len(values)} outcomes became {len(outcomes)} on qubits {list(active)[:10]}")
    return outcomes


def nonzero(weights: Array) -> dict[int, float]:
    """Outcomes with more than rounding noise."""
    kept = np.flatnonzero(weights > NEGLIGIBLE)
    return dict(zip(kept.tolist(), weights[kept].tolist(), strict=True))
