"""`qflows sandbox`: the vendors' APIs on loopback, for trying everything without an account."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Loopback emulators of the vendors' APIs.", no_args_is_help=True, rich_markup_mode=None)


@app.command("start")
def start(
    vendors: Annotated[str, typer.Option(help="Comma-separated vendors; default: all there are.")] = "",
    port: Annotated[str, typer.Option(help="Ports, comma-separated, one per vendor; 0: chosen by the system.")] = "0",
    clock: Annotated[
        str, typer.Option(help="instant, count:READS, time:QUEUE_S,RUN_S, or frozen until released.")
    ] = "time:2,1",
    state_dir: Annotated[Path | None, typer.Option(help="Remember jobs here over restarts.")] = None,
) -> None:
    """Start the sandbox in the foreground and print the environment to export; Ctrl-C stops it.

    The vendors' own clients and qflows then talk to it: export what it prints in another terminal.
    """
    command = [sys.executable, "-m", "qflows.sandbox", "--port", port, "--clock", clock]
    command += ["--vendors", vendors] if vendors else []
    command += ["--state-dir", str(state_dir)] if state_dir else []
    process = subprocess.Popen(command)
    try:
        code = process.wait()
    except KeyboardInterrupt:
        code = process.wait()  # Ctrl-C reached the child as well; it stops by itself
    raise typer.Exit(0 if code in (0, 130, -2) else 1)
