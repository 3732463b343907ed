"""`qflows runs`: loops that are at work, by their run key."""

from __future__ import annotations

from typing import Annotated

import typer

from qflows.cli.connection import default_client
from qflows.cli.screen import errors_as_exit_codes
from qflows.ledger import points

app = typer.Typer(help="Runs, by their run key.", no_args_is_help=True, rich_markup_mode=None)


@app.command("stop")
def stop(
    run_key: Annotated[str, typer.Argument(help="Run key of the loop: that of its flow run, or what was given.")],
    undo: Annotated[bool, typer.Option("--undo", help="Take the wish back, if the loop has not seen it yet.")] = False,
) -> None:
    """Ask a loop to stop at its next evaluation.

    Of VQE, QAOA and minimize. Started again, the loop goes on from there.
    """
    with errors_as_exit_codes():
        ledger = default_client().ledger
        if undo:
            taken = points.take_stop(ledger, run_key)
            typer.echo(f"run {run_key} goes on" if taken else f"run {run_key} was not asked to stop, or has seen it")
            return
        points.ask_to_stop(ledger, run_key)
        typer.echo(f"run {run_key} stops before its next evaluation, with the lowest point it has seen")
