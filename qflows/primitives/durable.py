"""The job of one call of a primitive: a handle on ledger jobs that any process can hold."""

from __future__ import annotations

import math
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


class Handle:
    """What the jobs of primitives and backends share: a batch that any process can find again."""

    _holder: Holder
    _note: Mapping[str, Any]
    _notes_of_circuits: list[Any]
    _batch: Batch | None
    _batch_id: str | None

    def _keep(self, holder: Holder, note: Mapping[str, Any], notes_of_circuits: Sequence[Any], batch: Batch | None):
        self._holder = holder
        self._note = note
        self._notes_of_circuits = list(notes_of_circuits)
        self._batch = batch
        self._batch_id = batch.id if batch else None

    @property
    def batch(self) -> Batch | None:
        """The jobs as a batch; None for a call that needed none, such as one of constants."""
        if self._batch is None and self._batch_id is not None:
            self._batch = self._holder.client.batch(self._batch_id)
        return self._batch

    @property
    def vendor_ids(self) -> tuple[str, ...]:
        """The vendor's ids of the jobs, in order; jobs without one yet are left out."""
        jobs = self.batch.sub_jobs() if self.batch else []
        return tuple(job.vendor_id for job in jobs if job.vendor_id is not None)

    @property
    def cost(self) -> Cost | None:
        """What the jobs cost, as far as the vendor reports it; None if it does not."""
        return total_cost(self.batch.sub_jobs()) if self.batch else None

    def status(self) -> QiskitStatus:
        """The status of the job that is furthest behind, after one poll of the vendor."""
        if self.batch is None:
            return QiskitStatus.DONE
        if not self.batch.in_final_state:
            with suppress(WaitTimeout):
                self.batch.wait(0)
        return _STATUS[self.batch.status]

    def done(self) -> bool:
        """True if every job completed."""
        return self.status() is QiskitStatus.DONE

    def running(self) -> bool:
        """True while a job runs and none waits."""
        return self.status() is QiskitStatus.RUNNING

    def cancelled(self) -> bool:
        """True if the call was cancelled."""
        return self.status() is QiskitStatus.CANCELLED

    def in_final_state(self) -> bool:
        """True if nothing can change any more."""
        return self.status() in (QiskitStatus.DONE, QiskitStatus.ERROR, QiskitStatus.CANCELLED)

    def cancel(self) -> None:
        """Cancel every live job at the vendor and verify it. Raises WaitTimeout if that takes over a minute."""
        if self.batch is not None:
            self.batch.cancel()

    def _in_order(self, found: Sequence[Any]) -> list[Any]:
        """Results of circuits in the order in which they were requested."""
        in_order: list[Any] = [None] * len(found)
        for place, item in zip(self._note["order"], found, strict=True):
            in_order[place] = item
        return in_order

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_batch": None}


def id_of(note: Mapping[str, Any], batch: Batch | None) -> str:
    """The batch's id; for a call that bought nothing, one derived from its content."""
    return batch.id if batch else digest("no-circuits/1", note)


class DurableJob(Handle, BasePrimitiveJob[PrimitiveResult[Any], QiskitStatus]):
    """The job that `run` of a primitive returns at once; its jobs are in the ledger and, usually, at the vendor.

    `job_id()` is the id of the batch that holds them: `qflows.primitives.job(id)` finds it from any process, and so
    does `qflows.attach(id)`. It pickles without waiting.
    """

    def __init__(self, holder: Holder, note: Mapping[str, Any], notes_of_circuits: Sequence[Any], batch: Batch | None):
        BasePrimitiveJob.__init__(self, id_of(note, batch))
        self._keep(holder, note, notes_of_circuits, batch)

    def result(self, timeout: float | None = None) -> PrimitiveResult[Any]:
        """Wait and read the results, in the order of the PUBs, from the ledger; may be repeated.

        `timeout` in seconds. Raises WaitTimeout at the deadline, PubFailed with the vendor's reason.
        """
        items: list[ItemResult] = []
        with also_qiskit():
            if self.batch is not None:
                found = self.batch.result(timeout)
                items = self._in_order([found[place] for place in range(len(found))])
        return _READERS[self._note["kind"]](self._note, items, self.job_id(), self._notes_of_circuits)

    def __repr__(self) -> str:
        return f"DurableJob({self.job_id()[:12]}, {len(self._note['pubs'])} pubs)"


def job(job_id: str, *, client: Client | None = None) -> DurableJob:
    """The job of an earlier call of a primitive, by its id or a unique prefix of it, from any process.

    Metadata of circuits are those of the first purchase, as far as they are plain JSON values. Raises UnknownJob.
    """
    holder = Holder(client)
    batch, note = find(holder, job_id)
    if note.get("kind") not in _READERS:
        raise UnknownJob(f"batch {batch.id[:12]} was not bought by a primitive; read it with qflows.attach")
    return DurableJob(holder, note, _metadata(batch, note), batch)


def _metadata(batch: Batch, note: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The stored metadata of each PUB's circuit; empty if the PUB needed no circuit."""
    programs: list[Any] = [None] * batch.n_circuits
    for place, program in zip(note["order"], batch.programs, strict=True):
        programs[place] = program
    start = note["mitigation"]["calibrations"] if "mitigation" in note else 0
    found: list[dict[str, Any]] = []
    for pub in note["pubs"]:
        if "points" in pub:
            n = sum(n_circuits for _, n_circuits in pub["points"])
        else:
            n = math.prod(pub["shape"]) if pub["is_measured"] else 0
        found.append(dict(programs[start].metadata) if n else {})
        start += n
    return found


def find(holder: Holder, job_id: str) -> tuple[Batch, Mapping[str, Any]]:
    """The batch of an id, and the note stored with it. Raises UnknownJob."""
    batch = holder.client.batch(job_id)
    return batch, (batch.metadata.get("sweep") or {}).get("pubs") or {}
