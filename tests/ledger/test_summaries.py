"""Sums over a stretch of time, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from qflows.ledger import Ledger, claims, summaries
from qflows.ledger.intents import touch_run
from qflows.ledger.tables import crash_retries, groups
from qflows.states import JobStatus

from .conftest import LEASE_S, MakeJob

NOW = datetime.now(UTC)
SINCE, UNTIL = NOW - timedelta(hours=24), NOW + timedelta(hours=1)
LONG_AGO = NOW - timedelta(days=9)
S = JobStatus


def test_jobs_are_counted_by_device_and_status_if_wanted_or_ended_in_the_time(
    ledger: Ledger, make_job: MakeJob, alter: Callable[..., None]
) -> None:
    done = [make_job(S.COMPLETED) for _ in range(3)]
    make_job(S.QUEUED)
    alter(done[0].key, created_at=LONG_AGO, qpu_s=2.0)  # ended in this time
    alter(done[1].key, created_at=LONG_AGO, finished_at=LONG_AGO)  # no concern of this time
    found = {(one.device, one.status): one for one in summaries.tallies(ledger, SINCE, UNTIL)}
    assert {place: one.n for place, one in found.items()} == {("acme-qpu", S.COMPLETED): 2, ("acme-qpu", S.QUEUED): 1}
    completed = found["acme-qpu", S.COMPLETED]
    assert (completed.qpu_s, completed.n_qpu, completed.n_programs) == (2.0, 1, 2)


def test_spending_is_told_apart_by_unit_and_by_what_is_billed_estimated_or_not_told(
    ledger: Ledger, make_job: MakeJob, alter: Callable[..., None]
) -> None:
    figures = [
        (1.5, "usd", False),
        (2.0, "usd", False),
        (9.0, "usd", True),
        (4.0, "credits", False),
        (None, None, None),
    ]
    for cost, unit, is_estimate in figures:
        alter(make_job(S.COMPLETED).key, cost=cost, cost_unit=unit, cost_is_estimate=is_estimate)
    alter(make_job(S.COMPLETED).key, cost=100.0, cost_unit="usd", cost_is_estimate=False, finished_at=LONG_AGO)
    make_job(S.FAILED)  # refused: no vendor has it
    make_job(S.QUEUED)
    found = {(one.unit, one.is_estimate): (one.amount, one.n) for one in summaries.spending(ledger, SINCE, UNTIL)}
    assert found == {
        ("usd", False): (3.5, 2), ("usd", True): (9.0, 1), ("credits", False): (4.0, 1), (None, False): (0.0, 1),
    }  # fmt: skip


def test_runs_are_counted_by_flow_with_their_jobs(ledger: Ledger, make_job: MakeJob) -> None:
    for run_key, status in (("a", S.COMPLETED), ("a", S.FAILED), ("b", S.QUEUED), ("c", S.COMPLETED)):
        make_job(status, run_key=run_key)
    for run_key in ("a", "b"):
        touch_run(ledger, run_key, flow_name="nightly", flow_run_id=None)
    found = {one.flow_name: one for one in summaries.flow_tallies(ledger, SINCE, UNTIL)}
    nightly = found["nightly"]
    assert (nightly.n_runs, nightly.n_jobs, nightly.n_completed, nightly.n_failed, nightly.n_live) == (2, 3, 1, 1, 1)
    assert found[None].n_runs == 1
    assert nightly.last.tzinfo is not None


def test_failures_leave_out_those_that_a_later_purchase_stands_in_for(
    ledger: Ledger, make_job: MakeJob, alter: Callable[..., None]
) -> None:
    failed, superseded, old, holes = (make_job(status) for status in (S.FAILED, S.FAILED, S.FAILED, S.COMPLETED))
    alter(superseded.key, superseded=True)
    alter(old.key, finished_at=LONG_AGO)
    alter(holes.key, n_errors=2)
    make_job(S.COMPLETED)
    assert {job.key for job in summaries.ended_badly(ledger, SINCE, UNTIL)} == {failed.key, holes.key}


def test_doubts_say_how_old_they_are_and_which_need_a_person(
    ledger: Ledger, make_job: MakeJob, alter: Callable[..., None]
) -> None:
    young, stuck = make_job(S.IN_DOUBT), make_job(S.IN_DOUBT)
    make_job(S.QUEUED)
    claims.looked(ledger, stuck, again_in_s=None)  # what the submitter does where nobody can look
    claims.looked(ledger, young, again_in_s=5.0)
    with ledger.write() as connection:
        connection.execute(
            sa.text("update jobs set doubt_since = doubt_since - 7200 where key = :key"), {"key": stuck.key}
        )
    first, second = summaries.open_doubts(ledger)
    assert (first.job.key, first.needs_person, round(first.age_s / 3600)) == (stuck.key, True, 2)
    assert (second.job.key, second.needs_person) == (young.key, False)
    assert second.age_s < LEASE_S


def test_withheld_results_failed_callbacks_and_crash_retries_are_found(
    ledger: Ledger, make_job: MakeJob, alter: Callable[..., None]
) -> None:
    held = make_job(S.RUNNING)
    make_job(S.RUNNING)
    alter(held.key, is_held=True)
    row = {"run_key": "r", "tags": {}, "metadata": {}, "max_ttl_s": 1.0, "state": "COMPLETED", "created_at": NOW,
           "expires_at": 0.0}  # fmt: skip
    with ledger.write() as connection:
        failed = row | {"id": "g1", "name": "night", "callback_state": "FAILED", "callback_error": "boom"}
        connection.execute(sa.insert(groups), [failed, row | {"id": "g2", "name": "", "callback_state": "DONE",
                                                              "callback_error": None}])  # fmt: skip
        crashes = [("a", NOW), ("b", NOW), ("c", LONG_AGO)]
        connection.execute(
            sa.insert(crash_retries),
            [{"flow_run_id": name, "state_id": name, "claimed_at": at.timestamp()} for name, at in crashes],
        )
    assert [job.key for job in summaries.held(ledger)] == [held.key]
    assert summaries.failed_callbacks(ledger) == [("g1", "night", "boom")]
    assert summaries.crash_retries_between(ledger, SINCE, UNTIL) == 2
