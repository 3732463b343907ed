"""Flow runs as the Prefect server has them now, a page at a time, and what that says about attempts in the ledger."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterEndTime,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.events.filters import EventFilter, EventOccurredFilter, EventResourceFilter

from qflows.ledger.flow_runs import Attempt
from qflows.prefect.impatient import impatient_client

_PAGE = 200  # the server's own limit
_REQUEST_S = 15.0
_EVENTS_REACH = timedelta(days=30)  # a server keeps events for seven days unless told otherwise
_CANCELLED = {StateType.CANCELLED, StateType.CANCELLING}
_ALIVE = {StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED}


class Runs:
    """Flow runs as the server has them now, and what that says about attempts."""

    def __init__(self, api: SyncPrefectClient, attempts: Collection[Attempt]) -> None:
        self._api = api
        self._runs: dict[str, FlowRun] = {}
        self._asked: set[str] = set()
        self._deleted: set[str] = set()
        self.look_at(attempts)

    def look_at(self, attempts: Collection[Attempt]) -> None:
        """Reads what was not read yet."""
        ids = {id_ for one in attempts for id_ in (one.flow_run_id, one.root_id) if id_} - self._asked
        self._runs |= read_runs(self._api, ids)
        self._asked |= ids
        missing = {one.root_id for one in attempts if one.root_id and one.root_id not in self._runs} & ids
        self._deleted |= {root_id for root_id in missing if _was_there(self._api, root_id)}

    def is_ended(self, one: Attempt) -> bool:
        """True when the run, or the run whose process it shares, was cancelled or deleted.

        A missing run counts as deleted only where the server itself remembers an event of it: events and runs are in
        one database, so an empty, another, or an older and restored server remembers none, and must not cost anybody
        their jobs.
        """
        if not one.root_id:
            return False
        states = [self._runs[id_].state for id_ in (one.flow_run_id, one.root_id) if id_ in self._runs]
        if any(state is not None and state.type in _CANCELLED for state in states):
            return True
        return one.root_id in self._deleted

    def is_there(self, one: Attempt) -> bool:
        """True when the server has the run whose process it shares."""
        return one.root_id in self._runs

    def is_alive(self, one: Attempt) -> bool:
        """True when the run may still want its jobs."""
        if not one.root_id or self.is_ended(one):
            return False
        root = self._runs.get(one.root_id)
        return root is not None and root.state is not None and root.state.type in _ALIVE


@contextmanager
def prefect_api() -> Iterator[SyncPrefectClient]:
    """A client that gives up soon: the next tick asks again."""
    with impatient_client(_REQUEST_S) as api:
        yield api


def has_moved(api: SyncPrefectClient, run: FlowRun) -> bool:
    """True when the run is in another state by now."""
    state = api.read_flow_run(run.id).state
    return state is None or run.state is None or state.id != run.state.id


def read_runs(api: SyncPrefectClient, ids: Collection[str]) -> dict[str, FlowRun]:
    found: dict[str, FlowRun] = {}
    wanted = [UUID(one) for one in sorted(ids)]
    for start in range(0, len(wanted), _PAGE):
        part = FlowRunFilter(id=FlowRunFilterId(any_=wanted[start : start + _PAGE]))
        page = api.read_flow_runs(flow_run_filter=part, sort=FlowRunSort.ID_DESC, limit=_PAGE)
        found |= {str(run.id): run for run in page}
    return found


def _was_there(api: SyncPrefectClient, flow_run_id: str) -> bool:
    """True when the server has an event of a run that it does not have: it had the run once."""
    which = EventFilter(
        occurred=EventOccurredFilter(since=datetime.now(UTC) - _EVENTS_REACH),  # pyright: ignore[reportArgumentType]
        resource=EventResourceFilter(id=[f"prefect.flow-run.{flow_run_id}"]),
    )
    return bool(api.read_events(which, limit=1).events)


def crashed_runs(api: SyncPrefectClient, *, after: datetime) -> Iterator[FlowRun]:
    which = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CRASHED])),
        deployment_id=FlowRunFilterDeploymentId(is_null_=False),
        end_time=FlowRunFilterEndTime(after_=after),  # pyright: ignore[reportArgumentType]
    )
    yield from every_run(api, which)


def every_run(api: SyncPrefectClient, which: FlowRunFilter) -> Iterator[FlowRun]:
    """All flow runs that pass a filter, page by page."""
    offset = 0
    while True:
        page = api.read_flow_runs(flow_run_filter=which, sort=FlowRunSort.ID_DESC, limit=_PAGE, offset=offset)
        yield from page
        if len(page) < _PAGE:
            return
        offset += _PAGE
