"""`qflows archive`: a study in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qflows.cli.screen import errors_as_exit_codes, print_json, say


def archive(
    path: Annotated[Path, typer.Argument(help="File to create, such as study.zip.")],
    tag: Annotated[list[str] | None, typer.Option(help="Jobs with this tag: name or name=value.")] = None,
    run: Annotated[list[str] | None, typer.Option(help="Jobs of this run key.")] = None,
    batch: Annotated[list[str] | None, typer.Option(help="Jobs of this batch, by id or a unique prefix.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="Jobs of this group, by id or a unique prefix.")] = None,
    session: Annotated[list[str] | None, typer.Option(help="Jobs of this session, by the vendor's id.")] = None,
    project: Annotated[list[str] | None, typer.Option(help="Jobs of this project.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Jobs created since: a UTC date such as 2026-11-01, or an age such as 7d or 12h.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Jobs created until, in the same form.")] = None,
    title: Annotated[str, typer.Option(help="Title of the study.")] = "",
    author: Annotated[str, typer.Option(help="Author of the study.")] = "",
    license_: Annotated[str, typer.Option("--license", help="License of the study, as a name or URL.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Export a study as one verifiable file.

    Everything known about the jobs, as an RO-Crate: programs, raw answers, counts, values with errors, calibrations,
    prices, history and digests, as JSON and Parquet. At least one filter is required. `qflows verify` checks the file
    anywhere.
    """
    with errors_as_exit_codes():
        from qflows.cli.connection import default_client

        chosen = {"tag": tag, "run": run, "batch": batch, "group": group, "session": session, "project": project}
        chosen |= {"since": since, "until": until}
        made = default_client().archive(path, title=title, author=author, license=license_, **chosen)
        if as_json:
            names = ("jobs", "members", "size", "digest", "live", "unkept")
            print_json({"path": str(made.path)} | {name: getattr(made, name) for name in names})
            return
        say(f"{made.path}: {made.jobs:,} jobs, {made.members:,} members, {made.size:,} bytes")
        say(f"SHA-256 {made.digest}")
        if made.live:
            say(f"  {made.live} jobs are unfinished; their results are not included")
        if made.unkept:
            say(f"  {made.unkept} jobs have no stored answer; their counts can be read but not recomputed")
        say(f"next: qflows verify {made.path} --digest {made.digest}")
