"""A job in the sandbox, and the store of all jobs. Vendors translate; nothing here knows a vendor's words."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

Outcome = Literal["done", "failed", "cancelled"]


@dataclass(frozen=True)
class Work:
    """What to execute for a job: a function in a vendor package, `module:function`, and its JSON payload.

    The function runs in the worker process, takes the payload and returns a JSON document; WorkError fails the job.
    """

    function: str
    payload: dict[str, Any]


@dataclass
class Job:
    """One thing with a vendor id. `request` and `facts` are the vendor's own documents (JSON)."""

    id: str
    vendor: str
    seq: int
    created_at: float
    request: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    work: Work | None = None
    key: str | None = None
    parent_id: str | None = None
    child_ids: list[str] = field(default_factory=list)
    # A scripted failure, set at acceptance: {code, message, children}; `children` is None for the job as a whole.
    injected: dict[str, Any] | None = None
    reads: int = 0
    lists: int = 0
    released: bool = False
    not_before: float = 0.0  # unix seconds; it waits until then, whatever the pace
    started_at: float | None = None
    ended_at: float | None = None
    outcome: Outcome | None = None
    result: Any = None
    failure: dict[str, Any] | None = None
    deleted: bool = False

    @property
    def is_terminal(self) -> bool:
        """True once the outcome can no longer change."""
        return self.outcome is not None

    def to_doc(self) -> dict[str, Any]:
        """JSON form for the state file; shares the job's own documents, because copying megabytes would be slow."""
        return vars(self) | {"work": vars(self.work) if self.work else None}

    @classmethod
    def from_doc(cls, doc: dict[str, Any]) -> Job:
        """The job of a JSON form."""
        work = doc.pop("work", None)
        return cls(work=Work(**work) if work else None, **doc)

    def summary(self) -> dict[str, Any]:
        """What the admin API shows of a job; results are left out because they can be large."""
        shown = ("id", "vendor", "seq", "created_at", "key", "parent_id", "child_ids", "outcome", "failure", "reads")
        return {name: getattr(self, name) for name in shown} | {"deleted": self.deleted, "facts": self.facts}


def _seq(job: Job) -> int:
    return job.seq


class JobStore:
    """All jobs by id, in order of acceptance."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._in_order: list[Job] = []
        self._next_seq = 1

    def __len__(self) -> int:
        return len(self._jobs)

    def next_seq(self) -> int:
        """A number larger than that of any earlier job."""
        seq, self._next_seq = self._next_seq, self._next_seq + 1
        return seq

    def put(self, job: Job) -> None:
        """Add a job."""
        self._jobs[job.id] = job
        insort(self._in_order, job, key=_seq)
        self._next_seq = max(self._next_seq, job.seq + 1)

    def get(self, job_id: str) -> Job | None:
        """The job, deleted ones included, or None."""
        return self._jobs.get(job_id)

    def all(self, vendor: str | None = None) -> Iterator[Job]:
        """Jobs in order of acceptance, deleted ones included."""
        return (job for job in self._jobs.values() if vendor in (None, job.vendor))

    def newest_first(self, vendor: str, *, before: int | None = None) -> Iterator[Job]:
        """Jobs of a vendor, latest accepted first, deleted ones left out; only those numbered below `before`.

        Lazy, and found by bisection: a page far down a long list costs no more than the first.
        """
        end = len(self._in_order) if before is None else bisect_left(self._in_order, before, key=_seq)
        for place in range(end - 1, -1, -1):
            job = self._in_order[place]
            if job.vendor == vendor and not job.deleted:
                yield job

    def children(self, job: Job) -> list[Job]:
        """The children in input order."""
        return [self._jobs[child_id] for child_id in job.child_ids]

    def count(self, *, vendor: str | None = None, jobs: Iterable[Job] | None = None) -> int:
        """Number of accepted purchases: jobs without a parent, including deleted ones."""
        pool = self.all(vendor) if jobs is None else jobs
        return sum(1 for job in pool if job.parent_id is None)

    def clear(self) -> None:
        """Forget everything; numbering starts again."""
        self._jobs.clear()
        self._in_order.clear()
        self._next_seq = 1
