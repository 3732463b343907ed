"""What mitigation is made of, against what is known exactly: unitaries, polynomials, confusion matrices."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.quantum_info import Operator

from qflows.core.mitigation import read, readout
from qflows.core.mitigation.circuits import calibrations, folded, twirled
from qflows.core.mitigation.extrapolation import extrapolate
from qflows.errors import ProgramRejected, QflowsError
from qflows.programs import Program, to_program


def mixed() -> Program:
    circuit = QuantumCircuit(3)
    circuit.u(0.3, 0.2, 0.1, 0)
    circuit.sx(1)
    circuit.s(2)
    circuit.ecr(0, 1)
    circuit.rzz(0.4, 1, 2)
    circuit.cz(1, 2)
    circuit.iswap(0, 2)
    circuit.ccx(0, 1, 2)
    circuit.t(0)
    circuit.dcx(2, 0)
    circuit.cx(1, 0)
    return to_program(circuit)


def unitary(program: Program) -> Operator:
    return Operator(program.circuit())


@pytest.mark.parametrize("factor", [1, 3, 5])
def test_folding_does_the_same_with_more_gates(factor: int) -> None:
    program = mixed()
    more = folded(program, factor)
    assert unitary(more).equiv(unitary(program))
    assert [more.gate_counts()[name] for name in ("ecr", "cz", "ccx")] == [factor] * 3
    assert more.gate_counts().get("barrier", 0) == factor - 1
    assert Program.from_text(more.text).digest == more.digest


def test_measurements_stay_at_the_end_when_a_circuit_is_folded() -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.measure([0, 1], [1, 0])
    more = folded(to_program(circuit), 3)
    assert [op[0] for op in more.ops()] == ["h", "barrier", "h", "barrier", "h", "measure", "measure"]
    assert more.measured == ((1, 0), (0, 1))


def test_twirls_do_the_same_and_follow_from_their_seed() -> None:
    program = mixed()
    made = [twirled(program, str(seed)) for seed in range(20)]
    assert all(unitary(one).equiv(unitary(program)) for one in made)
    assert len({one.digest for one in made}) > 15
    assert [twirled(program, str(seed)).digest for seed in range(20)] == [one.digest for one in made]


@pytest.mark.parametrize(("method", "degree"), [("richardson", 2), ("linear", 1)])
def test_polynomials_are_extrapolated_exactly(method: str, degree: int) -> None:
    coefficients = [0.8, -0.11, 0.02][: degree + 1]
    values = [sum(c * x**k for k, c in enumerate(coefficients)) for x in (1, 3, 5)]
    found = extrapolate(method, (1, 3, 5), values, [0.01] * 3)
    assert found.value == pytest.approx(0.8)
    spread = [method, *found.slopes]
    assert spread[1:] == pytest.approx([1.875, -1.25, 0.375] if method == "richardson" else [13 / 12, 1 / 3, -5 / 12])


@pytest.mark.parametrize("sign", [1, -1])
def test_an_exponential_is_extrapolated_exactly_with_its_slopes(sign: int) -> None:
    values = np.array([sign * 0.7 * np.exp(-0.13 * x) for x in (1, 3, 5)])
    errors = [0.01, 0.02, 0.01]
    found = extrapolate("exponential", (1, 3, 5), values.tolist(), errors)
    assert found.value == pytest.approx(sign * 0.7)
    assert found.method == "exponential"
    for place in range(3):
        moved = values.copy()
        moved[place] += 1e-6
        other = extrapolate("exponential", (1, 3, 5), moved.tolist(), errors).value
        assert (other - found.value) / 1e-6 == pytest.approx(found.slopes[place], rel=1e-2, abs=1e-3)


def test_values_that_may_be_zero_are_no_exponential() -> None:
    found = extrapolate("exponential", (1, 3), [0.02, -0.01], [0.01, 0.01])
    assert found.method.startswith("linear")
    assert found.value == pytest.approx(0.035)


def test_readout_errors_are_taken_back_exactly() -> None:
    chances = np.array([[0.03, 0.08], [0.01, 0.2]])
    true = {"00": 0.1, "01": 0.2, "10": 0.3, "11": 0.4}
    seen = dict.fromkeys(true, 0.0)
    for was, reads in itertools.product(true, true):
        chance = 1.0
        for qubit in range(2):
            error = chances[qubit][int(was[1 - qubit])]
            chance *= error if was[1 - qubit] != reads[1 - qubit] else 1 - error
        seen[reads] += true[was] * chance
    counts = {key: round(value * 10**9) for key, value in seen.items()}
    assert readout.quasi_distribution(counts, chances) == pytest.approx(true, abs=1e-8)
    table = readout.weights(chances)
    mean = sum(p * table[0][int(key[1])] * table[1][int(key[0])] for key, p in seen.items())
    assert mean == pytest.approx(0.1 - 0.2 - 0.3 + 0.4)


def test_readout_no_better_than_chance_is_refused() -> None:
    with pytest.raises(QflowsError, match="qubit 1 of the calibration is misread in 50% and 50%"):
        readout.measured({"00": 50, "10": 50}, {"11": 50, "01": 50}, 2)
    found = readout.measured({"00": 100}, {"11": 100}, 2)
    assert not found.chances.any()
    assert found.variances.all()  # no error seen is not no error known


def test_calibrations_prepare_all_zeros_and_all_ones() -> None:
    zeros, ones = calibrations((2, 5), 2)
    assert (zeros.labels, zeros.gate_counts(), ones.gate_counts()) == ((2, 5), {"measure": 2}, {"measure": 2, "x": 2})


def test_requests_say_what_is_wrong_with_them() -> None:
    assert read(("zne", "readout")).asked == ("readout", "zne")
    assert read({"zne": {"factors": [1, 5]}}).zne.factors == (1, 5)
    for wrong, match in [
        ("pec", "unknown technique 'pec'; choose from readout, zne, twirling, dd"),
        ({"zne": {"factors": [1, 2]}}, "odd factors"),
        ({"zne": {"factors": [1]}}, "two or more different factors"),
        ({"zne": {"extrapolation": "cubic"}}, "zne.extrapolation"),
        ({"twirling": {"randomizations": 1}}, "greater than or equal to 2"),
    ]:
        with pytest.raises(ProgramRejected, match=match):
            read(wrong)
