"""`qflows runs`: runs by their run key, the state of their jobs, and loops in progress."""

from __future__ import annotations

from typing import Annotated

import typer

from qflows.cli.connection import default_client
from qflows.cli.screen import errors_as_exit_codes, print_json, print_rows, say
from qflows.ledger import points

app = typer.Typer(help="Runs, by their run key.", no_args_is_help=True, rich_markup_mode=None)
_COLUMNS = ("run", "flow", "jobs", "by status", "first seen", "last seen")


@app.command("stop")
def stop(
    run_key: Annotated[str, typer.Argument(help="Run key of the loop: its flow run's, or the one that you passed.")],
    undo: Annotated[bool, typer.Option("--undo", help="Withdraw the request if the loop has not seen it yet.")] = False,
) -> None:
    """Ask a loop to stop at its next evaluation.

    For loops of VQE, QAOA and minimize. When the loop is started again, it continues from there.
    """
    with errors_as_exit_codes():
        ledger = default_client().ledger
        if undo:
            taken = points.take_stop(ledger, run_key)
            say(
                f"run {run_key} continues"
                if taken
                else f"run {run_key} was not asked to stop, or has already seen the request"
            )
            return
        points.ask_to_stop(ledger, run_key)
        say(f"run {run_key} stops before its next evaluation, at the lowest point seen so far")


@app.command("ls")
def ls(
    flow: Annotated[list[str] | None, typer.Option(help="Only runs of this flow.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Last seen since: a UTC date such as 2026-11-01, or an age such as 7d or 12h.")
    ] = None,
    order: Annotated[str | None, typer.Option(help="seen, created, flow; prefix - for descending.")] = None,
    limit: Annotated[int, typer.Option(help="Show at most this many.")] = 50,
    offset: Annotated[int, typer.Option(help="Skip this many first.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List runs, most recently seen first."""
    with errors_as_exit_codes():
        found = default_client().runs(flow=flow, since=since, order=order, limit=limit, offset=offset)
        if as_json:
            print_json(found.to_dicts())
            return
        rows = [
            {
                "run": run.run_key,
                "flow": run.flow or "",
                "jobs": str(sum(run.jobs.values())),
                "by status": ", ".join(f"{n} {status.value.lower()}" for status, n in run.jobs.items()),
                "first seen": f"{run.first_seen:%Y-%m-%d %H:%M:%S}",
                "last seen": f"{run.last_seen:%Y-%m-%d %H:%M:%S}",
            }
            for run in found
        ]
        print_rows(rows, _COLUMNS, as_json=False, empty="no runs yet")
