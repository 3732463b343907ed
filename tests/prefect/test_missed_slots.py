"""Slots of a schedule that were not run in time: which of them run, on a real server, counted at the vendor."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from prefect import flow, suspend_flow_run
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect.states import AwaitingRetry, Cancelled, Crashed, Pending
from prefect.utilities.engine import propose_state_sync
from prefect_records import flow_run, flow_runs_of

import qflows
from qflows.errors import ProgramRejected
from qflows.ledger import slots
from qflows.prefect import slots as policy
from qflows.prefect.client import client
from qflows.prefect.slots import MissedSlots
from qflows.sandbox import Admin

BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'
HOUR = timedelta(hours=1)
suspends = False

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api", "ionq")]


@flow(name="slots-under-test")
def nightly(missed: str = "all", label: str = "") -> Any:
    """One purchase a slot."""
    if skipped := qflows.missed_slot(missed):
        return skipped
    key = qflows.submit(BELL, device="ionq-simulator", shots=20).key
    if suspends:
        suspend_flow_run(timeout=600, key="queue")
    return key


@flow(name="slots-under-test-parent")
def parent() -> Any:
    """A subflow under a policy that its parent's slot breaks."""
    return nightly("skip after 1s")


class AnHourLater(datetime):
    """The clock of a process that runs an hour later."""

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return datetime.now(tz) + HOUR


class Deployment:
    """A deployment on an hourly schedule that nothing serves, and runs for slots of the past."""

    def __init__(self, which: Any = nightly, *, first: datetime | None = None, **parameters: Any) -> None:
        self.flow = which
        self.newest = (first or datetime.now(UTC) - timedelta(minutes=5)).replace(microsecond=0)
        with get_client(sync_client=True) as api:
            self.id: UUID = api.create_deployment(
                api.create_flow(which),
                name=f"slots-{datetime.now(UTC):%H%M%S%f}",
                schedules=[DeploymentScheduleCreate(schedule=self._hourly, active=True)],
                parameters=parameters,
                enforce_parameter_schema=False,
            )

    @property
    def _hourly(self) -> IntervalSchedule:
        return IntervalSchedule(interval=HOUR, anchor_date=self.newest)

    def run_of(self, hours_ago: int) -> FlowRun:
        """The run that Prefect's scheduler makes for the newest slot but `hours_ago`."""
        slot = self.newest - hours_ago * HOUR
        window = {"start_time": f"{slot - HOUR / 4:%FT%TZ}", "end_time": f"{slot + HOUR / 4:%FT%TZ}"}
        with get_client(sync_client=True) as api:
            body = window | {"min_runs": 1, "max_runs": 1}
            api._client.post(f"/deployments/{self.id}/schedule", json=body).raise_for_status()
        runs = [run for run in flow_runs_of(self.id) if run.expected_start_time == slot]
        assert all(run.auto_scheduled for run in runs)
        return max(runs, key=lambda run: run.created or slot)

    def forget_schedule(self) -> None:
        """What a redeployment does: another schedule with the same slots, which then get a second run each."""
        with get_client(sync_client=True) as api:
            [old] = api.read_deployment(self.id).schedules
            api.delete_deployment_schedule(self.id, old.id)
            api.create_deployment_schedules(self.id, [(self._hourly, True)])

    def execute(self, run: FlowRun) -> str:
        """One execution by Prefect's engine; the name of the state it ends in."""
        with get_client(sync_client=True) as api:
            if not api.read_flow_run(run.id).state.is_pending():  # pyright: ignore[reportOptionalMemberAccess]
                propose_state_sync(api, Pending(), flow_run_id=run.id)
            now = api.read_flow_run(run.id)
        with contextlib.suppress(Pause):
            run_flow(self.flow, flow_run=now, parameters=now.parameters, return_type="state")
        return state(run).name


def state(run: FlowRun) -> Any:
    return flow_run(run.id).state


# -- the policies


def test_slot_that_is_too_late_ends_skipped_before_anything_is_bought_and_says_why(ionq: Admin) -> None:
    deployment = Deployment(missed="skip after 2h")
    run = deployment.run_of(3)
    assert deployment.execute(run) == "Skipped"
    ended = state(run)
    assert ended.is_completed()
    assert "3 h 5 min late" in ended.message
    assert "skip after 2 h" in ended.message
    assert ionq.count_jobs("ionq") == 0


def test_slot_that_is_less_late_runs(ionq: Admin) -> None:
    deployment = Deployment(missed="skip after 2h")
    assert deployment.execute(deployment.run_of(1)) == "Completed"
    assert ionq.count_jobs("ionq") == 1


@pytest.mark.parametrize("order", [(3, 2, 1, 0), (0, 1, 2, 3)], ids=["oldest first", "newest first"])
def test_latest_runs_one_of_the_missed_slots_in_whatever_order_they_start(order: tuple[int, ...], ionq: Admin) -> None:
    deployment = Deployment(missed="latest")
    runs = {hours: deployment.run_of(hours) for hours in order}
    ends = {hours: deployment.execute(runs[hours]) for hours in order}
    assert ends == {3: "Skipped", 2: "Skipped", 1: "Skipped", 0: "Completed"}
    assert f"{deployment.newest:%Y-%m-%d %H:%M}" in state(runs[3]).message
    assert ionq.count_jobs("ionq") == 1


def test_all_runs_every_missed_slot(ionq: Admin) -> None:
    deployment = Deployment(missed="all")
    runs = [deployment.run_of(hours) for hours in (2, 1, 0)]
    assert [deployment.execute(run) for run in runs] == ["Completed"] * 3
    assert ionq.count_jobs("ionq") == 3


def test_latest_falls_back_to_the_slot_before_one_that_a_person_cancelled(ionq: Admin) -> None:
    deployment = Deployment(missed="latest")
    runs = [deployment.run_of(hours) for hours in (2, 1, 0)]
    with get_client(sync_client=True) as api:
        api.set_flow_run_state(runs[2].id, Cancelled(), force=True)
    assert [deployment.execute(run) for run in runs[:2]] == ["Skipped", "Completed"]
    assert ionq.count_jobs("ionq") == 1


def test_slot_of_another_schedule_with_other_parameters_stands_in_for_nothing(ionq: Admin) -> None:
    deployment = Deployment(missed="latest", label="monday")
    old = deployment.run_of(1)
    with get_client(sync_client=True) as api:
        api._client.patch(
            f"/deployments/{deployment.id}", json={"parameters": {"missed": "latest", "label": "tuesday"}}
        )
    new = deployment.run_of(0)
    assert old.parameters != new.parameters
    assert [deployment.execute(old), deployment.execute(new)] == ["Completed", "Completed"]


# -- a run that began in time is not late


@pytest.fixture
def suspended() -> Iterator[None]:
    global suspends
    suspends = True
    yield
    suspends = False


@pytest.mark.usefixtures("suspended")
def test_run_that_began_in_time_and_is_resumed_late_is_not_skipped(
    ionq: Admin, ledger_env: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    deployment = Deployment(first=datetime.now(UTC) - timedelta(seconds=1), missed="skip after 20m")
    run = deployment.run_of(0)
    assert deployment.execute(run) == "Suspended"
    monkeypatch.setattr(policy, "datetime", AnHourLater)
    # also without the decision: Prefect's own record of the first start says the same
    with client().ledger.write() as connection:
        connection.exec_driver_sql("delete from slots")
    with get_client(sync_client=True) as api:
        api.resume_flow_run(run.id)
    assert deployment.execute(run) == "Completed"
    assert ionq.count_jobs("ionq") == 1


def test_run_that_crashed_in_time_and_is_retried_when_later_slots_are_due_is_not_skipped(ionq: Admin) -> None:
    deployment = Deployment(missed="latest")
    run = deployment.run_of(1)
    assert deployment.execute(run) == "Completed"
    with get_client(sync_client=True) as api:
        api.set_flow_run_state(run.id, Crashed(), force=True)
        api.set_flow_run_state(run.id, AwaitingRetry(), force=True)
    deployment.run_of(0)
    assert deployment.execute(run) == "Completed"
    assert ionq.count_jobs("ionq") == 1


def test_twin_run_of_a_slot_that_ran_joins_it_however_late(ionq: Admin) -> None:
    deployment = Deployment(missed="latest")
    first = deployment.run_of(1)
    assert deployment.execute(first) == "Completed"
    deployment.forget_schedule()
    second = deployment.run_of(1)
    deployment.run_of(0)
    assert first.id != second.id
    assert deployment.execute(second) == "Completed"
    assert ionq.count_jobs("ionq") == 1


def test_twin_run_of_a_slot_that_was_skipped_is_skipped(ionq: Admin) -> None:
    deployment = Deployment(missed="latest")
    first, newest = deployment.run_of(1), deployment.run_of(0)
    assert deployment.execute(first) == "Skipped"
    with get_client(sync_client=True) as api:  # without the decision, the twin would now be the latest
        api.set_flow_run_state(newest.id, Cancelled(), force=True)
    with get_client(sync_client=True) as api:
        api.set_flow_run_state(first.id, Pending(), force=True)
    deployment.forget_schedule()
    second = deployment.run_of(1)
    assert deployment.execute(second) == "Skipped"
    assert ionq.count_jobs("ionq") == 0


def test_decision_is_in_the_ledger_once_for_the_report() -> None:
    deployment = Deployment(missed="skip after 2h")
    run = deployment.run_of(3)
    deployment.execute(run)
    found = slots.skipped_between(client().ledger, datetime.now(UTC) - HOUR, datetime.now(UTC) + HOUR)
    mine = [one for one in found if one.deployment_id == str(deployment.id)]
    assert [(one.flow_run_id, one.flow_name, one.slot) for one in mine] == [
        (str(run.id), "slots-under-test", deployment.newest - 3 * HOUR)
    ]


# -- what has no slot


def test_run_that_a_person_starts_is_never_skipped(ionq: Admin) -> None:
    deployment = Deployment(missed="skip after 1s")
    with get_client(sync_client=True) as api:
        run = api.create_flow_run_from_deployment(deployment.id)
    assert deployment.execute(run) == "Completed"
    assert ionq.count_jobs("ionq") == 1


def test_subflow_runs_though_its_parents_slot_is_late(ionq: Admin) -> None:
    deployment = Deployment(parent)
    assert deployment.execute(deployment.run_of(3)) == "Completed"
    assert ionq.count_jobs("ionq") == 1


def test_policy_that_cannot_be_read_fails_before_anything_is_bought(ionq: Admin) -> None:
    deployment = Deployment(missed="skip aftr 2h")
    run = deployment.run_of(0)
    assert deployment.execute(run) == "Failed"
    assert "skip after 2h" in state(run).message
    assert ionq.count_jobs("ionq") == 0


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("all", MissedSlots()),
        ("Latest", MissedSlots(latest=True)),
        ("skip after 2h 30m", MissedSlots(after_s=9000)),
        ("skip after 90s", MissedSlots(after_s=90)),
    ],
)
def test_policies_are_words(text: str, policy: MissedSlots) -> None:
    assert MissedSlots.read(text) == policy


@pytest.mark.parametrize("text", ["", "skip", "skip after", "skip after soon", "latest 2h", "none"])
def test_other_words_are_rejected(text: str) -> None:
    with pytest.raises(ProgramRejected):
        MissedSlots.read(text)


def test_outside_a_flow_nothing_is_skipped() -> None:
    assert qflows.missed_slot("skip after 1s") is None
