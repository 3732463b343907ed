"""How far back a report looks, and the files it leaves."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

from qflows.core.durations import seconds
from qflows.errors import ProgramRejected
from qflows.pages.morning.compose import compose
from qflows.pages.morning.gather import Report
from qflows.pages.morning.render import to_html, to_markdown
from qflows.pages.text import json_text


def length(since: str) -> timedelta:
    """`24h`, `90m`, `7d` as a length of time. Raises ProgramRejected for zero, or for an unreadable text."""
    in_hours = re.sub(r"(\d+(?:\.\d+)?)\s*d", lambda found: f"{24 * float(found[1])}h", since)
    try:
        found = seconds(in_hours) or 0.0
    except ProgramRejected:
        found = 0.0
    if not 0 < found < 100 * 365 * 86400:
        raise ProgramRejected(f"{since!r} is not a length of time; write e.g. '24h', '90m' or '7d'")
    return timedelta(seconds=found)


def write(found: Report, folder: Path) -> list[Path]:
    """Write report.html, report.md and report.json; return their paths. Raises ProgramRejected if it cannot."""
    page = compose(found)
    texts = {
        "report.html": to_html(page),
        "report.md": to_markdown(page),
        "report.json": json_text(found.to_json()) + "\n",
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ProgramRejected(
            f"the report cannot be written to {folder}: {error.strerror}; choose a folder that you may write"
        ) from error
    return [folder / name for name in texts]
