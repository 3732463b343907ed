"""Which job a call stands for: ordinals within an attempt, epochs after a failure, jobs a replay left behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from qflows.ledger import Ledger, claims, intents, outcomes, pending, reads
from qflows.ledger.intents import Intent
from qflows.model import Job
from qflows.protocol import Observation, Phase
from qflows.states import JobStatus

from .conftest import MakeIntent, MakeJob, drive

S = JobStatus


def prepare_one(ledger: Ledger, intent: Intent) -> Job:
    (job,) = intents.prepare(ledger, [intent])
    return job


def test_equal_calls_of_one_attempt_are_different_samples(ledger: Ledger, make_intent: MakeIntent) -> None:
    prepared = intents.prepare(ledger, [make_intent(holder=f"task:{n}") for n in range(5)])
    assert [job.ordinal for job in prepared] == [0, 1, 2, 3, 4]
    assert len({job.key for job in prepared}) == 5


def test_retried_task_keeps_its_ordinal(ledger: Ledger, make_intent: MakeIntent) -> None:
    for holder in ("a", "b", "c"):
        prepare_one(ledger, make_intent(holder=holder))
    assert [prepare_one(ledger, make_intent(holder=holder)).ordinal for holder in ("b", "c", "a")] == [1, 2, 0]


def test_new_attempt_starts_at_zero_and_adopts(ledger: Ledger, make_intent: MakeIntent) -> None:
    before = [prepare_one(ledger, make_intent(holder=f"a{n}")).key for n in range(3)]
    after = [prepare_one(ledger, make_intent(attempt="attempt-2", holder=f"b{n}")).key for n in range(4)]
    assert after[:3] == before
    assert after[3] not in before


def test_ordinals_of_different_content_do_not_touch(ledger: Ledger, make_intent: MakeIntent) -> None:
    prepared = intents.prepare(ledger, [make_intent(state=state, holder="task") for state in range(4)])
    assert [job.ordinal for job in prepared] == [0, 0, 0, 0]


def test_eight_threads_with_equal_calls_share_out_the_ordinals(ledger: Ledger, make_intent: MakeIntent) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: prepare_one(ledger, make_intent(holder=f"task:{n}")), range(40)))
    assert sorted(job.ordinal for job in made) == list(range(40))


LEASE_TEN = """
import sys
from qflows.ledger import Ledger
from qflows.ledger.intents import Want, lease_ordinal
url, name = sys.argv[1:]
ledger = Ledger.open(url)
for n in range(10):
    with ledger.write() as connection:
        print(lease_ordinal(ledger, connection, Want("run", "attempt", f"{name}:{n}"), "c" * 64))
"""


def test_four_processes_with_equal_calls_share_out_the_ordinals(ledger: Ledger, ledger_url: str) -> None:
    command = [sys.executable, "-c", LEASE_TEN, ledger_url]
    running = [subprocess.Popen([*command, f"process {n}"], stdout=subprocess.PIPE, text=True) for n in range(4)]
    ordinals = [int(line) for process in running for line in process.communicate(timeout=60)[0].split()]
    assert sorted(ordinals) == list(range(40))


def test_refusal_is_final_in_its_attempt_and_asked_again_in_the_next(ledger: Ledger, make_intent: MakeIntent) -> None:
    refused = prepare_one(ledger, make_intent())
    drive(ledger, refused.key, S.FAILED)
    assert prepare_one(ledger, make_intent()).key == refused.key
    again = prepare_one(ledger, make_intent(attempt="attempt-2"))
    assert (again.epoch, again.status) == (1, S.PREPARED)
    assert again.key != refused.key
    assert prepare_one(ledger, make_intent(attempt="attempt-2")).key == again.key


def _fail_at_vendor(ledger: Ledger, job: Job, phase: Phase = Phase.FAILED) -> None:
    drive(ledger, job.key, S.QUEUED)
    outcomes.observe(ledger, [(reads.job(ledger, job.key), Observation(phase, "over", error_message="broken"))])


@pytest.mark.parametrize("phase", [Phase.FAILED, Phase.CANCELLED])
def test_failure_at_the_vendor_is_bought_again_only_where_resubmit_allows(
    ledger: Ledger, make_intent: MakeIntent, phase: Phase
) -> None:
    first = prepare_one(ledger, make_intent())
    _fail_at_vendor(ledger, first, phase)
    assert prepare_one(ledger, make_intent(attempt="attempt-2")).key == first.key
    second = prepare_one(ledger, make_intent(attempt="attempt-2", resubmit=1))
    assert (second.epoch, second.status) == (1, S.PREPARED)
    _fail_at_vendor(ledger, second, phase)
    assert prepare_one(ledger, make_intent(attempt="attempt-3", resubmit=1)).key == second.key


@pytest.mark.parametrize("status", [s for s in JobStatus if s not in (S.FAILED, S.CANCELLED)])
def test_no_new_epoch_from_any_status_but_a_confirmed_end(
    ledger: Ledger, make_intent: MakeIntent, status: JobStatus
) -> None:
    first = prepare_one(ledger, make_intent())
    drive(ledger, first.key, status)
    again = prepare_one(ledger, make_intent(attempt="attempt-2", resubmit=9))
    assert (again.key, again.epoch, again.status) == (first.key, 0, status)


def test_racing_attempts_after_a_failure_buy_one_new_epoch(ledger: Ledger, make_intent: MakeIntent) -> None:
    first = prepare_one(ledger, make_intent())
    _fail_at_vendor(ledger, first)
    with ThreadPoolExecutor(8) as pool:
        wanted = [make_intent(attempt=f"attempt-{n}", resubmit=1) for n in range(8)]
        keys = {job.key for job in pool.map(lambda intent: prepare_one(ledger, intent), wanted)}
    assert len(keys) == 1
    assert len(reads.listing(ledger)) == 2


def test_unsent_job_moves_to_the_session_that_is_open_now(ledger: Ledger, make_intent: MakeIntent) -> None:
    prepare_one(ledger, make_intent(session_id="old"))
    assert prepare_one(ledger, make_intent(session_id="new")).session_id == "new"
    drive(ledger, prepare_one(ledger, make_intent(session_id="new")).key, S.QUEUED)
    assert prepare_one(ledger, make_intent(session_id="third")).session_id == "new"


def test_replay_that_takes_another_path_lists_what_it_left_behind(ledger: Ledger, make_intent: MakeIntent) -> None:
    kept, dropped = intents.prepare(ledger, [make_intent("kept"), make_intent("dropped")])
    prepare_one(ledger, make_intent("kept", attempt="attempt-2"))
    prepare_one(ledger, make_intent("other run", run_key="run-2"))
    assert [job.key for job in reads.left_behind(ledger, "run", "attempt-2")] == [dropped.key]
    assert kept.key != dropped.key


def test_superseded_job_is_not_left_behind(ledger: Ledger, make_intent: MakeIntent) -> None:
    first = prepare_one(ledger, make_intent())
    _fail_at_vendor(ledger, first)
    prepare_one(ledger, make_intent(attempt="attempt-2", resubmit=1))
    assert reads.left_behind(ledger, "run", "attempt-2") == []


def test_unfinished_runs_of_the_same_flow_are_counted(ledger: Ledger, make_intent: MakeIntent) -> None:
    for run_key, flow in (("mine", "vqe"), ("theirs", "vqe"), ("done", "vqe"), ("elsewhere", "sweep")):
        intents.touch_run(ledger, run_key, flow_name=flow, flow_run_id=f"id {run_key}")
        jobs = intents.prepare(ledger, [make_intent(str(n), run_key=run_key) for n in range(2)])
        for job in jobs:
            drive(ledger, job.key, S.COMPLETED if run_key == "done" else S.QUEUED)
    assert reads.unfinished_runs(ledger, "vqe", but="mine") == {"theirs": 2}


def test_job_is_found_by_key_by_its_beginning_and_by_vendor_id(ledger: Ledger, make_job: MakeJob) -> None:
    from qflows.errors import UnknownJob

    job, _ = make_job(S.QUEUED), make_job()
    for name in (job.key, job.key[:8], job.key[:20], job.vendor_id):
        assert reads.find(ledger, str(name)).key == job.key
    for name in (job.key[:7], "g" * 8, "%", "", "0" * 63):
        with pytest.raises(UnknownJob):
            reads.find(ledger, name)


def test_listing_is_newest_first_and_narrowed(ledger: Ledger, make_job: MakeJob) -> None:
    old, new = make_job(S.QUEUED, run_key="a"), make_job(S.PREPARED, run_key="b")
    assert [job.key for job in reads.listing(ledger)] == [new.key, old.key]
    assert [job.key for job in reads.listing(ledger, run_key="a")] == [old.key]
    assert [job.key for job in reads.listing(ledger, status="prepared")] == [new.key]
    assert [job.key for job in reads.listing(ledger, limit=1)] == [new.key]


def test_live_jobs_of_a_lane_are_those_not_terminal(ledger: Ledger, make_job: MakeJob) -> None:
    made = {status: make_job(status).key for status in JobStatus}
    live = {job.key for job in pending.of_lane(ledger, "acme", "acct")}
    assert live == {made[s] for s in (S.PREPARED, S.SUBMITTING, S.IN_DOUBT, S.QUEUED, S.RUNNING)}
    assert pending.of_lane(ledger, "acme", "other") == []


def test_listener_hears_facts_after_they_are_durable(
    ledger: Ledger, ledger_url: str, make_intent: MakeIntent, open_ledger: Callable[[str], Ledger]
) -> None:
    other = open_ledger(ledger_url)
    heard: list[tuple[str, JobStatus]] = []
    ledger.listeners.append(lambda kind, key, detail: heard.append((kind, reads.job(other, key).status)))
    job = prepare_one(ledger, make_intent())
    drive(ledger, job.key, S.COMPLETED)
    assert heard == [
        ("prepared", S.PREPARED),
        ("claimed", S.SUBMITTING),
        ("queued", S.QUEUED),
        ("completed", S.COMPLETED),
    ]


def test_failing_listener_changes_nothing(ledger: Ledger, make_intent: MakeIntent) -> None:
    def broken(kind: str, key: str, detail: object) -> None:
        raise ValueError("screen is gone")

    ledger.listeners.append(broken)
    job = prepare_one(ledger, make_intent())
    assert claims.claim(ledger, job.key, lease_s=9) is not None
