"""State changes of jobs in Prefect's event feed: each told once, with its flow run, whoever saw it happen."""

from __future__ import annotations

from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect_records import until

import qflows
from qflows.core.client import Client
from qflows.prefect.client import client
from qflows.sandbox import Admin

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]

DEVICE = "ionq-simulator"
BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'


def events_of(key: str, *, last: str) -> list[dict[str, Any]]:
    """What the server has of a job, oldest first, once `last` is there."""
    wanted = {"filter": {"resource": {"id": [f"qflows.job.{key}"]}, "order": "ASC"}, "limit": 50}

    def arrived() -> list[dict[str, Any]]:
        with get_client(sync_client=True) as api:
            found = api._client.post("/events/filter", json=wanted).json()["events"]
        return found if any(one["event"] == last for one in found) else []

    return until(arrived)


def related(event: dict[str, Any], role: str) -> list[str]:
    return [one["prefect.resource.id"] for one in event["related"] if one["prefect.resource.role"] == role]


def test_every_change_of_a_job_is_told_once_with_its_run_and_device(ionq: Admin) -> None:
    @flow
    def buys() -> tuple[str, str]:
        res = qflows.run(BELL, device=DEVICE, shots=20, name="bell")
        return res.job.key, res.job.run_key

    key, run_key = buys()
    told = events_of(key, last="qflows.job.completed")
    names = [one["event"] for one in told]
    assert names[0] == "qflows.job.queued"
    assert names[-1] == "qflows.job.completed"
    assert len(set(names)) == len(names)
    for one in told:
        assert related(one, "flow-run") == [f"prefect.flow-run.{run_key}"]
        assert related(one, "device") == [f"qflows.device.{DEVICE}"]
    assert told[-1]["resource"]["qflows.vendor-id"] == ionq.jobs("ionq")[0]["id"]
    assert told[-1]["resource"]["prefect.resource.name"] == f"bell on {DEVICE}"


def test_change_seen_by_another_run_is_told_for_the_run_that_bought_the_job(ionq: Admin) -> None:
    ionq.clock("frozen")

    @flow
    def buys() -> tuple[str, str]:
        job = qflows.submit(BELL, device=DEVICE, shots=20)
        return job.key, job.run_key

    @flow
    def waits_for(key: str) -> None:
        qflows.wait([key], timeout=20)

    key, run_key = buys()
    ionq.release()
    waits_for(key)
    told = events_of(key, last="qflows.job.completed")
    assert {one for event in told for one in related(event, "flow-run")} == {f"prefect.flow-run.{run_key}"}


def test_failure_is_told_with_the_vendors_words(ionq: Admin) -> None:
    ionq.fault("fail_job", "ionq.submit", code="InvalidInput", message="the mirror is dirty")

    @flow
    def buys() -> str:
        job = qflows.submit(BELL, device=DEVICE, shots=20)
        qflows.wait([job], timeout=20)
        return job.key

    (failed,) = [one for one in events_of(buys(), last="qflows.job.failed") if one["event"] == "qflows.job.failed"]
    assert failed["payload"]["error"] == "the mirror is dirty"


def test_core_that_knows_no_prefect_tells_nobody(ionq: Admin) -> None:
    assert not Client().ledger.listeners
    assert len(client().ledger.listeners) == 1
