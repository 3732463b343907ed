"""The same walks in flows: one, and several mapped over seeds. `python walk_flows.py FLOW_RUN_ID` is a worker's child.

`crashed` does to a run what happens after a kill: the worker reports the death, and the reconciler asks for a retry.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from uuid import UUID

sys.path.insert(0, str(Path(__file__).parent))

import walks  # noqa: E402
from prefect import flow, task  # noqa: E402
from prefect.cache_policies import NO_CACHE  # noqa: E402
from prefect.client.orchestration import get_client  # noqa: E402
from prefect.flow_engine import run_flow  # noqa: E402
from prefect.futures import wait  # noqa: E402
from prefect.states import Crashed  # noqa: E402
from prefect.task_runners import ThreadPoolTaskRunner  # noqa: E402


@flow(name="one-walk")
def one_walk(kind: str, folder: str) -> None:
    """A loop in the flow itself."""
    walks.walk(kind, walks.noting(Path(folder), kind))


@task(persist_result=False, cache_policy=NO_CACHE)
def walk_of(seed: int, kind: str, folder: str) -> None:
    """One of several loops."""
    walks.walk(kind, walks.noting(Path(folder), f"{kind}-{seed}"), seed=seed)


@flow(name="walks-of-seeds", task_runner=ThreadPoolTaskRunner(max_workers=3))
def walks_of_seeds(kind: str, folder: str, seeds: int) -> None:
    """A loop for each seed, side by side."""
    futures = walk_of.map(list(range(seeds)), kind, folder)  # type: ignore[arg-type]
    wait(list(futures))
    futures.result()


FLOWS: dict[str, Any] = {one.name: one for one in (one_walk, walks_of_seeds)}


def new_run(name: str, **parameters: Any) -> UUID:
    """A run of a deployment of one of these flows, which nobody but the caller executes."""
    which = FLOWS[name]
    with get_client(sync_client=True) as api:
        deployment = api.create_deployment(
            flow_id=api.create_flow(which),
            name=f"{name}-of-loops",
            path=str(Path(__file__).parent),
            entrypoint=f"{Path(__file__).name}:{which.fn.__name__}",
            enforce_parameter_schema=False,
        )
        return api.create_flow_run_from_deployment(deployment, parameters=parameters).id


def crashed(flow_run_id: UUID) -> None:
    """The run's process is gone: it is crashed, and scheduled again by the reconciler."""
    from qflows.prefect.client import client
    from qflows.prefect.housekeeper import Housekeeper, Kept

    with get_client(sync_client=True) as api:
        api.set_flow_run_state(flow_run_id, Crashed(), force=True)
    kept = Kept()
    Housekeeper(client(), crash_grace_s=0.0, crash_budget=1000).retry_crashed(kept)
    assert str(flow_run_id) in kept.retried, kept


def execute(flow_run_id: UUID) -> None:
    """What a worker's child does; raises what the flow raised."""
    with get_client(sync_client=True) as api:
        run = api.read_flow_run(flow_run_id)
        name = api.read_flow(run.flow_id).name
    run_flow(FLOWS[name], flow_run=run, parameters=run.parameters)


if __name__ == "__main__":
    execute(UUID(sys.argv[1]))
