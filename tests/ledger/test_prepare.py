"""Wanting a job: insert or adopt, durable before anything is sent, whoever races."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import sqlalchemy as sa

from qflows.ledger import Ledger, intents, reads
from qflows.ledger.tables import events, jobs, programs
from qflows.states import JobStatus

from .conftest import MakeIntent, flip


def test_new_intent_becomes_a_prepared_job_with_everything_needed_to_send_it(
    ledger: Ledger, make_intent: MakeIntent
) -> None:
    intent = make_intent("bell", tags={"study": "a"}, name="n", options={"noise_model": "ideal"}, session_id="s1")
    (job,) = intents.prepare(ledger, [intent])
    assert (job.status, job.fence, job.epoch, job.ordinal) == (JobStatus.PREPARED, 0, 0, 0)
    assert reads.spec_of(ledger, job.key) == intent.spec


def test_same_intent_again_adopts_the_job(ledger: Ledger, make_intent: MakeIntent) -> None:
    (first,) = intents.prepare(ledger, [make_intent()])
    (second,) = intents.prepare(ledger, [make_intent()])
    (third,) = intents.prepare(ledger, [make_intent(attempt="attempt-2", holder="other")])
    assert first.key == second.key == third.key
    assert len(reads.listing(ledger)) == 1


def test_other_run_content_device_or_shots_is_another_job(ledger: Ledger, make_intent: MakeIntent) -> None:
    variants = [make_intent(), make_intent(run_key="run-2"), make_intent("label"), make_intent(state=2)]
    keys = {job.key for job in intents.prepare(ledger, variants)}
    assert len(keys) == len(variants)


def test_preparing_nothing_does_nothing(ledger: Ledger) -> None:
    assert intents.prepare(ledger, []) == []


def test_handles_come_back_in_the_order_of_the_intents(ledger: Ledger, make_intent: MakeIntent) -> None:
    labels = [str(n * 7 % 20) for n in range(20)]
    prepared = intents.prepare(ledger, [make_intent(label) for label in labels])
    assert [job.label for job in prepared] == labels


def test_one_bad_intent_leaves_none_of_its_list_behind(ledger: Ledger, make_intent: MakeIntent) -> None:
    bad = make_intent("bad", options={"not json": {1, 2}})
    try:
        intents.prepare(ledger, [make_intent("good"), bad])
    except TypeError:
        pass
    assert reads.listing(ledger) == []


def test_programs_are_stored_once_by_digest(ledger: Ledger, make_intent: MakeIntent) -> None:
    intents.prepare(ledger, [make_intent(str(n), state=n % 2) for n in range(10)])
    with ledger.read() as connection:
        stored = dict(connection.execute(sa.select(programs.c.digest, programs.c.text)).all())  # type: ignore[arg-type]
    assert stored == {flip(n).digest: flip(n).text for n in range(2)}


def test_racing_lists_in_opposite_order_all_get_the_same_jobs(ledger: Ledger, make_intent: MakeIntent) -> None:
    def race(number: int) -> list[set[str]]:
        found = []
        for round_ in range(12):
            wanted = [make_intent(f"{round_}/{n}", attempt=f"attempt-{number}") for n in range(12)]
            found.append({job.key for job in intents.prepare(ledger, wanted[:: 1 if number % 2 else -1])})
        return found

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(race, range(4)))
    assert all(answer == answers[0] for answer in answers)
    with ledger.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(jobs)).scalar() == 144


def test_racing_tasks_of_one_attempt_in_opposite_order_are_all_served(ledger: Ledger, make_intent: MakeIntent) -> None:
    def race(number: int) -> None:
        for round_ in range(8):
            wanted = [make_intent(f"{round_}/{n}", holder=f"task:{number}") for n in range(6)]
            intents.prepare(ledger, wanted[:: 1 if number % 2 else -1])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(race, range(4)))
    with ledger.read() as connection:
        ordinals = connection.execute(sa.select(jobs.c.ordinal, sa.func.count()).group_by(jobs.c.ordinal)).all()
    assert sorted(map(tuple, ordinals)) == [(0, 48), (1, 48), (2, 48), (3, 48)]


def test_events_table_starts_empty(ledger: Ledger, make_intent: MakeIntent) -> None:
    intents.prepare(ledger, [make_intent()])
    with ledger.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(events)).scalar() == 0
