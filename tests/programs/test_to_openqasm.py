"""Exported OpenQASM means what the program means: both dialects, random circuits, against qiskit's state vector."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit, qasm3
from qiskit.circuit import Gate
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.quantum_info import Statevector, random_unitary

from qflows.errors import ProgramRejected
from qflows.programs import Feature, Program, to_program
from qflows.programs.gates import STANDARD
from qflows.programs.readout import readout
from qflows.programs.to_openqasm import BRAKET, STDGATES, Dialect, to_openqasm, to_openqasm_with_inputs

CIRCUITS = 120  # per dialect
NAMES = sorted(STANDARD.keys() - {"mcx"})
# plain qasm3.dumps of these, with its gate definitions, ran wrongly on Braket's simulator (default-simulator 1.41.2)
TREACHEROUS = ("h", "sxdg", "ccx")


def random_circuit(seed: int, *, names: tuple[str, ...] | list[str] = NAMES, min_qubits: int = 2) -> QuantumCircuit:
    """All standard gates, on random operands and angles; ends with h everywhere, so that phases show."""
    rng = np.random.default_rng([seed, 7])
    n_qubits = int(rng.integers(min_qubits, 6))
    circuit = QuantumCircuit(n_qubits, n_qubits, name=f"random-{seed}")
    gates = get_standard_gate_name_mapping()
    for _ in range(4 * n_qubits):
        name = names[rng.integers(len(names))]
        width, n_params = STANDARD[name]
        if width > n_qubits:
            continue
        qubits = [int(q) for q in rng.permutation(n_qubits)[:width]]
        circuit.append(gates[name].base_class(*rng.uniform(-7, 7, n_params)), qubits)
    if rng.random() < 0.1:
        circuit.unitary(random_unitary(4, seed=seed), [0, n_qubits - 1])
    circuit.h(range(n_qubits))
    return circuit


def measured(circuit: QuantumCircuit) -> Program:
    with_measurement = circuit.copy()
    with_measurement.measure(range(circuit.num_qubits), range(circuit.num_qubits))
    return to_program(with_measurement)


def assert_same_distribution(found: np.ndarray, circuit: QuantumCircuit) -> None:
    assert np.abs(found - Statevector(circuit).probabilities()).max() < 1e-9, circuit.name


def on_braket(source: str, n_qubits: int, inputs: dict[str, float] | None = None) -> np.ndarray:
    """Probabilities by Braket's simulator; index bit k is qubit k."""
    from braket.devices import LocalSimulator
    from braket.ir.openqasm import Program as OpenQasm

    lines = [line for line in source.splitlines() if "measure" not in line and not line.startswith("bit")]
    # every qubit is named once more, so that idle ones are not left out
    text = "\n".join([*lines, *(f"i q[{k}];" for k in range(n_qubits)), "#pragma braket result probability"])
    asked: Any = OpenQasm.parse_obj({"source": text, "inputs": inputs})
    result: Any = LocalSimulator("braket_sv").run(asked, shots=0).result()
    # Braket's first qubit is the leading digit
    return np.asarray(result.values[0]).reshape([2] * n_qubits).transpose(range(n_qubits)[::-1]).reshape(-1)


def read_back(source: str) -> np.ndarray:
    circuit = qasm3.loads(source)
    circuit.remove_final_measurements()
    return Statevector(circuit).probabilities()


def test_braket_dialect_runs_as_the_state_vector_says() -> None:
    for seed in range(CIRCUITS):
        circuit = random_circuit(seed)
        assert_same_distribution(on_braket(to_openqasm(measured(circuit), BRAKET), circuit.num_qubits), circuit)


def test_braket_dialect_with_inputs_runs_as_the_state_vector_says() -> None:
    for seed in range(60):
        circuit = random_circuit(seed + 30_000)
        source, inputs = to_openqasm_with_inputs(measured(circuit), BRAKET)
        assert source.count("input float") == len(inputs)
        assert_same_distribution(on_braket(source, circuit.num_qubits, inputs), circuit)


def test_long_circuit_of_open_angles_is_compiled_step_by_step() -> None:
    # compiled as a whole, 20 of these gates took minutes: their phases add up to one expression
    circuit = QuantumCircuit(3, 3)
    for k in range(60):
        circuit.cu(0.1 * k, 0.2, -0.3 * k, 0.4, k % 3, (k + 1) % 3)
    source, inputs = to_openqasm_with_inputs(measured(circuit), BRAKET)
    assert_same_distribution(on_braket(source, 3, inputs), circuit)


def test_stdgates_dialect_reads_back_as_the_state_vector_says() -> None:
    for seed in range(CIRCUITS):
        circuit = random_circuit(seed + 10_000)
        assert_same_distribution(read_back(to_openqasm(measured(circuit), STDGATES)), circuit)


def test_reversed_toffolis_of_four_qubits_and_more_run_rightly_on_braket() -> None:
    for seed in range(40):
        circuit = random_circuit(seed + 20_000, names=TREACHEROUS, min_qubits=4)
        reversed_ccx = QuantumCircuit(circuit.num_qubits, name=circuit.name)
        reversed_ccx.h(range(circuit.num_qubits))
        reversed_ccx.ccx(circuit.num_qubits - 1, 1, 0)
        whole = circuit.compose(reversed_ccx)
        assert whole is not None
        whole.h(range(circuit.num_qubits))
        assert_same_distribution(on_braket(to_openqasm(measured(whole), BRAKET), whole.num_qubits), whole)


@pytest.mark.parametrize("dialect", [BRAKET, STDGATES], ids=lambda dialect: dialect.name)
def test_every_gate_of_a_dialect_is_the_gate_of_that_name(dialect: Dialect) -> None:
    known = get_standard_gate_name_mapping()
    for name in dialect.gates:
        width, n_params = STANDARD[name]
        circuit = QuantumCircuit(width, width, name=name)
        circuit.u(0.3, 0.5, 0.9, range(width))
        circuit.append(known[name].base_class(*(math.pi / (k + 3) for k in range(n_params))), range(width))
        circuit.u(1.1, -0.4, 0.2, range(width))
        source = to_openqasm(measured(circuit), dialect)
        assert_same_distribution(on_braket(source, width) if dialect is BRAKET else read_back(source), circuit)


def test_measurements_come_last_in_ascending_clbit_order() -> None:
    circuit = QuantumCircuit(3, 4)
    circuit.measure([2, 0], [1, 3])
    source = to_openqasm(to_program(circuit), BRAKET)
    assert source.splitlines()[-2:] == ["b[0] = measure q[2];", "b[1] = measure q[0];"]
    assert "bit[2] b;" in source


def test_mid_circuit_steps_stay_in_place_and_write_their_own_bits() -> None:
    circuit = QuantumCircuit(2, 3)
    circuit.x(0)
    circuit.measure(0, 2)
    circuit.reset(0)
    circuit.measure(0, 1)
    program = to_program(circuit)
    with pytest.raises(ProgramRejected):
        to_openqasm(program, STDGATES)
    lines = to_openqasm(program, STDGATES, mid_circuit=True).splitlines()
    assert lines[-4:] == ["x q[0];", "b[2] = measure q[0];", "reset q[0];", "b[1] = measure q[0];"]
    assert "bit[3] b;" in lines


def echo() -> Program:
    circuit = QuantumCircuit(2, 1)
    circuit.reset(1)
    circuit.x(0)
    circuit.barrier()
    circuit.delay(100, 0, "ns")
    circuit.x(0)
    circuit.barrier()
    circuit.measure(0, 0)
    return to_program(circuit)


def test_delays_are_refused_where_the_dialect_does_not_take_them_and_written_where_it_does() -> None:
    with pytest.raises(ProgramRejected, match=r"has no delay.*remove the delays"):
        to_openqasm(echo(), BRAKET)
    source = to_openqasm(echo(), replace(BRAKET, takes=frozenset({Feature.DELAY})))
    assert source.splitlines()[3:] == ["x q[0];", "delay[100ns] q[0];", "x q[0];", "b[0] = measure q[0];"]


def test_barriers_and_leading_resets_are_written_in_place_for_a_dialect_that_takes_them() -> None:
    taking = replace(BRAKET, takes=frozenset({Feature.DELAY, Feature.BARRIER, Feature.RESET}))
    barrier = "barrier q[0], q[1];"
    written = ["reset q[1];", "x q[0];", barrier, "delay[100ns] q[0];", "x q[0];", barrier, "b[0] = measure q[0];"]
    assert to_openqasm(echo(), taking).splitlines()[3:] == written
    circuit = QuantumCircuit(2, 1)
    circuit.rx(0.25, 0)
    circuit.barrier()
    circuit.rx(0.5, 0)
    circuit.measure(0, 0)
    source, inputs = to_openqasm_with_inputs(to_program(circuit), taking)
    assert source.splitlines()[-4:] == ["rx(theta_0) q[0];", barrier, "rx(theta_1) q[0];", "b[0] = measure q[0];"]
    assert inputs == {"theta_0": 0.25, "theta_1": 0.5}


def test_a_barrier_is_dropped_only_where_the_dialect_says_so() -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    circuit.barrier()
    circuit.x(0)
    circuit.measure(0, 0)
    program = to_program(circuit)
    assert "barrier" not in to_openqasm(program, BRAKET)
    with pytest.raises(ProgramRejected, match="has no barrier"):
        to_openqasm(program, replace(BRAKET, drops=frozenset()))
    measured_all = QuantumCircuit(1)
    measured_all.x(0)
    measured_all.measure_all()  # its barrier separates nothing
    assert "barrier" not in to_openqasm(to_program(measured_all), replace(BRAKET, drops=frozenset()))


def test_branches_are_written_with_bits_or_with_the_whole_memory() -> None:
    circuit = QuantumCircuit(2, 3)
    circuit.x(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 0)) as otherwise:
        circuit.x(1)
    with otherwise:
        circuit.rzx(0.5, 0, 1)
    with circuit.if_test((circuit.cregs[0], 5)):
        circuit.reset(1)
    circuit.measure(1, 2)
    taking = replace(BRAKET, takes=frozenset({Feature.RESET, Feature.MID_CIRCUIT, Feature.FEED_FORWARD}))
    plain = replace(taking, bits_are_numbers=False)
    lines = to_openqasm(to_program(circuit), plain).splitlines()
    assert lines[3:8] == ["x q[0];", "b[0] = measure q[0];", "if (!b[0]) {", "x q[1];", "} else {"]
    assert lines[-4:] == ["if (b == 5) {", "reset q[1];", "}", "b[2] = measure q[1];"]
    lines = to_openqasm(to_program(circuit), taking).splitlines()
    assert lines[3:8] == ["x q[0];", "b[0] = measure q[0];", "if (b[0] == 0) {", "x q[1];", "} else {"]
    # bit 2 is 0 until the last line, so that memory 5 cannot be
    assert lines[-2:] == ["}", "b[2] = measure q[1];"]
    assert "reset q[1];" not in lines
    with pytest.raises(ProgramRejected, match=r"feed-forward.*post-select"):
        to_openqasm(to_program(circuit), replace(taking, takes=taking.takes - {Feature.FEED_FORWARD}))


def test_physical_qubits_and_a_verbatim_box_are_written_as_they_are() -> None:
    text = "OPENQASM 3.0; include 'stdgates.inc'; bit[1] b; x $7; cx $7, $5; b[0] = measure $5;".replace("'", '"')
    program = to_program(text)
    taking = replace(BRAKET, takes=frozenset({Feature.PHYSICAL, Feature.VERBATIM}))
    written = ["OPENQASM 3.0;", "bit[1] b;", "x $7;", "cnot $7, $5;", "b[0] = measure $5;"]
    assert to_openqasm(program, taking).splitlines() == written
    boxed = program.rewritten(program.ops(), is_verbatim=True)
    lines = to_openqasm(boxed, taking).splitlines()
    assert lines[2:6] == ["#pragma braket verbatim", "box{", "x $7;", "cnot $7, $5;"]
    assert lines[6:] == ["}", "b[0] = measure $5;"]
    with pytest.raises(ProgramRejected, match="has no verbatim"):
        to_openqasm(boxed, BRAKET)
    with pytest.raises(ProgramRejected, match="gate cx has no form"):
        to_openqasm(boxed, replace(taking, gates={"x": "x"}))  # compiled would not be as written


def test_native_gates_are_kept_with_angles_in_radians_or_compiled() -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.append(Gate("gpi", 1, [0.25]), [0])
    circuit.append(Gate("ms", 2, [0.0, 0.5, 0.25]), [0, 1])
    circuit.rzx(0.5, 0, 1)  # so that something is compiled
    circuit.measure([0, 1], [0, 1])
    program = to_program(circuit)
    assert "gpi" not in to_openqasm(program, BRAKET)
    kept = to_openqasm(program, replace(BRAKET, gates={**BRAKET.gates, "gpi": "gpi", "ms": "ms"}))
    assert f"gpi({math.pi / 2}) q[0];\nms(0.0, {math.pi}, {math.pi / 2}) q[0], q[1];" in kept
    expected = Statevector(program.circuit().remove_final_measurements(inplace=False)).probabilities()
    assert np.abs(on_braket(kept, 2) - expected).max() < 1e-9
    source, inputs = to_openqasm_with_inputs(program, BRAKET)
    assert np.abs(on_braket(source, 2, inputs) - expected).max() < 1e-9


def test_equivalences_that_another_library_registers_change_nothing() -> None:
    code = (
        "import qiskit_ionq; qiskit_ionq.add_equivalences()\n"
        "from qiskit import QuantumCircuit; from qiskit.circuit import Gate\n"
        "from qflows.programs import to_program\n"
        "from qflows.programs.to_openqasm import BRAKET, to_openqasm, to_openqasm_with_inputs\n"
        "c = QuantumCircuit(2, 2); c.append(Gate('gpi', 1, [0.25]), [0])\n"
        "c.append(Gate('ms', 2, [0, 0.5, 0.25]), [0, 1])\n"
        "c.rzx(0.5, 0, 1); c.measure([0, 1], [0, 1]); print(to_openqasm(to_program(c), BRAKET))\n"
        "print(to_openqasm_with_inputs(to_program(c), BRAKET)[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "gpi" not in done.stdout


def test_a_qubit_read_into_two_bits_is_measured_once() -> None:
    circuit = QuantumCircuit(2, 3)
    circuit.x(1)
    circuit.measure([1, 0, 1], [2, 1, 0])
    program = to_program(circuit)
    assert not program.has_mid_circuit
    lines = to_openqasm(program, BRAKET).splitlines()
    assert lines[1] == "bit[2] b;"
    assert lines[-2:] == ["b[0] = measure q[1];", "b[1] = measure q[0];"]
    assert readout(program).from_measured("10") == "101"
