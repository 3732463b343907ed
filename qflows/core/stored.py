"""Results of finished jobs, from the ledger alone, and the typed errors of those that have none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qflows.errors import JobCancelled, JobFailed
from qflows.ledger import reads
from qflows.ledger.store import Ledger
from qflows.model import Cost, ItemResult, Job, Result
from qflows.programs import estimation
from qflows.states import JobStatus


def stored(ledger: Ledger, jobs: Sequence[Job], *, items: tuple[ItemResult, ...] | None = None) -> Result:
    """The result of finished jobs; several are the parts of one expectation value. Raises JobFailed, JobCancelled.

    `items`: what to read instead of what is stored.
    """
    for job in jobs:
        raise_unless_completed(job)
    first = jobs[0]
    if items is None:
        items = tuple(item for job in jobs for item in reads.items(ledger, job.key))
    provenance = dict(reads.provenance(ledger, first.key))
    provenance["programs"] = reads.program_digests(ledger, first.key)
    provenance["circuits"] = reads.program_labels(ledger, first.key)
    plan = reads.estimate_plan(ledger, first.key)
    if plan:
        items = (estimation.combine(plan, items, first.shots),)
    if len(jobs) > 1:
        first = replace(first, cost=total_cost(jobs))
    return Result(first, items, provenance)


def total_cost(jobs: Sequence[Job]) -> Cost | None:
    """The sum over jobs with a known cost; None if none is known or units differ."""
    costs = [job.cost for job in jobs if job.cost is not None]
    if not costs or len({cost.unit for cost in costs}) != 1:
        return None
    return Cost(sum(cost.amount for cost in costs), costs[0].unit, any(cost.is_estimate for cost in costs))


def raise_unless_completed(job: Job) -> None:
    """Raise the typed error of a job that ended without counts."""
    if job.status is JobStatus.COMPLETED:
        return
    fields = {
        "key": job.key,
        "vendor_id": job.vendor_id,
        "reason": job.error_message,
        "vendor_code": job.error_code,
        "provider": job.provider,
        "retryable": job.error_retryable,
    }
    what = f"job {job.key[:12]} ({job.name}) on {job.device}"
    if job.status is JobStatus.CANCELLED:
        raise JobCancelled(f"{what} was cancelled: {job.error_message or 'by request'}", **fields)
    reason = job.error_message or "no reason given"
    if job.error_kind == "refused":
        raise JobFailed(f"{what} was refused: {reason}", **fields)
    again = {
        True: "buying it again may succeed: pass resubmit=1",
        False: "buying it again will not help",
        None: "it is unknown whether buying it again would help; resubmit=1 buys it again",
    }[job.error_retryable]
    code = f" [{job.error_code}]" if job.error_code else ""
    raise JobFailed(f"{what} failed{code}: {reason}; {again}", **fields)
