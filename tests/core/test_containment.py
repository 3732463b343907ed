"""What a vendor, its library or its answer does to one job stays with that job; a person can always end it."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from qflows.core.devices import Sole
from qflows.core.poller import Poller
from qflows.core.submit import Submitter
from qflows.errors import IllegalTransition, InDoubt, OtherAccount, ResultsHeld, Unreadable, WaitTimeout
from qflows.ledger import Ledger, claims, raws, reads
from qflows.ledger.intents import Intent, Want
from qflows.model import Job
from qflows.programs import to_program
from qflows.protocol import JobSpec, Lookup, Observation, Phase, Provider
from qflows.states import JobStatus

_spec = importlib.util.spec_from_file_location(
    "fake_vendor_for_containment", Path(__file__).parents[1] / "ledger" / "fake_vendor.py"
)
assert _spec is not None
assert _spec.loader is not None
fakes = importlib.util.module_from_spec(_spec)
__import__("sys").modules[_spec.name] = fakes
_spec.loader.exec_module(fakes)

BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'
GOOD = 20
GARBAGE: dict[str, bytes] = {
    "empty": b"",
    "cut off": b'{"001": 1',
    "null": b"null",
    "a list": b"[1, 2]",
    "a number": b"7",
    "a text": b'"counts"',
    "true": b"true",
    "nested counts": b'{"001": {"n": 1}}',
    "text for a count": b'{"001": "many"}',
    "null for a count": b'{"001": null}',
    "a list for a count": b'{"001": [1]}',
    "html": b"<html><body>502 Bad Gateway</body></html>",
    "not utf-8": b"\xff\xfe\x00{",
    "a zero byte": b"\x00",
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 50_000,
    "utf-32": "{".encode("utf-32"),
    "two answers": b"{} {}",
    "a comment": b"{} // done",
    "single quotes": b"{'001': 1}",
    "trailing comma": b'{"001": 1,}',
    "only spaces": b"   ",
    "yaml": b"001: 1",
    "xml": b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>",
    "a pickle": b"\x80\x04\x95\x00",
    "gzip": b"\x1f\x8b\x08\x00",
    "an escape": b'"\\u00"',
    "a long number of digits": b"9" * 10_000,
    "false for a count, nested": b'{"001": [[]]}',
    "an object for a list": b'{"001": {}}',
}


@pytest.fixture
def vendor() -> Any:
    return fakes.FakeVendor()


def intent(n: int, provider: Any, run: str = "run") -> Intent:
    spec = JobSpec(provider.name, "sim", (to_program(BELL),), 10 + n)
    return Intent(spec, Want(run, "attempt", f"holder:{n}"), "acme:sim", provider.account)


def bought(ledger: Ledger, provider: Any, n: int = 1) -> list[Job]:
    return Submitter(ledger).submit(provider, [intent(i, provider) for i in range(n)])


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_instead_of_one_answer_holds_one_job_and_no_other(
    sqlite_ledger: Ledger, vendor: Any, kind: str
) -> None:
    jobs = bought(sqlite_ledger, vendor, GOOD + 1)
    bad = jobs[7]
    vendor.spoilt[bad.vendor_id] = GARBAGE[kind]
    with pytest.raises(ResultsHeld) as caught:
        Poller(Submitter(sqlite_ledger), Sole(vendor)).wait([job.key for job in jobs], timeout=20)
    assert caught.value.pending == (bad.key,)
    after = reads.by_keys(sqlite_ledger, [job.key for job in jobs])
    assert sum(job.status is JobStatus.COMPLETED for job in after.values()) == GOOD
    assert (after[bad.key].is_held, after[bad.key].bad_reads) == (True, 3)
    assert raws.of(sqlite_ledger, [bad.key])[bad.key].documents["answer"] == GARBAGE[kind]
    assert any(event["kind"] == "unreadable-result" for event in reads.history(sqlite_ledger, bad.key))


def test_whoever_waits_again_has_the_vendor_asked_again(sqlite_ledger: Ledger, vendor: Any) -> None:
    (job,) = bought(sqlite_ledger, vendor)
    vendor.spoilt[job.vendor_id] = b"'single': 1"
    poller = Poller(Submitter(sqlite_ledger), Sole(vendor))
    with pytest.raises(ResultsHeld):
        poller.wait([job.key], timeout=20)
    vendor.spoilt.clear()
    assert poller.wait([job.key], timeout=20)[job.key].status is JobStatus.COMPLETED
    kinds = [event["kind"] for event in reads.history(sqlite_ledger, job.key)]
    assert (kinds.count("unreadable-result"), kinds.count("answer-changed")) == (3, 1)


class Spoiler(fakes.FakeVendor):  # type: ignore[name-defined,misc]
    """Its status list cannot be read while one of these ids is in it."""

    bad: tuple[str, ...] = ()
    asked = 0

    def poll(self, vendor_ids: Sequence[str]) -> Mapping[str, Observation]:
        self.asked += 1
        if set(self.bad) & set(vendor_ids):
            raise TypeError("'NoneType' object is not subscriptable")
        return super().poll(vendor_ids)


@pytest.mark.parametrize("n_bad", [1, 3])
def test_a_job_that_spoils_the_status_list_does_not_stop_the_others(sqlite_ledger: Ledger, n_bad: int) -> None:
    vendor = Spoiler()
    jobs = bought(sqlite_ledger, vendor, GOOD + n_bad)
    vendor.bad = tuple(str(job.vendor_id) for job in jobs[5 : 5 + n_bad])
    with pytest.raises(ResultsHeld, match="not subscriptable") as caught:
        Poller(Submitter(sqlite_ledger), Sole(vendor)).wait([job.key for job in jobs], timeout=20)
    assert set(caught.value.pending or ()) == {job.key for job in jobs[5 : 5 + n_bad]}


def test_a_list_that_can_never_be_read_raises_its_own_error_and_asks_a_bounded_number_of_times(
    sqlite_ledger: Ledger,
) -> None:
    vendor = Spoiler()
    jobs = bought(sqlite_ledger, vendor, 40)
    vendor.bad = tuple(str(job.vendor_id) for job in jobs)
    with pytest.raises(Unreadable, match="not subscriptable"):
        Poller(Submitter(sqlite_ledger), Sole(vendor)).wait([job.key for job in jobs], timeout=20)
    assert vendor.asked < 3 * 70
    assert {job.status for job in reads.all_live(sqlite_ledger)} == {JobStatus.QUEUED}


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), KeyError("get_ipython"), RecursionError(), OverflowError(), AttributeError("a"), TypeError("t"),
     Unreadable("no target"), MemoryError()],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_what_fails_before_the_wire_leaves_no_doubt(sqlite_ledger: Ledger, vendor: Any, error: Exception) -> None:
    vendor.cannot_prepare = error
    (job,) = bought(sqlite_ledger, vendor)
    assert (job.status, job.error_kind, vendor.posts, job.sends) == (JobStatus.FAILED, "refused", 0, 0)
    assert "nothing was sent" in (job.error_message or "")


class Two:
    """Two vendors; one of them raises whatever it is asked."""

    def __init__(self, good: Any, bad: Any) -> None:
        self.good, self.bad = good, bad

    def of(self, job: Job) -> Provider:
        return self.bad if job.provider == "broken" else self.good


class Broken(fakes.FakeVendor):  # type: ignore[name-defined,misc]
    name = "broken"
    is_broken = False

    def poll(self, vendor_ids: Sequence[str]) -> Mapping[str, Observation]:
        if self.is_broken:
            raise AttributeError("'str' object has no attribute 'get'")
        return {one: Observation(Phase.QUEUED, "queued") for one in vendor_ids}


def test_a_vendor_that_raises_everything_costs_the_others_nothing(sqlite_ledger: Ledger, vendor: Any) -> None:
    broken = Broken()
    theirs = bought(sqlite_ledger, broken, 2)
    broken.is_broken = True
    ours = bought(sqlite_ledger, vendor, 5)
    poller = Poller(Submitter(sqlite_ledger), Two(vendor, broken))
    with pytest.raises(Unreadable, match="broken cannot be polled: AttributeError"):
        poller.wait([job.key for job in theirs + ours], timeout=20)
    after = reads.by_keys(sqlite_ledger, [job.key for job in theirs + ours])
    assert {after[job.key].status for job in ours} == {JobStatus.COMPLETED}
    assert {after[job.key].status for job in theirs} == {JobStatus.QUEUED}


def test_a_job_of_another_account_is_left_alone_and_told_at_once(sqlite_ledger: Ledger, vendor: Any) -> None:
    (job,) = bought(sqlite_ledger, vendor)
    other = fakes.FakeVendor()
    other.account = "another"
    with pytest.raises(OtherAccount, match="nothing was done") as caught:
        Poller(Submitter(sqlite_ledger), Sole(other)).wait([job.key], timeout=60)
    assert caught.value.pending == (job.key,)
    assert reads.job(sqlite_ledger, job.key) == job


def lost(n: int) -> list[str]:
    return ["lost"] * n


def test_a_job_that_is_accepted_unseen_again_and_again_is_bought_twice_at_most(
    sqlite_ledger: Ledger, vendor: Any
) -> None:
    vendor.script, vendor.lag_s = lost(50), 1e9
    (job,) = bought(sqlite_ledger, vendor)
    poller = Poller(Submitter(sqlite_ledger, settle_s=0.02), Sole(vendor))
    with pytest.raises(InDoubt, match=r"resolve .* --submitted ID` or `--absent"):
        poller.wait([job.key], timeout=60)
    assert vendor.posts == 2
    with pytest.raises(InDoubt):  # asking again sends nothing
        poller.wait([job.key], timeout=60)
    assert vendor.posts == 2
    claims.resolve_absent(sqlite_ledger, job.key)
    vendor.script = []
    assert poller.wait([job.key], timeout=20)[job.key].status is JobStatus.COMPLETED
    assert vendor.posts == 3


def test_refusals_are_repeated_with_growing_pauses(sqlite_ledger: Ledger, vendor: Any) -> None:
    vendor.script = ["unreachable"] * 1000
    (job,) = bought(sqlite_ledger, vendor)
    submitter = Submitter(sqlite_ledger)
    unsent = []
    for _ in range(6):
        with sqlite_ledger.write() as connection:
            unsent.append(connection.exec_driver_sql("select unsent from jobs").scalar())
            connection.exec_driver_sql("update jobs set send_after = null")
        submitter.send(vendor, [reads.job(sqlite_ledger, job.key)])
    assert unsent == [1, 2, 3, 4, 5, 6]  # doublings of the pause
    assert (vendor.posts, reads.job(sqlite_ledger, job.key).sends) == (7, 0)


def test_a_learned_lag_makes_absence_count_later(sqlite_ledger: Ledger, vendor: Any) -> None:
    from qflows.ledger import lanes

    submitter = Submitter(sqlite_ledger, settle_s=0.1)
    assert submitter.settle_time_s(vendor) == 0.1
    lanes.note_lag(sqlite_ledger, vendor.name, vendor.account, 40.0)
    lanes.note_lag(sqlite_ledger, vendor.name, vendor.account, 7.0)
    assert submitter.settle_time_s(vendor) == 80.0


def test_a_job_that_vanished_goes_on_when_the_vendor_shows_it_again(sqlite_ledger: Ledger, vendor: Any) -> None:
    (job,) = bought(sqlite_ledger, vendor)
    with sqlite_ledger.write() as connection:
        connection.exec_driver_sql(
            "update jobs set status = 'FAILED', error_kind = 'failed', error_code = 'vanished', "
            "finished_at = created_at"
        )
    poller = Poller(Submitter(sqlite_ledger), Sole(vendor))
    assert poller.wait([job.key], timeout=20)[job.key].status is JobStatus.COMPLETED
    assert [e["kind"] for e in reads.history(sqlite_ledger, job.key)].count("revived") == 1


def test_a_person_can_revoke_an_end_that_was_only_concluded(sqlite_ledger: Ledger, vendor: Any) -> None:
    (job,) = bought(sqlite_ledger, vendor)
    claims.abandon(sqlite_ledger, job.key, reason="the account is closed")
    after = reads.job(sqlite_ledger, job.key)
    assert (after.status, after.vendor_id, after.error_code) == (JobStatus.FAILED, job.vendor_id, "abandoned")
    assert "the account is closed" in (after.error_message or "")
    claims.resolve_submitted(sqlite_ledger, job.key, str(job.vendor_id))
    assert (
        Poller(Submitter(sqlite_ledger), Sole(vendor)).wait([job.key], timeout=20)[job.key].vendor_id == job.vendor_id
    )
    with pytest.raises(IllegalTransition):
        claims.abandon(sqlite_ledger, job.key, reason="too late")


@pytest.mark.parametrize("lookup", [Lookup.SCAN, Lookup.NONE])
def test_a_doubt_can_be_abandoned(sqlite_ledger: Ledger, vendor: Any, lookup: Lookup) -> None:
    vendor.lookup, vendor.script = lookup, ["dropped"]
    (job,) = bought(sqlite_ledger, vendor)
    assert job.status is JobStatus.IN_DOUBT
    claims.abandon(sqlite_ledger, job.key, reason="enough")
    assert reads.job(sqlite_ledger, job.key).status is JobStatus.FAILED


def test_a_doubt_that_is_found_at_its_second_look_teaches_nothing(sqlite_ledger: Ledger, vendor: Any) -> None:
    vendor.script = ["lost"]
    (job,) = bought(sqlite_ledger, vendor)
    submitter = Submitter(sqlite_ledger, settle_s=0.2)
    vendor.is_blind = False
    vendor.bought[0].listed_at = 1.0
    submitter.settle(vendor, [job.key])
    vendor.now = 2.0
    assert Poller(submitter, Sole(vendor)).wait([job.key], timeout=20)[job.key].status is JobStatus.COMPLETED
    assert submitter.settle_time_s(vendor) == 0.2


def test_an_extra_that_shows_up_after_a_second_purchase_doubles_the_settle_time(
    sqlite_ledger: Ledger, vendor: Any
) -> None:
    vendor.script, vendor.lag_s = ["lost", "lost"], 1.0
    (job,) = bought(sqlite_ledger, vendor)
    submitter = Submitter(sqlite_ledger, settle_s=0.05, max_sends=5)
    poller = Poller(submitter, Sole(vendor))
    with pytest.raises(WaitTimeout):
        poller.wait_until([job.key], lambda one: one.sends >= 2, timeout=0)
    poller.wait_until([job.key], lambda one: one.sends >= 2, timeout=20)
    vendor.now = 2.0  # both are listed now
    assert poller.wait([job.key], timeout=20)[job.key].status is JobStatus.COMPLETED
    assert len(vendor.live(job.key)) == 1
    assert submitter.settle_time_s(vendor) == pytest.approx(0.1)
