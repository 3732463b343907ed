"""Budgets in the ledger: which purchases they cover, in which period, and what to do when they are full."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal
from typing import Any

import sqlalchemy as sa

from qflows.errors import QflowsError
from qflows.ledger.money_tables import approvals, budget_periods, budgets, charges
from qflows.ledger.store import Ledger, utc_now
from qflows.ledger.tables import jobs
from qflows.model import Quote
from qflows.states import JobStatus

MICRO = 1_000_000
OVER_BUDGET = "OVER_BUDGET"  # error code of a job without room in a budget when it was to be sent
NOBODY = "nobody"  # who denied what nobody answered in time
SCOPES = ("all", "project", "user", "deployment", "vendor", "device", "run")
PERIODS = ("run", "day", "week", "month", "total")
POLICIES = ("refuse", "wait", "ask")
_LONGEST_BUCKET = 200


def micro(amount: Decimal) -> int:
    """Whole millionths, rounded up: a reservation is never too small."""
    return int((amount * MICRO).to_integral_value(ROUND_CEILING))


def billed_micro(amount: Decimal) -> int:
    """Whole millionths of a bill."""
    return int((amount * MICRO).to_integral_value(ROUND_HALF_EVEN))


def amount_of(millionths: int) -> Decimal:
    """The inverse of `micro`."""
    return Decimal(millionths) / MICRO


@dataclass(frozen=True, slots=True)
class Buyer:
    """Whom a purchase is counted for."""

    project: str | None = None
    user: str | None = None
    deployment: str | None = None


@dataclass(frozen=True, slots=True)
class Purchase:
    """A wanted job or session with its quoted cost; `is_priced` is false if nobody asked for a quote."""

    subject: str
    provider: str
    device: str
    run_key: str
    buyer: Buyer
    quote: Quote | None = None
    is_priced: bool = True
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit in force. `of`: a pattern for the scope's value; None counts every value separately.

    `rates`: what one of a vendor's unit is worth in `currency`. `reserve`: `bound` or `expected`. `warn` and
    `tolerance` are shares: of the amount at which to warn, and by which a bill may differ without a warning.
    """

    name: str
    amount: int
    currency: str
    scope: str = "all"
    of: str | None = None
    period: str = "month"
    policy: str = "refuse"
    warn: float = 0.8
    tolerance: float = 0.5
    allow_unknown: bool = False
    reserve: str = "bound"
    ask_timeout_s: float = 3600.0
    rates: Mapping[str, str] = field(default_factory=dict)
    description: str = ""

    def value_in(self, purchase: Purchase) -> str | None:
        """The value of the scope that a purchase has; None if the budget does not cover it."""
        buyer = purchase.buyer
        values = {
            "all": "",
            "project": buyer.project,
            "user": buyer.user,
            "deployment": buyer.deployment,
            "vendor": purchase.provider,
            "device": purchase.device,
            "run": purchase.run_key,
        }
        value = values[self.scope]
        if value is None or (self.of is not None and not fnmatch.fnmatchcase(value, self.of)):
            return None
        return value if self.of is None else self.of

    def bucket(self, purchase: Purchase, at: datetime) -> str | None:
        """The name of the period and scope value that a purchase counts in; None if it is not covered."""
        value = self.value_in(purchase)
        if value is None:
            return None
        period = f"run {purchase.run_key}" if self.period == "run" else self.period_at(at)
        text = f"{period} | {value}" if value else period
        if len(text) <= _LONGEST_BUCKET:
            return text
        return f"{text[: _LONGEST_BUCKET - 20]}…{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def period_at(self, at: datetime) -> str:
        """The period of a time, UTC: 2026-11-27, 2026-W48, 2026-11; "total" for one that never ends."""
        year, week, _ = at.isocalendar()
        return {
            "day": f"{at:%Y-%m-%d}",
            "week": f"{year}-W{week:02d}",
            "month": f"{at:%Y-%m}",
        }.get(self.period, "total")

    def rate(self, unit: str) -> Decimal | None:
        """What one unit is worth in the budget's currency; None if no rate was set."""
        if unit.lower() == self.currency.lower():
            return Decimal(1)
        told = self.rates.get(unit.lower())
        return Decimal(told) if told is not None else None

    def asks_for(self, quote: Quote | None) -> int | None:
        """What to reserve for a purchase, in millionths; None if its maximum cost is unknown."""
        rate = self.rate(quote.unit) if quote is not None else None
        if quote is None or rate is None:
            return None
        wanted = quote.expected if self.reserve == "expected" and quote.expected is not None else quote.bound
        if wanted is None and self.allow_unknown:
            wanted = quote.expected
        return micro(wanted * rate) if wanted is not None else None

    def to_json(self) -> dict[str, Any]:
        """Everything but name and amount."""
        return {name: value for name, value in asdict(self).items() if name not in ("name", "amount")}


def in_force(connection: sa.Connection) -> list[Budget]:
    """All budgets, by name. One read, which is all that a purchase costs without budgets."""
    return [Budget(name=row.name, amount=int(row.amount), **row.body) for row in connection.execute(_ALL)]


_ALL = sa.select(budgets.c.name, budgets.c.amount, budgets.c.body).order_by(budgets.c.name)


def listing(ledger: Ledger) -> list[Budget]:
    """All budgets, by name."""
    with ledger.read() as connection:
        return in_force(connection)


def put(ledger: Ledger, budget: Budget) -> bool:
    """Put a budget in force, or change it; what is reserved and spent stays. False if nothing changed.

    Raises QflowsError if the currency of a budget that has counts would change: 5 spent would get another meaning.
    """
    with ledger.write() as connection:
        before = next((one for one in in_force(connection) if one.name == budget.name), None)
        if before == budget:
            return False
        if before is not None and before.currency != budget.currency and _has_counts(connection, budget.name):
            raise QflowsError(
                f"budget {budget.name!r} counts in {before.currency} and has purchases, so it cannot change to "
                f"{budget.currency}; use another name, or remove it with its counts: `qflows budgets rm {budget.name}`"
            )
        row = {"name": budget.name, "amount": budget.amount, "body": budget.to_json(), "updated_at": utc_now()}
        connection.execute(ledger.insert(_put), row)
        was = None if before is None else {"amount": before.amount} | before.to_json()
        ledger.record_event(connection, "budget", budget.name, was=was, amount=budget.amount)
        _look_again(connection)
    return True


def _has_counts(connection: sa.Connection, name: str) -> bool:
    return connection.execute(sa.select(charges.c.subject).where(charges.c.budget == name).limit(1)).first() is not None


def _look_again(connection: sa.Connection) -> None:
    """Let jobs that wait for room be tried again now: there may be room."""
    waiting = (jobs.c.status == JobStatus.PREPARED.value, jobs.c.error_code == OVER_BUDGET)
    connection.execute(sa.update(jobs).where(*waiting).values(send_after=None))


def _put(insert: Callable[[sa.Table], Any]) -> Any:
    row = {name: sa.bindparam(name, type_=budgets.c[name].type) for name in ("name", "amount", "body", "updated_at")}
    statement = insert(budgets).values(row)
    newest = {name: statement.excluded[name] for name in ("amount", "body", "updated_at")}
    return statement.on_conflict_do_update(index_elements=[budgets.c.name], set_=newest)


def remove(ledger: Ledger, name: str) -> None:
    """Take a budget out of force, with its counts; its approvals stay on record, but permit no more.

    Raises QflowsError for an unknown one.
    """
    with ledger.write() as connection:
        if not connection.execute(sa.delete(budgets).where(budgets.c.name == name)).rowcount:
            raise QflowsError(f"no budget {name!r}; `qflows budgets ls` lists them")
        for table in (charges, budget_periods):
            connection.execute(sa.delete(table).where(table.c.budget == name))
        open_ = (approvals.c.budget == name, approvals.c.verdict == "approve", approvals.c.used < approvals.c.amount)
        connection.execute(sa.update(approvals).where(*open_).values(verdict="lapsed"))
        ledger.record_event(connection, "budget-removed", name)
        _look_again(connection)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A person's decision about a run that asked for more than a budget had left."""

    budget: str
    run_key: str
    amount: int  # millionths of the budget's currency
    used: int
    verdict: str  # approve, deny, or lapsed: approved, and the budget was removed before all of it was used
    who: str
    why: str
    at: datetime

    def stands(self, timeout_s: float) -> bool:
        """Whether a denial holds: a person's for the run; one for want of an answer as long as that was waited for."""
        if self.verdict != "deny":
            return False
        return self.who != NOBODY or (utc_now() - self.at).total_seconds() < timeout_s


def decide(ledger: Ledger, budget: str, run_key: str, *, amount: int, approve: bool, who: str, why: str) -> None:
    """Record that a person allows, or denies, a run this much beyond a budget. Raises QflowsError."""
    with ledger.write() as connection:
        if budget not in {one.name for one in in_force(connection)}:
            raise QflowsError(f"no budget {budget!r}; `qflows budgets ls` lists them")
        row = {
            "budget": budget,
            "run_key": run_key,
            "amount": amount,
            "used": 0,
            "verdict": "approve" if approve else "deny",
            "who": who[:128],
            "why": why[:4000],
            "at": utc_now(),
        }
        connection.execute(sa.insert(approvals), row)
        shown = {"run_key": run_key, "amount": amount, "who": who[:128], "why": why[:4000]}
        ledger.record_event(connection, f"budget-{row['verdict']}", budget, **shown)
        _look_again(connection)


def verdicts(ledger: Ledger, *, budget: str | None = None, run_key: str | None = None) -> list[Verdict]:
    """People's decisions, newest first."""
    query = sa.select(*[approvals.c[name] for name in Verdict.__slots__]).order_by(approvals.c.id.desc())
    if budget is not None:
        query = query.where(approvals.c.budget == budget)
    if run_key is not None:
        query = query.where(approvals.c.run_key == run_key)
    with ledger.read() as connection:
        return [Verdict(**row._mapping) for row in connection.execute(query)]


def denial(connection: sa.Connection, budget: Budget, run_key: str) -> Verdict | None:
    """The denial that holds for a run; None if the last decision about it is an approval, or there is none."""
    query = sa.select(*[approvals.c[name] for name in Verdict.__slots__]).order_by(approvals.c.id.desc()).limit(1)
    row = connection.execute(query.where(approvals.c.budget == budget.name, approvals.c.run_key == run_key)).first()
    newest = None if row is None else Verdict(**row._mapping)
    return newest if newest is not None and newest.stands(budget.ask_timeout_s) else None
