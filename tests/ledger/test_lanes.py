"""Lanes: one holder at a time, dead holders replaced at once, one pace for everybody."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from qflows.ledger import Ledger, lanes
from qflows.ledger.lanes import Lane
from qflows.ledger.tables import lanes as table

Change = Callable[..., None]


@pytest.fixture
def change(ledger: Ledger) -> Change:
    def write(**values: Any) -> None:
        with ledger.write() as connection:
            connection.execute(sa.update(table).values(**values))

    return write


def acquire(ledger: Ledger, waiter: str, account: str = "a") -> Lane | float:
    return lanes.acquire(ledger, "acme", account, holder=lanes.holder_name(waiter), lease_s=60)


def held(lane: Lane | float) -> Lane:
    assert isinstance(lane, Lane)
    return lane


def test_racing_waiters_have_one_holder(ledger: Ledger) -> None:
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda n: acquire(ledger, f"w{n}"), range(12)))
    assert sum(isinstance(answer, Lane) for answer in answers) == 1


def test_lanes_of_other_accounts_do_not_touch(ledger: Ledger) -> None:
    held(acquire(ledger, "w1", "a"))
    held(acquire(ledger, "w1", "b"))


def test_held_lane_tells_others_when_to_ask_again(ledger: Ledger) -> None:
    held(acquire(ledger, "w1"))
    answer = acquire(ledger, "w2")
    assert isinstance(answer, float)
    assert 0 < answer <= 0.25


def test_released_lane_keeps_its_pace_for_everybody(ledger: Ledger, change: Change) -> None:
    lanes.release(ledger, held(acquire(ledger, "w1")), next_in_s=30, interval_s=12)
    for waiter in ("w1", "w2"):
        answer = acquire(ledger, waiter)
        assert isinstance(answer, float)
        assert 25 < answer <= 30
    change(next_at=0.0)
    assert held(acquire(ledger, "w2")).interval_s == 12


def test_lane_of_a_dead_process_is_free_at_once(ledger: Ledger, change: Change) -> None:
    lane = held(acquire(ledger, "w1"))
    place, _, ticks = lane.holder.partition("#")[0].rpartition("/")
    change(holder=f"{place}/{int(ticks) - 1}#w1")  # the process id was given to another process since
    held(acquire(ledger, "w2"))


def test_lane_held_elsewhere_is_free_when_its_lease_ends(ledger: Ledger, change: Change) -> None:
    held(acquire(ledger, "w1"))
    change(holder="elsewhere/0/1/9/9#w1")
    assert isinstance(acquire(ledger, "w2"), float)
    change(lease_until=1.0)
    held(acquire(ledger, "w2"))


def test_late_release_by_a_replaced_holder_changes_nothing(ledger: Ledger, change: Change) -> None:
    late = held(acquire(ledger, "w1"))
    change(lease_until=1.0)
    winner = held(acquire(ledger, "w2"))
    lanes.release(ledger, late, next_in_s=500, interval_s=500)
    with ledger.read() as connection:
        assert connection.execute(sa.select(table.c.holder, table.c.next_at)).one() == (winner.holder, 0.0)
