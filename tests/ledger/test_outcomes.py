"""What a vendor says of its jobs: forward moves, events for the rest, counts and COMPLETED together or not at all."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from qflows.errors import IllegalTransition
from qflows.ledger import Ledger, claims, outcomes, reads
from qflows.ledger.outcomes import Outcome
from qflows.ledger.tables import results
from qflows.model import Cost, Counts, Expectation, ItemError, ItemResult
from qflows.protocol import Observation, Phase, VendorResult
from qflows.states import JobStatus

from .conftest import MakeJob, result_of

S = JobStatus


def test_counts_come_back_as_they_were_stored(ledger: Ledger, make_job: MakeJob) -> None:
    job = make_job(S.RUNNING)
    items = (
        ItemResult(counts=Counts({"00 1": 3, "11 0": 7}), probabilities={"00 1": 0.1 + 0.2}, memory=("00 1", "11 0")),
        ItemResult(expectations=(Expectation(-1.137306036, 1e-9), Expectation(0.1, 0.0)), metadata={"depth": 3}),
        ItemResult(error=ItemError("E7", "calibration")),
    )
    given = VendorResult(items, cost=Cost(1.25, "usd", False), qpu_s=0.5, metadata={"backend": "qpu"})
    outcomes.store(ledger, job, given, provenance={"versions": {"qflows": "1"}})
    after = reads.job(ledger, job.key)
    assert reads.items(ledger, job.key) == items
    assert (after.status, after.cost, after.timeline.qpu_s) == (S.COMPLETED, Cost(1.25, "usd", False), 0.5)
    assert reads.provenance(ledger, job.key) == {"versions": {"qflows": "1"}}


def test_shots_refer_to_their_outcomes_instead_of_equal_texts(ledger: Ledger, make_job: MakeJob) -> None:
    job = make_job(S.RUNNING)
    stored = ItemResult(counts=Counts({"001": 2, "110": 1}), memory=("001", "110", "001"))
    outcomes.store(ledger, job, VendorResult((stored,)), provenance={})
    (item,) = reads.items(ledger, job.key)
    assert item == stored
    assert item.memory is not None
    assert item.counts is not None
    zeros, ones = item.counts
    assert all(shot is one for shot, one in zip(item.memory, (zeros, ones, zeros), strict=True))


def test_storing_again_is_harmless_and_keeps_the_first_counts(ledger: Ledger, make_job: MakeJob) -> None:
    job = make_job(S.RUNNING)
    outcomes.store(ledger, job, result_of(1), provenance={})
    outcomes.store(ledger, job, result_of(2), provenance={})
    assert reads.items(ledger, job.key)[0].counts == {"001": 100}


def test_racing_stores_keep_one_result(ledger: Ledger, make_job: MakeJob) -> None:
    made = [make_job(S.RUNNING) for _ in range(6)]

    def store(number: int) -> None:
        order = made[:: 1 if number % 2 else -1]
        outcomes.store_all(ledger, [Outcome(job, result_of(number), {}) for job in order])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(store, range(8)))
    assert all(len(reads.items(ledger, job.key)) == 1 for job in made)


@pytest.mark.parametrize("status", [S.FAILED, S.CANCELLED, S.PREPARED])
def test_counts_for_a_job_that_ended_otherwise_are_refused(
    ledger: Ledger, make_job: MakeJob, status: JobStatus
) -> None:
    job = make_job(status)
    with pytest.raises(IllegalTransition, match=status):
        outcomes.store(ledger, job, result_of(), provenance={})
    assert reads.items(ledger, job.key) == ()


def test_process_killed_between_the_status_and_the_counts_leaves_neither(
    ledger: Ledger, ledger_url: str, make_job: MakeJob
) -> None:
    job = make_job(S.RUNNING)
    pid = os.fork()
    if pid == 0:
        mine = Ledger.open(ledger_url)

        @sa.event.listens_for(mine.engine, "before_cursor_execute")
        def die(connection: object, cursor: object, text: str, *rest: object) -> None:
            if "results" in text:
                os.kill(os.getpid(), signal.SIGKILL)

        outcomes.store(mine, job, result_of(), provenance={})
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert reads.job(ledger, job.key).status is S.RUNNING
    with ledger.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(results)).scalar() == 0
    outcomes.store(ledger, job, result_of(5), provenance={})
    assert reads.items(ledger, job.key)[0].counts == {"101": 100}


def test_failed_job_keeps_what_some_of_its_programs_gave(ledger: Ledger, make_job: MakeJob) -> None:
    job = make_job(S.RUNNING)
    look = Observation(Phase.FAILED, "failed", error_code="Partly", error_message="one child", is_retryable=True)
    given = VendorResult((ItemResult(counts=Counts({"0": 5})), ItemResult(error=ItemError("x", "y"))))
    outcomes.store_all(ledger, [Outcome(job, given, {}, look)])
    after = reads.job(ledger, job.key)
    assert (after.status, after.error_code, after.error_retryable) == (S.FAILED, "Partly", True)
    assert reads.items(ledger, job.key) == given.items


def test_backward_and_unknown_words_are_events_once_per_change(ledger: Ledger, make_job: MakeJob) -> None:
    job = make_job(S.RUNNING)
    for phase, word in [(Phase.QUEUED, "queued"), (Phase.QUEUED, "queued"), (Phase.UNKNOWN, "sleeping")] * 2:
        outcomes.observe(ledger, [(reads.job(ledger, job.key), Observation(phase, word))])
    assert reads.job(ledger, job.key).status is S.RUNNING
    kinds = [event["kind"] for event in reads.history(ledger, job.key)]
    assert kinds == ["backward-status", "unknown-status"] * 2


def test_look_at_an_extra_cannot_end_the_real_job(ledger: Ledger, make_job: MakeJob) -> None:
    from dataclasses import replace

    job = make_job(S.QUEUED)
    outcomes.observe(ledger, [(replace(job, vendor_id="an-extra"), Observation(Phase.FAILED, "failed"))])
    assert reads.job(ledger, job.key).status is S.QUEUED


def test_hostile_words_of_a_vendor_are_bounded_and_stored(ledger: Ledger, make_job: MakeJob) -> None:
    hostile = "a\x00\ud800" + "x" * 10_000
    for phase in (Phase.RUNNING, Phase.FAILED, Phase.UNKNOWN, Phase.QUEUED):
        job = make_job(S.RUNNING if phase is Phase.QUEUED else S.QUEUED)
        look = Observation(phase, hostile, queue_note=hostile, error_code=hostile, error_message=hostile)
        outcomes.observe(ledger, [(job, look)])
        assert str(reads.job(ledger, job.key).word).startswith("a")


def test_wish_to_cancel_is_a_column_until_the_vendor_agrees(ledger: Ledger, make_job: MakeJob) -> None:
    made = {status: make_job(status) for status in JobStatus}
    wished = outcomes.request_cancel(ledger, [job.key for job in made.values()])
    live = (S.PREPARED, S.SUBMITTING, S.IN_DOUBT, S.QUEUED, S.RUNNING)
    assert set(wished) == {made[status].key for status in live}
    for status, job in made.items():
        after = reads.job(ledger, job.key)
        assert after.status is (S.CANCELLED if status is S.PREPARED else status)
        # a job that was cancelled before has the wish from then
        assert (after.cancel_requested_at is not None) == (status in live or status is S.CANCELLED)


def test_first_wish_keeps_its_time(ledger: Ledger, make_job: MakeJob) -> None:
    job = make_job(S.QUEUED)
    outcomes.request_cancel(ledger, [job.key])
    first = reads.job(ledger, job.key).cancel_requested_at
    outcomes.request_cancel(ledger, [job.key])
    assert reads.job(ledger, job.key).cancel_requested_at == first


def test_vendor_that_finishes_in_spite_of_a_wish_gives_its_counts(ledger: Ledger, make_job: MakeJob) -> None:
    job = make_job(S.QUEUED)
    outcomes.request_cancel(ledger, [job.key])
    outcomes.store(ledger, job, result_of(), provenance={})
    assert reads.job(ledger, job.key).status is S.COMPLETED


def test_thousands_of_keys_fit_one_call(ledger: Ledger, make_job: MakeJob) -> None:
    job = make_job(S.QUEUED)
    keys = [f"{n:064x}" for n in range(2000)] + [job.key]
    assert set(reads.by_keys(ledger, keys)) == {job.key}
    assert outcomes.request_cancel(ledger, keys) == [job.key]
    assert claims.expire(ledger, keys) == []
