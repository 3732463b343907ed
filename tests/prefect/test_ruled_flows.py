"""Rules in deployments of the shipped flows, on a real Prefect server."""

from __future__ import annotations

from typing import Any

import pytest
from deployed_flows import BELL, GHZ
from prefect_records import artifacts
from waiting_flows import FLOWS, deploy, execute, new_run

import qflows
from qflows.ledger import choices, reads
from qflows.prefect.client import client
from qflows.sandbox import Admin

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]

FLOWS |= {one.name: one for one in (qflows.flows.vqe, qflows.flows.benchmark, qflows.flows.qaoa)}
CHEAPEST = "cheapest(ionq-forte-1, ionq-simulator)"
WANTED: dict[str, dict[str, Any]] = {
    "run-circuits": {"circuits": [BELL, GHZ], "device": CHEAPEST, "shots": 50},
    "sweep": {"circuits": [BELL, GHZ], "device": CHEAPEST, "shots": 50},
    "vqe": {"problem": "tfim-2", "device": CHEAPEST, "shots": 50, "max_evaluations": 2},
    "qaoa": {"graph": [[0, 1]], "device": CHEAPEST, "shots": 50, "max_evaluations": 2},
    "benchmark": {"devices": [CHEAPEST], "shots": 50, "sizes": [2], "mirror_circuits": 0},
}


@pytest.mark.parametrize("name", WANTED)
def test_deployment_buys_on_the_device_that_its_rule_chose_and_a_second_run_of_the_key_too(
    name: str, ionq: Admin
) -> None:
    deployment = deploy(name)
    run = new_run(deployment, **WANTED[name], run_key="ruled")
    state = execute(run)
    assert state.is_completed(), state.message
    made = choices.of_runs(client().ledger, ["ruled"])
    assert [one.device for one in made] == ["ionq-simulator"]
    jobs = reads.listing(client().ledger, run_key="ruled", limit=1000)
    assert {job.device for job in jobs} == {"ionq-simulator"}
    pages = [str(one.data) for one in artifacts(run.id) if one.type == "markdown"]
    assert any("chose **ionq-simulator**" in page for page in pages)
    bought = ionq.count_jobs("ionq")
    assert bought > 0
    assert execute(new_run(deployment, **WANTED[name], run_key="ruled")).is_completed()
    assert ionq.count_jobs("ionq") == bought
    assert len(choices.of_runs(client().ledger, ["ruled"])) == 1
