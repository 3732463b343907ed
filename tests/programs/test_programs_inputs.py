"""What users pass and what is refused before anything is sent: values, text forms, device limits."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Gate, Instruction, Parameter, ParameterVector
from qiskit.circuit.library import UnitaryGate

from qflows.errors import ProgramRejected, QflowsError
from qflows.model import Counts
from qflows.programs import Program, check_program, to_program


def ansatz() -> QuantumCircuit:
    theta, phi = Parameter("theta"), Parameter("phi")
    circuit = QuantumCircuit(2, name="ansatz")
    circuit.ry(theta, 0)
    circuit.rz(phi + theta, 1)
    circuit.measure_all()
    return circuit


def bell() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2, name="bell")
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [0, 1])
    return circuit


def check(program: Any, **changes: Any) -> None:
    limits: dict[str, Any] = {
        "max_qubits": 2,
        "gates": frozenset({"h", "cx"}),
        "max_bytes": 10_000,
        "allow_mid_circuit": False,
        "device": "toy",
    }
    check_program(program if isinstance(program, Program) else to_program(program), **{**limits, **changes})


@pytest.mark.parametrize(
    "values",
    [
        [0.2, 0.1],  # circuit.parameters sorts by name: phi, theta
        np.array([0.2, 0.1]),
        {"theta": 0.1, "phi": 0.2},
    ],
)
def test_values_in_any_form_give_the_circuit_with_these_numbers(values: Any) -> None:
    plain = QuantumCircuit(2)
    plain.ry(0.1, 0)
    plain.rz(0.2 + 0.1, 1)
    plain.measure_all()
    assert to_program((ansatz(), values)) == to_program(ansatz(), values) == to_program(plain)


def test_values_by_parameter_object_and_by_vector() -> None:
    theta = ParameterVector("t", 3)
    circuit = QuantumCircuit(1)
    for angle in theta:
        circuit.rx(angle, 0)
    by_vector = to_program((circuit, {theta: [1, 2, 3]}))
    assert (
        by_vector == to_program((circuit, dict(zip(theta, [1, 2, 3], strict=True)))) == to_program((circuit, [1, 2, 3]))
    )
    assert [step.params for step in by_vector.instructions] == [(1.0,), (2.0,), (3.0,)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, r"unbound parameters: phi, theta; pass \(circuit, values\)"),
        ([1.0], r"1 values for 2 parameters \(phi, theta\)"),
        ([[1.0, 2.0]], "flat sequence"),
        (0.5, "flat sequence"),
        ([1.0, "x"], "flat sequence"),
        ([1.0, 1j], "flat sequence"),
        ({"theta": 1.0}, "missing: phi, unknown: none"),
        ({"theta": 1.0, "phi": 1.0, "chi": 1.0}, "missing: none, unknown: chi"),
        ({"theta": 1.0, "phi": None}, "real numbers"),
        ({3: 1.0}, "must map"),
        ([1.0, float("nan")], "nan"),
        ([1.0, float("inf")], "(?i)inf"),
        (np.array([1.0, 1 + 1j]), "imaginary part"),
        ([1.0, np.complex64(1 + 1j)], "imaginary part"),
        ({"theta": 1.0, "phi": np.complex128(1 + 1j)}, "imaginary part"),
    ],
)
def test_wrong_values_are_refused_with_the_names(values: Any, message: str) -> None:
    with pytest.raises(ProgramRejected, match=message):
        to_program(ansatz(), values)


def test_a_parameter_given_twice_in_two_forms_is_refused() -> None:
    theta = Parameter("t")
    circuit = QuantumCircuit(1)
    circuit.rx(theta, 0)
    with pytest.raises(ProgramRejected, match="t is given twice"):
        to_program(circuit, {theta: 1.0, "t": 2.0})


def test_values_for_a_bound_program_or_given_twice_are_refused() -> None:
    with pytest.raises(ProgramRejected, match="already bound"):
        to_program(to_program(bell()), [1.0])
    with pytest.raises(ProgramRejected, match="given twice"):
        to_program((ansatz(), [1, 2]), [1, 2])
    with pytest.raises(ProgramRejected, match="1 values for 0 parameters"):
        to_program(bell(), [1.0])


@pytest.mark.parametrize("thing", [None, 3, {"qubits": 2}, b"OPENQASM 2.0;", object()])
def test_an_object_that_is_no_circuit_is_refused_by_its_type(thing: Any) -> None:
    with pytest.raises(ProgramRejected, match="cannot make a program of"):
        to_program(thing)


def test_a_list_where_one_circuit_goes_names_batch() -> None:
    with pytest.raises(ProgramRejected, match=r"list of 1 .*qflows\.batch"):
        to_program([bell()])


def test_control_flow_is_refused_with_a_remedy_also_inside_a_definition() -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    with circuit.while_loop((circuit.clbits[0], 1)):
        circuit.x(0)
        circuit.measure(0, 0)
    outer = QuantumCircuit(1, 1)
    hidden = Instruction("hidden", 1, 1, [])
    hidden.definition = circuit
    outer.append(hidden, [0], [0])
    for each in (circuit, outer):
        with pytest.raises(ProgramRejected, match=r"control flow \(while_loop\).*post-select"):
            to_program(each)


def test_definitions_that_double_sixty_times_are_refused_soon() -> None:
    inner = QuantumCircuit(1)  # empty at the bottom: nothing would ever be emitted, only visited
    for level in range(60):
        gate = Gate(f"g{level}", 1, [])
        gate.definition = inner
        inner = QuantumCircuit(1)
        inner.append(gate, [0], copy=False)
        inner.append(gate, [0], copy=False)
    with pytest.raises(ProgramRejected, match="expands to more than"):
        to_program(inner)


def test_definitions_nested_deeper_than_any_library_are_refused() -> None:
    inner = QuantumCircuit(1)
    inner.x(0)
    for level in range(250):
        gate = Gate(f"g{level}", 1, [])
        gate.definition = inner
        inner = QuantumCircuit(1)
        inner.append(gate, [0], copy=False)
    with pytest.raises(ProgramRejected, match="nested more than"):
        to_program(inner)


def test_matrices_that_are_too_wide_or_not_unitary_are_refused() -> None:
    wide = QuantumCircuit(7)
    wide.unitary(np.eye(2**7), range(7))
    with pytest.raises(ProgramRejected, match="7 qubits"):
        to_program(wide)
    skew = QuantumCircuit(1)
    skew.append(UnitaryGate(np.array([[1, 1], [0, 1]]), check_input=False), [0])
    with pytest.raises(ProgramRejected, match="not unitary"):
        to_program(skew)


def test_undefined_instructions_and_odd_parameters_are_refused() -> None:
    circuit = QuantumCircuit(1)
    circuit.append(Instruction("mystery", 1, 0, []), [0])
    with pytest.raises(ProgramRejected, match="'mystery' has no definition"):
        to_program(circuit)
    saving = pytest.importorskip("qiskit_aer.library")
    circuit = QuantumCircuit(1)
    circuit.append(saving.SaveStatevector(1), [0])
    with pytest.raises(ProgramRejected, match="simulator instruction"):
        to_program(circuit)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"qflows.program/1"', '"qflows.program/2"'),
        ('"qubits":2', '"qubits":1'),
        ('"qubits":2', '"qubits":true'),
        ('"qubits":2', '"qubits":99999999999'),
        ('["h",[],[0],[]]', '["h",[],[2],[]]'),
        ('["h",[],[0],[]]', '["h",[],[-1],[]]'),
        ('["h",[],[0],[]]', '["hh",[],[0],[]]'),
        ('["h",[],[0],[]]', '["h",[0.1],[0],[]]'),
        ('["h",[],[0],[]]', '["rx",[1],[0],[]]'),
        ('["h",[],[0],[]]', '["rx",[-0.0],[0],[]]'),
        ('["h",[],[0],[]]', '["rx",[1e0],[0],[]]'),
        ('["h",[],[0],[]]', '["rx",[NaN],[0],[]]'),
        ('["h",[],[0],[]]', '["rx",["0.1"],[0],[]]'),
        ('["h",[],[0],[]]', '["h",[],[0],[],"s"]'),
        ('["h",[],[0],[]]', '["delay",[1.0],[0],[],"weeks"]'),
        ('["h",[],[0],[]]', '["delay",[1.0],[0],[]]'),
        ('["h",[],[0],[]]', '["unitary",[1.0],[0],[]]'),
        ('["h",[],[0],[]]', '["opaque:",[],[0],[]]'),
        ('["h",[],[0],[]]', "null"),
        ('["h",[],[0],[]]', "[]"),
        ('["h",[],[0],[]]', "[{},[],[0],[]]"),
        ('["cx",[],[0,1],[]]', '["cx",[],[0,0],[]]'),
        ('[["c",[0,1]]]', '[["c",[0,0]]]'),
        ('[["c",[0,1]]]', '[["c",[0]],["d",[0]]]'),
        ('[["c",[0,1]]]', '[["c",[0]],["c",[1]]]'),
        ('"phase":0.0', '"phase":0'),
        ('"phase":0.0', '"phase":7.0'),
        ('"phase":0.0', '"phase":-0.0'),
        ('"phase":0.0,', '"phase":0.0, '),
        ('"phase":0.0', '"phase":0.0,"phase":0.0'),
        ('"phase":0.0', '"extra":0.0,"phase":0.0'),
        ('"ops":[', '"ops":["'),
    ],
)
def test_a_text_that_is_not_exactly_canonical_is_refused(old: str, new: str) -> None:
    text = to_program(bell()).text
    assert old in text
    with pytest.raises(ProgramRejected):
        Program.from_text(text.replace(old, new, 1))


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", "[" * 100_000, '{"schema":"qflows.program/1"}'])
def test_a_text_that_is_no_program_is_refused(text: str) -> None:
    with pytest.raises(ProgramRejected):
        Program.from_text(text)


def test_a_text_is_plain_json_that_any_reader_understands() -> None:
    body = json.loads(to_program(bell()).text)
    assert (body["schema"], body["qubits"], body["ops"][1]) == ("qflows.program/1", 2, ["cx", [], [0, 1], []])


def test_a_fitting_program_is_admitted() -> None:
    check(bell())
    check(bell(), gates=None, max_qubits=None, max_bytes=None)


@pytest.mark.parametrize(
    ("change", "limits", "message"),
    [
        (lambda c: None, {"max_qubits": 1}, "2 qubits, the device 1; remove idle qubits"),
        (lambda c: None, {"max_bytes": 100}, "the limit is 100; split"),
        (lambda c: None, {"gates": frozenset({"h"})}, r"uses cx; compile it first: qiskit.transpile"),
        (lambda c: c.data.clear(), {}, r"measures nothing; call circuit.measure_all\(\)"),
        (lambda c: c.x(0), {"gates": None}, "measure each qubit once, at the end"),
        (lambda c: c.data.insert(0, delayed()), {}, "contains delays"),
        (lambda c: c.data.insert(0, native()), {"gates": None}, "gate odd is known by name only"),
        (lambda c: c.data.insert(0, native()), {}, "gate odd is known by name only"),
    ],
)
def test_what_a_device_cannot_run_is_refused_naming_program_and_device(change: Any, limits: Any, message: str) -> None:
    circuit = bell()
    change(circuit)
    with pytest.raises(ProgramRejected, match=message) as caught:
        check(circuit, **limits)
    assert "'bell'" in str(caught.value)
    assert "'toy'" in str(caught.value)


def delayed() -> Any:
    circuit = QuantumCircuit(*bell().qregs)
    circuit.delay(100, 0)
    return circuit.data[0]


def native() -> Any:
    circuit = QuantumCircuit(*bell().qregs)
    circuit.append(Gate("odd", 1, [0.25]), [0])
    return circuit.data[0]


def test_native_gates_are_admitted_where_they_are_listed() -> None:
    circuit = bell()
    circuit.data.insert(0, native())
    check(circuit, gates=frozenset({"h", "cx", "odd"}))


def test_mid_circuit_and_unmeasured_programs_are_admitted_when_asked_for() -> None:
    circuit = bell()
    circuit.x(0)
    check(circuit, gates=None, allow_mid_circuit=True)
    check(QuantumCircuit(1), require_measurement=False)


@pytest.mark.parametrize("bit", [-1, 2])
def test_a_marginal_over_a_bit_that_is_not_there_is_refused(bit: int) -> None:
    counts = Counts({"01": 3, "10": 1})
    assert counts.marginal([1]) == {"0": 3, "1": 1}
    with pytest.raises(QflowsError, match="no classical bit"):
        counts.marginal([bit])
