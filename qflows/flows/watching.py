"""The wall as a flow: one page of what runs, waits, costs and drifts, for a shared screen."""

from __future__ import annotations

from functools import partial

from prefect.client.orchestration import get_client

from qflows.flows.scheduled import ShippedFlow
from qflows.prefect import tasks
from qflows.prefect import wall as artifact


@partial(ShippedFlow, name="wall", flow_run_name="wall", validate_parameters=False)
def wall() -> str:
    """Shows on one page what runs, what waits and why, queues, spending, drift, and what needs a person.

    Reads only the ledger; buys nothing and contacts no vendor. The page is the artifact `qflows-wall`, which `qflows
    up` and `qflows reconcile` keep fresh. Returns it as Markdown.
    """
    with get_client(sync_client=True) as api:
        return artifact.show(api, tasks.client().ledger)
