"""`qflows spend`: where the money went."""

from __future__ import annotations

import csv
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from qflows.cli.connection import default_client
from qflows.cli.screen import errors_as_exit_codes, print_json, print_rows, say
from qflows.core.durations import seconds
from qflows.display import plural
from qflows.errors import ProgramRejected
from qflows.ledger import spending
from qflows.ledger.store import utc_now


class By(StrEnum):
    """What purchases are summed by."""

    VENDOR = "vendor"
    DEVICE = "device"
    PROJECT = "project"
    USER = "user"
    DEPLOYMENT = "deployment"
    RUN = "run"
    DAY = "day"


_COLUMNS: tuple[str, ...] = ("of", "unit", "jobs", "billed", "computed", "expected", "unknown")


def spend(
    by: Annotated[By, typer.Option(help="What to group the totals by.")] = By.VENDOR,
    since: Annotated[str | None, typer.Option(help="How far back, such as 7d or 12h. Default: all.")] = None,
    project: Annotated[str | None, typer.Option(help="Only this project.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write a .csv or .parquet file instead.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show spending: estimates next to bills.

    `billed` is the vendor's own figure, `computed` is derived from prices where the vendor gives none, and `expected`
    is the estimate before the purchase. Units are never mixed.
    """
    with errors_as_exit_codes():
        start = utc_now() - timedelta(seconds=_span_s(since)) if since else None
        rows = [
            one.to_json() for one in spending.spent(default_client().ledger, by.value, since=start, project=project)
        ]
        if out is not None:
            _write(out, rows)
            say(f"{out}: {plural(len(rows), 'row')}")
        elif as_json:
            print_json(rows)
        else:
            shown = [{name: str(row[name]) for name in _COLUMNS} for row in rows]
            print_rows(shown, _COLUMNS, as_json=False, empty="nothing was bought")


def _span_s(text: str) -> float:
    days, _, rest = text.partition("d") if "d" in text else ("", "", text)
    if days and not days.strip().isdecimal():
        raise ProgramRejected(f"--since {text!r} is not a length of time; write, for example, 7d, 12h or 30m")
    return (int(days) * 86_400.0 if days else 0.0) + (seconds(rest.strip()) or 0.0 if rest.strip() else 0.0)


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, _COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".parquet":
        try:
            import pyarrow  # pyright: ignore[reportMissingImports]
            import pyarrow.parquet  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise ProgramRejected("Parquet needs pyarrow (pip install pyarrow); or write a .csv file") from None
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        raise ProgramRejected(f"{path.name}: the file name must end in .csv or .parquet")
