"""The morning report as a flow: one Markdown page with plots in the Prefect UI, and files on request."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import PrefectException
from prefect.logging import get_logger

from qflows.flows.scheduled import scheduled_flow
from qflows.ledger.store import Ledger
from qflows.pages.morning import Report, RunTrouble, compose, gather, length, to_markdown, write
from qflows.prefect import artifacts, tasks
from qflows.prefect.slots import Missed

log = get_logger("qflows")

_PAGE = 200  # the server's own limit
_BAD = [StateType.FAILED, StateType.CRASHED]


@scheduled_flow("report", flow_run_name="report of the last {since}")
def report(since: str = "24h", folder: str | None = None, missed: Missed = "all") -> dict[str, Any]:
    """Reports what ran, what failed, what needs a person, what it cost, and whether devices drifted.

    Reads the ledger and Prefect's records; buys nothing. Returns the report as plain JSON.

    Args:
        since: How far back, e.g. "24h" or "7d".
        folder: Also write report.html, report.md and report.json there, on the machine of the worker.
        missed: What to do with schedule slots that were not run in time: "all", "latest", or e.g. "skip after 2h".
    """
    until = datetime.now(UTC)
    begin = until - length(since)
    ledger = tasks.client().ledger
    found = gather(ledger, begin, until, failed_runs(begin, until))
    _tell_drift(ledger, found)
    page = compose(found)
    artifacts.publish_markdown("morning-report", to_markdown(page), f"{page.verdict} {page.covers}")
    if folder:
        write(found, Path(folder))
    return found.to_json()


def _tell_drift(ledger: Ledger, found: Report) -> None:
    """An event for each value that is not what it was; a later report tells none of them again."""
    for trend in found.flagged:
        for one in trend.flagged:
            value, mean = one.measurement, one.mean
            why = f"{value.value:.4g}" + (f", and {mean:.4g} before" if mean is not None else "")
            why += f": {one.sigmas:+.1f} sigma" if one.sigmas is not None else ""
            at = value.at.isoformat()
            ledger.tell("drifted", value.device, quantity=value.name, measured_at=at, run_key=value.run_key, reason=why)


def failed_runs(since: datetime, until: datetime) -> list[RunTrouble]:
    """Flow runs that failed or crashed in this time, newest first; none, with a warning, where Prefect is silent.

    A run that crashed and was started again has another state by now and is not among them. Subflows are left out:
    their parents tell.
    """
    which = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_BAD)),
        end_time=FlowRunFilterEndTime(after_=since, before_=until),  # pyright: ignore[reportArgumentType]
    )
    try:
        with get_client(sync_client=True) as api:
            runs = api.read_flow_runs(flow_run_filter=which, sort=FlowRunSort.END_TIME_DESC, limit=_PAGE)
    except (httpx.HTTPError, PrefectException, RuntimeError) as error:
        log.warning("the Prefect server did not say which flow runs failed: %s", error)
        return []
    return [
        RunTrouble(run.name, run.state.name or "", run.state.message or "", run.end_time)
        for run in runs
        if run.state is not None and run.end_time is not None and run.parent_task_run_id is None
    ]
