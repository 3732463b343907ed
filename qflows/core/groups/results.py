"""The results of a group: every member's own result or error, and the members that are not over yet, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from qflows import display
from qflows.errors import JobFailed
from qflows.model import Cost, Counts, Job, Result, ResultData
from qflows.states import GroupState


@dataclass(frozen=True, slots=True)
class MemberResult:
    """How one job of a group ended: `result` with counts, or `error`; a failed composite job may have both."""

    job: Job
    result: Result | None
    error: JobFailed | None

    @property
    def success(self) -> bool:
        """True if the job completed."""
        return self.error is None

    @property
    def counts(self) -> Counts:
        """Histogram of the job's single program. Raises the job's own error when it failed."""
        return self._result().counts

    @property
    def probabilities(self) -> dict[str, float]:
        """As `Result.probabilities`. Raises the job's own error when it failed."""
        return self._result().probabilities

    @property
    def data(self) -> ResultData:
        """`member.data.get_counts()`, qBraid's spelling of `member.counts`. Raises the job's own error if it failed."""
        return self._result().data

    @property
    def details(self) -> dict[str, Any]:
        """As `Result.details`; for a failed job, its status and reason."""
        if self.result is not None:
            return self.result.details
        return {"job_id": self.job.id, "key": self.job.key, "status": self.job.status.value, "error": str(self.error)}

    def _result(self) -> Result:
        if self.error is not None:
            raise self.error
        assert self.result is not None
        return self.result


class GroupResult(Mapping[str, MemberResult]):
    """Finished members by job key, in the order of enrollment; `pending()` names the others.

    `[key]` also takes a vendor id, a job handle, or the member's place in the group. No collected result is ever
    dropped: at a deadline, or with an unreachable vendor, this holds what there is, and `unreachable` says why (vendor,
    or vendor and job → reason). Among the values, `.success` separates successes from failures.
    """

    def __init__(
        self,
        *,
        group_id: str,
        name: str,
        state: GroupState,
        jobs: tuple[Job, ...],
        finished: Mapping[str, MemberResult],
        unreachable: Mapping[str, str],
        callback_error: str | None = None,
    ) -> None:
        self.group_id = group_id
        self.name = name
        self.state = state
        self.jobs = jobs
        self._finished = {job.key: finished[job.key] for job in jobs if job.key in finished}
        self.unreachable = dict(unreachable)
        self.callback_error = callback_error

    def __getitem__(self, which: str | int | Job) -> MemberResult:
        if isinstance(which, int):
            job = self.jobs[which]
        else:
            name = which.key if isinstance(which, Job) else which
            found = [job for job in self.jobs if name in (job.key, job.vendor_id)]
            if not found:
                raise KeyError(f"{name!r} is not a member of group {self.group_id[:12]}")
            job = found[0]
        if job.key not in self._finished:
            raise KeyError(f"job {job.key[:12]} on {job.device} is {job.status.value}; it is in .pending()")
        return self._finished[job.key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._finished)

    def __len__(self) -> int:
        return len(self._finished)

    def __repr__(self) -> str:
        parts = f"{len(self.successful())} successful, {len(self.failed())} failed, {len(self.pending())} pending"
        return f"<GroupResult {self.name or self.group_id[:12]} {self.state.value}: {parts}>"

    def _repr_html_(self) -> str:
        columns = ("place", "name", "device", "status", "cost", "note", "job")
        return display.table([row_of(place, job) for place, job in enumerate(self.jobs)], columns)

    @property
    def results(self) -> dict[str, MemberResult]:
        """The finished members as a plain dict."""
        return dict(self._finished)

    @property
    def is_complete(self) -> bool:
        """True if no member is pending."""
        return len(self._finished) == len(self.jobs)

    @property
    def total(self) -> int:
        """Number of members. An alias of `len(result.jobs)`."""
        return len(self.jobs)

    def successful(self) -> dict[str, Result]:
        """Job key → result, of members that completed."""
        return {key: one.result for key, one in self._finished.items() if one.success and one.result is not None}

    def failed(self) -> dict[str, JobFailed]:
        """Job key → the job's own error, of members that failed or were cancelled."""
        return {key: one.error for key, one in self._finished.items() if one.error is not None}

    def pending(self) -> dict[str, Job]:
        """Job key → handle, of members that are not over; they keep running at their vendors."""
        return {job.key: job for job in self.jobs if job.key not in self._finished}

    @property
    def costs(self) -> tuple[Cost, ...]:
        """What all members cost: one sum per unit, billed amounts apart from estimates."""
        return sums(self.jobs)


def sums(jobs: tuple[Job, ...] | list[Job]) -> tuple[Cost, ...]:
    """One sum per unit, billed amounts first, estimates apart."""
    totals: dict[tuple[bool, str], float] = {}
    for job in jobs:
        if job.cost is not None:
            kind = (job.cost.is_estimate, job.cost.unit)
            totals[kind] = totals.get(kind, 0.0) + job.cost.amount
    return tuple(Cost(amount, unit, is_estimate) for (is_estimate, unit), amount in sorted(totals.items()))


def row_of(place: int, job: Job) -> dict[str, Any]:
    """One member as a readable row; the error is the job's own."""
    return {
        "place": str(place),
        "job": job.key[:12],
        "name": job.name,
        "device": job.device,
        "vendor id": job.vendor_id or "",
        "status": job.status.value,
        "cost": f"{job.cost.amount:g} {job.cost.unit}{' (estimate)' if job.cost.is_estimate else ''}"
        if job.cost
        else "",
        "note": job.error_message or job.queue_note or "",
    }
