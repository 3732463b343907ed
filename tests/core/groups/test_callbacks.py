"""The function that is called once when all jobs of a group are over, whatever dies meanwhile."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import group_callbacks_under_test as functions
import pytest
from group_desk import buy, group, leave_by_error

import qflows
from qflows.core.client import default_client
from qflows.core.groups.results import GroupResult
from qflows.errors import CallbackFailed, GroupError
from qflows.ledger import callbacks as ledger_callbacks
from qflows.sandbox import Sandbox

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def notes(desk: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the functions leave one line a call."""
    place = tmp_path / "notes"
    monkeypatch.setenv("GROUP_NOTES", str(place))
    return place


def lines(place: Path) -> list[str]:
    return place.read_text().splitlines() if place.exists() else []


def state_of(g: qflows.Group) -> str:
    return g.details()["callback"]["state"]


def test_callback_after_all_done_gets_the_results_once(desk: Sandbox) -> None:
    got: list[GroupResult] = []
    with group() as g:
        g.on_all_complete(got.append)
        job = buy()
        assert got == []
    assert [list(found.successful()) for found in got] == [[job.key]]
    g.results()
    g.close()
    assert len(got) == 1
    assert state_of(g) == "DONE"


def test_no_callback_no_wait(desk: Sandbox) -> None:
    desk.admin.clock("frozen")
    with group() as g:
        buy()
    assert len(g.results(timeout=0).pending()) == 1


def test_limit_of_the_wait_is_honoured_and_results_call_later(desk: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    desk.admin.clock("frozen")
    got: list[GroupResult] = []
    with group() as g:
        buy()
        g.on_all_complete(got.append, timeout=0.2)
    assert got == []
    assert state_of(g) == "PENDING"
    desk.admin.release()
    g.results(timeout=20)
    assert len(got) == 1


def test_error_is_raised_at_exit_and_kept(desk: Sandbox) -> None:
    g = group().open()
    buy()
    g.on_all_complete(functions.fail)
    with pytest.raises(CallbackFailed, match="no room for 1 results"), g:
        pass
    told = g.details()["callback"]
    assert (told["state"], told["note"]) == ("FAILED", "ValueError: no room for 1 results")
    assert g.results().callback_error == "ValueError: no room for 1 results"
    assert g.results().is_complete


def test_error_during_results_loses_no_result(desk: Sandbox) -> None:
    desk.admin.clock("frozen")
    with group() as g:
        job = buy()
        g.on_all_complete(functions.fail, timeout=0)
    desk.admin.release()
    found = g.results(timeout=20)
    assert list(found.successful()) == [job.key]
    assert found.callback_error == "ValueError: no room for 1 results"


def test_users_exception_calls_nothing_and_is_not_hidden(notes: Path) -> None:
    g = group()
    with pytest.raises(KeyError, match="mine"):
        leave_by_error(g, buy, lambda: g.on_all_complete(functions.note))
    assert lines(notes) == []
    told = g.details()["callback"]
    assert (told["state"], "because of an exception" in told["note"]) == ("PENDING", True)
    default_client().reconciler().tick()
    assert lines(notes) == []


def test_cancelled_group_calls_nothing(notes: Path) -> None:
    with group() as g:
        buy()
        g.on_all_complete(functions.note)
        g.cancel()
    g.results()
    assert lines(notes) == []
    assert "cancelled" in g.details()["callback"]["note"]


def test_callback_by_its_import_path(notes: Path) -> None:
    with group() as g:
        buy()
        g.on_all_complete("group_callbacks_under_test:note")
    assert lines(notes) == [f"{g.id} 1"]


@pytest.mark.parametrize("path", ["nowhere:note", "group_callbacks_under_test:nothing", "note", "os:sep"])
def test_path_that_leads_nowhere_is_refused_at_once(path: str) -> None:
    with group() as g, pytest.raises(GroupError):
        g.on_all_complete(path)


def test_replay_does_not_call_again(notes: Path, next_attempt: Callable[[], None]) -> None:
    for _ in range(2):
        next_attempt()
        with group() as g:
            buy()
            g.on_all_complete(functions.note)
    assert lines(notes) == [f"{g.id} 1"]


def test_sweeper_calls_when_the_client_is_dead(desk: Sandbox, notes: Path, in_another_process: Run) -> None:
    desk.admin.clock("frozen")
    done = in_another_process(
        """
        with group() as g:
            buy()
            g.on_all_complete("group_callbacks_under_test:note", timeout=0)
        print(g.id, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    id_ = done.stdout.strip()
    assert default_client().reconciler().tick().called_back == []
    desk.admin.release()
    _sweep_until(lambda: lines(notes) != [])
    assert lines(notes) == [f"{id_} 1"]
    assert default_client().reconciler().tick().called_back == []


def _sweep_until(condition: Callable[[], bool]) -> None:
    for _ in range(200):
        default_client().reconciler().tick()
        if condition():
            return
    pytest.fail("not reached in 200 sweeps")


def test_kill_between_effect_and_record_never_calls_twice_and_says_what_to_do(
    notes: Path, in_another_process: Run
) -> None:
    done = in_another_process(
        """
        with group() as g:
            buy()
            g.on_all_complete("group_callbacks_under_test:note_and_die")
            print(g.id, flush=True)
        """
    )
    assert done.returncode == -signal.SIGKILL
    g = qflows.attach(done.stdout.strip(), qflows.Group)
    assert len(lines(notes)) == 1
    told = g.details()["callback"]
    assert (told["state"], "--again" in told["note"]) == ("INTERRUPTED", True)
    g.results()
    default_client().reconciler().tick()
    in_another_process(
        """
        with group() as g:  # the replay of the same run
            buy()
            g.on_all_complete("group_callbacks_under_test:note_and_die")
        """
    )
    assert len(lines(notes)) == 1


def test_two_sweepers_and_the_owner_call_once(desk: Sandbox, notes: Path, in_another_process: Run) -> None:
    desk.admin.clock("frozen")
    with group() as g:
        buy()
        g.on_all_complete(functions.note, timeout=0)
    desk.admin.release()
    g.stored(g.wait(timeout=20))  # over, and nobody has called yet
    start = threading.Barrier(6)

    def sweep() -> None:
        start.wait(10)
        default_client().reconciler().tick()

    def look() -> None:
        start.wait(10)
        g.results(timeout=0)

    threads = [threading.Thread(target=work) for work in (sweep, look) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert lines(notes) == [f"{g.id} 1"]


def test_callback_of_this_process_alone_is_left_to_it_by_sweepers(desk: Sandbox) -> None:
    desk.admin.clock("frozen")
    got: list[GroupResult] = []
    with group() as g:
        buy()
        g.on_all_complete(lambda found: got.append(found), timeout=0)
    desk.admin.release()
    qflows.wait(g.jobs)
    default_client().reconciler().tick()
    assert got == []
    assert "only the process" in g.details()["callback"]["note"]
    g.results()
    assert len(got) == 1


def test_person_lets_a_failed_callback_run_again(notes: Path) -> None:
    g = group().open()
    buy()
    g.on_all_complete(functions.fail)
    with pytest.raises(CallbackFailed), g:
        pass
    core = default_client()
    assert not ledger_callbacks.claim(core.ledger, str(g.id))
    assert ledger_callbacks.allow_again(core.ledger, str(g.id))
    assert state_of(g) == "PENDING"
