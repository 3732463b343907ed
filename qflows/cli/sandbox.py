"""`qflows sandbox`: the vendors' APIs on loopback, to try everything without an account."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from qflows.cli.screen import Exit, errors_as_exit_codes, print_json, print_rows
from qflows.errors import ProgramRejected
from qflows.settings import Settings

app = typer.Typer(help="Loopback emulators of the vendors' APIs.", no_args_is_help=True, rich_markup_mode=None)


@app.command("start")
def start(
    vendors: Annotated[str, typer.Option(help="Comma-separated vendors. Default: all.")] = "",
    port: Annotated[str, typer.Option(help="Comma-separated ports, one per vendor; 0 lets the system choose.")] = "0",
    clock: Annotated[
        str, typer.Option(help="instant, count:READS, time:QUEUE_S,RUN_S, or frozen until released.")
    ] = "time:2,1",
    state_dir: Annotated[Path | None, typer.Option(help="Keep jobs here across restarts.")] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Also accept this host name. Default: loopback names only.")
    ] = None,
) -> None:
    """Start the sandbox and print the environment to export.

    The sandbox runs in the foreground. Ctrl-C, SIGTERM or closing the terminal stops it and its worker process.

    Export what it prints in another terminal to point qflows and the vendors' own clients at it. qflows then keeps a
    separate ledger for the sandbox, in the state directory or in QFLOWS_HOME/sandbox.
    """
    with errors_as_exit_codes():
        _check(vendors, clock)
    command = [sys.executable, "-m", "qflows.sandbox", "--port", port, "--clock", clock]
    command += ["--vendors", vendors] if vendors else []
    command += ["--state-dir", str(state_dir)] if state_dir else []
    command += [word for name in allow_host or () for word in ("--allow-host", name)]
    typer.echo(f"export QFLOWS_LEDGER_URL={shlex.quote(Settings().resolved_sandbox_ledger_url(state_dir))}")
    sys.stdout.flush()
    # in place of this process, so that whatever stops this one (SIGTERM of a container, too) stops the sandbox
    os.execv(sys.executable, command)


def _check(vendors: str | None, clock: str) -> None:
    # before anything is printed: a shell may already evaluate the first line
    from qflows.sandbox.clock import Pace
    from qflows.sandbox.run import known_vendors

    try:
        Pace.parse(clock)
    except ValueError as error:
        raise ProgramRejected(str(error)) from None
    for vendor in (vendors or "").split(","):
        if vendor.strip() and vendor.strip() not in known_vendors():
            raise ProgramRejected(f"no vendor {vendor.strip()!r} in the sandbox; it has {', '.join(known_vendors())}")


@app.command("switches")
def switches(
    vendor: Annotated[str | None, typer.Argument(help="Only this vendor.")] = None,
    at: Annotated[
        str | None, typer.Option(metavar="URL", help="URL of a running sandbox. Default: show the initial positions.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List all switches with their positions and sources.

    A switch is a point that a vendor's documents leave open, or trouble to rehearse. Set one in a running sandbox with
    `POST URL/_sandbox/switches`, or `Sandbox.admin.switches(vendor, name=value)` in Python.
    """
    from qflows.sandbox.run import known_vendors, load_vendor

    vendors = known_vendors()
    if vendor is not None and vendor not in vendors:
        raise _usage(f"the sandbox has no vendor {vendor!r}; it has {', '.join(vendors)}")
    now = _positions(at) if at else {}
    rows = [
        {
            "vendor": name,
            "switch": switch.name,
            "position": now.get(name, {}).get(switch.name, {}).get("value", switch.default),
            "default": switch.default,
            "choices": list(switch.choices),
            "meaning": switch.note,
            "source": switch.source,
        }
        for name in ([vendor] if vendor else vendors)
        for switch in load_vendor(name).all_switches()
    ]
    if as_json:
        print_json(rows)
        return
    shown = [row | {"position": json.dumps(row["position"])} for row in rows]
    print_rows(shown, ["vendor", "switch", "position", "meaning", "source"], as_json=False, empty="no switches")


def _positions(url: str) -> dict[str, Any]:
    from qflows.sandbox import Admin, AdminError

    try:
        return Admin(url.rstrip("/")).switches()
    except (AdminError, OSError, ValueError) as error:
        raise _usage(f"no sandbox answers at {url}: {error}") from None


def _usage(message: str) -> typer.Exit:
    typer.secho(f"qflows: {message}", err=True, fg="red")
    return typer.Exit(Exit.USAGE)
