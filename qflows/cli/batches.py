"""`qflows batches`: plan, run, report, rerun, cancel and export many circuits as one."""

from __future__ import annotations

import csv
import time
import uuid
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from qflows.cli import completion
from qflows.cli.connection import default_client
from qflows.cli.jobs import read_labels, tagged_row
from qflows.cli.price import print_price
from qflows.cli.run import read_options
from qflows.cli.screen import errors_as_exit_codes, print_json, print_rows, progress_line, say
from qflows.core.batches.batch import Batch
from qflows.core.batches.planning import Planned
from qflows.core.choice import asking
from qflows.core.choice.deciding import Asked
from qflows.core.scope import Scope, script_scope
from qflows.display import plural
from qflows.errors import ProgramRejected
from qflows.model import Job
from qflows.pages.text import json_text

app = typer.Typer(help="Batches: many circuits that behave like one job.", no_args_is_help=True, rich_markup_mode=None)
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Id = Annotated[str, typer.Argument(autocompletion=completion.batches, help="Batch id, or a unique prefix of it.")]
_PARTS = ("part", "circuits", "job", "vendor id", "status", "queue s", "run s", "cost", "health", "note")
_PARTS_ALONE = tuple(one for one in _PARTS if one != "health")


class Format(StrEnum):
    """Export formats."""

    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


@app.command("run")
def run(
    files: Annotated[list[Path], typer.Argument(help="OpenQASM files, one circuit each.", metavar="FILE.qasm...")],
    device: Annotated[
        str, typer.Option(autocompletion=completion.devices, help="A device from `qflows devices`, or a rule.")
    ] = "local-aer",
    shots: Annotated[int, typer.Option(help="Shots per circuit; 0 evaluates exactly where the device can.")] = 1000,
    name: Annotated[str, typer.Option(help="A display name.")] = "",
    max_circuits: Annotated[int | None, typer.Option(help="Maximum circuits per job.")] = None,
    as_batch: Annotated[
        bool | None,
        typer.Option("--composite/--single", help="Require several circuits per job, or one circuit per job."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan; buy nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until all jobs are finished.")] = True,
    run_key: Annotated[
        str | None, typer.Option(help="Name of the run; pass the same one again to continue it.")
    ] = None,
    option: Annotated[list[str] | None, typer.Option(help="Vendor option as NAME=VALUE; repeatable.")] = None,
    reference: Annotated[
        list[Path] | None,
        typer.Option(help="OpenQASM file that runs in every job and measures its health; repeatable."),
    ] = None,
    at_least: Annotated[
        float | None, typer.Option(help="Overlap with the exact distribution below which a part is in bad health.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Run files as one batch, split as the device needs.

    For example `qflows batches run sweep/*.qasm --device ionq-simulator --shots 500`.
    """
    with errors_as_exit_codes():
        core = default_client()
        wishes: dict[str, Any] = {"options": read_options(option, device), "max_circuits": max_circuits}
        wishes["as_batch"] = as_batch
        if reference:
            wishes["reference"] = [{"circuit": path, "at_least": at_least, "name": path.stem} for path in reference]
        elif at_least is not None:
            raise ProgramRejected("--at-least is a limit for a reference circuit; pass --reference FILE.qasm as well")

        def asked() -> Asked:
            return asking.for_sweep(list(files), shots or None, wishes)

        def plan(on: str) -> Planned:
            try:
                return core.plan_batch(list(files), device=on, shots=shots or None, **wishes)
            except ValueError as error:
                raise ProgramRejected(str(error)) from error

        if dry_run:
            rule = core.rule(device)
            device = device if rule is None else core.first_fitting(rule, asked())
            planned = plan(device)
            columns = ("part", "circuits", "number", "shots", "bytes")
            price = core.price_of([spec for _, spec in planned.specs], device=device)
            if as_json:
                print_json({"device": device, "parts": planned.rows(), "price": price.to_json()})
                return
            print_rows(planned.rows(), columns, as_json=False, empty="nothing to do")
            print_price(price, as_json=False)
            return
        key = run_key or f"batch-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"

        def buy(on: str, at: Scope) -> Batch:
            made = core.create_batch(plan(on), device=on, scope=at, name=name)
            core.submit_batch(made)
            return made

        batch = core.through(device, script_scope(key), asked, buy, Batch.sub_jobs)
        if wait:
            _wait(batch)
        _print_report(batch, as_json=as_json)
        if not as_json:
            say(f"run key {key}; `qflows batches export {batch.id[:12]} counts.csv` writes the counts")


def _wait(batch: Batch) -> None:
    show = progress_line()
    total, began, ended = len(batch.parts), time.monotonic(), set[str]()

    def on_change(job: Job) -> None:
        if job.is_terminal:
            ended.add(job.key)
        rate = len(ended) / max(time.monotonic() - began, 1e-9)
        left = f", about {(total - len(ended)) / rate:.0f} s left" if ended and len(ended) < total else ""
        show(f"{len(ended)} of {total} parts ended{left}")

    batch.wait(on_change=on_change)
    show("")


@app.command("ls")
def ls(
    device: Annotated[
        list[str] | None, typer.Option(autocompletion=completion.devices, help="Only this device.")
    ] = None,
    run: Annotated[list[str] | None, typer.Option(help="Only of this run.")] = None,
    name: Annotated[list[str] | None, typer.Option(help="Only with this name.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only with this tag: NAME or NAME=VALUE.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Created since: a UTC date such as 2026-11-01, or an age such as 7d or 12h.")
    ] = None,
    order: Annotated[str | None, typer.Option(help="created, name, device, size; prefix - for descending.")] = None,
    limit: Annotated[int, typer.Option(help="Show at most this many.")] = 30,
    offset: Annotated[int, typer.Option(help="Skip this many first.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """List batches, newest first."""
    with errors_as_exit_codes():
        core = default_client()
        rows = []
        found = core.batches(
            device=device, run=run, name=name, tag=tag, since=since, order=order, limit=limit, offset=offset
        )
        for batch in found:
            record = batch.record
            rows.append(
                {
                    "batch": record.id[:12],
                    "name": record.name,
                    "device": record.device,
                    "circuits": str(record.n_circuits),
                    "parts": str(len(batch.parts)),
                    "status": batch.status.value,
                    "created": f"{record.created_at:%Y-%m-%d %H:%M:%S}",
                }
            )
        columns = ("batch", "name", "device", "circuits", "parts", "status", "created")
        print_rows(rows, columns, as_json=as_json, empty="no batches yet; try `qflows batches run *.qasm`")


@app.command("show")
def show(batch: Id, as_json: JsonFlag = False) -> None:
    """Show the status of a batch and of each of its parts."""
    with errors_as_exit_codes():
        _print_report(default_client().batch(batch), as_json=as_json)


app.command("report", help="Same as show.")(show)


@app.command("from")
def from_(
    job: Annotated[list[str], typer.Argument(autocompletion=completion.jobs, help="Job keys or vendor ids.")],
    name: Annotated[str, typer.Option(help="A display name.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Make a batch of jobs that the ledger already has.

    Imported jobs count too. Nothing is bought or sent. Circuits keep the order of the jobs given.
    """
    with errors_as_exit_codes():
        _print_report(default_client().batch_from(job, name=name), as_json=as_json)


@app.command("rerun")
def rerun(batch: Id, as_json: JsonFlag = False) -> None:
    """Buy circuits without counts again.

    Circuits that are running, finished or in doubt are left alone.
    """
    with errors_as_exit_codes():
        found = default_client().batch(batch)
        holes = found.rerun_failed()
        if not as_json:
            say(
                f"{plural(len(holes), 'circuit')} bought again"
                if holes
                else "every circuit has counts; nothing was bought"
            )
        _print_report(found, as_json=as_json)


@app.command("cancel")
def cancel(batch: Id, timeout: Annotated[float, typer.Option(help="Seconds to wait for the vendor.")] = 60.0) -> None:
    """Cancel every live part at the vendor and verify."""
    with errors_as_exit_codes():
        found = default_client().batch(batch)
        for part, status in sorted(found.cancel(timeout).items()):
            say(f"part {part}: {status.value}")


@app.command("tag")
def tag(
    batch: Id,
    labels: Annotated[
        list[str] | None,
        typer.Argument(help="TAG=VALUE adds or overwrites; name=TEXT renames.", metavar="TAG=VALUE..."),
    ] = None,
    remove: Annotated[list[str] | None, typer.Option(help="Remove this tag; repeatable.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Change the tags and the name of a batch.

    Its tags go to every job, at the vendor too where it allows that.

    The exit code is 0 also when a vendor could not be told: the notes say so, and repeating the command is harmless.
    """
    with errors_as_exit_codes():
        tags, name = read_labels(labels)
        found = default_client().batch(batch)
        kept = {tag: value for tag, value in found.tags.items() if tag not in (remove or ())}
        changed = found.update(name=name, tags=kept | tags if tags or remove else None)
        rows = [tagged_row(one) for one in changed]
        if as_json:
            print_json({"id": found.id, "name": found.name, "tags": dict(found.tags), "jobs": rows})
            return
        say(f"batch {found.id[:12]} ({found.name}): {dict(found.tags)}")
        shown = [{"job": row["job"][:12], "vendor": " ".join(row["vendor"] or ()), "note": row["note"]} for row in rows]
        print_rows(shown, ("job", "vendor", "note"), as_json=False, empty="its jobs were not changed")


@app.command("export")
def export(
    batch: Id,
    path: Annotated[Path, typer.Argument(help="File to write; its extension sets the format.")],
    form: Annotated[Format | None, typer.Option("--format", help="csv, json or parquet.")] = None,
) -> None:
    """Write the counts of all circuits to a file.

    One row per circuit and outcome: index, name, outcome, value, error.
    """
    with errors_as_exit_codes():
        chosen = form or _format_of(path)
        rows = default_client().batch(batch).stored().rows()
        if chosen is Format.JSON:
            path.write_text(json_text(rows, indent=1), encoding="utf-8")
        elif chosen is Format.CSV:
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, fieldnames=["index", "name", "outcome", "value", "error"])
                writer.writeheader()
                writer.writerows(rows)
        else:
            _write_parquet(rows, path)
        say(f"{path}: {len(rows)} rows")


def _format_of(path: Path) -> Format:
    try:
        return Format(path.suffix.lstrip(".").lower())
    except ValueError:
        raise ProgramRejected(f"{path.name}: pass --format, or end the file name in .csv, .json or .parquet") from None


def _write_parquet(rows: list[dict[str, Any]], path: Path) -> None:
    try:
        import pyarrow  # pyright: ignore[reportMissingImports]
        import pyarrow.parquet  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ProgramRejected(
            "Parquet needs pyarrow (pip install pyarrow); CSV and JSON need no extra package"
        ) from None
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def _print_report(batch: Batch, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "id": batch.id,
                "run_key": batch.record.run_key,
                "name": batch.name,
                "device": batch.device,
                "status": batch.status,
                "parts": batch.report_table(),
                "errors": {index: error.message for index, error in batch.errors.items()},
                "health": [one.to_json() for one in batch.health()],
            }
        )
        return
    say(batch.report(detailed=False))
    rows = batch.report_table()
    print_rows(rows, _PARTS if not rows or "health" in rows[0] else _PARTS_ALONE, as_json=False, empty="")
