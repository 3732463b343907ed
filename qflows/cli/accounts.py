"""`qflows accounts`: the accounts whose jobs the ledger holds, and names that stand for the same account."""

from __future__ import annotations

from typing import Annotated

import typer

from qflows.cli.connection import default_client
from qflows.cli.screen import errors_as_exit_codes, print_rows, say
from qflows.errors import CredentialsMissing, QflowsError
from qflows.ledger import accounts

app = typer.Typer(help="Vendor accounts in the ledger.", no_args_is_help=True, rich_markup_mode=None)
_COLUMNS = ("vendor", "account", "jobs", "live", "here")


@app.command("ls")
def ls(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List accounts and mark those with credentials here."""
    with errors_as_exit_codes():
        core = default_client()
        here: dict[str, str] = {}
        rows = []
        for vendor, account, n_jobs, live in accounts.in_use(core.ledger):
            if vendor not in here:
                try:
                    here[vendor] = core.provider(vendor).account
                except (CredentialsMissing, QflowsError):
                    here[vendor] = ""
            same = bool(here[vendor]) and accounts.are_same(core.ledger, vendor, account, here[vendor])
            rows.append(
                {"vendor": vendor, "account": account, "jobs": n_jobs, "live": live, "here": "yes" if same else ""}
            )
        print_rows(rows, _COLUMNS, as_json=as_json, empty="no jobs yet, so no accounts")


@app.command("same")
def same(
    vendor: Annotated[str, typer.Argument(help="Vendor, such as ionq.")],
    old: Annotated[str, typer.Argument(help="Account as shown by `accounts ls`, or a unique prefix.")],
    new: Annotated[str, typer.Argument(help="The account of the renewed key, or a unique prefix.")],
) -> None:
    """Treat two names as one account (renewed key)."""
    with errors_as_exit_codes():
        core = default_client()
        mine = core.provider(vendor).account
        names = [mine if mine.startswith(name) else accounts.named(core.ledger, vendor, name) for name in (old, new)]
        accounts.note_same(core.ledger, vendor, names[0], names[1], proof="declared by a user")
        say(f"{vendor}: {names[0]} and {names[1]} are now one account")
