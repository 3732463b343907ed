"""The emulator's quick path for flat OpenQASM against Braket's own simulator."""

from __future__ import annotations

import numpy as np
import pytest

from qflows.sandbox.braket import flat
from qflows.sandbox.braket.execute import run
from qflows.sandbox.braket.gates import GATES, operation
from qflows.sandbox.statevector import evolve

default_simulator = pytest.importorskip("braket.default_simulator")

from braket.ir.openqasm import Program  # noqa: E402


@pytest.fixture(scope="module")
def theirs() -> object:
    """Braket's local simulator; its first run compiles for seconds."""
    simulator = default_simulator.StateVectorSimulator()
    simulator.run(Program(source="OPENQASM 3.0;\nqubit[1] q;\nh q[0];\n#pragma braket result state_vector\n"), shots=0)
    return simulator


def random_source(seed: int, n_qubits: int, gates: int) -> str:
    """Built-in gates with random angles on random qubits."""
    rng = np.random.default_rng(seed)
    lines = ["OPENQASM 3.0;", f"qubit[{n_qubits}] q;"]
    names = [name for name, (width, _, _) in GATES.items() if width <= n_qubits]
    for name in rng.choice(names, gates):
        width, angles, _ = GATES[name]
        values = ", ".join(repr(float(value)) for value in rng.uniform(-4, 4, angles))
        qubits = ", ".join(f"q[{qubit}]" for qubit in rng.permutation(n_qubits)[:width])
        lines.append(f"{name}{f'({values})' if angles else ''} {qubits};")
    return "\n".join(lines) + "\n"


def their_state(simulator, source: str) -> np.ndarray:
    program = Program(source=source + "#pragma braket result state_vector\n")
    return np.asarray(simulator.run(program, shots=0).resultTypes[0].value)


def our_state(source: str, n_qubits: int) -> np.ndarray:
    program = flat.read(source, {})
    assert program is not None
    state = evolve([operation(*gate) for gate in program.gates], n_qubits)
    # Braket's first qubit is the most significant bit of an index
    return state.reshape((2,) * n_qubits).transpose().reshape(-1)


@pytest.mark.parametrize("name", sorted(GATES))
def test_gate_is_braket_s(theirs, name):
    width, angles, _ = GATES[name]
    values = ", ".join(("0.3", "1.1", "-0.7")[:angles])
    prepared = "".join(f"ry(0.{k + 4}) q[{k}];\nt q[{k}];\n" for k in range(3))
    qubits = ", ".join(f"q[{k}]" for k in (2, 0, 1)[:width])
    call = f"{name}{f'({values})' if angles else ''} {qubits};\n"
    source = f"OPENQASM 3.0;\nqubit[3] q;\n{prepared}{call}"
    assert np.allclose(our_state(source, 3), their_state(theirs, source))


@pytest.mark.parametrize("seed", range(12))
def test_random_circuit_gives_the_same_state(theirs, seed):
    source = random_source(seed, 2 + seed % 4, 25)
    n_qubits = 2 + seed % 4
    # qubits nobody touches are left out by Braket's simulator
    source += "".join(f"i q[{k}];\n" for k in range(n_qubits))
    assert np.allclose(our_state(source, n_qubits), their_state(theirs, source))


def test_numbers_inputs_and_constants_are_read():
    source = "input float theta;\nbit[2] b;\nqubit[2] q;\nrx(theta/2 + pi) q[0];\nprx(-1e-3, 2*π) q[1];\n"
    source += "b[1] = measure q[1];\n"
    program = flat.read(source, {"theta": 1.0})
    assert program is not None
    assert program.gates[0] == ["rx", [0.5 + np.pi], [0]]
    assert program.gates[1][1] == [-1e-3, 2 * np.pi]
    assert program.measured == [1]


@pytest.mark.parametrize(
    "source",
    [
        "ctrl @ x q[0], q[1];",
        "gate g a { h a; } g q[0];",
        "for int i in [0:1] { x q[i]; }",
        "rx(theta) q[0];",
        "#pragma braket result state_vector",
        "x q[7];",
        "measure q[0]; x q[0];",
        "measure q[0]; measure q[0];",
        "bit[1] c; c[0] = measure q[0]; c[0] = measure q[1];",
        "bit[1] c; c[1] = measure q[0];",
        "bit[1] c; bit[1] d; c[0] = measure q[0]; d[0] = measure q[1];",
        "bit[1] c; c[0] = measure q[0]; measure q[1];",
        "x q[0]",
        "reset q[0];",
        "cnot q[0], q[0];",
        "rx(1/0) q[0];",
        "box{ x q[0]; }",
        "(" * 300 + ";",
        "rx(" + "(" * 300 + "1" + ")" * 300 + ") q[0];",
    ],
)
def test_anything_else_is_left_to_the_interpreter(source):
    assert flat.read(f"qubit[2] q;\n{source}\n", {}) is None


MEASURES = (
    "b[1] = measure q[0];\nb[0] = measure q[2];\n",
    "b[3] = measure q[1];\nb[1] = measure q[2];\n",
    "measure q[2];\nmeasure q[0];\n",
    "b[2] = measure q[0];\nb[1] = measure q[1];\nb[0] = measure q[2];\n",
)


@pytest.mark.parametrize("measures", MEASURES)
def test_columns_are_in_the_order_of_braket_s_interpreter(theirs, measures):
    source = f"OPENQASM 3.0;\nbit[4] b;\nqubit[3] q;\nx q[0];\ni q[1];\ni q[2];\n{measures}"
    wanted = theirs.run(Program(source=source), shots=1)
    program = flat.read(source, {})
    assert program is not None
    assert program.readout == wanted.measuredQubits
    assert [int(qubit == 0) for qubit in program.readout] == [int(bit) for bit in wanted.measurements[0]]


def test_wide_numbering_is_compacted():
    payload = {"gates": [["x", [], [81]], ["cnot", [], [81, 40]]], "measured": [40, 81]}
    task = {"executables": [payload], "is_set": False, "shots": 5, "seed": 1, "rates": None, "limit": 20}
    (outcome,) = run(task | {"simulator": "Ankaa-3"})["executables"]
    assert outcome["histogram"] == {str((1 << 81) + (1 << 40)): 5}
