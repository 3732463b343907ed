"""The unmodified qbraid client over HTTP: what works, what it does under faults, and where it goes wrong."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister

from qflows.sandbox import Sandbox

# the client reads the name of its config file when it is imported, and the file beats the environment
os.environ["QBRAID_CONFIG_FILE"] = os.devnull
pytest.importorskip("qbraid")

from qbraid.runtime import GroupJobSession, JobStateError, QbraidProvider  # noqa: E402
from qbraid.runtime.enums import JobStatus  # noqa: E402
from qbraid.runtime.exceptions import ResourceNotFoundError  # noqa: E402
from qbraid_core.services.runtime import QuantumRuntimeServiceRequestError  # noqa: E402
from qbraid_core.services.runtime.schemas import JobRequest, Program  # noqa: E402

SIMULATOR, OTHER, NO_BATCH = "qbraid:equal1:sim:bell-1", "qbraid:qbraid:sim:qir-sv", "aws:aws:sim:sv1"
QPU = "aws:rigetti:qpu:cepheus-1-108q"
BROKEN = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[1] q;\nbit[1] c;\nnonsense q[0];\nc[0] = measure q[0];\n'


@pytest.fixture(scope="module")
def qbraid_sandbox() -> Iterator[Sandbox]:
    """One server process for this file."""
    with Sandbox(vendors=("qbraid",)) as running:
        yield running


@pytest.fixture
def sandbox(qbraid_sandbox: Sandbox) -> Sandbox:
    """Emptied before each test."""
    qbraid_sandbox.admin.reset()
    return qbraid_sandbox


@pytest.fixture
def provider(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> QbraidProvider:
    """The real provider, pointed at the sandbox by the environment alone."""
    for name, value in sandbox.env.items():
        monkeypatch.setenv(name, value)
    return QbraidProvider()


@pytest.fixture
def device(provider: QbraidProvider) -> Any:
    return provider.get_device(SIMULATOR)


def flip(n_qubits: int, *flipped: int) -> QuantumCircuit:
    circuit = QuantumCircuit(n_qubits, n_qubits)
    for qubit in flipped:
        circuit.x(qubit)
    circuit.measure(range(n_qubits), range(n_qubits))
    return circuit


def request(**members: Any) -> JobRequest:
    """A submission that bypasses conversion and the client's own checks."""
    qasm = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[1] q;\nbit[1] c;\nx q[0];\nc[0] = measure q[0];\n'
    wanted = {"deviceQrn": SIMULATOR, "shots": 10, "program": Program(format="qasm3", data=qasm)}
    return JobRequest(**(wanted | members))


# -- devices and money ---------------------------------------------------------------------------------------------


def test_environment_alone_leads_the_client_here(provider, sandbox):
    assert str(provider.client.session.base_url).startswith(sandbox.url)
    assert provider.client.user_credits_value() == 1_000_000


def test_devices_are_listed_without_retired_ones(provider):
    names = {device.id for device in provider.get_devices()}
    assert {SIMULATOR, OTHER, NO_BATCH} <= names
    assert "aws:oqc:qpu:lucy" not in names
    assert {d.qrn for d in provider.client.list_devices(include_retired=True)} >= names | {"aws:oqc:qpu:lucy"}


def test_profiles_and_makers_are_told(provider, device):
    assert (device.num_qubits, device.profile.batch_job_support, device.simulator) == (6, True, True)
    assert set(device.profile.noise_models) == {"ideal", "bell-1"}
    assert not any(provider.get_device(name).profile.batch_job_support for name in (OTHER, NO_BATCH))
    assert provider.client.list_platform_devices()[0].qrn
    assert {"qbraid", "equal1", "iqm"} <= {entry.provider for entry in provider.client.list_providers()}


def test_device_that_does_not_exist_or_is_closed_is_refused(provider, sandbox):
    sandbox.admin.switches("qbraid", closed_devices=QPU)
    with pytest.raises(ResourceNotFoundError):
        provider.get_device("qbraid:nobody:sim:none")
    with pytest.raises(ValueError):
        provider.get_device(QPU)


def test_calibration_gives_the_best_chain_of_qubits(provider):
    qpu = provider.get_device(QPU)
    assert len(qpu.best_qubits(3)) == 3
    assert provider.get_device(SIMULATOR).get_calibrations() is None


def test_cost_is_quoted_where_there_is_a_price(provider):
    quote = provider.client.estimate_cost(QPU, shots=100)
    assert (quote.pricingAvailable, float(quote.estimatedCost)) == (True, 34.25)
    assert provider.client.estimate_cost("azure:rigetti:qpu:cepheus-1-36q").reason == "dynamic_pricing_unavailable"


# -- single jobs and lists -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("flipped", "expected"), [(0, "001"), (1, "010"), (2, "100")])
def test_one_flipped_qubit_is_read_at_its_own_place(device, flipped, expected):
    assert device.run(flip(3, flipped), shots=20).result().data.get_counts() == {expected: 20}


def test_permuted_measurement_and_two_registers(device):
    low, high = ClassicalRegister(1, "low"), ClassicalRegister(2, "high")
    circuit = QuantumCircuit(QuantumRegister(3, "q"), low, high)
    circuit.x(1)
    circuit.measure([0, 1, 2], [low[0], high[0], high[1]])
    assert device.run(circuit, shots=20).result().data.get_counts() == {"010": 20}


@pytest.mark.parametrize("version", ["2.0", "3.0"])
def test_program_text_is_run(device, version):
    text = f'OPENQASM {version};\ninclude "{"qelib1" if version == "2.0" else "stdgates"}.inc";\n'
    text += "qreg q[2];\ncreg c[2];\nx q[1];\nmeasure q -> c;\n" if version == "2.0" else ""
    text += "qubit[2] q;\nbit[2] c;\nx q[1];\nc = measure q;\n" if version == "3.0" else ""
    assert device.run(text, shots=5).result().data.get_counts() == {"10": 5}


def test_noise_model_reaches_the_simulator(device):
    counts = device.run(flip(2, 0), shots=4000, runtime_options={"noise_model": "bell-1"}).result()
    assert set(counts.data.get_counts()) > {"01"}


def test_list_is_one_job_per_program(device, sandbox):
    jobs = device.run([flip(2, 0), flip(2, 1), flip(2)], shots=10)
    assert [job.result().data.get_counts() for job in jobs] == [{"01": 10}, {"10": 10}, {"00": 10}]
    assert sandbox.admin.requests("qbraid.submit") == sandbox.admin.count_jobs("qbraid") == 3


def test_job_tells_program_metadata_and_position(device, sandbox):
    sandbox.admin.clock("frozen")
    job = device.run(flip(1), shots=10, name="nm", tags={"study": "a"})
    assert job.status() == JobStatus.INITIALIZING
    sandbox.admin.advance(5)
    assert job.status() == JobStatus.QUEUED
    assert job.program().format in ("qasm2", "qasm3")
    assert job.metadata()["tags"] == {"study": "a"}
    assert job.compiled_program() is None


def test_failed_job_gives_its_message_and_no_counts(device, sandbox):
    sandbox.admin.fault("fail_job", "qbraid.submit", message="laser off")
    job = device.run(flip(1), shots=10)
    assert job.status() == JobStatus.FAILED
    assert job.client.get_job(job.id).statusMsg == "laser off"
    result = job.result()
    assert not result.success
    with pytest.raises(ValueError, match="not available"):
        result.data.get_counts()


def test_invalid_program_fails_its_job(provider):
    job = provider.client.create_job(request(program=Program(format="qasm3", data=BROKEN)))
    assert provider.client.get_job(job.jobQrn).status.value == "FAILED"


def test_probabilities_stand_in_for_counts(device, sandbox):
    sandbox.admin.switches("qbraid", result_data="probabilities")
    assert device.run(flip(2, 0), shots=10).result().data.get_probabilities() == {"01": 1.0}


def test_cancel_of_a_queued_job_and_of_a_finished_one(device, sandbox):
    sandbox.admin.clock("frozen")
    job = device.run(flip(1), shots=10)
    with pytest.raises(QuantumRuntimeServiceRequestError, match="try again in a few moments"):
        job.cancel()  # what qBraid's replies of 2026-09-28 do to everybody who cancels at once
    sandbox.admin.advance(5)
    job.cancel()
    assert job.status() == JobStatus.CANCELLED
    assert not job.result().success
    with pytest.raises(JobStateError):
        job.cancel()


def test_jobs_are_listed_by_tag_status_and_page(provider, device, sandbox):
    sandbox.admin.clock("frozen")
    ids = [device.run(flip(1), shots=10, tags={"run": "a", "n": n}).id for n in range(3)]
    device.run(flip(1), shots=10, tags={"run": "b"})
    client = provider.client
    assert [job.jobQrn for job in client.list_jobs(tags={"run": "a"})] == ids[::-1]
    assert [job.jobQrn for job in client.list_jobs(tags={"run": "a"}, page=2, limit=2)] == ids[:1]
    sandbox.admin.release([ids[0]])
    assert client.list_jobs(tags={"run": "a"}, status_group="returned") == []  # nobody has read it by its id
    client.get_job(ids[0])
    assert [job.jobQrn for job in client.list_jobs(tags={"run": "a"}, status_group="returned")] == ids[:1]
    assert len(client.list_jobs(status_group="pending", vendor="qbraid")) == 3
    assert client.list_jobs(status="COMPLETED", search="nothing like it") == []
    assert len(client.list_platform_jobs(tags={"run": "a"})) == 3


def test_deleted_jobs_are_gone(provider, device):
    ids = [device.run(flip(1), shots=10).id for _ in range(3)]
    provider.client.delete_job(ids[0])
    provider.client.delete_jobs(ids[1:])
    assert provider.client.list_jobs() == []


# -- batches -------------------------------------------------------------------------------------------------------


def test_batch_is_one_job_with_results_in_order_and_their_widths(device, sandbox):
    job = device.run([flip(2, 0), flip(3, 2), flip(1, 0)], shots=10, as_batch=True)
    result = job.result()
    assert (job.client.get_job(job.id).numCircuits, result.num_circuits) == (3, 3)
    assert result.data.get_counts() == [{"01": 10}, {"100": 10}, {"1": 10}]
    assert sandbox.admin.requests("qbraid.submit") == sandbox.admin.count_jobs("qbraid") == 1
    assert len(job.program()) == 3


def test_failed_circuit_of_a_batch_leaves_the_others(device, sandbox):
    sandbox.admin.fault("fail_job", "qbraid.submit", children=[1], message="unsupported gate")
    result = device.run([flip(2, 0)] * 3, shots=10, as_batch=True).result()
    assert [part.success for part in result.results] == [True, False, True]
    assert result.results[1].details["statusMsg"] == "circuit 1: unsupported gate"
    assert result.data.get_counts() == [{"01": 10}, {}, {"01": 10}]


def test_batch_that_failed_in_all_circuits_loses_their_messages_in_the_client(device, sandbox):
    sandbox.admin.fault("fail_job", "qbraid.submit", children=[0, 1])
    result = device.run([flip(2, 0)] * 2, shots=10, as_batch=True).result()
    assert (result.success, [part.success for part in result.results]) == (False, [False, False])
    assert sandbox.admin.requests("qbraid.results") == 0


def test_batch_needs_support_and_a_list_before_any_request(provider, device, sandbox):
    with pytest.raises(ValueError, match="not supported"):
        provider.get_device(NO_BATCH).run([flip(1)], shots=10, as_batch=True)
    with pytest.raises(ValueError, match="list of programs"):
        device.run(flip(1), shots=10, as_batch=True)
    assert sandbox.admin.requests("qbraid.submit") == 0
    with pytest.raises(QuantumRuntimeServiceRequestError):
        provider.client.create_job(request(deviceQrn=NO_BATCH, program=[request().program]))


@pytest.mark.parametrize(("form", "kind"), [("plain", "Result"), ("batch", "BatchResult")])
def test_batch_of_one_has_the_type_its_body_has(device, sandbox, form, kind):
    sandbox.admin.switches("qbraid", batch_of_one=form)
    assert type(device.run([flip(2, 0)], shots=10, as_batch=True).result()).__name__ == kind


# -- groups --------------------------------------------------------------------------------------------------------


def test_group_holds_jobs_of_several_devices_and_ends_completed(provider, device, sandbox):
    with GroupJobSession(name="sweep", tags={"a": "1"}, client=provider.client) as group:
        one = device.run(flip(2, 0), shots=10)
        two = provider.get_device(OTHER).run(flip(2, 1), shots=10)
        device.run([flip(1), flip(1)], shots=10, as_batch=True)
        assert group.status().value == "OPEN"
    results = group.results()
    assert results[one.id].data.get_counts() == {"01": 10}
    assert results[two.id].data.get_counts() == {"10": 10}
    assert (len(results), len(results.failed()), group.status().value) == (3, 0, "COMPLETED")
    found = provider.client.get_group(group.group_id)
    assert (found.jobCount, found.completedCount, found.name, found.tags) == (3, 3, "sweep", {"a": "1"})
    assert len(provider.client.get_group_jobs(group.group_id)) == 3
    assert [entry.groupJobQrn for entry in provider.client.list_groups(status="COMPLETED")] == [group.group_id]


def test_cancelled_group_cancels_its_jobs(provider, device, sandbox):
    sandbox.admin.clock("frozen")
    with GroupJobSession(client=provider.client) as group:
        job = device.run(flip(1), shots=10)
        group.cancel()
    job.status()
    assert (job.status(), group.status().value) == (JobStatus.CANCELLED, "CANCELLED")


def test_group_with_a_failed_member_is_failed(provider, device, sandbox):
    sandbox.admin.fault("fail_job", "qbraid.submit")
    with GroupJobSession(client=provider.client) as group:
        device.run(flip(1), shots=10)
        device.run(flip(1), shots=10)
    assert len(group.results().failed()) == 1
    assert group.status().value == "FAILED"


def test_group_past_its_time_to_live_refuses_jobs_and_a_second_close(provider, device, sandbox):
    group = GroupJobSession(client=provider.client, max_ttl=60).open()
    device.run(flip(1), shots=10).status()
    sandbox.admin.advance(61)
    with pytest.raises(QuantumRuntimeServiceRequestError, match="not open"):
        device.run(flip(1), shots=10)
    assert provider.client.get_group(group.group_id).status.value == "COMPLETED"
    with pytest.raises(QuantumRuntimeServiceRequestError):
        group.close()


def test_expired_group_is_closed_only_when_somebody_looks(provider, sandbox):
    group = provider.client.create_group(name="idle", max_ttl=60)
    sandbox.admin.advance(61)
    assert [entry.status.value for entry in provider.client.list_groups()] == ["CLOSED"]
    provider.client.delete_group(group.groupJobQrn)
    provider.client.delete_group(group.groupJobQrn)


def test_job_of_a_plain_thread_is_silently_not_in_the_group(provider, device, sandbox):
    with GroupJobSession(client=provider.client) as group:
        worker = threading.Thread(target=lambda: device.run(flip(1), shots=10))
        worker.start()
        worker.join()
    assert (len(group.jobs), sandbox.admin.count_jobs("qbraid")) == (0, 1)


# -- where the client breaks on answers it does not expect -----------------------------------------------------------


def test_documented_answer_to_a_submission_loses_the_job_in_the_client(provider, sandbox):
    sandbox.admin.switches("qbraid", submit_body="lean")
    with pytest.raises(ValidationError):
        provider.client.create_job(request())
    assert sandbox.admin.count_jobs("qbraid") == 1


def test_cancelled_job_without_cost_has_no_result_in_the_client(device, sandbox):
    sandbox.admin.switches("qbraid", final_costs="null")
    sandbox.admin.fault("fail_job", "qbraid.submit")
    with pytest.raises(ValidationError):
        device.run(flip(1), shots=10).result()


@pytest.mark.parametrize("word", ["HOLD", "UNKNOWN"])
def test_withheld_job_is_waited_for_until_the_timeout(device, sandbox, word):
    sandbox.admin.switches("qbraid", finished_as=word)
    job = device.run(flip(1), shots=10)
    with pytest.raises(TimeoutError):
        job.wait_for_final_state(timeout=0, poll_interval=0)
    assert job.status().value == word


def test_new_status_word_is_a_validation_error_in_the_client(device, sandbox):
    sandbox.admin.switches("qbraid", finished_as="PAUSED")
    with pytest.raises(ValidationError):
        device.run(flip(1), shots=10).status()


def test_empty_account_refuses_jobs(provider, sandbox):
    sandbox.admin.switches("qbraid", credits=1.0)
    with pytest.raises(QuantumRuntimeServiceRequestError, match="insufficient credits"):
        provider.client.create_job(request(deviceQrn=QPU, shots=100))


@pytest.mark.parametrize("shape", ["envelope", "detail"])
def test_validation_error_is_understood_in_both_shapes(provider, sandbox, shape):
    sandbox.admin.switches("qbraid", validation_shape=shape)
    with pytest.raises(QuantumRuntimeServiceRequestError, match="page"):
        provider.client.list_jobs(page=0)


# -- how it buys twice: the table of faults on POST /jobs ------------------------------------------------------------


def submit_under(provider: QbraidProvider, sandbox: Sandbox, kind: str, **members: Any) -> tuple[bool, int, int]:
    """Whether the client got an id, how many requests it sent, how many jobs the vendor then had."""
    sandbox.admin.fault(kind, "qbraid.submit", **members)
    try:
        has_id = bool(provider.client.create_job(request()).jobQrn)
    except QuantumRuntimeServiceRequestError:
        has_id = False
    return has_id, sandbox.admin.requests("qbraid.submit"), sandbox.admin.count_jobs("qbraid")


def test_drop_before_acceptance_is_one_request_and_no_job(provider, sandbox):
    assert submit_under(provider, sandbox, "drop_before") == (False, 1, 0)


def test_accepted_then_dropped_is_a_job_whose_id_is_lost(provider, sandbox):
    assert submit_under(provider, sandbox, "drop_after") == (False, 1, 1)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 522, 524])
def test_accepted_then_one_server_error_is_bought_twice_silently(provider, sandbox, status):
    assert submit_under(provider, sandbox, "status", status=status, accepted=True) == (True, 2, 2)


def test_accepted_then_always_a_gateway_timeout_is_bought_four_times(provider, sandbox):
    assert submit_under(provider, sandbox, "status", status=504, accepted=True, times=None) == (False, 4, 4)


@pytest.mark.parametrize("status", [408, 429])
def test_accepted_then_refused_is_a_job_whose_id_is_lost(provider, sandbox, status):
    assert submit_under(provider, sandbox, "status", status=status, accepted=True) == (False, 1, 1)


def test_group_accepted_then_bad_gateway_is_created_twice(provider, sandbox):
    sandbox.admin.fault("status", "qbraid.group_create", status=502, accepted=True)
    provider.client.create_group(name="twin")
    assert len(provider.client.list_groups()) == 2
