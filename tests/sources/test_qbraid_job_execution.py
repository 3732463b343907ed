"""qBraid, "Job execution" (docs.qbraid.com/v2, read 2026-11): single jobs, batches on a device, groups over devices.

The functions named `theirs_…` use qBraid's unmodified client.
"""

# the vendors' clients are not typed
# pyright: basic
from __future__ import annotations

import pytest

import qflows
from qflows.sandbox import Sandbox

from .circuits import flip

pytest.importorskip("qbraid")
pytestmark = pytest.mark.usefixtures("desk")

PROGRAM = 'OPENQASM 3.0; include "stdgates.inc"; qubit[3] q; bit[3] c; x q[0]; x q[1]; c = measure q;'


def theirs_single_job():
    from qbraid.runtime import QbraidProvider

    device = QbraidProvider().get_device("qbraid:qbraid:sim:qir-sv")
    job = device.run(PROGRAM, shots=100)
    return job.result().data.get_counts()


def ours_single_job():
    job = qflows.submit(PROGRAM, device="qbraid-qir-sv", shots=100, run_key="single")
    return qflows.result(job).data.get_counts()


def theirs_several_programs():
    from qbraid.runtime import QbraidProvider

    device = QbraidProvider().get_device("qbraid:qbraid:sim:qir-sv")
    jobs = device.run([flip(2, 0), flip(2, 1), flip(3, 2)], shots=100)
    return [job.result().data.get_counts() for job in jobs]


def ours_several_programs():
    batch = qflows.batch([flip(2, 0), flip(2, 1), flip(3, 2)], device="qbraid-qir-sv", shots=100, run_key="several")
    return batch.result().data.get_counts()


def theirs_batch_job():
    from qbraid.runtime import QbraidProvider

    device = QbraidProvider().get_device("qbraid:equal1:sim:bell-1")
    if not device.profile.batch_job_support:
        raise ValueError("no batches")
    job = device.run([flip(2, 0), flip(2, 1)], shots=100, as_batch=True)
    return job.result().data.get_counts()


def ours_batch_job():
    batch = qflows.batch([flip(2, 0), flip(2, 1)], device="qbraid-bell-1", shots=100, as_batch=True, run_key="as-batch")
    return batch.result().data.get_counts()


def theirs_group_over_devices():
    from qbraid.runtime import GroupJobSession, QbraidProvider

    provider = QbraidProvider()
    with GroupJobSession(name="compare", tags={"study": "a"}, max_ttl=3600, client=provider.client) as group:
        for name in ("qbraid:qbraid:sim:qir-sv", "qbraid:equal1:sim:bell-1"):
            provider.get_device(name).run(flip(2, 1), shots=100)
    results = group.results()
    return [results[name].data.get_counts() for name in results], len(results.failed())


def ours_group_over_devices():
    with qflows.group("compare", tags={"study": "a"}, max_ttl=3600, run_key="group") as group:
        for name in ("qbraid-qir-sv", "qbraid-bell-1"):
            group.submit(flip(2, 1), device=name, shots=100)
    results = group.results()
    return [result.data.get_counts() for _, result in results.items()], len(results.failed())


def theirs_look_up_and_cancel():
    import time

    from qbraid.runtime import QbraidJob, QbraidProvider

    provider = QbraidProvider()
    sent = provider.get_device("qbraid:qbraid:sim:qir-sv").run(flip(2, 1), shots=100)
    job = QbraidJob(sent.id, client=provider.client)
    while job.status().name == "INITIALIZING":  # it cannot be cancelled yet
        time.sleep(0.1)
    job.cancel()
    job.wait_for_final_state()
    return job.status().name


def ours_look_up_and_cancel():
    sent = qflows.submit(flip(2, 1), device="qbraid-qir-sv", shots=100, run_key="cancel")
    job = qflows.attach(sent.id)
    return qflows.cancel(job)[0].status.name


def test_single_job() -> None:
    assert ours_single_job() == theirs_single_job() == {"011": 100}


def test_several_programs() -> None:
    assert ours_several_programs() == theirs_several_programs() == [{"01": 100}, {"10": 100}, {"100": 100}]


def test_batch_job(desk: Sandbox) -> None:
    assert ours_batch_job() == theirs_batch_job() == [{"01": 100}, {"10": 100}]
    assert desk.admin.count_jobs() == 2


def test_group_over_devices() -> None:
    assert ours_group_over_devices() == theirs_group_over_devices() == ([{"10": 100}, {"10": 100}], 0)


def test_look_up_and_cancel(desk: Sandbox) -> None:
    desk.admin.clock("frozen")
    assert ours_look_up_and_cancel() == theirs_look_up_and_cancel() == "CANCELLED"
