"""Output: tables, JSON, and errors with exit codes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

import typer

from qflows import errors
from qflows.privacy.redaction import clean, redact


class Exit(IntEnum):
    """Exit codes; also in `qflows --help`."""

    OK = 0
    FAILED = 1  # a job failed or was cancelled
    USAGE = 2  # bad input; nothing was sent
    PENDING = 3  # the deadline passed; the jobs keep running
    DOUBT = 4  # a person must say whether the vendor has a job
    VENDOR = 5  # the vendor refused, or could not be reached
    LEDGER = 6  # the ledger could not be used


_CODES: tuple[tuple[type[BaseException], Exit], ...] = (
    (errors.WaitTimeout, Exit.PENDING),
    (errors.InDoubt, Exit.DOUBT),
    (errors.JobFailed, Exit.FAILED),
    (errors.LedgerError, Exit.LEDGER),
    (errors.ProviderError, Exit.VENDOR),
    (errors.QflowsError, Exit.USAGE),
)


@contextmanager
def errors_as_exit_codes() -> Iterator[None]:
    """Prints a qflows error as one sentence on stderr and leaves with its exit code."""
    try:
        yield
    except errors.QflowsError as error:
        code = next(code for kind, code in _CODES if isinstance(error, kind))
        say(f"qflows: {error}", err=True, fg="red")
        raise typer.Exit(code) from None
    except KeyboardInterrupt:
        say("qflows: interrupted; jobs at the vendor keep running, `qflows jobs ls` shows them", err=True, fg="yellow")
        raise typer.Exit(130) from None
    finally:
        _leave_the_stream()


def _leave_the_stream() -> None:
    """Lets Prefect's console log follow `sys.stderr` where a program that called this command had replaced that.

    Prefect keeps the stderr of the moment when it was first imported, and a command imports it late. A stream that a
    test runner or `redirect_stderr` put there for one call is closed after it; each later line of a flow, and each
    print of one with `log_prints`, would end in "I/O operation on closed file".
    """
    real = sys.__stderr__
    if "prefect.main" not in sys.modules or real is None or sys.stderr is real:
        return
    from prefect.logging.handlers import PrefectConsoleHandler

    named = [one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)]
    for handler in {handler for logger in (logging.root, *named) for handler in logger.handlers}:
        if vars(handler).get("stream") is sys.stderr and isinstance(handler, logging.StreamHandler):
            handler.stream = real
            if isinstance(handler, PrefectConsoleHandler):
                handler.console.stderr, handler.console.file = True, None  # pyright: ignore[reportAttributeAccessIssue]


def say(text: Any, *, err: bool = False, nl: bool = True, **style: Any) -> None:
    """A line of text. Commands print through this function, because nearly every line quotes a vendor or a person:
    secrets and control characters do not reach the terminal."""
    shown = clean(text)
    typer.echo(typer.style(shown, **style) if style else shown, err=err, nl=nl)


def print_json(value: Any) -> None:
    """One JSON document on stdout: what is not finite is null, what is not ASCII is escaped."""
    from qflows.pages.text import json_text

    sys.stdout.write(redact(json_text(value)) + "\n")


def print_rows(rows: Sequence[Mapping[str, str]], columns: Sequence[str], *, as_json: bool, empty: str) -> None:
    """Prints a table or a JSON list; `empty` is printed when there are no rows."""
    if as_json:
        print_json(list(rows))
        return
    if not rows:
        say(empty)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    shown = [column for column in columns if any(row.get(column) for row in rows)]
    for column in shown:
        table.add_column(
            Text(clean(column)),
            overflow="ellipsis" if column == "note" else "fold",
            no_wrap=column in ("job", "status"),
        )
    for row in rows:
        # vendor text is data: no markup and no escape sequence is read from it
        table.add_row(*(Text(clean(row.get(column, ""))) for column in shown))
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def print_counts(counts: Mapping[str, float], *, total: float) -> None:
    """A histogram in text, most frequent first, at most 20 lines."""
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    width = max((len(key) for key in counts), default=1)
    for key, value in ranked[:20]:
        bar = "█" * max(1, round(40 * value / total)) if total else ""
        number = f"{value:d}" if isinstance(value, int) else f"{value:.6f}"
        sys.stdout.write(f"  {clean(key):>{width}}  {number:>9}  {bar}\n")
    if len(ranked) > 20:
        sys.stdout.write(f"  … {len(ranked) - 20} more outcomes; --json prints all\n")


def progress_line() -> Callable[[str], None]:
    """Returns a function that overwrites one line on stderr in a terminal and prints nothing elsewhere."""
    if not sys.stderr.isatty():
        return lambda text: None

    def show(text: str) -> None:
        sys.stderr.write("\r\x1b[K" + clean(text))
        if not text:
            sys.stderr.write("\r")
        sys.stderr.flush()

    return show
