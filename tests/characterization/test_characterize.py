"""Circuits with known answers, and what counts say of a device: against exact states, and against drawn shots."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.quantum_info import DensityMatrix, Operator, random_density_matrix
from qiskit.transpiler import CouplingMap

from qflows.characterization.characterize import (
    MIRROR_THRESHOLD,
    Block,
    Reading,
    mirror_circuit,
    proportion,
    read_bit_order,
    read_ghz,
    read_mirror,
    read_readout,
    suite,
)
from qflows.errors import ProgramRejected
from qflows.model import Counts
from qflows.programs import to_program
from qflows.protocol import JobSpec
from qflows.providers.local.adapter import LocalProvider
from qflows.testing import read_result

SHOTS = 1000
MANY = 10**8  # so that rounding probabilities to counts does not matter
BLOCKS = suite(7)
PROBES = [block for block in BLOCKS if block.family == "bit order"]


def block(metric: str) -> Block:
    return next(one for one in BLOCKS if one.metric == metric)


def without_noise(circuit: QuantumCircuit, shots: int) -> Counts:
    """Counts in the exact proportions of the ideal state."""
    spec = JobSpec("local", "exact", (to_program(circuit),), None)
    found = read_result(LocalProvider(), "exact", spec, "0" * 64).items[0].probabilities
    assert found is not None
    return Counts({key: round(value * shots) for key, value in found.items()})


def headline(readings: list[Reading]) -> Reading:
    (one,) = [reading for reading in readings if reading.is_headline]
    return one


# -- the whole suite


@pytest.mark.parametrize("one", BLOCKS, ids=lambda one: one.metric)
def test_device_without_errors_reads_the_ideal_value(one: Block) -> None:
    found = headline(one.read([without_noise(circuit, MANY) for circuit in one.circuits]))
    assert found.metric == one.metric
    assert found.value == pytest.approx(0.0 if one.family == "readout" else 1.0, abs=1e-7)
    assert 0 < found.std_error < 1e-4
    assert found.passed is (None if one.family == "readout" else True)
    assert found.shots == pytest.approx(MANY * len(one.circuits))


def test_equal_seeds_make_equal_circuits_and_others_do_not() -> None:
    def digests(seed: int) -> list[str]:
        return [to_program(circuit).digest for one in suite(seed) for circuit in one.circuits]

    assert digests(7) == digests(7)
    differing = [one != other for one, other in zip(digests(7), digests(8), strict=True)]
    assert sum(differing) == 8  # the mirror circuits; nothing else is random


def test_mirror_circuits_do_not_depend_on_what_else_is_measured() -> None:
    alone = next(one for one in suite(7, sizes=(5,), mirror_circuits=2) if one.family == "mirror")
    both = block("mirror-5 polarisation")
    assert [to_program(c).digest for c in alone.circuits] == [to_program(c).digest for c in both.circuits[:2]]


def test_readout_is_as_wide_as_the_device_allows() -> None:
    widths = {one.metric: one.n for one in suite(1, max_qubits=3)}
    assert widths["readout error"] == 3
    assert widths["ghz-5 fidelity"] == 5  # stays in the list, so that somebody says it was left out


@pytest.mark.parametrize(
    "numbers", [{"sizes": ()}, {"sizes": (1,)}, {"sizes": (3, 3)}, {"mirror_layers": 3}, {"mirror_circuits": 1}]
)
def test_numbers_that_make_no_suite_are_rejected(numbers: dict) -> None:
    with pytest.raises(ProgramRejected):
        suite(1, **numbers)


# -- statistics


def test_standard_error_of_a_share_is_never_zero() -> None:
    assert proportion(0, 1000)[1] == pytest.approx(math.sqrt(0.5) * 1e-3, rel=0.01)
    assert proportion(1000, 1000)[1] == pytest.approx(math.sqrt(0.5) * 1e-3, rel=0.01)
    assert proportion(500, 1000)[1] == pytest.approx(math.sqrt(0.25 / 1000), rel=0.01)


def noisy_ghz(n: int, rate: float) -> Callable[[np.random.Generator], Reading]:
    ideal = [without_noise(circuit, MANY) for circuit in block(f"ghz-{n} fidelity").circuits]
    keys = [f"{i:0{n}b}" for i in range(2**n)]
    weights = [np.array([(1 - rate) * counts.get(key, 0) / MANY + rate / 2**n for key in keys]) for counts in ideal]

    def once(random: np.random.Generator) -> Reading:
        return headline(read_ghz(n, [drawn(random, keys, one) for one in weights]))

    return once


def drawn(random: np.random.Generator, keys: list[str], weights: np.ndarray) -> Counts:
    numbers = random.multinomial(SHOTS, weights / weights.sum())
    return Counts({key: int(k) for key, k in zip(keys, numbers, strict=True) if k})


def noisy_readout(n: int, rate: float) -> Callable[[np.random.Generator], Reading]:
    def once(random: np.random.Generator) -> Reading:
        both = []
        for bit in (0, 1):
            shots = random.random((SHOTS, n)) < rate
            words = ["".join(str(bit ^ int(flip)) for flip in shot) for shot in shots]
            both.append(Counts(Counter(words)))
        return headline(read_readout(n, both))

    return once


def noisy_mirror(n: int, rate: float) -> Callable[[np.random.Generator], Reading]:
    targets = ["0" * n] * 4
    keys = [f"{i:0{n}b}" for i in range(2**n)]
    weights = np.full(2**n, rate / 2**n)
    weights[0] += 1 - rate

    def once(random: np.random.Generator) -> Reading:
        return headline(read_mirror(n, targets, 8, [drawn(random, keys, weights) for _ in targets]))

    return once


@pytest.mark.parametrize(
    ("once", "truth"),
    [
        (noisy_ghz(3, 0.2), 0.8 + 0.2 / 8),
        (noisy_ghz(5, 0.4), 0.6 + 0.4 / 32),
        (noisy_readout(3, 0.03), 0.03),
        (noisy_mirror(3, 0.3), 0.7),
    ],
    ids=["ghz-3", "ghz-5", "readout", "mirror"],
)
def test_values_scatter_about_the_truth_by_their_standard_error(once: Callable, truth: float) -> None:
    random = np.random.Generator(np.random.PCG64(1))
    found = [once(random) for _ in range(200)]
    values, errors = [one.value for one in found], [one.std_error for one in found]
    assert np.mean(values) == pytest.approx(truth, abs=4 * np.std(values) / math.sqrt(len(values)))
    assert np.std(values) == pytest.approx(np.mean(errors), rel=0.25)


# -- bit order


def keys_moved(counts: Counts, order: tuple[int, ...]) -> Counts:
    """What a device reads that puts bit `order[i]` where bit i belongs; registers keep their lengths."""
    moved: Counts = Counts()
    for key, times in counts.items():
        flat = key.replace(" ", "")[::-1]
        mixed = iter("".join(flat[i] for i in order)[::-1])
        moved["".join(letter if letter == " " else next(mixed) for letter in key)] = times
    return moved


def test_reversed_bits_fail_every_probe_that_reversal_changes() -> None:
    for probe in PROBES:
        ideal = without_noise(probe.circuits[0], SHOTS)
        found = headline(probe.read([keys_moved(ideal, tuple(reversed(range(probe.circuits[0].num_clbits))))]))
        symmetric = probe.metric == "bit order permuted"  # 010; the others are there for that
        assert found.passed is symmetric
        if not symmetric:
            assert found.value == 0.0
            assert "was prepared" in found.note


@pytest.mark.parametrize("order", [order for order in permutations(range(3)) if order != (0, 1, 2)])
def test_no_permutation_of_three_bits_passes_all_probes(order: tuple[int, ...]) -> None:
    three = [probe for probe in PROBES if probe.circuits[0].num_clbits == 3]
    verdicts = [headline(p.read([keys_moved(without_noise(p.circuits[0], SHOTS), order)])).passed for p in three]
    assert False in verdicts


def test_inverse_of_a_cyclic_permutation_fails_the_permuted_probe() -> None:
    circuit = QuantumCircuit(3, 3)
    circuit.x(0)
    circuit.measure([1, 2, 0], [0, 1, 2])  # what a device does that inverts 0->1, 1->2, 2->0
    found = headline(block("bit order permuted").read([without_noise(circuit, SHOTS)]))
    assert (found.passed, found.value) == (False, 0.0)
    assert "read 100 where 010" in found.note


def test_probe_with_noise_passes_while_the_right_key_is_the_majority() -> None:
    def verdict(right: int) -> bool | None:
        return headline(read_bit_order("m", 2, "01", [Counts({"01": right, "00": SHOTS - right})])).passed

    assert (verdict(850), verdict(510), verdict(400)) == (True, False, False)  # 510 of 1000 is no proof of one half


# -- readout


def test_readout_errors_are_those_of_the_right_qubit_and_direction() -> None:
    zeros, ones = Counts({"000": 900, "001": 100}), Counts({"111": 950, "011": 50})
    found = {one.metric: one.value for one in read_readout(3, [zeros, ones])}
    assert found["readout p(1|0) q0"] == 0.1
    assert found["readout p(0|1) q2"] == 0.05
    assert sum(value for metric, value in found.items() if metric != "readout error") == pytest.approx(0.15)
    assert found["readout error"] == pytest.approx(0.15 / 6)


def test_errors_that_come_together_widen_the_mean() -> None:
    together = [Counts({"000": 900, "111": 100}), Counts({"111": 900, "000": 100})]
    apart = noisy_readout(3, 0.1)(np.random.Generator(np.random.PCG64(3)))
    assert headline(read_readout(3, together)).std_error == pytest.approx(math.sqrt(3) * apart.std_error, rel=0.15)


# -- GHZ


def counts_of(state: DensityMatrix, circuit: QuantumCircuit) -> Counts:
    """Counts of a state that goes through what `circuit` does after preparing its own."""
    n = circuit.num_qubits
    rotation = QuantumCircuit(n)
    for step in circuit.data[n:]:  # h and n - 1 cx prepare
        if step.operation.name != "measure":
            rotation.append(step.operation, [circuit.find_bit(q).index for q in step.qubits])
    found = state.evolve(Operator(rotation)).probabilities_dict()
    return Counts({key: round(value * MANY) for key, value in found.items()})


@pytest.mark.parametrize("n", [3, 5])
@pytest.mark.parametrize("seed", [1, 2])
def test_fidelity_of_any_state_is_exact_up_to_shots(n: int, seed: int) -> None:
    state = random_density_matrix([2] * n, rank=2, seed=seed)
    ideal = np.zeros(2**n)
    ideal[0] = ideal[-1] = 1 / math.sqrt(2)
    truth = float(np.real(ideal @ state.data @ ideal))
    found = read_ghz(n, [counts_of(state, circuit) for circuit in block(f"ghz-{n} fidelity").circuits])
    assert headline(found).value == pytest.approx(truth, abs=1e-6)


def rotated_ghz(n: int, phase: float, contrast: float = 1.0) -> DensityMatrix:
    rho = np.zeros((2**n, 2**n), dtype=complex)
    rho[0, 0] = rho[-1, -1] = 0.5
    rho[-1, 0] = 0.5 * contrast * np.exp(1j * phase)
    rho[0, -1] = rho[-1, 0].conj()
    return DensityMatrix(rho, dims=(2,) * n)


def test_phase_lowers_the_fidelity_and_is_told_beside_the_amplitude() -> None:
    found = read_ghz(3, [counts_of(rotated_ghz(3, 0.8, 0.9), c) for c in block("ghz-3 fidelity").circuits])
    assert headline(found).value == pytest.approx((1 + 0.9 * math.cos(0.8)) / 2, abs=1e-6)
    assert re.fullmatch(
        r"parity amplitude 0\.9000\d\d ± 0\.0000\d\d, phase \+0\.800\d+ ± 0\.0000\d\d rad", found[-1].note
    )


@pytest.fixture(scope="module")
def dephased() -> list[np.ndarray]:
    """Weights of every setting for an equal mixture of all zeros and all ones: no entanglement, F = 1/2."""
    exact = [counts_of(rotated_ghz(5, 0.0, 0.0), c) for c in block("ghz-5 fidelity").circuits]
    return [np.array([counts.get(f"{i:05b}", 0) for i in range(32)], dtype=float) for counts in exact]


def test_dephased_state_is_hardly_ever_called_entangled(dephased: list[np.ndarray]) -> None:
    random = np.random.Generator(np.random.PCG64(5))
    keys = [f"{i:05b}" for i in range(32)]
    passed = [headline(read_ghz(5, [drawn(random, keys, one) for one in dephased])).passed for _ in range(300)]
    assert sum(bool(one) for one in passed) / len(passed) < 0.05  # 2.3 % expected


# -- mirror circuits


@pytest.mark.parametrize("n", [2, 3, 4, 6])
def test_mirror_circuit_has_one_outcome_and_knows_it(n: int) -> None:
    for seed in range(5):
        circuit, target = mirror_circuit(n, 6, seed)
        assert without_noise(circuit, SHOTS) == {target: SHOTS}


def test_targets_of_mirror_circuits_tell_bit_orders_apart() -> None:
    targets = {mirror_circuit(5, 8, seed)[1] for seed in range(20)}
    assert any(target != target[::-1] for target in targets)
    assert len(targets) > 10


@pytest.mark.parametrize("level", [1, 2, 3])
def test_compiler_leaves_the_two_halves_of_a_mirror_circuit_alone(level: int) -> None:
    for one in (block("mirror-3 polarisation"), block("mirror-5 polarisation")):
        for circuit in one.circuits[:2]:
            sent = to_program(circuit)
            ran = transpile(
                sent.circuit(),
                basis_gates=["rz", "sx", "x", "cz"],
                coupling_map=CouplingMap.from_line(5),
                optimization_level=level,
                seed_transpiler=1,
            )
            assert ran.count_ops()["cz"] >= sent.n_two_qubit > 7


def test_polarisation_is_zero_for_noise_and_fails() -> None:
    uniform = Counts({f"{i:03b}": 125 for i in range(8)})
    found = headline(read_mirror(3, ["101", "010"], 8, [uniform, uniform]))
    assert found.value == pytest.approx(0.0)
    assert found.passed is False
    assert found.threshold == MIRROR_THRESHOLD == pytest.approx(0.36788, abs=1e-5)


def test_circuits_that_differ_widen_the_mean_polarisation() -> None:
    good, bad = Counts({"11": 1000}), Counts({"11": 400, "00": 600})
    alike = headline(read_mirror(2, ["11", "11"], 8, [good, good]))
    unlike = headline(read_mirror(2, ["11", "11"], 8, [good, bad]))
    assert alike.std_error < 0.002
    assert unlike.std_error == pytest.approx((1 - 0.4) / (1 - 0.25) / 2, rel=1e-6)
