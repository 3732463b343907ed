"""Shipped flows behind a gate on a real Prefect server: bought now, rescheduled without a process, or not at all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from deployed_flows import BELL, GHZ
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.states import State
from prefect_records import artifacts, flow_run
from waiting_flows import FLOWS, deploy, execute, new_run

import qflows
from qflows.errors import ProgramRejected
from qflows.ledger import gates
from qflows.pages.morning import compose, gather, to_text
from qflows.prefect.client import client
from qflows.sandbox import Admin

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]

DEVICE = "ionq-forte-1"
# pairs of CX leave |01> on a device without noise; on the noisy one every third shot is another
LONG = "cx q[0],q[1]; cx q[0],q[1]; " * 60
REFERENCE = {
    "circuit": f'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; x q[0]; {LONG}measure q -> c;',
    "expected": {"01": 1.0},
    "at_least": 0.95,
    "name": "long",
}


def gate(**more: Any) -> dict[str, Any]:
    return {"reference": REFERENCE, "shots": 100, **more}


def verdicts(run: FlowRun) -> list[tuple[int, str]]:
    return [(one.look, one.verdict) for one in gates.of_runs(client().ledger, [str(run.id)])]


@pytest.fixture
def noisy(ionq: Admin) -> Admin:
    ionq.switches("ionq", qpu_noise=True)
    return ionq


@pytest.fixture
def quiet(ionq: Admin) -> Admin:
    ionq.switches("ionq", qpu_noise=False)
    return ionq


FLOWS |= {one.name: one for one in (qflows.flows.vqe, qflows.flows.benchmark, qflows.flows.qaoa)}
DEAR: dict[str, dict[str, Any]] = {  # what each flow would buy
    "run-circuits": {"circuits": [BELL, GHZ], "device": DEVICE, "shots": 50},
    "sweep": {"circuits": [BELL, GHZ], "device": DEVICE, "shots": 50},
    "vqe": {"problem": "h2-0.735", "device": DEVICE, "shots": 50, "max_evaluations": 3},
    "qaoa": {"graph": [[0, 1], [1, 2]], "device": DEVICE, "shots": 50, "max_evaluations": 3},
    "benchmark": {"devices": [DEVICE], "shots": 50, "sizes": [2], "mirror_circuits": 0},
}


@pytest.mark.parametrize("name", DEAR)
def test_bad_device_holds_every_shipped_flow_back(name: str, noisy: Admin) -> None:
    run = new_run(deploy(name), **DEAR[name], gate=gate())
    state = execute(run)
    assert (state.name, state.is_completed()) == ("HeldBack", True)
    assert f"{DEVICE} is held back, nothing expensive was bought: reference long" in (state.message or "")
    assert "below 0.95 by" in (state.message or "")
    assert noisy.count_jobs("ionq") == 1  # the reference
    assert verdicts(run) == [(0, "no")]
    pages = [one.data for one in artifacts(run.id) if one.type == "markdown"]
    assert any("## Whether to buy" in str(page) and "| no |" in str(page) for page in pages)


@pytest.mark.parametrize("name", ["sweep", "vqe"])
def test_good_device_is_bought_on_and_the_page_says_so(name: str, quiet: Admin) -> None:
    run = new_run(deploy(name), **DEAR[name], gate=gate())
    assert execute(run).is_completed()
    assert verdicts(run) == [(0, "buy")]
    assert quiet.count_jobs("ionq") > 1
    pages = [str(one.data) for one in artifacts(run.id) if one.type == "markdown"]
    assert any("## Whether to buy" in page and "| buy |" in page for page in pages)


def test_later_leaves_the_process_and_buys_once_the_device_is_good(noisy: Admin) -> None:
    run = new_run(deploy("sweep"), **DEAR["sweep"], gate=gate(within="1h", every=1))
    before = datetime.now(UTC)
    state = execute(run)  # returns: nothing waits in this process
    assert (state.name, state.is_scheduled()) == ("AwaitingRetry", True)
    seen = flow_run(run.id)
    assert seen.state is not None
    assert seen.state.name == "AwaitingRetry"
    assert "The next check is at" in (seen.state.message or "")
    due = seen.next_scheduled_start_time
    assert due is not None
    assert before < due < before + timedelta(seconds=60)
    assert due - timedelta(seconds=1) == gates.of_runs(client().ledger, [str(run.id)])[0].at
    assert noisy.count_jobs("ionq") == 1
    assert any(one.key == "gate" and "| later |" in str(one.data) for one in artifacts(run.id))
    assert execute(run).is_scheduled()  # still bad
    noisy.switches("ionq", qpu_noise=False)
    state = execute(run)
    assert state.is_completed()
    assert verdicts(run) == [(0, "later"), (1, "later"), (2, "buy")]
    assert noisy.count_jobs("ionq") == 3 + 1  # three looks, one composite job


def test_window_ends_in_held_back(noisy: Admin) -> None:
    run = new_run(deploy("run-circuits"), **DEAR["run-circuits"], gate=gate(within=1.4, every=1))
    assert execute(run).name == "AwaitingRetry"
    state = execute(run)
    assert (state.name, state.is_completed()) == ("HeldBack", True)
    assert verdicts(run) == [(0, "later"), (1, "no")]
    assert noisy.count_jobs("ionq") == 2


def test_worker_picks_a_rescheduled_run_up_when_it_is_due_and_not_before(noisy: Admin) -> None:
    run = new_run(deploy("sweep"), **DEAR["sweep"], gate=gate(within="6h", every="30m"))
    assert execute(run).name == "AwaitingRetry"
    with get_client(sync_client=True) as api:
        body = {"deployment_ids": [str(run.deployment_id)], "limit": 10}
        for wait, found in ((timedelta(0), []), (timedelta(minutes=31), [str(run.id)])):
            body["scheduled_before"] = (datetime.now(UTC) + wait).isoformat()
            due = api._client.post("/deployments/get_scheduled_flow_runs", json=body).json()
            assert [one["id"] for one in due] == found


def test_users_flow_behind_a_gate_leaves_its_process_too(noisy: Admin) -> None:
    run = new_run(deploy("gated-by-hand"))
    assert execute(run).name == "AwaitingRetry"
    noisy.switches("ionq", qpu_noise=False)
    assert execute(run).is_completed()
    assert verdicts(run) == [(0, "later"), (1, "buy")]
    assert noisy.count_jobs("ionq") == 3


@flow(name="gated-by-hand")
def by_hand() -> Any:
    """What the documentation shows."""
    if held := qflows.gate(DEVICE, within="1h", every=1, shots=100, reference=REFERENCE):
        return held
    return qflows.run(BELL, device=DEVICE, shots=50).job.key


FLOWS["gated-by-hand"] = by_hand


def test_run_without_a_deployment_waits_in_its_process(noisy: Admin) -> None:
    state = qflows.flows.run_circuits(**DEAR["run-circuits"], gate=gate(within=1.5, every=1), return_state=True)
    assert state.name == "HeldBack"
    assert noisy.count_jobs("ionq") == 2


def test_good_devices_of_a_benchmark_are_measured_and_the_others_told(noisy: Admin) -> None:
    arguments = {**DEAR["benchmark"], "devices": [DEVICE, "local-aer"]}
    found = qflows.flows.benchmark(**arguments, gate=gate(), run_key="two devices")
    assert found.devices == ("local-aer",)
    looks = gates.of_runs(client().ledger, ["two devices"])
    assert {one.device: one.verdict for one in looks} == {DEVICE: "no", "local-aer": "buy"}


def test_gate_looks_at_the_device_that_a_rule_chose(noisy: Admin) -> None:
    arguments = {**DEAR["sweep"], "device": f"least_busy({DEVICE})"}
    run = new_run(deploy("sweep"), **arguments, gate=gate())
    assert execute(run).name == "HeldBack"
    (look,) = gates.of_runs(client().ledger, [str(run.id)])
    assert look.device == DEVICE


def test_report_says_what_was_held_back(noisy: Admin) -> None:
    run = new_run(deploy("sweep"), **DEAR["sweep"], gate=gate())
    execute(run)
    now = datetime.now(UTC)
    found = gather(client().ledger, now - timedelta(hours=1), now + timedelta(minutes=1))
    assert [one["verdict"] for one in found.to_json()["gates"]] == ["no"]
    text = to_text(compose(found))
    assert "Held back by a gate" in text
    assert "sweep" in text
    assert DEVICE in text


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("sometimes", "not a gate: 'sometimes'"),
        ("within soon", "'soon' is not a duration"),
        ("within 6h every 0s", "every must be longer than 0"),
        ({"within": "6h", "shot": 5}, "a gate has no shot"),
        ({"shots": 0}, "shots must be a whole number"),
        ({"reference": {"circuit": BELL, "expected": {"000": 1.0}}}, "keys like '00', not '000'"),
        ({"reference": {"circuit": BELL, "expected": {"00": 0.5}}}, "add up to 0.5"),
        ({"reference": {"circuit": BELL, "at_least": 2}}, "at_least is an overlap"),
        (7, "not a gate: 7"),
    ],
)
def test_gate_that_makes_no_sense_is_refused_before_anything_happens(given: Any, told: str, ionq: Admin) -> None:
    with pytest.raises(ProgramRejected, match=told):
        qflows.flows.sweep(**DEAR["sweep"], gate=given)
    assert ionq.count_jobs("ionq") == 0


def test_form_of_a_deployment_refuses_words_that_are_no_gate() -> None:
    import jsonschema

    schema = qflows.flows.vqe.parameters.model_dump_for_openapi()["properties"]["gate"]
    for good in (None, "once", "within 6h", "within 6h every 30m", {"within": "6h", "shots": 100}):
        jsonschema.validate(good, schema)
    for bad in ("sometimes", {"shot": 5}, {"shots": 0}, 7):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema)


def test_references_inside_a_sweep_show_the_health_of_each_part_on_its_page(noisy: Admin) -> None:
    reference = {"circuit": REFERENCE["circuit"], "at_least": 0.95, "name": "long"}
    state: State = qflows.flows.sweep(
        [BELL, GHZ, BELL], DEVICE, 100, max_circuits=2, reference=reference, run_key="health", return_state=True
    )
    found = state.result()
    assert (len(found), found.in_bad_health) == (3, (0, 1, 2))
    page = " ".join(str(one.data) for one in artifacts(state.state_details.flow_run_id) if one.type == "markdown")
    assert "## Health of the parts" in page
    assert "3 of 3 measurements show bad health" in page
    assert "worse than at\\_least" in page
