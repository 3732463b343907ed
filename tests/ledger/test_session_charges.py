"""Sessions in budgets: their wall time is reserved, the jobs inside are not counted again, and the end is settled."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from qflows.errors import OverBudget
from qflows.ledger import Ledger, budgets, intents, sessions, spending
from qflows.ledger.budgets import MICRO, Budget, Buyer
from qflows.model import Cost, Quote, SessionRecord

from .conftest import LEASE_S, MakeIntent

WALL = Quote(Decimal(600), Decimal(600), "qpu_s", "ten minutes")


def prepare(ledger: Ledger, run_key: str = "run", quote: Quote = WALL) -> SessionRecord:
    where = {"provider": "acme", "account": "acct", "device": "acme-qpu", "device_id": "qpu", "mode": "dedicated"}
    return sessions.prepare(
        ledger, run_key, name="", max_time_s=600.0, options={}, buyer=Buyer(), quote=quote, is_priced=True, **where
    )


def counts(ledger: Ledger) -> tuple[float, float]:
    (one,) = spending.standing(ledger)
    return one.reserved / MICRO, one.spent / MICRO


def opened(ledger: Ledger, record: SessionRecord) -> SessionRecord:
    claimed = sessions.claim(ledger, record, lease_s=LEASE_S)
    assert claimed is not None
    return sessions.opened(ledger, claimed, "s-1")


@pytest.fixture
def capped(ledger: Ledger) -> Ledger:
    budgets.put(ledger, Budget("cap", 1000 * MICRO, "qpu_s", period="total", policy="wait"))
    return ledger


def test_wall_time_is_reserved_once_and_settled_by_the_vendors_count(capped: Ledger) -> None:
    record = prepare(capped)
    prepare(capped)  # a replay
    assert counts(capped) == (600, 0)
    with pytest.raises(OverBudget):  # a session does not wait
        prepare(capped, "another")
    record = opened(capped, record)
    sessions.closed(capped, record, "done")
    assert counts(capped) == (600, 0)
    sessions.settle(capped, record.key, bill=Cost(42.0, "qpu_s", True))
    assert counts(capped) == (0, 42)


def test_session_that_was_never_opened_gives_everything_back(capped: Ledger) -> None:
    sessions.closed(capped, prepare(capped), "refused by the vendor")
    assert counts(capped) == (0, 0)


def test_jobs_inside_are_paid_by_the_session(capped: Ledger, make_intent: MakeIntent) -> None:
    opened(capped, prepare(capped))
    inside = replace(make_intent("a", session_id="s-1"), quote=WALL, is_priced=True)
    intents.prepare(capped, [inside, replace(make_intent("b", session_id="s-1"), quote=WALL, is_priced=True)])
    assert counts(capped) == (600, 0)
