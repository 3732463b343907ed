"""The function to call once when all jobs of a group are over: who may call it, and its outcome.

A claim never expires. A process that dies with it leaves it CLAIMED, because nobody can tell whether the function took
effect; only a person makes it PENDING again.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from qflows.ledger.groups import EXCEPTION, GroupRecord, record_of
from qflows.ledger.owner import me
from qflows.ledger.rows import MESSAGE_CAP, vendor_text
from qflows.ledger.store import Ledger, utc_now
from qflows.ledger.tables import group_members, groups, jobs
from qflows.states import LIVE, CallbackState, GroupState, callback_sources

_READY = [state.value for state in (GroupState.CLOSED, GroupState.COMPLETED, GroupState.FAILED)]


def register(ledger: Ledger, id_: str, callback: str, *, importable: bool) -> bool:
    """Register the function to call at the end. False if an earlier one was called, or is being called."""
    statement = (
        sa.update(groups)
        .where(
            groups.c.id == id_,
            sa.or_(groups.c.callback_state.is_(None), groups.c.callback_state == CallbackState.PENDING.value),
        )
        .values(callback=callback, callback_importable=importable, callback_state=CallbackState.PENDING.value)
    )
    with ledger.write() as connection:
        return connection.execute(statement).rowcount == 1


def claim(ledger: Ledger, id_: str) -> bool:
    """PENDING → CLAIMED for exactly one caller, once the group takes no more jobs and all its jobs are over."""
    live = (
        sa.select(jobs.c.key)
        .join(group_members, group_members.c.job_key == jobs.c.key)
        .where(group_members.c.group_id == groups.c.id, jobs.c.status.in_([status.value for status in LIVE]))
    )
    guard = sa.and_(groups.c.state.in_(_READY), ~live.exists())
    return _move(ledger, id_, CallbackState.CLAIMED, guard, callback_owner=me(), callback_error=None)


def ended(ledger: Ledger, id_: str, error: str | None) -> bool:
    """CLAIMED → DONE, or FAILED with the error text."""
    to = CallbackState.FAILED if error is not None else CallbackState.DONE
    mine = groups.c.callback_owner == me()
    return _move(ledger, id_, to, mine, callback_error=vendor_text(error, MESSAGE_CAP))


def allow_again(ledger: Ledger, id_: str) -> bool:
    """FAILED or CLAIMED → PENDING, on a person's decision."""
    return _move(ledger, id_, CallbackState.PENDING, sa.true())


def _move(ledger: Ledger, id_: str, to: CallbackState, guard: Any, **values: Any) -> bool:
    statement = (
        sa.update(groups)
        .where(groups.c.id == id_, guard, groups.c.callback_state.in_([s.value for s in callback_sources(to)]))
        .values(callback_state=to.value, callback_at=utc_now(), **values)
    )
    with ledger.write() as connection:
        done = connection.execute(statement).rowcount == 1
        if done:
            ledger.record_event(connection, f"callback-{to.value.lower()}", id_)
    return done


def due(ledger: Ledger) -> list[GroupRecord]:
    """Groups with a due callback that any process can import.

    Groups that an exception ended are left out: a retry of the run may still add the rest.
    """
    query = sa.select(groups).where(
        groups.c.callback_state == CallbackState.PENDING.value,
        groups.c.callback_importable.is_(True),
        groups.c.state.in_(_READY),
        groups.c.close_reason != EXCEPTION,
    )
    with ledger.read() as connection:
        return [record_of(row) for row in connection.execute(query)]
