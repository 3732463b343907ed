"""How many transactions a job takes at every vendor, and that a lease is written wherever a lane has other pollers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from qiskit import QuantumCircuit
from sqlalchemy import event

from qflows.core.client import Client
from qflows.core.fetching import _parts
from qflows.core.scope import Scope
from qflows.ledger import lanes, raws, reads
from qflows.ledger.tables import lanes as lanes_table
from qflows.model import Job
from qflows.sandbox import Sandbox
from qflows.settings import Settings
from qflows.states import JobStatus

DEVICES = {
    "ibm": "ibm:ibm_kingston", "braket": "braket-sv1", "ionq": "ionq-simulator", "qbraid": "qbraid-qir-sv",
}  # fmt: skip
BELL = QuantumCircuit(2, 2)
BELL.h(0)
BELL.cx(0, 1)
BELL.measure([0, 1], [0, 1])


@dataclass
class Writes:
    """The statements of each transaction that was committed, and whether the disk was waited for."""

    done: list[tuple[list[str], bool]] = field(default_factory=list)
    _open: dict[int, list[str]] = field(default_factory=dict)

    def statement(self, connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if connection.get_execution_options().get("ledger_write") and not statement.startswith("begin"):
            self._open.setdefault(id(connection), []).append(statement)

    def commit(self, connection: sa.Connection) -> None:
        if connection.get_execution_options().get("ledger_write"):
            driver: Any = connection.connection.driver_connection
            waits = driver.execute("pragma synchronous").fetchone()[0] == 2
            self.done.append((self._open.pop(id(connection), []), waits))

    def rollback(self, connection: sa.Connection) -> None:
        self._open.pop(id(connection), None)

    def take(self) -> list[tuple[list[str], bool]]:
        """Those since the last time."""
        taken, self.done = self.done, []
        return taken


@contextmanager
def watched(core: Client) -> Iterator[Writes]:
    writes = Writes()
    engine = core.ledger.engine
    hooks = {"before_cursor_execute": writes.statement, "commit": writes.commit, "rollback": writes.rollback}
    for name, hook in hooks.items():
        event.listen(engine, name, hook)
    yield writes
    for name, hook in hooks.items():
        event.remove(engine, name, hook)


@pytest.fixture(scope="module")
def vendors() -> Iterator[Sandbox]:
    with Sandbox(vendors=tuple(DEVICES)) as every:
        yield every


@pytest.fixture
def sandbox(vendors: Sandbox) -> Sandbox:
    vendors.admin.reset()
    vendors.admin.clock("instant")
    return vendors


@pytest.fixture
def core(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    for name, value in sandbox.env.items():
        monkeypatch.setenv(name, value)
    made = Client(Settings(home=tmp_path, poll_min_s=0.01))
    yield made
    made.ledger.close()


def job_in(core: Client, run: str, device: str) -> Job:
    return core.submit_one(BELL, Scope(run, "a", "f"), device=device, shots=10)


def leases(transactions: list[tuple[list[str], bool]]) -> int:
    """How many transactions do nothing but take the lane."""
    return sum(
        len(statements) == 1 and statements[0].startswith("UPDATE lanes SET holder=") for statements, _ in transactions
    )


@pytest.mark.parametrize("vendor", DEVICES)
def test_job_in_turn_takes_three_durable_transactions(vendor: str, core: Client) -> None:
    for i in range(2):  # makes the lane, learns facts of the device
        core.wait([job_in(core, f"warm{i}", DEVICES[vendor]).key], timeout=30)
    with watched(core) as writes:
        taken = []
        for i in range(4):
            core.wait([job_in(core, f"job{i}", DEVICES[vendor]).key], timeout=30)
            taken.append(writes.take())
    assert all(leases(one) == 0 for one in taken)
    fewest = min(taken, key=len)  # a first look may come too early
    assert [waits for _, waits in fewest] == [True, True, True]
    intent, accepted, stored = (statements for statements, _ in fewest)
    assert {"INSERT INTO jobs", "UPDATE jobs SET"} <= {" ".join(statement.split()[:3]) for statement in intent}
    assert [statement.split()[:2] for statement in accepted] == [["UPDATE", "jobs"]]
    written = {" ".join(statement.split()[:3]) for statement in stored}
    assert {"INSERT INTO raw_answers", "INSERT INTO results", "UPDATE lanes SET"} <= written


def test_many_jobs_take_one_transaction_for_their_results(core: Client) -> None:
    core.wait([job_in(core, "warm", DEVICES["ionq"]).key], timeout=30)
    jobs = [job_in(core, f"job{i}", DEVICES["ionq"]) for i in range(12)]
    with watched(core) as writes:
        core.wait([job.key for job in jobs], timeout=30)
        stored = [one for one, _ in writes.take() if any("INSERT INTO results" in statement for statement in one)]
    assert len(stored) == 1
    assert set(raws.of(core.ledger, [job.key for job in jobs])) == {job.key for job in jobs}


@pytest.fixture
def warm(core: Client) -> Client:
    """A client that polled its lane last."""
    core.wait([job_in(core, "warm", DEVICES["ionq"]).key], timeout=30)
    return core


def test_lane_that_somebody_else_polled_is_leased(warm: Client) -> None:
    core = warm
    with core.ledger.write() as connection:
        connection.execute(sa.update(lanes_table).values(holder="elsewhere/0/1/9/9#w"))
    for i in range(2):  # and again, because the stranger may come back
        job = job_in(core, f"job{i}", DEVICES["ionq"])
        with watched(core) as writes:
            core.wait([job.key], timeout=30)
            assert leases(writes.take()) >= 1


def test_lane_with_jobs_that_others_wait_for_is_leased(warm: Client, sandbox: Sandbox) -> None:
    core = warm
    sandbox.admin.clock("frozen")
    job_in(core, "somebody's", DEVICES["ionq"])
    mine = job_in(core, "mine", DEVICES["ionq"])
    sandbox.admin.release([str(mine.vendor_id)])
    with watched(core) as writes:
        core.wait([mine.key], timeout=30)
        assert leases(writes.take()) >= 1


def test_two_threads_that_wait_for_one_job_poll_it_by_turns(warm: Client, sandbox: Sandbox) -> None:
    core = warm
    sandbox.admin.clock("frozen")
    job = job_in(core, "shared", DEVICES["ionq"])
    waiters = [threading.Thread(target=core.wait, args=([job.key],), kwargs={"timeout": 30}) for _ in range(3)]
    before = sandbox.admin.requests("ionq.list")
    for waiter in waiters:
        waiter.start()
    sandbox.admin.wait_until(lambda: sandbox.admin.requests("ionq.list") >= before + 5)
    sandbox.admin.release([str(job.vendor_id)])
    for waiter in waiters:
        waiter.join(30)
    assert reads.job(core.ledger, job.key).status is JobStatus.COMPLETED
    with core.ledger.read() as connection:
        row = connection.execute(sa.select(lanes_table.c.holder, lanes_table.c.lease_until)).one()
    assert row.lease_until == 0  # nobody holds it
    assert row.holder.startswith(lanes.holder_name(""))


@pytest.mark.parametrize("vendor", DEVICES)
def test_answer_that_cannot_be_decoded_is_stored_all_the_same(
    vendor: str, core: Client, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_in(core, "strange", DEVICES[vendor])
    provider: Any = core.device(DEVICES[vendor]).provider

    def broken(*_: object) -> None:
        raise ArithmeticError("a decoder of an older version")

    with monkeypatch.context() as patch:
        patch.setattr(type(provider), "decode", broken)
        core.poller().wait_until([job.key], lambda one: one.bad_reads > 0, timeout=30)
    assert set(raws.of(core.ledger, [job.key])) == {job.key}
    done = core.wait([job.key], timeout=30)[job.key]
    assert (done.status, sandbox.admin.count_jobs(vendor)) == (JobStatus.COMPLETED, 1)


def test_answer_that_is_given_once_is_stored_before_it_is_decoded(
    core: Client, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = DEVICES["ibm"]
    job = core.submit_one(BELL, Scope("private", "a", "f"), device=device, shots=10, options={"private": True})
    provider: Any = core.device(device).provider

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, watched(core) as writes:
        patch.setattr(type(provider), "decode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            core.wait([job.key], timeout=30)
        kept = [waits for said, waits in writes.take() if any("INSERT INTO raw_answers" in one for one in said)]
    assert kept == [True]
    done = core.wait([job.key], timeout=30)[job.key]  # IBM would not give it again
    assert (done.status, sandbox.admin.count_jobs("ibm")) == (JobStatus.COMPLETED, 1)


def test_many_small_jobs_are_stored_in_one_go_and_few_large_ones() -> None:
    def sizes(n_programs: list[int]) -> list[int]:
        jobs: list[Any] = [(SimpleNamespace(n_programs=n), None) for n in n_programs]
        parts = list(_parts(jobs))
        assert [one for part in parts for one in part] == jobs
        return [len(part) for part in parts]

    assert sizes([1] * 70) == [32, 32, 6]
    assert sizes([200] * 12) == [5, 5, 2]
    assert sizes([10, 5_000, 10, 10]) == [1, 1, 2]
    assert sizes([1]) == [1]
