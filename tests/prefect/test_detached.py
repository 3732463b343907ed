"""Waiting without a process. The vendor's journal says what was bought; the tests play worker and reconciler."""

from __future__ import annotations

import contextvars
import os
import signal
import subprocess
import sys
import threading

import pytest
from deployed_flows import BELL, GHZ, LOGICAL_JOBS
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect_records import flow_run, until
from waiting_flows import deploy, execute, new_run, patient

import qflows.prefect.suspend
from qflows.prefect.client import client
from qflows.prefect.housekeeper import Housekeeper, Kept
from qflows.sandbox import Admin

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]

JOBS = 3  # what one run of `patient` buys


def sweep() -> Kept:
    """One tick of the whole reconciler on the test's ledger."""
    return Housekeeper(client()).tick()[1]


def states_of(run_id: object) -> list[State]:
    """Every state that the run was in."""
    with get_client(sync_client=True) as api:
        return api.read_flow_run_states(run_id)  # pyright: ignore


def test_run_leaves_its_process_and_is_woken_when_its_jobs_are_done(ionq: Admin) -> None:
    ionq.clock("frozen")
    run = new_run(deploy("patient"))
    assert execute(run).name == "Suspended"
    assert sweep().woken == []
    ionq.clock("instant")
    assert sweep().woken == [str(run.id)]
    assert flow_run(run.id).state.name == "Resuming"
    state = execute(run)
    assert state.is_completed()
    assert state.result() == [50] * JOBS
    assert ionq.count_jobs("ionq") == JOBS
    assert sweep().woken == []


def test_run_that_is_woken_too_early_suspends_again(ionq: Admin) -> None:
    ionq.clock("frozen")
    run = new_run(deploy("patient"))
    execute(run)
    with get_client(sync_client=True) as api:
        api.resume_flow_run(run.id)  # by a person, in the UI
    assert execute(run).name == "Suspended"
    ionq.clock("instant")
    assert sweep().woken == [str(run.id)]
    assert execute(run).is_completed()
    assert ionq.count_jobs("ionq") == JOBS


def test_wake_up_before_the_run_suspended_is_not_lost(ionq: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    suspend = qflows.prefect.suspend.suspend_flow_run
    early: list[str] = []

    def finish_and_sweep_first(**arguments: object) -> None:
        ionq.clock("instant")
        early.extend(sweep().woken)
        suspend(**arguments)  # pyright: ignore

    monkeypatch.setattr(qflows.prefect.suspend, "suspend_flow_run", finish_and_sweep_first)
    ionq.clock("frozen")
    run = new_run(deploy("patient"))
    assert execute(run).name == "Suspended"
    assert early == []
    assert sweep().woken == [str(run.id)]
    assert execute(run).is_completed()
    assert ionq.count_jobs("ionq") == JOBS


def test_two_reconcilers_at_once_wake_a_run_once(ionq: Admin) -> None:
    ionq.clock("frozen")
    run = new_run(deploy("patient"))
    assert execute(run).name == "Suspended"
    ionq.clock("instant")
    together = threading.Barrier(2)
    troubles: list[str] = []

    def one() -> None:
        together.wait()
        troubles.append(sweep().trouble)

    # the server's address is in force in this context only
    reconcilers = [threading.Thread(target=contextvars.copy_context().run, args=(one,)) for _ in range(2)]
    for thread in reconcilers:
        thread.start()
    for thread in reconcilers:
        thread.join()
    # Prefect's SQLite may be locked by the other one's request: that is a 503, and the next tick's business
    assert all(trouble == "" or "503" in trouble for trouble in troubles)
    until(lambda: sweep() and "Resuming" in [state.name for state in states_of(run.id)])
    assert [state.name for state in states_of(run.id)].count("Resuming") == 1
    assert execute(run).is_completed()
    assert ionq.count_jobs("ionq") == JOBS


def test_reconciler_killed_in_the_middle_of_a_tick_leaves_the_rest_to_the_next(
    ionq: Admin, child_env: dict[str, str], prefect_server: object
) -> None:
    ionq.clock("frozen")
    run = new_run(deploy("patient"))
    execute(run)
    ionq.clock("instant")
    ionq.fault("hold", "ionq.list", when="before", times=None)
    reconciler = subprocess.Popen(
        [sys.executable, "-m", "qflows.cli", "reconcile"],
        env=child_env | prefect_server.env,  # pyright: ignore
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(ionq.held)
    os.kill(reconciler.pid, signal.SIGKILL)
    reconciler.wait()
    ionq.clear_faults()
    ionq.release_held(verdict="drop")
    until(lambda: sweep().woken == [str(run.id)])
    assert execute(run).is_completed()
    assert ionq.count_jobs("ionq") == JOBS


def test_deadline_wakes_a_run_whose_jobs_are_not_done(ionq: Admin) -> None:
    ionq.clock("frozen")
    run = new_run(deploy("patient"), timeout=0.5)
    first = execute(run)  # a slow machine may reach the deadline before it suspends
    if first.is_paused():
        until(lambda: sweep().woken)
        assert execute(run).is_failed()
    told = flow_run(run.id).state.message or ""
    assert "3 of 3 jobs not finished 0.5 s after the run began: 3 at the vendor" in told
    assert ionq.count_jobs("ionq") == JOBS


def test_run_that_a_person_suspended_is_left_alone(ionq: Admin) -> None:
    run = new_run(deploy("deferred-campaign"))
    assert execute(run).name == "Suspended"
    assert ionq.count_jobs("ionq") == LOGICAL_JOBS
    for _ in range(2):
        assert sweep().woken == []
    assert flow_run(run.id).state.name == "Suspended"


def test_run_without_a_deployment_waits_in_its_process(ionq: Admin) -> None:
    assert patient() == [50] * JOBS
    assert ionq.count_jobs("ionq") == JOBS


def test_parent_of_a_subflow_is_woken(ionq: Admin) -> None:
    ionq.clock("frozen")
    run = new_run(deploy("parent-of-patient"))
    assert execute(run).name == "Suspended"
    ionq.clock("instant")
    until(lambda: sweep().woken == [str(run.id)])
    assert execute(run).is_completed()
    assert ionq.count_jobs("ionq") == 2


def test_shipped_flows_detach(ionq: Admin) -> None:
    ionq.clock("frozen")
    what = {"circuits": [BELL, GHZ], "device": "ionq-simulator", "shots": 50, "detach_after": 0}
    runs = [new_run(deploy(name), **what) for name in ("run-circuits", "sweep")]
    assert [execute(run).name for run in runs] == ["Suspended", "Suspended"]
    bought = ionq.count_jobs("ionq")
    ionq.clock("instant")
    until(lambda: sweep() and all(flow_run(run.id).state.name == "Resuming" for run in runs))
    assert all(execute(run).is_completed() for run in runs)
    assert ionq.count_jobs("ionq") == bought
