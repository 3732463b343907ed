"""Late runs of a schedule on a real worker, which starts them all at once: how many buy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import IntervalSchedule
from running_stack import Stack, until

from qflows.flows import run_circuits

pytestmark = [pytest.mark.server, pytest.mark.slow]

BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'
LATE = 4


@pytest.fixture
def newest() -> datetime:
    """The newest slot of an hourly schedule, ten minutes ago."""
    return (datetime.now(UTC) - timedelta(minutes=10)).replace(microsecond=0)


def late_runs(api: Any, newest: datetime, missed: str) -> UUID:
    """A deployment whose last slots come to the worker together, as after an outage."""
    what = {"circuits": [BELL], "device": "ionq-simulator", "shots": 20, "missed": missed}
    schedule = IntervalSchedule(interval=timedelta(hours=1), anchor_date=newest)
    deployment = api.create_deployment(
        flow_id=api.create_flow(run_circuits),
        name=f"late {missed}",
        work_pool_name="qflows",
        entrypoint="qflows.flows.circuits.run_circuits",
        parameters=what,
        schedules=[DeploymentScheduleCreate(schedule=schedule, active=True)],
        enforce_parameter_schema=False,
    )
    begin, end = newest - timedelta(hours=LATE - 1, minutes=5), newest + timedelta(minutes=5)
    window = {"start_time": begin.isoformat(), "end_time": end.isoformat(), "min_runs": LATE, "max_runs": LATE}
    api._client.post(f"/deployments/{deployment}/schedule", json=window).raise_for_status()
    return deployment


def ended(api: Any, deployment: UUID, newest: datetime) -> dict[int, FlowRun]:
    """Hours before the newest slot → its run, once all of them are over; nothing before."""
    which = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment]))
    runs = [run for run in api.read_flow_runs(flow_run_filter=which) if run.expected_start_time <= newest]
    if len(runs) < LATE or not all(run.state.is_final() for run in runs):
        return {}
    return {round((newest - run.expected_start_time).total_seconds() / 3600): run for run in runs}


@pytest.mark.parametrize(
    ("missed", "ends"),
    [
        ("latest", ["Completed", "Skipped", "Skipped", "Skipped"]),
        ("skip after 90m", ["Completed", "Completed", "Skipped", "Skipped"]),
    ],
)
def test_late_runs_that_a_worker_starts_together_buy_what_the_policy_says(
    stack: Stack, api: Any, newest: datetime, missed: str, ends: list[str]
) -> None:
    deployment = late_runs(api, newest, missed)
    found = until(lambda: ended(api, deployment, newest), otherwise=lambda: stack.said)
    assert [found[hours].state_name for hours in range(LATE)] == ends
    assert all("was not run" in found[hours].state.message for hours in range(LATE) if ends[hours] == "Skipped")  # pyright: ignore
    assert stack.admin.count_jobs("ionq") == ends.count("Completed")
