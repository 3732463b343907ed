"""What a device does well, in numbers: circuits with known answers, and the statistics of their counts.

Pure: circuits come from a seed, values from counts. Every value has a standard error; a value passes if a device
exactly at the threshold would do as well with a probability of at most `RISK`. `METHODS` holds formula and source of
each family.

Qubit i is qubit i of the circuit; the vendor's compiler chooses its place on the chip.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from qflows.core.references import proportion
from qflows.errors import ProgramRejected
from qflows.keys import digest, seed_of
from qflows.model import Counts, uncertain

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

    from qflows.programs import Program

RISK = 0.0228  # one-sided; that of two standard errors if the error is known and normal
MIRROR_THRESHOLD = 1 / math.e  # Proctor et al., arXiv:2008.11294
GHZ_THRESHOLD = 0.5
BIT_ORDER_THRESHOLD = 0.5  # the right answer is the majority, so no other order can be

METHODS: Mapping[str, tuple[str, str]] = {
    "bit order": (
        "P(expected key) of a state that no permutation of the bits leaves unchanged; passes above 1/2",
        "convention: rightmost character is classical bit 0, first register rightmost",
    ),
    "readout": (
        "e = (p(1|0) + p(0|1)) / 2 per qubit, from |0..0> and |1..1> read at once; includes preparation errors",
        "Bravyi et al., Phys. Rev. A 103, 042605 (2021), arXiv:2006.14044",
    ),
    "ghz": (
        "F = (P0..0 + P1..1 + C) / 2, C = 2/(n+1) sum_k cos(n phi_k) <M(phi_k)>, phi_k = pi k/(n+1), k = 0..n, "
        "M(phi) = (cos(phi) X + sin(phi) Y) on every qubit; F > 1/2 shows n-party entanglement",
        "Sackett et al., Nature 404, 256 (2000); Guehne et al., Phys. Rev. A 76, 030305 (2007), arXiv:0706.2432",
    ),
    "mirror": (
        "S = (P - 2^-n) / (1 - 2^-n), P the share of the known output string, mean over random circuits; "
        "passes above 1/e",
        "Proctor et al., Nature Physics 18, 75 (2022), arXiv:2008.11294",
    ),
    "reference": (
        "overlap sum_x min(p(x), n(x) / N) of N shots of a user's circuit with its expected distribution p: "
        "1 less the total variation distance",
        "Nielsen and Chuang, Quantum Computation and Quantum Information, section 9.1",
    ),
}

UNCERTAINTIES: Mapping[str, str] = {
    "bit order": "u² = q(1-q)/(N+2), q = (k+1/2)/(N+1): k hits of N shots, the variance under Jeffreys' prior",
    "readout": "from the spread of wrong bits per shot: u² = (var0 + var1) / (4 N n²), never less than counting gives",
    "ghz": "u² = (u(P)² + sum_k (2/(n+1) cos(n phi_k))² u(M_k)²) / 4, shares and parities as under bit order",
    "mirror": "standard deviation over the circuits / sqrt(circuits), never less than their shot noise",
    "reference": "u² = s(1-s)/N, s the share of outcomes that came too seldom, never less than counting gives; with "
    "several right answers times 1.5², because the tail is heavier than a normal one",
    "vqe": "of the energy as the device or the estimator gives it: shot noise of each term, added in squares",
}

# the single-qubit Clifford group is these six words times the four Paulis
_CLIFFORD_WORDS = ((), ("h",), ("s",), ("h", "s"), ("s", "h"), ("h", "s", "h"))
_PAULIS = ((), ("x",), ("y",), ("z",))


@dataclass(frozen=True, slots=True)
class Reading:
    """One number. All values are dimensionless. `n`: qubits; `shots`: those behind the value.

    `chance`: the probability that a device exactly at the threshold gives this value or a better one; None without a
    threshold. Readings that are not `is_headline` are details of one that is.
    """

    metric: str
    value: float
    std_error: float
    shots: int
    n: int
    threshold: float | None = None
    is_headline: bool = True
    note: str = ""
    chance: float | None = None

    @property
    def passed(self) -> bool | None:
        """Whether a device at the threshold would rarely do as well: `chance` is at most `RISK`."""
        return None if self.chance is None else self.chance <= RISK


@dataclass(frozen=True, slots=True)
class Point:
    """What a plot shows of a reading; `is_below` its threshold."""

    value: float
    std_error: float
    is_below: bool


@dataclass(frozen=True)
class Block:
    """Circuits that belong together, and how their counts, in the same order, become readings."""

    family: str  # a key of METHODS
    metric: str  # name of the headline reading
    n: int
    circuits: tuple[QuantumCircuit | Program, ...]
    read: Callable[[Sequence[Counts]], list[Reading]]


def suite(
    seed: int,
    *,
    sizes: Sequence[int] = (3, 5),
    mirror_circuits: int = 4,
    mirror_layers: int = 8,
    max_qubits: int | None = None,
) -> list[Block]:
    """All blocks, including those too wide for the device; the caller reports what was left out.

    `sizes`: widths of the GHZ states and mirror circuits. Readout has the widest of them, or `max_qubits`.
    `mirror_circuits`: of each size; 0 leaves this family out.
    `mirror_layers`: two-qubit layers of a mirror circuit, both halves together, so an even number.
    Equal arguments make equal circuits. Raises ProgramRejected for numbers that make no suite.
    """
    if not sizes or any(n < 2 for n in sizes) or len(set(sizes)) != len(sizes):
        raise ProgramRejected(f"sizes must be different whole numbers of at least 2, not {list(sizes)}")
    if mirror_circuits == 1 or mirror_circuits < 0 or mirror_layers < 2 or mirror_layers % 2:
        raise ProgramRejected("mirror circuits: pass 0 or at least 2, with an even number of layers of at least 2")
    blocks = [_probe(name, circuit, expected) for name, circuit, expected in _probes()]
    blocks.append(_readout(min(max(sizes), max_qubits or max(sizes))))
    blocks += [_ghz(n) for n in sizes]
    if mirror_circuits:
        blocks += [_mirror(n, seed, mirror_circuits, mirror_layers) for n in sizes]
    return blocks


# -- statistics


def chance_of(value: float, error: float, threshold: float, degrees: int | None = None) -> float:
    """P(this value or a better one) at the threshold: normal, or Student's if the error is a spread of few values.

    `degrees` of freedom: the values less one. With 3, two standard errors are passed by 7.0 %, not by 2.3 %.
    """
    from scipy import stats

    t = (value - threshold) / error
    return float(stats.norm.sf(t) if degrees is None else stats.t.sf(t, degrees))


def mean_of(values: Sequence[float], errors: Sequence[float]) -> tuple[float, float]:
    """Mean over circuits drawn at random, and its standard error.

    The spread between circuits counts, and includes shot noise; the propagated shot noise is the minimum.
    """
    spread = float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return float(np.mean(values)), max(spread, math.hypot(*errors) / len(errors))


# -- bit order


def _probes() -> list[tuple[str, QuantumCircuit, str]]:
    """(name, circuit, expected key). A cyclic permutation differs from its inverse; a swap would not."""
    from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister

    pair = QuantumCircuit(2, 2, name="bit order 01")
    pair.x(0)
    pair.measure([0, 1], [0, 1])
    triple = QuantumCircuit(3, 3, name="bit order 001")
    triple.x(0)
    triple.measure([0, 1, 2], [0, 1, 2])
    permuted = QuantumCircuit(3, 3, name="bit order permuted")
    permuted.x(0)
    permuted.measure([0, 1, 2], [1, 2, 0])
    first, second = ClassicalRegister(1, "first"), ClassicalRegister(3, "second")
    registers = QuantumCircuit(QuantumRegister(3, "q"), first, second, name="bit order registers")
    registers.x(2)
    registers.measure([0, 2], [first[0], second[1]])  # qubit 1 is not measured, second[0] and second[2] are not written
    return [
        ("01", pair, "01"),
        ("001", triple, "001"),
        ("permuted", permuted, "010"),
        ("registers", registers, "010 0"),
    ]


def _probe(name: str, circuit: QuantumCircuit, expected: str) -> Block:
    metric = f"bit order {name}"
    n = circuit.num_qubits
    return Block("bit order", metric, n, (circuit,), partial(read_bit_order, metric, n, expected))


def read_bit_order(metric: str, n: int, expected: str, counts: Sequence[Counts]) -> list[Reading]:
    """The share of the expected key; the note names what was read instead."""
    from scipy import stats

    found = counts[0]
    hits = found.get(expected, 0)
    value, error = proportion(hits, found.shots)
    top = max(sorted(found), key=lambda key: found[key])
    note = ""
    if top != expected:
        reverse = ", with the bits reversed" if top == expected[::-1] else ""
        note = f"read {top} where {expected} was prepared{reverse}"
    chance = float(stats.binom.sf(hits - 1, found.shots, BIT_ORDER_THRESHOLD))
    return [Reading(metric, value, error, found.shots, n, BIT_ORDER_THRESHOLD, note=note, chance=chance)]


# -- readout


def _readout(n: int) -> Block:
    from qiskit import QuantumCircuit

    circuits = []
    for bit in (0, 1):
        circuit = QuantumCircuit(n, n, name=f"readout {str(bit) * n}")
        if bit:
            circuit.x(range(n))
        circuit.measure(range(n), range(n))
        circuits.append(circuit)
    return Block("readout", "readout error", n, tuple(circuits), partial(read_readout, n))


def read_readout(n: int, counts: Sequence[Counts]) -> list[Reading]:
    """Mean assignment error over the qubits, then p(1|0) and p(0|1) of each qubit as details."""
    means, errors, details = [], [], []
    for bit, found in enumerate(counts):
        wrong = {key: sum(letter != str(bit) for letter in key) for key in found}
        shots = found.shots
        mean = sum(wrong[key] * times for key, times in found.items()) / shots
        # from whole shots, because errors within one shot may be correlated
        variance = sum((wrong[key] - mean) ** 2 * times for key, times in found.items()) / shots
        floor = proportion(round(mean * shots), n * shots)[1]
        means.append(mean / n)
        errors.append(max(math.sqrt(variance / shots) / n, floor))
        for qubit in range(n):
            hits = sum(times for key, times in found.items() if key[-1 - qubit] != str(bit))
            value, error = proportion(hits, shots)
            metric = f"readout p({1 - bit}|{bit}) q{qubit}"
            details.append(Reading(metric, value, error, shots, 1, is_headline=False))
    total = sum(found.shots for found in counts)
    note = f"mean over {n} qubits"
    return [Reading("readout error", sum(means) / 2, math.hypot(*errors) / 2, total, n, note=note), *details]


# -- GHZ


def _phases(n: int) -> list[float]:
    """Radians. Parity has harmonics n, n-2, ..., -n; at these n + 1 phases they are orthogonal, so none leaks in."""
    return [math.pi * k / (n + 1) for k in range(n + 1)]


def _ghz(n: int) -> Block:
    from qiskit import QuantumCircuit

    state = QuantumCircuit(n, n, name=f"ghz-{n} populations")
    state.h(0)
    for qubit in range(n - 1):
        state.cx(qubit, qubit + 1)
    circuits = [state.copy()]
    for k, phase in enumerate(_phases(n)):
        rotated = state.copy(f"ghz-{n} parity {k}")
        for qubit in range(n):
            if phase:
                rotated.rz(-phase, qubit)
            rotated.h(qubit)
        circuits.append(rotated)
    for circuit in circuits:
        circuit.measure(range(n), range(n))
    return Block("ghz", f"ghz-{n} fidelity", n, tuple(circuits), partial(read_ghz, n))


def parity(counts: Counts) -> tuple[float, float]:
    """Mean of (-1)^(number of ones) and its standard error."""
    even = sum(times for key, times in counts.items() if key.count("1") % 2 == 0)
    value, error = proportion(even, counts.shots)
    return 2 * value - 1, 2 * error


def read_ghz(n: int, counts: Sequence[Counts]) -> list[Reading]:
    """Fidelity with (|0..0> + |1..1>)/sqrt(2); populations and coherence as details.

    The coherence in F is the part in phase with the wanted state. The fitted amplitude, which ignores a phase, is in
    the note: as a sum of squares it is above 0 for noise alone, so with it a dephased state would seem entangled.
    """
    populations, rest = counts[0], counts[1:]
    hits = populations.get("0" * n, 0) + populations.get("1" * n, 0)
    share, share_error = proportion(hits, populations.shots)
    measured = [parity(found) for found in rest]
    weights = [2 / (n + 1) * math.cos(n * phase) for phase in _phases(n)]
    coherence = sum(weight * value for weight, (value, _) in zip(weights, measured, strict=True))
    error = math.hypot(*(weight * sigma for weight, (_, sigma) in zip(weights, measured, strict=True)))
    sines = [2 / (n + 1) * math.sin(n * phase) for phase in _phases(n)]
    quadrature = sum(weight * value for weight, (value, _) in zip(sines, measured, strict=True))
    amplitude, phase = math.hypot(coherence, quadrature), math.atan2(quadrature, coherence)
    # cos² and sin² over the phases average to 1/2
    amplitude_error = 2 / (n + 1) * math.hypot(*(sigma for _, sigma in measured)) / math.sqrt(2)
    phase_error = amplitude_error / amplitude if amplitude > 0 else math.pi
    fit = f"parity amplitude {uncertain(amplitude, amplitude_error)}, phase "
    fit += f"{uncertain(phase, min(phase_error, math.pi), sign=True)} rad"
    parity_shots = sum(found.shots for found in rest)
    total = populations.shots + parity_shots
    fidelity, fidelity_error = (share + coherence) / 2, math.hypot(share_error, error) / 2
    chance = chance_of(fidelity, fidelity_error, GHZ_THRESHOLD)
    return [
        Reading(f"ghz-{n} fidelity", fidelity, fidelity_error, total, n, GHZ_THRESHOLD, chance=chance),
        Reading(f"ghz-{n} populations", share, share_error, populations.shots, n, is_headline=False),
        Reading(f"ghz-{n} coherence", coherence, error, parity_shots, n, is_headline=False, note=fit),
    ]


# -- mirror circuits


def _mirror(n: int, seed: int, number: int, layers: int) -> Block:
    made = [mirror_circuit(n, layers, seed_of(digest("mirror/1", seed, n, layers, k))) for k in range(number)]
    for k, (circuit, _) in enumerate(made):
        circuit.name = f"mirror-{n} {k}"
    targets = [target for _, target in made]
    read = partial(read_mirror, n, targets, layers)
    return Block("mirror", f"mirror-{n} polarisation", n, tuple(circuit for circuit, _ in made), read)


def mirror_circuit(n: int, layers: int, seed: int) -> tuple[QuantumCircuit, str]:
    """A randomized mirror circuit with its measurements, and its only noise-free outcome.

    Random single-qubit Cliffords and a random matching of cx on the line 0, 1, ... n-1, `layers`/2 times; then the
    same layers undone in reverse, random Paulis before each, so that errors neither add up nor cancel.
    Barriers stand between layers: without them Qiskit's compiler merges the halves, and at its level 3, and often 2,
    none or few of the two-qubit gates are left (2.x, measured). Devices whose compilers cancel across barriers refuse
    these circuits.
    """
    from qiskit import ClassicalRegister, QuantumCircuit
    from qiskit.quantum_info import StabilizerState

    random = np.random.Generator(np.random.PCG64(seed))
    circuit = QuantumCircuit(n)
    done: list[QuantumCircuit] = []
    for index in range(layers // 2):
        layer = QuantumCircuit(n)
        for qubit in range(n):
            _append(layer, qubit, _CLIFFORD_WORDS[random.integers(len(_CLIFFORD_WORDS))])
            _append(layer, qubit, _PAULIS[random.integers(len(_PAULIS))])
        _append_matching(layer, index, random)
        circuit.compose(layer, inplace=True)
        circuit.barrier()
        done.append(layer)
    for layer in reversed(done):
        for qubit in range(n):
            _append(circuit, qubit, _PAULIS[random.integers(len(_PAULIS))])
        circuit.compose(layer.inverse(), inplace=True)
        circuit.barrier()
    (target,) = StabilizerState(circuit).probabilities_dict()
    circuit.add_register(ClassicalRegister(n, "c"))
    circuit.measure(range(n), range(n))
    return circuit, target


def _append_matching(layer: QuantumCircuit, index: int, random: np.random.Generator) -> None:
    """Append cx on every second edge of the line, each with probability 3/4 and in either direction, at least one."""
    edges = [(first, first + 1) for first in range(index % 2, layer.num_qubits - 1, 2)] or [(0, 1)]
    chosen = [edge for edge in edges if random.random() < 0.75] or [edges[random.integers(len(edges))]]
    for first, second in chosen:
        control, target = (first, second) if random.random() < 0.5 else (second, first)
        layer.cx(control, target)


def _append(circuit: QuantumCircuit, qubit: int, word: Sequence[str]) -> None:
    for name in word:
        getattr(circuit, name)(qubit)


def read_mirror(n: int, targets: Sequence[str], layers: int, counts: Sequence[Counts]) -> list[Reading]:
    """Mean polarisation over the circuits."""
    scale = 1 - 2.0**-n
    values, errors = [], []
    for target, found in zip(targets, counts, strict=True):
        share, error = proportion(found.get(target, 0), found.shots)
        values.append((share - 2.0**-n) / scale)
        errors.append(error / scale)
    value, error = mean_of(values, errors)
    note = f"{len(targets)} circuits of {layers} layers, worst {uncertain(*min(zip(values, errors, strict=True)))}"
    total = sum(found.shots for found in counts)
    chance = chance_of(value, error, MIRROR_THRESHOLD, len(values) - 1)
    return [Reading(f"mirror-{n} polarisation", value, error, total, n, MIRROR_THRESHOLD, note=note, chance=chance)]
