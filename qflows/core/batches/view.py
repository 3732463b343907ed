"""What a batch is and its current state, read from the ledger; nothing here waits or sends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from qflows import display
from qflows.core.batches.health import PartHealth, by_part, measured
from qflows.core.batches.planning import span
from qflows.core.batches.results import CircuitError, by_circuit, check_index, owner_of_circuits
from qflows.core.parts import Parts
from qflows.ledger import batches as ledger_batches
from qflows.ledger import reads
from qflows.ledger.batches import BatchRecord, PartRecord
from qflows.model import Job, Timeline, calibration_of
from qflows.programs import Program
from qflows.states import AT_VENDOR, LIVE, JobStatus

# any part in an earlier status decides the overall status (as in qiskit-ibm-provider's composite job)
_PRECEDENCE = (
    JobStatus.IN_DOUBT,
    JobStatus.PREPARED,
    JobStatus.SUBMITTING,
    JobStatus.QUEUED,
    JobStatus.RUNNING,
    JobStatus.FAILED,
    JobStatus.CANCELLED,
    JobStatus.COMPLETED,
)


def deciding(pairs: Sequence[tuple[PartRecord, Job]]) -> list[tuple[PartRecord, Job]]:
    """The parts that decide the status; a part whose circuits are all in a later generation does not."""
    newest = {part.part for part in owner_of_circuits([part for part, _ in pairs]).values()}
    return [(part, job) for part, job in pairs if part.part in newest]


class BatchView:
    """The reading half of a batch handle."""

    def __init__(self, parts: Parts, record: BatchRecord) -> None:
        self._parts = parts
        self._submitter = parts.submitter
        self._ledger = parts.ledger
        self.record = record

    def __repr__(self) -> str:
        found = Counter(self.status_by_part.values())
        counts = ", ".join(f"{n} {status.value.lower()}" for status, n in sorted(found.items()))
        return f"<Batch {self.id[:12]} {self.name!r} on {self.device}: {self.n_circuits} circuits; parts: {counts}>"

    def _repr_html_(self) -> str:
        rows = self.report_table()
        return display.pairs({"batch": self.id[:12], "name": self.name, "device": self.device}) + display.table(
            rows, list(rows[0]) if rows else ()
        )

    # -- identity

    @property
    def id(self) -> str:
        """The batch's id; `qflows.attach(id)` finds the batch from any process."""
        return self.record.id

    @property
    def name(self) -> str:
        """The given name, or one derived from the first circuit's."""
        return self.record.name

    @property
    def tags(self) -> Mapping[str, str]:
        """Tags in the ledger."""
        return self.record.tags

    @property
    def device(self) -> str:
        """The device's profile name."""
        return self.record.device

    @property
    def options(self) -> Mapping[str, Any]:
        """Vendor options of all jobs."""
        return self.record.options

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The limits that shaped the plan."""
        return self.record.details

    @property
    def created_at(self) -> datetime:
        """UTC."""
        return self.record.created_at

    @property
    def n_circuits(self) -> int:
        """Number of circuits in the batch."""
        return self.record.n_circuits

    @property
    def parts(self) -> list[PartRecord]:
        """Every job with the circuits it carries: the first plan, then re-runs."""
        return ledger_batches.parts(self._ledger, self.id)

    @property
    def n_planned(self) -> int:
        """Number of circuits of the first plan that have a durable job."""
        return sum(len(part.indices) for part in self.parts if part.generation == 0)

    @property
    def programs(self) -> list[Program]:
        """All circuits in input order, from the ledger."""
        found: dict[int, Program] = {}
        for part in self.parts:
            if part.generation == 0:
                found |= dict(zip(part.indices, self._submitter.spec(part.job_key).programs, strict=False))
        return [found[index] for index in sorted(found)]

    @property
    def calibration(self) -> Mapping[str, Any] | None:
        """The device's calibration, as `Result.calibration`, of the first part that has one."""
        about = reads.provenances(self._ledger, [part.job_key for part in self.parts])
        return next((one for part in self.parts if (one := calibration_of(about.get(part.job_key, {})))), None)

    # -- status

    def _parts_and_jobs(self) -> list[tuple[PartRecord, Job]]:
        parts = self.parts
        jobs = reads.by_keys(self._ledger, [part.job_key for part in parts])
        return [(part, jobs[part.job_key]) for part in parts]

    def _current(self) -> list[tuple[PartRecord, Job]]:
        return deciding(self._parts_and_jobs())

    @property
    def status_by_part(self) -> dict[int, JobStatus]:
        """Status by part number, so that an error never hides behind "queued"."""
        pairs = self._current()
        owner = owner_of_circuits([part for part, _ in pairs])
        return {part.part: self._part_status(part, job, owner) for part, job in pairs}

    def _part_status(self, part: PartRecord, job: Job, owner: Mapping[int, PartRecord]) -> JobStatus:
        """The job's status, judged by its own circuits: FAILED if one failed, COMPLETED once those are re-run."""
        if not job.is_terminal or (job.status is JobStatus.COMPLETED and not job.n_errors):
            return job.status
        items = reads.items(self._ledger, job.key)
        mine = [place for place, index in enumerate(part.indices) if owner[index].part == part.part]
        if all(place < len(items) and items[place].error is None for place in mine):
            return JobStatus.COMPLETED
        return JobStatus.FAILED if job.status is JobStatus.COMPLETED else job.status

    @property
    def status(self) -> JobStatus:
        """The earliest status of any part; see `status_by_part` and `status_counts` for all."""
        present = set(self.status_by_part.values())
        return next(status for status in _PRECEDENCE if status in present)

    @property
    def status_counts(self) -> dict[JobStatus, int]:
        """Number of parts in each status."""
        return dict(Counter(self.status_by_part.values()))

    @property
    def done(self) -> bool:
        """True if every part completed."""
        return set(self.status_by_part.values()) == {JobStatus.COMPLETED}

    @property
    def running(self) -> bool:
        """True while any part runs."""
        return JobStatus.RUNNING in self.status_by_part.values()

    @property
    def cancelled(self) -> bool:
        """True if the whole batch is cancelled: nothing is live, nothing failed, and some part was cancelled."""
        return self.status is JobStatus.CANCELLED

    @property
    def in_final_state(self) -> bool:
        """True if nothing can change without a re-run."""
        return not any(status in LIVE for status in self.status_by_part.values())

    def sub_job(self, index: int) -> Job:
        """The job that now holds circuit `index`. Raises IndexError naming the range."""
        check_index(index, self.n_circuits)
        part = owner_of_circuits(self.parts)[index]
        return reads.job(self._ledger, part.job_key)

    def sub_jobs(self) -> list[Job]:
        """All jobs, the first plan first. Never blocks; parts without a vendor id are included."""
        return [job for _, job in self._parts_and_jobs()]

    @property
    def errors(self) -> dict[int, CircuitError]:
        """Circuit index → why it has no counts, as soon as that is known."""
        pairs = self._current()
        items = {part.part: reads.items(self._ledger, job.key) for part, job in pairs if job.is_terminal}
        return {i: e for i, (_, e) in by_circuit(pairs, items).items() if e is not None and e.status not in LIVE}

    def health(self) -> tuple[PartHealth, ...]:
        """What the reference circuits say about each part; empty without `reference=`."""
        if not self.record.details.get("references"):
            return ()
        return measured(self._ledger, self.record, self._parts_and_jobs())

    @property
    def queue(self) -> tuple[int | None, str]:
        """Position of the part that is last in the queue, and a note; None with the reason if there is none."""
        waiting = [job for _, job in self._current() if job.status in AT_VENDOR]
        if not waiting:
            return None, "no part is queued"
        last = max(waiting, key=lambda job: (job.queue_position or 0, job.created_at))
        return last.queue_position, last.queue_note or f"{last.provider} does not report a queue position"

    @property
    def timeline(self) -> Timeline:
        """First creation, first submission, first start, last end; QPU seconds summed."""
        times = [job.timeline for _, job in self._parts_and_jobs()]
        known = [t.qpu_s for t in times if t.qpu_s is not None]
        return Timeline(
            self.created_at,
            min((t.submitted for t in times if t.submitted), default=None),
            min((t.started for t in times if t.started), default=None),
            max((t.finished for t in times if t.finished), default=None) if self.in_final_state else None,
            sum(known) if known else None,
            expected_start=min((t.expected_start for t in times if t.expected_start), default=None),
            expected_end=max((t.expected_end for t in times if t.expected_end), default=None),
        )

    # -- reports

    def report(self, *, detailed: bool = True) -> str:
        """The summary as text, with one line per part if `detailed`."""
        counts = ", ".join(f"{n} {status.value.lower()}" for status, n in sorted(self.status_counts.items()))
        lines = [
            f"batch {self.id[:12]} ({self.name}) on {self.device}: {self.status.value}",
            f"  {self.n_circuits} circuits in {len(self.status_by_part)} parts: {counts}",
        ]
        errors = self.errors
        if errors:
            first = errors[min(errors)]
            lines.append(f"  {len(errors)} circuits without counts; first: circuit {first.index}: {first.message}")
        if bad := [one for one in self.health() if one.is_good is False]:
            lines.append(f"  {len(bad)} parts measured bad health; first: part {bad[0].part}: {bad[0].why}")
        if detailed:
            for row in self.report_table():
                lines.append("  " + "  ".join(f"{value}" for value in row.values() if value))
        return "\n".join(lines)

    def report_table(self) -> list[dict[str, str]]:
        """One row per part: circuits, vendor id, status, times, cost, error."""
        rows = []
        health = by_part(self.health())
        for part, job in self._parts_and_jobs():
            times = job.timeline
            rows.append(
                {
                    "part": str(part.part) + (f" (re-run {part.generation})" if part.generation else ""),
                    "circuits": span(part.indices) or "reference",
                    "status": job.status.value,
                    "cost": f"{job.cost.amount:g} {job.cost.unit}" if job.cost else "",
                    "queue s": f"{times.queue_s:.1f}" if times.queue_s is not None else "",
                    "run s": f"{times.execution_s:.1f}" if times.execution_s is not None else "",
                    **({"health": health.get(part.part, "")} if self.record.details.get("references") else {}),
                    "note": job.error_message or ("" if job.is_terminal else job.queue_note) or "",
                    "job": job.key[:12],
                    "vendor id": job.vendor_id or "",
                }
            )
        return rows
