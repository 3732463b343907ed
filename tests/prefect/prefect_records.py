"""What the Prefect server has on record, read through its API; it records a moment after the fact."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterId,
    FlowRunFilterName,
)
from prefect.client.schemas.objects import Artifact, FlowRun, TaskRun
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort

T = TypeVar("T")
_MOST = 200
_QUIET_S = 1.5


def until(look: Callable[[], T], *, timeout_s: float = 60.0) -> T:
    """The first truthy answer of `look`. Raises TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"still {found!r} after {timeout_s:g} s")
        time.sleep(0.05)
    return found


def flow_run(flow_run_id: UUID | str) -> FlowRun:
    """The run as the server sees it now."""
    with get_client(sync_client=True) as api:
        return api.read_flow_run(UUID(str(flow_run_id)))


def flow_runs(**filters: Any) -> list[FlowRun]:
    """Runs that match the client's filters."""
    with get_client(sync_client=True) as api:
        return api.read_flow_runs(sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=_MOST, **filters)


def flow_runs_named(name: str) -> list[FlowRun]:
    """Runs by their name."""
    return flow_runs(flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=[name])))


def flow_runs_of(deployment_id: UUID) -> list[FlowRun]:
    """Runs of a deployment."""
    return flow_runs(flow_run_filter=FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment_id])))


def flow_runs_of_flow(name: str) -> list[FlowRun]:
    """Runs by the name of their flow."""
    return flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=[name])))


def task_runs(flow_run_id: UUID | str, *, timeout_s: float = 60.0) -> list[TaskRun]:
    """Task runs of a finished flow run, all of them, once the server has recorded the end of each.

    The server writes in batches, every second: a task run that it has not heard of yet is waited for, too.
    """
    wanted = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(str(flow_run_id))]))

    known, since = 0, time.monotonic()

    def complete() -> list[TaskRun]:
        nonlocal known, since
        with get_client(sync_client=True) as api:
            found = api.read_task_runs(flow_run_filter=wanted, sort=TaskRunSort.END_TIME_DESC, limit=_MOST)
        ended = all(one.state is not None and one.state.is_final() for one in found)
        if len(found) != known:
            known, since = len(found), time.monotonic()
        return found if found and ended and time.monotonic() - since > _QUIET_S else []

    return until(complete, timeout_s=timeout_s)


def artifacts(flow_run_id: UUID | str) -> list[Artifact]:
    """Artifacts that the flow run created."""
    wanted = {"artifacts": {"flow_run_id": {"any_": [str(flow_run_id)]}}, "limit": _MOST}
    with get_client(sync_client=True) as api:
        return [Artifact.model_validate(one) for one in api._client.post("/artifacts/filter", json=wanted).json()]
