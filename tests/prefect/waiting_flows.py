"""Flows that wait without a process, and runs of them that a test executes itself or leaves to a worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

from deployed_flows import BELL, GHZ, deferred
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow

import qflows
from qflows.prefect.housekeeper import cancel_jobs


@flow(name="patient")
def patient(
    device: str = "ionq-simulator",
    detach_after: float = 0.0,
    timeout: float | None = None,
    run_key: str | None = None,
) -> list[int]:
    """Three jobs, two of them equal; the process is left at once unless they are done."""
    jobs = [qflows.submit(circuit, device=device, shots=50, run_key=run_key) for circuit in (BELL, BELL, GHZ)]
    done = qflows.wait_or_suspend(jobs, detach_after=detach_after, timeout=timeout)
    return [sum(qflows.result(job).counts.values()) for job in done]


@flow(name="parent-of-patient")
def parent(device: str = "ionq-simulator") -> list[str]:
    """Buys in a subflow and leaves its own process."""
    keys = buys(device)
    qflows.wait_or_suspend(keys, detach_after=0)
    return keys


@flow(name="buys")
def buys(device: str) -> list[str]:
    """A subflow with two purchases."""
    return [qflows.submit(circuit, device=device, shots=50).key for circuit in (BELL, GHZ)]


@flow(name="stubborn", on_cancellation=[cancel_jobs])
def stubborn(device: str = "ionq-simulator") -> None:
    """Waits in its process, for as long as it takes."""
    qflows.wait([qflows.submit(circuit, device=device, shots=50) for circuit in (BELL, GHZ)])


@flow(name="holder")
def holder(device: str = "ionq-forte-1") -> None:
    """Opens a session, buys in it, and leaves it open."""
    session = qflows.session(device, max_time="30m", on_exception="keep")
    session.submit(BELL, shots=100)


FLOWS: dict[str, Any] = {
    one.name: one
    for one in (patient, parent, stubborn, holder, deferred, qflows.flows.run_circuits, qflows.flows.sweep)
}


def deploy(name: str, *, pool: str | None = None, tags: list[str] | None = None) -> UUID:
    """A deployment of one of these flows; without a work pool nobody but the test starts its runs."""
    which = FLOWS[name]
    with get_client(sync_client=True) as api:
        return api.create_deployment(
            flow_id=api.create_flow(which),
            name=f"{name}-of-tests",
            work_pool_name=pool,
            path=str(Path(__file__).parent),
            entrypoint=f"{Path(__file__).name}:{which.fn.__name__}",
            tags=tags,
            enforce_parameter_schema=False,
        )


def new_run(deployment: UUID, *, env: dict[str, str] | None = None, **parameters: Any) -> FlowRun:
    """A run that is due now; `env` is for the worker's child."""
    with get_client(sync_client=True) as api:
        variables = {"env": env} if env else None
        return api.create_flow_run_from_deployment(deployment, parameters=parameters, job_variables=variables)


def execute(run: FlowRun) -> State[Any]:
    """What a worker's child does, in this process; returns the state the run was left in."""
    with get_client(sync_client=True) as api:
        fresh = api.read_flow_run(run.id)
        flow_name = api.read_flow(fresh.flow_id).name
    try:
        return run_flow(FLOWS[flow_name], flow_run=fresh, parameters=fresh.parameters, return_type="state")
    except Pause as left:
        return left.state
