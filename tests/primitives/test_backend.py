"""The backend interface: Qiskit's results, its own primitives on top, its compiler against the device."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister, transpile
from qiskit.exceptions import QiskitError
from qiskit.primitives import BackendEstimatorV2, BackendSamplerV2
from qiskit.providers import BackendV2
from qiskit.quantum_info import SparsePauliOp

import qflows
from qflows.core.client import Client
from qflows.primitives import Backend, EstimatorV2, SamplerV2
from qflows.sandbox import Sandbox


def two_registers() -> QuantumCircuit:
    qubits, a, b = QuantumRegister(5), ClassicalRegister(3, "a"), ClassicalRegister(2, "b")
    circuit = QuantumCircuit(qubits, a, b, name="asked", metadata={"n": 1})
    circuit.x([0, 1, 4])
    circuit.measure(qubits, [*a, *b])
    return circuit


def bell() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    return circuit


def test_results_are_qiskit_s(core: Client) -> None:
    backend = qflows.Backend("local-aer", run_key="r", client=core)
    assert isinstance(backend, BackendV2)
    assert (backend.name, backend.max_circuits) == ("local-aer", None)
    measured = bell().measure_all(inplace=False)
    found = backend.run([two_registers(), measured], shots=40, memory=True).result()
    assert found.success
    assert found.get_counts(0) == {"10 011": 40}
    assert found.get_memory(0) == ["10 011"] * 40
    assert found.results[0].header["metadata"] == {"n": 1}
    memory = found.get_memory(1)
    assert {key: memory.count(key) for key in set(memory)} == found.get_counts(1)
    assert found.get_counts("asked") == {"10 011": 40}


def test_bits_keep_their_numbers_when_registers_cross(core: Client) -> None:
    qubits = QuantumRegister(3)
    circuit = QuantumCircuit(qubits)
    plain = QuantumCircuit(3, 3).clbits
    circuit.add_bits(plain)
    circuit.add_register(ClassicalRegister(name="late", bits=[plain[2]]))
    circuit.x(2)
    circuit.measure(qubits, plain)
    found = Backend("local-aer", run_key="r", client=core).run(circuit, shots=4).result()
    assert found.results[0].data.counts == {"0x4": 4}


def test_a_job_pickles_and_is_found_by_its_id(core: Client, count_jobs: Callable[[], int]) -> None:
    backend = Backend("local-aer", run_key="r", client=core)
    call = backend.run(two_registers())
    for other in (pickle.loads(pickle.dumps(call)), backend.retrieve_job(call.job_id())):
        assert other.result().get_counts() == {"10 011": 1024}
        assert other.result().results[0].header["name"] == "asked"
        assert other.done()
    assert pickle.loads(pickle.dumps(call)).result().results[0].header["metadata"] == {"n": 1}
    call.submit()
    assert count_jobs() == 1
    with pytest.raises(LookupError, match="not bought by a primitive"):
        qflows.primitives.job(call.job_id(), client=core)


def test_qiskit_s_own_primitives_run_on_it(core: Client, count_jobs: Callable[[], int]) -> None:
    backend = Backend("local-aer", run_key="r", client=core)
    data = BackendSamplerV2(backend=backend).run([two_registers()], shots=9).result()[0].data
    assert (data.a.get_counts(), data.b.get_counts()) == ({"011": 9}, {"10": 9})
    values = BackendEstimatorV2(backend=backend).run([(bell(), ["ZZ", "XX", "ZI"])], precision=0.02).result()[0].data
    np.testing.assert_allclose(values.evs, [1, 1, 0], atol=0.15)
    assert count_jobs() == 2


def test_what_cannot_be_kept_is_refused(core: Client, count_jobs: Callable[[], int]) -> None:
    backend = Backend("local-aer", run_key="r", client=core)
    for options, match in [
        ({"seed_simulator": 3}, "from their key"),
        ({"meas_level": 1}, "classified"),
        ({"o": 1}, "'o'"),
    ]:
        with pytest.raises(QiskitError, match=match):
            backend.run(two_registers(), **options)
    assert backend.run(bell()).result().results[0].data.to_dict() == {}
    assert backend.run(two_registers(), meas_level=2, seed_simulator=None).result().success
    assert count_jobs() == 1


def test_circuits_are_compiled_for_the_device(core: Client, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in sandbox.env.items():
        monkeypatch.setenv(name, value)
    circuit = QuantumCircuit(3, 3)
    circuit.ccx(0, 1, 2)
    circuit.measure(range(3), range(3))
    ionq = Backend("ionq-simulator", run_key="r", client=core)
    assert set(transpile(circuit, ionq).count_ops()) <= set(ionq.operation_names)
    circuit.delay(100, 0)
    circuit.measure(0, 0)
    with pytest.raises(QiskitError):
        transpile(circuit, ionq)


def test_a_noisy_device_has_the_target_of_its_snapshot_and_runs_compiled_circuits_as_given(core: Client) -> None:
    noisy = Backend("local-noisy", run_key="r", client=core)
    assert noisy.num_qubits == 5
    assert noisy.coupling_map is not None
    circuit = QuantumCircuit(2, 1)
    for _ in range(20):
        circuit.cx(0, 1)
        circuit.barrier()
    circuit.measure(1, 0)
    placed = transpile(circuit, noisy, initial_layout=[1, 2], optimization_level=0)
    counts = noisy.run(placed, shots=4000).result().get_counts()
    assert counts["1"] > 200  # without the barriers 20 gates would cancel, and readout alone err


def test_estimates_of_placed_circuits_take_observables_as_wide_as_the_device(core: Client) -> None:
    noisy = Backend("local-noisy", run_key="r", client=core)
    placed = transpile(bell(), noisy, initial_layout=[3, 2], optimization_level=1)
    wide = SparsePauliOp(["ZZ", "XX"]).apply_layout(placed.layout)
    found = EstimatorV2("local-noisy", shots=2000, run_key="r", client=core).run([(placed, [wide])]).result()[0].data
    assert found.evs[0] > 1.4  # of 2
    placed.measure_all()
    sampled = SamplerV2("local-noisy", run_key="r", client=core).run([placed], shots=500).result()[0].data.meas
    correlated = sum(n for key, n in sampled.get_counts().items() if key[-3] == key[-4])
    assert correlated > 400
    assert sampled.num_bits == 5


def test_observables_reach_qubits_that_a_placed_circuit_leaves_alone(core: Client) -> None:
    noisy = Backend("local-noisy", run_key="r", client=core)
    circuit = QuantumCircuit(2)
    circuit.x(0)
    placed = transpile(circuit, noisy, initial_layout=[3, 2], optimization_level=0)
    wide = [SparsePauliOp(text).apply_layout(placed.layout) for text in ("IZ", "ZI", "ZZ", "II")]
    found = EstimatorV2("local-noisy", shots=2000, run_key="r", client=core).run([(placed, wide)]).result()[0].data
    np.testing.assert_allclose(found.evs, [-1, 1, -1, 1], atol=0.3)
    empty = transpile(QuantumCircuit(2), noisy, initial_layout=[3, 2], optimization_level=0)
    found = EstimatorV2("local-noisy", shots=2000, run_key="r", client=core).run([(empty, wide)]).result()[0].data
    np.testing.assert_allclose(found.evs, [1, 1, 1, 1], atol=0.3)


@pytest.mark.parametrize("qubit", [0, 3])
def test_narrow_circuit_in_native_gates_stays_on_the_qubits_of_its_numbers(core: Client, qubit: int) -> None:
    """What was transpiled for the first few qubits of a device, as qiskit-experiments' circuits are, is not moved."""
    circuit = QuantumCircuit(qubit + 1, 1)
    circuit.x(qubit)
    circuit.measure(qubit, 0)
    backend = Backend("local-noisy", run_key="study", client=core)
    counts = backend.run(circuit, shots=100).result().get_counts()
    assert max(counts, key=counts.__getitem__) == "1"
    (job,) = core.jobs()
    compiled = core.result([job.key]).items[0].metadata["compiled"]
    assert (compiled["as_written"], compiled["layout"]) == (True, list(range(qubit + 1)))
    circuit.h(qubit)  # no gate of the device: compiled, and free to be placed
    backend.run(circuit, shots=100).result()
    assert [core.result([one.key]).items[0].metadata["compiled"]["as_written"] for one in core.jobs()].count(True) == 1
