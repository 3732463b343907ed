"""Waiting without a process: a flow run suspends itself, and the reconciler wakes it when its jobs are done.

Woken, the flow is executed again from its top. That costs little, because every call adopts what the ledger has, and
it is why nothing can be lost: the wait is in the ledger before the run suspends, and the reconciler compares the two on
every tick.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from prefect.context import FlowRunContext, TaskRunContext
from prefect.flow_runs import suspend_flow_run
from prefect.logging import get_logger

from qflows.core.arguments import fitting
from qflows.core.batches.batch import Batch
from qflows.core.poller import OnChange, where_they_are
from qflows.display import plural
from qflows.errors import WaitTimeout
from qflows.keys import digest
from qflows.ledger import reads
from qflows.ledger.flow_runs import Wait, begin_wait, end_waits
from qflows.model import Job
from qflows.prefect.client import client

log = get_logger("qflows")

DETACH_AFTER_S = 300.0  # waking costs 5 to 20 s of process start; a queue of a few minutes is cheaper to sit out


@fitting
def wait_or_suspend(
    jobs: Job | Batch | str | Sequence[Job | str],
    *,
    detach_after: float = DETACH_AFTER_S,
    timeout: float | None = None,
    on_change: OnChange | None = None,
) -> list[Job]:
    """Waits until every job, or every part of a batch, has ended; after `detach_after` seconds it suspends the flow
    run.

    Call it in the body of a flow, outside any `try` or `finally` that must run only once: suspending leaves the process
    with an exception, and the flow starts again from the top when `qflows reconcile` or `qflows up` finds the jobs
    done. If a run cannot be suspended (a script, a task, a subflow, a run without a deployment), it logs that and
    waits. `timeout` counts from the start of the flow run, suspended time included. Raises WaitTimeout.
    """
    core = client()
    keys = [job.key if isinstance(job, Job) else core.find(job).key for job in listed(jobs)]
    flow_run = suspendable()
    if flow_run is None:
        handles = core.wait(keys, timeout=timeout, on_change=on_change)
        return [handles[key] for key in keys]
    left_s = _left_s(flow_run, timeout)
    here_s = detach_after if left_s is None else min(detach_after, left_s)
    try:
        handles = core.wait(keys, timeout=max(here_s, 0.0), on_change=on_change)
    except WaitTimeout as error:
        left_s = _left_s(flow_run, timeout)
        if left_s is not None and left_s <= 0:
            end_waits(core.ledger, [str(flow_run.id)])
            pending = reads.by_keys(core.ledger, error.pending or ()).values()
            raise WaitTimeout(
                f"{len(pending)} of {plural(len(keys), 'job')} not finished {timeout:g} s after the run began: "
                f"{where_they_are(pending)}",
                pending=error.pending,
            ) from None
        n_pending = len(error.pending or ())
    else:
        end_waits(core.ledger, [str(flow_run.id)])
        return [handles[key] for key in keys]
    _suspend(flow_run, keys, n_pending, left_s)
    raise AssertionError("Prefect resumed a suspended run")


def listed(jobs: Job | Batch | str | Iterable[Job | str]) -> list[Job | str]:
    """The jobs that are meant: one, those of a batch, or those of a list."""
    if isinstance(jobs, Batch):
        return list(jobs.sub_jobs())
    # what is neither a job nor a list of them is told so where its key is looked for
    return list(jobs) if isinstance(jobs, Iterable) and not isinstance(jobs, str) else [jobs]


def suspendable() -> Any:
    """The flow run of this context if Prefect lets it suspend itself here; else None, and the log says why."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return None
    flow_run = context.flow_run
    reasons = {
        "a task cannot suspend its flow run": TaskRunContext.get() is not None,
        "a subflow cannot be suspended": flow_run.parent_task_run_id is not None,
        "a flow run without a deployment cannot be restarted": flow_run.deployment_id is None,
    }
    why = next((reason for reason, holds in reasons.items() if holds), None)
    if why is None:
        return flow_run
    log.info("waiting in this process: %s", why)
    return None


def _left_s(flow_run: Any, timeout: float | None) -> float | None:
    if timeout is None:
        return None
    began = flow_run.start_time or datetime.now(UTC)
    return timeout - (datetime.now(UTC) - began).total_seconds()


def _suspend(flow_run: Any, keys: Collection[str], pending: int, within_s: float | None) -> None:
    """Leaves the process by Prefect's signal. The wait is durable first: a run that suspends is always woken."""
    # a suspension fires once per name, so each attempt needs its own
    name = f"qflows-{digest(str(flow_run.id), str(flow_run.state.id), sorted(keys))[:48]}"
    begin_wait(client().ledger, Wait(name, str(flow_run.id)), keys, within_s=within_s)
    log.info(
        "%s unfinished; this run exits now, and `qflows reconcile` or `qflows up` resumes it",
        plural(pending, "job"),
    )
    suspend_flow_run(timeout=None, key=name)
