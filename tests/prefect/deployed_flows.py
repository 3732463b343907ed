"""Flows for tests that need more than one execution, and a way to execute one of their runs in another process.

`python deployed_flows.py execute NAME FLOW_RUN_ID` is what a worker's child does, without the worker.
`python deployed_flows.py serve NAME DEPLOYMENT SECONDS` serves a flow on an interval.
"""

from __future__ import annotations

import sys
from typing import Any
from uuid import UUID

from prefect import flow, suspend_flow_run, task, unmapped
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.states import Pending
from prefect.utilities.engine import propose_state_sync

import qflows

BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'
GHZ = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[3]; creg c[3]; h q[0]; cx q[0],q[1]; cx q[1],q[2]; measure q -> c;'
LOGICAL_JOBS = 5
"""What one run of `campaign` needs."""


@task(persist_result=False, cache_policy=NO_CACHE)
def buy_in_task(program: str, device: str) -> str:
    """A user's own task around a purchase."""
    return qflows.submit(program, device=device, shots=50).key


@flow(name="campaign-part")
def part(device: str) -> str:
    """A subflow with one purchase that equals one of its parent's."""
    return qflows.submit(BELL, device=device, shots=50).key


def campaign_jobs(device: str) -> list[str]:
    """Equal calls, a mapped task, a user's task, a subflow: five jobs."""
    equal = [qflows.submit(BELL, device=device, shots=50).key for _ in range(2)]
    mapped = qflows.submit.map([GHZ], device=unmapped(device), shots=unmapped(50)).result()
    return [*equal, *(job.key for job in mapped), buy_in_task(GHZ, device), part(device)]


@flow(name="campaign")
def campaign(device: str = "ionq-simulator") -> list[str]:
    """Buys five jobs and waits for them."""
    keys = campaign_jobs(device)
    qflows.wait(keys, timeout=300)
    return keys


@flow(name="deferred-campaign", persist_result=True)
def deferred(device: str = "ionq-simulator") -> list[str]:
    """Buys, leaves the process, and asks for the results when it is executed again."""
    keys = campaign_jobs(device)
    suspend_flow_run(timeout=600, key="queue")
    qflows.wait(keys, timeout=300)
    return keys


@flow(name="every-few-seconds")
def slot(device: str = "ionq-simulator") -> str:
    """One purchase a slot."""
    return qflows.run(BELL, device=device, shots=50).job.key


FLOWS: dict[str, Any] = {"campaign": campaign, "deferred": deferred, "slot": slot}


def execute(name: str, flow_run_id: str) -> None:
    """One execution of an existing flow run by Prefect's engine, in this process."""
    with get_client(sync_client=True) as api:
        # a worker proposes Pending before it starts a process
        if not api.read_flow_run(UUID(flow_run_id)).state.is_pending():
            propose_state_sync(api, Pending(), flow_run_id=UUID(flow_run_id))
        flow_run = api.read_flow_run(UUID(flow_run_id))
    run_flow(FLOWS[name], flow_run=flow_run, return_type="state")


if __name__ == "__main__":
    verb, *words = sys.argv[1:]
    if verb == "execute":
        execute(*words)
    else:
        FLOWS[words[0]].serve(name=words[1], interval=int(words[2]), limit=1, print_starting_message=False)
