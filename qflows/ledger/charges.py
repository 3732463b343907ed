"""The money guard: what purchases reserve in budgets, and how reservations end. All in the caller's transaction.

A purchase reserves in the transaction that makes its intent durable, and is checked again in the one that claims it.
Every other step only follows the job: `follow` brings the charges of some keys to the state of their records, so it may
be repeated, and the next step makes up for one that was missed. Locks: jobs first, then charges, then periods by name;
every transaction takes them in this order.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from qflows.errors import OverBudget
from qflows.ledger.budgets import NOBODY, Budget, Buyer, Purchase, Verdict, amount_of, denial, in_force
from qflows.ledger.money_tables import approvals, budget_periods, charges, quotes
from qflows.ledger.store import Ledger, utc_now
from qflows.ledger.tables import events, jobs, sessions
from qflows.model import Quote

log = logging.getLogger("qflows.money")

WAITING, HELD, SPENT, FREED = "WAITING", "HELD", "SPENT", "FREED"
UNPRICED = "UNPRICED"  # error code of a job that waits until a quote was requested
_PARTS = 500
Place = tuple[str, str]  # budget, bucket


@dataclass
class _Period:
    """A budget's count in one bucket, locked until the transaction ends."""

    budget: Budget
    bucket: str
    reserved: int
    spent: int
    extra: int
    approved: dict[str, int]  # by run key: what a person allowed and nobody has used yet

    @property
    def limit(self) -> int:
        return self.budget.amount + self.extra

    def lack(self, asked: int) -> int:
        return self.reserved + self.spent + asked - self.limit

    def error(self, asked: int | None, run_key: str, denied: Verdict | None = None) -> OverBudget:
        return over(self.budget, self.bucket, self.reserved, self.spent, self.limit, asked, run_key, denied)


def over(
    budget: Budget,
    bucket: str,
    reserved: int,
    spent: int,
    limit: int,
    asked: int | None,
    run_key: str,
    denied: Verdict | None = None,
) -> OverBudget:
    """Say which budget has no room, what is in it, who denied more, and what to do."""
    cur = budget.currency
    held = f"budget {budget.name} ({bucket}): {amount_of(spent):,.2f} {cur} spent and {amount_of(reserved):,.2f} "
    held += f"reserved of {amount_of(limit):,.2f}"
    if asked is None:
        text = (
            f"{held}; the maximum cost of this purchase is not known in {cur}, so nothing was bought. `qflows "
            "price` says why; give a rate (QFLOWS_RATES, or rates: in the budget) or an option that bounds it, or "
            "set allow_unknown in the budget"
        )
    else:
        needed = max(asked, reserved + spent + asked - limit)
        again = "then run again, or buy the missing circuits of a batch with rerun_failed()"
        remedy = {
            "ask": f"`qflows budgets approve {budget.name} --run-key '{run_key}' --amount {amount_of(needed):f} "
            f"--why ...` lets this run buy it; {again}",
            "wait": "It is sent when there is room",
        }.get(budget.policy, f"`qflows budgets set {budget.name} --amount ...` raises the limit; {again}")
        text = (
            f"{held}; this purchase may cost {amount_of(asked):,.2f}, which does not fit, so it was not bought. "
            f"{_told(denied)}{remedy}"
        )
    return OverBudget(
        text,
        budget=budget.name,
        period=bucket,
        currency=cur,
        limit=f"{amount_of(limit):f}",
        spent=f"{amount_of(spent):f}",
        reserved=f"{amount_of(reserved):f}",
        asked=None if asked is None else f"{amount_of(asked):f}",
        policy=budget.policy,
        run_key=run_key,
        denied=None if denied is None else f"{denied.who}: {denied.why}",
    )


def _told(denied: Verdict | None) -> str:
    if denied is None:
        return ""
    who = "Nobody approved" if denied.who == NOBODY else f"{denied.who} did not approve"
    return f"{who} it{f' ({denied.why})' if denied.why else ''}. "


def reserve(ledger: Ledger, connection: sa.Connection, wanted: Sequence[Purchase], *, may_wait: bool = True) -> None:
    """Reserve what these purchases may cost, all of them or none, where budgets cover them.

    Purchases without room in a budget with the policy `wait` are noted as waiting, if they may. Raises OverBudget, and
    the caller lets it roll the transaction back.
    """
    rules = in_force(connection) if wanted else []
    if not rules:
        return
    known = _states(connection, [one.subject for one in wanted])
    fresh = [one for one in wanted if one.is_priced and one.subject not in known]
    _store_quotes(ledger, connection, fresh)
    blocked = _hold(ledger, connection, rules, fresh, known)
    hard = [error for error in blocked.values() if error.policy != "wait" or error.asked is None or not may_wait]
    if hard:
        raise _of_all(hard, len(fresh))


def _of_all(errors: Sequence[OverBudget], count: int) -> OverBudget:
    first = errors[0]
    if count > 1 and first.asked is not None:
        total = sum(Decimal(one.asked or 0) for one in errors if one.budget == first.budget)
        told = f"{len(errors)} of {count} jobs do not fit, {total:,.2f} {first.currency} together, so none was bought: "
        fields = {name: getattr(first, name) for name in first.fields} | {"asked": f"{total:f}"}
        return OverBudget(told + str(first), **fields)
    return first


def admit(ledger: Ledger, connection: sa.Connection, keys: Collection[str]) -> dict[str, OverBudget]:
    """Of jobs just claimed, in the claim's transaction: those that may not be sent, and why.

    A job that waited, or that was wanted before a budget came into force, reserves now. A job whose budget is overdrawn
    by larger bills gives its reservation back. The caller ends or postpones what is returned.
    """
    rules = in_force(connection) if keys else []
    if not rules:
        return {}
    known = _states(connection, keys)
    wanted = _purchases(connection, keys)
    overdrawn = _overdrawn(connection, rules, known)
    _free(connection, [key for key in keys if key in overdrawn], WAITING)
    known = {key: rows for key, rows in known.items() if key not in overdrawn}
    now = utc_now()
    unpriced = {
        one.subject: OverBudget("its price is not known yet; it is sent once it is", policy=UNPRICED)
        for one in wanted
        if not one.is_priced and any(rule.bucket(one, now) for rule in rules)
    }
    return unpriced | _hold(ledger, connection, rules, [one for one in wanted if one.is_priced], known)


def tell(ledger: Ledger, error: OverBudget) -> None:
    """Notify the listeners that a budget has no room for a purchase."""
    if error.budget is not None:
        names = [name for name in error.fields if name != "budget"]
        told = {name: str(value) for name in names if (value := getattr(error, name)) is not None}
        ledger.tell(
            "budget-reached", error.budget, **{"run_key": "", "period": "", "limit": "", **told}, reason=str(error)
        )


def is_final(error: OverBudget) -> bool:
    """True if waiting would not help: the budget refuses, a person denied it, or the maximum cost is unknown."""
    return error.policy == "refuse" or error.denied is not None or (error.asked is None and error.policy != UNPRICED)


def _hold(
    ledger: Ledger,
    connection: sa.Connection,
    rules: Sequence[Budget],
    wanted: Sequence[Purchase],
    known: Mapping[str, Mapping[str, str]],
) -> dict[str, OverBudget]:
    """Reserve for each purchase in every budget that covers it, or in none; return those without room."""
    now = utc_now()
    needs: list[tuple[Purchase, list[tuple[Budget, str, int | None]]]] = []
    inside = _inside_sessions(connection, wanted)
    for one in wanted:
        held = known.get(one.subject, {})
        if one.quote is not None and one.quote.is_free:
            continue
        covering = [
            (rule, bucket, 0 if rule.name in inside.get(one.session_id or "", ()) else rule.asks_for(one.quote))
            for rule in rules
            if held.get(rule.name) in (None, WAITING) and (bucket := rule.bucket(one, now)) is not None
        ]
        if covering:
            needs.append((one, covering))
    places = {(rule.name, bucket): rule for _, covering in needs for rule, bucket, _ in covering}
    periods = _locked(ledger, connection, places)
    blocked: dict[str, OverBudget] = {}
    for one, covering in needs:
        lacking = [
            periods[rule.name, bucket].error(asked, one.run_key, _denial(connection, rule, asked, one.run_key))
            for rule, bucket, asked in covering
            if not _fits(periods[rule.name, bucket], asked, one.run_key)
        ]
        error = min(lacking, key=lambda error: _HARDEST.index(str(error.policy)), default=None)
        state = HELD if error is None else WAITING
        if error is not None:
            blocked[one.subject] = error
        for rule, bucket, asked in covering:
            sure = asked or 0
            if state == HELD:
                _take(connection, periods[rule.name, bucket], sure, one.run_key)
            rate = Decimal(0) if rule.name in inside.get(one.session_id or "", ()) else None
            rate = rule.rate(one.quote.unit) if rate is None and one.quote is not None else rate
            row = {
                "subject": one.subject,
                "budget": rule.name,
                "bucket": bucket,
                "state": state,
                "amount": sure if state == HELD else 0,
                "asked": sure,
                "unit": one.quote.unit if one.quote else None,
                "rate": None if rate is None else f"{rate:f}",
                "is_estimate": True,
                "at": now,
            }
            connection.execute(ledger.insert(_charge_insert), row)
    _write(ledger, connection, periods)
    return blocked


_HARDEST = ("refuse", "ask", "wait")


def _denial(connection: sa.Connection, rule: Budget, asked: int | None, run_key: str) -> Verdict | None:
    return denial(connection, rule, run_key) if rule.policy == "ask" and asked is not None else None


def for_a_person(ledger: Ledger, keys: Collection[str]) -> list[OverBudget]:
    """What unsent jobs wait for in budgets that ask a person, summed by budget, period and run."""
    found: dict[tuple[str, str, str], int] = {}
    with ledger.read() as connection:
        rules = {rule.name: rule for rule in in_force(connection) if rule.policy == "ask"}
        query = sa.select(charges.c.budget, charges.c.bucket, charges.c.asked, jobs.c.run_key)
        query = query.select_from(charges.join(jobs, jobs.c.key == charges.c.subject))
        waiting = (charges.c.state == WAITING, charges.c.budget.in_(list(rules)))
        for part in parts(keys) if rules else ():
            for row in connection.execute(query.where(charges.c.subject.in_(part), *waiting)):
                place = row.budget, row.bucket, row.run_key
                found[place] = found.get(place, 0) + int(row.asked)
        errors_ = []
        for (name, bucket, run_key), asked in sorted(found.items()):
            row = connection.execute(_COUNT, {"of": name, "at": bucket}).one()
            limit = rules[name].amount + int(row.extra)
            errors_.append(over(rules[name], bucket, int(row.reserved), int(row.spent), limit, asked, run_key))
    return errors_


def _fits(period: _Period, asked: int | None, run_key: str) -> bool:
    if asked is None:
        return period.budget.allow_unknown and period.lack(0) <= 0
    if asked == 0:  # the session that it runs in has paid for it
        return True
    return period.lack(asked) <= period.approved.get(run_key, 0)


def _take(connection: sa.Connection, period: _Period, asked: int, run_key: str) -> None:
    beyond = period.lack(asked)
    if beyond > 0 and asked > 0:
        period.extra += beyond
        period.approved[run_key] -= beyond
        _use_approval(connection, period.budget.name, run_key, beyond)
    period.reserved += asked


def _use_approval(connection: sa.Connection, budget: str, run_key: str, amount: int) -> None:
    for row in _approved(connection, budget):
        used = min(row.amount - row.used, amount) if row.run_key == run_key else 0
        if used > 0:
            connection.execute(sa.update(approvals).where(approvals.c.id == row.id).values(used=row.used + used))
            amount -= used


def _approved(connection: sa.Connection, budget: str) -> list[Any]:
    """Approvals beyond a budget that are not used up, locked."""
    query = sa.select(approvals.c.id, approvals.c.run_key, approvals.c.amount, approvals.c.used).where(
        approvals.c.budget == budget, approvals.c.verdict == "approve", approvals.c.used < approvals.c.amount
    )
    return list(connection.execute(query.order_by(approvals.c.id).with_for_update()))


def _locked(ledger: Ledger, connection: sa.Connection, places: Mapping[Place, Budget]) -> dict[Place, _Period]:
    """The counts of these buckets, created if missing, and locked in order of their names."""
    found: dict[Place, _Period] = {}
    allowed: dict[str, dict[str, int]] = {}
    for (name, bucket), rule in sorted(places.items(), key=lambda item: item[0]):
        connection.execute(ledger.insert(_period_insert), {"budget": name, "bucket": bucket})
        row = connection.execute(_PERIOD, {"of": name, "at": bucket}).one()
        if name not in allowed:
            allowed[name] = {}
            for one in _approved(connection, name):
                allowed[name][one.run_key] = allowed[name].get(one.run_key, 0) + int(one.amount - one.used)
        found[name, bucket] = _Period(rule, bucket, int(row.reserved), int(row.spent), int(row.extra), allowed[name])
    return found


def _period_insert(insert: Callable[[sa.Table], Any]) -> Any:
    row = {"budget": sa.bindparam("budget"), "bucket": sa.bindparam("bucket"), "reserved": 0, "spent": 0, "extra": 0}
    return insert(budget_periods).values(row).on_conflict_do_nothing()


_WARNED = sa.select(events.c.id).where(events.c.subject == sa.bindparam("of"), events.c.kind == "budget-warning")
_COUNT = sa.select(budget_periods.c.reserved, budget_periods.c.spent, budget_periods.c.extra).where(
    budget_periods.c.budget == sa.bindparam("of"), budget_periods.c.bucket == sa.bindparam("at")
)
_PERIOD = _COUNT.with_for_update()


def _write(ledger: Ledger, connection: sa.Connection, periods: Mapping[Place, _Period]) -> None:
    for (name, bucket), period in periods.items():
        connection.execute(
            sa.update(budget_periods)
            .where(budget_periods.c.budget == name, budget_periods.c.bucket == bucket)
            .values(reserved=period.reserved, spent=period.spent, extra=period.extra)
        )
        _warn(ledger, connection, period)


def _warn(ledger: Ledger, connection: sa.Connection, period: _Period) -> None:
    """Warn once per bucket that it is nearly full."""
    used = period.reserved + period.spent
    if used < period.budget.warn * period.limit or not period.limit:
        return
    subject = f"{period.budget.name} {period.bucket}"[:128]
    if connection.execute(_WARNED, {"of": subject}).first() is None:
        ledger.record_event(connection, "budget-warning", subject, used=used, limit=period.limit)
        log.warning(
            "budget %s (%s) is at %.0f %%: %s of %s %s is spent or reserved",
            period.budget.name, period.bucket, 100 * used / period.limit, f"{amount_of(used):,.2f}",
            f"{amount_of(period.limit):,.2f}", period.budget.currency,
        )  # fmt: skip


def _charge_insert(insert: Callable[[sa.Table], Any]) -> Any:
    statement = insert(charges).values({c.name: sa.bindparam(c.name, type_=c.type) for c in charges.columns})
    newest = {c.name: statement.excluded[c.name] for c in charges.columns if not c.primary_key}
    return statement.on_conflict_do_update(index_elements=[charges.c.subject, charges.c.budget], set_=newest)


def _quote_insert(insert: Callable[[sa.Table], Any]) -> Any:
    row = {c.name: sa.bindparam(c.name, type_=c.type) for c in quotes.columns}
    return insert(quotes).values(row).on_conflict_do_nothing()


def _store_quotes(ledger: Ledger, connection: sa.Connection, wanted: Iterable[Purchase]) -> None:
    now = utc_now()
    rows = [
        {
            "subject": one.subject,
            "unit": one.quote.unit[:16] if one.quote else None,
            "expected": _text(one.quote.expected if one.quote else None),
            "bound": _text(one.quote.bound if one.quote else None),
            "source": one.quote.source if one.quote else "nobody says",
            "at": now,
        }
        for one in sorted(wanted, key=lambda one: one.subject)
    ]
    if rows:
        connection.execute(ledger.insert(_quote_insert), rows)


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount:f}"[:40]


# -- what is known of purchases


def _states(connection: sa.Connection, subjects: Iterable[str]) -> dict[str, dict[str, str]]:
    """By subject and budget, the state of its charge."""
    found: dict[str, dict[str, str]] = {}
    for part in parts(subjects):
        query = sa.select(charges.c.subject, charges.c.budget, charges.c.state).where(charges.c.subject.in_(part))
        for row in connection.execute(query):
            found.setdefault(row.subject, {})[row.budget] = row.state
        for row in connection.execute(sa.select(quotes.c.subject).where(quotes.c.subject.in_(part))):
            found.setdefault(row.subject, {})
    return found


def unpriced(connection: sa.Connection, subjects: Collection[str]) -> set[str]:
    """Purchases without a requested quote; none if no budget is in force."""
    if not subjects or not in_force(connection):
        return set()
    known = {
        row.subject
        for part in parts(subjects)
        for row in connection.execute(sa.select(quotes.c.subject).where(quotes.c.subject.in_(part)))
    }
    return set(subjects) - known


def note_quotes(ledger: Ledger, told: Mapping[str, Quote | None]) -> None:
    """Store quotes for purchases that were wanted before a budget came into force."""
    purchases = [Purchase(subject, "", "", "", Buyer(), quote) for subject, quote in told.items()]
    with ledger.write() as connection:
        _store_quotes(ledger, connection, purchases)


def _purchases(connection: sa.Connection, keys: Iterable[str]) -> list[Purchase]:
    names = ("key", "provider", "device", "run_key", "project", "buyer", "deployment", "session_id")
    told = [quotes.c[name] for name in ("unit", "expected", "bound", "source")]
    query = sa.select(*[jobs.c[name] for name in names], *told)
    joined = query.select_from(jobs.outerjoin(quotes, quotes.c.subject == jobs.c.key))
    found = []
    for part in parts(keys):
        for row in connection.execute(joined.where(jobs.c.key.in_(part))):
            quote = None
            if row.unit is not None:
                expected, bound = (None if x is None else Decimal(x) for x in (row.expected, row.bound))
                quote = Quote(expected, bound, row.unit, row.source)
            buyer = Buyer(row.project, row.buyer, row.deployment)
            told = {"is_priced": row.source is not None, "session_id": row.session_id}
            found.append(Purchase(row.key, row.provider, row.device, row.run_key, buyer, quote, **told))
    return found


def _inside_sessions(connection: sa.Connection, wanted: Iterable[Purchase]) -> dict[str, set[str]]:
    """By vendor id of sessions among these purchases, the budgets in which their whole time is counted."""
    found: dict[str, set[str]] = {}
    for id_ in {one.session_id for one in wanted if one.session_id}:
        query = (
            sa.select(charges.c.budget)
            .select_from(sessions.join(charges, charges.c.subject == sessions.c.key))
            .where(sessions.c.vendor_id == id_, charges.c.state.in_([HELD, SPENT]))
        )
        found[id_] = {row.budget for row in connection.execute(query)}
    return found


def _overdrawn(connection: sa.Connection, rules: Sequence[Budget], known: Mapping[str, Mapping[str, str]]) -> set[str]:
    """Keys that hold something in a bucket in which more is spent and reserved than its amount."""
    amounts = {rule.name: rule.amount for rule in rules}
    held = [key for key, rows in known.items() if HELD in rows.values()]
    found: set[str] = set()
    for part in parts(held):
        query = (
            sa.select(charges.c.subject, charges.c.budget, budget_periods)
            .select_from(
                charges.join(
                    budget_periods,
                    sa.and_(budget_periods.c.budget == charges.c.budget, budget_periods.c.bucket == charges.c.bucket),
                )
            )
            .where(charges.c.subject.in_(part), charges.c.state == HELD, charges.c.amount > 0)
            .where(budget_periods.c.reserved + budget_periods.c.spent - budget_periods.c.extra > 0)
        )
        for row in connection.execute(query):
            if row.reserved + row.spent > amounts.get(row.budget, row.reserved + row.spent) + row.extra:
                found.add(row.subject)
    return found


# -- changes of a charge


@dataclass(frozen=True, slots=True)
class Move:
    """A change of a charge: from its present row to a state and an amount."""

    row: Any  # subject, budget, bucket, state, amount
    state: str
    amount: int
    is_estimate: bool = True


def move(connection: sa.Connection, moves: Sequence[Move]) -> list[Place]:
    """Change charges and the counts of their buckets together; return the buckets that grew."""
    differences: dict[Place, list[int]] = {}
    for one in sorted(moves, key=lambda one: (one.row.subject, one.row.budget)):
        connection.execute(
            sa.update(charges)
            .where(charges.c.subject == one.row.subject, charges.c.budget == one.row.budget)
            .values(state=one.state, amount=one.amount, is_estimate=one.is_estimate)
        )
        change = differences.setdefault((one.row.budget, one.row.bucket), [0, 0])
        for state, amount in ((one.row.state, -int(one.row.amount)), (one.state, one.amount)):
            if state in (HELD, SPENT):
                change[state == SPENT] += amount
    for (budget, bucket), (reserved, spent) in sorted(differences.items()):
        connection.execute(
            sa.update(budget_periods)
            .where(budget_periods.c.budget == budget, budget_periods.c.bucket == bucket)
            .values(reserved=budget_periods.c.reserved + reserved, spent=budget_periods.c.spent + spent)
        )
    return sorted(place for place, (reserved, spent) in differences.items() if reserved + spent > 0)


def _free(connection: sa.Connection, keys: Collection[str], state: str) -> None:
    for part in parts(keys):
        query = sa.select(charges).where(charges.c.subject.in_(part), charges.c.state == HELD)
        move(connection, [Move(row, state, 0) for row in connection.execute(query)])


def parts(keys: Iterable[str]) -> list[list[str]]:
    """Keys, sorted, in slices that fit one statement."""
    flat = sorted(keys)
    return [flat[start : start + _PARTS] for start in range(0, len(flat), _PARTS)]
