"""What schema 2 keeps: barriers, resets of fresh qubits, branches, native gates, physical qubits, notes. And nothing
else changes: a program that needs none of it has the text and the digest it always had."""

from __future__ import annotations

import json
import math
import pickle
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import ClassicalRegister, Duration, Gate, QuantumRegister
from qiskit.circuit.classical import expr
from qiskit.circuit.library import Initialize
from qiskit.quantum_info import Operator
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

from qflows.errors import ProgramRejected
from qflows.programs import SCHEMA, SCHEMA_2, Feature, Program, check_program, to_program
from qflows.programs.analysis import plain
from qflows.programs.estimation import fitted, measured_in, plan
from qflows.programs.gates import NATIVE, from_radians, in_radians
from qflows.programs.native import NativeGate
from qflows.programs.observables import observable
from qflows.programs.rebuild import placed

HEAD = 'OPENQASM 3.0; include "stdgates.inc"; '


def survives(program: Program) -> Program:
    """Checks that text, circuit and pickle give the program back."""
    assert Program.from_text(program.text) == program
    copy = pickle.loads(pickle.dumps(program))
    assert (copy, copy.labels, copy.is_verbatim, copy.metadata) == (
        program,
        program.labels,
        program.is_verbatim,
        program.metadata,
    )
    if not program.is_physical:
        assert to_program(program.circuit()) == program
    return program


# -- barriers and resets ---------------------------------------------------------------------------------------------


def test_barriers_stay_in_their_place_with_their_qubits_in_one_order() -> None:
    circuit = QuantumCircuit(3, 1)
    circuit.cx(0, 1)
    circuit.barrier(2, 0)
    circuit.cx(0, 1)
    circuit.barrier(label="named")
    circuit.measure(1, 0)
    program = survives(to_program(circuit))
    assert json.loads(program.text)["schema"] == SCHEMA_2
    assert [(step.name, step.qubits) for step in program.instructions] == [
        ("cx", (0, 1)),
        ("barrier", (0, 2)),
        ("cx", (0, 1)),
        ("barrier", (0, 1, 2)),
        ("measure", (1,)),
    ]
    assert (program.n_two_qubit, program.depth) == (2, circuit.depth())
    swapped = QuantumCircuit(3, 1)
    swapped.cx(0, 1)
    swapped.barrier(0, 2)
    swapped.cx(0, 1)
    swapped.barrier()
    swapped.measure(1, 0)
    assert to_program(swapped) == program


def test_barriers_inside_definitions_and_from_text_are_kept_too() -> None:
    inner = QuantumCircuit(2, name="pair")
    inner.x(0)
    inner.barrier()
    inner.x(0)
    circuit = QuantumCircuit(2)
    circuit.append(inner.to_instruction(), [1, 0])
    text = HEAD + "qubit[2] q; x q[1]; barrier q; x q[1];"
    assert to_program(circuit) == to_program(text)
    assert to_program(text.replace("barrier q;", "barrier q[1], q[0];")) == to_program(text)


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda c: (c.h(0), c.barrier(), c.measure([0, 1], [0, 1])), False),
        (lambda c: (c.barrier(), c.h(0)), False),
        (lambda c: (c.h(0), c.barrier(0), c.h(0)), True),
        (lambda c: (c.h(0), c.barrier(0), c.h(1)), False),
        (lambda c: (c.h(0), c.barrier(0, 1), c.h(1)), True),
        (lambda c: (c.delay(10, 0), c.barrier(0, 1), c.x(1)), True),
        (lambda c: (c.measure(0, 0), c.barrier(0, 1), c.x(1)), True),
    ],
)
def test_a_barrier_counts_as_a_feature_if_it_stands_between_two_steps(build: Any, expected: bool) -> None:
    circuit = QuantumCircuit(2, 2)
    build(circuit)
    program = to_program(circuit)
    assert (Feature.BARRIER in program.features) is expected
    assert "barrier" in program.gate_counts()
    assert "barrier" not in plain(program).gate_counts()


def test_a_reset_of_a_fresh_qubit_is_kept_but_asks_nothing_of_the_device() -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.reset(0)
    circuit.x(0)
    circuit.measure([0, 1], [0, 1])
    program = survives(to_program(circuit))
    assert program.gate_counts() == {"measure": 2, "reset": 1, "x": 1}
    assert not program.features
    assert json.loads(program.text)["schema"] == SCHEMA_2
    without = QuantumCircuit(2, 2)
    without.x(0)
    without.measure([0, 1], [0, 1])
    assert plain(program) == to_program(without)
    assert plain(program, keep=frozenset({Feature.RESET})) is program


def test_reset_of_a_used_qubit_is_written_as_before() -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    circuit.reset(0)
    circuit.measure(0, 0)
    program = survives(to_program(circuit))
    assert json.loads(program.text)["schema"] == SCHEMA
    assert program.features == {Feature.RESET}
    assert program.digest == "b22d8dc933fb48a79a4e638a0c396d56912d505981160fdd572577139bc43c72"


def test_initialize_keeps_its_resets_and_still_needs_none() -> None:
    circuit = QuantumCircuit(2)
    circuit.append(Initialize([0, 0.6, 0.8j, 0]), [0, 1])
    assert to_program(circuit).gate_counts()["reset"] == 2
    assert to_program(circuit).features == frozenset()


# -- branches --------------------------------------------------------------------------------------------------------


def measured_pair() -> QuantumCircuit:
    circuit = QuantumCircuit(QuantumRegister(2, "q"), ClassicalRegister(2, "c"), ClassicalRegister(1, "d"))
    circuit.h(0)
    circuit.measure([0, 1], [0, 1])
    return circuit


def condition_of(build: Any) -> tuple[Any, ...]:
    circuit = measured_pair()
    build(circuit)
    step = survives(to_program(circuit)).instructions[-1]
    assert step.condition is not None
    return step.condition.bits, step.condition.value, len(step.then), len(step.otherwise)


def with_if(condition: Any, *, has_else: bool = False) -> Any:
    def build(circuit: QuantumCircuit) -> None:
        with circuit.if_test(condition(circuit)) as otherwise:
            circuit.x(0)
            circuit.x(0)
        if has_else:
            with otherwise:
                circuit.x(1)

    return build


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (lambda c: (c.clbits[1], 1), ((1,), 1, 2, 1)),
        (lambda c: (c.clbits[1], 0), ((1,), 0, 2, 1)),
        (lambda c: (c.cregs[0], 2), ((0, 1), 2, 2, 1)),
        (lambda c: expr.lift(c.clbits[0]), ((0,), 1, 2, 1)),
        (lambda c: expr.logic_not(c.clbits[0]), ((0,), 0, 2, 1)),
        (lambda c: expr.equal(c.cregs[0], 1), ((0, 1), 1, 2, 1)),
        (lambda c: expr.not_equal(c.cregs[0], 1), ((0, 1), 1, 1, 2)),
        (lambda c: expr.logic_not(expr.equal(c.cregs[0], 3)), ((0, 1), 3, 1, 2)),
        (lambda c: expr.logic_and(c.clbits[2], expr.logic_not(c.clbits[0])), ((0, 2), 2, 2, 1)),
        (lambda c: expr.index(c.cregs[0], 1), ((1,), 1, 2, 1)),
    ],
)
def test_conditions_in_all_forms_become_bits_and_a_value(condition: Any, expected: Any) -> None:
    assert condition_of(with_if(condition, has_else=True)) == expected


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        (lambda c: expr.logic_or(c.clbits[0], c.clbits[1]), "is not a comparison"),
        (lambda c: expr.less(c.cregs[0], 2), "is not a comparison"),
        (lambda c: expr.equal(c.clbits[0], c.clbits[1]), "with each other"),
        (lambda c: expr.logic_and(c.clbits[0], expr.logic_not(c.clbits[0])), "both values"),
    ],
)
def test_other_conditions_are_refused_with_the_reason_and_the_remedy(condition: Any, why: str) -> None:
    circuit = measured_pair()
    with_if(condition)(circuit)
    with pytest.raises(ProgramRejected, match=f"{why}.*; compare measured bits with known values"):
        to_program(circuit)


def test_branches_in_branches_merge_where_they_say_the_same() -> None:
    circuit, joined = measured_pair(), measured_pair()
    with circuit.if_test((circuit.clbits[0], 1)), circuit.if_test((circuit.clbits[1], 0)):
        circuit.x(1)
    with joined.if_test(expr.logic_and(joined.clbits[0], expr.logic_not(joined.clbits[1]))):
        joined.x(1)
    assert to_program(circuit) == to_program(joined)
    nested = measured_pair()
    with nested.if_test((nested.clbits[0], 1)):
        nested.x(1)
        with nested.if_test((nested.cregs[0], 3)):
            nested.reset(0)
            nested.measure(0, 2)
    program = survives(to_program(nested))
    assert program.measured == ((0, 0), (1, 1), (0, 2))
    assert program.gate_counts() == {"h": 1, "if_else": 2, "measure": 3, "reset": 1, "x": 1}
    assert program.features == {Feature.RESET, Feature.MID_CIRCUIT, Feature.FEED_FORWARD}


@pytest.mark.parametrize(
    ("condition", "same"),
    [
        ("c[0]", lambda c: (c.clbits[0], 1)),
        ("!c[0]", lambda c: (c.clbits[0], 0)),
        ("c[0] == 1", lambda c: (c.clbits[0], 1)),
        ("c[0] == 0", lambda c: (c.clbits[0], 0)),
        ("1 == c[0]", lambda c: (c.clbits[0], 1)),
        ("c[0] == true", lambda c: (c.clbits[0], 1)),
        ("c[0] != 1", lambda c: (c.clbits[0], 0)),
        ("c == 2", lambda c: (c.cregs[0], 2)),
        ("(c == 2)", lambda c: (c.cregs[0], 2)),
        ("c[0] && !c[1]", lambda c: expr.logic_and(c.clbits[0], expr.logic_not(c.clbits[1]))),
        ("c[0] == 1 && c[1] == 0", lambda c: expr.logic_and(c.clbits[0], expr.logic_not(c.clbits[1]))),
    ],
)
def test_openqasm_3_conditions_are_those_of_qiskit(condition: str, same: Any) -> None:
    circuit = QuantumCircuit(QuantumRegister(2, "q"), ClassicalRegister(2, "c"))
    circuit.h(0)
    circuit.measure([0, 1], [0, 1])
    with circuit.if_test(same(circuit)):
        circuit.x(0)
        circuit.x(1)
    text = HEAD + f"qubit[2] q; bit[2] c; h q[0]; c = measure q; if ({condition}) {{ x q[0]; x q[1]; }}"
    assert to_program(text) == to_program(circuit)


def test_openqasm_2_conditions_compare_a_register() -> None:
    text = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; measure q -> c; if (c == 2) x q[0];'
    step = to_program(text).instructions[-1]
    assert step.condition is not None
    assert (step.condition.bits, step.condition.value, step.then[0].name) == ((0, 1), 2, "x")


def test_loops_over_known_numbers_are_unrolled_in_both_forms() -> None:
    circuit = QuantumCircuit(3)
    with circuit.for_loop(range(3)) as turn:
        circuit.rx(turn * 0.5, 0)
    straight = QuantumCircuit(3)
    for turn in range(3):
        straight.rx(turn * 0.5, 0)
    assert to_program(circuit) == to_program(straight)
    text = HEAD + "qubit[3] q; for int i in [0:2] { x q[i]; rz(i * 0.25) q[0]; }"
    spelled = HEAD + "qubit[3] q; x q[0]; rz(0.0) q[0]; x q[1]; rz(0.25) q[0]; x q[2]; rz(0.5) q[0];"
    assert to_program(text) == to_program(spelled)
    assert to_program(text.replace("[0:2]", "{0, 1, 2}")) == to_program(spelled)


# -- native gates ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(NATIVE))
def test_native_gates_have_the_matrix_the_vendor_gives_them(name: str) -> None:
    circuits = pytest.importorskip("braket.circuits")
    kinds = {"gpi": "GPi", "gpi2": "GPi2", "ms": "MS", "zz": "ZZ", "xy": "XY", "pswap": "PSwap"}
    kind = getattr(circuits.Gate, kinds.get(name, name.replace("cphaseshift", "CPhaseShift")))
    width, count = NATIVE[name]
    params = (0.3, 1.1, 0.7)[:count]
    own = NativeGate(name, params)
    expected = kind(*in_radians(name, params)).to_matrix()
    backwards = Operator(expected).reverse_qargs() if width == 2 else Operator(expected)
    assert np.allclose(Operator(own.definition).data, backwards.data)  # the definition has no stray phase
    assert np.allclose(own.to_matrix(), backwards.data)
    assert from_radians(name, in_radians(name, params)) == pytest.approx(params)


def test_a_users_gate_of_a_native_name_and_another_shape_stays_opaque() -> None:
    circuit = QuantumCircuit(2)
    circuit.append(Gate("gpi", 2, [0.25]), [0, 1])
    assert to_program(circuit).gate_counts() == {"opaque:gpi": 1}


# -- physical qubits -------------------------------------------------------------------------------------------------


def test_physical_qubits_of_a_text_are_labels() -> None:
    program = survives(to_program(HEAD + "bit[2] c; h $7; cx $7, $5; barrier $5, $9; c[1] = measure $5;"))
    assert (program.n_qubits, program.labels, program.measured) == (2, (5, 7), ((0, 1),))
    assert [step.qubits for step in program.instructions] == [(1,), (1, 0), (0,), (0,)]
    assert program.features == {Feature.PHYSICAL}
    circuit = placed(program, 12)
    assert circuit.num_qubits == 12
    assert [circuit.find_bit(q).index for q in circuit.data[1].qubits] == [7, 5]


def test_a_circuit_placed_by_a_compiler_names_the_qubits_it_was_placed_on() -> None:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    backend = FakeManilaV2()
    compiled = transpile(circuit, backend, initial_layout=[3, 4], optimization_level=1)
    program = survives(to_program(compiled))
    assert program.labels == (3, 4)
    assert program.n_qubits == 2
    # compiled to a set of gates alone, a circuit has a layout that says nothing
    for level in (1, 2, 3):
        abstract = transpile(circuit, basis_gates=["rz", "sx", "cx"], optimization_level=level)
        assert not to_program(abstract).is_physical


def test_observables_of_a_placed_circuit_may_be_as_wide_as_the_device() -> None:
    program = to_program(HEAD + "h $3; cx $3, $1;")
    wide = observable([("IZIXI", 0.5), ("IIIZI", 2.0)])
    (narrow,) = fitted(program, [wide])
    assert narrow == observable([("ZX", 0.5), ("IZ", 2.0)])
    assert plan(program, [wide]) == plan(program, [narrow])
    with pytest.raises(ProgramRejected, match=r"acts on qubit 0.*circuit\.id"):
        fitted(program, [observable("IIIIZ")])
    with pytest.raises(ProgramRejected, match="an observable acts on 3"):
        fitted(program, [observable("ZZZ")])


def test_labels_that_a_device_has_not_are_refused_by_number() -> None:
    program = to_program(HEAD + "bit[1] c; x $0; c[0] = measure $0;")
    limits: dict[str, Any] = {"gates": None, "max_bytes": None, "allow_mid_circuit": False, "device": "toy"}
    check_program(program, max_qubits=5, **limits)
    with pytest.raises(ProgramRejected, match=r"names qubit 0, .* 1 to 20"):
        check_program(program, max_qubits=20, labels=range(1, 21), **limits)


@pytest.mark.parametrize("feature", [Feature.PHYSICAL, Feature.DELAY, Feature.BARRIER, Feature.NATIVE, Feature.RESET])
def test_features_that_a_device_does_not_take_are_refused_by_name_with_a_remedy(feature: Feature) -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    texts = {
        Feature.PHYSICAL: HEAD + "bit[1] c; x $3; c[0] = measure $3;",
        Feature.DELAY: HEAD + "qubit q; bit[1] c; delay[10ns] q; c[0] = measure q;",
        Feature.BARRIER: HEAD + "qubit q; bit[1] c; x q; barrier q; x q; c[0] = measure q;",
        Feature.RESET: HEAD + "qubit q; bit[1] c; x q; reset q; c[0] = measure q;",
    }
    if feature is Feature.NATIVE:
        circuit.append(Gate("gpi", 1, [0.1]), [0])
        circuit.measure(0, 0)
    program = to_program(texts.get(feature, circuit))
    assert program.features == {feature}
    limits: dict[str, Any] = {"max_qubits": None, "gates": None, "max_bytes": None, "device": "toy"}
    check_program(program, allow_mid_circuit=False, takes=frozenset({feature}), **limits)
    with pytest.raises(ProgramRejected, match=f"does not take {feature.value}; .*, or choose a device that does"):
        check_program(program, allow_mid_circuit=False, takes=frozenset(), **limits)


def test_delay_of_a_constant_duration_is_that_delay() -> None:
    circuit, plain = QuantumCircuit(1), QuantumCircuit(1)
    circuit.delay(expr.lift(Duration.us(3)), 0)
    plain.delay(3, 0, "us")
    assert to_program(circuit) == to_program(plain)
    stretched = QuantumCircuit(1)
    stretched.delay(stretched.add_stretch("a"), 0)
    with pytest.raises(ProgramRejected, match="computed while the circuit runs"):
        to_program(stretched)


def test_leaving_a_loop_is_refused_as_control_flow() -> None:
    circuit = QuantumCircuit(1, 1)
    with circuit.for_loop(range(3)):
        circuit.measure(0, 0)
        with circuit.if_test((0, 1)):
            circuit.break_loop()
    with pytest.raises(ProgramRejected, match=r"control flow \(break_loop\)"):
        to_program(circuit)


# -- labels and notes ------------------------------------------------------------------------------------------------


def test_metadata_travels_with_the_program_and_is_no_part_of_it() -> None:
    circuit = QuantumCircuit(1, metadata={"xval": np.int64(3), "qubits": (0,), "array": np.arange(2.0), "odd": {1}})
    program = survives(to_program(circuit))
    assert program.metadata == {"xval": 3, "qubits": [0], "array": [0.0, 1.0], "odd": [1]}
    endless = to_program(QuantumCircuit(1, metadata={"a": math.nan, "b": [-math.inf], "c": 1 + 2j}))
    assert endless.metadata == {"a": "NaN", "b": ["-Infinity"], "c": "(1+2j)"}  # JSON has no such numbers
    assert program == to_program(QuantumCircuit(1))
    assert program.circuit().metadata == program.metadata
    assert Program.from_text(program.text, metadata={"xval": 3}).metadata == {"xval": 3}
    assert measured_in(program, "X").metadata == program.metadata
    with pytest.raises(ProgramRejected, match="metadata has"):
        to_program(QuantumCircuit(1, metadata={"much": "x" * 70_000}))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"ops":', '"labels":[3,1],"ops":'),
        ('"ops":', '"labels":[1],"ops":'),
        ('"ops":', '"labels":null,"ops":'),
        ('"ops":', '"verbatim":false,"ops":'),
        ('"ops":', '"verbatim":true,"labels":[1,3],"ops":'),
        ("[0,1],[]]", "[1,0],[]]"),
        ('["barrier",[],[0,1],[]]', '["barrier",[],[],[]]'),
        ('["barrier",[],[0,1],[]]', '["barrier",[0.5],[0,1],[]]'),
        ('["barrier",[],[0,1],[]],', ""),  # nothing new is left, so it is not schema 2
        ("[[0],1]", "[[0],2]"),
        ("[[0],1]", "[[],0]"),
        ("[[0],1]", "[[7],1]"),
        ('"if_else",[],[1],[0]', '"if_else",[],[0,1],[0]'),
        ('"if_else",[],[1],[0]', '"if_else",[],[1],[0,1]'),
        ('[["x",[],[1],[]]],[]', "[],[]"),
        ('[["x",[],[1],[]]],[]', '[["x",[],[1],[]]]'),
        ('["x",[],[1],[]]', '["xx",[],[1],[]]'),
    ],
)
def test_a_text_of_schema_2_that_is_not_exactly_canonical_is_refused(old: str, new: str) -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.barrier()
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    text = to_program(circuit).text
    if "barrier" in old and new == "":
        text = text.replace(',["if_else",[],[1],[0],[[0],1],[["x",[],[1],[]]],[]]', "")
    assert old in text
    with pytest.raises(ProgramRejected):
        Program.from_text(text.replace(old, new, 1))


def test_a_branch_nested_without_end_is_refused() -> None:
    inner = '["x",[],[0],[]]'
    for _ in range(40):
        inner = (
            f'["if_else",[],[0],[0],[[0],1],[{inner},{inner}],[]]'
            if len(inner) < 100
            else (f'["if_else",[],[0],[0],[[0],1],[{inner},["x",[],[0],[]]],[]]')
        )
    head = '{"schema":"qflows.program/2","qubits":1,"clbits":1,"registers":[],"phase":0.0,"ops":['
    with pytest.raises(ProgramRejected, match="nested more than"):
        Program.from_text(head + inner + "]}")
