"""`qflows archive`: a study in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qflows.cli.screen import errors_as_exit_codes, print_json
from qflows.errors import ProgramRejected


def archive(
    path: Annotated[Path, typer.Argument(help="A new file, such as study.zip.")],
    tag: Annotated[list[str] | None, typer.Option(help="Jobs with this tag: name or name=value.")] = None,
    run: Annotated[list[str] | None, typer.Option(help="Jobs of this run key.")] = None,
    batch: Annotated[list[str] | None, typer.Option(help="Jobs of this batch, by id or its beginning.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="Jobs of this group, by id or its beginning.")] = None,
    session: Annotated[list[str] | None, typer.Option(help="Jobs of this session, by the vendor's id.")] = None,
    project: Annotated[list[str] | None, typer.Option(help="Jobs of this project.")] = None,
    since: Annotated[str | None, typer.Option(help="Jobs since then: 2026-11-01 (UTC), or 7d, 12h ago.")] = None,
    until: Annotated[str | None, typer.Option(help="Jobs until then.")] = None,
    title: Annotated[str, typer.Option(help="What the study is called.")] = "",
    author: Annotated[str, typer.Option(help="Whose study it is.")] = "",
    license_: Annotated[str, typer.Option("--license", help="An address or a name.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Write a study into one file, with evidence.

    All that is known of the jobs, an RO-Crate: programs, raw answers, counts, values with errors, calibrations, prices,
    history and digests, as JSON and Parquet. `qflows verify` checks it anywhere.
    """
    with errors_as_exit_codes():
        from qflows.cli.connection import default_client

        chosen = {"tag": tag, "run": run, "batch": batch, "group": group, "session": session, "project": project}
        chosen |= {"since": since, "until": until}
        if not any(chosen.values()):
            raise ProgramRejected("say which jobs: --tag, --run, --batch, --group, --session, --project or --since")
        made = default_client().archive(path, title=title, author=author, license=license_, **chosen)
        if as_json:
            names = ("jobs", "members", "size", "digest", "live", "unkept")
            print_json({"path": str(made.path)} | {name: getattr(made, name) for name in names})
            return
        typer.echo(f"{made.path}: {made.jobs:,} jobs, {made.members:,} members, {made.size:,} bytes")
        typer.echo(f"SHA-256 {made.digest}")
        if made.live:
            typer.echo(f"  {made.live} jobs are not over; their results are not in it")
        if made.unkept:
            typer.echo(f"  {made.unkept} jobs have no kept answer; their counts can be read, not recomputed")
        typer.echo(f"next: qflows verify {made.path} --digest {made.digest}")
