"""Lanes: one poller at a time per (vendor, account), whoever it is, at one shared pace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from qflows.ledger.owner import is_dead, me
from qflows.ledger.store import Ledger
from qflows.ledger.tables import lanes, ledger_now

_ASK_AGAIN_S = 0.25  # reading the ledger while another process polls costs no request


@dataclass(frozen=True, slots=True)
class Lane:
    """A held lane; `interval_s` is its present pace, 0 when it never polled."""

    provider: str
    account: str
    holder: str
    interval_s: float


def acquire(ledger: Ledger, provider: str, account: str, *, holder: str, lease_s: float) -> Lane | float:
    """Takes the lane when it is free and due; else the seconds after which to ask again.

    `holder` names a waiter inside a process; it begins with the process's own name (`owner.me`), so that a lane whose
    holder died is free at once on the same machine and after `lease_s` elsewhere.
    """
    ours = sa.and_(lanes.c.provider == provider, lanes.c.account == account)
    look = sa.select(lanes.c.holder, lanes.c.lease_until - ledger_now(), lanes.c.next_at - ledger_now()).where(ours)
    with ledger.read() as connection:
        row = connection.execute(look).one_or_none()
    if row is None:
        _found(ledger, provider, account)
        row = (None, 0.0, 0.0)
    held_by, held_s, due_s = row
    if held_by not in (None, holder) and held_s > 0 and not is_dead(held_by.partition("#")[0]):
        return min(held_s, _ASK_AGAIN_S)
    if due_s > 0:
        return due_s
    take = (
        sa.update(lanes)
        .where(ours, lanes.c.holder.is_not_distinct_from(held_by), lanes.c.next_at <= ledger_now())
        .values(holder=holder, lease_until=ledger_now() + lease_s)
        .returning(lanes.c.interval_s)
    )
    with ledger.write() as connection:
        interval = connection.execute(take).scalar()
    return Lane(provider, account, holder, interval) if interval is not None else _ASK_AGAIN_S


def _found(ledger: Ledger, provider: str, account: str) -> None:
    with ledger.write() as connection:
        connection.execute(ledger.insert(_lane_insert), {"provider": provider, "account": account})


def _lane_insert(insert: Callable[[sa.Table], Any]) -> Any:
    names = {name: sa.bindparam(name) for name in ("provider", "account")}
    return insert(lanes).values(**names, lease_until=0.0, next_at=0.0, interval_s=0.0).on_conflict_do_nothing()


def release(ledger: Ledger, lane: Lane, *, next_in_s: float, interval_s: float) -> None:
    """Gives the lane back and says when the next request may go out."""
    with ledger.write() as connection:
        connection.execute(
            sa.update(lanes)
            .where(lanes.c.provider == lane.provider, lanes.c.account == lane.account, lanes.c.holder == lane.holder)
            .values(holder=None, lease_until=0.0, next_at=ledger_now() + next_in_s, interval_s=interval_s)
        )


def holder_name(waiter: str) -> str:
    """A lane holder's name for one waiter of this process."""
    return f"{me()}#{waiter}"
