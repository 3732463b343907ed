"""IonQ, "Jobs" and "Sessions" (docs.ionq.com, read 2026-11): jobs, lists of circuits, probabilities, noise, sessions.

The functions named `theirs_…` use the unmodified qiskit-ionq.
"""

# the vendors' clients are not typed
# pyright: basic
from __future__ import annotations

import pytest

import qflows
from qflows.sandbox import Sandbox

from .circuits import flip

pytest.importorskip("qiskit_ionq")
pytestmark = [
    pytest.mark.usefixtures("desk"),
    pytest.mark.filterwarnings("ignore:Transpiler default optimization_level"),
]


def theirs_job_with_metadata():
    from qiskit_ionq import IonQProvider

    backend = IonQProvider().get_backend("ionq_simulator")
    job = backend.run(flip(3, 0, 1), shots=100, extra_metadata={"study": "h2"})
    return job.result().get_counts(), job.result().get_probabilities()


def ours_job_with_metadata():
    result = qflows.run(flip(3, 0, 1), device="ionq-simulator", shots=100, tags={"study": "h2"}, run_key="job")
    return result.counts, result.probabilities


def theirs_list_of_circuits():
    from qiskit_ionq import IonQProvider

    job = IonQProvider().get_backend("ionq_simulator").run([flip(2, 0), flip(2, 1)], shots=100)
    return job.result().get_counts()


def ours_list_of_circuits():
    return (
        qflows.batch([flip(2, 0), flip(2, 1)], device="ionq-simulator", shots=100, run_key="list")
        .result()
        .data.get_counts()
    )


def theirs_retrieve_and_cancel():
    from qiskit_ionq import IonQProvider

    backend = IonQProvider().get_backend("ionq_simulator")
    sent = backend.run(flip(2, 1), shots=100)
    job = backend.retrieve_job(sent.job_id())
    job.cancel()
    return job.status().name


def ours_retrieve_and_cancel():
    sent = qflows.submit(flip(2, 1), device="ionq-simulator", shots=100, run_key="cancel")
    job = qflows.attach(sent.id)
    return qflows.cancel(job)[0].status.name


def theirs_session():
    from qiskit_ionq import IonQProvider, Session

    backend = IonQProvider().get_backend("ionq_qpu.forte-1")
    with Session(backend, max_jobs=3, max_time=10) as session:
        job = backend.run(flip(2, 1), shots=100, session_id=session.session_id)
        counts = job.result().get_counts()
    return counts, session.details()["status"]


def ours_session():
    with qflows.session("ionq-forte-1", max_time="10m", options={"max_jobs": 3}, run_key="session") as session:
        counts = session.run(flip(2, 1), shots=100).counts
    return counts, session.details().state


def test_job_with_metadata() -> None:
    assert ours_job_with_metadata() == theirs_job_with_metadata() == ({"011": 100}, {"011": 1.0})


def test_list_of_circuits(desk: Sandbox) -> None:
    assert ours_list_of_circuits() == theirs_list_of_circuits() == [{"01": 100}, {"10": 100}]


def test_retrieve_and_cancel(desk: Sandbox) -> None:
    desk.admin.clock("frozen")
    assert ours_retrieve_and_cancel() == theirs_retrieve_and_cancel() == "CANCELLED"


def test_session(desk: Sandbox) -> None:
    desk.admin.switches("ionq", qpu_noise=False)
    ours, theirs = ours_session(), theirs_session()
    assert ours == theirs
    assert ours[1] == "ended"
