"""Which flow runs have no process any more: those that claim to run and give no sign of life.

Asked of the server's records at every look, so that nothing has to be watching at the moment of the death: a server
that was killed together with the run tells it as well after its restart. An automation on missing heartbeats does
not, it starts to count with the first heartbeat it sees.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterParentTaskRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter, EventResourceFilter

from qflows.prefect.server_runs import every_run

HEARTBEAT = "prefect.flow-run.heartbeat"
_PAGE = 200  # the server's own limit
_EVENTS = 50  # the server's own limit of events a page
_RUN = "prefect.flow-run."


def suspects(api: SyncPrefectClient, *, running_s: float, pending_s: float) -> list[FlowRun]:
    """Runs of deployments that entered Running, or Pending, longer ago than that; subflows are their parents'."""
    now = datetime.now(UTC)
    longest = {StateType.RUNNING: timedelta(seconds=running_s), StateType.PENDING: timedelta(seconds=pending_s)}
    return [
        run
        for run in _in_process(api)
        if run.state is not None and run.state.timestamp <= now - longest[run.state.type]
    ]


def _in_process(api: SyncPrefectClient) -> Iterator[FlowRun]:
    which = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING])),
        deployment_id=FlowRunFilterDeploymentId(is_null_=False),
        parent_task_run_id=FlowRunFilterParentTaskRunId(is_null_=True),
    )
    yield from every_run(api, which)


def heard_of(api: SyncPrefectClient, runs: Collection[FlowRun], *, within_s: float, every_s: float) -> set[UUID]:
    """Those of these runs with a heartbeat in the last `within_s` seconds. `every_s`: the shortest time between two
    heartbeats of one run; it decides how many runs fit into one request."""
    since = datetime.now(UTC) - timedelta(seconds=within_s)
    # one more than fits, for the heartbeat at either end
    size = max(int(_EVENTS / (within_s / every_s + 1)), 1)
    ids = sorted(str(run.id) for run in runs)
    heard: set[UUID] = set()
    for start in range(0, len(ids), size):
        which = EventFilter(
            occurred=EventOccurredFilter(since=since),  # pyright: ignore[reportArgumentType]
            event=EventNameFilter(name=[HEARTBEAT]),
            resource=EventResourceFilter(id=[f"{_RUN}{id_}" for id_ in ids[start : start + size]]),
        )
        page = api.read_events(which, limit=_EVENTS)
        heard |= {UUID(event.resource.id.removeprefix(_RUN)) for event in page.events}
    return heard
