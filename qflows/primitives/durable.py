"""The job of one call of a primitive: a handle on ledger jobs that any process can hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from qiskit.primitives import BasePrimitiveJob, PrimitiveResult
from qiskit.providers import JobStatus as QiskitStatus

from qflows.core.batches.batch import Batch
from qflows.core.client import Client
from qflows.core.stored import total_cost
from qflows.errors import UnknownJob, WaitTimeout
from qflows.keys import digest
from qflows.model import Cost, ItemResult
from qflows.primitives import estimator_results, sampler_results
from qflows.primitives.errors import also_qiskit
from qflows.primitives.origin import Holder
from qflows.states import JobStatus

_STATUS = {
    JobStatus.PREPARED: QiskitStatus.INITIALIZING,
    JobStatus.SUBMITTING: QiskitStatus.INITIALIZING,
    JobStatus.IN_DOUBT: QiskitStatus.INITIALIZING,
    JobStatus.QUEUED: QiskitStatus.QUEUED,
    JobStatus.RUNNING: QiskitStatus.RUNNING,
    JobStatus.COMPLETED: QiskitStatus.DONE,
    JobStatus.FAILED: QiskitStatus.ERROR,
    JobStatus.CANCELLED: QiskitStatus.CANCELLED,
}
_Reader = Callable[[Mapping[str, Any], Sequence[ItemResult], str, Sequence[Any]], PrimitiveResult[Any]]
_READERS: dict[str, _Reader] = {
    sampler_results.KIND: sampler_results.read,
    estimator_results.KIND: estimator_results.read,
}


class DurableJob(BasePrimitiveJob[PrimitiveResult[Any], QiskitStatus]):
    """What `run` of a primitive returns, at once; the jobs are in the ledger and, as a rule, at the vendor.

    `job_id()` is the id of the batch that holds them: `qflows.primitives.job(id)` finds it from any process, and so
    does `qflows.attach(id)`. It pickles without waiting.
    """

    def __init__(self, holder: Holder, note: Mapping[str, Any], notes_of_circuits: Sequence[Any], batch: Batch | None):
        super().__init__(batch.id if batch else digest("no-circuits/1", note))
        self._holder = holder
        self._note = note
        self._notes_of_circuits = list(notes_of_circuits)
        self._batch = batch
        self._is_bought = batch is not None

    @property
    def batch(self) -> Batch | None:
        """The jobs as a batch; None for a call that needed none, such as one of constants."""
        if self._batch is None and self._is_bought:
            self._batch = self._holder.client.batch(self.job_id())
        return self._batch

    @property
    def vendor_ids(self) -> tuple[str, ...]:
        """The vendor's ids of the jobs, in order; those that have none yet are left out."""
        jobs = self.batch.sub_jobs() if self.batch else []
        return tuple(job.vendor_id for job in jobs if job.vendor_id is not None)

    @property
    def cost(self) -> Cost | None:
        """What the jobs cost, as far as the vendor says; None where it does not."""
        return total_cost(self.batch.sub_jobs()) if self.batch else None

    def result(self, timeout: float | None = None) -> PrimitiveResult[Any]:
        """Waits and reads the results, in the order of the PUBs, from the ledger; repeat it freely.

        `timeout` in seconds. Raises WaitTimeout at the deadline, PubFailed with the vendor's reason.
        """
        items: Sequence[ItemResult] = ()
        with also_qiskit():
            if self.batch is not None:
                found = self.batch.result(timeout)
                items = [found[place] for place in range(len(found))]
        in_order: list[Any] = [None] * len(items)
        for place, item in zip(self._note["order"], items, strict=True):
            in_order[place] = item
        return _READERS[self._note["kind"]](self._note, in_order, self.job_id(), self._notes_of_circuits)

    def status(self) -> QiskitStatus:
        """Where the job that is furthest behind stands, after one look at the vendor."""
        if self.batch is None:
            return QiskitStatus.DONE
        if not self.batch.in_final_state:
            with suppress(WaitTimeout):
                self.batch.wait(0)
        return _STATUS[self.batch.status]

    def done(self) -> bool:
        """True when every job completed."""
        return self.status() is QiskitStatus.DONE

    def running(self) -> bool:
        """True while a job runs and none waits."""
        return self.status() is QiskitStatus.RUNNING

    def cancelled(self) -> bool:
        """True when the call was cancelled."""
        return self.status() is QiskitStatus.CANCELLED

    def in_final_state(self) -> bool:
        """True when nothing can change any more."""
        return self.status() in (QiskitStatus.DONE, QiskitStatus.ERROR, QiskitStatus.CANCELLED)

    def cancel(self) -> None:
        """Cancels every live job at the vendor and verifies it. Raises WaitTimeout if that takes over a minute."""
        if self.batch is not None:
            self.batch.cancel()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_batch": None}

    def __repr__(self) -> str:
        return f"DurableJob({self.job_id()[:12]}, {len(self._note['pubs'])} pubs)"


def job(job_id: str, *, client: Client | None = None) -> DurableJob:
    """The job of an earlier call, by its id or a unique beginning of it, from any process.

    Metadata of circuits comes back as the plain JSON values that the ledger keeps. Raises UnknownJob.
    """
    holder = Holder(client)
    batch = holder.client.batch(job_id)
    note = (batch.metadata.get("sweep") or {}).get("pubs")
    if not note:
        raise UnknownJob(f"batch {batch.id[:12]} was not bought by a primitive; read it with qflows.attach")
    return DurableJob(holder, note, [pub["metadata"] for pub in note["pubs"]], batch)
