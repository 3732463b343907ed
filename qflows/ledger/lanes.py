"""Lanes: one poller at a time per (vendor, account), at one shared pace."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from qflows.errors import LedgerError
from qflows.ledger.owner import is_dead, me
from qflows.ledger.rows import MESSAGE_CAP, vendor_text
from qflows.ledger.store import Ledger
from qflows.ledger.tables import lanes, ledger_now

FREED = 0.0
"""`Lane.next_at` of a lane that was never polled, or that a person freed."""
_ASK_AGAIN_S = 0.1  # reading the ledger while another process polls costs no request


@dataclass(frozen=True, slots=True)
class Lane:
    """A lane as read at `now`; times are the ledger's clock, in unix seconds.

    `asked_at`: when the last answered poll began. `since_s`: seconds since the last poll, answered or not; infinite if
    there was none. `interval_s`: how far the lane is ahead of its vendor's rate or, if the last poll failed
    (`is_failing`), the pause after it. `polled_by`: who polled last.
    """

    provider: str
    account: str
    holder: str
    interval_s: float
    now: float = 0.0
    next_at: float = 0.0
    asked_at: float | None = None
    since_s: float = math.inf
    is_failing: bool = False
    polled_by: str | None = None


def acquire(
    ledger: Ledger,
    provider: str,
    account: str,
    *,
    holder: str,
    lease_s: float,
    wanted_at: Callable[[Lane], float] | None = None,
    is_alone: Callable[[Lane], bool] | None = None,
) -> Lane | float:
    """Take the lane if it is free and due; otherwise return the seconds after which to ask again.

    `holder` names a waiter inside a process, see `holder_name`. It begins with the process's own name (`owner.me`), so
    that a lane whose holder died is free at once on the same machine and after `lease_s` elsewhere. `wanted_at`: when
    the caller's own jobs are due, which may be sooner than the last holder knew; a pause after a failed poll stands.
    `is_alone`: asked when the lane is free and due; if nobody else polls it, no lease is written. A stranger who begins
    in the same moment then costs one request more, and whoever polls after that finds the stranger's name.
    """
    place = {"at_provider": provider, "at_account": account}
    with ledger.read() as connection:
        row = connection.execute(_LOOK, place).one_or_none()
    if row is None:
        _found(ledger, provider, account)
        with ledger.read() as connection:
            row = connection.execute(_LOOK, place).one()
    if row.holder not in (None, holder) and row.lease_until > row.now and not is_dead(row.holder.partition("#")[0]):
        return min(row.lease_until - row.now, _ASK_AGAIN_S)
    lane = _lane_of(row, provider, account, holder)
    due_at = row.next_at
    if wanted_at is not None and due_at > row.now and not lane.is_failing:
        due_at = min(due_at, wanted_at(lane))
    if due_at > row.now:
        return due_at - row.now
    if is_alone is not None and is_alone(lane) and row.holder == holder:
        return lane
    as_read = {f"at_{name}": getattr(row, name) for name in ("holder", "lease_until", "next_at")}
    try:
        with ledger.write(flush=False) as connection:  # after a power cut nobody polls
            taken = connection.execute(_TAKE, {**place, **as_read, "to_holder": holder, "lease_s": lease_s}).rowcount
    except BaseException as error:
        if not isinstance(error, Exception):  # an interrupt, before the commit or after it
            give_back(ledger, lane)
        raise
    return lane if taken else _ASK_AGAIN_S


def give_back(ledger: Ledger, lane: Lane) -> None:
    """End the lease after an interrupt, whatever became of it, and leave the rest of the lane as it was."""
    with suppress(LedgerError), ledger.write(flush=False) as connection:
        connection.execute(_GIVE_BACK, _held(lane))


_HERE = (lanes.c.provider == sa.bindparam("at_provider"), lanes.c.account == sa.bindparam("at_account"))
_LOOK = sa.select(
    lanes.c.holder,
    lanes.c.lease_until,
    lanes.c.next_at,
    lanes.c.interval_s,
    lanes.c.ok_at,
    lanes.c.error_at,
    ledger_now().label("now"),
).where(*_HERE)
_TAKE = (
    sa.update(lanes)
    .where(
        *_HERE,
        lanes.c.holder.is_not_distinct_from(sa.bindparam("at_holder", type_=lanes.c.holder.type)),
        lanes.c.lease_until == sa.bindparam("at_lease_until"),
        lanes.c.next_at == sa.bindparam("at_next_at"),
    )
    .values(holder=sa.bindparam("to_holder"), lease_until=ledger_now() + sa.bindparam("lease_s", type_=sa.Float))
)
_HELD = (*_HERE, lanes.c.holder == sa.bindparam("at_holder"))
_GIVE_BACK = sa.update(lanes).where(*_HELD).values(lease_until=0.0)
_RELEASE = _GIVE_BACK.values(
    next_at=ledger_now() + sa.bindparam("next_in_s", type_=sa.Float), interval_s=sa.bindparam("to_interval_s")
)
_ANSWERED = _RELEASE.values(ok_at=sa.func.coalesce(sa.bindparam("asked_at", type_=sa.Float), ledger_now()))
_FAILED = _RELEASE.values(error_at=ledger_now(), error=sa.bindparam("to_error"))


def _lane_of(row: Any, provider: str, account: str, holder: str) -> Lane:
    last = max(row.ok_at or 0.0, row.error_at or 0.0)
    return Lane(
        provider,
        account,
        holder,
        row.interval_s,
        now=row.now,
        next_at=row.next_at,
        asked_at=row.ok_at,
        since_s=max(row.now - last, 0.0) if last else math.inf,
        is_failing=(row.error_at or 0.0) > (row.ok_at or 0.0),
        polled_by=row.holder,
    )


def _found(ledger: Ledger, provider: str, account: str) -> None:
    with ledger.write() as connection:
        connection.execute(ledger.insert(_lane_insert), {"provider": provider, "account": account})


def _lane_insert(insert: Callable[[sa.Table], Any]) -> Any:
    names = {name: sa.bindparam(name) for name in ("provider", "account")}
    return insert(lanes).values(**names, lease_until=0.0, next_at=0.0, interval_s=0.0).on_conflict_do_nothing()


def release(
    ledger: Ledger, lane: Lane, *, next_in_s: float, interval_s: float, ok: bool = True, error: str | None = None
) -> None:
    """Give the lane back, with the time of the next request and the outcome of this one."""
    with ledger.write(flush=False) as connection:
        release_in(connection, lane, next_in_s=next_in_s, interval_s=interval_s, ok=ok, error=error)


def release_in(
    connection: sa.Connection,
    lane: Lane,
    *,
    next_in_s: float,
    interval_s: float,
    ok: bool = True,
    error: str | None = None,
) -> None:
    """`release` in the caller's transaction. The holder's name stays: it says who polled last."""
    told = {"asked_at": lane.now or None} if ok else {"to_error": vendor_text(error, MESSAGE_CAP)}
    values = {**_held(lane), "next_in_s": next_in_s, "to_interval_s": interval_s, **told}
    connection.execute(_ANSWERED if ok else _FAILED, values)


def _held(lane: Lane) -> dict[str, str]:
    return {"at_provider": lane.provider, "at_account": lane.account, "at_holder": lane.holder}


def holder_name(waiter: str) -> str:
    """A lane holder's name for one waiter of this process. No two threads may use one at the same time."""
    return f"{me()}#{waiter}"


def note_lag(ledger: Ledger, provider: str, account: str, lag_s: float) -> None:
    """Record that a listing lagged this long behind an accepted submission."""
    _found(ledger, provider, account)
    longer = sa.or_(lanes.c.lag_s.is_(None), lanes.c.lag_s < lag_s)
    with ledger.write() as connection:
        connection.execute(
            sa.update(lanes).where(lanes.c.provider == provider, lanes.c.account == account, longer).values(lag_s=lag_s)
        )


def longest_lag_s(ledger: Ledger, provider: str) -> float:
    """The longest lag seen at a vendor, over all accounts; 0 if none was."""
    with ledger.read() as connection:
        return (
            connection.execute(sa.select(sa.func.max(lanes.c.lag_s)).where(lanes.c.provider == provider)).scalar()
            or 0.0
        )


@dataclass(frozen=True, slots=True)
class Health:
    """The state of a lane: seconds since its last answered poll and since its last failed one, and why that failed.

    `next_in_s`: seconds until its next poll; 0 if it is due.
    """

    provider: str
    account: str
    ok_ago_s: float | None
    error_ago_s: float | None
    error: str | None
    next_in_s: float
    lag_s: float | None


def health(ledger: Ledger) -> list[Health]:
    """All lanes, by vendor and account."""
    query = sa.select(
        lanes.c.provider,
        lanes.c.account,
        ledger_now() - lanes.c.ok_at,
        ledger_now() - lanes.c.error_at,
        lanes.c.error,
        lanes.c.next_at - ledger_now(),
        lanes.c.lag_s,
    ).order_by(lanes.c.provider, lanes.c.account)
    with ledger.read() as connection:
        found = [Health(*row) for row in connection.execute(query)]
    return [replace(one, next_in_s=max(one.next_in_s, 0.0)) for one in found]


def free(ledger: Ledger, provider: str, account: str | None = None) -> int:
    """Allow the lanes of a vendor, or one of them, to be polled at once, whatever pause it asked for. Returns how many.

    A process that keeps the pause itself sees FREED when it takes the lane.
    """
    ours = [lanes.c.provider == provider] + ([lanes.c.account.startswith(account)] if account else [])
    with ledger.write() as connection:
        return connection.execute(sa.update(lanes).where(*ours).values(next_at=FREED, interval_s=0.0)).rowcount
