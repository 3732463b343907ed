"""What only local devices promise: the same shots for the same key, noise by snapshot, wide circuits, exact values."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Gate
from qiskit.circuit.library import C3XGate, efficient_su2, get_standard_gate_name_mapping
from qiskit.quantum_info import SparsePauliOp, Statevector, random_unitary

from qflows import providers
from qflows.errors import ProgramRejected, Refused
from qflows.programs import Program, to_program
from qflows.programs.gates import STANDARD
from qflows.programs.observables import observable
from qflows.protocol import JobSpec, Provider
from qflows.providers.local.compact import compacted
from qflows.providers.local.statevector import state_vector
from qflows.testing import Target, bell, counts_of, key_of, random_body, read_result, run, spec_of

DEVICES = ("exact", "aer", "noisy:manila", "braket")


@pytest.fixture
def provider() -> Provider:
    return providers.connect("local")


def counts(provider: Provider, device: str, program: Program, key: str, shots: int = 500) -> dict[str, int]:
    return counts_of(run(provider, spec_of(provider, Target(device), program, shots=shots), key).items[0])


# -- seeds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES)
def test_same_key_draws_the_same_shots_and_another_key_does_not(provider: Provider, device: str) -> None:
    circuit, values = random_body(5, 4)
    circuit.measure_all()
    program, key = to_program((circuit, values)), key_of("seed", device)
    first = counts(provider, device, program, key)
    assert counts(providers.connect("local"), device, program, key) == first
    assert counts(provider, device, program, key_of("another", device)) != first


@pytest.mark.parametrize("device", DEVICES)
def test_threads_do_not_disturb_each_others_shots(provider: Provider, device: str) -> None:
    circuits = []
    for seed in range(6):
        circuit, values = random_body(seed, 3)
        circuit.measure_all()
        circuits.append(to_program((circuit, values)))
    jobs = [(program, key_of("thread", device, i)) for i, program in enumerate(circuits)]
    alone = [counts(provider, device, program, key, 100) for program, key in jobs]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda job: counts(provider, device, *job, 100), jobs)) == alone


@pytest.mark.parametrize("device", DEVICES)
def test_shot_by_shot_record_is_kept_only_if_asked_for(provider: Provider, device: str) -> None:
    key = key_of("record", device)
    plain = run(provider, spec_of(provider, Target(device), bell(), shots=100), key).items[0]
    kept = run(provider, spec_of(provider, Target(device, {"memory": True}), bell(), shots=100), key).items[0]
    assert plain.memory is None
    assert kept.memory is not None
    assert len(kept.memory) == 100
    assert plain.counts == kept.counts == {word: kept.memory.count(word) for word in set(kept.memory)}


def test_option_that_local_devices_do_not_have_is_refused(provider: Provider) -> None:
    with pytest.raises(ProgramRejected, match="no option 'noise_model'"):
        provider.check(spec_of(provider, Target("exact", {"noise_model": "aria-1"}), bell(), shots=10))


@pytest.mark.parametrize(
    ("device", "options", "why"),
    [
        ("aer", {"memory": "no"}, "memory of aer.*valid boolean"),
        ("aer", {"noise_model": "aria-1"}, "noise_model of aer.*dictionary"),
        ("aer", {"noise_model": {"errors": 3}}, "is not an Aer noise model"),
        ("aer", {"readout_error": 1.5}, "readout_error of aer.*less than or equal to 1"),
        ("aer", {"compile": 1}, "no option 'compile'"),
        ("noisy:manila", {"compile": 7}, "compile"),
        ("noisy:manila", {"compile": 1, "optimization_level": 2}, "disagree"),
        ("noisy:manila", {"seed_transpiler": "x"}, "seed_transpiler.*valid integer"),
        ("noisy:manila", {"initial_layout": 5}, "initial_layout.*valid list"),
        ("noisy:manila", {"initial_layout": [0, 0]}, "names each qubit once"),
        ("noisy:manila", {"initial_layout": [0, 9]}, "has qubits 0 to 4, not 9"),
        ("noisy:manila", {"physical_qubits": [0]}, "has 2 qubits, but its layout names 1"),
        ("noisy:manila", {"compile": "none"}, "cannot run as it is written.*h on 0"),
        ("noisy:manila", {"snapshot": "atlantis"}, "no IBM device snapshot"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_named(
    provider: Provider, device: str, options: dict[str, Any], why: str
) -> None:
    spec = spec_of(provider, Target(device, options), bell(), shots=10)
    with pytest.raises((ProgramRejected, Refused), match=why):
        provider.prepare(spec, key_of("wrong"))


# -- noise -----------------------------------------------------------------------------------------------------------


def test_noisy_device_errs_a_little_and_says_what_it_compiled_to(provider: Provider) -> None:
    spec = spec_of(provider, Target("noisy:manila"), bell(), shots=4000)
    (item,) = run(provider, spec, key_of("noise")).items
    found = counts_of(item)
    assert 0.8 < (found["00"] + found["11"]) / 4000 < 0.995
    assert item.metadata["compiled"]["gates"]["cx"] >= 1


def test_snapshots_are_found_by_short_name_in_any_case(provider: Provider) -> None:
    assert sum(counts(provider, "noisy:Lima", bell(), key_of("lima"), 50).values()) == 50


def test_unknown_snapshot_is_refused_with_the_names_there_are(provider: Provider) -> None:
    with pytest.raises(Refused, match="manila"):
        provider.limits("noisy:atlantis")


@pytest.mark.parametrize("device", ["", "aer2", "noisy:", "noisy:provider", "noisy:../x", "NOISY:manila"])
def test_unknown_device_is_refused(provider: Provider, device: str) -> None:
    with pytest.raises(Refused):
        provider.limits(device)


# -- width -----------------------------------------------------------------------------------------------------------


def wide(width: int) -> Program:
    circuit = QuantumCircuit(QuantumRegister(width, "q"), ClassicalRegister(2, "c"))
    circuit.x(width - 1)
    circuit.cx(width - 1, 7)
    circuit.measure([3, width - 1], [0, 1])
    return to_program(circuit)


@pytest.mark.parametrize("device", DEVICES)
def test_wide_circuit_runs_at_the_width_it_uses(provider: Provider, device: str) -> None:
    found = counts(provider, device, wide(127), key_of("wide", device), 200)
    assert found["10"] >= (140 if device.startswith("noisy") else 200)


def test_wide_exact_circuit_gives_probabilities(provider: Provider) -> None:
    (item,) = run(provider, spec_of(provider, Target("exact"), wide(60), shots=None), key_of("wide")).items
    assert item.probabilities == pytest.approx({"10": 1.0})


@pytest.mark.parametrize("device", [device for device in DEVICES if device != "aer"])
def test_too_many_active_qubits_are_refused_before_anything_runs(provider: Provider, device: str) -> None:
    circuit = QuantumCircuit(40)
    circuit.h(range(40))
    circuit.measure_all()
    with pytest.raises(ProgramRejected, match="uses 40 qubits"):
        provider.check(spec_of(provider, Target(device), to_program(circuit), shots=10))


def test_compacted_program_keeps_clbits_and_order() -> None:
    program = compacted(wide(30))
    assert (program.n_qubits, program.n_clbits, program.registers) == (3, 2, wide(30).registers)
    assert program.measured == ((0, 0), (2, 1))
    assert compacted(program) is program


def test_circuit_between_narrow_and_wide_is_evolved_by_aer_to_the_same_state(provider: Provider) -> None:
    circuit, values = random_body(11, 12, steps=30)
    bound = circuit.assign_parameters(values)
    circuit.measure_all()
    spec = spec_of(provider, Target("exact"), to_program((circuit, values)), shots=None)
    (item,) = run(provider, spec, key_of("twelve")).items
    expected = Statevector(bound).probabilities()
    assert item.probabilities is not None
    assert all(abs(expected[int(key, 2)] - p) < 1e-9 for key, p in item.probabilities.items())
    assert sum(item.probabilities.values()) == pytest.approx(1)


# -- exact values ----------------------------------------------------------------------------------------------------


def test_every_standard_gate_is_evolved_as_in_qiskit() -> None:
    known = get_standard_gate_name_mapping()
    rng = np.random.default_rng(3)
    for name, (width, n_params) in STANDARD.items():
        circuit = QuantumCircuit(5)
        circuit.append(random_gate(rng), [0, 1, 2, 3, 4])
        gate = C3XGate() if name == "mcx" else known[name].base_class(*rng.uniform(-7, 7, n_params))
        circuit.append(gate, [int(q) for q in rng.permutation(5)[:width]])
        fidelity = abs(np.vdot(state_vector(to_program(circuit)), Statevector(circuit).data))
        assert fidelity == pytest.approx(1, abs=1e-12), name


def random_gate(rng: np.random.Generator) -> Gate:
    from qiskit.circuit.library import UnitaryGate

    return UnitaryGate(random_unitary(32, seed=int(rng.integers(2**31))))


def test_expectation_values_are_those_of_qiskit(provider: Provider) -> None:
    ansatz = efficient_su2(4, reps=2)
    hamiltonian = SparsePauliOp(["ZZII", "XXYY", "IIIZ", "IYZX"], [0.5, -0.25, 1.5, 0.125])
    for seed in range(5):
        values = np.random.default_rng(seed).uniform(-3, 3, ansatz.num_parameters)
        spec = JobSpec(
            "local", "exact", (to_program((ansatz, values)),), None, ((observable(hamiltonian), observable("ZIIZ")),)
        )
        provider.check(spec)
        (item,) = run(provider, spec, key_of("vqe", seed)).items
        assert item.expectations is not None
        state = Statevector(ansatz.assign_parameters(values))
        assert [e.value for e in item.expectations] == pytest.approx(
            [state.expectation_value(hamiltonian).real, state.expectation_value(SparsePauliOp("ZIIZ")).real], abs=1e-12
        )
        assert [e.std_error for e in item.expectations] == [0.0, 0.0]


def test_observable_may_act_on_an_idle_qubit(provider: Provider) -> None:
    circuit = QuantumCircuit(3)
    circuit.x(0)
    spec = JobSpec("local", "exact", (to_program(circuit),), None, ((observable("ZIZ"), observable("XII")),))
    (item,) = run(provider, spec, key_of("idle")).items
    assert item.expectations is not None
    assert [e.value for e in item.expectations] == pytest.approx([-1, 0])


def test_measurements_in_a_circuit_do_not_change_its_expectation_values(provider: Provider) -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [0, 1])
    spec = JobSpec("local", "exact", (to_program(circuit),), None, ((observable("XX"),),))
    (item,) = run(provider, spec, key_of("measured")).items
    assert item.expectations is not None
    assert item.expectations[0].value == pytest.approx(1)


def test_exact_evaluation_of_a_small_ansatz_is_quick(provider: Provider) -> None:
    ansatz = efficient_su2(4, reps=2)
    rng = np.random.default_rng(0)
    energy = observable([("ZZII", 0.5), ("XXII", 0.2), ("IIYY", -0.3), ("IIII", 1.0)])
    jobs = []
    for i in range(60):
        program = to_program((ansatz, rng.uniform(-3, 3, ansatz.num_parameters)))
        jobs.append((JobSpec("local", "exact", (program,), None, ((energy,),)), key_of("quick", i)))
    spent = []
    for spec, key in jobs:
        start = time.process_time()
        read_result(provider, "x", spec, key)
        spent.append(time.process_time() - start)
    # goal 1.5 ms of CPU a job; the median, so that a busy machine does not decide
    assert sorted(spent)[len(spent) // 2] < 1.5e-3


# -- admission -------------------------------------------------------------------------------------------------------


def mid_circuit() -> Program:
    circuit = QuantumCircuit(1, 2)
    circuit.x(0)
    circuit.measure(0, 0)
    circuit.reset(0)
    circuit.measure(0, 1)
    return to_program(circuit)


@pytest.mark.parametrize("device", ["aer", "noisy:manila"])
def test_mid_circuit_measurement_runs_where_it_can(provider: Provider, device: str) -> None:
    found = counts(provider, device, mid_circuit(), key_of("mid", device), 200)
    assert found["01"] >= 170


@pytest.mark.parametrize("device", ["exact", "braket"])
def test_mid_circuit_measurement_is_refused_where_it_cannot(provider: Provider, device: str) -> None:
    assert not provider.limits(device).mid_circuit
    with pytest.raises(ProgramRejected, match="aer"):
        provider.check(spec_of(provider, Target(device), mid_circuit(), shots=10))


@pytest.mark.parametrize("device", ["aer", "noisy:manila", "braket"])
def test_sampling_device_needs_shots_and_takes_no_observables(provider: Provider, device: str) -> None:
    with pytest.raises(ProgramRejected, match="shots"):
        provider.check(spec_of(provider, Target(device), bell(), shots=None))
    with pytest.raises(ProgramRejected, match="observables"):
        provider.check(JobSpec("local", device, (bell(),), 100, ((observable("ZZ"),),)))


def test_local_braket_runs_where_ipython_is_loaded(tmp_path: Path) -> None:
    # the SDK's own import fails there: it wants a name that IPython 9.18 loads on its first use
    code = (
        "import IPython, qflows\n"
        "text = 'OPENQASM 2.0; include \"qelib1.inc\"; qreg q[1]; creg c[1]; x q[0]; measure q -> c;'\n"
        "print(dict(qflows.run(text, device='local-braket', shots=5, run_key='x').counts))\n"
    )
    env = os.environ | {"QFLOWS_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert done.stdout == "{'1': 5}\n", done.stderr
