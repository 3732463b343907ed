"""Angles travel as OpenQASM inputs: one text for all points of a sweep, one program for all points in a set."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from braket_devices import CEPHEUS, FORTE, GARNET, SV1, described
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from qflows.errors import Unreadable
from qflows.programs import Program, to_program
from qflows.protocol import JobSpec
from qflows.providers.braket import circuits, results
from qflows.providers.braket.adapter import BraketProvider
from qflows.providers.braket.devices import Device
from qflows.sandbox import Sandbox
from qflows.testing import distribution, key_of, random_measured, run, total_variation, variation_bound

# what compiles rx, cp and u away, so that inputs are expressions of the angles
FEW_GATES = Device.read(described(GARNET, "h", "rz", "v", "x", "cnot"))
ALL_GATES = Device.read(described(GARNET, native=("rx", "prx")))


def rotated(angle: float, qubit: int = 0) -> Program:
    """Qubit 0 or 1 flipped with probability sin(angle / 2)**2."""
    circuit = QuantumCircuit(2, 2)
    circuit.rx(Parameter("a"), qubit)
    circuit.measure([0, 1], [0, 1])
    return to_program(circuit, [angle])


def flipped() -> Program:
    """A program without angles."""
    circuit = QuantumCircuit(2, 2)
    circuit.x(1)
    circuit.measure([0, 1], [0, 1])
    return to_program(circuit)


def spec(*programs: Program, device: str = SV1, shots: int = 100, **options: Any) -> JobSpec:
    return JobSpec("braket", device, programs, shots, options=options)


def actions(sandbox: Sandbox) -> list[dict[str, Any]]:
    """What was bought, oldest first."""
    jobs = sorted(sandbox.admin.jobs("braket"), key=lambda job: job["seq"])
    return [json.loads(sandbox.admin.job(job["id"])["request"]["action"]) for job in jobs]


@pytest.mark.parametrize("device", [SV1, FORTE, CEPHEUS, GARNET], ids=lambda arn: arn.rsplit("/", 1)[1])
def test_points_of_a_sweep_share_one_text_and_differ_in_inputs(
    provider: BraketProvider, sandbox: Sandbox, device: str
) -> None:
    for turns in (0, 1, 2):
        result = run(provider, spec(rotated(turns * math.pi), device=device), key_of("point", device, turns))
        assert result.items[0].counts == {"01" if turns % 2 else "00": 100}
    sent = actions(sandbox)
    assert len({action["source"] for action in sent}) == 1
    assert "input float theta_0;" in sent[0]["source"]
    assert [action["inputs"] for action in sent] == [{"theta_0": turns * math.pi} for turns in (0, 1, 2)]


def test_programs_of_a_set_that_differ_in_angles_are_one_program_with_lists(
    provider: BraketProvider, sandbox: Sandbox
) -> None:
    programs = [rotated(math.pi), flipped(), rotated(0.0), rotated(math.pi, 1), flipped(), rotated(math.pi)]
    result = run(provider, spec(*programs, device=GARNET, shots=7), key_of("lists"))
    assert [item.counts for item in result.items] == [{key: 7} for key in ("01", "10", "00", "10", "10", "01")]
    (action,) = actions(sandbox)
    assert [member["inputs"] for member in action["programs"]] == [
        {"theta_0": [math.pi, 0.0, math.pi]},
        {},
        {"theta_0": [math.pi]},
        {},
    ]
    assert sandbox.admin.jobs("braket")[0]["facts"]["shots"] == 42


def test_failed_point_of_a_sweep_is_an_error_at_its_own_place(provider: BraketProvider, sandbox: Sandbox) -> None:
    programs = [rotated(0.0), flipped(), rotated(math.pi), rotated(0.0, 1)]
    # executables in the order of the set: both points of the first shape, then the others
    sandbox.admin.fault("fail_job", "braket.submit", message="ion lost", children=[1])
    items = run(provider, spec(*programs, device=GARNET, shots=5), key_of("hole")).items
    assert [item.counts for item in items] == [{"00": 5}, {"10": 5}, None, {"00": 5}]
    assert items[2].error is not None
    assert items[2].error.message == "ion lost"


@pytest.mark.parametrize("device", [ALL_GATES, FEW_GATES], ids=["all gates", "few gates"])
def test_set_runs_on_braket_s_own_simulator_as_the_state_vector_says(device: Device) -> None:
    simulator = pytest.importorskip("braket.default_simulator")
    schema = pytest.importorskip("braket.ir.openqasm.program_set_v1")
    shots = 2000
    for seed in range(6):
        circuit, values, _ = random_measured(seed, 4)
        points = [np.random.default_rng([seed, k]).uniform(-7, 7, len(values)).tolist() for k in range(3)]
        programs = [to_program(circuit, point) for point in points]
        wanted = spec(*programs, device=GARNET, shots=shots)
        action = schema.ProgramSet.parse_raw(json.dumps(circuits.action(wanted, device)))
        assert action.num_executables == len(programs)
        assert action.num_programs == (1 if any("input" in member.source for member in action.programs) else 3)
        answer = simulator.StateVectorSimulator().run(action, shots=shots * len(programs))
        found = results.items(wanted, json.loads(answer.json()))
        for point, item in zip(points, found, strict=True):
            exact = _exact(circuit, point)
            assert item.counts is not None
            assert total_variation(item.counts.probabilities(), exact) < variation_bound(exact, shots)


def _exact(circuit: QuantumCircuit, point: list[float]) -> dict[str, float]:
    """By qiskit alone."""
    bound = circuit.assign_parameters(point) if point else circuit
    bare = bound.copy_empty_like()
    qubit_of: dict[int, int] = {}
    for step in bound.data:
        if step.operation.name == "measure":
            qubit_of[circuit.find_bit(step.clbits[0]).index] = circuit.find_bit(step.qubits[0]).index
        else:
            bare.append(step)
    return distribution(bare, qubit_of)


def test_compiled_sweep_has_one_text_for_all_points() -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.u(Parameter("a"), 0.25, Parameter("b"), 0)
    circuit.cp(Parameter("c"), 0, 1)
    circuit.measure([0, 1], [0, 1])
    # zero and pi are where a compiler that knew the values would leave gates out
    points = [to_program(circuit, point) for point in ([0.0, 0.0, 0.0], [math.pi, 0.0, math.pi], [0.3, 0.5, 0.7])]
    texts = {circuits.source_of(program, spec(program), FEW_GATES)[0] for program in points}
    assert len(texts) == 1


@pytest.mark.parametrize("option", ["literal_angles", "verbatim"])
def test_angles_are_in_the_text_where_inputs_are_not_wanted(option: str) -> None:
    programs = (rotated(0.5), rotated(0.25))
    action = circuits.action(spec(*programs, device=GARNET, **{option: True}), ALL_GATES)
    assert [member["inputs"] for member in action["programs"]] == [{}, {}]
    assert ["rx(0.5)" in action["programs"][0]["source"], "rx(0.25)" in action["programs"][1]["source"]] == [True] * 2


def test_result_of_another_arrangement_is_unreadable() -> None:
    wanted = spec(rotated(0.0), rotated(1.0), device=GARNET, shots=1)
    row = {"measurements": [[0, 0]], "measuredQubits": [0, 1]}

    def document(*places: int) -> dict[str, Any]:
        return {"programResults": [{"executableResults": [row | {"inputsIndex": place} for place in places]}]}

    assert len(results.items(wanted, document(1, 0))) == 2
    for wrong in (document(0), document(0, 0), document(0, 2), {"programResults": []}):
        with pytest.raises(Unreadable):
            results.items(wanted, wrong)
