"""A batch of jobs that are already in the ledger, bought here or imported; nothing is bought or sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qflows.core.batches.batch import Batch
from qflows.core.parts import Parts
from qflows.errors import ProgramRejected
from qflows.keys import digest
from qflows.ledger import batches as ledger_batches
from qflows.ledger import reads
from qflows.ledger.batches import BatchRecord
from qflows.ledger.store import utc_now
from qflows.model import Job


def batch_of_jobs(core: Parts, jobs: Sequence[Job], *, name: str = "", tags: Mapping[str, str] | None = None) -> Batch:
    """Circuits are in the order of the jobs and of the programs in each job. The same jobs give the same batch.

    Raises ProgramRejected for no jobs, a duplicate, jobs on several devices or of several accounts, and a job whose
    circuits together are one expectation value.
    """
    _check(core, jobs)
    first = jobs[0]
    n_circuits = sum(job.n_programs for job in jobs)
    record = BatchRecord(
        id=digest("batch-from/1", [job.key for job in jobs]),
        run_key=first.run_key,
        name=(name or f"{n_circuits} circuits of {len(jobs)} jobs")[:255],
        tags=dict(tags or {}),
        provider=first.provider,
        device=first.device,
        device_id=first.device_id,
        n_circuits=n_circuits,
        options=dict(core.submitter.spec(first.key).options),
        details={"limits": {}, "attempt": "", "sweep": {}, "label": "", "made_from": "jobs"},
        created_at=utc_now(),
    )
    return Batch(core, ledger_batches.adopt(core.ledger, record, [(job.key, job.n_programs) for job in jobs]))


def _check(core: Parts, jobs: Sequence[Job]) -> None:
    if not jobs:
        raise ProgramRejected("batch_from needs at least one job; `qflows jobs ls` lists them")
    keys = [job.key for job in jobs]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise ProgramRejected(f"job {twice[0][:12]} is named twice; a batch contains each job once")
    first = jobs[0]
    for job in jobs:
        if (job.provider, job.account, job.device_id) != (first.provider, first.account, first.device_id):
            raise ProgramRejected(
                f"job {job.key[:12]} ran on {job.device} and job {first.key[:12]} on {first.device}: a batch is on one "
                "device and account; a group holds jobs of any"
            )
        if reads.estimate_plan(core.ledger, job.key) is not None:
            raise ProgramRejected(
                f"the circuits of job {job.key[:12]} form one expectation value, which a batch would split; read it "
                "with qflows.result"
            )
