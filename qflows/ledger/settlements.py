"""How reservations end: released, settled with the vendor's bill, or kept as the estimate if there is no bill.

`follow` brings charges to the state of their jobs' records. It is called in every transaction that ends a job, and
`heal` makes up for any that did not call it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from qflows.ledger.budgets import Budget, amount_of, billed_micro, in_force
from qflows.ledger.charges import FREED, HELD, SPENT, WAITING, Move, move, parts
from qflows.ledger.money_tables import budget_periods, charges, quotes
from qflows.ledger.store import Ledger
from qflows.ledger.tables import jobs, sessions
from qflows.model import Cost
from qflows.states import LIVE, TERMINAL, JobStatus, SessionState

log = logging.getLogger("qflows.money")

_JOB = [jobs.c[name] for name in ("status", "vendor_id", "error_kind", "cost", "cost_unit", "cost_is_estimate")]
_OPEN = (
    sa.select(*charges.columns, *_JOB, quotes.c.expected)
    .select_from(
        charges.join(jobs, jobs.c.key == charges.c.subject).outerjoin(quotes, quotes.c.subject == charges.c.subject)
    )
    .where(charges.c.state != FREED)
)
_OPEN_OF = _OPEN.where(charges.c.subject.in_(sa.bindparam("keys", expanding=True))).with_for_update(of=charges)


def follow(ledger: Ledger, connection: sa.Connection, keys: Collection[str]) -> None:
    """Bring the charges of these jobs to the state of their records, in the caller's transaction.

    Nothing was bought (never sent, refused): released. Completed, failed or cancelled: the vendor's bill, as recorded;
    without a bill the reservation is kept as spent, marked as an estimate. Live again: reserved again.
    """
    moves: list[Move] = []
    notes: list[Any] = []
    for part in parts(keys):
        for row in connection.execute(_OPEN_OF, {"keys": part}):
            wanted = _wanted(row)
            if wanted is not None:
                moves.append(wanted)
                notes.append(row)
    if not moves:
        return
    grown = move(connection, moves)
    rules = {rule.name: rule for rule in in_force(connection)}
    for row, one in zip(notes, moves, strict=True):
        if one.state == SPENT and not one.is_estimate and row.budget in rules:
            _compare(ledger, connection, rules[row.budget], row, one)
    for budget, bucket in grown:
        if budget in rules:
            _tell_overdrawn(ledger, connection, rules[budget], bucket)


def _wanted(row: Any) -> Move | None:
    status = JobStatus(row.status)
    if status not in TERMINAL:
        return Move(row, HELD, int(row.asked)) if row.state == SPENT else None
    if status is not JobStatus.COMPLETED and (row.vendor_id is None or row.error_kind == "refused"):
        # a person abandoned it in doubt; the vendor may have it
        if status is JobStatus.FAILED and row.error_kind == "abandoned" and row.state == HELD:
            return Move(row, SPENT, int(row.amount))
        return Move(row, FREED, 0)
    if row.state == WAITING:  # bought before its budget existed
        return Move(row, FREED, 0)
    billed = _billed(row)
    if billed is not None:
        is_estimate = bool(row.cost_is_estimate)
        if row.state == SPENT and billed == row.amount and is_estimate == bool(row.is_estimate):
            return None
        return Move(row, SPENT, billed, is_estimate)
    if row.state == SPENT:
        return None
    if status is JobStatus.COMPLETED and row.expected is not None and row.rate is not None:
        return Move(row, SPENT, billed_micro(Decimal(row.expected) * Decimal(row.rate)))
    return Move(row, SPENT, int(row.amount))


def _billed(row: Any) -> int | None:
    """The bill in the budget's currency, at the rate of the reservation; None without one, or in another unit."""
    if row.cost == 0:
        return 0
    if row.cost is None or row.rate is None or (row.cost_unit or "").lower() != (row.unit or "").lower():
        return None
    return billed_micro(Decimal(str(row.cost)) * Decimal(row.rate))


def _compare(ledger: Ledger, connection: sa.Connection, rule: Budget, row: Any, one: Move) -> None:
    """Warn if a bill is far from the expected cost."""
    if row.expected is None or row.rate is None:
        return
    expected = Decimal(row.expected) * Decimal(row.rate)
    billed = amount_of(one.amount)
    if abs(billed - expected) <= Decimal(str(rule.tolerance)) * expected or not expected:
        return
    detail = {"budget": rule.name, "expected": f"{expected:f}", "billed": f"{billed:f}", "currency": rule.currency}
    ledger.record_event(connection, "bill-differs", row.subject, **detail)
    log.warning(
        "job %s was billed %s %s, expected %s (budget %s)",
        row.subject[:12], f"{billed:,.2f}", rule.currency, f"{expected:,.2f}", rule.name,
    )  # fmt: skip


def _tell_overdrawn(ledger: Ledger, connection: sa.Connection, rule: Budget, bucket: str) -> None:
    where = (budget_periods.c.budget == rule.name, budget_periods.c.bucket == bucket)
    row = connection.execute(sa.select(budget_periods).where(*where)).one()
    limit = rule.amount + row.extra
    if row.reserved + row.spent > limit:
        used = {"spent": int(row.spent), "reserved": int(row.reserved), "limit": int(limit)}
        ledger.record_event(connection, "budget-overdrawn", f"{rule.name} {bucket}"[:128], **used)
        log.error(
            "budget %s (%s) is overdrawn by bills: %s spent and %s reserved of %s %s; unsent "
            "jobs wait or are "
            "refused", rule.name, bucket, f"{amount_of(row.spent):,.2f}", f"{amount_of(row.reserved):,.2f}",
            f"{amount_of(limit):,.2f}", rule.currency,
        )  # fmt: skip


def heal(ledger: Ledger) -> int:
    """Follow every job that is over and still holds or waits for money; return how many there were."""
    with ledger.read() as connection:
        left = connection.execute(
            _OPEN.with_only_columns(charges.c.subject)
            .where(charges.c.state.in_([HELD, WAITING]), jobs.c.status.in_([s.value for s in TERMINAL]))
            .distinct()
        )
        keys = [row.subject for row in left]
    if keys:
        ledger.transact(lambda connection: follow(ledger, connection, keys))
    return len(keys)


# -- sessions


def settle_session(connection: sa.Connection, key: str, *, bill: Cost | None, was_opened: bool) -> None:
    """The cost of a session: released if it was never opened, otherwise the vendor's count, otherwise the
    reservation."""
    query = sa.select(charges).where(charges.c.subject == key, charges.c.state.in_([HELD, WAITING]))
    moves: list[Move] = []
    for row in connection.execute(query):
        if not was_opened:
            moves.append(Move(row, FREED, 0))
        elif bill is not None and row.rate is not None and bill.unit == row.unit:
            amount = billed_micro(Decimal(str(bill.amount)) * Decimal(row.rate))
            moves.append(Move(row, SPENT, amount, bill.is_estimate))
        else:
            moves.append(Move(row, SPENT, int(row.amount)))
    move(connection, moves)


def sessions_to_settle(ledger: Ledger) -> list[str]:
    """Keys of sessions that are closed, no longer have a job at work, and still hold money."""
    at_work = sa.select(jobs.c.key).where(
        jobs.c.session_id == sessions.c.vendor_id, jobs.c.status.in_([status.value for status in LIVE])
    )
    query = (
        sa.select(sessions.c.key)
        .join(charges, charges.c.subject == sessions.c.key)
        .where(charges.c.state == HELD, sessions.c.state == SessionState.CLOSED.value, ~sa.exists(at_work))
        .distinct()
    )
    with ledger.read() as connection:
        return [row.key for row in connection.execute(query)]
