"""`qflows report`: a summary of recent runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qflows.cli.mode import prefect_api
from qflows.cli.screen import errors_as_exit_codes, print_json, say


def report(
    since: Annotated[str, typer.Option(help="How far back: 24h, 90m, 7d.")] = "24h",
    out: Annotated[
        Path | None, typer.Option(help="Write report.html, report.md and report.json to this folder.", metavar="DIR")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Report what ran, what failed, and what drifted.

    It also lists what needs your attention and what everything cost.

    The report reads the ledger and buys nothing. If a Prefect API is configured, it also lists flow runs that failed or
    crashed.
    """
    with errors_as_exit_codes():
        from datetime import UTC, datetime

        from qflows.cli.connection import default_client
        from qflows.pages.morning import compose, gather, length, to_text, write

        until = datetime.now(UTC)
        begin = until - length(since)
        runs = []
        if prefect_api() is not None:
            from qflows.flows.reporting import failed_runs

            runs = failed_runs(begin, until)
        found = gather(default_client().ledger, begin, until, runs)
        paths = write(found, out) if out else []
        if as_json:
            print_json(found.to_json())
            return
        say(to_text(compose(found)), nl=False)
        for path in paths:
            say(f"{path}")
