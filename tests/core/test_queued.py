"""What a tick of the reconciler reads of jobs that wait in a vendor's queue."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from qiskit import QuantumCircuit
from sqlalchemy import event

from qflows.core.client import Client
from qflows.core.scope import Scope
from qflows.ledger import pending, reads
from qflows.ledger.tables import jobs, lanes
from qflows.sandbox import Sandbox
from qflows.settings import Settings
from qflows.states import JobStatus

N, PAGE = 60, 25
BELL = QuantumCircuit(2, 2)
BELL.h(0)
BELL.cx(0, 1)
BELL.measure([0, 1], [0, 1])
_DOCUMENTS = ("jobs.tags", "jobs.steps", "jobs.items", "jobs.options", "jobs.provenance", "programs.text")


@contextmanager
def statements(core: Client) -> Iterator[list[tuple[str, Any]]]:
    """Reads of the ledger, with their parameters."""
    seen: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if statement.startswith("SELECT") and " FROM jobs" in statement.replace("\n", " "):
            seen.append((statement, parameters))

    event.listen(core.ledger.engine, "before_cursor_execute", note)
    yield seen
    event.remove(core.ledger.engine, "before_cursor_execute", note)


def due(core: Client) -> None:
    with core.ledger.write() as connection:
        connection.execute(sa.update(lanes).values(next_at=0.0))


@pytest.fixture
def queued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Client, Sandbox]]:
    """A client and the emulated IonQ that has its jobs; they have been polled before."""
    with Sandbox(vendors=("ionq",), clock="frozen") as sandbox:
        for name, value in sandbox.env.items():
            monkeypatch.setenv(name, value)
        core = Client(Settings(home=tmp_path, poll_min_s=0.01))
        wanted = core.specs(BELL, device="ionq-simulator", shots=10) * N
        core.submit(wanted, device="ionq-simulator", scope=Scope("night", "1", "f"))
        core.reconciler().tick()
        yield core, sandbox
        core.ledger.close()


def test_tick_reads_no_document_of_a_job_that_is_as_it_was(queued: tuple[Client, Sandbox]) -> None:
    core, sandbox = queued
    reconciler = core.reconciler()
    due(core)
    reconciler.tick()  # this process polled last
    due(core)
    asked = sandbox.admin.requests("ionq.list")
    with statements(core) as seen:
        tick = reconciler.tick()
    assert (tick.live, tick.finished) == (N, 0)
    assert sandbox.admin.requests("ionq.list") - asked == -(-N // PAGE)
    read = [statement for statement, _ in seen if "jobs.error_code =" not in statement]  # those look for vanished jobs
    assert len([statement for statement in read if "jobs.vendor_id" in statement]) == 1
    assert not [statement for statement in read if any(name in statement for name in _DOCUMENTS)]


def test_tick_reads_the_jobs_that_moved_in_full_and_no_others(queued: tuple[Client, Sandbox]) -> None:
    core, sandbox = queued
    reconciler = core.reconciler()
    moved = sorted(pending.all_live(core.ledger))[:2]
    sandbox.admin.release([str(job.vendor_id) for job in moved])
    due(core)
    with statements(core) as seen:
        tick = reconciler.tick()
    assert (tick.live, tick.finished) == (N, 2)
    read = [parameters for statement, parameters in seen if "jobs.tags" in statement and 'jobs."key" IN' in statement]
    assert read
    assert all(set(keys) <= {job.key for job in moved} for keys in read)
    assert {reads.job(core.ledger, job.key).status for job in moved} == {JobStatus.COMPLETED}


def test_pending_job_says_what_its_handle_says(queued: tuple[Client, Sandbox]) -> None:
    core, _ = queued
    found = pending.all_live(core.ledger)
    whole = reads.by_keys(core.ledger, [job.key for job in found])
    assert len(found) == N == len(pending.of_lane(core.ledger, "ionq", found[0].account))
    shared = [name for name in pending.Pending._fields if name != "began_at"]
    for job in found:
        assert [getattr(job, name) for name in shared] == [getattr(whole[job.key], name) for name in shared]
        assert pending.began_at(job) == pending.began_at(whole[job.key]) == whole[job.key].timeline.submitted
    (on_device,) = pending.by_device(core.ledger)
    oldest = min(job.created_at for job in whole.values())
    assert on_device == ("ionq-simulator", JobStatus.QUEUED, N, None, oldest)


def test_job_that_another_process_ended_meanwhile_is_left_alone(queued: tuple[Client, Sandbox]) -> None:
    core, sandbox = queued
    stale = pending.all_live(core.ledger)
    sandbox.admin.release([str(stale[0].vendor_id)])
    with core.ledger.write() as connection:
        connection.execute(sa.update(jobs).where(jobs.c.key == stale[0].key).values(status="CANCELLED"))
    due(core)
    results = sandbox.admin.requests("ionq.results")
    core.poller().tick(stale, is_all=True)
    assert sandbox.admin.requests("ionq.results") == results
    assert reads.job(core.ledger, stale[0].key).status is JobStatus.CANCELLED
