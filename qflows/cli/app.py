"""The root of the command line. A command's module is imported when it is called or asked for its own help."""

from __future__ import annotations

import gc
from importlib import import_module
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from qflows import __version__
from qflows.cli import examples

# the summaries of all commands and groups, in the order of the help; each is the module of that name
SUMMARIES = {
    "run": "Run circuits and print their counts.",
    "price": "Show what circuits would cost on a device.",
    "spend": "Show spending: estimates next to bills.",
    "vqe": "Run a variational quantum eigensolver.",
    "benchmark": "Measure how well devices perform.",
    "report": "Report what ran, what failed, and what drifted.",
    "doctor": "Check vendor accounts, the ledger and Prefect.",
    "apply": "Save profiles, credentials and automations in Prefect.",
    "demo": "Take a tour; needs no account and no network.",
    "status": "Show what is running, what is waiting, and why.",
    "reconcile": "Bring ledger and vendors up to date; --every repeats.",
    "up": "Start everything flows need; stop with Ctrl-C.",
    "devices": "List devices: shipped profiles, or --live ones.",
    "runs": "Runs, by their run key.",
    "jobs": "Jobs in the ledger.",
    "batches": "Batches: many circuits that behave like one job.",
    "groups": "Groups: named sets of jobs on any devices.",
    "sessions": "Sessions: devices held for ordered jobs.",
    "budgets": "Spending limits across all vendors.",
    "lanes": "How vendor accounts are polled.",
    "accounts": "Vendor accounts in the ledger.",
    "archive": "Export a study as one verifiable file.",
    "verify": "Verify an archive; needs only the file.",
    "ledger": "The ledger database.",
    "sandbox": "Loopback emulators of the vendors' APIs.",
}

_OBJECTS = 50_000  # made between two collections; Python's default is 700

_HELP = """Paid quantum experiments on Prefect: buy every job exactly once, lose none, use any vendor.

Try it without an account: `qflows run bell.qasm --device local-aer --shots 1000`.

Exit codes: 0 success · 1 a job failed · 2 bad input, nothing was sent · 3 timed out, jobs at the vendor keep running ·
4 a person must resolve a job (`qflows jobs resolve`) · 5 the vendor refused or cannot be reached · 6 the ledger cannot
be used.
"""


class _Commands(dict[str, Any]):
    """Commands by name, each made when it is looked up."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(SUMMARIES))

    def __getitem__(self, name: str) -> Any:
        found = super().__getitem__(name)
        if found is None:
            found = self[name] = _load(name)
        return found

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if super().__contains__(name) else default

    def items(self) -> Any:
        return {name: self[name] for name in self}.items()

    def values(self) -> Any:
        return {name: self[name] for name in self}.values()


def _load(name: str) -> Any:
    module = import_module(f"qflows.cli.{name}")
    alone = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    if hasattr(module, "app"):
        alone.add_typer(module.app, name=name, cls=_Group)
    else:
        alone.command(name)(getattr(module, name))
    examples.add_to(alone)
    return typer.main.get_group(alone).commands[name]


class _Group(typer.core.TyperGroup):
    """A group of commands that names them when none is like the one that was asked for."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except typer.BadParameter:
            raise
        except Exception as error:
            message = getattr(error, "message", "")
            if "Did you mean" not in message and message.startswith("No such command"):
                error.message = f"{message} There are {', '.join(self.list_commands(ctx))}."  # pyright: ignore[reportAttributeAccessIssue]
            raise


class _Root(_Group):
    def __init__(self, **told: Any) -> None:
        super().__init__(**told)
        self.commands = _Commands()

    def list_commands(self, ctx: Any) -> list[str]:
        return list(SUMMARIES)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))


app = typer.Typer(
    cls=_Root,
    help=_HELP,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=True,
)


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
    # what is imported stays; looking through it for garbage again and again takes a tenth of a short command
    gc.set_threshold(_OBJECTS)
    app()
