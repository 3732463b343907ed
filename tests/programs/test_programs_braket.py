"""Braket circuits mean what Braket says they mean, gate by gate and bit by bit."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qiskit.quantum_info import Operator, Statevector

from qflows.errors import ProgramRejected
from qflows.programs import Feature, Program, to_program
from qflows.programs.from_braket import DIRECT, WRITTEN_OUT

circuits = pytest.importorskip("braket.circuits")
ANGLES = (0.3, 1.1, -0.7)


def unitary(circuit: Any) -> np.ndarray:
    """Braket order: the first qubit most significant."""
    program = to_program(circuit).circuit()
    program.remove_final_measurements()
    return Operator(program.reverse_bits()).data


@pytest.mark.parametrize("name", sorted(DIRECT.keys() | WRITTEN_OUT))
def test_each_gate_of_the_table_has_the_matrix_braket_gives_it(name: str) -> None:
    kind = getattr(circuits.Gate, name, None)
    if kind is None:
        pytest.skip(f"this Braket has no {name}")
    count = sum(1 for parameter in inspect.signature(kind.__init__).parameters if parameter.startswith("angle"))
    gate = kind(*ANGLES[:count])
    circuit = circuits.Circuit().i(range(3))
    circuit.add_instruction(circuits.Instruction(gate, list(range(gate.qubit_count))))
    expected = np.kron(gate.to_matrix(), np.eye(2 ** (3 - gate.qubit_count)))
    assert np.allclose(unitary(circuit), expected)


def test_every_gate_class_of_the_installed_braket_is_read() -> None:
    names = {name for name, _ in inspect.getmembers(circuits.Gate, inspect.isclass) if not name.startswith("_")}
    assert names - {"PulseGate", "Unitary"} <= DIRECT.keys() | WRITTEN_OUT


@pytest.mark.parametrize(
    "build",
    [
        lambda c: c.rx(1, 0.3, control=2),
        lambda c: c.h(0, power=0.5),
        lambda c: c.iswap(2, 0, power=-2),
        lambda c: c.t(1, control=[2], power=1 / 3),
        lambda c: c.gphase(0.4, control=[0, 2]),
        lambda c: c.unitary(matrix=np.kron(np.array([[0, 1], [1, 0]]), np.diag([1, 1j])), targets=[2, 0]),
        lambda c: c.swap(0, 1, power=0.5),
    ],
)
def test_modifiers_and_matrices_mean_what_braket_computes(build: Any) -> None:
    circuit = build(circuits.Circuit().h(0).ry(1, 0.4).rx(2, 0.9))
    assert np.allclose(unitary(circuit), circuit.to_unitary(), atol=1e-7)


@pytest.mark.parametrize("state", [[0, 1], [1, 0]])
def test_control_states_mean_what_the_simulator_runs(state: list[int]) -> None:
    # not `to_unitary`: in SDK 1.127.5 it swaps the states of two controls, its own simulator does not
    from braket.devices import LocalSimulator

    circuit = circuits.Circuit().i(0).x(1).i(2).x(2, control=[0, 1], control_state=state)
    (outcome,) = LocalSimulator().run(circuit, shots=5).result().measurement_counts
    (ours,) = Statevector(to_program(circuit).circuit().remove_final_measurements(inplace=False)).probabilities_dict()
    assert ours == outcome[::-1]


def test_control_states_follow_their_controls_in_any_order() -> None:
    # both orders say: qubit 2 is 1, qubit 0 is 0
    for power in (1, 0.5):
        one, other = (
            circuits.Circuit().i(range(3)).rx(1, 0.3, control=on, control_state=state, power=power)
            for on, state in (([2, 0], [1, 0]), ([0, 2], [0, 1]))
        )
        angle = 0.3 * power
        turn = np.array([[np.cos(angle / 2), -1j * np.sin(angle / 2)], [-1j * np.sin(angle / 2), np.cos(angle / 2)]])
        expected = np.eye(8, dtype=complex)
        expected[np.ix_([0b001, 0b011], [0b001, 0b011])] = turn
        assert np.allclose(unitary(one), expected)
        assert np.allclose(unitary(other), expected)


def test_controlled_two_qubit_gates_act_where_the_controls_say() -> None:
    # matrices written out: to_unitary() of Braket 1.88.1 with default-simulator 1.41.2 is not sound on these:
    # it fails in numba or damages the heap of the process
    circuit = circuits.Circuit().i(range(3))
    circuit.add_instruction(circuits.Instruction(circuits.Gate.CNot(), [2, 1], control=0, control_state=[0]))
    assert np.allclose(unitary(circuit), np.eye(8)[[0, 3, 2, 1, 4, 5, 6, 7]])
    gate = circuits.Gate.XY(0.3)
    expected = np.eye(8, dtype=complex)
    expected[:4, :4] = gate.to_matrix()
    circuit = circuits.Circuit().i(range(3))
    circuit.add_instruction(circuits.Instruction(gate, [1, 2], control=0, control_state=[0]))
    assert np.allclose(unitary(circuit), expected)


def test_controls_on_named_gates_stay_named_gates() -> None:
    circuit = circuits.Circuit().i(range(3)).x(2, control=[0, 1])
    assert to_program(circuit).gate_counts() == {"ccx": 1, "id": 3, "measure": 3}


def test_without_measure_all_qubits_are_measured_in_ascending_order() -> None:
    program = to_program(circuits.Circuit().x(7).h(3).cnot(3, 5))
    assert program.measured == ((0, 0), (1, 1), (2, 2))
    assert [(register.name, register.bits) for register in program.registers] == [("b", (0, 1, 2))]
    circuit = program.circuit()
    circuit.remove_final_measurements()
    assert Statevector(circuit).probabilities_dict() == pytest.approx({"100": 0.5, "111": 0.5})


def test_the_kth_measure_instruction_writes_clbit_k() -> None:
    program = to_program(circuits.Circuit().x(2).i(1).h(0).measure(2).measure(0))
    assert program.measured == ((2, 0), (0, 1))
    assert program.n_clbits == 2


def test_free_parameters_take_values_by_name_or_object() -> None:
    theta = circuits.FreeParameter("theta")
    circuit = circuits.Circuit().rx(0, theta).ry(1, 2 * theta)
    plain = circuits.Circuit().rx(0, 0.25).ry(1, 0.5)
    assert to_program((circuit, {"theta": 0.25})) == to_program(circuit, {theta: 0.25}) == to_program(plain)
    for values, message in (
        (None, "unbound parameters theta"),
        ([0.25], "have no order"),
        ({"x": 1.0}, "do not match"),
    ):
        with pytest.raises(ProgramRejected, match=message):
            to_program(circuit, values)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda c: c.bit_flip(0, 0.1), "BitFlip is not a gate"),
        (lambda c: c.expectation(circuits.Observable.Z(), 0), "pass observables="),
        (lambda c: c.add_verbatim_box(circuits.Circuit().x(0)), "outside of its verbatim box"),
        (lambda c: c.x(0, control=range(1, 7), power=0.5), "7 qubits"),
        (lambda c: c.rx(0, math.nan), "nan"),
    ],
)
def test_what_has_no_plain_meaning_is_refused(build: Any, message: str) -> None:
    with pytest.raises(ProgramRejected, match=message):
        to_program(build(circuits.Circuit().h(0)))


def test_other_braket_objects_are_refused() -> None:
    with pytest.raises(ProgramRejected, match=r"pass a braket\.circuits\.Circuit"):
        to_program(circuits.Gate.H())


def test_a_plain_probability_request_is_the_measurement_itself() -> None:
    assert to_program(circuits.Circuit().h(0).probability()) == to_program(circuits.Circuit().h(0))


# -- bits, boxes and Braket's own OpenQASM ---------------------------------------------------------------------------


def ir(source: str, inputs: dict[str, float] | None = None) -> Any:
    from braket.ir.openqasm import Program as OpenQasm

    return OpenQasm(source=source, inputs=inputs)


OUT_OF_ORDER = "OPENQASM 3.0;\nbit[2] b;\nqubit[2] q;\nx q[0];\nz q[1];\nb[1] = measure q[0];\nb[0] = measure q[1];"
HOLES = "OPENQASM 3.0;\nbit[4] b;\nqubit[2] q;\nx q[0];\nz q[1];\nb[3] = measure q[0];\nb[1] = measure q[1];"


@pytest.mark.parametrize("text", [OUT_OF_ORDER, HOLES])
def test_bits_out_of_order_and_with_holes_are_the_same_through_every_door(text: str) -> None:
    plain = to_program(text.replace(";\n", ';\ninclude "stdgates.inc";\n', 1))
    assert to_program(ir(text)) == plain
    read = circuits.Circuit.from_ir(text)
    again = to_program(read)
    assert again.measured == plain.measured
    assert again.n_clbits == plain.n_clbits


def test_a_circuit_and_the_openqasm_that_braket_makes_of_it_are_one_program() -> None:
    theta = circuits.FreeParameter("theta")
    circuit = (
        circuits.Circuit().h(0).rx(2, theta).iswap(0, 2).gpi2(2, 0.3).v(0).vi(2).prx(0, 0.1, 0.2).ms(0, 2, 0.1, 0.2)
    )
    circuit.zz(0, 2, 0.4).cv(2, 0).ecr(0, 2).xy(0, 2, 0.3).phaseshift(0, 0.1).u(2, 0.1, 0.2, 0.3)
    program = to_program((circuit, {"theta": 0.25}))
    found = to_program(ir(circuit.to_ir("OPENQASM").source, {"theta": 0.25}))
    assert found.measured == program.measured == ((0, 0), (1, 1))
    ours, theirs = (Statevector(one.circuit().remove_final_measurements(inplace=False)) for one in (program, found))
    assert ours.equiv(theirs)
    measured = circuit.measure(2).measure(0)
    text = ir(measured.to_ir("OPENQASM").source)
    assert to_program((text, {"theta": 0.25})).measured == to_program((measured, {"theta": 0.25})).measured
    with pytest.raises(ProgramRejected, match="theta"):
        to_program(text)


def test_barriers_delays_resets_and_branches_of_a_text_are_kept() -> None:
    body = "bit[2] b; qubit[2] q; x q[0]; barrier q; delay[100ns] q[0]; reset q[0]; b[0] = measure q[0];"
    body += " if (b[0]) { cnot q[0], q[1]; } b[1] = measure q[1];"
    plain = to_program("OPENQASM 3.0; include 'stdgates.inc'; ".replace("'", '"') + body.replace("cnot", "cx"))
    assert to_program(ir("OPENQASM 3.0; " + body)) == plain


def boxed() -> Any:
    inner = circuits.Circuit().prx(5, math.pi, 0.0).gpi(6, 0.5).cz(5, 6)
    return circuits.Circuit().add_verbatim_box(inner).measure(6).measure(5)


def test_a_verbatim_box_keeps_its_qubits_and_native_gates_and_says_so() -> None:
    program = to_program(boxed())
    assert program.is_verbatim
    assert program.labels == (5, 6)
    assert program.measured == ((1, 0), (0, 1))
    assert [(step.name, step.qubits) for step in program.instructions[:3]] == [
        ("r", (0,)),
        ("gpi", (1,)),
        ("cz", (0, 1)),
    ]
    assert program.features == {Feature.VERBATIM, Feature.PHYSICAL, Feature.NATIVE}
    text = boxed().to_ir("OPENQASM").source
    assert to_program(ir(text)) == program
    physical = "\n".join(
        line for line in text.replace("q[5]", "$5").replace("q[6]", "$6").splitlines() if "qubit" not in line
    )
    assert to_program(ir(physical)) == program
    assert Program.from_text(program.text) == program


def test_physical_qubits_without_a_box_are_named_and_may_be_compiled() -> None:
    program = to_program(ir("OPENQASM 3.0; bit[1] b; x $3; b[0] = measure $3;"))
    assert (program.labels, program.is_verbatim) == ((3,), False)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("OPENQASM 3.0; qubit[1] q; box { x q[0]; }", "a box that is not verbatim"),
        ("OPENQASM 3.0; qubit[1] q; x q[0];\n#pragma braket verbatim\nbox { x q[0]; }", "outside of its verbatim box"),
        ("OPENQASM 3.0; qubit[1] q; x q[0]; reset q[0];\n#pragma braket noise bit_flip(0.1) q[0]\n", "together with"),
        ("OPENQASM 3.0; qubit[1] q;\n#pragma braket noise bit_flip(0.1) q[0]\n", "BitFlip is not a gate"),
        ("OPENQASM 3.0; qubit[1] q; nonsense q[0];", "Braket cannot read it"),
        ("OPENQASM 3.0; qubit[1] q; nonsense q[0]; reset q[0];", "'nonsense' is not defined"),
    ],
)
def test_what_braket_text_says_beyond_circuits_is_refused(source: str, message: str) -> None:
    with pytest.raises(ProgramRejected, match=message):
        to_program(ir(source))


def test_what_only_brakets_reader_knows_is_left_to_it() -> None:
    source = "OPENQASM 3.0; qubit[2] q; h q[0]; ctrl @ ecr q[0], q[1], q[2];".replace("qubit[2]", "qubit[3]")
    assert to_program(ir(source)) == to_program(circuits.Circuit().h(0).ecr(1, 2, control=0))
    matrix = "OPENQASM 3.0; qubit[1] q;\n#pragma braket unitary([[0, 1.0], [1.0, 0]]) q[0]\n"
    assert "unitary" in to_program(ir(matrix)).gate_counts()


# -- the text alone, without an object of Braket's ---------------------------------------------------------------------

HEAD = "OPENQASM 3.0;\n"
BRAKETS = {
    "verbatim": HEAD + "bit[2] b;\n#pragma braket verbatim\nbox{\nprx(3.1, 0.2) $5;\ncz $5, $6;\n}\nbarrier $5, $6;\n"
    "b[1] = measure $5;\nb[0] = measure $6;\n",
    "boxes": HEAD + "bit[1] b;\n#pragma braket verbatim\nbox{\nprx(3.1, 0.0) $5;\n}\nbarrier $5;\n"
    "#pragma braket verbatim\nbox{\nprx(3.1, 0.0) $5;\n}\nb[0] = measure $5;\n",
    "matrix": HEAD + "qubit[2] q;\nbit[2] b;\n#pragma braket unitary([[0, 1.0], [1.0, 0]]) q[0]\ncnot q[0], q[1];\n"
    "b = measure q;\n",
    "inputs": HEAD + "input float a;\nqubit[1] q;\nrx(a) q[0];\n#pragma braket result probability\n",
}


@pytest.mark.parametrize("kind", BRAKETS)
def test_text_with_brakets_pragmas_is_the_program_of_that_text(kind: str, tmp_path: Path) -> None:
    from braket.ir.openqasm import Program as IrProgram

    text, values = BRAKETS[kind], {"a": 0.5} if kind == "inputs" else None
    wanted = to_program(IrProgram(source=text), values)
    assert (wanted.is_verbatim, wanted.labels is not None) == (kind in ("verbatim", "boxes"),) * 2
    (tmp_path / "one.qasm").write_text(text)
    for given in (text, text.replace("#pragma", "pragma"), tmp_path / "one.qasm", str(tmp_path / "one.qasm")):
        assert to_program(given, values) == wanted


def test_standard_gates_of_brakets_text_may_be_included() -> None:
    text = (
        'OPENQASM 3.0; include "stdgates.inc"; qubit[1] q;\n#pragma braket unitary([[0, 1.0], [1.0, 0]]) q[0]\nx q[0];'
    )
    assert [step.name for step in to_program(text).instructions] == ["unitary", "x", "measure"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("#pragma braket result expectation z(q[0])", "Expectation|expectation"),
        ("#pragma braket noise bit_flip(0.1) q[0]", "BitFlip is not a gate"),
        ("barrier q;\n#pragma braket result sample z(q[0])", "result type sample"),
    ],
)
def test_pragmas_that_ask_for_something_else_are_refused_with_their_name(line: str, why: str) -> None:
    with pytest.raises(ProgramRejected, match=why):
        to_program(f"{HEAD}qubit[1] q;\nx q[0];\n{line}\n")


def test_a_text_without_definitions_of_its_gates_is_told_how_to_have_them() -> None:
    with pytest.raises(ProgramRejected, match=r"add include .stdgates\.inc.; .* or give Braket's program"):
        to_program(HEAD + "// #pragma braket verbatim\nqubit[1] q; bit[1] b; x q[0]; b = measure q;")
