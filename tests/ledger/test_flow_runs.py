"""Whose job is it, who waits for it, and which crash was answered: the ledger's side of flow runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from qflows.ledger import Ledger, flow_runs, outcomes
from qflows.ledger.flow_runs import Attempt, Wait
from qflows.ledger.store import utc_now
from qflows.model import Job
from qflows.states import JobStatus

MakeJob = Callable[..., Job]


def attempt_of(name: str, *, run: str = "flow-run", root: str = "", key: str = "run") -> Attempt:
    return Attempt(name, key, run, root or run, "flow", utc_now())


def test_attempt_is_at_work_while_it_wants_a_live_job(ledger: Ledger, make_job: MakeJob) -> None:
    one = attempt_of("attempt-1")
    for _ in range(2):
        flow_runs.begin_attempt(ledger, one)
    assert flow_runs.at_work(ledger) == []
    job = make_job(JobStatus.QUEUED)
    assert [found.attempt for found in flow_runs.at_work(ledger)] == ["attempt-1"]
    outcomes.request_cancel(ledger, [job.key])
    assert flow_runs.at_work(ledger) == []  # the wish is durable, there is nothing left to decide


def test_job_belongs_to_the_newest_attempt_that_wanted_it(ledger: Ledger, make_job: MakeJob) -> None:
    old, new = attempt_of("attempt-1", run="first"), attempt_of("attempt-2", run="second")
    for one in (old, new):
        flow_runs.begin_attempt(ledger, one)
    job = make_job(JobStatus.QUEUED, label="shared")
    from qflows.ledger import intents
    from qflows.ledger.intents import Intent, Want
    from qflows.ledger.reads import spec_of

    want = Want("run", "attempt-2", "task:0")
    (adopted,) = intents.prepare(ledger, [Intent(spec_of(ledger, job.key), want, "acme-qpu", "acct")])
    assert adopted.key == job.key
    assert flow_runs.wanted_by(ledger, [old]) == []
    assert flow_runs.wanted_by(ledger, [new]) == [job.key]
    assert {one.flow_run_id for one in flow_runs.sharing(ledger, ["run"])} == {"first", "second"}


def test_subflow_is_found_by_the_run_whose_process_it_shares(ledger: Ledger) -> None:
    flow_runs.begin_attempt(ledger, attempt_of("a", run="child", root="parent", key="parent/child#0"))
    assert [one.flow_run_id for one in flow_runs.of_root(ledger, "parent")] == ["child"]
    assert flow_runs.known(ledger, ["parent", "child", "stranger"]) == {"parent"}


def test_wait_is_due_when_no_job_of_it_can_change_any_more(ledger: Ledger, make_job: MakeJob) -> None:
    queued, done = make_job(JobStatus.QUEUED), make_job(JobStatus.COMPLETED)
    flow_runs.begin_wait(ledger, Wait("both", "one"), [queued.key, done.key], within_s=None)
    flow_runs.begin_wait(ledger, Wait("over", "two"), [done.key], within_s=60)
    assert flow_runs.due_waits(ledger) == [Wait("over", "two")]
    outcomes.store(ledger, queued, _result(), provenance={})
    assert {wait.key for wait in flow_runs.due_waits(ledger)} == {"both", "over"}
    flow_runs.end_waits(ledger, ["one", "two"])
    assert flow_runs.due_waits(ledger) == []


def test_wait_is_due_when_results_are_withheld(ledger: Ledger, make_job: MakeJob, alter: Callable[..., None]) -> None:
    job = make_job(JobStatus.RUNNING)
    flow_runs.begin_wait(ledger, Wait("w", "one"), [job.key], within_s=None)
    assert flow_runs.due_waits(ledger) == []
    alter(job.key, is_held=True)
    assert flow_runs.due_waits(ledger) == [Wait("w", "one")]


def test_wait_is_due_at_its_deadline_whatever_its_jobs_do(ledger: Ledger, make_job: MakeJob) -> None:
    job = make_job(JobStatus.QUEUED)
    flow_runs.begin_wait(ledger, Wait("w", "one"), [job.key], within_s=0.0)
    assert flow_runs.due_waits(ledger) == [Wait("w", "one")]


def test_newer_wait_of_a_run_takes_the_place_of_the_older(ledger: Ledger, make_job: MakeJob) -> None:
    done = make_job(JobStatus.COMPLETED)
    for name in ("first", "second"):
        flow_runs.begin_wait(ledger, Wait(name, "one"), [done.key], within_s=None)
    assert flow_runs.due_waits(ledger) == [Wait("second", "one")]


def test_crash_is_answered_once_and_within_the_budget(ledger: Ledger) -> None:
    def claim(state: str, redo_after_s: float = 60.0) -> tuple[bool, int]:
        return flow_runs.claim_retry(ledger, "one", state, budget=2, redo_after_s=redo_after_s)

    assert claim("crash-1") == (True, 0)
    assert claim("crash-1") == (False, 0)
    assert claim("crash-1", redo_after_s=0.0) == (True, 0)  # its reconciler died; it does not count twice
    assert claim("crash-2") == (True, 1)
    assert claim("crash-3") == (False, 2)


def test_racing_sweepers_answer_a_crash_once(ledger: Ledger) -> None:
    together = threading.Barrier(8)
    won: list[bool] = []

    def race() -> None:
        together.wait()
        won.append(flow_runs.claim_retry(ledger, "one", "crash", budget=3, redo_after_s=60.0)[0])

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won.count(True) == 1


def _result() -> Any:
    from qflows.model import Counts, ItemResult
    from qflows.protocol import VendorResult

    return VendorResult((ItemResult(counts=Counts({"001": 100})),))
