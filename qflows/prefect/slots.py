"""Schedule slots that were not run in time: run all of them, the latest only, or none that is too late.

Prefect makes one flow run per slot. When server or worker were off, the late ones all start as soon as they are back,
and each buys its jobs. A policy is asked first thing in the flow, before anything is bought:

    @flow
    def nightly():
        if skipped := qflows.missed_slot("skip after 2h"):
            return skipped

A skipped run ends Completed under the name Skipped and says why: nothing failed, nothing ran, and Prefect's rules for
failures leave it alone. Cancelled would tell the reconciler that somebody ended the run.

What counts is when a run started first, against its slot. A run that began in time is never late afterwards: not when
it is resumed, retried, or executed again after a crash. The decision is in the ledger, once for a slot and its
parameters, so twin runs of one slot decide alike.

Runs started by hand or by API have no slot and always run; so do subflows. To run a skipped slot after all, start the
deployment by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import FlowRunContext
from prefect.logging import get_logger
from prefect.states import Completed
from pydantic import Field

from qflows.core.arguments import fitting
from qflows.core.durations import seconds
from qflows.errors import ProgramRejected
from qflows.keys import digest
from qflows.ledger import slots
from qflows.ledger.slots import SlotDecision
from qflows.prefect.client import client
from qflows.prefect.scope import run_key_of

log = get_logger("qflows")

# a form field: Prefect's server refuses other words before there is a run
Missed = Annotated[str, Field(pattern=r"^(all|latest|skip after .*\d.*)$")]

SKIPPED = "Skipped"  # the name of the state
_LATER = 50  # slots looked at; the newest come first


@dataclass(frozen=True, slots=True)
class MissedSlots:
    """A policy. `latest`: of the slots that are due only the newest runs. `after_s`: none runs that is later."""

    latest: bool = False
    after_s: float | None = None

    @classmethod
    def read(cls, text: str) -> MissedSlots:
        """`all`, `latest`, or `skip after 2h`. Raises ProgramRejected for anything else."""
        words = text.lower().split(maxsplit=2) if isinstance(text, str) else []
        if words == ["all"]:
            return cls()
        if words == ["latest"]:
            return cls(latest=True)
        if words[:2] == ["skip", "after"] and len(words) == 3:
            return cls(after_s=seconds(words[2]))
        raise ProgramRejected(f"not a policy for missed slots: {text!r}; write 'all', 'latest' or e.g. 'skip after 2h'")


@fitting
def missed_slot(policy: str) -> Any:
    """Returns the state to return from the flow if its schedule slot should no longer run; None if it should.

    `policy`: `all` runs every slot however late, `latest` only the newest slot that is due, `skip after 2h` none that
    starts later than that. Call it first in a flow. Raises ProgramRejected for any other policy.
    """
    wanted = MissedSlots.read(policy)
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if wanted == MissedSlots() or run is None or not _has_slot(run):
        return None
    key = digest("slot/1", run_key_of(run), run.parameters)
    decision = slots.decided(client().ledger, key) or _decide(run, key, wanted)
    if decision.skipped is None:
        return None
    message = f"slot {_moment(decision.slot)} was not run: {decision.skipped}"
    log.warning("%s", message)
    return Completed(name=SKIPPED, message=message, data=None)


def _has_slot(run: Any) -> bool:
    return bool(run.auto_scheduled and run.deployment_id and run.expected_start_time and run.parent_task_run_id is None)


def _decide(run: Any, key: str, wanted: MissedSlots) -> SlotDecision:
    slot = run.expected_start_time.astimezone(UTC)
    # of the first Running state: Prefect keeps it over retries, resumes and crashes
    started = (run.start_time or datetime.now(UTC)).astimezone(UTC)
    why = _why_not(run, slot, started, wanted)
    context = FlowRunContext.get()
    name = context.flow.name if context and context.flow else ""
    return slots.decide(
        client().ledger, SlotDecision(key, str(run.deployment_id), slot, name, str(run.id), started, why)
    )


def _why_not(run: Any, slot: datetime, started: datetime, wanted: MissedSlots) -> str | None:
    late = started - slot
    if wanted.after_s is not None and late > timedelta(seconds=wanted.after_s):
        return (
            f"it started {_span(late)} late, and the policy is to skip after {_span(timedelta(seconds=wanted.after_s))}"
        )
    if wanted.latest and (later := _later_slot(run, slot, started)):
        return f"it started {_span(late)} late, when the slot of {_moment(later)} was also due"
    return None


def _later_slot(run: Any, slot: datetime, started: datetime) -> datetime | None:
    """The newest slot of the same deployment and parameters that was due when this run started, unless cancelled.

    Other parameters are another schedule's: its slots stand in for none of this one's.
    """
    between = FlowRunFilterExpectedStartTime(after_=slot, before_=started)  # pyright: ignore[reportArgumentType]
    which = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[run.deployment_id]), expected_start_time=between
    )
    with get_client(sync_client=True) as api:
        found = api.read_flow_runs(flow_run_filter=which, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=_LATER)
    return next((one.expected_start_time for one in found if _stands_in(one, run, slot)), None)


def _stands_in(other: FlowRun, run: Any, slot: datetime) -> bool:
    due = other.expected_start_time
    return bool(
        other.auto_scheduled
        and due is not None
        and due > slot
        and other.parameters == run.parameters
        and not (other.state and (other.state.is_cancelled() or other.state.is_cancelling()))
    )


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _span(length: timedelta) -> str:
    """`2 h 5 min`, `40 s`."""
    whole = max(round(length.total_seconds()), 0)
    hours, minutes = whole // 3600, whole % 3600 // 60
    parts = [f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(minutes)
    return " ".join(parts) or f"{whole} s"
