"""`qflows status`: what runs, what waits for a person or an account, and whether the vendors answer."""

from __future__ import annotations

from typing import Annotated

import typer

from qflows.cli import lanes as lanes_command
from qflows.cli.connection import default_client
from qflows.cli.screen import errors_as_exit_codes, print_json, print_rows, say
from qflows.core import health

_TITLES = {
    "held": "held: finished, but the result cannot be read",
    "in_doubt": "in doubt: the vendor may or may not have them",
    "unsent": "not sent yet",
    "elsewhere": "of another account",
    "unreachable": "no credentials or device here",
}


def status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show what is running, what is waiting, and why."""
    with errors_as_exit_codes():
        core = default_client()
        found = health.look(core.ledger, core.vendors)
        waiting = {
            name: [{"job": one.job.key[:12], "device": one.job.device, "why": one.why} for one in getattr(found, name)]
            for name in _TITLES
        }
        shown = lanes_command.rows(found.lanes)
        if as_json:
            print_json({"live": found.by_status, **waiting, "sessions": found.sessions, "lanes": shown})
            return
        live = ", ".join(f"{n} {name.lower().replace('_', ' ')}" for name, n in sorted(found.by_status.items()))
        say(f"live jobs: {live or 'none'}")
        for name, title in _TITLES.items():
            if waiting[name]:
                say(f"\n{title}")
                print_rows(waiting[name], ("job", "device", "why"), as_json=False, empty="")
        for line in found.sessions:
            say(f"\n{line}")
        if shown:
            say("")
            print_rows(shown, lanes_command._COLUMNS, as_json=False, empty="")
