"""`qflows reconcile`: housekeeping, once or until stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated

import typer

from qflows.cli.mode import prefect_api
from qflows.cli.screen import errors_as_exit_codes, say
from qflows.core.client import default_client
from qflows.errors import LedgerUnavailable, NotSent


def reconcile(
    every: Annotated[float | None, typer.Option(help="Repeat at this interval in seconds. Default: run once.")] = None,
    crash_retries: Annotated[
        int, typer.Option(help="How often to retry a crashed flow run of a deployment; 0 for never.")
    ] = 3,
    dead_after: Annotated[
        float,
        typer.Option(
            help="Seconds without a heartbeat after which a run counts as crashed (three heartbeats).", min=60
        ),
    ] = 90.0,
    pending_after: Annotated[
        float,
        typer.Option(help="Seconds after which a run that a worker accepted but never started counts as crashed."),
    ] = 300.0,
) -> None:
    """Bring ledger and vendors up to date; --every repeats.

    Settles doubts, polls unfinished jobs, forwards cancellations, and closes sessions whose owner has died.

    If a Prefect API is configured, it also resumes flow runs whose jobs are done, cancels the jobs of cancelled or
    deleted runs, finds runs whose process is gone, and retries crashed runs. It is safe to run at any time, as often as
    you like, and on several machines at once. Run it from cron, keep it running with --every next to your flows, or let
    `qflows up` run it.
    """
    with errors_as_exit_codes():
        tick = _tick(crash_retries, dead_after, pending_after)
        last = ""
        while True:
            try:
                told = tick()
            except (LedgerUnavailable, NotSent) as error:
                if every is None:
                    raise
                told = f"{error}; trying again"
            if told != last or every is None:  # a quiet night must not fill the disk
                say(told if every is None else f"{time.strftime('%Y-%m-%d %H:%M:%S')} {told}")
                last = told
            if every is None:
                return
            time.sleep(every)


def _tick(crash_retries: int, dead_after_s: float, pending_after_s: float) -> Callable[[], str]:
    """One tick as a sentence; with Prefect's half where an API is configured."""
    if prefect_api() is None:
        return lambda: str(default_client().reconciler().tick())
    from qflows.prefect.client import client
    from qflows.prefect.housekeeper import Housekeeper  # not above: it imports Prefect, which takes seconds

    housekeeper = Housekeeper(
        client(), crash_budget=crash_retries, dead_after_s=dead_after_s, pending_after_s=pending_after_s
    )

    def both() -> str:
        tick, kept = housekeeper.tick()
        return ", ".join(filter(None, (str(tick), str(kept))))

    return both
