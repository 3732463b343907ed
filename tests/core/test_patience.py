"""What every vendor's «later» does: bounded in any form, honored by the lane, and ended by a person's command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from qiskit import QuantumCircuit

from qflows.core.client import Client
from qflows.core.scope import Scope
from qflows.errors import ResultsHeld, WaitTimeout
from qflows.ledger import lanes
from qflows.primitives import SamplerV2
from qflows.sandbox import Sandbox
from qflows.settings import Settings
from qflows.states import JobStatus
from qflows.testing.fixtures import closed_port

__all__ = ["closed_port"]

BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'
DEVICES = {"ionq": "ionq-simulator", "ibm": "ibm-sandbox", "braket": "braket-sv1", "qbraid": "qbraid-qir-sv"}
FORMS = {  # at least and at most, seconds; None: our own pause
    "seconds": (6, 7),
    "fraction": (6, 7.25),
    "date": (5, 7),
    "huge": (290, 300),
    "infinite": (290, 300),
    "milliseconds": (290, 300),  # 7000 is more than any pause; qBraid means 7 s by it
    "nan": None,
    "negative": None,
    "absent": None,
}


@pytest.fixture(scope="module")
def vendors() -> Iterator[Sandbox]:
    with Sandbox(vendors=tuple(DEVICES)) as running:
        yield running


@pytest.fixture
def core(vendors: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    vendors.admin.reset()
    vendors.admin.clock("frozen")
    for name, value in vendors.env.items():
        monkeypatch.setenv(name, value)
    made = Client(Settings(home=tmp_path, settle_s=0.1, poll_min_s=0.01, http_timeout_s=5))
    yield made
    made.ledger.close()


@pytest.mark.parametrize("vendor", DEVICES)
def test_pause_in_any_form_is_bounded_and_can_be_ended(vendors: Sandbox, core: Client, vendor: str) -> None:
    specs = core.specs(BELL, device=DEVICES[vendor], shots=20)
    (job,) = core.submit(specs, device=DEVICES[vendor], scope=Scope("run", "a", "caller"))
    looks = [f"{vendor}.{route}" for route in ("list", "search", "get")]  # one of them is how a single job is polled
    for form, bounds in FORMS.items():
        vendors.admin.switches(vendor, retry_after_form=form)
        for route in looks:
            vendors.admin.fault("status", route, status=429, retry_after=7, times=None)
        if vendor == "qbraid":  # a job of qBraid is read ever more rarely, and in between what was seen is shown
            core.provider(vendor)._watch.forget(str(job.vendor_id))  # pyright: ignore[reportAttributeAccessIssue]
        before = sum(vendors.admin.requests(route) for route in looks)
        core.ledger.transact(lambda c: c.exec_driver_sql("update lanes set next_at = 1"))  # due, but not freed
        with pytest.raises(WaitTimeout, match="1 at the vendor"):
            core.wait([job.key], timeout=0)
        (lane,) = [one for one in lanes.health(core.ledger) if one.provider == vendor]
        asked = sum(vendors.admin.requests(route) for route in looks) - before
        assert asked == 1, form
        assert lane.error is not None
        if vendor == "qbraid" and form == "milliseconds":
            bounds = (5, 7)  # noqa: PLW2901
        if bounds is not None:
            assert bounds[0] <= lane.next_in_s <= bounds[1], (form, lane)
        assert 0 <= lane.next_in_s <= 300
        # in this very process, which may keep the pause by itself
        vendors.admin.clear_faults()
        assert lanes.free(core.ledger, vendor) == 1
        if vendor == "qbraid":
            core.provider(vendor)._watch.forget(str(job.vendor_id))  # pyright: ignore[reportAttributeAccessIssue]
        with pytest.raises(WaitTimeout):
            core.wait([job.key], timeout=0)
        (lane,) = [one for one in lanes.health(core.ledger) if one.provider == vendor]
        assert lane.ok_ago_s is not None
        assert lane.error_ago_s is None or lane.ok_ago_s <= lane.error_ago_s, form
    vendors.admin.clock("instant")
    vendors.admin.release()
    lanes.free(core.ledger, vendor)
    done = core.wait([job.key], timeout=20)[job.key]
    assert (done.status, vendors.admin.count_jobs(vendor)) == (JobStatus.COMPLETED, 1)


@pytest.mark.parametrize("vendor", DEVICES)
def test_who_waits_without_a_timeout_gets_an_error_when_nothing_is_known_of_the_job_for_long(
    vendors: Sandbox, core: Client, monkeypatch: pytest.MonkeyPatch, vendor: str
) -> None:
    monkeypatch.setattr("qflows.core.looking._UNKNOWN_S", 0.3)
    vendors.admin.clock("instant")
    if vendor == "ibm":
        vendors.admin.switches("ibm", force_state="Reticulating")
    elif vendor == "qbraid":
        vendors.admin.switches("qbraid", finished_as="PAUSED")
    elif vendor == "ionq":
        vendors.admin.fault("list_lag", "ionq.list", seconds=3600)
    circuit = QuantumCircuit(1)
    circuit.measure_all()
    call = SamplerV2(DEVICES[vendor], shots=20, run_key="run", client=core).run([circuit])
    if vendor == "braket":
        task = {"quantumTaskArn": call.vendor_ids[0], "status": "PONDERING", "createdAt": "2026-01-01T00:00:00Z"}
        task |= {"deviceArn": "", "shots": 20, "outputS3Bucket": "b", "outputS3Directory": "d"}
        body = json.dumps({"quantumTasks": [task]})
        vendors.admin.fault("status", "braket.search", status=200, body=body, times=None)
    with pytest.raises(ResultsHeld, match="not documented|left it out of every list"):
        call.result()
    vendors.admin.switches("ibm", force_state="")
    vendors.admin.switches("qbraid", finished_as="")
    vendors.admin.clear_faults()
    if vendor == "qbraid":
        core.provider(vendor)._watch.forget(call.vendor_ids[0])  # pyright: ignore[reportAttributeAccessIssue]
    assert call.result()[0].data.meas.num_shots == 20
    assert vendors.admin.count_jobs(vendor) == 1


def test_timeout_tells_apart_jobs_at_the_vendor_and_jobs_that_were_not_sent(
    core: Client, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IONQ_API_URL", f"http://127.0.0.1:{closed_port}/v0.4")
    sent, unsent = (
        core.submit(core.specs(BELL, device=device, shots=20), device=device, scope=Scope("run", "a", "caller"))[0]
        for device in (DEVICES["qbraid"], DEVICES["ionq"])
    )
    assert (sent.vendor_id is not None, unsent.status) == (True, JobStatus.PREPARED)
    with pytest.raises(WaitTimeout) as caught:
        core.wait([sent.key, unsent.key], timeout=0)
    told = str(caught.value)
    assert "2 of 2 jobs not finished after 0 s: 1 at the vendor, to be collected later" in told
    assert "; 1 not sent yet, which the next wait sends (last answer: " in told
    with pytest.raises(WaitTimeout) as caught:
        core.wait([unsent.key], timeout=0)
    assert "at the vendor" not in str(caught.value).split("(last answer")[0]
