"""The unmodified qiskit-ibm-runtime client over HTTP: jobs, tags, lists, limits, and how it buys twice."""

from __future__ import annotations

import warnings
from datetime import datetime, timedelta

import numpy as np
import pytest
from ibm_client import SUBMIT, flip, isa, sampler
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit_ibm_runtime import QiskitRuntimeService
from qiskit_ibm_runtime.exceptions import (
    IBMNotAuthorizedError,
    IBMRuntimeError,
    RuntimeInvalidStateError,
    RuntimeJobFailureError,
    RuntimeJobMaxTimeoutError,
    RuntimeJobNotFound,
    RuntimeJobTimeoutError,
)


def test_job_is_retrieved_by_id_with_result_metrics_logs_and_inputs(quiet, service, backend):
    job = sampler(backend, environment={"job_tags": ["a", "b"]}).run([isa(flip(1), backend)], shots=5)
    again = QiskitRuntimeService().job(job.job_id())
    assert again.result()[0].data.meas.get_counts() == {"0": 5}
    assert (again.status(), again.tags, again.primitive_id) == ("DONE", ["a", "b"], "sampler")
    assert again.metrics()["timestamps"]["finished"]
    assert again.usage() > 0
    assert again.usage_estimation["quantum_seconds"] > 0
    assert again.inputs["pubs"]
    assert job.job_id() in again.logs()
    assert again.properties() is not None


def test_status_moves_with_the_clock_and_a_wait_can_time_out(ibm, backend):
    ibm.admin.clock("frozen")
    job = sampler(backend).run([isa(flip(1), backend)], shots=5)
    assert job.status() == "QUEUED"
    with pytest.raises(RuntimeJobTimeoutError):
        job.result(timeout=0.1, poll_interval=0.1)
    ibm.admin.release()
    assert job.result(timeout=10)[0].data.meas.num_shots == 5


def test_cancelled_job_has_no_result_and_is_not_cancelled_twice(ibm, service, backend):
    ibm.admin.clock("frozen")
    job = sampler(backend).run([isa(flip(1), backend)], shots=5)
    job.cancel()
    assert service.job(job.job_id()).status() == "CANCELLED"
    with pytest.raises(RuntimeInvalidStateError):
        job.result()
    with pytest.raises(RuntimeInvalidStateError):
        service.job(job.job_id()).cancel()


def test_jobs_are_listed_by_tag_session_state_time_and_page(ibm, service, backend):
    compiled = isa(flip(1), backend)
    for i in range(25):
        sampler(backend, environment={"job_tags": ["all", f"n{i % 2}"]}).run([compiled], shots=1)
    assert len(service.jobs(limit=None)) == 25
    assert len(service.jobs(limit=100, job_tags=["all"])) == 25
    assert len(service.jobs(limit=100, job_tags=["all", "n1"])) == 12
    assert service.jobs(limit=5, job_tags=["nobody"]) == []
    newest, oldest = (service.jobs(limit=1, descending=order)[0] for order in (True, False))
    assert newest.creation_date > oldest.creation_date
    assert service.jobs(limit=5, pending=True) == []
    assert len(service.jobs(limit=30, backend_name="ibm_manila", program_id="sampler", pending=False)) == 25
    assert service.jobs(limit=5, created_after=datetime.now() + timedelta(hours=1)) == []
    assert service.jobs(limit=5, session_id="unknown") == []
    assert [job.job_id() for job in service.jobs(limit=3, skip=1)][0] != newest.job_id()


def test_tags_are_replaced_and_limited(ibm, service, backend):
    job = sampler(backend, environment={"job_tags": ["old"]}).run([isa(flip(1), backend)], shots=1)
    assert sorted(job.update_tags(["x", "y"])) == ["x", "y"]
    assert service.jobs(job_tags=["old"]) == []
    for tags in ([f"t{i}" for i in range(9)], ["x" * 87]):
        with pytest.raises(IBMRuntimeError, match="120[45]"):
            sampler(backend, environment={"job_tags": tags}).run([isa(flip(1), backend)], shots=1)
    assert sampler(backend, environment={"job_tags": ["x" * 86]}).run([isa(flip(1), backend)], shots=1).job_id()


def test_deleted_job_is_gone(service, backend):
    job = sampler(backend).run([isa(flip(1), backend)], shots=1)
    job.result()
    service.delete_job(job.job_id())
    with pytest.raises(RuntimeJobNotFound):
        service.job(job.job_id())


def test_private_result_is_read_once_and_its_inputs_never(quiet, service, backend):
    job = sampler(backend, environment={"private": True}).run([isa(flip(1), backend)], shots=3)
    assert job.result()[0].data.meas.num_shots == 3
    again = service.job(job.job_id())
    assert again.private
    assert again.inputs == {}
    assert again.result() is None


def test_failed_job_raises_with_its_code(ibm, backend):
    ibm.admin.fault("fail_job", SUBMIT, code="1517", message="the fridge is warm")
    with pytest.raises(RuntimeJobFailureError, match="1517; the fridge is warm"):
        sampler(backend).run([isa(flip(1), backend)], shots=1).result()


def test_job_over_its_time_limit_raises_its_own_error(ibm, backend):
    ibm.admin.fault("fail_job", SUBMIT, code="1305", message="ran too long")
    with pytest.raises(RuntimeJobMaxTimeoutError):
        sampler(backend).run([isa(flip(1), backend)], shots=1).result()


def test_empty_result_becomes_none_in_the_client(ibm, backend):
    ibm.admin.switches("ibm", results_204_reads=1)
    job = sampler(backend).run([isa(flip(1), backend)], shots=1)
    assert job.result() is None
    assert job.result() is not None


# -- limits and errors -----------------------------------------------------------------------------------------------


def test_sixth_job_of_a_minute_is_throttled_if_switched_on(ibm, backend):
    ibm.admin.switches("ibm", submits_per_minute=5)
    compiled = isa(flip(1), backend)
    for _ in range(5):
        sampler(backend).run([compiled], shots=1)
    with pytest.raises(IBMRuntimeError, match="429"):
        sampler(backend).run([compiled], shots=1)
    ibm.admin.advance(61)
    assert sampler(backend).run([compiled], shots=1).job_id()


@pytest.mark.parametrize(("shape", "text"), [("errors", '"code":"1266"'), ("both", "Error code: 1266")])
def test_usage_limit_refuses_with_409_in_either_error_shape(ibm, backend, shape, text):
    ibm.admin.switches("ibm", usage_limit_s=0.01, error_body=shape)
    compiled = isa(flip(1), backend)
    sampler(backend).run([compiled], shots=100).result()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(IBMRuntimeError, match="409") as caught:
            sampler(backend).run([compiled], shots=1)
    assert text in str(caught.value)


def test_expired_token_is_renewed_by_the_client(ibm):
    ibm.admin.switches("ibm", token_lifetime_s=1)
    service = QiskitRuntimeService()
    before = ibm.admin.requests("ibm.token")
    ibm.admin.wait_until(lambda: bool(service.usage()) and ibm.admin.requests("ibm.token") > before, timeout_s=10)


def test_unauthorised_is_its_own_error(ibm, backend):
    ibm.admin.fault("status", SUBMIT, status=401)
    with pytest.raises(IBMNotAuthorizedError):
        sampler(backend).run([isa(flip(1), backend)], shots=1)


@pytest.mark.parametrize(("seconds", "jobs"), [(0.0, 2), (60.0, 1)])
def test_lost_answer_is_bought_twice_unless_the_server_deduplicates(ibm, backend, seconds, jobs):
    ibm.admin.switches("ibm", dedupe_s=seconds)
    ibm.admin.fault("status", SUBMIT, status=502, accepted=True)
    assert sampler(backend).run([isa(flip(1), backend)], shots=1).job_id()
    assert (ibm.admin.requests(SUBMIT), ibm.admin.count_jobs("ibm")) == (2, jobs)


def test_points_of_a_sweep_count_as_executions(ibm, backend):
    angle = Parameter("t")
    circuit = QuantumCircuit(1, 1)
    circuit.rz(angle, 0)
    circuit.measure(0, 0)
    compiled = isa(circuit, backend)
    late = sampler(backend).run([(compiled, np.zeros((101, 1)))], shots=100_000)
    with pytest.raises(RuntimeJobFailureError, match="1520; 10100000 executions"):
        late.result()
    assert late.usage() == 2
    ibm.admin.clock("frozen")
    sampler(backend).run([(compiled, np.zeros((100, 1)))], shots=100_000)
    assert ibm.admin.count_jobs("ibm") == 2
