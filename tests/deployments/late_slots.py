"""A deployment whose last slots come to the worker together, as after an outage."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import IntervalSchedule

from qflows.flows import run_circuits

LATE = 3  # each is a process of its own; the newest two and one more are all that the policies tell apart


def late_runs(api: Any, newest: datetime, circuit: str, missed: str) -> UUID:
    """An hourly schedule of `run_circuits` with that policy; its `LATE` slots until `newest` are there at once."""
    what = {"circuits": [circuit], "device": "ionq-simulator", "shots": 20, "missed": missed}
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
