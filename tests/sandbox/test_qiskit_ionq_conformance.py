"""The unmodified qiskit-ionq client over HTTP: what works, and the known ways in which it buys twice."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import requests
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.providers import JobStatus

from qflows.sandbox import Sandbox

qiskit_ionq = pytest.importorskip("qiskit_ionq")

from qiskit_ionq import GPI2Gate, GPIGate, IonQProvider, MSGate, Session, ZZGate  # noqa: E402
from qiskit_ionq.exceptions import IonQAPIError, IonQJobError, IonQJobFailureError, IonQJobStateError  # noqa: E402

RETRIES_GAVE_UP = Exception  # qiskit-ionq raises its private IonQRetriableError

# the client warns about the optimisation level of circuits that were never transpiled
pytestmark = pytest.mark.filterwarnings("ignore:Transpiler default optimization_level")


def test_nothing_but_loopback_can_be_reached(beyond_loopback):
    for url in ("http://203.0.113.1/", "https://api.ionq.co/"):
        with pytest.raises(requests.ConnectionError, match="not loopback"):
            requests.get(url, timeout=1)
    assert beyond_loopback == ["203.0.113.1", "api.ionq.co"]
    beyond_loopback.clear()


def test_argument_url_alone_makes_the_client_ask_its_real_service(sandbox, monkeypatch, beyond_loopback):
    for name in ("QISKIT_IONQ_API_URL", "IONQ_API_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.warns(UserWarning, match="qubit"):
        IonQProvider("token", url=sandbox.env["IONQ_API_URL"])
    assert set(beyond_loopback) == {"api.ionq.co"}
    beyond_loopback.clear()


@pytest.fixture
def provider(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[IonQProvider]:
    """The real provider, pointed at the sandbox; fails if a `.env` file redirects it."""
    for name in ("QISKIT_IONQ_API_URL", "QISKIT_IONQ_API_TOKEN", "IONQ_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in sandbox.env.items():
        monkeypatch.setenv(name, value)
    provider = IonQProvider()
    assert provider.get_backend("ionq_simulator").client._url == sandbox.env["IONQ_API_URL"]
    return provider


def counts_of(provider: IonQProvider, circuit: QuantumCircuit, shots: int = 100) -> dict[str, int]:
    return provider.get_backend("ionq_simulator").run(circuit, shots=shots).result().get_counts()


def bell() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2, name="bell")
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [0, 1])
    return circuit


def flip(n_qubits: int, flipped: int, name: str = "flip") -> QuantumCircuit:
    circuit = QuantumCircuit(n_qubits, n_qubits, name=name)
    circuit.x(flipped)
    circuit.measure(range(n_qubits), range(n_qubits))
    return circuit


# -- what works ----------------------------------------------------------------------------------------------------


def test_bell_on_ideal_simulator_gives_exact_probabilities(provider):
    job = provider.get_backend("ionq_simulator").run(bell(), shots=1000)
    assert job.get_probabilities() == pytest.approx({"00": 0.5, "11": 0.5})
    assert sum(job.get_counts().values()) == 1000


def test_simulator_backend_reports_29_qubits_and_qpu_36(provider):
    assert provider.get_backend("ionq_simulator").num_qubits == 29
    assert provider.get_backend("qpu.forte-1").num_qubits == 36


@pytest.mark.parametrize(("flipped", "expected"), [(0, "001"), (1, "010"), (2, "100")])
def test_one_flipped_qubit_is_read_at_its_own_place(provider, flipped, expected):
    assert counts_of(provider, flip(3, flipped)) == {expected: 100}


def test_permuted_measurement_follows_the_classical_bits(provider):
    circuit = QuantumCircuit(3, 2)
    circuit.x(2)
    circuit.measure(2, 0)
    circuit.measure(0, 1)
    assert counts_of(provider, circuit) == {"01": 100}


def test_partial_measurement_leaves_the_other_bits_zero(provider):
    circuit = QuantumCircuit(2, 3)
    circuit.x([0, 1])
    circuit.measure(1, 2)
    assert counts_of(provider, circuit) == {"100": 100}


def test_two_registers_are_split_by_a_space(provider):
    qubits, low, high = QuantumRegister(3, "q"), ClassicalRegister(1, "low"), ClassicalRegister(2, "high")
    circuit = QuantumCircuit(qubits, low, high)
    circuit.x(1)
    circuit.measure(qubits[0], low[0])
    circuit.measure(qubits[1], high[0])
    circuit.measure(qubits[2], high[1])
    assert counts_of(provider, circuit) == {"01 0": 100}


def test_circuit_transpiled_to_the_device_width_still_runs(provider):
    from qiskit import transpile

    backend = provider.get_backend("ionq_simulator")
    wide = transpile(bell(), backend, optimization_level=0)
    assert wide.num_qubits == 29
    # the client drops outcomes it happened not to sample, hence so many shots
    assert backend.run(wide, shots=1000).get_probabilities() == pytest.approx({"00": 0.5, "11": 0.5})


def test_circuit_list_is_one_job_with_children_in_input_order(provider, sandbox):
    job = provider.get_backend("ionq_simulator").run([bell(), flip(3, 2, "asym")], shots=50)
    assert job.result().get_counts(1) == {"100": 50}
    assert set(job.result().get_counts(0)) <= {"00", "11"}
    assert job.status(detailed=True)["completed"] == 2
    assert sandbox.admin.count_jobs("ionq") == 1


def test_noisy_simulator_samples_on_the_server(provider):
    backend = provider.get_backend("ionq_simulator")
    backend.set_options(noise_model="harmony", sampler_seed=7)
    job = backend.run(bell(), shots=2000, memory=True)
    counts = job.get_counts()
    assert sum(counts.values()) == pytest.approx(2000, abs=2)
    assert set(counts) > {"00", "11"}
    assert counts["00"] + counts["11"] > 1700
    memory = job.get_memory()
    assert {bits: memory.count(bits) for bits in set(memory)} == counts


def test_qpu_samples_with_mild_noise(provider):
    counts = provider.get_backend("qpu.forte-1").run(flip(2, 0), shots=1000).result().get_counts()
    assert counts["01"] > 950


def test_qpu_without_noise_is_right_every_time(provider, sandbox):
    sandbox.admin.switches("ionq", qpu_noise=False)
    assert provider.get_backend("qpu.forte-1").run(flip(2, 0), shots=1000).result().get_counts() == {"01": 1000}


@pytest.mark.parametrize(("backend_name", "entangler"), [("ionq_simulator", "ms"), ("ionq_simulator", "zz")])
def test_native_gates_agree_with_their_matrices(provider, backend_name, entangler):
    circuit = QuantumCircuit(3, 3)
    circuit.append(GPI2Gate(0.1), [0])
    circuit.append(GPIGate(-0.23), [1])
    circuit.append(GPI2Gate(0.37), [1])
    circuit.append(MSGate(0.11, -0.2, 0.17) if entangler == "ms" else ZZGate(0.19), [2, 0])
    circuit.append(MSGate(0.3, 0.05, 0.25) if entangler == "ms" else ZZGate(0.4), [0, 1])
    circuit.append(GPI2Gate(0.6), [0])
    circuit.append(GPI2Gate(0.71), [2])
    expected = exact(circuit)
    circuit.measure(range(3), range(3))
    job = provider.get_backend(backend_name, gateset="native").run(circuit, shots=10)
    assert job.status() is JobStatus.DONE
    raw = job._client.get_results(job._results_urls["probabilities"])
    assert as_array(raw, 3) == pytest.approx(expected, abs=1e-12)


def exact(circuit: QuantumCircuit) -> np.ndarray:
    from qiskit.quantum_info import Statevector

    return Statevector(circuit).probabilities()


def as_array(raw: dict[str, float], n_qubits: int) -> np.ndarray:
    values = np.zeros(2**n_qubits)
    for outcome, probability in raw.items():
        values[int(outcome)] = probability
    return values


def test_mid_circuit_measurement_on_a_noise_model_keeps_registers(provider):
    circuit = QuantumCircuit(QuantumRegister(2, "q"), ClassicalRegister(1, "first"), ClassicalRegister(2, "last"))
    circuit.x(0)
    circuit.measure(0, 0)
    circuit.reset(0)
    circuit.x(1)
    circuit.measure([0, 1], [1, 2])
    backend = provider.get_backend("ionq_simulator")
    backend.set_options(noise_model="forte-1")
    counts = backend.run(circuit, shots=400).result().get_counts()
    assert sum(counts.values()) == 400
    assert counts["10 1"] > 360


def test_retrieved_job_gives_the_same_result_without_circuits(provider):
    backend = provider.get_backend("ionq_simulator")
    job_id = backend.run(flip(3, 1), shots=70).job_id()
    assert backend.retrieve_job(job_id).result().get_counts() == {"010": 70}


def test_cancelled_job_is_cancelled_for_the_client(provider, sandbox):
    sandbox.admin.clock("frozen")
    job = provider.get_backend("ionq_simulator").run(bell(), shots=10)
    assert job.status() is JobStatus.QUEUED
    job.cancel()
    with pytest.warns(UserWarning, match="cancelled"):
        assert job.status() is JobStatus.CANCELLED
    with pytest.raises(IonQJobStateError):
        job.result()


def test_failed_job_shows_its_failure_to_the_client(provider, sandbox):
    sandbox.admin.fault("fail_job", "ionq.submit", code="QuantumComputerError", message="laser off")
    job = provider.get_backend("ionq_simulator").run(bell(), shots=10)
    with pytest.raises(IonQJobFailureError, match="QuantumComputerError: laser off"):
        job.status()


def test_session_joins_jobs_and_refuses_them_once_ended(provider, sandbox):
    backend = provider.get_backend("qpu.forte-1")
    with Session(backend, max_jobs=3, max_time=10) as session:
        job = backend.run(bell(), shots=10)
        assert sandbox.admin.job(job.job_id())["facts"]["session_id"] == session.session_id
    assert session.details()["status"] == "ended"
    with pytest.raises(IonQAPIError, match="session has ended"):
        backend.run(bell(), shots=10, session_id=session.session_id)


def test_calibration_and_estimate_are_read(provider):
    backend = provider.get_backend("qpu.forte-1")
    assert backend.calibration().qubits == 36
    assert backend.status()
    estimate = backend.client.estimate_job(backend="qpu.forte-1", oneq_gates=3, twoq_gates=2, qubits=2, shots=100)
    assert estimate.to_dict()["estimated_total_cost"] > 0


def test_dry_run_has_no_result(provider):
    # on the simulator it has no effect
    assert provider.get_backend("ionq_simulator").run(bell(), shots=10, dry_run=True).result().get_counts()
    job = provider.get_backend("qpu.forte-1").run(bell(), shots=10, dry_run=True)
    with pytest.raises(IonQJobError, match="dry_run"):
        job.result()


def test_parent_of_a_failed_child_hides_the_good_ones_from_the_client(provider, sandbox):
    sandbox.admin.fault("fail_job", "ionq.submit", children=[1])
    job = provider.get_backend("ionq_simulator").run([bell(), flip(2, 0)], shots=10)
    with pytest.raises(IonQJobFailureError):
        job.result()
    detailed = job.status(detailed=True)
    assert (detailed["completed"], detailed["failed"]) == (1, 1)


def test_completed_parent_with_a_missing_child_is_an_index_error_in_the_client(provider, sandbox):
    sandbox.admin.switches("ionq", partial_failure="parent_completed")
    sandbox.admin.fault("fail_job", "ionq.submit", children=[1])
    job = provider.get_backend("ionq_simulator").run([bell(), flip(2, 0)], shots=10)
    with pytest.raises(IndexError):
        job.result()


def test_descriptors_alone_are_not_enough_for_the_client(provider, sandbox):
    sandbox.admin.switches("ionq", result_profile="spec")
    job = provider.get_backend("ionq_simulator").run(bell(), shots=10)
    with pytest.raises(IonQAPIError):
        job.result()


def test_urls_alone_are_enough_for_the_client(provider, sandbox):
    sandbox.admin.switches("ionq", result_profile="legacy")
    assert counts_of(provider, flip(2, 1)) == {"10": 100}


# -- how it buys twice: the table of faults on POST /jobs ----------------------------------------------------------


def submit_under(provider: IonQProvider, sandbox: Sandbox, kind: str, **members: object) -> tuple[bool, int, int]:
    """Whether the client got an id, how many requests it sent, how many jobs the vendor then had."""
    sandbox.admin.fault(kind, "ionq.submit", **members)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            job_id = provider.get_backend("ionq_simulator").run(bell(), shots=10).job_id()
        except (requests.RequestException, IonQAPIError, RETRIES_GAVE_UP):
            job_id = ""
    return bool(job_id), sandbox.admin.requests("ionq.submit"), sandbox.admin.count_jobs("ionq")


def test_drop_before_acceptance_is_one_request_and_no_job(provider, sandbox):
    assert submit_under(provider, sandbox, "drop_before") == (False, 1, 0)


def test_accepted_then_dropped_is_a_job_whose_id_is_lost(provider, sandbox):
    assert submit_under(provider, sandbox, "drop_after") == (False, 1, 1)


@pytest.mark.parametrize("status", [502, 503, 504, 524, 429])
def test_accepted_then_one_gateway_error_is_bought_twice_silently(provider, sandbox, status):
    assert submit_under(provider, sandbox, "status", status=status, accepted=True) == (True, 2, 2)


def test_accepted_then_504_always_is_five_jobs_and_an_error(provider, sandbox):
    assert submit_under(provider, sandbox, "status", status=504, accepted=True, times=None) == (False, 5, 5)


def test_accepted_then_500_is_one_job_whose_id_is_lost(provider, sandbox):
    assert submit_under(provider, sandbox, "status", status=500, accepted=True) == (False, 1, 1)


def test_refused_once_with_503_is_sent_again_and_bought_once(provider, sandbox):
    assert submit_under(provider, sandbox, "status", status=503, accepted=False) == (True, 2, 1)


def test_cancel_accepted_then_dropped_is_an_error_for_a_cancelled_job(provider, sandbox):
    sandbox.admin.clock("frozen")
    job = provider.get_backend("ionq_simulator").run(bell(), shots=10)
    sandbox.admin.fault("drop_after", "ionq.cancel")
    with pytest.raises(requests.ConnectionError):
        job.cancel()
    assert sandbox.admin.job(job.job_id())["phase"] == "cancelled"
