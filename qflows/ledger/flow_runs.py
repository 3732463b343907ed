"""What the ledger knows of Prefect's flow runs: which run made an attempt, who is suspended, who was retried."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qflows.ledger.claims import chunks
from qflows.ledger.pending import LIVE_JOBS
from qflows.ledger.store import Ledger, utc_now
from qflows.ledger.tables import attempts, crash_retries, groups, jobs, ledger_now, sessions, wait_jobs, waits
from qflows.states import GroupState, SessionState


@dataclass(frozen=True, slots=True)
class Attempt:
    """One execution of a flow run under a run key; of a script if the ids are empty.

    `root_id`: the run whose process it shares, its own id unless it is a subflow. `flow_id`: an id that the Prefect
    server gave to the flow; a server that does not know it never knew the run either.
    """

    attempt: str
    run_key: str
    flow_run_id: str
    root_id: str
    flow_id: str
    at: datetime


_ATTEMPT = (
    attempts.c.attempt, attempts.c.run_key, attempts.c.flow_run_id, attempts.c.root_id, attempts.c.flow_id,
    attempts.c.at,
)  # fmt: skip


def begin_attempt(ledger: Ledger, attempt: Attempt) -> None:
    """Record who acts under this attempt's name, before anything is bought under it. Repeating it is harmless."""
    values = {name: getattr(attempt, name) for name in Attempt.__slots__}
    with ledger.write() as connection:
        connection.execute(ledger.insert(_attempt_insert), values)


def _attempt_insert(insert: Callable[[sa.Table], Any]) -> Any:
    row = {name: sa.bindparam(name, type_=attempts.c[name].type) for name in Attempt.__slots__}
    return insert(attempts).values(row).on_conflict_do_nothing()


def at_work(ledger: Ledger) -> list[Attempt]:
    """Attempts that were the newest to want some job that is live with no cancel requested, or whose run key has a
    session or a group that is not over."""
    wanting = sa.select(jobs.c.attempt).where(LIVE_JOBS, jobs.c.cancel_requested_at.is_(None))
    open_sessions = sa.select(sessions.c.run_key).where(sessions.c.state != SessionState.CLOSED.value)
    open_groups = sa.select(groups.c.run_key).where(groups.c.state == GroupState.OPEN.value)
    # a union, because each arm then has its index
    query = sa.union(
        sa.select(*_ATTEMPT).where(attempts.c.attempt.in_(wanting)),
        sa.select(*_ATTEMPT).where(attempts.c.run_key.in_(open_sessions)),
        sa.select(*_ATTEMPT).where(attempts.c.run_key.in_(open_groups)),
    )
    with ledger.read() as connection:
        return [Attempt(*row) for row in connection.execute(query)]


def sharing(ledger: Ledger, run_keys: Collection[str]) -> list[Attempt]:
    """Every attempt of every flow run that ever worked under one of these run keys."""
    with ledger.read() as connection:
        return [
            Attempt(*row)
            for part in chunks(sorted(set(run_keys)))
            for row in connection.execute(sa.select(*_ATTEMPT).where(attempts.c.run_key.in_(part)))
        ]


def of_root(ledger: Ledger, flow_run_id: str) -> list[Attempt]:
    """Attempts of a flow run and of the subflows in its process."""
    with ledger.read() as connection:
        return [Attempt(*row) for row in connection.execute(sa.select(*_ATTEMPT).where(_by_root(flow_run_id)))]


def _by_root(flow_run_id: str) -> sa.ColumnElement[bool]:
    return sa.or_(attempts.c.root_id == flow_run_id, attempts.c.flow_run_id == flow_run_id)


def flow_run_of(ledger: Ledger, job_key: str) -> str | None:
    """The flow run whose attempt was the newest to want this job; None without a flow run."""
    ours = sa.and_(attempts.c.attempt == jobs.c.attempt, attempts.c.run_key == jobs.c.run_key)
    with ledger.read() as connection:
        found = connection.execute(
            sa.select(attempts.c.flow_run_id).select_from(jobs).join(attempts, ours).where(jobs.c.key == job_key)
        ).scalar()
    return found or None


def wanted_by(ledger: Ledger, found: Collection[Attempt]) -> list[str]:
    """Keys of live jobs that one of these attempts was the newest to want and that nobody has asked to cancel."""
    query = sa.select(jobs.c.key, jobs.c.run_key, jobs.c.attempt)
    pairs = {(one.attempt, one.run_key) for one in found}
    with ledger.read() as connection:
        return [
            row.key
            for part in chunks(sorted({one.run_key for one in found}))
            for row in connection.execute(
                query.where(jobs.c.run_key.in_(part), LIVE_JOBS, jobs.c.cancel_requested_at.is_(None))
            )
            if (row.attempt, row.run_key) in pairs
        ]


def known(ledger: Ledger, flow_run_ids: Collection[str]) -> set[str]:
    """Those of these flow runs that ever used qflows."""
    with ledger.read() as connection:
        return {
            found
            for part in chunks(sorted(set(flow_run_ids)))
            for found in connection.execute(
                sa.select(attempts.c.root_id).where(attempts.c.root_id.in_(part)).distinct()
            ).scalars()
        }


@dataclass(frozen=True, slots=True)
class Wait:
    """A flow run that left its process, and the name of its suspension in Prefect."""

    key: str
    flow_run_id: str


def begin_wait(ledger: Ledger, wait: Wait, job_keys: Collection[str], *, within_s: float | None) -> None:
    """Make the wish to be woken durable, replacing earlier ones of this flow run; before the run suspends."""
    members = [{"wait_key": wait.key, "job_key": key} for key in sorted(set(job_keys))]

    def work(connection: sa.Connection) -> None:
        _drop(connection, waits.c.flow_run_id == wait.flow_run_id)
        deadline = ledger_now() + within_s if within_s is not None else None
        connection.execute(
            sa.insert(waits).values(key=wait.key, flow_run_id=wait.flow_run_id, deadline=deadline, at=utc_now())
        )
        if members:
            connection.execute(sa.insert(wait_jobs), members)

    ledger.transact(work)


def end_waits(ledger: Ledger, flow_run_ids: Collection[str]) -> None:
    """Delete what these flow runs waited for: they run again, or they are over."""
    if flow_run_ids:
        ids = sorted(set(flow_run_ids))
        ledger.transact(lambda connection: [_drop(connection, waits.c.flow_run_id.in_(part)) for part in chunks(ids)])


def _drop(connection: sa.Connection, which: sa.ColumnElement[bool]) -> None:
    keys = sa.select(waits.c.key).where(which)
    connection.execute(sa.delete(wait_jobs).where(wait_jobs.c.wait_key.in_(keys)))
    connection.execute(sa.delete(waits).where(which))


def due_waits(ledger: Ledger) -> list[Wait]:
    """Waits with nothing left to wait for: no job of theirs can still change by itself, or the deadline has passed.

    A job whose results the vendor withholds counts as done: its flow run has to report it.
    """
    pending = (
        sa.select(sa.literal(1))
        .select_from(wait_jobs.join(jobs, jobs.c.key == wait_jobs.c.job_key))
        .where(wait_jobs.c.wait_key == waits.c.key, LIVE_JOBS, sa.func.coalesce(jobs.c.is_held, sa.false()).is_(False))
    )
    query = sa.select(waits.c.key, waits.c.flow_run_id).where(
        sa.or_(waits.c.deadline <= ledger_now(), ~sa.exists(pending))
    )
    with ledger.read() as connection:
        return [Wait(*row) for row in connection.execute(query)]


def claim_retry(
    ledger: Ledger, flow_run_id: str, state_id: str, *, budget: int, redo_after_s: float
) -> tuple[bool, int]:
    """Whether this process may answer this crash with a retry, and how many retries the run has had before.

    One caller wins. A claim whose retry never happened (its process died) is free again after `redo_after_s`; it does
    not count twice.
    """
    mine = sa.and_(crash_retries.c.flow_run_id == flow_run_id, crash_retries.c.state_id == state_id)
    values = {"flow_run_id": flow_run_id, "state_id": state_id}

    def work(connection: sa.Connection) -> tuple[bool, int]:
        others = sa.select(sa.func.count()).where(
            crash_retries.c.flow_run_id == flow_run_id, crash_retries.c.state_id != state_id
        )
        before = connection.execute(others).scalar_one()
        if before >= budget:
            return False, before
        if connection.execute(ledger.insert(_retry_insert), values).scalar() is not None:
            return True, before
        again = (
            sa.update(crash_retries)
            .where(mine, crash_retries.c.claimed_at <= ledger_now() - redo_after_s)
            .values(claimed_at=ledger_now())
        )
        return connection.execute(again).rowcount == 1, before

    return ledger.transact(work)


def _retry_insert(insert: Callable[[sa.Table], Any]) -> Any:
    names = {name: sa.bindparam(name) for name in ("flow_run_id", "state_id")}
    made = insert(crash_retries).values(**names, claimed_at=ledger_now()).on_conflict_do_nothing()
    return made.returning(crash_retries.c.state_id)
