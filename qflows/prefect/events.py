"""What happens to jobs, batches, budgets, gates and devices as Prefect events, for the event feed and for automations.

A job's event is told once, by the process that made the change durable, which is often not the flow's own: the
reconciler or another flow that polls for everybody. So its flow run is looked up in the ledger, not in the context.
"""

from __future__ import annotations

import contextvars
from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from prefect.context import FlowRunContext, TaskRunContext
from prefect.events import emit_event
from prefect.settings import PREFECT_API_URL

from qflows.ledger import batches, reads
from qflows.ledger.flow_runs import flow_run_of
from qflows.ledger.store import Ledger
from qflows.model import Job
from qflows.privacy.redaction import clean

# of jobs: what the ledger tells → the event's name; what is missing here is bookkeeping that nobody waits for
EVENTS: Mapping[str, str] = {
    "queued": "qflows.job.queued",
    "running": "qflows.job.running",
    "completed": "qflows.job.completed",
    "failed": "qflows.job.failed",
    "cancelled": "qflows.job.cancelled",
    "in-doubt": "qflows.job.in-doubt",
    "cancel-requested": "qflows.job.cancel-requested",
    "unreadable-result": "qflows.job.unreadable-result",
    "results-withheld": "qflows.job.results-withheld",
}
BATCH_FINISHED = "qflows.batch.finished"
# of others: what the ledger tells → the event's name, what it is about, and what makes two of them the same
OTHERS: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "budget-reached": ("qflows.budget.reached", "budget", ("period", "run_key", "limit")),
    "gate-held": ("qflows.gate.held", "device", ("decision",)),
    "drifted": ("qflows.device.drifted", "device", ("quantity", "measured_at")),
}

_ENDS = frozenset({"completed", "failed", "cancelled"})
_TEXT_CAP = 400
_MOST_TOLD = 10_000


class JobEvents:
    """A ledger listener that emits Prefect events.

    Every change of a job's state: resource `qflows.job.<key>` with name, device, vendor id and status; related are the
    flow run that wants the job, its device, its session. The end of a batch, once for each plan of parts:
    `qflows.batch.<id>`, with numbers of circuits and jobs in the payload. A purchase that a budget has no room for:
    `qflows.budget.<name>`, once for each run key and period. A gate that holds back, or a device that drifted:
    `qflows.device.<name>`. An event costs the server a few milliseconds; without a Prefect API none is made.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._told: set[UUID] = set()
        # ids of events that are told once are of one ledger: two may have budgets and runs of one name
        self._space = uuid5(NAMESPACE_URL, ledger.engine.url.render_as_string(hide_password=True))

    def __call__(self, kind: str, key: str, detail: Mapping[str, Any]) -> None:
        """Emits the event for what the ledger tells; returns at once, Prefect sends it in the background."""
        if not PREFECT_API_URL.value():
            return
        if kind in EVENTS:
            job = reads.job(self.ledger, key)
            about = _payload(job) | _cleaned(detail)
            self._emit(EVENTS[kind], _resource(job), _related(job), about, flow_run_of(self.ledger, key))
            if kind in _ENDS:
                self._tell_batch(key)
        elif kind in OTHERS:
            name, what, same = OTHERS[kind]
            once = uuid5(self._space, "/".join([name, key, *(str(detail[one]) for one in same)]))
            if self._is_new(once):
                label = f"{detail['quantity']} of {key}" if kind == "drifted" else f"{what} {key}"
                resource = {"prefect.resource.id": f"qflows.{what}.{key}", "prefect.resource.name": label[:_TEXT_CAP]}
                emit_event(event=name, resource=resource, payload=_cleaned(detail), id=once)

    def _tell_batch(self, key: str) -> None:
        """The end of the job's batch, if it was its last job; processes that meet there tell one event."""
        ended = batches.ended_with(self.ledger, key)
        if ended is None:
            return
        once = uuid5(self._space, f"{ended.id}/{ended.n_jobs}/{ended.at}")
        if not self._is_new(once):
            return
        resource = {
            "prefect.resource.id": f"qflows.batch.{ended.id}",
            "prefect.resource.name": f"{ended.name or 'batch'} on {ended.device}"[:_TEXT_CAP],
        }
        payload = {
            "batch": ended.id,
            "run_key": ended.run_key,
            "circuits": ended.n_circuits,
            "jobs": ended.n_jobs,
            "jobs_without_counts": ended.n_bad,
        }
        related = [_named(f"qflows.device.{ended.device}", "device", ended.device)]
        self._emit(BATCH_FINISHED, resource, related, payload, flow_run_of(self.ledger, key), once)

    def _is_new(self, id_: UUID) -> bool:
        # the server keeps one event an id, too; this spares it the others
        if id_ in self._told:
            return False
        if len(self._told) >= _MOST_TOLD:
            self._told.clear()
        self._told.add(id_)
        return True

    def _emit(
        self,
        name: str,
        resource: dict[str, str],
        related: list[dict[str, str]],
        payload: dict[str, Any],
        flow_run_id: str | None,
        id_: UUID | None = None,
    ) -> None:
        here = FlowRunContext.get()
        mine = here is not None and here.flow_run is not None and str(here.flow_run.id) == flow_run_id
        context = contextvars.copy_context()
        if not mine:  # Prefect adds the run it is called in, by name; here that one only polls for another
            context.run(_leave_runs)
        context.run(
            emit_event,
            event=name,
            resource=resource,
            related=related if mine or not flow_run_id else [*related, _run(flow_run_id)],
            payload=payload,
            id=id_,
        )


def _cleaned(detail: Mapping[str, Any]) -> dict[str, Any]:
    return {name: clean(value, cap=_TEXT_CAP) for name, value in detail.items()}


def _run(flow_run_id: str) -> dict[str, str]:
    return {"prefect.resource.id": f"prefect.flow-run.{flow_run_id}", "prefect.resource.role": "flow-run"}


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


def _related(job: Job) -> list[dict[str, str]]:
    related = [_named(f"qflows.device.{job.device}", "device", job.device)]
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
