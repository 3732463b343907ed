"""`qflows ledger`: the database that records every purchase."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qflows.cli.screen import Exit, errors_as_exit_codes, print_json, progress_line, say
from qflows.display import plural
from qflows.errors import ProgramRejected
from qflows.settings import Settings

app = typer.Typer(help="The ledger database.", no_args_is_help=True, rich_markup_mode=None)


@app.command("upgrade")
def upgrade() -> None:
    """Upgrade the ledger to this version of qflows.

    In an empty database, the ledger is created.
    """
    with errors_as_exit_codes():
        from qflows.ledger import engine, migrate

        database = engine.engine_for(Settings().resolved_ledger_url())
        before = engine.version_of(database)
        after = migrate.upgrade(database)
        where = database.url.render_as_string(hide_password=True)
        say(f"{where}: schema {after}" + (" (was up to date)" if before == after else f" (was {before})"))


@app.command("rebuild")
def rebuild(
    source: Annotated[
        list[str] | None, typer.Argument(help="Vendors or devices. Default: every vendor with credentials here.")
    ] = None,
    since: Annotated[
        str, typer.Option(help="Jobs created since: a UTC date such as 2026-11-01, or an age such as 7d or 12h.")
    ] = "30d",
    mark: Annotated[
        str | None, typer.Option(help="Mark of the ledger that was lost: the last 8 characters of its job keys.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Restore a lost or older ledger from the vendors.

    Afterwards, a run that is started again under its run key adopts its jobs instead of buying them. The command lists
    what no vendor knows. Nothing is changed at a vendor, and nothing in the ledger is overwritten. Jobs of another
    ledger are left out, unless --mark names it, or this ledger is empty and there is only one other.
    """
    with errors_as_exit_codes():
        from qflows.cli.connection import default_client

        core, show_progress = default_client(), progress_line()
        sources = source or core.vendors.with_credentials()
        if not sources:
            raise ProgramRejected("no vendor has credentials here; set them, or name a vendor or device")
        found = core.rebuild(
            sources,
            since=since,
            mark=mark,
            on_entered=lambda number: show_progress(f"{number} jobs restored"),
            on_pause=lambda vendor, pause_s: show_progress(f"{vendor} asks for fewer requests; on in {pause_s:.0f} s"),
        )
        show_progress("")
        if as_json:
            print_json(
                {
                    "sources": sources,
                    "restored": [job.key for job in found.jobs],
                    "attached": [job.key for job in found.attached],
                    "known": found.known,
                    "extras": {key: list(ids) for key, ids in found.extras.items()},
                    "left_out": dict(found.left_out),
                    "others": dict(found.others),
                    "unknown": list(found.unknown),
                }
            )
            return
        say(
            f"{', '.join(sources)}: {len(found.jobs)} jobs restored, {len(found.attached)} already sent but "
            f"recorded as unsent, {found.known} already known"
        )
        for key, ids in found.extras.items():
            say(f"  more than one job has the key {key[:12]}: {', '.join(ids)}; left as they are")
        for vendor_id, why in found.left_out.items():
            say(f"  left out: {vendor_id}: {why}")
        for other, n in sorted(found.others.items()):
            say(
                f"  left out: {plural(n, 'job')} of the ledger with the mark {other}. If that ledger is lost and not a "
                f"colleague's, `qflows ledger rebuild --mark {other}` restores them"
            )
        for line in found.unknown:
            say(f"  not known: {line}")


@app.command("archive")
def archive(
    older_than: Annotated[str, typer.Option(help="How long ago a job must have ended, such as 90d or 12h.")],
    to: Annotated[
        Path | None, typer.Option(help="Folder of the files. Default: QFLOWS_ARCHIVE, else `archive` in QFLOWS_HOME.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    compact: Annotated[
        bool, typer.Option("--compact", help="Return the space to the disk afterwards; writers wait while it runs.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Move old jobs' results and history to archive files.

    The vendors' answers move too; `qflows verify` checks the files. Each job keeps its row, so a run that is started
    again under its run key finds its jobs and buys nothing, lists and sums do not change, and results are read from the
    files. Jobs stay if they belong to an open group or session or to an unfinished batch, or if their charge is not
    settled. You can interrupt and repeat the command at any time, while other processes keep working. Try `--dry-run`
    first.
    """
    with errors_as_exit_codes():
        from qflows.cli.connection import default_client
        from qflows.core.archiving.old_jobs import archive_old
        from qflows.core.durations import past
        from qflows.ledger.engine import compact as give_back

        core, show_progress = default_client(), progress_line()
        folder = to or core.settings.archive_folder()
        done = archive_old(
            core.ledger,
            past(older_than),
            folder,
            dry_run=dry_run,
            on_file=lambda so_far: show_progress(f"{so_far.jobs:,} jobs"),
        )
        show_progress("")
        if compact and not dry_run:
            give_back(core.ledger.engine)
        if as_json:
            files = [
                {"path": str(one.path), "bytes": one.size, "digest": one.digest, "jobs": one.moved}
                for one in done.files
            ]
            print_json({"jobs": done.jobs, "bytes": done.size, "files": files, "held": done.held, "dry_run": dry_run})
            return
        if dry_run:
            say(f"{done.jobs:,} jobs would be archived in {folder}")
        else:
            say(f"{done.jobs:,} jobs archived in {len(done.files):,} files, {done.size:,} bytes, in {folder}")
        for why, number in sorted(done.held.items()):
            say(f"  {number:,} stay: they belong to {why}")
        if done.files:
            say(f"next: qflows verify {done.files[-1].path} --digest {done.files[-1].digest}")
            if not compact and core.ledger.engine.dialect.name == "sqlite":
                say("the ledger file keeps its size and reuses the space; --compact returns it to the disk")


@app.command("backup")
def backup(
    path: Annotated[Path, typer.Argument(help="A new file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Back up the ledger to one file, even while in use.

    A PostgreSQL ledger is copied in one snapshot, into a SQLite ledger of the same schema. The copy is a ledger:
    `QFLOWS_LEDGER_URL=sqlite:///PATH` reads it.
    """
    with errors_as_exit_codes():
        from qflows.ledger.backup import backup as copy
        from qflows.ledger.engine import engine_for

        database = engine_for(Settings().resolved_ledger_url())
        made = copy(database, path)
        if as_json:
            print_json({"path": str(made.path), "bytes": made.size, "rows": dict(made.rows)})
            return
        rows = ", ".join(f"{made.rows.get(name, 0):,} {name}" for name in ("jobs", "results", "raw_answers", "events"))
        say(f"{made.path}: {made.size:,} bytes; {rows}")


@app.command("verify")
def verify(
    path: Annotated[Path | None, typer.Argument(help="A backup file. Default: the ledger in use.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the integrity of a ledger.

    Checks the database, its schema, its rows and every digest. The exit code is 6 if something is wrong.
    """
    with errors_as_exit_codes():
        from qflows.ledger.engine import engine_for
        from qflows.ledger.verify import verify as check

        if path is not None and not path.is_file():
            raise ProgramRejected(f"there is no file {path}; give the path of a copy that `qflows ledger backup` wrote")
        url = f"sqlite:///{path.resolve()}" if path else Settings().resolved_ledger_url()
        done = check(engine_for(url))
        if as_json:
            findings = [{"check": one.check, "subject": one.subject, "detail": one.detail} for one in done.findings]
            print_json({"whole": done.is_whole, "checked": done.checked, "findings": findings})
        else:
            say("checked: " + ", ".join(f"{number:,} {name}" for name, number in done.checked.items()))
            for one in done.findings:
                say(f"  {one.check} {one.subject}: {one.detail}")
            say("the ledger is intact" if done.is_whole else f"{done.n_findings} findings")
        if not done.is_whole:
            raise typer.Exit(Exit.LEDGER)


@app.command("where")
def where() -> None:
    """Print the location of the ledger.

    QFLOWS_LEDGER_URL, else a file in QFLOWS_HOME.
    """
    from sqlalchemy.engine import make_url

    with errors_as_exit_codes():
        say(make_url(Settings().resolved_ledger_url()).render_as_string(hide_password=True))
