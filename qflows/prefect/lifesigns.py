"""Which flow runs have no process any more: those that claim to run and give no sign of life.

Asked of the server's records at every look, so that nothing has to be watching at the moment of the death: a server
that was killed together with the run tells it as well after its restart. An automation on missing heartbeats does
not, it starts to count with the first heartbeat it sees.

Hosts disagree about the time, so that what decides is the server's clock alone: when it entered a run's state, when it
received a heartbeat, and what it says the time is. The time that a heartbeat itself bears is its sender's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
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
_CLOCK_ERROR = timedelta(days=1)  # between hosts, and more than anybody should have


def server_now(api: SyncPrefectClient) -> datetime:
    """The time by the server's clock, to the second; by this machine's where a proxy removes the header."""
    told = api.request("GET", "/health").headers.get("date", "")
    try:
        return parsedate_to_datetime(told).astimezone(UTC)
    except ValueError:
        return datetime.now(UTC)


def suspects(api: SyncPrefectClient, *, now: datetime, running_s: float, pending_s: float) -> list[FlowRun]:
    """Runs of deployments that entered Running, or Pending, longer before `now` than that; subflows are their
    parents'. `now`: by the server's clock."""
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


def heard_of(
    api: SyncPrefectClient, runs: Collection[FlowRun], *, now: datetime, within_s: float, every_s: float
) -> set[UUID]:
    """Those of these runs with a heartbeat in the `within_s` seconds before `now`, by the server's clock. `every_s`:
    the shortest time between two heartbeats of one run; it decides how many runs fit into one request."""
    since = now - timedelta(seconds=within_s)
    # one more than fits, for the heartbeat at either end
    size = max(int(_EVENTS / (within_s / every_s + 1)), 1)
    ids = sorted(str(run.id) for run in runs)
    heard: set[UUID] = set()
    for start in range(0, len(ids), size):
        some = ids[start : start + size]
        heard |= _received(api, some, EventOccurredFilter(since=since, until=now), since)  # pyright: ignore[reportArgumentType]
    # Each of the others may have a sender whose clock is wrong. The server can only be asked for times that senders
    # wrote, so the newest heartbeats of that run are read, whatever they say.
    at_any_time = EventOccurredFilter(since=now - _CLOCK_ERROR, until=now + _CLOCK_ERROR)  # pyright: ignore[reportArgumentType]
    for id_ in ids:
        if UUID(id_) not in heard:
            heard |= _received(api, [id_], at_any_time, since)
    return heard


def _received(
    api: SyncPrefectClient, ids: Collection[str], occurred: EventOccurredFilter, since: datetime
) -> set[UUID]:
    which = EventFilter(
        occurred=occurred,
        event=EventNameFilter(name=[HEARTBEAT]),
        resource=EventResourceFilter(id=[f"{_RUN}{id_}" for id_ in ids]),
    )
    events = api.read_events(which, limit=_EVENTS).events
    return {UUID(event.resource.id.removeprefix(_RUN)) for event in events if event.received >= since}
