"""From what a device says to counts keys: asymmetric probes, partial and permuted measurements, several registers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qflows.errors import Unreadable
from qflows.programs import Program
from qflows.programs.readout import check_total, merge, readout, sample


def program(
    n_qubits: int, n_clbits: int, registers: list[tuple[str, list[int]]], *measured: tuple[int, int]
) -> Program:
    """A program that only measures: `measured` holds (qubit, clbit)."""
    body: dict[str, Any] = {
        "schema": "qflows.program/1",
        "qubits": n_qubits,
        "clbits": n_clbits,
        "registers": [[name, bits] for name, bits in registers],
        "phase": 0.0,
        "ops": [["measure", [], [qubit], [clbit]] for qubit, clbit in measured],
    }
    return Program.from_text(json.dumps(body, separators=(",", ":")))


def test_qubit_zero_is_rightmost() -> None:
    layout = readout(program(3, 3, [("c", [0, 1, 2])], (0, 0), (1, 1), (2, 2)))
    assert layout.from_qubits(0b001) == "001"
    assert layout.from_qubits(0b100) == "100"


def test_permuted_measurement_follows_the_classical_bits() -> None:
    layout = readout(program(3, 3, [("c", [0, 1, 2])], (2, 0), (0, 1), (1, 2)))
    assert layout.from_qubits(0b001) == "010"
    assert layout.from_qubits(0b100) == "001"


def test_first_register_is_rightmost_and_registers_are_a_space_apart() -> None:
    layout = readout(program(3, 3, [("a", [0]), ("b", [1, 2])], (0, 0), (1, 1), (2, 2)))
    assert layout.from_qubits(0b001) == "00 1"
    assert layout.from_qubits(0b010) == "01 0"


def test_register_that_lists_its_bits_backwards_is_read_its_way() -> None:
    layout = readout(program(2, 2, [("c", [1, 0])], (0, 0), (1, 1)))
    assert layout.from_qubits(0b01) == "10"


def test_unmeasured_qubit_does_not_appear_and_unwritten_bit_reads_zero() -> None:
    layout = readout(program(3, 4, [("c", [0, 1, 2, 3])], (2, 3)))
    assert layout.from_qubits(0b011) == "0000"
    assert layout.from_qubits(0b100) == "1000"


def test_bits_of_no_register_come_leftmost() -> None:
    layout = readout(program(2, 2, [("c", [1])], (0, 0), (1, 1)))
    assert layout.from_qubits(0b01) == "1 0"
    assert layout.from_qubits(0b10) == "0 1"


def test_outcome_text_is_read_in_the_order_of_the_measured_bits() -> None:
    layout = readout(program(3, 3, [("c", [0, 1, 2])], (2, 0), (0, 2)))
    assert layout.from_measured("10") == "001"
    assert layout.from_measured("01") == "100"
    with pytest.raises(Unreadable, match="3 bits where 2"):
        layout.from_measured("010")


@given(st.integers(1, 6).flatmap(lambda n: st.tuples(st.permutations(range(n)), st.integers(0, 2**n - 1))))
def test_any_permutation_puts_every_qubit_where_its_bit_is(case: tuple[list[int], int]) -> None:
    order, state = case
    n = len(order)
    layout = readout(program(n, n, [("c", list(range(n)))], *enumerate(order)))
    key = layout.from_qubits(state)[::-1]
    assert [key[order[qubit]] for qubit in range(n)] == [str(state >> qubit & 1) for qubit in range(n)]


def test_outcomes_that_share_a_key_are_added() -> None:
    layout = readout(program(2, 1, [("c", [0])], (1, 0)))
    assert merge({0b00: 1, 0b01: 2, 0b10: 4, 0b11: 8}, layout.from_qubits) == {"0": 3, "1": 12}


@settings(deadline=None)  # the first call imports numpy
@given(st.dictionaries(st.text("01", min_size=3, max_size=3), st.floats(1e-6, 1), min_size=1), st.integers(1, 500))
def test_sampling_gives_every_shot_and_repeats_with_its_seed(weights: dict[str, float], shots: int) -> None:
    counts, memory = sample(weights, shots, 7)
    assert counts.shots == shots == len(memory)
    assert counts == {key: memory.count(key) for key in set(memory)}
    assert (counts, memory) == sample(dict(reversed(weights.items())), shots, 7)


def test_sampling_never_draws_what_cannot_happen() -> None:
    counts, _ = sample({"0": 0.0, "1": 1.0, "2": -1e-18}, 1000, 3)
    assert counts == {"1": 1000}


def test_sampling_follows_the_weights() -> None:
    counts, _ = sample({"0": 0.25, "1": 0.75}, 40_000, 11)
    assert abs(counts["1"] - 30_000) < 5 * (40_000 * 0.25 * 0.75) ** 0.5


def test_histogram_that_misses_shots_is_refused() -> None:
    check_total({"0": 60, "1": 40}, 100, "acme")
    check_total({"0": 60}, None, "acme")
    with pytest.raises(Unreadable, match="acme returned 99"):
        check_total({"0": 99}, 100, "acme")
