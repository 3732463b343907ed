"""Live jobs as a poll needs them: the columns that decide, without documents, texts or programs.

A vendor's queue may hold thousands of jobs for hours. Each poll reads all of them, and finds most as they were.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from sys import intern
from typing import Any, NamedTuple

import sqlalchemy as sa

from qflows.ledger.store import Ledger
from qflows.ledger.tables import REBUILT, jobs
from qflows.model import Job
from qflows.states import LIVE, JobStatus

_AT_ONCE = 1000  # rows fetched at a time

# literal statuses, so that both databases use the partial index
LIVE_JOBS = sa.text("status in (" + ", ".join(f"'{status.value}'" for status in JobStatus if status in LIVE) + ")")


class Pending(NamedTuple):
    """A live job, as its ledger row was read. The fields are those of `Job`.

    `began_at`: when it was submitted; before that, when it was ordered.
    """

    key: str
    provider: str
    account: str
    device: str
    device_id: str
    status: JobStatus
    vendor_id: str | None
    word: str | None
    is_held: bool
    queue_position: int | None
    queue_note: str | None
    bad_reads: int
    n_programs: int
    began_at: datetime
    cancel_requested_at: datetime | None


Polled = Job | Pending


def began_at(job: Polled) -> datetime:
    """When a job was submitted; before that, when it was ordered."""
    return job.began_at if isinstance(job, Pending) else job.timeline.submitted or job.created_at


# its answer is stored, and the programs to decode it by are not known
WAITS_FOR_ITS_RUN = sa.and_(sa.func.coalesce(jobs.c.origin, "") == REBUILT, sa.func.coalesce(jobs.c.bad_reads, -1) == 0)
# texts as they are stored: whatever differs from what a vendor says now is read again in full
_ALL = sa.select(
    jobs.c.key,
    jobs.c.provider,
    jobs.c.account,
    jobs.c.device,
    jobs.c.device_id,
    jobs.c.status,
    jobs.c.vendor_id,
    sa.type_coerce(jobs.c.word, sa.String).label("word"),
    jobs.c.is_held,
    jobs.c.queue_position,
    sa.type_coerce(jobs.c.queue_note, sa.String).label("queue_note"),
    jobs.c.bad_reads,
    jobs.c.n_programs,
    sa.func.coalesce(jobs.c.submitted_at, jobs.c.created_at).label("began_at"),
    jobs.c.cancel_requested_at,
).where(LIVE_JOBS, sa.not_(WAITS_FOR_ITS_RUN))
_LANE = _ALL.where(jobs.c.provider == sa.bindparam("provider"), jobs.c.account == sa.bindparam("account"))
_SOME = _LANE.limit(sa.bindparam("at_most", type_=sa.Integer))
_STANDING = sa.select(jobs.c.key, jobs.c.status, jobs.c.is_held).where(LIVE_JOBS)
_STATUS = {status.value: status for status in JobStatus}


def all_live(ledger: Ledger) -> list[Pending]:
    """All jobs of all lanes that are not terminal, without rebuilt ones that wait for their run."""
    with ledger.read() as connection:
        return list(_read(connection.execute(_ALL)))


def of_lane(ledger: Ledger, provider: str, account: str, *, at_most: int | None = None) -> list[Pending]:
    """The same of one lane, or some of them, from any submitter."""
    values = {"provider": provider, "account": account, "at_most": at_most}
    with ledger.read() as connection:
        return list(_read(connection.execute(_LANE if at_most is None else _SOME, values)))


def standing(ledger: Ledger) -> dict[str, tuple[JobStatus, bool]]:
    """Status of every live job by key, and whether its result is withheld."""
    with ledger.read() as connection:
        return {key: (_STATUS[status], bool(held)) for key, status, held in _rows(connection.execute(_STANDING))}


def _read(result: sa.CursorResult[Any]) -> Iterator[Pending]:
    for key, vendor, account, device, device_id, status, its_id, word, held, place, note, bad, *rest in _rows(result):
        yield Pending(
            key, intern(vendor), intern(account), intern(device), intern(device_id), _STATUS[status], its_id,
            word and intern(word), bool(held), place, note and intern(note), bad or 0, *rest,
        )  # fmt: skip


def _rows(result: sa.CursorResult[Any]) -> Iterable[Any]:
    for part in result.partitions(_AT_ONCE):
        yield from part


class OnDevice(NamedTuple):
    """Live jobs of one status on one device: how many, the foremost place in the queue, and when the oldest was
    ordered."""

    device: str
    status: JobStatus
    n: int
    place: int | None
    oldest: datetime


_BY_DEVICE = (
    sa.select(
        jobs.c.device,
        jobs.c.status,
        sa.func.count(),
        sa.func.min(jobs.c.queue_position),
        sa.func.min(jobs.c.created_at),
    )
    .where(LIVE_JOBS, sa.not_(WAITS_FOR_ITS_RUN))
    .group_by(jobs.c.device, jobs.c.status)
)


def by_device(ledger: Ledger) -> list[OnDevice]:
    """Live jobs, counted by device and status."""
    with ledger.read() as connection:
        return [
            OnDevice(device, JobStatus(status), n, place, oldest)
            for device, status, n, place, oldest in connection.execute(_BY_DEVICE)
        ]
