"""The unmodified qiskit-ibm-runtime client over HTTP: sessions and batches, their TTLs, and how it opens two."""

from __future__ import annotations

import pytest
from ibm_client import flip, isa, sampler
from qiskit_ibm_runtime import Batch, Session
from qiskit_ibm_runtime.exceptions import IBMInputValueError, IBMRuntimeError, RuntimeJobFailureError


@pytest.mark.parametrize(("kind", "mode"), [(Session, "dedicated"), (Batch, "batch")])
def test_block_opens_runs_and_closes(ibm, service, backend, kind, mode):
    with kind(backend, max_time="10m") as session:
        job = sampler(session).run([isa(flip(1), backend)], shots=4)
        job.result()
        details = session.details()
        assert (details["mode"], details["state"], details["max_time"]) == (mode, "active", 600)
        assert details["interactive_timeout"] == 60
        assert session.status() == "In progress, accepting new jobs"
    assert session.status() == "Closed"
    assert session.usage() > 0
    assert [one.job_id() for one in service.jobs(session_id=session.session_id)] == [job.job_id()]
    assert job.session_id == session.session_id


def test_session_is_found_again_by_id_and_by_the_right_class(service, backend):
    session = Session(backend, max_time=300)
    assert session.status() == "Pending"
    again = Session.from_id(session.session_id, service)
    assert sampler(again).run([isa(flip(1), backend)], shots=1).result()
    with pytest.raises(IBMInputValueError, match="dedicated"):
        Batch.from_id(session.session_id, service)
    with pytest.raises(IBMInputValueError, match="not found"):
        Session.from_id("00000000-0000-4000-8000-000000000000", service)


def test_close_lets_queued_jobs_run_and_cancel_does_not(ibm, backend):
    ibm.admin.clock("frozen")
    compiled = isa(flip(1), backend)
    closed, cancelled = Session(backend), Session(backend)
    kept, dropped = sampler(closed).run([compiled], shots=1), sampler(cancelled).run([compiled], shots=1)
    closed.close()
    cancelled.cancel()
    assert closed.details()["accepting_jobs"] is False
    assert closed.details()["state"] != "closed"
    assert (kept.status(), dropped.status()) == ("QUEUED", "ERROR")
    assert "1217" in dropped.error_message()
    ibm.admin.release()
    assert kept.result(timeout=10)
    assert (closed.status(), cancelled.status()) == ("Closed", "Closed")


def test_idle_session_goes_inactive_and_ends_at_its_maximum_time(ibm, service, backend):
    session = Session(backend, max_time=600)
    compiled = isa(flip(1), backend)
    sampler(session).run([compiled], shots=1).result()
    ibm.admin.advance(61)
    assert session.details()["state"] == "inactive"
    assert session.usage() == pytest.approx(60, abs=2)
    ibm.admin.advance(600)
    details = session.details()
    assert (details["state"], details["accepting_jobs"]) == ("closed", False)
    assert [entry["status"] for entry in details["timestamps"]] == ["open", "active", "inactive", "closed"]
    late = Session.from_id(session.session_id, service)
    late._active = True  # the client refuses by itself; the server must too
    with pytest.raises(IBMRuntimeError, match="409"):
        sampler(late).run([compiled], shots=1)


def test_at_its_maximum_time_queued_jobs_fail(ibm, backend):
    session = Session(backend, max_time=60)
    compiled = isa(flip(1), backend)
    sampler(session).run([compiled], shots=1).result()
    ibm.admin.clock("frozen")
    waiting = sampler(session).run([compiled], shots=1)
    ibm.admin.advance(61)
    with pytest.raises(RuntimeJobFailureError, match="maximum time"):
        waiting.result(timeout=5)


def test_lost_answer_opens_two_sessions(ibm, backend):
    ibm.admin.fault("status", "ibm.session_create", status=502, accepted=True)
    assert Session(backend).session_id
    assert ibm.admin.requests("ibm.session_create") == 2
