"""Progress of the circuits of a job: from the ledger and, for a running composite job, from the vendor."""

from __future__ import annotations

from collections import Counter

from qflows.core.devices import SpeaksFor
from qflows.ledger import reads
from qflows.ledger.store import Ledger
from qflows.model import Job
from qflows.protocol import ChildrenProvider, Phase
from qflows.states import AT_VENDOR, JobStatus

_STATUS = {
    Phase.QUEUED: JobStatus.QUEUED,
    Phase.RUNNING: JobStatus.RUNNING,
    Phase.DONE: JobStatus.COMPLETED,
    Phase.FAILED: JobStatus.FAILED,
    Phase.CANCELLED: JobStatus.CANCELLED,
}


def circuits_by_status(ledger: Ledger, vendors: SpeaksFor, job: Job) -> dict[JobStatus, int]:
    """Number of circuits by status; they sum to `job.n_programs`.

    A vendor that shows the circuits of a composite job is asked; a job that ended counts circuits with an error as
    failed; all other circuits have the status of the job. Raises ProviderError if the vendor cannot be asked.
    """
    found: Counter[JobStatus] = Counter()
    if job.status is JobStatus.COMPLETED:
        failed = sum(item.error is not None for item in reads.items(ledger, job.key))
        found[JobStatus.FAILED], found[JobStatus.COMPLETED] = failed, job.n_programs - failed
    elif job.status in AT_VENDOR and job.vendor_id and job.n_programs > 1:
        provider = vendors.of(job)
        if isinstance(provider, ChildrenProvider):
            for phase, number in provider.children(job.vendor_id).items():
                found[_STATUS.get(phase, job.status)] += number
    found[job.status] += job.n_programs - found.total()
    return {status: number for status, number in found.items() if number > 0}
