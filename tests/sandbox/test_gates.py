"""JSON gates mean what Qiskit's do: random circuits through qiskit-ionq's own serialiser against Statevector."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit.library import PauliEvolutionGate
from qiskit.quantum_info import SparsePauliOp, Statevector

from qflows.sandbox.errors import WorkError
from qflows.sandbox.ionq.execute import run_json, run_qasm3
from qflows.sandbox.ionq.gates import Dialect, lower
from qflows.sandbox.noise import MAX_DENSITY_QUBITS, Rates, drawn, noisy_histogram
from qflows.sandbox.statevector import Op, compact, evolve, probabilities, spread

NO_NOISE = Rates(0.0, 0.0, 0.0)
NOISE = Rates(one_qubit=0.02, more_qubits=0.08, readout=0.01)


def serialised(circuit: QuantumCircuit) -> dict:
    """The circuit as the unmodified client writes it."""
    from qiskit_ionq.ionq_client import qiskit_to_ionq

    options = {"noise_model": "ideal", "sampler_seed": None}
    stub = SimpleNamespace(
        name="ionq_simulator", gateset=lambda: "qis", options=SimpleNamespace(**options, get=options.get)
    )
    return json.loads(qiskit_to_ionq(circuit, stub, {"shots": 1}))["input"]


def ops_of(circuit: QuantumCircuit, **dialect: object) -> list:
    return lower(serialised(circuit)["circuit"], "qis", circuit.num_qubits, Dialect(**dialect))


def overlap(circuit: QuantumCircuit, **dialect: object) -> float:
    """|<ours|Qiskit's>|; 1 if equal up to a global phase."""
    ours = evolve(ops_of(circuit, **dialect), circuit.num_qubits)
    return abs(np.vdot(ours, Statevector(circuit).data))


FIXED = ["x", "y", "z", "h", "s", "sdg", "t", "tdg", "sx", "sxdg", "id"]
ONE_ANGLE = ["rx", "ry", "rz", "p"]
TWO = ["cx", "cy", "cz", "ch", "swap", "csx"]
TWO_ANGLE = ["cp", "crx", "cry", "crz", "rxx", "ryy", "rzz"]


def random_circuit(seed: int, n_qubits: int = 4, n_gates: int = 40) -> QuantumCircuit:
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(n_qubits)
    for _ in range(n_gates):
        a, b, c = (int(q) for q in rng.permutation(n_qubits)[:3])
        angle = float(rng.uniform(-7, 7))
        kind = rng.choice(["fixed", "angle", "two", "two_angle", "ccx", "mcx", "mcp"])
        if kind == "fixed":
            getattr(circuit, str(rng.choice(FIXED)))(a)
        elif kind == "angle":
            getattr(circuit, str(rng.choice(ONE_ANGLE)))(angle, a)
        elif kind == "two":
            getattr(circuit, str(rng.choice(TWO)))(a, b)
        elif kind == "two_angle":
            getattr(circuit, str(rng.choice(TWO_ANGLE)))(angle, a, b)
        elif kind == "ccx":
            circuit.ccx(a, b, c)
        elif kind == "mcp":
            circuit.mcp(angle, [a, b], c)
        else:
            circuit.mcx([q for q in range(n_qubits) if q != a], a)
    return circuit


@pytest.mark.parametrize("seed", range(16))
def test_random_circuit_gives_qiskits_state(seed):
    assert overlap(random_circuit(seed)) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_pauli_evolution_gives_qiskits_state(seed):
    circuit = random_circuit(seed, n_gates=10)
    operator = SparsePauliOp.from_list([("XIZ", 0.3), ("IYI", -0.7), ("ZIX", 0.2)])
    circuit.append(PauliEvolutionGate(operator, time=0.9), [2, 0, 3])
    assert overlap(circuit) == pytest.approx(1, abs=1e-12)
    assert overlap(circuit, pauliexp_last_is_first_target=False) < 0.999


def test_controlled_swap_swaps_only_when_controlled():
    circuit = QuantumCircuit(3)
    circuit.ry(0.4, 0)
    circuit.h(2)
    gates = serialised(circuit)["circuit"] + [{"gate": "swap", "controls": [2], "targets": [0, 1]}]
    circuit.cswap(2, 0, 1)
    ours = evolve(lower(gates, "qis", 3, Dialect()), 3)
    assert abs(np.vdot(ours, Statevector(circuit).data)) == pytest.approx(1, abs=1e-12)


def test_several_targets_of_a_one_qubit_gate_are_each_acted_on():
    assert probabilities(lower([{"gate": "x", "targets": [0, 2]}], "qis", 3, Dialect()), 3)[5] == pytest.approx(1)


def test_singular_operands_are_read():
    gates = [{"gate": "x", "target": 1}, {"gate": "cnot", "control": 1, "target": 0}]
    assert probabilities(lower(gates, "qis", 2, Dialect()), 2)[3] == pytest.approx(1)


@pytest.mark.parametrize(("choice", "expected"), [("phase", 0.5), ("rz", 0.5), ("ignore", 1.0)])
def test_z_with_rotation_follows_its_switch(choice, expected):
    gates = [
        {"gate": "h", "target": 0},
        {"gate": "z", "target": 0, "rotation": math.pi / 2},
        {"gate": "h", "target": 0},
    ]
    assert probabilities(lower(gates, "qis", 1, Dialect(z_rotation=choice)), 1)[1] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("gate", "code"),
    [
        ({"gate": "foo", "targets": [0]}, "UnsupportedGate"),
        ({"gate": "rx", "targets": [0]}, "InvalidInput"),
        ({"gate": "rx", "targets": [0], "rotation": float("nan")}, "InvalidInput"),
        ({"gate": "x", "targets": [9]}, "NotEnoughQubits"),
        ({"gate": "x", "targets": [-1]}, "InvalidInput"),
        ({"gate": "x", "targets": [0], "controls": [0]}, "InvalidInput"),
        ({"gate": "x", "targets": [0], "controls": list(range(1, 9))}, "TooManyControls"),
        ({"gate": "x"}, "InvalidInput"),
        ({"gate": "pauliexp", "targets": [0], "terms": ["XX"], "coefficients": [1], "time": 1}, "InvalidInput"),
    ],
)
def test_bad_gate_fails_with_ionqs_code(gate, code):
    with pytest.raises(WorkError) as failure:
        lower([gate], "qis", 9, Dialect())
    assert failure.value.code == code


def test_abstract_gate_in_a_native_circuit_is_unsupported():
    with pytest.raises(WorkError, match="native"):
        lower([{"gate": "h", "target": 0}], "native", 1, Dialect())


def payload(gates: list, **changes: object) -> dict:
    common = {"circuit": gates, "gateset": "qis", "qubits": 29, "limit": 20, "dry_run": False, "is_exact": True}
    return common | {"rates": None, "shots": 100, "seed": 1} | changes


def test_idle_qubits_cost_nothing_and_read_zero():
    gates = [{"gate": "x", "targets": [28]}, {"gate": "h", "targets": [3]}]
    found = run_json(payload(gates))["probabilities"]
    assert found == pytest.approx({str(2**28): 0.5, str(2**28 + 8): 0.5})


def test_circuit_without_gates_reads_zero():
    assert run_json(payload([]))["probabilities"] == {"0": 1.0}


def test_too_many_active_qubits_fail_before_memory_is_taken():
    with pytest.raises(WorkError, match="21 active qubits") as failure:
        compact(lower([{"gate": "h", "targets": list(range(21))}], "qis", 29, Dialect()))
    assert failure.value.code == "NotEnoughQubits"


def test_no_noise_samples_the_exact_distribution():
    ops = ops_of(random_circuit(3))
    shots = 40_000
    histogram = noisy_histogram(ops, 4, NO_NOISE, shots=shots, seed=5)
    found = np.array([histogram.get(i, 0) for i in range(16)]) / shots
    assert found == pytest.approx(probabilities(ops, 4), abs=5 * 0.5 / math.sqrt(shots))


def test_density_and_trajectories_agree(monkeypatch):
    ops = ops_of(random_circuit(4, n_qubits=3, n_gates=12))
    shots = 20_000
    dense = noisy_histogram(ops, 3, NOISE, shots=shots, seed=5)
    monkeypatch.setattr("qflows.sandbox.noise.MAX_DENSITY_QUBITS", 0)
    sampled = noisy_histogram(ops, 3, NOISE, shots=shots, seed=6)
    for outcome in range(8):
        assert dense.get(outcome, 0) == pytest.approx(sampled.get(outcome, 0), abs=6 * math.sqrt(shots) / 2)


def test_noise_at_full_rate_forgets_the_state():
    ops = lower([{"gate": "x", "targets": [0]}], "qis", 1, Dialect())
    histogram = noisy_histogram(ops, 1, Rates(1.0, 1.0, 0.0), shots=10_000, seed=1)
    assert histogram[0] == pytest.approx(5000, abs=300)
    assert MAX_DENSITY_QUBITS >= 1


def test_same_seed_gives_the_same_histogram():
    sampled = payload([{"gate": "h", "targets": [0]}], is_exact=False)
    assert run_json(sampled) == run_json(sampled)
    assert run_json(sampled) != run_json(sampled | {"seed": 2, "shots": 99})


QASM = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nbit[1] a;\nbit[2] b;\nqubit[30] q;\n'


def qasm(text: str) -> dict:
    return {"data": QASM + text, "limit": 20, "dry_run": False, "rates": None, "shots": 50, "seed": 3}


def test_openqasm_registers_are_reported_in_order_of_declaration():
    found = run_qasm3(qasm("x q[29];\na[0] = measure q[29];\nreset q[29];\nb[1] = measure q[29];\n"))
    assert found == {"registers": [["a", 1], ["b", 2]], "outcomes": {"1": 50}}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("h q[99];", "InvalidInput"),
        ("nonsense", "InvalidInput"),
        ("if (a[0]) { x q[0]; }", "UnsupportedGate"),
        ("for int i in [0:3] { x q[0]; }", "UnsupportedGate"),
        ("h q;", "NotEnoughQubits"),
    ],
)
def test_bad_openqasm_fails_only_its_job(text, code):
    with pytest.raises(WorkError) as failure:
        run_qasm3(qasm(text + "\n"))
    assert failure.value.code == code


MISREAD = Rates(0.0, 0.0, 0.1)
X = Op(np.array([[0, 1], [1, 0]], dtype=complex), (5,))


def drawn_shots(ops: list[Op], read: tuple[int, ...], shots: int = 10_000) -> dict[int, int]:
    """Outcomes of a device that only misreads, one bit in ten."""
    return drawn(ops, MISREAD, read=read, limit=20, shots=shots, seed=7)


def test_measured_qubits_without_gates_are_misread_too():
    outcomes = drawn_shots([], (0, 3))
    assert sum(outcomes.values()) == 10_000
    assert set(outcomes) == {0, 1, 8, 9}
    for qubit in (0, 3):
        flipped = sum(count for outcome, count in outcomes.items() if outcome >> qubit & 1)
        assert 900 < flipped < 1100


def test_idle_qubit_is_misread_beside_a_busy_one():
    outcomes = drawn_shots([X], (2, 5))
    assert sum(outcomes.values()) == 10_000
    assert set(outcomes) == {0, 4, 32, 36}
    assert 900 < sum(count for outcome, count in outcomes.items() if outcome & 4) < 1100


def test_idle_qubits_of_a_wide_device_keep_every_shot():
    outcomes = drawn_shots([], tuple(range(82)), shots=500)
    assert sum(outcomes.values()) == 500
    assert max(outcomes) > 1 << 62


def test_unmeasured_idle_qubit_stays_zero():
    assert drawn_shots([], ()) == {0: 10_000}


def test_outcomes_that_would_fall_together_are_an_error():
    with pytest.raises(ValueError, match="2 outcomes became 1"):
        spread({0: 3, 1: 4}, [])
