"""Crashed runs are scheduled again by the reconciler: within a budget, once per crash, and only ours."""

from __future__ import annotations

import contextvars
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.states import Crashed, Pending
from prefect_records import flow_run, until
from waiting_flows import deploy, execute, new_run

from qflows.ledger import flow_runs
from qflows.prefect.client import client
from qflows.prefect.housekeeper import TAG, Housekeeper, Kept
from qflows.sandbox import Admin

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]


GRACE_S = 3.0


def crash(run: FlowRun) -> None:
    """What a worker reports when the process is gone; from Pending, as for one that just started."""
    with get_client(sync_client=True) as api:
        if flow_run(run.id).state.is_scheduled():
            api.set_flow_run_state(run.id, Pending())
        api.set_flow_run_state(run.id, Crashed(), force=True)


def retry(**settings: Any) -> Kept:
    """The part of a tick that looks at crashed runs."""
    kept = Kept()
    Housekeeper(client(), **({"crash_grace_s": 0.0} | settings)).retry_crashed(kept)
    return kept


def test_crashed_run_is_retried_within_its_budget_and_buys_nothing_again(ionq: Admin) -> None:
    ionq.clock("frozen")
    run = new_run(deploy("patient"))
    execute(run)
    for _ in range(2):
        crash(run)
        assert str(run.id) in retry(crash_budget=2).retried
        assert flow_run(run.id).state.name == "AwaitingRetry"
        assert execute(run).name == "Suspended"
    crash(run)
    kept = retry(crash_budget=2)
    assert str(run.id) not in kept.retried
    assert str(run.id) in kept.given_up
    assert flow_run(run.id).state.is_crashed()
    assert ionq.count_jobs("ionq") == 3


def test_crash_is_left_alone_for_as_long_as_a_second_report_may_come(ionq: Admin) -> None:
    run = new_run(deploy("patient", tags=[TAG]))
    crash(run)
    assert str(run.id) not in retry(crash_grace_s=60.0).retried
    assert str(run.id) in retry().retried


def test_run_that_never_used_qflows_is_retried_only_with_the_tag(ionq: Admin) -> None:
    tagged = new_run(deploy("patient", tags=[TAG]))
    crash(tagged)
    foreign = new_run(deploy("patient", tags=[]))
    crash(foreign)
    retried = retry().retried
    assert str(tagged.id) in retried
    assert str(foreign.id) not in retried


def test_two_sweepers_at_once_retry_a_crash_once(ionq: Admin) -> None:
    run = new_run(deploy("patient", tags=[TAG]))
    crash(run)
    until(lambda: datetime.now(UTC) - flow_run(run.id).state.timestamp > timedelta(seconds=GRACE_S))
    together = threading.Barrier(2)
    retried: list[str] = []

    def one() -> None:
        together.wait()
        # a grace of nothing would also make a claim free again at once
        retried.extend(retry(crash_grace_s=GRACE_S).retried)

    reconcilers = [threading.Thread(target=contextvars.copy_context().run, args=(one,)) for _ in range(2)]
    for thread in reconcilers:
        thread.start()
    for thread in reconcilers:
        thread.join()
    assert retried.count(str(run.id)) == 1


def test_retry_whose_sweeper_died_before_it_asked_is_made_up_for(ionq: Admin) -> None:
    run = new_run(deploy("patient", tags=[TAG]))
    crash(run)
    state = flow_run(run.id).state
    # the claim of a reconciler that was killed right after it
    won, _ = flow_runs.claim_retry(client().ledger, str(run.id), str(state.id), budget=1, redo_after_s=60.0)
    assert won
    assert flow_runs.claim_retry(client().ledger, str(run.id), str(state.id), budget=1, redo_after_s=60.0) == (False, 0)
    assert flow_runs.claim_retry(client().ledger, str(run.id), str(state.id), budget=1, redo_after_s=0.0) == (True, 0)
