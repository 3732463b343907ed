"""A group from its opening to its end: what is a member, what is refused, what survives an exception."""

from __future__ import annotations

import contextvars
import sqlite3
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from group_desk import BELL, RUN, buy, group, leave_by_error

import qflows
from qflows.core import ambient
from qflows.errors import GroupClosed, GroupError, LedgerUnavailable, ProgramRejected
from qflows.sandbox import Sandbox
from qflows.states import (
    CALLBACK_TRANSITIONS,
    GROUP_TRANSITIONS,
    CallbackState,
    GroupState,
)

pytestmark = pytest.mark.usefixtures("desk")


def test_every_state_has_a_row_and_is_reachable() -> None:
    for table, start in ((GROUP_TRANSITIONS, GroupState.OPEN), (CALLBACK_TRANSITIONS, CallbackState.PENDING)):
        assert set(table) == set(type(start))
        reached = {start}
        while more := {after for state in reached for after in table[state]} - reached:  # type: ignore[index]
            reached |= more
        assert reached == set(type(start))


# -- the behaviours of qBraid's group, one by one


def test_open_gives_live_group() -> None:
    for by_hand in (True, False):
        g = group()
        same = g.open() if by_hand else g.__enter__()
        assert same is g
        assert g.id == ambient.ACTIVE.get()
        assert g.status() is GroupState.OPEN
        g.close()


def test_close_ends_membership() -> None:
    with group() as g:
        buy()
    assert g.status() in (GroupState.CLOSED, GroupState.COMPLETED)
    assert ambient.ACTIVE.get() is None
    buy()
    assert len(g.jobs) == 1


def test_unopened_is_blank() -> None:
    assert (group("given").id, group("given").name, group("").name, group().jobs) == (None, "given", "", [])


def test_job_list_is_a_copy() -> None:
    with group() as g:
        buy()
        g.jobs.clear()
        assert len(g.jobs) == 1


def test_no_silent_nesting(desk: Sandbox) -> None:
    with group("outer"), pytest.raises(GroupError, match="inside group 'outer'.*ambient=False"):
        group("inner").open()
    assert desk.admin.count_jobs() == 0


def test_group_by_handle_alone_may_be_opened_inside_another() -> None:
    with group("outer") as outer, group("inner", ambient=False) as inner:
        mine = buy()
        theirs = inner.submit(BELL, device="ionq-simulator", shots=20)
    assert [job.key for job in outer.jobs] == [mine.key]
    assert [job.key for job in inner.jobs] == [theirs.key]


@pytest.mark.parametrize("verb", ["close", "status", "results", "cancel", "details"])
def test_unopened_calls_refused(verb: str) -> None:
    with pytest.raises(GroupError, match="not open yet"):
        getattr(group(), verb)()


def test_cancel_is_final() -> None:
    with group() as g:
        buy("ionq-simulator")
        g.cancel()
    assert g.status() is GroupState.CANCELLED
    g.close()
    assert g.status() is GroupState.CANCELLED


def test_reopen_starts_clean() -> None:
    g = group().open()
    buy()
    g.on_all_complete(print)
    first = g.id
    g.close()
    g.open()
    assert g.id != first
    assert g.jobs == []
    assert g.details()["callback"] is None
    g.close()


def test_every_job_enrolled_in_order_whatever_the_device() -> None:
    with group() as g:
        bought = [buy("ionq-simulator"), buy("qbraid-qir-sv"), buy("local-aer"), buy("ionq-simulator")]
    assert [job.key for job in g.jobs] == [job.key for job in bought]
    assert [job.provider for job in g.jobs] == ["ionq", "qbraid", "local", "ionq"]


def test_exit_does_not_mask(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="mine"):
        leave_by_error(group(), lambda: _break_ledger(tmp_path))
    assert ambient.ACTIVE.get() is None


def test_failing_close_is_raised_where_it_masks_nothing(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailable), group():
        _break_ledger(tmp_path)


def _break_ledger(home: Path) -> None:
    """Takes the table away under the open connections: every statement about groups fails from now on."""
    with sqlite3.connect(home / "ledger.db") as raw:
        raw.execute("alter table groups rename to gone")
    raw.close()


def test_user_error_passes_through_and_jobs_run_on(desk: Sandbox) -> None:
    desk.admin.clock("frozen")
    g = group()
    with pytest.raises(KeyError, match="mine"):
        leave_by_error(g, buy)
    assert ambient.ACTIVE.get() is None
    assert g.status() is GroupState.CLOSED
    assert g.details()["close_reason"] == "exception"
    desk.admin.release()
    assert qflows.result(g.jobs[0]).counts.shots == 20


def test_exception_with_policy_cancel_cancels_every_live_member(desk: Sandbox) -> None:
    desk.admin.clock("frozen")
    g = group(on_exception="cancel")
    with pytest.raises(KeyError, match="mine"):
        leave_by_error(g, lambda: buy("ionq-simulator"), lambda: buy("qbraid-qir-sv"))
    assert g.status() is GroupState.CANCELLED
    assert {job.status.value for job in g.jobs} == {"CANCELLED"}


def test_cancel_reaches_the_vendor_and_a_second_one_does_not_and_a_new_group_can_be_opened_at_once(
    desk: Sandbox,
) -> None:
    desk.admin.clock("frozen")
    with group() as g:
        buy("qbraid-qir-sv")
        buy("qbraid-bell-1")
        assert {job.status.value for job in g.cancel()} == {"CANCELLED"}
        with group("next") as other:
            assert other.status() is GroupState.OPEN
    sent = desk.admin.requests("qbraid.cancel")
    assert sent >= 2
    g.cancel()
    assert desk.admin.requests("qbraid.cancel") == sent


def test_scope_only_inside() -> None:
    assert ambient.ACTIVE.get() is None
    with group() as g:
        assert ambient.ACTIVE.get() == g.id
    assert ambient.ACTIVE.get() is None
    with pytest.raises(ValueError), group("other"):
        raise ValueError
    assert ambient.ACTIVE.get() is None


def test_scope_per_context() -> None:
    both_open = threading.Barrier(2)
    seen: dict[str, Any] = {}

    def work(name: str) -> None:
        with group(name) as g:
            both_open.wait(10)
            seen[name] = (g.id, ambient.ACTIVE.get(), buy("local-exact", None).key, [job.key for job in g.jobs])
            both_open.wait(10)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    for id_, active, key, members in seen.values():
        assert active == id_
        assert members == [key]
    assert len(seen) == 2


def test_status_is_read_anew_by_every_handle() -> None:
    with group() as g:
        twin = qflows.attach(str(g.id), qflows.Group)
        g.close()
        assert twin.status() is GroupState.CLOSED


@pytest.mark.parametrize("ttl", [0, -1, 86_401, 0.5, "soon"])
def test_ttl_out_of_bounds_is_refused(ttl: Any) -> None:
    with pytest.raises(ProgramRejected):
        group(max_ttl=ttl).open()
    assert ambient.ACTIVE.get() is None


@pytest.mark.parametrize(("ttl", "value"), [(1, 1), (86_400, 86_400), ("30m", 1800)])
def test_ttl_in_bounds_is_kept(ttl: Any, value: float) -> None:
    with group(max_ttl=ttl) as g:
        details = g.details()
    left = (details["expires_at"] - datetime.now(UTC)).total_seconds()
    assert value - 5 < left <= value + 0.1


def test_ttl_is_an_hour_unless_said_otherwise() -> None:
    with group() as g:
        assert g.details()["max_ttl_s"] == 3600


def test_partial_submit_keeps_earlier(desk: Sandbox) -> None:
    g = group()
    with pytest.raises(ProgramRejected):
        leave_by_error(g, *(lambda shots=shots: buy(shots=shots) for shots in (10, 20, -1, 30, 40)))
    assert [job.shots for job in g.jobs] == [10, 20]
    assert desk.admin.count_jobs("ionq") == 2


def test_batch_in_group_is_one_member_where_it_is_one_job(desk: Sandbox) -> None:
    with group() as g:
        made = qflows.batch([BELL] * 3, device="qbraid-bell-1", shots=20, run_key=RUN)
    assert [job.key for job in g.jobs] == [part.job_key for part in made.parts]
    assert desk.admin.count_jobs("qbraid") == 1
    (member,) = g.results().values()
    assert member.result is not None
    assert [item.counts.shots for item in member.result.items if item.counts] == [20, 20, 20]


# -- what it owes beyond that


def test_closing_and_cancelling_what_is_over_is_no_error() -> None:
    with group() as g:
        buy()
    g.results()
    for _ in range(2):
        g.close()
        g.cancel()
    assert g.status() is GroupState.COMPLETED


def test_group_closed_from_another_thread_refuses_its_opener_before_anything_is_bought(desk: Sandbox) -> None:
    with group() as g:
        buy()
        closer = threading.Thread(target=g.close)
        closer.start()
        closer.join(10)
        with pytest.raises(GroupClosed, match="accepts no more jobs.*nothing was bought"):
            buy()
    assert desk.admin.count_jobs() == 1
    assert ambient.ACTIVE.get() is None


def test_many_threads_may_close_and_cancel_at_once() -> None:
    with group() as g:
        buy()
        start = threading.Barrier(8)
        errors: list[BaseException] = []

        def end(verb: str) -> None:
            start.wait(10)
            try:
                getattr(g, verb)()
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=end, args=(verb,)) for verb in ("close", "cancel") * 4]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert errors == []
    assert g.status() in (GroupState.CANCELLED, GroupState.COMPLETED)


def test_late_copy_of_the_context_is_refused_not_forgotten(desk: Sandbox) -> None:
    with group():
        late = contextvars.copy_context()
    with pytest.raises(GroupClosed):
        late.run(buy)
    assert desk.admin.count_jobs() == 0


def test_empty_closed_group_stays_closed() -> None:
    with group() as g:
        pass
    assert g.status() is GroupState.CLOSED
    assert g.results(timeout=0).state is GroupState.CLOSED


def test_one_cancelled_member_and_none_failed_makes_the_group_failed(desk: Sandbox) -> None:
    desk.admin.clock("frozen")
    with group() as g:
        stopped = buy()
        buy()
    qflows.cancel(stopped)
    desk.admin.release()
    assert g.results().state is GroupState.FAILED


def test_replay_joins_the_same_group_and_buys_nothing_again(desk: Sandbox, next_attempt: Callable[[], None]) -> None:
    ids = []
    for _ in range(2):
        next_attempt()
        with group() as g:
            buy(shots=10)
            buy(shots=20)
        ids.append((g.id, tuple(job.key for job in g.jobs)))
    assert ids[0] == ids[1]
    assert desk.admin.count_jobs() == 2


def test_replay_after_an_exception_goes_on_where_the_first_attempt_stopped(
    desk: Sandbox, next_attempt: Callable[[], None]
) -> None:
    first = group()
    with pytest.raises(KeyError):
        leave_by_error(first, lambda: buy(shots=10))
    next_attempt()
    with group() as again:
        buy(shots=10)
        buy(shots=20)
    assert again.id == first.id
    assert [job.shots for job in again.jobs] == [10, 20]
    assert again.results().state is GroupState.COMPLETED
    assert desk.admin.count_jobs() == 2


def test_what_a_person_cancelled_stays_cancelled_in_a_replay(desk: Sandbox, next_attempt: Callable[[], None]) -> None:
    with group() as first:
        first.cancel()
    next_attempt()
    with group() as again, pytest.raises(GroupClosed, match="cancelled"):
        buy()
    assert again.id == first.id
    assert desk.admin.count_jobs() == 0


def test_failed_member_bought_again_is_replaced_in_its_place(desk: Sandbox, next_attempt: Callable[[], None]) -> None:
    desk.admin.fault("fail_job", "ionq.submit", message="no luck")
    with group() as first:
        buy(shots=10)
        buy(shots=20)
    assert first.results().state is GroupState.FAILED
    next_attempt()
    with group() as again:
        for shots in (10, 20):
            qflows.submit(BELL, device="ionq-simulator", shots=shots, run_key=RUN, resubmit=1)
    found = again.results()
    assert found.state is GroupState.COMPLETED
    assert [(job.shots, job.epoch) for job in found.jobs] == [(10, 1), (20, 0)]
    assert desk.admin.count_jobs() == 3
