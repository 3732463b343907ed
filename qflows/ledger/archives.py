"""Old jobs without their bulk: what may leave the ledger for an archive file, and the pointer that stays.

The row of a job stays, because it guards the purchase: key, vendor id, account, status, cost. Results, answers, history
and notes of provenance leave; `jobs.provenance` then names the file that has them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qflows.errors import ArchiveMissing
from qflows.ledger.labels import CHANGED
from qflows.ledger.money_tables import charges
from qflows.ledger.store import Ledger, chunks
from qflows.ledger.tables import batch_parts, events, group_members, groups, jobs, raw_answers, results, sessions
from qflows.protocol import RawAnswer
from qflows.states import LIVE, TERMINAL, SessionState

POINTER = "archived"  # the only member of an archived job's provenance
_AT_ONCE = 1_000  # jobs in one transaction
_OVER = ("COMPLETED", "FAILED", "CANCELLED")  # states of a group that has nothing open
_IS_ARCHIVED = sa.cast(jobs.c.provenance, sa.Text).startswith(f'{{"{POINTER}"', autoescape=True)
_MAY_LEAVE = sa.and_(
    jobs.c.status.in_([status.value for status in TERMINAL]),
    sa.func.coalesce(jobs.c.is_held, sa.false()).is_(sa.false()),
    jobs.c.bad_reads.is_(None),  # an answer that could not be read waits for a newer decoder
    sa.not_(_IS_ARCHIVED),
)


@dataclass(frozen=True, slots=True)
class Pointer:
    """Where an archived job's bulk is. `digest`: SHA-256 of the file; `folder`: where it was written."""

    file: str
    digest: str
    folder: str


@dataclass(frozen=True, slots=True)
class ArchivedJob:
    """What left the ledger with a job, as its columns had it. `items`: bodies of its results, in order."""

    provenance: Mapping[str, Any]
    submission: Mapping[str, Any] | None
    items: Sequence[Mapping[str, Any]]
    history: Sequence[Mapping[str, Any]]
    answer: RawAnswer | None
    about: Mapping[str, Any] | None  # when and by what the answer was fetched, and the digests of its documents


@dataclass(frozen=True, slots=True)
class Candidate:
    """A job that ended long ago. `size`: bytes of its stored answer."""

    key: str
    status: str
    finished_at: datetime
    n_programs: int
    size: int


def pointers(ledger: Ledger, keys: Collection[str]) -> dict[str, Pointer]:
    """The archived jobs among these, and where each is."""
    found: dict[str, Pointer] = {}
    with ledger.read() as connection:
        for part in chunks(sorted(keys)):
            query = sa.select(jobs.c.key, jobs.c.provenance).where(jobs.c.key.in_(part), _IS_ARCHIVED)
            found |= {row.key: Pointer(**row.provenance[POINTER]) for row in connection.execute(query)}
    return found


def fetch(ledger: Ledger, keys: Collection[str]) -> dict[str, ArchivedJob]:
    """What left the ledger with the archived jobs among these; others are absent. Raises ArchiveMissing."""
    found = pointers(ledger, keys)
    if not found:
        return {}
    if ledger.archives is None:
        raise ArchiveMissing(f"job {next(iter(found))[:12]} is archived, and this process reads no archives")
    return ledger.archives(found)


def candidates(
    ledger: Ledger, before: datetime, *, after: Candidate | None = None, limit: int = _AT_ONCE
) -> list[Candidate]:
    """Jobs that ended before a moment and are not archived, oldest first, behind `after` in that order."""
    query = (
        sa.select(jobs.c.key, jobs.c.status, jobs.c.finished_at, jobs.c.n_programs, raw_answers.c.size)
        .join(raw_answers, raw_answers.c.job_key == jobs.c.key, isouter=True)
        .where(jobs.c.finished_at < before, _MAY_LEAVE)
        .order_by(jobs.c.finished_at, jobs.c.key)
        .limit(limit)
    )
    if after is not None:
        last = after.finished_at
        query = query.where(
            jobs.c.finished_at >= last, sa.or_(jobs.c.finished_at > last, jobs.c.key > after.key)
        )  # the first condition repeats part of the second, for the index
    with ledger.read() as connection:
        return [
            Candidate(row.key, row.status, row.finished_at, row.n_programs, row.size or 0)
            for row in connection.execute(query)
        ]


def held_back(ledger: Ledger, keys: Collection[str]) -> dict[str, str]:
    """Those among these jobs that something open still refers to, and what it is."""
    open_batches = (
        sa.select(batch_parts.c.batch_id)
        .join(jobs, jobs.c.key == batch_parts.c.job_key)
        .where(jobs.c.status.in_([status.value for status in LIVE]))
    )
    looks = {
        "an open group": lambda part: (
            sa.select(group_members.c.job_key)
            .join(groups, groups.c.id == group_members.c.group_id)
            .where(
                group_members.c.job_key.in_(part),
                sa.or_(groups.c.state.not_in(_OVER), groups.c.callback_state.in_(("PENDING", "CLAIMED"))),
            )
        ),
        "an open session": lambda part: (
            sa.select(jobs.c.key)
            .join(sessions, sa.and_(sessions.c.vendor_id == jobs.c.session_id, sessions.c.provider == jobs.c.provider))
            .where(jobs.c.key.in_(part), sessions.c.state != SessionState.CLOSED.value)
        ),
        "an unfinished batch": lambda part: sa.select(batch_parts.c.job_key).where(
            batch_parts.c.job_key.in_(part), batch_parts.c.batch_id.in_(open_batches)
        ),
        "an unsettled charge": lambda part: sa.select(charges.c.subject).where(
            charges.c.subject.in_(part), charges.c.state.in_(("WAITING", "HELD"))
        ),
    }
    with ledger.read() as connection:
        return {
            key: why
            for part in chunks(sorted(keys))
            for why, look in looks.items()
            for key in connection.execute(look(part)).scalars()
        }


def rows_of(connection: sa.Connection, table: sa.Table, keys: Sequence[str], *columns: Any) -> list[Any]:
    """The rows of results, answers or history of these jobs, in the order of their keys."""
    owner = table.c.subject if table is events else table.c.job_key
    then = events.c.id if table is events else next(iter(table.primary_key.columns))
    order = [owner, then] if table is not results else [owner, results.c.idx]
    return [
        row
        for part in chunks(sorted(keys))
        for row in connection.execute(
            sa.select(*columns).where(owner.in_(part), *([_LEAVES] if table is events else [])).order_by(*order)
        )
    ]


_LEAVES = events.c.kind != CHANGED  # tags that a job once had tell which of the vendor's are ours to change


def move(
    ledger: Ledger,
    wanted: Sequence[Candidate],
    pointer: Pointer,
    *,
    answers: Mapping[str, datetime],
    newest_event: int,
) -> int:
    """Remove the bulk of these jobs, whose archive file is durable, in short transactions. Returns how many were moved.

    A job that changed since it was read stays whole. `answers`: when each archived answer was fetched; `newest_event`:
    the id of the last archived event.
    """
    stays = {POINTER: {"file": pointer.file, "digest": pointer.digest, "folder": pointer.folder}}

    def work(connection: sa.Connection, part: Sequence[Candidate]) -> int:
        then = {one.key: (one.status, one.finished_at) for one in part}
        same: list[str] = []
        for keys in chunks(sorted(then)):
            query = sa.select(jobs.c.key, jobs.c.status, jobs.c.finished_at).where(jobs.c.key.in_(keys), _MAY_LEAVE)
            rows = connection.execute(query.with_for_update())
            same += [row.key for row in rows if then[row.key] == (row.status, row.finished_at)]
        for keys in chunks(same):
            connection.execute(
                sa.update(jobs).where(jobs.c.key.in_(keys)).values(provenance=stays, submission=sa.null())
            )
            connection.execute(sa.delete(results).where(results.c.job_key.in_(keys)))
            connection.execute(
                sa.delete(events).where(events.c.subject.in_(keys), events.c.id <= newest_event, _LEAVES)
            )
            query = sa.select(raw_answers.c.job_key, raw_answers.c.fetched_at).where(raw_answers.c.job_key.in_(keys))
            kept = [row.job_key for row in connection.execute(query) if answers.get(row.job_key) == row.fetched_at]
            if kept:
                connection.execute(sa.delete(raw_answers).where(raw_answers.c.job_key.in_(kept)))
        return len(same)

    moved = 0
    for start in range(0, len(wanted), _AT_ONCE):
        part = wanted[start : start + _AT_ONCE]
        moved += ledger.transact(lambda connection, part=part: work(connection, part))
    return moved
