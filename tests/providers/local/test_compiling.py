"""On local devices the circuit that ran is the one that was written: barriers, delays, branches, chosen qubits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import Gate
from qiskit.quantum_info import DensityMatrix, SuperOp
from qiskit_aer import AerSimulator
from qiskit_aer.noise import (
    NoiseModel,
    QuantumError,
    ReadoutError,
    amplitude_damping_error,
    coherent_unitary_error,
    depolarizing_error,
    thermal_relaxation_error,
)
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

from qflows import providers
from qflows.core.compiling import compile_program
from qflows.core.devices import Device
from qflows.core.profiles import find
from qflows.errors import ProgramRejected
from qflows.programs import to_program
from qflows.protocol import Provider
from qflows.providers.local.noise import noise_of, noise_text
from qflows.providers.local.options import AerOptions
from qflows.testing import Target, counts_of, key_of, run, spec_of

SHOTS = 4000


@pytest.fixture
def provider() -> Provider:
    return providers.connect("local")


def counts(
    provider: Provider, device: str, source: Any, options: dict[str, Any] | None = None, shots: int = SHOTS
) -> dict[str, int]:
    spec = spec_of(provider, Target(device, options or {}), to_program(source), shots=shots)
    return counts_of(run(provider, spec, key_of("compiling", device)).items[0])


def folded(times: int) -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    circuit.x(0)
    for _ in range(times):
        circuit.cx(0, 1)
        circuit.barrier()
    circuit.measure([0, 1], [0, 1])
    return circuit


def local(name: str) -> Device:
    profile = find(name)
    assert profile is not None
    provider = providers.connect(profile.provider)
    return Device(profile, provider, profile.limits)


@pytest.mark.parametrize("device", ["exact", "aer", "braket"])
@pytest.mark.parametrize("dynamic", [False, True])
def test_ideal_devices_run_barriers_delays_and_resets_of_fresh_qubits(
    provider: Provider, device: str, dynamic: bool
) -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.reset(0)
    circuit.x(0)
    circuit.barrier()
    circuit.cx(0, 1)
    circuit.append(Gate("gpi", 1, [0.25]), [1])
    circuit.measure([0, 1], [0, 1])
    assert counts(provider, device, circuit) == {"01": SHOTS}


def test_errors_grow_with_the_folds_as_with_qiskit_alone(provider: Provider) -> None:
    backend = FakeManilaV2()
    simulator = AerSimulator.from_backend(backend)
    wrong, expected = [], []
    for folds in (1, 9, 25):
        found = counts(provider, "noisy:manila", folded(folds), {"initial_layout": [0, 1]}, 8000)
        wrong.append(1 - found["11"] / 8000)
        compiled = transpile(folded(folds), backend, initial_layout=[0, 1], optimization_level=1, seed_transpiler=1)
        assert compiled.count_ops()["cx"] == folds
        alone = simulator.run(compiled, shots=8000, seed_simulator=7).result().get_counts()
        expected.append(1 - alone["11"] / 8000)
    assert wrong == sorted(wrong)
    assert wrong[2] > wrong[0] + 0.05
    # Aer's readout has the mean of both errors, which shifts all values alike: the growth is the same
    for ours, theirs in zip(wrong[1:], expected[1:], strict=True):
        assert abs((ours - wrong[0]) - (theirs - expected[0])) < 4 * math.sqrt(4 * theirs * (1 - theirs) / 8000)


def test_a_delay_decays_as_the_snapshot_says(provider: Provider) -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    circuit.delay(100, 0, "us")
    circuit.measure(0, 0)
    t1 = FakeManilaV2().target.qubit_properties[0].t1
    found = counts(provider, "noisy:manila", circuit, {"physical_qubits": [0]})["1"] / SHOTS
    assert abs(found - math.exp(-100e-6 / t1)) < 0.06  # readout errors are in it


def test_noise_is_chosen_by_strength_by_model_and_by_snapshot(provider: Provider) -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    circuit.measure(0, 0)
    for device in ("aer", "noisy:manila"):
        assert counts(provider, device, circuit, {"readout_error": 0.0}) == {"1": SHOTS}
        assert abs(counts(provider, device, circuit, {"readout_error": 0.2})["0"] / SHOTS - 0.2) < 0.03
    assert counts(provider, "aer", folded(9), {"depolarizing_2q": 0.05})["11"] < 0.8 * SHOTS
    model = NoiseModel.from_backend(FakeManilaV2()).to_dict(serializable=True)
    assert counts(provider, "aer", circuit, {"noise_model": model})["0"] > 0
    assert counts(provider, "noisy:manila", circuit, {"snapshot": "lima"})["0"] > 0


def test_a_model_without_errors_on_some_gates_leaves_those_gates_as_they_are(provider: Provider) -> None:
    """Aer runs only gates that its model names, and a model names those with errors."""
    model = NoiseModel()
    assert "x" not in model.basis_gates
    for device in ("aer", "noisy:manila"):
        options = {"noise_model": model.to_dict(serializable=True)}
        assert counts(provider, device, folded(3), options) == {"11": SHOTS}
    model.add_all_qubit_quantum_error(depolarizing_error(0.5, 2), ["cx"])
    options = {"noise_model": model.to_dict(serializable=True)}
    assert counts(provider, "noisy:manila", folded(3), options)["11"] < 0.7 * SHOTS


@pytest.mark.parametrize(
    "error",
    [
        amplitude_damping_error(0.3),
        thermal_relaxation_error(50, 70, 20),
        coherent_unitary_error(np.array([[np.cos(0.6), 1j * np.sin(0.6)], [1j * np.sin(0.6), np.cos(0.6)]])),
        QuantumError(SuperOp(amplitude_damping_error(0.3))),
    ],
    ids=["kraus", "relaxation", "unitary", "superoperator"],
)
def test_errors_with_matrices_are_read_as_aer_wrote_them(provider: Provider, error: QuantumError) -> None:
    model = NoiseModel()
    model.add_all_qubit_quantum_error(error, ["x"])
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    circuit.measure(0, 0)
    expected = float(DensityMatrix.from_label("1").evolve(error).data[0, 0].real)
    for device in ("aer", "noisy:manila"):
        found = counts(provider, device, circuit, {"noise_model": model.to_dict(serializable=True)})
        assert 0.05 < expected < 0.5
        assert abs(found["0"] / SHOTS - expected) < 5 * (expected * (1 - expected) / SHOTS) ** 0.5


@pytest.mark.filterwarnings("error::DeprecationWarning")
def test_a_whole_model_is_read_as_aer_wrote_it() -> None:
    model = NoiseModel.from_backend(FakeManilaV2())
    model.add_all_qubit_quantum_error(depolarizing_error(0.1, 3), ["ccx"])
    model.add_all_qubit_readout_error(ReadoutError([[0.9, 0.1], [0.2, 0.8]]))
    text = noise_text(AerOptions(noise_model=model.to_dict(serializable=True)))
    found = noise_of(text)
    # Aer writes errors only, not gates without them
    found._basis_gates = set(model.basis_gates)  # pyright: ignore[reportPrivateUsage]
    assert found == model


@pytest.mark.parametrize("device", ["aer", "noisy:manila"])
def test_branches_on_measured_bits_are_taken(provider: Provider, device: str) -> None:
    circuit = QuantumCircuit(2, 3)
    circuit.h(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)) as otherwise:
        circuit.x(1)
    with otherwise:
        circuit.reset(0)
    circuit.measure([1, 0], [1, 2])
    found = counts(provider, device, circuit)
    least = SHOTS if device == "aer" else 0.8 * SHOTS
    assert found["000"] + found["111"] >= least
    assert abs(found["000"] / SHOTS - 0.5) < 0.1


def test_a_hundred_qubits_of_clifford_gates_and_of_little_entanglement_run(provider: Provider) -> None:
    circuit = QuantumCircuit(100)
    circuit.h(0)
    for qubit in range(99):
        circuit.cx(qubit, qubit + 1)
    circuit.measure_all()
    assert set(counts(provider, "aer", circuit, shots=200)) == {"0" * 100, "1" * 100}
    product = QuantumCircuit(60)
    product.ry(math.pi, range(60))
    product.measure_all()
    assert counts(provider, "aer", product, shots=20) == {"1" * 60: 20}
    tangled = QuantumCircuit(40)
    for layer in range(12):
        tangled.ry(0.3, range(40))
        for qubit in range(layer % 2, 39, 2):
            tangled.iswap(qubit, qubit + 1)
    tangled.measure_all()
    with pytest.raises(ProgramRejected, match="matrix_product_state"):
        provider.check(spec_of(provider, Target("aer"), to_program(tangled), shots=10))


def test_a_placed_circuit_runs_on_its_qubits_as_it_is(provider: Provider) -> None:
    circuit = folded(1)
    compiled = transpile(circuit, FakeManilaV2(), initial_layout=[3, 4], optimization_level=1)
    spec = spec_of(provider, Target("noisy:manila"), to_program(compiled), shots=100)
    (item,) = run(provider, spec, key_of("placed")).items
    assert item.metadata["compiled"]["as_written"] is True
    assert item.metadata["compiled"]["layout"] == [3, 4]


@pytest.mark.parametrize("options", [{}, {"compile": 3, "seed_transpiler": 5}, {"physical_qubits": [2, 3]}])
def test_a_compiled_program_is_seen_before_it_runs_and_runs_exactly_as_seen(options: dict[str, Any]) -> None:
    target = local("local-noisy")
    compiled = compile_program(target, folded(3), options=options)
    assert compiled.program.is_verbatim
    assert compiled.program.is_physical
    assert (compiled.two_qubit_gates, compiled.removed) == (3, {})
    assert compiled.depth == compiled.program.depth
    assert compiled.duration_s is not None
    assert 1e-7 < compiled.duration_s < 1e-4
    if "physical_qubits" in options:
        assert compiled.layout == {0: 2, 1: 3}
    assert "two-qubit gates 3 -> 3" in str(compiled)
    spec = spec_of(target.provider, Target("noisy:manila"), compiled.program, shots=100)
    (item,) = run(target.provider, spec, key_of("seen")).items
    ran = item.metadata["compiled"]
    assert ran["as_written"] is True
    assert ran["gates"] == compiled.program.gate_counts()
    assert compile_program(target, compiled.program).program == compiled.program


def test_what_a_compiler_removes_is_counted() -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.cx(0, 1)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [0, 1])
    compiled = compile_program(local("local-noisy"), circuit, options={"compile": 2})
    assert compiled.removed == {"two-qubit gates": 2}


@pytest.mark.parametrize("device", ["aer", "noisy:manila", "noisy:torino"])
def test_branch_on_a_qubit_that_nothing_measures_runs(provider: Provider, device: str) -> None:
    """Aer by itself fails to load it."""
    circuit = QuantumCircuit(2, 3)
    with circuit.if_test((circuit.cregs[0], 0)):
        circuit.rz(0.1, 0)
    circuit.x(1)
    circuit.measure(1, 1)
    found = counts(provider, device, circuit)
    assert set(found) <= {"010", "000"}
    assert found["010"] > 0.9 * SHOTS
