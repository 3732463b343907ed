"""Points of a sweep travel as one PUB, and come back as programs; on the paths of both primitives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import Operator, SparsePauliOp, Statevector

from qflows.programs import Program, to_program
from qflows.programs.observables import observable
from qflows.protocol import JobSpec, Provider, RawAnswer
from qflows.providers.ibm import compile as compiling
from qflows.providers.ibm import layout
from qflows.sandbox import Sandbox
from qflows.testing import counts_of, key_of, random_body, read_result, run, total_variation, variation_bound

PATHS: dict[str, Mapping[str, Any]] = {"server": {}, "executor": {"primitives": "executor"}}
A, B = Parameter("a"), Parameter("b")
POINTS = [(a, b) for a in (0.1, 1.2) for b in (0.0, 2.0, 3.0)]


def ansatz() -> QuantumCircuit:
    """Two angles in three places, a fixed angle, and no symmetry between qubits."""
    circuit = QuantumCircuit(2)
    circuit.ry(A, 0)
    circuit.cx(0, 1)
    circuit.rz(0.3, 1)
    circuit.rx(B, 1)
    circuit.ry(2 * A, 1)
    return circuit


def measured(circuit: QuantumCircuit) -> QuantumCircuit:
    made = QuantumCircuit(2, 2)
    made.compose(circuit, inplace=True)
    made.measure([0, 1], [1, 0])
    return made


def points(circuit: QuantumCircuit) -> tuple[Program, ...]:
    return tuple(to_program(circuit, {A: a, B: b}) for a, b in POINTS)


def sent(sandbox: Sandbox) -> list[Any]:
    """PUBs or items of the one job that was bought."""
    [job] = sandbox.admin.jobs("ibm")
    params = sandbox.admin.job(job["id"])["request"]["params"]
    return params["pubs"] if "pubs" in params else params["quantum_program"]["items"]


def exact_counts(a: float, b: float) -> dict[str, float]:
    state = Statevector(ansatz().assign_parameters({A: a, B: b}))
    return {key[::-1]: p for key, p in state.probabilities_dict().items()}  # qubit 0 is measured into bit 1


@pytest.mark.parametrize("path", PATHS)
def test_points_travel_as_one_pub_and_come_back_in_order(sandbox: Sandbox, provider: Provider, path: str) -> None:
    spec = JobSpec("ibm", "ibm_manila", points(measured(ansatz())), 4000, options=PATHS[path])
    items = run(provider, spec, key_of("points", path)).items
    assert len(sent(sandbox)) == 1
    assert len(items) == len(POINTS)
    for item, (a, b) in zip(items, POINTS, strict=True):
        exact = exact_counts(a, b)
        assert total_variation(counts_of(item).probabilities(), exact) < variation_bound(exact, 4000)
        assert item.memory is not None
        assert len(item.memory) == 4000
        assert "input float" in item.metadata["compiled"]["openqasm3"]


@pytest.mark.parametrize("path", PATHS)
def test_expectation_values_of_points_have_their_own_errors(sandbox: Sandbox, provider: Provider, path: str) -> None:
    wanted = (observable("ZI"), observable([("XX", 0.5), ("IZ", -1.0)]))
    spec = JobSpec(
        "ibm", "ibm_manila", points(ansatz()), 4000, observables=(wanted,) * len(POINTS), options=PATHS[path]
    )
    items = run(provider, spec, key_of("estimates", path)).items
    assert len(sent(sandbox)) == (1 if path == "server" else 2)  # the executor's readout calibration is an item
    for item, (a, b) in zip(items, POINTS, strict=True):
        state = Statevector(ansatz().assign_parameters({A: a, B: b}))
        exact = [state.expectation_value(SparsePauliOp(text)).real for text in ("ZI", "XX", "IZ")]
        assert item.expectations is not None
        for found, value in zip(item.expectations, (exact[0], 0.5 * exact[1] - exact[2]), strict=True):
            assert abs(found.value - value) <= 5 * found.std_error + 0.005
            assert 0 <= found.std_error < 0.05


def test_other_circuits_between_the_points_keep_their_places(sandbox: Sandbox, provider: Provider) -> None:
    flip = QuantumCircuit(2, 2)
    flip.x(0)
    flip.measure([0, 1], [0, 1])
    one, two, *_ = points(measured(ansatz()))
    spec = JobSpec("ibm", "ibm_manila", (one, to_program(flip), two, to_program(flip)), 500)
    items = run(provider, spec, key_of("mixed")).items
    assert len(sent(sandbox)) == 3
    assert [counts_of(items[i]) for i in (1, 3)] == [{"01": 500}] * 2
    for item, point in ((items[0], POINTS[0]), (items[2], POINTS[1])):
        exact = exact_counts(*point)
        assert total_variation(counts_of(item).probabilities(), exact) < variation_bound(exact, 500)


def test_angles_can_be_literal(sandbox: Sandbox, provider: Provider) -> None:
    spec = JobSpec("ibm", "ibm_manila", points(measured(ansatz())), 100, options={"literal_angles": True})
    assert len(run(provider, spec, key_of("literal")).items) == len(POINTS)
    assert len(sent(sandbox)) == len(POINTS)


def test_a_sweep_that_the_compiler_finds_without_effect_still_has_all_its_points(
    sandbox: Sandbox, provider: Provider
) -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.rz(A, 0)  # before a measurement: no effect on counts
    circuit.measure(0, 0)
    programs = tuple(to_program(circuit, {A: value}) for value in (0.1, 0.2, 0.3))
    items = run(provider, JobSpec("ibm", "ibm_manila", programs, 50), key_of("idle")).items
    assert [counts_of(item) for item in items] == [{"0": 50}] * 3


@pytest.mark.parametrize("path", PATHS)
def test_a_thousand_bits_of_a_point_and_two_registers_keep_their_places(provider: Provider, path: str) -> None:
    circuit = QuantumCircuit(3, 70)
    circuit.rx(A, 0)
    circuit.x(2)
    circuit.measure([0, 1, 2], [69, 5, 0])
    programs = tuple(to_program(circuit, {A: value}) for value in (0.0, np.pi))
    spec = JobSpec("ibm", "ibm_kingston", programs, 20, options=PATHS[path])
    low, high = run(provider, spec, key_of("wide points", path)).items
    assert counts_of(low) == {"0" * 69 + "1": 20}
    assert counts_of(high) == {"1" + "0" * 68 + "1": 20}


def test_equal_programs_are_not_one_sample(sandbox: Sandbox, provider: Provider) -> None:
    one = points(measured(ansatz()))[0]
    items = run(provider, JobSpec("ibm", "ibm_manila", (one, one), 500), key_of("equal")).items
    assert len(sent(sandbox)) == 2
    assert items[0].memory != items[1].memory


def test_angles_that_move_together_are_one_parameter() -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.ry(A, 0)
    circuit.ry(A, 1)
    circuit.rx(B, 0)
    circuit.rx(0.25, 1)
    circuit.measure([0, 1], [0, 1])
    programs = tuple(to_program(circuit, {A: a, B: b}) for a, b in POINTS)
    [sheet] = layout.sheets(JobSpec("ibm", "d", programs, 1))
    assert sheet.angles == (0, 0, 1, 0.25)
    assert sheet.values is not None
    assert sheet.values.tolist() == [list(point) for point in POINTS]


# -- the executor's own ----------------------------------------------------------------------------------------------


def test_twirled_shots_are_rounded_up_and_all_counted(sandbox: Sandbox, provider: Provider) -> None:
    options = {"primitives": "executor", "twirling": {"enable_measure": True, "enable_gates": True}}
    spec = JobSpec("ibm", "ibm_manila", points(measured(ansatz())), 2001, options=options)
    items = run(provider, spec, key_of("twirled")).items
    for item, (a, b) in zip(items, POINTS, strict=True):
        assert 2001 <= counts_of(item).shots < 2 * 2001
        exact = exact_counts(a, b)
        assert total_variation(counts_of(item).probabilities(), exact) < variation_bound(exact, 2001)


def test_another_process_reads_an_executors_result_and_its_circuits(
    sandbox: Sandbox, provider: Provider, connected_to: Any
) -> None:
    spec = JobSpec("ibm", "ibm_manila", points(measured(ansatz())), 100, options=PATHS["executor"])
    mine = run(provider, spec, key_of("far"))
    [job] = sandbox.admin.jobs("ibm")
    theirs = read_result(connected_to(sandbox.url), job["id"], spec, key_of("far"))
    assert [item.counts for item in theirs.items] == [item.counts for item in mine.items]
    gates = [result.items[0].metadata["compiled"]["gates"] for result in (mine, theirs)]
    assert gates[0] == gates[1]


@pytest.mark.parametrize("text", ['{"semantic_role": 1}', '{"semantic_role": "x", "schema_version": "v2.0"', "TORN"])
def test_an_executor_result_that_cannot_be_read_is_unreadable(provider: Any, text: str) -> None:
    from qflows.errors import Unreadable

    spec = JobSpec("ibm", "ibm_manila", points(measured(ansatz())), 100, options=PATHS["executor"])
    with pytest.raises(Unreadable):
        provider.decode(RawAnswer({"results": text.encode()}), spec, "k")


@pytest.mark.parametrize("seed", range(12))
def test_a_sheet_with_its_values_in_place_is_each_of_its_programs(seed: int) -> None:
    circuit, values = random_body(seed, 3, steps=25)
    rng = np.random.default_rng(seed)
    rows = [values, *(rng.uniform(-4, 4, (2, len(values))).tolist())]
    programs = tuple(to_program(circuit, row) for row in rows)
    found = layout.sheets(JobSpec("ibm", "d", programs, 1))
    assert sorted(index for sheet in found for index in sheet.indices) == [0, 1, 2]
    for sheet in found:
        made = compiling.opened(sheet)
        for row, index in enumerate(sheet.indices):
            if sheet.values is not None:
                given = {p: sheet.values[row, int(p.name.removeprefix("theta_"))] for p in made.parameters}
            bound = made.assign_parameters(given) if sheet.values is not None else made
            assert Operator(bound).equiv(Operator(programs[index].circuit()))
