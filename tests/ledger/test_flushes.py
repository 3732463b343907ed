"""Which commits wait for the disk: all that a purchase depends on, and none that can be had again. And a full disk."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fake_vendor import FakeVendor
from sqlalchemy import event

from qflows.core.devices import Sole
from qflows.core.poller import Poller
from qflows.core.submit import Submitter
from qflows.errors import LedgerUnavailable
from qflows.ledger import Ledger, lanes, raws, reads
from qflows.ledger.intents import Intent, Want
from qflows.programs import to_program
from qflows.protocol import JobSpec, RawAnswer
from qflows.states import JobStatus

BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'


class Commits:
    """For every commit of a write, whether it waits for the disk."""

    def __init__(self, ledger: Ledger) -> None:
        self.waits: list[bool] = []
        self._engine = ledger.engine
        event.listen(self._engine, "commit", self._note)

    def _note(self, connection: sa.Connection) -> None:
        if not connection.get_execution_options().get("ledger_write"):
            return
        driver: Any = connection.connection.driver_connection
        if connection.dialect.name == "sqlite":
            self.waits.append(driver.execute("pragma synchronous").fetchone()[0] == 2)
        else:
            self.waits.append(driver.execute("show synchronous_commit").fetchone()[0] != "off")

    def take(self) -> list[bool]:
        """Those since the last time."""
        taken, self.waits = self.waits, []
        return taken


@pytest.fixture
def commits(ledger: Ledger) -> Iterator[Commits]:
    noted = Commits(ledger)
    yield noted
    event.remove(ledger.engine, "commit", noted._note)


def intent(n: int = 0) -> Intent:
    spec = JobSpec("acme", "sim", (to_program(BELL),), 10 + n)
    return Intent(spec, Want("run", "attempt", f"holder:{n}"), "acme:sim", "acct")


def test_purchase_is_on_the_disk_before_the_wire_and_its_id_after_the_answer(ledger: Ledger, commits: Commits) -> None:
    vendor = FakeVendor()
    before: list[bool] = []
    vendor.before_accepting = lambda: before.extend(commits.take())
    (job,) = Submitter(ledger).submit(vendor, [intent()])
    assert before
    assert all(before)
    after = commits.take()
    assert after
    assert all(after)
    assert job.status is JobStatus.QUEUED
    vendor.script = ["lost"]
    (doubt,) = Submitter(ledger).submit(vendor, [intent(1)])
    assert (doubt.status, set(commits.take())) == (JobStatus.IN_DOUBT, {True})


@pytest.mark.parametrize("is_only_copy", [False, True])
def test_answer_waits_for_the_disk_only_where_it_is_the_only_copy(
    ledger: Ledger, commits: Commits, is_only_copy: bool
) -> None:
    (job,) = Submitter(ledger).submit(FakeVendor(), [intent()])
    commits.take()
    raws.keep(ledger, {job.key: RawAnswer({"a": b"{}"}, is_only_copy=is_only_copy)}, versions={})
    assert commits.take() == [is_only_copy]
    again = RawAnswer({"a": b"{}"}, is_only_copy=True)
    raws.keep(ledger, {job.key: RawAnswer({"a": b"1"}), "0" * 64: again} if False else {job.key: again}, versions={})
    assert commits.take() == [True]


def test_counts_wait_for_the_disk_and_who_polls_does_not(ledger: Ledger, commits: Commits) -> None:
    vendor = FakeVendor()
    submitter = Submitter(ledger)
    (job,) = submitter.submit(vendor, [intent()])
    lanes.acquire(ledger, "other", "a", holder="h", lease_s=1)  # the lane's row is made once, durably
    commits.take()
    lane = lanes.acquire(ledger, "other", "a", holder="h", lease_s=1)
    assert isinstance(lane, lanes.Lane)
    lanes.release(ledger, lane, next_in_s=0, interval_s=0)
    assert commits.take() == [False, False]
    assert Poller(submitter, Sole(vendor)).wait([job.key], timeout=20)[job.key].status is JobStatus.COMPLETED
    waits = commits.take()
    assert True in waits  # counts and COMPLETED
    assert False in waits  # lane and raw answer


def test_answer_that_was_not_flushed_is_fetched_again(ledger: Ledger) -> None:
    """As after a power cut: the transaction of the raw answer is gone, and so is everything after it."""
    vendor = FakeVendor()
    submitter = Submitter(ledger)
    (job,) = submitter.submit(vendor, [intent()])
    raws.keep(ledger, {job.key: RawAnswer({"answer": b"{}"})}, versions={})
    with ledger.write() as connection:
        connection.exec_driver_sql("delete from raw_answers")
    done = Poller(submitter, Sole(vendor)).wait([job.key], timeout=20)[job.key]
    assert (done.status, set(raws.of(ledger, [job.key])), vendor.posts) == (JobStatus.COMPLETED, {job.key}, 1)


@contextmanager
def no_room(path: Path) -> Iterator[None]:
    """Files of this process cannot grow, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = max((one.stat().st_size for one in path.parent.glob(path.name + "*-wal")), default=0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (min(size, 4096), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("moment", ["before the purchase", "after it was accepted"])
def test_full_disk_in_the_middle_of_a_purchase_buys_once(tmp_path: Path, moment: str) -> None:
    path = tmp_path / "ledger.db"
    ledger = Ledger.open(f"sqlite:///{path}")
    vendor = FakeVendor()
    submitter = Submitter(ledger, lease_s=0.4, settle_s=0.01)
    if moment == "before the purchase":
        with no_room(path), pytest.raises(LedgerUnavailable, match="Nothing was sent"):
            submitter.submit(vendor, [intent()])
        assert vendor.posts == 0
    else:
        full = no_room(path)
        vendor.before_answering = full.__enter__
        try:
            with pytest.raises(LedgerUnavailable, match=r"took job .* as acme-0001, which could not be recorded"):
                submitter.submit(vendor, [intent()])
        finally:
            full.__exit__(None, None, None)
        assert vendor.posts == 1
    (job,) = submitter.submit(vendor, [intent()])
    done = Poller(submitter, Sole(vendor)).wait([job.key], timeout=20)[job.key]
    assert (done.status, vendor.posts, len(vendor.live(job.key))) == (JobStatus.COMPLETED, 1, 1)
    assert reads.job(ledger, job.key).vendor_id == "acme-0001"
    ledger.close()
