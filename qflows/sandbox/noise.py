"""A noisy device: depolarising after each gate and flips at readout. A stand-in, not a model of any machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qflows.sandbox.errors import WorkError
from qflows.sandbox.statevector import Array, Op, apply, compact, probabilities, sample, spread

# 4**8 entries take about a millisecond per gate; beyond that, trajectories are cheaper than the density matrix
MAX_DENSITY_QUBITS = 8
MAX_GATE_QUBITS = 8


@dataclass(frozen=True)
class Rates:
    """Probability of losing all information: per gate on one qubit, per gate on more; and of misreading a bit."""

    one_qubit: float
    more_qubits: float
    readout: float

    def of(self, op: Op) -> float:
        """The rate of a gate."""
        return self.one_qubit if len(op.qubits) == 1 else self.more_qubits


def drawn(
    ops: Sequence[Op], rates: Rates | None, *, read: Collection[int], limit: int, shots: int, seed: int
) -> dict[int, int]:
    """Sampled outcomes on the original qubits, of which `read` are measured; ideal without `rates`.

    Raises WorkError for more than `limit` qubits with gates, or a gate too wide for the trajectory method.
    """
    narrow, active = compact(ops, limit=limit)
    if rates is None:
        return spread(sample(probabilities(narrow, len(active)), shots, seed), active)
    histogram = noisy_histogram(narrow, len(active), rates, shots=shots, seed=seed)
    # a qubit without gates can be misread too, and one flip needs no simulation
    return _misread(spread(histogram, active), sorted(set(read) - set(active)), rates.readout, seed)


def _misread(histogram: Mapping[int, int], qubits: Iterable[int], rate: float, seed: int) -> dict[int, int]:
    random = np.random.default_rng([seed, 1])  # not the stream that drew the histogram
    outcomes = [outcome for outcome, count in histogram.items() for _ in range(count)]
    for qubit in qubits:
        for shot in random.choice(len(outcomes), random.binomial(len(outcomes), rate), replace=False).tolist():
            outcomes[shot] ^= 1 << qubit
    return dict(Counter(outcomes))


def disturbed(histogram: Mapping[int, int], n_bits: int, *, lost: float, readout: float, seed: int) -> dict[int, int]:
    """A histogram of exact shots with errors: a share `lost` becomes any outcome, and each bit is misread.

    Coarse: for programs whose shots another simulator drew, such as those with branches, which no longer follow a
    misread bit.
    """
    random = np.random.default_rng([seed, 2])
    outcomes = np.array([outcome for outcome, count in histogram.items() for _ in range(count)], dtype=np.int64)
    replaced = random.random(len(outcomes)) < lost
    outcomes[replaced] = random.integers(0, 1 << n_bits, int(replaced.sum()))
    for bit in range(n_bits):
        outcomes ^= (random.random(len(outcomes)) < readout).astype(np.int64) << bit
    return dict(Counter(outcomes.tolist()))


def noisy_histogram(ops: Sequence[Op], n_qubits: int, rates: Rates, *, shots: int, seed: int) -> dict[int, int]:
    """Sampled outcomes with noise. Raises WorkError if a gate is too wide for the trajectory method."""
    if n_qubits <= MAX_DENSITY_QUBITS:
        return sample(_flipped(_density_diagonal(ops, n_qubits, rates), n_qubits, rates.readout), shots, seed)
    return _trajectories(ops, n_qubits, rates, shots=shots, seed=seed)


def _density_diagonal(ops: Sequence[Op], n_qubits: int, rates: Rates) -> Array:
    # The density matrix is held as a state of 2n qubits: rows are qubits 0..n-1, columns n..2n-1.
    rho = np.zeros(1 << 2 * n_qubits, dtype=complex)
    rho[0] = 1
    column = {qubit: qubit + n_qubits for qubit in range(n_qubits)}
    for op in ops:
        rho = apply(rho, op, 2 * n_qubits)
        rho = apply(rho, Op(op.matrix.conj(), op.targets, op.controls).moved(column), 2 * n_qubits)
        lost = rho
        for qubit in op.qubits:
            lost = _forgotten(lost, qubit, n_qubits)
        rho = (1 - rates.of(op)) * rho + rates.of(op) * lost
    return np.real(rho.reshape(1 << n_qubits, -1).diagonal()).copy()


def _forgotten(rho: Array, qubit: int, n_qubits: int) -> Array:
    """The density with one qubit replaced by the maximally mixed state."""
    after = np.zeros_like(rho).reshape((2,) * 2 * n_qubits)
    before = rho.reshape(after.shape)
    row, column = 2 * n_qubits - 1 - qubit, n_qubits - 1 - qubit
    both = [tuple(bit if axis in (row, column) else slice(None) for axis in range(2 * n_qubits)) for bit in (0, 1)]
    after[both[0]] = after[both[1]] = (before[both[0]] + before[both[1]]) / 2
    return after.reshape(-1)


def _flipped(weights: Array, n_qubits: int, rate: float) -> Array:
    flip = np.array([[1 - rate, rate], [rate, 1 - rate]])
    for qubit in range(n_qubits):
        weights = apply(weights, Op(flip, (qubit,)), n_qubits)
    return weights


def _trajectories(ops: Sequence[Op], n_qubits: int, rates: Rates, *, shots: int, seed: int) -> dict[int, int]:
    from qiskit import QuantumCircuit
    from qiskit_aer import AerSimulator
    from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error

    circuit = QuantumCircuit(n_qubits)
    for op in ops:
        width = len(op.qubits)
        if width > MAX_GATE_QUBITS:
            raise WorkError("TooManyControls", f"with noise, gates on more than {MAX_GATE_QUBITS} qubits are not run")
        circuit.unitary(_with_controls(op), list(op.qubits))
        if rates.of(op) > 0:
            circuit.append(depolarizing_error(rates.of(op), width).to_instruction(), list(op.qubits))
    circuit.measure_all()
    model = NoiseModel()
    model.add_all_qubit_readout_error(
        ReadoutError([[1 - rates.readout, rates.readout], [rates.readout, 1 - rates.readout]])
    )
    simulator = AerSimulator(method="statevector", noise_model=model, seed_simulator=seed)
    counts = simulator.run(circuit, shots=shots).result().get_counts()
    return {int(bits, 2): int(count) for bits, count in counts.items()}


def _with_controls(op: Op) -> Array:
    """The matrix on targets, then controls as more significant bits."""
    size = len(op.matrix) << len(op.controls)
    whole = np.eye(size, dtype=complex)
    whole[-len(op.matrix) :, -len(op.matrix) :] = op.matrix
    return whole
