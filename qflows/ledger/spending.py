"""Where the money went: what budgets hold, and the cost of purchases by vendor, device, project, user, run and day."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from qflows.ledger.budgets import Budget, amount_of, in_force
from qflows.ledger.money_tables import budget_periods, quotes
from qflows.ledger.store import Ledger, utc_now
from qflows.ledger.summaries import PAID_HERE
from qflows.ledger.tables import jobs
from qflows.model import exact

BY = ("vendor", "device", "project", "user", "deployment", "run", "day")
_COLUMNS = {
    "vendor": jobs.c.provider,
    "device": jobs.c.device,
    "project": jobs.c.project,
    "user": jobs.c.buyer,
    "deployment": jobs.c.deployment,
    "run": jobs.c.run_key,
}


@dataclass(frozen=True, slots=True)
class Standing:
    """A budget in one period and scope value. Amounts in millionths of its currency."""

    budget: Budget
    bucket: str
    spent: int
    reserved: int
    limit: int

    @property
    def left(self) -> int:
        """What may still be reserved; negative if bills overdrew it."""
        return self.limit - self.spent - self.reserved

    @property
    def share(self) -> float:
        """The share of the limit that is spent or reserved."""
        return (self.spent + self.reserved) / self.limit if self.limit else 1.0

    def to_json(self) -> dict[str, Any]:
        """As data: amounts as decimal text."""
        amounts = {name: f"{amount_of(getattr(self, name)):f}" for name in ("spent", "reserved", "left", "limit")}
        rule = self.budget
        head = {"budget": rule.name, "period": self.bucket, "currency": rule.currency, "policy": rule.policy}
        return head | amounts | {"share": round(self.share, 4)}


def standing(ledger: Ledger, *, at: datetime | None = None) -> list[Standing]:
    """Every budget in its present period; one without counts yet has a row of zeros.

    Budgets of a run show the runs that still hold or owe something.
    """
    now = at or utc_now()
    with ledger.read() as connection:
        rules = in_force(connection)
        rows = connection.execute(sa.select(budget_periods).order_by(budget_periods.c.budget, budget_periods.c.bucket))
        counted = rows.all()
    found = []
    for rule in rules:
        period = rule.period_at(now)
        mine = [
            Standing(rule, row.bucket, int(row.spent), int(row.reserved), rule.amount + int(row.extra))
            for row in counted
            if row.budget == rule.name
            and (row.reserved > 0 or rule.period == "run" or row.bucket.split(" | ")[0] == period)
        ]
        found += mine or [Standing(rule, "each run" if rule.period == "run" else period, 0, 0, rule.amount)]
    return found


@dataclass
class Spent:
    """Purchases of one kind, summed: billed by the vendor, computed, expected; by unit."""

    of: str
    unit: str
    jobs: int = 0
    billed: Decimal = field(default_factory=Decimal)
    computed: Decimal = field(default_factory=Decimal)
    expected: Decimal = field(default_factory=Decimal)
    unknown: int = 0

    def to_json(self) -> dict[str, Any]:
        """As data: amounts as decimal text."""
        amounts = {name: f"{getattr(self, name):f}" for name in ("billed", "computed", "expected")}
        return {"of": self.of, "unit": self.unit, "jobs": self.jobs, **amounts, "unknown": self.unknown}


def spent(ledger: Ledger, by: str, *, since: datetime | None = None, project: str | None = None) -> list[Spent]:
    """The cost of jobs bought here, highest first; imported ones are on other bills. `by`: one of `BY`.

    `billed`: the vendor's own figure; `computed`: from prices, if the vendor states no bill, or not yet; `expected`:
    quoted before the purchase, as far as a budget required a quote.
    """
    columns = [jobs.c[name] for name in ("created_at", "cost", "cost_unit", "cost_is_estimate")]
    of = _COLUMNS.get(by, jobs.c.created_at).label("of")
    query = (
        sa.select(*columns, of, quotes.c.expected, quotes.c.unit)
        .select_from(jobs.outerjoin(quotes, quotes.c.subject == jobs.c.key))
        .where(PAID_HERE, jobs.c.provider != "local")
    )
    if since is not None:
        query = query.where(jobs.c.created_at >= since)
    if project is not None:
        query = query.where(jobs.c.project == project)
    with ledger.read() as connection:
        return _summed(by, connection.execute(query))


def _summed(by: str, rows: Iterable[Any]) -> list[Spent]:
    found: dict[tuple[str, str], Spent] = {}
    for row in rows:
        name = f"{row.created_at:%Y-%m-%d}" if by == "day" else str(row.of if row.of is not None else "-")
        unit = row.cost_unit or row.unit or "?"
        one = found.setdefault((name, unit), Spent(name, unit))
        one.jobs += 1
        if row.cost is None:
            one.unknown += 1
        elif row.cost_is_estimate:
            one.computed += exact(row.cost)
        else:
            one.billed += exact(row.cost)
        if row.expected is not None and row.unit == unit:
            one.expected += Decimal(row.expected)
    ordered = sorted(found.values(), key=lambda one: (one.unit, -(one.billed + one.computed), one.of))
    return sorted(ordered, key=lambda one: one.of) if by == "day" else ordered
