"""The root of the command line: every command and every group of commands is added here."""

from __future__ import annotations

from typing import Annotated

import typer

from qflows import __version__
from qflows.cli import (
    accounts,
    apply,
    batches,
    benchmark,
    budgets,
    demo,
    devices,
    doctor,
    examples,
    groups,
    jobs,
    lanes,
    ledger,
    price,
    reconcile,
    report,
    run,
    runs,
    sandbox,
    sessions,
    status,
    up,
    vqe,
)

_HELP = """Paid quantum experiments on Prefect: every job bought once, none lost, any vendor.

Try it without an account: `qflows run bell.qasm --device local-aer --shots 1000`.

Exit codes: 0 fine · 1 a job failed · 2 bad input, nothing was sent · 3 deadline passed, jobs keep running · 4 a person
must settle a doubt (`qflows jobs resolve`) · 5 the vendor refused or cannot be reached · 6 the ledger cannot be used.
"""

app = typer.Typer(
    help=_HELP, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=True
)
app.command("run")(run.run)
app.command("price")(price.price)
app.command("vqe")(vqe.vqe)
app.command("benchmark")(benchmark.benchmark)
app.command("report")(report.report)
app.add_typer(devices.app, name="devices")
app.command("doctor")(doctor.doctor)
app.command("apply")(apply.apply)
app.command("demo")(demo.demo)
app.add_typer(runs.app, name="runs")
app.add_typer(jobs.app, name="jobs")
app.add_typer(batches.app, name="batches")
app.add_typer(groups.app, name="groups")
app.add_typer(sessions.app, name="sessions")
app.add_typer(budgets.app, name="budgets")
app.command("status")(status.status)
app.add_typer(lanes.app, name="lanes")
app.add_typer(accounts.app, name="accounts")
app.command("reconcile")(reconcile.reconcile)
app.command("up")(up.up)
app.add_typer(ledger.app, name="ledger")
app.add_typer(sandbox.app, name="sandbox")
examples.add_to(app)


def _print_version(value: bool | None) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool | None, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = None,
) -> None:
    """Root options."""


def main() -> None:
    """Entry point of the `qflows` command."""
    app()
