"""An interrupt in the very moment of a commit, before it or after it, leaves no lease that others must wait for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fake_vendor import FakeVendor
from interrupting import InterruptAt
from sqlalchemy import event

from qflows.core.devices import Sole
from qflows.core.poller import Poller
from qflows.core.submit import Submitter
from qflows.ledger import Ledger, lanes, reads
from qflows.ledger.intents import Intent, Want
from qflows.ledger.tables import jobs as jobs_table
from qflows.ledger.tables import lanes as lanes_table
from qflows.programs import to_program
from qflows.protocol import JobSpec, Lookup, RawAnswer
from qflows.states import JobStatus

BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'


def intent(run_key: str = "run", *, shots: int = 10) -> Intent:
    spec = JobSpec("acme", "sim", (to_program(BELL),), shots)
    return Intent(spec, Want(run_key, "attempt", "holder:0"), "acme:sim", "acct")


class Terminated(BaseException):
    """As Prefect's own exception for SIGTERM: no Exception."""


@contextmanager
def interrupted(
    ledger: Ledger, where: Callable[[str], bool], *, is_committed: bool, with_: type[BaseException] = KeyboardInterrupt
) -> Iterator[list[str]]:
    """Raise once in the commit of the transaction with a statement for which `where` holds."""
    seen: list[str] = []
    hit: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if connection.get_execution_options().get("ledger_write"):
            seen.append(statement)

    def commit(connection: sa.Connection) -> None:
        statements, seen[:] = list(seen), []
        found = next(filter(where, statements), None)
        if found is None or hit:
            return
        hit.append(found)
        if is_committed:
            driver: Any = connection.connection.driver_connection
            driver.execute("commit")
        raise with_

    event.listen(ledger.engine, "before_cursor_execute", note)
    event.listen(ledger.engine, "commit", commit)
    try:
        yield hit
    finally:
        event.remove(ledger.engine, "before_cursor_execute", note)
        event.remove(ledger.engine, "commit", commit)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, Terminated])
@pytest.mark.parametrize("is_committed", [False, True])
@pytest.mark.parametrize("lookup", [Lookup.SCAN, Lookup.NONE])
def test_id_is_recorded_though_its_recording_was_interrupted(
    ledger: Ledger, is_committed: bool, kind: type[BaseException], lookup: Lookup
) -> None:
    vendor = FakeVendor(lookup=lookup)
    submitter = Submitter(ledger)
    with (
        interrupted(ledger, lambda sql: "vendor_id=" in sql, is_committed=is_committed, with_=kind) as hit,
        pytest.raises(kind),
    ):
        submitter.submit(vendor, [intent()])
    assert len(hit) == 1
    with ledger.read() as connection:
        row = connection.execute(sa.select(jobs_table)).one()
    assert (row.status, row.vendor_id, row.lease_until) == (JobStatus.QUEUED.value, "acme-0001", None)
    (job,) = submitter.submit(vendor, [intent()])
    done = Poller(submitter, Sole(vendor)).wait([job.key], timeout=20)[job.key]
    assert (done.status, done.vendor_id, vendor.posts) == (JobStatus.COMPLETED, "acme-0001", 1)
    kinds = [one["kind"] for one in reads.history(ledger, job.key)]
    assert "late-answer" not in kinds


@pytest.mark.parametrize("kind", [KeyboardInterrupt, Terminated])
@pytest.mark.parametrize("is_committed", [False, True])
def test_lane_is_given_back_though_its_taking_was_interrupted(
    ledger: Ledger, is_committed: bool, kind: type[BaseException]
) -> None:
    vendor = FakeVendor()
    submitter = Submitter(ledger)
    (job,) = submitter.submit(vendor, [intent()])
    poller = Poller(submitter, Sole(vendor))

    def takes(sql: str) -> bool:
        return sql.startswith("UPDATE lanes SET holder=")

    with interrupted(ledger, takes, is_committed=is_committed, with_=kind) as hit, pytest.raises(kind):
        poller.wait([job.key], timeout=20)
    assert len(hit) == 1
    taken = lanes.acquire(ledger, vendor.name, vendor.account, holder=lanes.holder_name("next"), lease_s=60)
    assert isinstance(taken, lanes.Lane)


@pytest.mark.parametrize("is_committed", [False, True])
def test_lane_is_given_back_though_its_return_was_interrupted(ledger: Ledger, is_committed: bool) -> None:
    vendor = FakeVendor()
    submitter = Submitter(ledger)
    (job,) = submitter.submit(vendor, [intent()])

    def ends(sql: str) -> bool:
        return sql.startswith("UPDATE lanes SET lease_until=")

    with interrupted(ledger, ends, is_committed=is_committed), pytest.raises(KeyboardInterrupt):
        Poller(submitter, Sole(vendor)).wait([job.key], timeout=20)
    with ledger.read() as connection:
        assert connection.execute(sa.select(lanes_table.c.lease_until)).scalar() == 0
    done = Poller(submitter, Sole(vendor)).wait([job.key], timeout=20)[job.key]
    assert (done.status, vendor.posts) == (JobStatus.COMPLETED, 1)


@pytest.mark.slow(reason="a submission is interrupted at some hundred lines")
@pytest.mark.parametrize("n_jobs", [1, 3])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::sqlalchemy.exc.SAWarning")
def test_submission_can_be_interrupted_at_any_line(ledger: Ledger, n_jobs: int) -> None:
    """No claim is left that others must wait for, and the next call buys what is missing and nothing twice."""
    vendor = FakeVendor()
    submitter = Submitter(ledger, workers=1)
    step = 5 * n_jobs if ledger.engine.dialect.name == "sqlite" else 17 * n_jobs
    at = 1 - step
    keys: dict[str, str] = {}
    interrupt = None
    while interrupt is None or interrupt.where:
        at += step
        wanted = [intent(f"run {at}", shots=10 + n) for n in range(n_jobs)]
        interrupt = InterruptAt(at, ["/qflows/"])
        with suppress(KeyboardInterrupt), interrupt:
            submitter.submit(vendor, wanted)
        with ledger.read() as connection:
            sending = jobs_table.c.status == JobStatus.SUBMITTING.value
            assert not connection.execute(sa.select(jobs_table.c.key).where(sending)).all(), interrupt.where
        keys |= {job.key: interrupt.where for job in submitter.submit(vendor, wanted)}
    done = Poller(submitter, Sole(vendor)).wait(keys, timeout=60)
    assert not {keys[key]: job.status for key, job in done.items() if job.status is not JobStatus.COMPLETED}
    assert not {keys[job.key] for job in vendor.bought if len(vendor.live(job.key)) != 1}
    assert len(vendor.bought) == len(keys)
    assert at > 100  # lines that a submission runs through


class GivenOnce(FakeVendor):
    """Every answer can be had once."""

    is_decoded: Callable[[str], None] | None = None

    def fetch(self, vendor_id: str, spec: JobSpec) -> RawAnswer:
        answer = super().fetch(vendor_id, spec)
        if vendor_id in self.spoilt:
            raise FileNotFoundError(vendor_id)
        self.spoilt[vendor_id] = b""
        return RawAnswer(answer.documents, is_only_copy=True)

    def decode(self, raw: RawAnswer, spec: JobSpec, key: str) -> Any:
        if self.is_decoded is not None:
            hook, self.is_decoded = self.is_decoded, None
            hook(key)
        return super().decode(raw, spec, key)


def test_answer_that_is_given_once_survives_an_interrupt_of_its_decoding(ledger: Ledger) -> None:
    vendor = GivenOnce()
    submitter = Submitter(ledger)
    (job,) = submitter.submit(vendor, [intent()])

    def stop(_: str) -> None:
        raise KeyboardInterrupt

    vendor.is_decoded = stop
    with pytest.raises(KeyboardInterrupt):
        Poller(submitter, Sole(vendor)).wait([job.key], timeout=20)
    done = Poller(submitter, Sole(vendor)).wait([job.key], timeout=20)[job.key]
    assert (done.status, vendor.posts) == (JobStatus.COMPLETED, 1)


def test_interrupt_of_a_commit_that_does_not_wait_for_the_disk_leaves_later_commits_durable(
    sqlite_ledger: Ledger,
) -> None:
    lanes.note_lag(sqlite_ledger, "acme", "a", 1.0)  # makes the lane
    with interrupted(sqlite_ledger, lambda sql: True, is_committed=False), pytest.raises(KeyboardInterrupt):
        lanes.acquire(sqlite_ledger, "acme", "a", holder=lanes.holder_name("w"), lease_s=60)
    for _ in range(3):
        with sqlite_ledger.write() as connection:
            driver: Any = connection.connection.driver_connection
            assert driver.execute("pragma synchronous").fetchone()[0] == 2


def test_connection_that_was_interrupted_keeps_no_lock_while_its_cursor_lives(tmp_path: Path) -> None:
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}", busy_s=0.2)
    kept: list[Any] = []  # what a traceback in a notebook keeps

    def interrupted() -> None:
        with ledger.write() as connection:
            kept.append(connection.connection.driver_connection.execute("select 1 union select 2"))
            connection.invalidate(KeyboardInterrupt())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with ledger.write() as connection:  # locked, if the closed connection were still in its transaction
        connection.execute(sa.text("delete from lanes"))
    ledger.close()


def test_connection_is_not_used_again_after_an_interrupt_of_a_statement_that_returns_rows(
    sqlite_ledger: Ledger,
) -> None:
    kept: list[Any] = []  # what a traceback in a notebook keeps

    def interrupted() -> None:
        with sqlite_ledger.write() as connection:
            driver: Any = connection.connection.driver_connection
            two_rows = "('2026', 'a', 'x', '{}'), ('2026', 'b', 'x', '{}')"
            statement = f"insert into events (at, subject, kind, detail) values {two_rows} returning subject"
            kept.append(driver.execute(statement))
            assert kept[0].fetchone() == ("a",)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    for _ in range(3):  # "SQL statements in progress", if it were
        with sqlite_ledger.write() as connection:
            sqlite_ledger.record_event(connection, "tried", "next")
