"""One logical run, executed more than once: suspended and resumed, killed and retried, scheduled twice.

Executions are Prefect's own engine on an existing flow run, in a child where a process has to die or to race, else
in this process. Purchases are counted at the vendor.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import deployed_flows
import pytest
import sqlalchemy as sa
from deployed_flows import FLOWS, LOGICAL_JOBS
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.exceptions import Pause
from prefect.states import AwaitingRetry, Crashed, Pending
from prefect_records import flow_run, flow_runs_of, until
from prefect_server import PrefectServer

from qflows.sandbox import Admin

pytestmark = pytest.mark.server

Execute = Callable[[str, UUID], subprocess.Popen[bytes]]


@pytest.fixture
def execute(prefect_api: PrefectServer, child_env: dict[str, str], tmp_path: Path) -> Iterator[Execute]:
    """Starts executions in processes of their own; what is left of them at the end is killed."""
    children: list[subprocess.Popen[bytes]] = []

    def start(name: str, flow_run_id: UUID) -> subprocess.Popen[bytes]:
        command = [sys.executable, deployed_flows.__file__, "execute", name, str(flow_run_id)]
        with (tmp_path / f"execution-{len(children)}.log").open("wb") as log:
            children.append(
                subprocess.Popen(command, env=child_env | prefect_api.env, stdout=log, stderr=subprocess.STDOUT)
            )
        return children[-1]

    yield start
    for child in children:
        if child.poll() is None:
            child.kill()
        child.wait()


def _deploy(name: str, schedule: IntervalSchedule | None = None) -> UUID:
    """A deployment of one of the flows, which nothing serves."""
    with get_client(sync_client=True) as api:
        flow_id = api.create_flow(FLOWS[name])
        schedules = [DeploymentScheduleCreate(schedule=schedule, active=True)] if schedule else None
        return api.create_deployment(
            flow_id, name=f"{name}-{datetime.now(UTC):%H%M%S%f}", schedules=schedules, enforce_parameter_schema=False
        )


def _run_of(deployment_id: UUID) -> UUID:
    with get_client(sync_client=True) as api:
        return api.create_flow_run_from_deployment(deployment_id).id


def test_resumed_run_adopts_what_it_bought_before_it_was_suspended(prefect_api: PrefectServer, ionq: Admin) -> None:
    ionq.clock("frozen")
    run_id = _run_of(_deploy("deferred"))
    with contextlib.suppress(Pause):
        deployed_flows.execute("deferred", str(run_id))
    assert flow_run(run_id).state.is_paused()
    assert ionq.count_jobs("ionq") == LOGICAL_JOBS
    ionq.clock("instant")
    with get_client(sync_client=True) as api:
        api.resume_flow_run(run_id)
    deployed_flows.execute("deferred", str(run_id))
    assert flow_run(run_id).state.is_completed()
    assert ionq.count_jobs("ionq") == LOGICAL_JOBS


def test_killed_run_adopts_on_retry_even_the_job_whose_answer_was_lost(execute: Execute, ionq: Admin) -> None:
    ionq.fault("hold", "ionq.submit", skip=2, when="after")
    run_id = _run_of(_deploy("campaign"))
    victim = execute("campaign", run_id)
    ionq.wait_held(1, timeout_s=90)  # the vendor has the third job, and nobody knows
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    ionq.release_held(verdict="drop")
    assert ionq.count_jobs("ionq") == 3
    with get_client(sync_client=True) as api:
        # what a worker says of a dead child, and what the reconciler does about it
        api.set_flow_run_state(run_id, Crashed(), force=True)
        api.set_flow_run_state(run_id, AwaitingRetry(), force=True)
    deployed_flows.execute("campaign", str(run_id))
    assert flow_run(run_id).state.is_completed()
    assert ionq.count_jobs("ionq") == LOGICAL_JOBS


@pytest.mark.slow(reason="two executions of a flow in processes of their own")
def test_twin_runs_of_one_slot_join_the_same_jobs(execute: Execute, ionq: Admin, ledger_env: dict[str, str]) -> None:
    ionq.clock("frozen")
    first, second = _twins()
    assert first.id != second.id
    assert (first.deployment_id, first.expected_start_time) == (second.deployment_id, second.expected_start_time)
    assert first.auto_scheduled
    assert second.auto_scheduled
    processes = [execute("campaign", one.id) for one in (first, second)]
    engine = sa.create_engine(ledger_env["QFLOWS_LEDGER_URL"])
    # both have asked for every job while none was done: twins in earnest, not one after the other
    asked_twice = sa.text("select count(*) from jobs where earlier_attempt is not null and status != 'COMPLETED'")
    with engine.connect() as ledger:
        until(lambda: sa.inspect(engine).has_table("jobs"))
        until(lambda: ledger.execute(asked_twice).scalar() == LOGICAL_JOBS, timeout_s=120)
        run_keys = set(ledger.execute(sa.text("select run_key from jobs")).scalars())
    ionq.clock("instant")
    ionq.release()
    assert [process.wait(120) for process in processes] == [0, 0]
    assert flow_run(first.id).state.is_completed()
    assert flow_run(second.id).state.is_completed()
    assert ionq.count_jobs("ionq") == LOGICAL_JOBS
    slot = f"{first.deployment_id}@{first.expected_start_time.astimezone(UTC).isoformat()}"
    assert run_keys == {slot, f"{slot}/campaign-part#0"}
    engine.dispose()


def _twins() -> tuple[FlowRun, FlowRun]:
    """Two runs that Prefect's scheduler makes for one slot, because a deploy replaced the schedule in between.

    The scheduler's idempotency key has the schedule's id in it, and the first run is already with a worker
    (Prefect 3.8.8; PrefectHQ/prefect 18894 reports it from a live server).
    """
    slot = (datetime.now(UTC) - timedelta(minutes=30)).replace(microsecond=0)
    schedule = IntervalSchedule(interval=timedelta(hours=1), anchor_date=slot)
    deployment_id = _deploy("campaign", schedule)
    around = {
        "start_time": (slot - timedelta(minutes=5)).isoformat(),
        "end_time": (slot + timedelta(minutes=5)).isoformat(),
        "min_runs": 1,
        "max_runs": 1,
    }

    def of_the_slot() -> list[FlowRun]:
        return [run for run in flow_runs_of(deployment_id) if run.expected_start_time == slot]

    with get_client(sync_client=True) as api:
        api._client.post(f"/deployments/{deployment_id}/schedule", json=around).raise_for_status()
        [first] = of_the_slot()
        api.set_flow_run_state(first.id, Pending(), force=True)
        [old] = api.read_deployment(deployment_id).schedules
        api.delete_deployment_schedule(deployment_id, old.id)
        api.create_deployment_schedules(deployment_id, [(schedule, True)])
        api._client.post(f"/deployments/{deployment_id}/schedule", json=around).raise_for_status()
    [second] = [run for run in of_the_slot() if run.id != first.id]
    return first, second
