"""Job state changes as Prefect events: the event feed, automations and notifications see jobs, not only runs.

An event is told once, by the process that made the change durable, which is often not the flow's own: the reconciler or
another flow that polls for everybody. So its flow run is looked up in the ledger, not in the context.
"""

from __future__ import annotations

import contextvars
from collections.abc import Mapping
from typing import Any

from prefect.context import FlowRunContext, TaskRunContext
from prefect.events import emit_event
from prefect.settings import PREFECT_API_URL

from qflows.ledger import reads
from qflows.ledger.flow_runs import flow_run_of
from qflows.ledger.store import Ledger
from qflows.model import Job
from qflows.privacy.redaction import clean

# what the ledger tells → the event's name; what is missing here is bookkeeping that nobody waits for
EVENTS: Mapping[str, str] = {
    "queued": "qflows.job.queued",
    "running": "qflows.job.running",
    "completed": "qflows.job.completed",
    "failed": "qflows.job.failed",
    "cancelled": "qflows.job.cancelled",
    "in-doubt": "qflows.job.in-doubt",
    "cancel-requested": "qflows.job.cancel-requested",
    "unreadable-result": "qflows.job.unreadable-result",
}

_TEXT_CAP = 400


class JobEvents:
    """A ledger listener that emits a Prefect event for every change of a job's state.

    Resource: `qflows.job.<key>` with name, device, vendor id and status. Related: the flow run that wants the job,
    its device, its session. An event costs the server a few milliseconds; without a Prefect API none is made.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def __call__(self, kind: str, key: str, detail: Mapping[str, Any]) -> None:
        """Emits the event for what the ledger tells; returns at once, Prefect sends it in the background."""
        name = EVENTS.get(kind)
        if name is None or not PREFECT_API_URL.value():
            return
        job = reads.job(self.ledger, key)
        flow_run_id = flow_run_of(self.ledger, key)
        here = FlowRunContext.get()
        mine = here is not None and here.flow_run is not None and str(here.flow_run.id) == flow_run_id
        context = contextvars.copy_context()
        if not mine:  # Prefect adds the run it is called in, by name; here that one only polls for another
            context.run(_leave_runs)
        context.run(
            emit_event,
            event=name,
            resource=_resource(job),
            related=_related(job, None if mine else flow_run_id),
            payload=_payload(job) | {name: clean(value, cap=_TEXT_CAP) for name, value in detail.items()},
        )


def _leave_runs() -> None:
    # the public way out of a run is to end it; the settings of the context have to stay
    FlowRunContext.__var__.set(None)  # pyright: ignore[reportArgumentType]
    TaskRunContext.__var__.set(None)  # pyright: ignore[reportArgumentType]


def _resource(job: Job) -> dict[str, str]:
    return {
        "prefect.resource.id": f"qflows.job.{job.key}",
        "prefect.resource.name": f"{job.name or 'job'} on {job.device}"[:_TEXT_CAP],
        "qflows.status": job.status.value,
        "qflows.vendor": job.provider,
        "qflows.vendor-id": job.vendor_id or "",
    }


def _related(job: Job, flow_run_id: str | None) -> list[dict[str, str]]:
    related = [_named(f"qflows.device.{job.device}", "device", job.device)]
    if flow_run_id:
        related.append({"prefect.resource.id": f"prefect.flow-run.{flow_run_id}", "prefect.resource.role": "flow-run"})
    if job.session_id:
        related.append(_named(f"qflows.session.{job.session_id}", "session", job.session_id))
    return related


def _named(id_: str, role: str, name: str) -> dict[str, str]:
    return {"prefect.resource.id": id_, "prefect.resource.role": role, "prefect.resource.name": name}


def _payload(job: Job) -> dict[str, Any]:
    return {
        "run_key": job.run_key,
        "shots": job.shots,
        "programs": job.n_programs,
        "vendor_word": (job.word or "")[:_TEXT_CAP],
        "error_code": job.error_code,
        "error": (job.error_message or "")[:_TEXT_CAP] or None,
        "cost": f"{job.cost.amount:g} {job.cost.unit}" if job.cost else None,
    }
