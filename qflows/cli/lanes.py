"""`qflows lanes`: how each vendor account is polled, and how to end a pause."""

from __future__ import annotations

from typing import Annotated

import typer

from qflows import providers
from qflows.cli.connection import default_client
from qflows.cli.screen import errors_as_exit_codes, print_rows, say
from qflows.display import plural
from qflows.errors import UnknownDevice
from qflows.ledger import lanes

app = typer.Typer(help="How vendor accounts are polled.", no_args_is_help=True, rich_markup_mode=None)
_COLUMNS = ("vendor", "account", "last answer", "next poll", "longest lag", "last failure")


def rows(found: list[lanes.Health]) -> list[dict[str, str]]:
    """Lanes as rows for people."""
    return [
        {
            "vendor": one.provider,
            "account": one.account,
            "last answer": f"{one.ok_ago_s:.0f} s ago" if one.ok_ago_s is not None else "never",
            "next poll": f"in {one.next_in_s:.0f} s" if one.next_in_s > 0 else "due",
            "longest lag": f"{one.lag_s:.0f} s" if one.lag_s is not None else "",
            "last failure": f"{one.error_ago_s:.0f} s ago: {one.error}" if one.error_ago_s is not None else "",
        }
        for one in found
    ]


@app.command("ls")
def ls(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List lanes: last answer, next poll, last failure."""
    with errors_as_exit_codes():
        shown = rows(lanes.health(default_client().ledger))
        print_rows(shown, _COLUMNS, as_json=as_json, empty="no account has been polled yet")


@app.command("free")
def free(
    vendor: Annotated[str, typer.Argument(help="Vendor, such as ionq.")],
    account: Annotated[str | None, typer.Argument(help="Account, or a unique prefix of it. Default: all.")] = None,
) -> None:
    """End a vendor's pause and poll it now."""
    with errors_as_exit_codes():
        if vendor not in providers.names():
            raise UnknownDevice(f"no vendor {vendor!r}; installed: {', '.join(providers.names())}")
        n = lanes.free(default_client().ledger, vendor, account)
        say(f"{plural(n, 'lane')} of {vendor} will be polled at the next tick")
