"""Runs that somebody ended: their jobs are cancelled at the vendor, whatever the run was doing. Counted there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import sqlalchemy as sa
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import Abort
from prefect.states import Cancelled, Cancelling, Crashed, Pending, Running, Scheduled, State
from prefect.utilities.engine import propose_state_sync
from prefect_records import artifacts, flow_run, until
from waiting_flows import deploy, execute, new_run

import qflows
from qflows import flows
from qflows.ledger import reads
from qflows.ledger import sessions as ledger_sessions
from qflows.ledger.tables import attempts
from qflows.prefect.cancelled_page import KEY
from qflows.prefect.client import client
from qflows.prefect.housekeeper import Housekeeper, Kept
from qflows.sandbox import Admin

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]

JOBS = 3


def sweep(**settings: float) -> Kept:
    """One tick of the whole reconciler on the test's ledger."""
    return Housekeeper(client(), **settings).tick()[1]  # pyright: ignore


def set_state(run: FlowRun, state: State, *, force: bool = False) -> None:
    """What the UI and the command line do."""
    with get_client(sync_client=True) as api:
        api.set_flow_run_state(run.id, state, force=force)


def suspended(ionq: Admin, **parameters: object) -> FlowRun:
    """A run that waits without a process for three queued jobs."""
    ionq.clock("frozen")
    run = new_run(deploy("patient"), **parameters)
    assert execute(run).name == "Suspended"
    assert ionq.count_jobs("ionq") == JOBS
    return run


def cancelled_at_the_vendor(ionq: Admin) -> int:
    """Jobs that the vendor knows as cancelled."""
    ionq.clock("instant")  # what was not cancelled would be done now
    return sum(job["phase"] == "cancelled" for job in ionq.jobs("ionq"))


def assert_all_cancelled(ionq: Admin) -> None:
    """The vendor and, by the next tick, the ledger say so; nothing more was bought."""
    assert cancelled_at_the_vendor(ionq) == JOBS
    until(lambda: sweep() and not reads.all_live(client().ledger))
    assert {job.status.value for job in reads.listing(client().ledger)} == {"CANCELLED"}
    assert ionq.count_jobs("ionq") == JOBS


def test_suspended_run_that_is_cancelled_has_its_jobs_cancelled_in_one_sweep(ionq: Admin) -> None:
    run = suspended(ionq)
    set_state(run, Cancelling())
    assert flow_run(run.id).state.name == "Cancelled"  # no process, so no hook
    assert len(sweep().cancelled_jobs) == JOBS
    assert_all_cancelled(ionq)
    assert sweep().cancelled_jobs == []
    assert sweep().woken == []


def test_crashed_run_that_waits_for_its_retry_is_cancelled(ionq: Admin) -> None:
    run = suspended(ionq)
    set_state(run, Crashed(), force=True)
    assert str(run.id) in sweep(crash_grace_s=0.0).retried
    assert flow_run(run.id).state.name == "AwaitingRetry"
    set_state(run, Cancelling())
    sweep()
    assert_all_cancelled(ionq)


def test_crashed_run_that_is_set_to_cancelled_is_not_retried_and_its_jobs_are_cancelled(ionq: Admin) -> None:
    run = suspended(ionq)
    set_state(run, Crashed(), force=True)
    set_state(run, Cancelled())  # the UI's way: from Crashed, Prefect refuses Cancelling
    kept = sweep(crash_grace_s=0.0)
    assert len(kept.cancelled_jobs) == JOBS
    assert str(run.id) not in kept.retried
    assert_all_cancelled(ionq)
    assert str(run.id) not in sweep(crash_grace_s=0.0).retried


def test_pending_run_that_is_cancelled_has_the_jobs_of_its_earlier_attempt_cancelled(ionq: Admin) -> None:
    run = suspended(ionq)
    set_state(run, Pending(), force=True)
    set_state(run, Cancelling())
    assert len(sweep().cancelled_jobs) == JOBS
    assert_all_cancelled(ionq)


def test_scheduled_run_that_is_cancelled_never_buys(ionq: Admin) -> None:
    run = new_run(deploy("patient"))
    set_state(run, Scheduled(scheduled_time=datetime.now(UTC) + timedelta(hours=1)))
    set_state(run, Cancelling())
    assert flow_run(run.id).state.name == "Cancelled"
    assert sweep().cancelled_jobs == []
    with get_client(sync_client=True) as api, pytest.raises(Abort):
        propose_state_sync(api, Pending(), flow_run_id=run.id)  # a worker had fetched it a moment before
    assert ionq.count_jobs("ionq") == 0


def test_woken_run_that_is_cancelled_before_it_starts_again_says_what_was_paid(ionq: Admin) -> None:
    run = suspended(ionq)
    ionq.release(1)
    until(lambda: any(job.is_terminal for job in (sweep() and reads.listing(client().ledger))))
    set_state(run, Scheduled(name="Resuming"), force=True)
    set_state(run, Cancelling())
    assert len(sweep().cancelled_jobs) == JOBS - 1
    assert cancelled_at_the_vendor(ionq) == JOBS - 1
    (page,) = [one for one in artifacts(run.id) if one.key == KEY]
    assert "1 completed" in str(page.data)
    assert f"{JOBS - 1} cancelled" in str(page.data)
    with get_client(sync_client=True) as api:
        mine = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id]))
        told = [line.message for line in api.read_logs(mine)]
    assert any(f"ended: {JOBS} of {JOBS} jobs; paid: " in line for line in told)


def test_run_whose_process_goes_on_unaware_is_cancelled(ionq: Admin) -> None:
    run = suspended(ionq)
    # a worker that died leaves a run in this state for five minutes
    set_state(run, Running(), force=True)
    set_state(run, Cancelling())
    assert flow_run(run.id).state.name == "Cancelling"
    sweep()
    assert_all_cancelled(ionq)


def test_run_that_was_deleted_has_its_jobs_cancelled(ionq: Admin) -> None:
    run = suspended(ionq)
    with get_client(sync_client=True) as api:
        api.delete_flow_run(run.id)
    sweep()
    assert_all_cancelled(ionq)


def test_cancelled_parent_ends_what_its_subflow_bought(ionq: Admin) -> None:
    ionq.clock("frozen")
    run = new_run(deploy("parent-of-patient"))
    assert execute(run).name == "Suspended"
    set_state(run, Cancelling())
    assert len(sweep().cancelled_jobs) == 2
    assert cancelled_at_the_vendor(ionq) == 2


def test_hook_reaches_the_vendor_without_a_sweeper(ionq: Admin) -> None:
    from qflows.prefect.housekeeper import cancel_jobs

    run = suspended(ionq)
    set_state(run, Cancelling())
    cancel_jobs(None, flow_run(run.id), None)
    assert {job.status.value for job in reads.listing(client().ledger)} == {"CANCELLED"}
    assert cancelled_at_the_vendor(ionq) == JOBS


@pytest.mark.parametrize("name", [name for name in flows.__all__ if name not in ("report", "wall")])
def test_every_shipped_flow_that_buys_has_the_hook(name: str) -> None:
    assert "cancel_jobs" in {hook.__name__ for hook in getattr(flows, name).on_cancellation_hooks}


def test_job_that_another_live_run_shares_is_kept(ionq: Admin) -> None:
    one = suspended(ionq, run_key="shared")
    two = suspended(ionq, run_key="shared")
    set_state(one, Cancelling())
    assert sweep().cancelled_jobs == []
    set_state(two, Cancelling())
    assert len(sweep().cancelled_jobs) == JOBS
    assert_all_cancelled(ionq)


def test_script_that_goes_on_under_the_key_of_a_cancelled_run_keeps_its_jobs(ionq: Admin) -> None:
    from deployed_flows import BELL

    run = suspended(ionq, run_key="continued")
    set_state(run, Cancelling())
    sweep()
    assert_all_cancelled(ionq)
    ionq.clock("frozen")
    job = qflows.submit(BELL, device="ionq-simulator", shots=70, run_key="continued")
    assert sweep().cancelled_jobs == []
    assert not reads.job(client().ledger, job.key).is_terminal


@pytest.mark.parametrize("knows_the_flow", [True, False])
def test_run_that_the_server_never_had_keeps_its_jobs(ionq: Admin, knows_the_flow: bool) -> None:
    # another server, an empty one, or one restored from before the run: absence alone proves nothing
    suspended(ionq)
    with client().ledger.write() as connection:
        connection.execute(sa.update(attempts).values(flow_run_id=str(uuid4()), root_id=str(uuid4())))
        if not knows_the_flow:
            connection.execute(sa.update(attempts).values(flow_id=str(uuid4())))
    assert sweep().cancelled_jobs == []
    assert {job.status.value for job in reads.all_live(client().ledger)} == {"QUEUED"}


def test_session_of_a_cancelled_run_is_closed(ionq: Admin) -> None:
    ionq.clock("frozen")
    run = new_run(deploy("holder"))
    execute(run)  # this process lives, so the session's owner does
    (record,) = ledger_sessions.listing(client().ledger, only_live=True)
    set_state(run, Running(), force=True)
    set_state(run, Cancelling())
    sweep()
    assert ledger_sessions.listing(client().ledger, only_live=True) == []
    assert ionq.requests("ionq.session_end") >= 1
    info = client().vendors.of_session(record).session(record.vendor_id)  # pyright: ignore
    assert not info.is_open
