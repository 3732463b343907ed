"""The tasks in users' flows: sync and async, the three laws of repetition, cancel, attach."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest
from deployed_flows import BELL, GHZ
from prefect import flow, task, unmapped
from prefect.client.orchestration import get_client
from prefect.context import SyncClientContext
from prefect_records import task_runs, until

import qflows
from qflows.errors import JobCancelled, JobFailed, UnknownJob
from qflows.sandbox import Admin

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]

DEVICE = "ionq-simulator"


def test_submit_and_map_work_from_an_async_flow(ionq: Admin) -> None:
    @flow
    async def asynchronous() -> list[dict[str, int]]:
        future = qflows.submit.submit(BELL, device=DEVICE, shots=40)
        mapped = qflows.submit.map([BELL, GHZ], device=unmapped(DEVICE), shots=unmapped(40))
        with SyncClientContext.get_or_create():
            direct = qflows.submit(GHZ, device=DEVICE, shots=40)
        jobs = [future.result(), *mapped.result(), direct]
        await asyncio.to_thread(lambda: None)  # the loop lives
        return [one.result().counts for one in qflows.result.map(jobs)]

    counts = asyncio.run(asynchronous())
    assert [sum(one.values()) for one in counts] == [40] * 4
    assert [len(next(iter(one))) for one in counts] == [2, 2, 3, 3]
    assert ionq.count_jobs("ionq") == 4


def test_unavailable_vendor_while_polling_does_not_buy_again(ionq: Admin) -> None:
    @flow
    def patient() -> int:
        return sum(qflows.run(BELL, device=DEVICE, shots=40).counts.values())

    for route in ("ionq.list", "ionq.get", "ionq.results"):
        ionq.fault("status", route, status=503, times=2)
    assert patient() == 40
    assert ionq.count_jobs("ionq") == 1
    assert sum(one["fired"] for one in ionq.faults()) >= 2


def test_failed_job_fails_its_task_at_the_first_try(ionq: Admin) -> None:
    ionq.fault("fail_job", "ionq.submit", code="InvalidInput", message="no such gate")

    @flow
    def doomed() -> None:
        qflows.run(BELL, device=DEVICE, shots=40)

    state = doomed(return_state=True)
    error = state.result(raise_on_failure=False)
    assert isinstance(error, JobFailed)
    assert (error.provider, error.vendor_id) == ("ionq", ionq.jobs("ionq")[0]["id"])
    assert [one.run_count for one in task_runs(state.state_details.flow_run_id)] == [1]
    assert ionq.count_jobs("ionq") == 1


def test_ledger_that_is_away_for_a_moment_is_tried_again(ionq: Admin, ledger_env: dict[str, str]) -> None:
    ledger = Path(ledger_env["QFLOWS_LEDGER_URL"].removeprefix("sqlite:///"))
    ledger.write_bytes(b"this is not a database" * 100)
    tried = threading.Event()

    @flow
    def patient() -> str:
        repair = threading.Thread(target=lambda: tried.wait(60) and ledger.unlink())
        repair.start()
        # the task is a copy whose hook tells of the first try's end; its law of repetition is the original's
        watched = qflows.submit.with_options(task_run_name=_tell(tried))
        job = watched(BELL, device=DEVICE, shots=40)
        repair.join()
        return job.key

    assert patient()
    assert ionq.count_jobs("ionq") == 1
    with sqlite3.connect(ledger) as found:
        assert found.execute("select count(*) from jobs").fetchone() == (1,)


def _tell(tried: threading.Event):
    def name() -> str:
        tried.set()
        return "submit, watched"

    return name


def test_cancelled_job_is_over_at_the_vendor_when_cancel_returns(ionq: Admin) -> None:
    ionq.clock("frozen")

    @flow
    def second_thoughts() -> str:
        job = qflows.submit(BELL, device=DEVICE, shots=40)
        [over] = qflows.cancel(job)
        assert over.status is qflows.JobStatus.CANCELLED
        qflows.result(job)
        return job.key

    state = second_thoughts(return_state=True)
    assert isinstance(state.result(raise_on_failure=False), JobCancelled)
    assert [job["phase"] for job in ionq.jobs("ionq")] == ["cancelled"]


def test_cancel_of_a_finished_job_is_too_late_and_keeps_its_counts(ionq: Admin) -> None:
    @flow
    def too_late() -> tuple[str, int]:
        job = qflows.submit(BELL, device=DEVICE, shots=40)
        qflows.wait([job])
        [over] = qflows.cancel([job])
        return over.status.value, sum(qflows.result(job).counts.values())

    assert too_late() == ("COMPLETED", 40)


def test_map_over_results_keeps_the_order(ionq: Admin) -> None:
    @flow
    def mapped() -> list[int]:
        jobs = qflows.submit.map([BELL, GHZ, BELL], device=unmapped(DEVICE), shots=unmapped(30))
        return [len(next(iter(one.counts))) for one in qflows.result.map(jobs).result()]

    assert mapped() == [2, 3, 2]
    assert ionq.count_jobs("ionq") == 3


def test_unknown_name_is_not_attached(ionq: Admin) -> None:
    with pytest.raises(UnknownJob, match="jobs ls"):
        qflows.attach("0123456789abcdef")


def test_task_inside_a_users_task_waits_for_futures_as_usual(ionq: Admin) -> None:
    @task
    def measure(program: str) -> int:
        return sum(qflows.run(program, device=DEVICE, shots=25).counts.values())

    @flow
    def outer() -> list[int]:
        return measure.map([BELL, BELL]).result()

    state = outer(return_state=True)
    assert state.result() == [25, 25]
    assert ionq.count_jobs("ionq") == 2  # equal circuits of two tasks are two samples
    with get_client(sync_client=True) as api:
        assert until(lambda: api.read_flow_run(state.state_details.flow_run_id)).state.is_completed()
