"""IBM Quantum, "Monitor or cancel a job" and "Run jobs in a session" (quantum.cloud.ibm.com/docs/guides, read 2026-11).

The functions named `theirs_…` use the unmodified qiskit-ibm-runtime.
"""

# the vendors' clients are not typed
# pyright: basic
from __future__ import annotations

import pytest

import qflows
from qflows.sandbox import Sandbox

from .circuits import flip

pytestmark = [pytest.mark.usefixtures("desk"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def theirs_sampler_job():
    from qiskit.transpiler import generate_preset_pass_manager
    from qiskit_ibm_runtime import QiskitRuntimeService, SamplerV2

    backend = QiskitRuntimeService().backend("ibm_manila")
    isa = generate_preset_pass_manager(optimization_level=1, backend=backend).run(flip(3, 0, 1))
    job = SamplerV2(mode=backend).run([isa], shots=100)
    return job.result()[0].data.c.get_counts()


def ours_sampler_job():
    return qflows.run(flip(3, 0, 1), device="ibm-sandbox", shots=100, run_key="sampler").counts


def theirs_monitor_and_retrieve():
    from qiskit.transpiler import generate_preset_pass_manager
    from qiskit_ibm_runtime import QiskitRuntimeService, SamplerV2

    service = QiskitRuntimeService()
    backend = service.backend("ibm_manila")
    isa = generate_preset_pass_manager(optimization_level=1, backend=backend).run(flip(3, 2))
    sampler = SamplerV2(mode=backend)
    sampler.options.environment.job_tags = ["study=h2"]
    sent = sampler.run([isa], shots=100)
    job = service.job(sent.job_id())
    job.wait_for_final_state()
    assert job.status() == "DONE"
    assert job.metrics()["timestamps"]["finished"]
    assert [one.job_id() for one in service.jobs(limit=10, job_tags=["study=h2"])] == [sent.job_id()]
    return job.result()[0].data.c.get_counts()


def ours_monitor_and_retrieve():
    sent = qflows.submit(flip(3, 2), device="ibm-sandbox", shots=100, tags={"study": "h2"}, run_key="retrieve")
    job = qflows.attach(sent.key)
    [job] = qflows.wait(job)
    assert job.status == "COMPLETED"
    assert job.timeline.finished
    assert [one.id for one in qflows.jobs(limit=10, tag="study=h2")] == [job.id]
    return qflows.result(job).counts


def theirs_cancel():
    from qiskit.transpiler import generate_preset_pass_manager
    from qiskit_ibm_runtime import QiskitRuntimeService, SamplerV2

    backend = QiskitRuntimeService().backend("ibm_manila")
    isa = generate_preset_pass_manager(optimization_level=1, backend=backend).run(flip(3, 2))
    job = SamplerV2(mode=backend).run([isa], shots=100)
    job.cancel()
    return job.status()


def ours_cancel():
    job = qflows.submit(flip(3, 2), device="ibm-sandbox", shots=100, run_key="cancel")
    return qflows.cancel(job)[0].status.value


def theirs_session():
    from qiskit.transpiler import generate_preset_pass_manager
    from qiskit_ibm_runtime import QiskitRuntimeService, SamplerV2, Session

    backend = QiskitRuntimeService().backend("ibm_manila")
    passes = generate_preset_pass_manager(optimization_level=1, backend=backend)
    with Session(backend=backend, max_time="25m") as session:
        sampler = SamplerV2(mode=session)
        first = sampler.run([passes.run(flip(3, 0))], shots=100).result()[0].data.c.get_counts()
        second = sampler.run([passes.run(flip(3, 1))], shots=100).result()[0].data.c.get_counts()
        details = session.details()
    return first, second, details["max_time"], details["accepting_jobs"]


def ours_session():
    with qflows.session("ibm-sandbox", max_time="25m", run_key="session") as session:
        first = session.run(flip(3, 0), shots=100).counts
        second = session.run(flip(3, 1), shots=100).counts
        details = session.details()
    return first, second, details.max_time_s, details.is_open


def theirs_estimator():
    from qiskit.quantum_info import SparsePauliOp
    from qiskit.transpiler import generate_preset_pass_manager
    from qiskit_ibm_runtime import EstimatorV2, QiskitRuntimeService

    backend = QiskitRuntimeService().backend("ibm_manila")
    circuit = flip(2, 0).remove_final_measurements(inplace=False)
    isa = generate_preset_pass_manager(optimization_level=1, backend=backend).run(circuit)
    observable = SparsePauliOp(["ZI", "IZ"]).apply_layout(isa.layout)
    job = EstimatorV2(mode=backend).run([(isa, [[SparsePauliOp("IZ").apply_layout(isa.layout)], [observable]])])
    return [round(float(value), 1) for value in job.result()[0].data.evs.ravel()]


def ours_estimator():
    circuit = flip(2, 0).remove_final_measurements(inplace=False)
    wanted = [("IZ", 1.0)], [("ZI", 1.0), ("IZ", 1.0)]
    found = qflows.run(circuit, device="ibm-sandbox", shots=1000, observables=wanted, run_key="estimator")
    return [round(one.value, 1) for one in found.expectations]


def test_sampler_job() -> None:
    assert ours_sampler_job() == theirs_sampler_job() == {"011": 100}


def test_monitor_and_retrieve() -> None:
    assert ours_monitor_and_retrieve() == {"100": 100}


def test_their_monitor_and_retrieve() -> None:
    assert theirs_monitor_and_retrieve() == {"100": 100}


def test_cancel(desk: Sandbox) -> None:
    desk.admin.clock("frozen")
    assert (ours_cancel(), theirs_cancel()) == ("CANCELLED", "CANCELLED")


def test_session() -> None:
    assert ours_session() == theirs_session() == ({"001": 100}, {"010": 100}, 1500, True)


def test_estimator() -> None:
    assert ours_estimator() == theirs_estimator() == [-1.0, 0.0]
