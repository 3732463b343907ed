"""Groups inside Prefect: who is a member without being told, and the callback as a task run."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from deployed_flows import BELL, GHZ, part
from prefect import flow, task, unmapped
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.task_runners import ProcessPoolTaskRunner
from prefect_records import task_runs

import qflows
from qflows.errors import CallbackFailed, GroupClosed
from qflows.sandbox import Admin
from qflows.states import GroupState

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]

DEVICE = "ionq-simulator"


@task(persist_result=False, cache_policy=NO_CACHE)
def buy_inside(program: str) -> str:
    """A task that knows nothing of a group."""
    return qflows.submit(program, device=DEVICE, shots=50).key


@task(persist_result=False, cache_policy=NO_CACHE)
def buy_with(group: qflows.Group, program: str) -> str:
    """A task that is given the group."""
    return group.submit(program, device=DEVICE, shots=50).key


def test_direct_mapped_nested_and_subflow_purchases_are_members(ionq: Admin) -> None:
    @flow
    def grouped() -> tuple[str, list[str]]:
        with qflows.group("sweep") as g:
            keys = [qflows.submit(BELL, device=DEVICE, shots=50).key]
            keys += [job.key for job in qflows.submit.map([BELL, GHZ], device=unmapped(DEVICE), shots=50).result()]
            keys += buy_inside.map([BELL, GHZ]).result()
            keys.append(part(DEVICE))
        return str(g.id), keys

    id_, keys = grouped()
    g = qflows.attach(id_, qflows.Group)
    assert sorted(job.key for job in g.jobs) == sorted(keys)
    assert len(set(keys)) == 6
    assert ionq.count_jobs("ionq") == 6


def test_retried_flow_goes_on_in_its_group_and_calls_back_once(ionq: Admin) -> None:
    attempts: list[str] = []
    called: list[int] = []

    @flow(retries=1, retry_delay_seconds=0)
    def fragile() -> str:
        with qflows.group("sweep") as g:
            g.on_all_complete(lambda found: called.append(len(found)))
            attempts.append(str(g.id))
            qflows.submit(BELL, device=DEVICE, shots=50)
            if len(attempts) == 1:
                raise ConnectionError("between two purchases")
            qflows.submit(GHZ, device=DEVICE, shots=50)
        return str(g.id)

    id_ = fragile()
    assert attempts == [id_, id_]
    assert called == [2]
    assert ionq.count_jobs("ionq") == 2
    assert qflows.attach(id_, qflows.Group).status() is GroupState.COMPLETED


def test_callback_is_one_task_run_and_its_failure_is_seen(ionq: Admin) -> None:
    def explode(found: Any) -> None:
        raise ValueError("no room")

    ran: list[Any] = []

    @flow
    def grouped() -> None:
        context = FlowRunContext.get()
        assert context is not None
        ran.append(context.flow_run)
        with qflows.group("sweep") as g:
            qflows.submit(BELL, device=DEVICE, shots=50)
            g.on_all_complete(explode)

    with pytest.raises(CallbackFailed, match="no room"):
        grouped()
    calls = [one for one in task_runs(ran[0].id) if one.name == "when all of sweep are over"]
    assert [one.state.name for one in calls if one.state] == ["Failed"]


def test_task_that_runs_after_the_block_is_refused_not_left_out(ionq: Admin) -> None:
    closed = threading.Event()

    @task(persist_result=False, cache_policy=NO_CACHE)
    def late() -> str:
        closed.wait(30)
        return qflows.submit(BELL, device=DEVICE, shots=50).key

    @flow
    def grouped() -> Any:
        with qflows.group("sweep"):
            future = late.submit()
        closed.set()
        future.wait()
        return future.state.result(raise_on_failure=False)

    assert isinstance(grouped(), GroupClosed)
    assert ionq.count_jobs("ionq") == 0


@pytest.mark.slow(reason="two processes of a pool import Prefect")
def test_tasks_in_other_processes_are_members_by_handle_and_warned_without(
    ionq: Admin, capfd: pytest.CaptureFixture[str]
) -> None:
    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def spread() -> tuple[str, str, str]:
        with qflows.group("sweep") as g:
            inside = buy_with.submit(g, BELL).result()
            outside = buy_inside.submit(GHZ).result()
        return str(g.id), inside, outside

    id_, inside, outside = spread()
    assert [job.key for job in qflows.attach(id_, qflows.Group).jobs] == [inside]
    assert ionq.count_jobs("ionq") == 2
    assert outside != inside
    said = capfd.readouterr()
    assert (said.out + said.err).count("buys outside group 'sweep'") == 1
