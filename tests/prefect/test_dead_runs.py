"""Runs whose processes are gone and whom no worker reports: the reconciler finds them by their silence, ours only."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.events import emit_event
from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter, EventResourceFilter
from prefect.states import Pending, Running, State
from prefect_records import flow_run, until
from waiting_flows import deploy, new_run

from qflows.prefect.client import client
from qflows.prefect.housekeeper import TAG, Housekeeper, Kept
from qflows.prefect.lifesigns import HEARTBEAT
from qflows.sandbox import Admin

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]

SILENCE_S = 3.0


@pytest.fixture
def runs() -> Iterator[list[FlowRun]]:
    """Runs of the test; removed after it, so that no other test finds them dead."""
    made: list[FlowRun] = []
    yield made
    with get_client(sync_client=True) as api:
        for run in made:
            api.delete_flow_run(run.id)


def put(runs: list[FlowRun], *states: State, tags: tuple[str, ...] = (TAG,)) -> FlowRun:
    """A run that a worker took; nobody executes it."""
    run = new_run(deploy("patient", tags=list(tags)))
    runs.append(run)
    with get_client(sync_client=True) as api:
        for state in states:
            api.set_flow_run_state(run.id, state)
    return run


def beat(run: FlowRun, clock_error_s: float = 0.0) -> None:
    """What a living run's process sends every half minute; returns when the server has it on record.

    `clock_error_s`: how far the clock of its host is ahead.
    """
    resource = f"prefect.flow-run.{run.id}"
    now = datetime.now(UTC)
    sent = emit_event(
        HEARTBEAT,
        resource={"prefect.resource.id": resource},
        occurred=now + timedelta(seconds=clock_error_s),  # type: ignore[arg-type]
    )
    which = EventFilter(
        occurred=EventOccurredFilter(since=now - timedelta(days=1), until=now + timedelta(days=1)),  # type: ignore[arg-type]
        event=EventNameFilter(name=[HEARTBEAT]),
        resource=EventResourceFilter(id=[resource]),
    )
    with get_client(sync_client=True) as api:
        until(lambda: sent is not None and sent.id in {one.id for one in api.read_events(which, limit=50).events})


@contextmanager
def beating(run: FlowRun, clock_error_s: float = 0.0) -> Iterator[None]:
    """A living process: one heartbeat after the other, so that a busy machine makes none of them too old."""
    ended = threading.Event()

    def live() -> None:
        while not ended.wait(0.5):
            beat(run, clock_error_s)

    beat(run, clock_error_s)
    process = threading.Thread(target=live)
    process.start()
    try:
        yield
    finally:
        ended.set()
        process.join()


def silent_for(run: FlowRun, seconds: float) -> None:
    """Returns when the run has been in its state for so long, also by the server, which tells full seconds."""
    until(lambda: datetime.now(UTC) - flow_run(run.id).state.timestamp > timedelta(seconds=seconds + 1))


def look(**settings: Any) -> Kept:
    """The part of a tick that looks for the dead."""
    kept = Kept()
    Housekeeper(client(), **({"dead_after_s": SILENCE_S, "pending_after_s": 3600.0} | settings)).end_dead(kept)
    return kept


def test_run_whose_worker_died_before_it_started_is_crashed_and_retried(ionq: Admin, runs: list[FlowRun]) -> None:
    run = put(runs, Pending())
    assert str(run.id) not in look().found_dead
    until(lambda: str(run.id) in look(pending_after_s=0.0).found_dead)  # the server tells the time to the second
    assert flow_run(run.id).state.is_crashed()
    kept = Kept()
    Housekeeper(client(), crash_grace_s=0.0).retry_crashed(kept)
    assert str(run.id) in kept.retried


def test_running_run_without_heartbeat_is_crashed_and_one_with_heartbeat_is_not(
    ionq: Admin, runs: list[FlowRun]
) -> None:
    dead, alive = put(runs, Pending(), Running()), put(runs, Pending(), Running())
    assert not {str(dead.id), str(alive.id)} & set(look(dead_after_s=600.0).found_dead)  # both have just begun
    silent_for(alive, SILENCE_S)
    found: list[str] = []
    with beating(alive):  # a server on SQLite may be too busy for one look
        until(lambda: found.extend(look().found_dead) or str(dead.id) in found)
    assert str(alive.id) not in found
    assert flow_run(alive.id).state.is_running()


@pytest.mark.parametrize("error_s", [-600.0, 600.0])
def test_heartbeat_from_a_host_whose_clock_is_wrong_is_a_sign_of_life(
    ionq: Admin, runs: list[FlowRun], error_s: float
) -> None:
    run = put(runs, Pending(), Running())
    silent_for(run, SILENCE_S)
    with beating(run, error_s):
        assert str(run.id) not in look().found_dead
    until(lambda: str(run.id) in look().found_dead)  # and with the last of them it ends


@pytest.mark.parametrize("error_s", [-600.0, 600.0])
def test_reconciler_whose_clock_is_wrong_judges_by_the_clock_of_the_server(
    ionq: Admin, runs: list[FlowRun], error_s: float
) -> None:
    alive, pending = put(runs, Pending(), Running()), put(runs, Pending())
    silent_for(alive, SILENCE_S)
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=error_s), tick=True):
        with beating(alive, -error_s):  # by the right clock
            assert not {str(alive.id), str(pending.id)} & set(look(pending_after_s=600.0).found_dead)
        until(lambda: str(alive.id) in look(pending_after_s=600.0).found_dead)


def test_heartbeat_of_long_ago_is_no_sign_of_life(ionq: Admin, runs: list[FlowRun]) -> None:
    run = put(runs, Pending(), Running())
    beat(run)
    silent_for(run, 2 * SILENCE_S)
    until(lambda: str(run.id) in look().found_dead)


def test_silent_run_that_is_none_of_ours_is_left_alone(ionq: Admin, runs: list[FlowRun]) -> None:
    foreign = put(runs, Pending(), tags=())
    assert str(foreign.id) not in look(pending_after_s=-5.0).found_dead
    assert flow_run(foreign.id).state.is_pending()
