"""Members from any thread and any process; a group outlives its owner, its time to live does not wait for it."""

from __future__ import annotations

import asyncio
import pickle
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
from group_desk import BELL, RUN, buy, group, let_an_hour_pass

import qflows
from qflows.core.client import default_client
from qflows.errors import GroupClosed, GroupError, RunKeyMissing, UnknownJob
from qflows.sandbox import Sandbox
from qflows.states import GroupState

Run = Callable[..., Any]


def in_thread(work: Callable[[], object]) -> list[BaseException]:
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    thread.join(30)
    return errors


def test_plain_thread_joins_the_group_of_its_run(desk: Sandbox) -> None:
    with group() as g:
        assert in_thread(buy) == []
    assert len(g.jobs) == 1


def test_plain_thread_without_a_run_key_buys_nothing(desk: Sandbox) -> None:
    with group() as g:
        (error,) = in_thread(lambda: qflows.submit(BELL, device="ionq-simulator", shots=20))
    assert isinstance(error, RunKeyMissing)
    assert g.jobs == []


def test_plain_thread_with_a_choice_of_groups_is_refused_before_anything_is_bought(desk: Sandbox) -> None:
    with group("here"):
        both_open, asked = threading.Event(), threading.Event()

        def other() -> None:
            with group("there"):
                both_open.set()
                asked.wait(20)

        thread = threading.Thread(target=other)
        thread.start()
        both_open.wait(20)
        (error,) = in_thread(buy)
        asked.set()
        thread.join(20)
    assert isinstance(error, GroupError)
    assert "2 groups" in str(error)
    assert desk.admin.count_jobs() == 0


def test_thread_of_another_run_is_left_alone(desk: Sandbox) -> None:
    with group() as g:
        work = lambda: qflows.submit(BELL, device="ionq-simulator", shots=20, run_key="another run")  # noqa: E731
        assert in_thread(work) == []
    assert g.jobs == []


def test_handle_submits_from_any_thread(desk: Sandbox) -> None:
    with group(ambient=False) as g:
        for _ in range(3):
            assert in_thread(lambda: g.submit(BELL, device="ionq-simulator", shots=20)) == []
        assert in_thread(lambda: _inside(g)) == []
    assert len(g.jobs) == 4
    assert len({job.key for job in g.jobs}) == 4


def _inside(g: qflows.Group) -> None:
    with g.inside():
        buy(shots=30)


def test_tasks_and_threads_of_asyncio_are_inside(desk: Sandbox) -> None:
    async def work() -> None:
        await asyncio.gather(*(asyncio.to_thread(buy) for _ in range(3)))

    with group() as g:
        asyncio.run(work())
    assert len(g.jobs) == 3


def test_many_threads_lose_no_member_and_no_place(desk: Sandbox) -> None:
    with group() as g:
        start = threading.Barrier(8)

        def work() -> None:
            start.wait(10)
            for _ in range(3):
                buy("ionq-simulator")

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(40)
    assert len({job.key for job in g.jobs}) == 24
    assert desk.admin.count_jobs("ionq") == 24


def test_pickled_handle_is_the_same_group(desk: Sandbox) -> None:
    with group() as g:
        twin = pickle.loads(pickle.dumps(g))
        job = twin.submit(BELL, device="ionq-simulator", shots=20)
        assert [one.key for one in g.jobs] == [job.key]
        assert (twin.id, twin.name) == (g.id, g.name)


def test_another_process_submits_by_id_and_late_ones_are_refused(desk: Sandbox, in_another_process: Run) -> None:
    script = """
        g = qflows.attach(sys.argv[1], qflows.Group)
        try:
            print(g.submit(BELL, device="qbraid-qir-sv", shots=20).key)
        except qflows.errors.GroupClosed as error:
            print("refused", error.state)
        """
    with group() as g:
        mine = buy()
        theirs = in_another_process(script, str(g.id)).stdout.strip()
    assert [job.key for job in g.jobs] == [mine.key, theirs]
    g.results()
    # the same script again is the same attempt of nothing new: its job is a member already
    assert in_another_process(script, str(g.id)).stdout.strip() == theirs
    late = script.replace("shots=20", "shots=21")
    assert in_another_process(late, str(g.id)).stdout.strip() == "refused COMPLETED"
    assert desk.admin.count_jobs() == 2


def test_killed_owner_is_followed_by_another_process(desk: Sandbox, in_another_process: Run) -> None:
    desk.admin.clock("frozen")
    killed = in_another_process(
        """
        g = group(tags={"study": "a"}).open()
        buy("ionq-simulator", 30), buy("qbraid-qir-sv", 40)
        print(g.id, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    assert killed.returncode == -signal.SIGKILL
    g = qflows.attach(killed.stdout.strip(), qflows.Group)
    assert (g.name, g.status(), g.details()["tags"]) == ("sweep", GroupState.OPEN, {"study": "a"})
    third = g.submit(BELL, device="local-aer", shots=50)
    g.close()
    desk.admin.release()
    found = g.results(timeout=30)
    assert [one.counts.shots for one in found.values()] == [30, 40, 50]
    assert found[third.key].success
    assert found.state is GroupState.COMPLETED
    assert desk.admin.count_jobs() == 2


def test_killed_run_that_is_started_again_joins_its_group(desk: Sandbox, in_another_process: Run) -> None:
    script = """
        with group() as g:
            print(g.id, flush=True)
            for shots in range(20, 24):
                print(buy(shots=shots).key, flush=True)
                if sys.argv[1] == str(shots):
                    os.kill(os.getpid(), signal.SIGKILL)
        """
    before = in_another_process(script, "21").stdout.split()
    after = in_another_process(script, "never").stdout.split()
    assert after[:3] == before
    assert len(after) == 5
    assert desk.admin.count_jobs("ionq") == 4
    assert qflows.attach(after[0], qflows.Group).results(timeout=20).state is GroupState.COMPLETED


def test_time_to_live_ends_a_group_whose_client_is_dead(desk: Sandbox, in_another_process: Run) -> None:
    killed = in_another_process(
        """
        g = group(max_ttl=3000).open()
        buy()
        print(g.id, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    id_ = killed.stdout.strip()
    reconciler = default_client().reconciler()
    assert reconciler.tick().groups_closed == []
    let_an_hour_pass(id_)
    assert reconciler.tick().groups_closed == [id_]
    assert reconciler.tick().groups_closed == []
    g = qflows.attach(id_, qflows.Group)
    assert g.details()["close_reason"] == "ttl"
    with pytest.raises(GroupClosed, match="time to live ran out"):
        g.submit(BELL, device="ionq-simulator", shots=21)
    assert desk.admin.count_jobs() == 1


def test_time_to_live_is_seen_by_whoever_looks_and_exit_does_not_mind(desk: Sandbox) -> None:
    with group(max_ttl=3000) as g:
        buy()
        let_an_hour_pass(str(g.id))
        with pytest.raises(GroupClosed, match="longer max_ttl"):
            buy(shots=21)
    assert g.details()["close_reason"] == "ttl"
    assert desk.admin.count_jobs() == 1
    assert g.results(timeout=20).state is GroupState.COMPLETED


def test_time_to_live_of_a_second_ends_after_a_second(desk: Sandbox) -> None:
    with group(max_ttl=1) as g:
        desk.admin.wait_until(lambda: g.status() is GroupState.CLOSED, timeout_s=10)


def test_anything_is_attached_by_its_id(desk: Sandbox) -> None:
    with group() as g:
        job = buy()
        made = qflows.batch([BELL], device="ionq-simulator", shots=20, run_key=RUN)
    held = qflows.session("ionq-forte-1", max_time=600, run_key=RUN)
    assert isinstance(qflows.attach(job.key), qflows.Job)
    assert isinstance(qflows.attach(str(g.id)), qflows.Group)
    assert isinstance(qflows.attach(str(g.id)[:10]), qflows.Group)
    assert isinstance(qflows.attach(made.id), qflows.Batch)
    again = qflows.attach(str(held.id))
    assert isinstance(again, qflows.Session)
    assert again.key == held.key
    with pytest.raises(UnknownJob, match="is a Group, not a Job"):
        qflows.attach(str(g.id), qflows.Job)
    with pytest.raises(UnknownJob, match="no job, batch, group or session"):
        qflows.attach("f" * 64)
    again.close()
    held.close()
