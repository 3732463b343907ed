"""The money guard in the ledger: nothing beyond a budget, and every reservation ends as money spent or released."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from qflows.errors import OverBudget, QflowsError
from qflows.ledger import Ledger, budgets, claims, intents, outcomes, reads, settlements, spending
from qflows.ledger.budgets import MICRO, Budget, Buyer
from qflows.ledger.intents import Intent
from qflows.ledger.money_tables import charges
from qflows.model import Cost, Job, Quote
from qflows.protocol import Observation, Phase
from qflows.states import JobStatus

from .conftest import LEASE_S, MakeIntent, drive, result_of

Make = Callable[..., Intent]


@pytest.fixture
def priced(make_intent: MakeIntent) -> Make:
    """`priced(label, usd="10", bound=None, unit="usd", buyer=Buyer(), ...)`: an intent with a quote."""

    def make(label: str, usd: str | None = "10", *, bound: str | None = "", unit: str = "usd", **more: Any) -> Intent:
        buyer = more.pop("buyer", Buyer())
        expected = None if usd is None else Decimal(usd)
        most = expected if bound == "" else None if bound is None else Decimal(bound)
        quote = Quote(expected, most, unit, "a test")
        return replace(make_intent(label, **more), quote=quote, is_priced=True, buyer=buyer)

    return make


def put(ledger: Ledger, amount: int, name: str = "cap", **more: Any) -> Budget:
    rule = Budget(name, amount * MICRO, more.pop("currency", "usd"), **({"period": "total"} | more))
    budgets.put(ledger, rule)
    return rule


def counts(ledger: Ledger, name: str = "cap") -> tuple[float, float]:
    """Reserved and spent over all buckets of a budget, which must be the sums of its charges."""
    found = [one for one in spending.standing(ledger) if one.budget.name == name]
    reserved, spent = sum(one.reserved for one in found), sum(one.spent for one in found)
    with ledger.read() as connection:
        for state, total in (("HELD", reserved), ("SPENT", spent)):
            query = sa.select(sa.func.coalesce(sa.func.sum(charges.c.amount), 0))
            query = query.where(charges.c.budget == name, charges.c.state == state)
            assert connection.execute(query).scalar() == total
    return reserved / MICRO, spent / MICRO


def finish(ledger: Ledger, job: Job, cost: Cost | None) -> None:
    drive(ledger, job.key, JobStatus.QUEUED)
    outcomes.store(ledger, reads.job(ledger, job.key), replace(result_of(), cost=cost), provenance={})


def test_purchase_reserves_with_its_intent_and_one_too_many_leaves_nothing(ledger: Ledger, priced: Make) -> None:
    put(ledger, 25)
    intents.prepare(ledger, [priced("a"), priced("b")])
    assert counts(ledger) == (20, 0)
    with pytest.raises(OverBudget, match="qflows budgets set cap") as caught:
        intents.prepare(ledger, [priced("c")])
    assert (caught.value.asked, caught.value.reserved, caught.value.limit) == ("10", "20", "25")
    assert len(reads.listing(ledger)) == 2  # not even an intent
    intents.prepare(ledger, [priced("a"), priced("b")])  # the same again asks for nothing
    assert counts(ledger) == (20, 0)


def test_list_is_bought_whole_or_not_at_all(ledger: Ledger, priced: Make) -> None:
    put(ledger, 25)
    with pytest.raises(OverBudget, match="of 5 jobs do not fit"):
        intents.prepare(ledger, [priced(str(i)) for i in range(5)])
    assert counts(ledger) == (0, 0)
    assert reads.listing(ledger) == []


ENDS = {
    "bill": (Cost(4.0, "usd", False), (0, 4)),
    "computed": (Cost(9.0, "usd", True), (0, 9)),
    "nothing said": (None, (0, 10)),
    "another unit": (Cost(4.0, "credits", False), (0, 10)),
}


@pytest.mark.parametrize("end", ENDS)
def test_result_settles_with_the_bill_or_keeps_the_estimate(ledger: Ledger, priced: Make, end: str) -> None:
    put(ledger, 25)
    (job,) = intents.prepare(ledger, [priced("a")])
    cost, after = ENDS[end]
    finish(ledger, job, cost)
    assert counts(ledger) == after


@pytest.mark.parametrize("end", ["refused", "cancelled unsent", "free failure", "unknown failure", "abandoned"])
def test_end_without_counts_releases_what_certainly_cost_nothing(ledger: Ledger, priced: Make, end: str) -> None:
    put(ledger, 25)
    (job,) = intents.prepare(ledger, [priced("a")])
    after = (0, 0)
    if end == "refused":
        drive(ledger, job.key, JobStatus.FAILED)
    elif end == "cancelled unsent":
        outcomes.request_cancel(ledger, [job.key])
    elif end == "abandoned":
        drive(ledger, job.key, JobStatus.IN_DOUBT)
        claims.abandon(ledger, job.key, reason="the account is gone")
        after = (0, 10)
    else:
        drive(ledger, job.key, JobStatus.QUEUED)
        cost = Cost(0.0, "usd", False) if end == "free failure" else None
        outcomes.observe(ledger, [(reads.job(ledger, job.key), Observation(Phase.FAILED, "failed", cost=cost))])
        after = (0, 0) if end == "free failure" else (0, 10)
    assert counts(ledger) == after


def test_doubt_keeps_its_money_and_a_job_that_lives_again_reserves_again(ledger: Ledger, priced: Make) -> None:
    put(ledger, 25)
    (job,) = intents.prepare(ledger, [priced("a")])
    drive(ledger, job.key, JobStatus.IN_DOUBT)
    assert counts(ledger) == (10, 0)
    claims.absent(ledger, reads.job(ledger, job.key))
    assert counts(ledger) == (10, 0)  # it will be sent again
    drive(ledger, job.key, JobStatus.QUEUED)
    gone = Observation(Phase.FAILED, "(gone)", error_code=claims.VANISHED)
    outcomes.observe(ledger, [(reads.job(ledger, job.key), gone)])
    assert counts(ledger) == (0, 10)
    claims.revoke(ledger, reads.job(ledger, job.key), why="shown again")
    assert counts(ledger) == (10, 0)
    outcomes.store(ledger, reads.job(ledger, job.key), replace(result_of(), cost=Cost(3, "usd", False)), provenance={})
    assert counts(ledger) == (0, 3)


def test_bills_that_overdraw_stop_what_was_reserved_and_not_sent(ledger: Ledger, priced: Make) -> None:
    put(ledger, 30, tolerance=0.5)
    first, second, third = intents.prepare(ledger, [priced(str(i)) for i in range(3)])
    finish(ledger, first, Cost(20.0, "usd", False))
    assert claims.claim(ledger, second.key, lease_s=LEASE_S) is None
    ended = reads.job(ledger, second.key)
    assert (ended.status, ended.error_kind, ended.error_code) == (JobStatus.FAILED, "refused", "OVER_BUDGET")
    assert counts(ledger) == (10, 20)  # which is room for the third
    assert claims.claim(ledger, third.key, lease_s=LEASE_S) is not None
    kinds = [event["kind"] for event in reads.history(ledger, first.key)]
    assert "bill-differs" in kinds


def test_waiting_job_is_sent_when_there_is_room(ledger: Ledger, priced: Make, alter: Callable[..., None]) -> None:
    put(ledger, 15, policy="wait")
    first, second = intents.prepare(ledger, [priced("a"), priced("b")])
    assert counts(ledger) == (10, 0)
    keys = sorted([first.key, second.key])
    mine = claims.claim_several(ledger, keys, lease_s=LEASE_S)
    (waiting,) = set(keys) - set(mine)
    job = reads.job(ledger, waiting)
    assert (job.status, job.error_code) == (JobStatus.PREPARED, "OVER_BUDGET")
    assert "when there is room" in (job.error_message or "")
    (sent,) = mine.values()
    claims.accepted(ledger, sent, "v1")
    outcomes.store(ledger, reads.job(ledger, sent.key), replace(result_of(), cost=Cost(2, "usd", False)), provenance={})
    alter(waiting, send_after=None)
    assert claims.claim(ledger, waiting, lease_s=LEASE_S) is not None
    assert counts(ledger) == (10, 2)


def test_approval_lets_one_run_beyond_and_no_other(ledger: Ledger, priced: Make) -> None:
    put(ledger, 15, policy="ask")
    intents.prepare(ledger, [priced("a")])
    with pytest.raises(OverBudget, match="qflows budgets approve cap --run-key 'run' --amount 10"):
        intents.prepare(ledger, [priced("b")])
    budgets.decide(ledger, "cap", "run", amount=10 * MICRO, approve=True, who="eve", why="last point")
    with pytest.raises(OverBudget):
        intents.prepare(ledger, [priced("b", run_key="other")])
    intents.prepare(ledger, [priced("b")])
    assert counts(ledger) == (20, 0)
    (verdict,) = budgets.verdicts(ledger)
    assert (verdict.who, verdict.why, verdict.used) == ("eve", "last point", 5 * MICRO)
    with pytest.raises(OverBudget):
        intents.prepare(ledger, [priced("c")])  # 5 are left of the approval


def test_approval_ends_with_its_budget(ledger: Ledger, priced: Make) -> None:
    put(ledger, 15, policy="ask")
    budgets.decide(ledger, "cap", "run", amount=100 * MICRO, approve=True, who="eve", why="")
    budgets.remove(ledger, "cap")
    put(ledger, 15, policy="ask")
    intents.prepare(ledger, [priced("a")])
    with pytest.raises(OverBudget):
        intents.prepare(ledger, [priced("b")])
    assert [(one.verdict, one.amount, one.used) for one in budgets.verdicts(ledger)] == [("lapsed", 100 * MICRO, 0)]


def test_currency_of_a_budget_with_counts_stays(ledger: Ledger, priced: Make) -> None:
    put(ledger, 15)
    put(ledger, 15, currency="eur", rates={"usd": "0.9"})  # nothing counted yet
    intents.prepare(ledger, [priced("a")])
    assert counts(ledger) == (9, 0)
    with pytest.raises(QflowsError, match="counts in eur and has purchases, so it cannot change to usd"):
        put(ledger, 15)
    put(ledger, 20, currency="eur", rates={"usd": "0.5"})  # a new rate is for new purchases
    intents.prepare(ledger, [priced("b")])
    assert counts(ledger) == (14, 0)


def test_unknown_bound_is_refused_unless_allowed(ledger: Ledger, priced: Make) -> None:
    put(ledger, 100)
    for quote in (priced("a", bound=None), priced("b", unit="qpu_s"), replace(priced("c"), quote=None)):
        with pytest.raises(OverBudget, match="not known in usd") as caught:
            intents.prepare(ledger, [quote])
        assert caught.value.asked is None
    put(ledger, 100, allow_unknown=True, rates={"qpu_s": "1.60"})
    intents.prepare(ledger, [priced("a", bound=None)])
    intents.prepare(ledger, [priced("b", unit="qpu_s"), replace(priced("c"), quote=None)])
    assert counts(ledger) == (26, 0)


SCOPES = {
    "project": (Buyer(project="vqe"), Buyer(project="qaoa"), {}),
    "user": (Buyer(user="eve"), Buyer(user="bob"), {}),
    "deployment": (Buyer(deployment="nightly"), Buyer(), {}),
    "run": (Buyer(), Buyer(), {"run_key": "another"}),
}


@pytest.mark.parametrize("scope", SCOPES)
def test_each_value_of_a_scope_has_its_own_count(sqlite_ledger: Ledger, priced: Make, scope: str) -> None:
    ledger = sqlite_ledger
    put(ledger, 15, scope=scope)
    one, other, more = SCOPES[scope]
    intents.prepare(ledger, [priced("a", buyer=one)])
    with pytest.raises(OverBudget):
        intents.prepare(ledger, [priced("b", buyer=one)])
    intents.prepare(ledger, [priced("b", buyer=other, **more)])


def test_pattern_counts_all_that_fit_together(sqlite_ledger: Ledger, priced: Make) -> None:
    put(sqlite_ledger, 15, scope="device", of="acme-*")
    put(sqlite_ledger, 1, "elsewhere", scope="device", of="ibm-*")
    put(sqlite_ledger, 12, "of-the-run", period="run")
    intents.prepare(sqlite_ledger, [priced("a")])
    with pytest.raises(OverBudget, match="budget cap"):
        intents.prepare(sqlite_ledger, [priced("b", run_key="another")])
    assert counts(sqlite_ledger, "elsewhere") == (0, 0)
    assert counts(sqlite_ledger, "of-the-run") == (10, 0)


def test_job_wanted_before_a_budget_is_asked_its_price_before_it_is_sent(
    ledger: Ledger, make_intent: MakeIntent
) -> None:
    (job,) = intents.prepare(ledger, [make_intent("early")])
    put(ledger, 5)
    assert claims.claim(ledger, job.key, lease_s=LEASE_S) is None
    assert reads.job(ledger, job.key).error_code == "UNPRICED"
    from qflows.ledger.charges import note_quotes

    note_quotes(ledger, {job.key: Quote(Decimal(4), Decimal(4), "usd", "asked")})
    assert claims.claim(ledger, job.key, lease_s=LEASE_S) is not None
    assert counts(ledger) == (4, 0)


def test_heal_settles_what_a_step_without_the_guard_ended(
    ledger: Ledger, priced: Make, alter: Callable[..., None]
) -> None:
    put(ledger, 25)
    (job,) = intents.prepare(ledger, [priced("a")])
    alter(job.key, status="FAILED", error_kind="refused")
    assert counts(ledger) == (10, 0)
    assert settlements.heal(ledger) == 1
    assert counts(ledger) == (0, 0)
    assert settlements.heal(ledger) == 0


def test_warning_comes_once(ledger: Ledger, priced: Make, caplog: pytest.LogCaptureFixture) -> None:
    put(ledger, 30, warn=0.6)
    for label in "abc":
        intents.prepare(ledger, [priced(label)])
    assert sum("is at 67 %" in record.getMessage() for record in caplog.records) == 1
    assert not any("100 %" in record.getMessage() for record in caplog.records)


def test_free_jobs_and_other_periods_do_not_count(sqlite_ledger: Ledger, priced: Make) -> None:
    put(sqlite_ledger, 0)
    intents.prepare(sqlite_ledger, [priced("free", "0")])
    rule = Budget("month", 1, "usd")
    from datetime import UTC, datetime

    assert rule.period_at(datetime(2026, 12, 31, 23, 59, tzinfo=UTC)) == "2026-12"
    assert replace(rule, period="week").period_at(datetime(2027, 1, 1, tzinfo=UTC)) == "2026-W53"
    assert replace(rule, period="day").period_at(datetime(2027, 1, 1, tzinfo=UTC)) == "2027-01-01"


def test_denied_job_ends_when_it_is_to_be_sent_and_says_who_denied_it(
    ledger: Ledger, priced: Make, alter: Callable[..., None]
) -> None:
    from qflows.ledger import charges as guard

    put(ledger, 25, policy="ask")
    first, second = intents.prepare(ledger, [priced("a"), priced("b")])
    put(ledger, 15, policy="ask")
    keys = sorted([first.key, second.key])
    mine = claims.claim_several(ledger, keys, lease_s=LEASE_S)
    (waiting,) = set(keys) - set(mine)
    assert reads.job(ledger, waiting).status is JobStatus.PREPARED
    (wanted,) = guard.for_a_person(ledger, keys)
    assert (wanted.budget, wanted.asked, wanted.needed, wanted.run_key) == ("cap", "10", Decimal(10), "run")
    budgets.decide(ledger, "cap", "run", amount=0, approve=False, who="nobody", why="no answer within 3600 s")
    assert claims.claim(ledger, waiting, lease_s=LEASE_S) is None  # tried at once, without the pause
    ended = reads.job(ledger, waiting)
    assert (ended.status, ended.error_code) == (JobStatus.FAILED, "OVER_BUDGET")
    assert "Nobody approved it (no answer within 3600 s)" in (ended.error_message or "")
    assert guard.for_a_person(ledger, keys) == []
    assert counts(ledger) == (10, 0)


def test_overdrawn_budget_needs_what_bills_took_and_an_old_silence_is_no_denial(ledger: Ledger, priced: Make) -> None:
    put(ledger, 15, policy="ask", ask_timeout_s=0.0)
    (job,) = intents.prepare(ledger, [priced("a")])
    finish(ledger, job, Cost(40.0, "usd", False))
    budgets.decide(ledger, "cap", "run", amount=0, approve=False, who="nobody", why="no answer")
    with pytest.raises(OverBudget, match="--amount 35 ") as caught:
        intents.prepare(ledger, [priced("b")])
    assert (caught.value.denied, caught.value.needed) == (None, Decimal(35))
    budgets.decide(ledger, "cap", "run", amount=35 * MICRO, approve=True, who="eve", why="")
    intents.prepare(ledger, [priced("b")])
    assert counts(ledger) == (10, 40)
