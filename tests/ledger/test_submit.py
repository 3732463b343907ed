"""Submit and settle against a vendor that misbehaves: one live job per key, whatever order things happen in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from qflows.core.devices import Sole
from qflows.core.poller import Poller
from qflows.core.submit import Submitter
from qflows.errors import InDoubt, LedgerUnavailable, ProgramRejected
from qflows.ledger import Ledger, claims, outcomes, reads
from qflows.ledger.tables import jobs
from qflows.model import Job
from qflows.protocol import JobSpec, Lookup
from qflows.states import JobStatus

from .conftest import MakeIntent
from .fake_vendor import SETTLE_S, FakeVendor

S = JobStatus


@pytest.fixture
def vendor() -> FakeVendor:
    return FakeVendor()


def buy(ledger: Ledger, vendor: FakeVendor, *intents: object) -> list[Job]:
    return Submitter(ledger).submit(vendor, intents)  # type: ignore[arg-type]


def pass_time(ledger: Ledger, vendor: FakeVendor, seconds: float) -> None:
    """What `seconds` do to the ledger's leases and delays, and to the vendor's listing."""
    vendor.now += seconds
    clocks = ("lease_until", "doubt_since", "look_after", "send_after")
    with ledger.write() as connection:
        connection.execute(sa.update(jobs).values({name: jobs.c[name] - seconds for name in clocks}))


def settle(ledger: Ledger, vendor: FakeVendor, key: str) -> Job:
    """Both looks, as far apart as they must be."""
    submitter = Submitter(ledger)
    submitter.settle(vendor, [key])
    pass_time(ledger, vendor, SETTLE_S)
    submitter.settle(vendor, [key])
    return reads.job(ledger, key)


def test_accepted_job_is_queued_with_its_id(ledger: Ledger, vendor: FakeVendor, make_intent: MakeIntent) -> None:
    (job,) = buy(ledger, vendor, make_intent())
    assert (job.status, [job.vendor_id]) == (S.QUEUED, vendor.live(job.key))


def test_submitting_again_sends_nothing(ledger: Ledger, vendor: FakeVendor, make_intent: MakeIntent) -> None:
    for attempt in ("attempt-1", "attempt-1", "attempt-2"):
        buy(ledger, vendor, make_intent(attempt=attempt))
    assert vendor.posts == 1


def test_same_intent_twice_in_a_list_is_sent_once(ledger: Ledger, vendor: FakeVendor, make_intent: MakeIntent) -> None:
    first, second = buy(ledger, vendor, make_intent(), make_intent())
    assert first.key == second.key
    assert vendor.posts == 1


@pytest.mark.parametrize(
    ("word", "status"),
    [("refused", S.FAILED), ("unreachable", S.PREPARED), ("throttled", S.PREPARED), ("lost", S.IN_DOUBT)],
)
def test_outcome_of_a_post_is_written_down(
    ledger: Ledger, vendor: FakeVendor, make_intent: MakeIntent, word: str, status: JobStatus
) -> None:
    vendor.script = [word]
    (job,) = buy(ledger, vendor, make_intent())
    assert (job.status, vendor.posts) == (status, 1)


def test_lost_answer_is_adopted_not_repeated(ledger: Ledger, vendor: FakeVendor, make_intent: MakeIntent) -> None:
    vendor.script, vendor.lag_s = ["lost"], SETTLE_S - 1
    (job,) = buy(ledger, vendor, make_intent())
    after = settle(ledger, vendor, job.key)
    assert (after.status, [after.vendor_id], vendor.posts) == (S.QUEUED, vendor.live(job.key), 1)


def test_absence_needs_two_looks_a_settle_time_apart(
    ledger: Ledger, vendor: FakeVendor, make_intent: MakeIntent
) -> None:
    vendor.script = ["dropped"]
    (job,) = buy(ledger, vendor, make_intent())
    submitter = Submitter(ledger)
    for _ in range(3):
        submitter.settle(vendor, [job.key])
    assert reads.job(ledger, job.key).status is S.IN_DOUBT
    pass_time(ledger, vendor, SETTLE_S)
    submitter.settle(vendor, [job.key])
    assert reads.job(ledger, job.key).status is S.PREPARED


def test_one_late_look_is_not_enough(ledger: Ledger, vendor: FakeVendor, make_intent: MakeIntent) -> None:
    vendor.script = ["dropped"]
    (job,) = buy(ledger, vendor, make_intent())
    pass_time(ledger, vendor, 100 * SETTLE_S)
    Submitter(ledger).settle(vendor, [job.key])
    assert reads.job(ledger, job.key).status is S.IN_DOUBT


def test_failed_listing_proves_nothing(ledger: Ledger, vendor: FakeVendor, make_intent: MakeIntent) -> None:
    vendor.script, vendor.is_blind = ["dropped"], True
    (job,) = buy(ledger, vendor, make_intent())
    for _ in range(4):
        settle(ledger, vendor, job.key)
    assert reads.job(ledger, job.key).status is S.IN_DOUBT
    vendor.is_blind = False
    pass_time(ledger, vendor, 3 * SETTLE_S)  # the longer nobody answers, the rarer the question
    assert settle(ledger, vendor, job.key).status is S.PREPARED


def test_several_jobs_of_one_key_leave_the_oldest_and_an_event(
    ledger: Ledger, vendor: FakeVendor, make_intent: MakeIntent
) -> None:
    vendor.script = ["lost"]
    (job,) = buy(ledger, vendor, make_intent())
    extra = vendor.accept(job.key).vendor_id
    after = settle(ledger, vendor, job.key)
    assert after.vendor_id == vendor.bought[0].vendor_id
    assert vendor.live(job.key) == [after.vendor_id]
    assert any(e["kind"] == "extra" and e["detail"]["vendor_id"] == extra for e in reads.history(ledger, job.key))


def test_client_that_repeats_posts_is_looked_after(ledger: Ledger, vendor: FakeVendor, make_intent: MakeIntent) -> None:
    vendor.repeats_posts, vendor.script = True, ["doubled"]
    (job,) = buy(ledger, vendor, make_intent())
    assert len(vendor.bought) == 2
    assert vendor.live(job.key) == [job.vendor_id]


def test_vendor_that_cannot_be_asked_waits_for_a_person(
    ledger: Ledger, vendor: FakeVendor, make_intent: MakeIntent
) -> None:
    vendor.lookup, vendor.script = Lookup.NONE, ["lost"]
    (job,) = buy(ledger, vendor, make_intent())
    poller = Poller(Submitter(ledger), Sole(vendor))
    for _ in range(2):
        with pytest.raises(InDoubt, match="qflows jobs resolve"):
            poller.wait([job.key], timeout=5)
    assert vendor.posts == 1
    claims.resolve_submitted(ledger, job.key, vendor.bought[0].vendor_id)
    assert poller.wait([job.key], timeout=5)[job.key].status is S.COMPLETED


def test_interrupt_during_a_post_is_a_doubt_and_frees_what_was_not_sent(
    ledger: Ledger, vendor: FakeVendor, make_intent: MakeIntent
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    vendor.before_answering = interrupt
    with pytest.raises(KeyboardInterrupt):
        buy(ledger, vendor, *[make_intent(str(n)) for n in range(4)])
    statuses = sorted(job.status for job in reads.listing(ledger))
    assert statuses == [S.IN_DOUBT, S.PREPARED, S.PREPARED, S.PREPARED]
    assert len(buy(ledger, vendor, *[make_intent(str(n)) for n in range(4)])) == 4
    assert len(vendor.bought) == 4


def test_process_stalled_before_the_wire_sends_nothing(
    ledger: Ledger, vendor: FakeVendor, make_intent: MakeIntent, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the first POST of a group takes so long that the others' claims are half over
    submitter = Submitter(ledger, lease_s=100.0)
    since_boot = claims._since_boot
    vendor.before_accepting = lambda: monkeypatch.setattr(claims, "_since_boot", lambda: since_boot() + 51.0)
    first, second = submitter.submit(vendor, [make_intent("slow"), make_intent("next")])
    assert (first.status, second.status, vendor.posts) == (S.QUEUED, S.PREPARED, 1)


def take_over(ledger: Ledger, vendor: FakeVendor) -> Callable[[], None]:
    """What others do while a POST is under way for longer than its lease: expire it and prove the job absent."""

    def run() -> None:
        pass_time(ledger, vendor, 1000)
        (job,) = reads.listing(ledger)
        assert settle(ledger, vendor, job.key).status is S.PREPARED

    return run


def test_answer_that_comes_after_its_absence_was_concluded_is_kept_instead_of_bought_again(
    ledger: Ledger, vendor: FakeVendor, make_intent: MakeIntent
) -> None:
    vendor.before_accepting = take_over(ledger, vendor)
    buy(ledger, vendor, make_intent())
    (job,) = buy(ledger, vendor, make_intent())
    assert (job.status, vendor.live(job.key), vendor.posts) == (S.QUEUED, [job.vendor_id], 1)


def test_answer_that_comes_after_somebody_else_bought_is_cancelled(
    ledger: Ledger, vendor: FakeVendor, make_intent: MakeIntent
) -> None:
    def buy_meanwhile() -> None:
        take_over(ledger, vendor)()
        buy(ledger, vendor, make_intent())

    vendor.before_accepting = buy_meanwhile
    (job,) = buy(ledger, vendor, make_intent())
    assert len(vendor.bought) == 2
    assert vendor.live(job.key) == [job.vendor_id]


def test_answer_that_comes_while_somebody_else_is_buying_is_cancelled_by_them(
    ledger: Ledger, vendor: FakeVendor, make_intent: MakeIntent
) -> None:
    answered, sending = threading.Event(), threading.Event()

    def first_post() -> None:
        take_over(ledger, vendor)()
        vendor.before_answering = second_post
        other.start()
        assert sending.wait(30)

    def second_post() -> None:
        sending.set()
        assert answered.wait(30)

    other = threading.Thread(target=lambda: buy(ledger, vendor, make_intent()))
    vendor.before_accepting = first_post
    buy(ledger, vendor, make_intent())
    answered.set()
    other.join(30)
    (job,) = reads.listing(ledger)
    assert len(vendor.bought) == 2
    assert vendor.live(job.key) == [job.vendor_id]


def test_answer_for_a_job_that_was_cancelled_meanwhile_is_cancelled(
    ledger: Ledger, vendor: FakeVendor, make_intent: MakeIntent
) -> None:
    def cancel() -> None:
        take_over(ledger, vendor)()
        outcomes.request_cancel(ledger, [job.key for job in reads.listing(ledger)])

    vendor.before_accepting = cancel
    (job,) = buy(ledger, vendor, make_intent())
    assert (job.status, vendor.live(job.key)) == (S.CANCELLED, [])


def test_wish_to_cancel_during_a_lost_post_reaches_the_vendor_and_ends_the_wait(
    ledger: Ledger, vendor: FakeVendor, make_intent: MakeIntent
) -> None:
    vendor.script, vendor.is_slow = ["lost"], True
    vendor.before_answering = lambda: outcomes.request_cancel(ledger, [job.key for job in reads.listing(ledger)])
    (job,) = buy(ledger, vendor, make_intent())
    done = Poller(Submitter(ledger, settle_s=0.0), Sole(vendor)).wait([job.key], timeout=20)
    assert (done[job.key].status, vendor.live(job.key)) == (S.CANCELLED, [])


def test_wish_to_cancel_during_a_dropped_post_ends_the_wait(
    ledger: Ledger, vendor: FakeVendor, make_intent: MakeIntent
) -> None:
    vendor.script = ["dropped"]
    vendor.before_accepting = lambda: outcomes.request_cancel(ledger, [job.key for job in reads.listing(ledger)])
    (job,) = buy(ledger, vendor, make_intent())
    done = Poller(Submitter(ledger, settle_s=0.0), Sole(vendor)).wait([job.key], timeout=20)
    assert (done[job.key].status, vendor.posts) == (S.CANCELLED, 1)


def test_rejected_program_leaves_no_trace(ledger: Ledger, make_intent: MakeIntent) -> None:
    class Strict(FakeVendor):
        def check(self, spec: JobSpec) -> None:
            if spec.label == "bad":
                raise ProgramRejected("too wide")

    vendor = Strict()
    with pytest.raises(ProgramRejected):
        buy(ledger, vendor, make_intent("good"), make_intent("bad"))
    assert (vendor.posts, reads.listing(ledger)) == (0, [])


def test_ledger_that_fails_after_acceptance_says_who_has_the_job_and_loses_nothing(
    sqlite_ledger: Ledger, vendor: FakeVendor, make_intent: MakeIntent
) -> None:
    def break_ledger() -> None:
        with sqlite_ledger.engine.connect() as connection:
            connection.exec_driver_sql("alter table jobs rename to hidden")
            connection.commit()

    vendor.before_answering = break_ledger
    with pytest.raises(LedgerUnavailable) as caught:
        buy(sqlite_ledger, vendor, make_intent())
    assert vendor.bought[0].vendor_id in str(caught.value)
    assert "Nothing was sent" not in str(caught.value)
    with sqlite_ledger.engine.connect() as connection:
        connection.exec_driver_sql("alter table hidden rename to jobs")
        connection.commit()
    pass_time(sqlite_ledger, vendor, 1000)
    assert settle(sqlite_ledger, vendor, vendor.bought[0].key).vendor_id == vendor.bought[0].vendor_id


def test_sixteen_threads_on_twenty_five_keys_send_twenty_five_requests(
    ledger: Ledger, vendor: FakeVendor, make_intent: MakeIntent
) -> None:
    def race(number: int) -> set[str]:
        wanted = [make_intent(str(n), attempt=f"attempt-{number % 4}") for n in range(25)]
        return {job.key for job in buy(ledger, vendor, *wanted[:: 1 if number % 2 else -1])}

    with ThreadPoolExecutor(16) as pool:
        keys = set().union(*pool.map(race, range(16)))
    assert (len(keys), vendor.posts, len(vendor.bought)) == (25, 25, 25)


def test_twins_with_different_attempts_join_the_same_jobs_and_both_get_the_results(
    ledger: Ledger, vendor: FakeVendor, make_intent: MakeIntent
) -> None:
    def twin(attempt: str) -> dict[str, Job]:
        wanted = [make_intent(str(n), attempt=attempt, holder=f"{attempt}:{n}") for n in range(5)]
        submitter = Submitter(ledger)
        keys = [job.key for job in submitter.submit(vendor, wanted)]
        return Poller(submitter, Sole(vendor)).wait(keys, timeout=30)

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(twin, ["attempt-1", "attempt-2"])
    assert one.keys() == other.keys()
    assert {job.status for job in [*one.values(), *other.values()]} == {S.COMPLETED}
    assert vendor.posts == 5


@pytest.mark.parametrize(("n", "workers"), [(200, 8), (200, 12), (37, 8), (1000, 4), (5, 8), (25, 1)])
def test_parts_of_a_list_become_smaller_so_that_workers_end_together(ledger: Ledger, n: int, workers: int) -> None:
    batch: list[Any] = list(range(n))
    parts = Submitter(ledger, workers=workers)._parts(FakeVendor(), batch)
    sizes = [len(part) for part in parts]
    assert [one for part in parts for one in part] == batch
    assert max(sizes) <= 10
    if workers > 1:
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[-workers:] == [1] * min(workers, len(sizes))
