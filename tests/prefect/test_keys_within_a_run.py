"""Samples inside one flow run: what is the same purchase again, and what is another one. Counted at the vendor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from deployed_flows import BELL, GHZ, LOGICAL_JOBS, campaign, part
from prefect import flow, task, unmapped
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner
from prefect_records import flow_run, task_runs

import qflows
from qflows.sandbox import Admin

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]

DEVICE = "ionq-simulator"


def test_equal_calls_of_one_attempt_are_different_samples(ionq: Admin) -> None:
    keys = campaign(DEVICE)
    assert len(set(keys)) == LOGICAL_JOBS
    assert ionq.count_jobs("ionq") == LOGICAL_JOBS


def test_retried_task_keeps_its_sample(ionq: Admin) -> None:
    tries: list[str] = []

    @task(retries=2, retry_delay_seconds=0)
    def fragile() -> str:
        pair = [qflows.submit(BELL, device=DEVICE, shots=50).key for _ in range(2)]
        tries.extend(pair)
        if len(tries) < 6:
            raise ConnectionError("after both were bought")
        return pair[0]

    @flow
    def two_fragile() -> None:
        fragile()

    two_fragile()
    assert tries[:2] == tries[2:4] == tries[4:6]
    assert ionq.count_jobs("ionq") == 2


def test_retried_flow_adopts_everything_it_bought(ionq: Admin) -> None:
    attempts: list[list[str]] = []

    @flow(retries=1, retry_delay_seconds=0)
    def fragile() -> None:
        equal = [qflows.submit(BELL, device=DEVICE, shots=50).key for _ in range(2)]
        mapped = qflows.submit.map([BELL, GHZ], device=unmapped(DEVICE), shots=unmapped(50)).result()
        inside = qflows.submit.submit(BELL, device=DEVICE, shots=50).result()
        attempts.append([*equal, *(job.key for job in mapped), inside.key, part(DEVICE), part(DEVICE)])
        if len(attempts) == 1:
            raise ConnectionError("after all were bought")

    fragile()
    first, second = attempts
    assert len(set(first)) == 7
    assert sorted(first) == sorted(second)  # equal samples may change places among themselves
    assert ionq.count_jobs("ionq") == 7


def test_new_run_of_the_same_flow_buys_anew(ionq: Admin) -> None:
    assert not set(campaign(DEVICE)) & set(campaign(DEVICE))
    assert ionq.count_jobs("ionq") == 2 * LOGICAL_JOBS


def test_run_key_given_by_the_user_joins_two_flow_runs(ionq: Admin) -> None:
    @flow
    def named() -> str:
        return qflows.submit(BELL, device=DEVICE, shots=50, run_key="by name").key

    assert named() == named()
    assert ionq.count_jobs("ionq") == 1


def test_subflow_has_the_key_of_its_parent_name_and_order(ionq: Admin) -> None:
    seen: dict[str, Any] = {}

    @flow
    def inner() -> str:
        return qflows.submit(BELL, device=DEVICE, shots=50).run_key

    @flow
    def middle() -> list[str]:
        return [inner(), inner()]

    @flow
    def outer() -> None:
        from prefect.runtime import flow_run as running

        seen["id"] = running.id
        seen["keys"] = [inner(), *middle()]

    outer()
    top = seen["id"]
    assert seen["keys"] == [f"{top}/inner#0", f"{top}/middle#0/inner#0", f"{top}/middle#0/inner#1"]
    assert ionq.count_jobs("ionq") == 3


def test_subflow_called_in_a_task_is_found_again_by_its_parameters(ionq: Admin) -> None:
    attempts: list[list[str]] = []

    @flow
    def inner(index: int) -> str:
        return qflows.submit(BELL, device=DEVICE, shots=50 + index).key

    @task
    def calls_a_flow(index: int) -> str:
        return inner(index)

    @flow(retries=1, retry_delay_seconds=0)
    def outer() -> None:
        attempts.append(calls_a_flow.map([1, 2, 3]).result())
        if len(attempts) == 1:
            raise ConnectionError("after all were bought")

    outer()
    assert attempts[0] == attempts[1]
    assert ionq.count_jobs("ionq") == 3


def _bought_through(runner: Any, key: str) -> list[str]:
    """Keys of four mapped purchases, three of them equal, by a flow with this task runner."""

    @flow(task_runner=runner)
    def spread() -> list[str]:
        programs = [BELL, BELL, BELL, GHZ]
        jobs = qflows.submit.map(programs, device=unmapped(DEVICE), shots=unmapped(50), run_key=unmapped(key))
        return [job.key for job in jobs.result()]

    return spread()


@pytest.mark.slow(reason="two processes of a pool import Prefect")
def test_process_pool_buys_samples_that_threads_then_adopt(ionq: Admin) -> None:
    in_processes = _bought_through(ProcessPoolTaskRunner(max_workers=2), "pool")
    assert len(set(in_processes)) == 4
    assert sorted(_bought_through(ThreadPoolTaskRunner(), "pool")) == sorted(in_processes)
    assert ionq.count_jobs("ionq") == 4


@pytest.mark.slow(reason="a Dask cluster is started")
def test_dask_buys_samples_that_threads_then_adopt(ionq: Admin, tmp_path: Path) -> None:
    from prefect_dask import DaskTaskRunner

    cluster = {
        "n_workers": 1,
        "threads_per_worker": 2,
        "processes": True,
        "dashboard_address": None,
        "local_directory": str(tmp_path / "dask"),
    }
    on_dask = _bought_through(DaskTaskRunner(cluster_kwargs=cluster), "dask")
    assert len(set(on_dask)) == 4
    assert sorted(_bought_through(ThreadPoolTaskRunner(), "dask")) == sorted(on_dask)
    assert ionq.count_jobs("ionq") == 4


def test_call_inside_a_task_creates_no_task_run_of_its_own(ionq: Admin) -> None:
    seen: list[str] = []

    @task
    def own() -> None:
        seen.append(str(qflows.run(BELL, device=DEVICE, shots=50).job.key))

    @flow
    def outer() -> None:
        own()

    state = outer(return_state=True)
    run_id = state.state_details.flow_run_id
    assert flow_run(run_id).state.is_completed()
    assert [one.name.rsplit("-", 1)[0] for one in task_runs(run_id)] == ["own"]
