"""Measured values in the ledger, on both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from qflows.ledger import Ledger, measurements, slots
from qflows.ledger.measurements import Measurement
from qflows.ledger.slots import SlotDecision

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SNAPSHOT = {"cal": {"t1": 1.5e-4}}


def value(night: int = 0, **changes: object) -> Measurement:
    one = Measurement(
        f"run {night}", "qpu", "readout error", "readout", "s", "benchmark", 0.01 + night, 0.002, "1", 3, 1000, True,
        NOON + timedelta(days=night), ("k1", "k2"), "cal",
    )  # fmt: skip
    return replace(one, **changes)  # pyright: ignore[reportArgumentType]


def test_value_comes_back_as_it_was_written(ledger: Ledger) -> None:
    assert measurements.record(ledger, [value()], SNAPSHOT) == 1
    assert measurements.of_run(ledger, "run 0") == [value()]
    assert measurements.snapshots(ledger, ["cal", "unknown"]) == SNAPSHOT


def test_replay_writes_nothing_and_changes_nothing(ledger: Ledger) -> None:
    measurements.record(ledger, [value()], SNAPSHOT)
    assert measurements.record(ledger, [value(value=0.5), value(name="other")], SNAPSHOT) == 1
    assert [one.value for one in measurements.of_run(ledger, "run 0")] == [value().value] * 2


def test_writers_that_race_write_each_value_once(ledger_url: str, open_ledger: Callable[[str], Ledger]) -> None:
    ledgers = [open_ledger(ledger_url) for _ in range(4)]
    wanted = [value(name=f"q{n}") for n in range(20)]
    written: list[int] = []
    gate = threading.Barrier(4)

    def write(ledger: Ledger, order: list[Measurement]) -> None:
        gate.wait()
        written.append(measurements.record(ledger, order, SNAPSHOT))

    threads = [
        threading.Thread(target=write, args=(ledger, wanted if place % 2 else wanted[::-1]))
        for place, ledger in enumerate(ledgers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(written) == 20
    assert len(measurements.of_run(ledgers[0], "run 0")) == 20


def test_series_has_the_newest_values_of_one_set_up_oldest_first(ledger: Ledger) -> None:
    found = [value(night) for night in range(5)]
    others = [value(9, device="other"), value(9, name="ghz"), value(9, setup="t", run_key="t")]
    measurements.record(ledger, [*found, *others], SNAPSHOT)
    assert measurements.series(ledger, "qpu", "readout error", "s", limit=3) == found[2:]
    assert measurements.series(ledger, "qpu", "readout error", "s", until=found[3].at) == found[:3]
    assert measurements.between(ledger, found[1].at, found[3].at) == found[1:3]


def test_newest_headline_value_of_each_quantity_is_found(ledger: Ledger) -> None:
    details = value(7, name="p(1|0) q0", is_headline=False)
    other = value(0, setup="t", run_key="run t")
    measurements.record(ledger, [value(0), value(1), other, details], SNAPSHOT)
    newest = measurements.newest_of_each(ledger, since=NOON, until=NOON + timedelta(days=9))
    assert newest == [value(1), other]
    assert measurements.newest_of_each(ledger, since=NOON, until=NOON + timedelta(hours=1)) == [value(0), other]
    assert measurements.newest_of_each(ledger, since=value(1).at, until=NOON + timedelta(days=9)) == [value(1)]


@pytest.mark.parametrize("later", [None, "another reason"])
def test_first_decision_about_a_slot_stands(ledger: Ledger, later: str | None) -> None:
    first = SlotDecision("k", "d", NOON, "benchmark", "r1", NOON + timedelta(hours=3), "3 h late")
    assert slots.decided(ledger, "k") is None
    assert slots.decide(ledger, first) == first
    assert slots.decide(ledger, replace(first, flow_run_id="r2", skipped=later)) == first
    assert slots.decided(ledger, "k") == first
    assert slots.skipped_between(ledger, NOON, NOON + timedelta(days=1)) == [first]
    assert slots.skipped_between(ledger, NOON, NOON + timedelta(hours=1)) == []


def test_deciders_that_race_agree(ledger_url: str, open_ledger: Callable[[str], Ledger]) -> None:
    ledgers = [open_ledger(ledger_url) for _ in range(6)]
    gate = threading.Barrier(6)
    stands: list[SlotDecision] = []

    def decide(place: int) -> None:
        wanted = SlotDecision("k", "d", NOON, "benchmark", f"r{place}", NOON, "late" if place % 2 else None)
        gate.wait()
        stands.append(slots.decide(ledgers[place], wanted))

    threads = [threading.Thread(target=decide, args=(place,)) for place in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stands) == 6
    assert len({one.flow_run_id for one in stands}) == 1
