"""`qflows sweep`: the housekeeper, once or for ever."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from qflows.cli.screen import errors_as_exit_codes
from qflows.client import default_client


def sweep(
    every: Annotated[
        float | None, typer.Option(help="Go on, with so many seconds between sweeps; without it: one sweep.")
    ] = None,
) -> None:
    """Move the world on: settle doubts, poll what is queued, pass cancels on, close sessions whose owner died.

    Harmless at any moment, as often as you like, and from several places at once. Run it from cron, or with --every
    beside your flows.
    """
    with errors_as_exit_codes():
        sweeper = default_client().sweeper()
        while True:
            typer.echo(str(sweeper.sweep()))
            if every is None:
                return
            time.sleep(every)
