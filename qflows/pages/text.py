"""Text and tables on a page: escaped and capped, because vendor text is data."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from qflows.display import plural
from qflows.model import Job
from qflows.privacy.redaction import clean

_TEXT_CAP = 400
_MARKUP = re.compile(r"([\]<!`\\]|:(?=//))")
_ACTIVE = re.compile(r"([\\`*_{}\[\]<>()#+!|~])")
_ADDRESS = re.compile(r"(:(?=//)|\bwww(?=\.)|@(?=\w))", re.IGNORECASE)


def escape(text: Any) -> str:
    """Text that markdown shows unchanged, on one line, bounded."""
    flat = " ".join(clean(text).split())
    short = flat if len(flat) <= _TEXT_CAP else flat[: _TEXT_CAP - 1] + "…"
    # an address becomes a link by itself, without any markup that could be escaped
    return _ADDRESS.sub("\\1\u200b", _ACTIVE.sub(r"\\\1", short))


def code(text: Any) -> str:
    """Text in a code span, unchanged so that it can be copied: nothing in a span is active, if its fence is longer than
    every run of backticks in it."""
    flat = " ".join(clean(text).split())
    short = flat if len(flat) <= _TEXT_CAP else flat[: _TEXT_CAP - 1] + "…"
    fence = "`" * (1 + max(map(len, re.findall("`+", short)), default=0))
    pad = " " if short.startswith("`") or short.endswith("`") else ""
    return f"{fence}{pad}{short}{pad}{fence}"


def cell(text: Any) -> str:
    """Text for a table artifact. V1 reads cells as markdown and V2 shows them unchanged (Prefect 3.8.8), so nothing is
    escaped; anything that would become a link, an image or a tag is broken up by invisible spaces instead."""
    flat = " ".join(clean(text).split())
    short = flat if len(flat) <= _TEXT_CAP else flat[: _TEXT_CAP - 1] + "…"
    return _MARKUP.sub("\\1\u200b", short)


def image(png: bytes, alt: str) -> str:
    """A markdown image that contains its own bytes."""
    return f"![{escape(alt)}](data:image/png;base64,{base64.b64encode(png).decode('ascii')})"


def json_text(value: Any, *, indent: int | None = 2) -> str:
    """JSON that every parser reads: non-finite numbers become null, unknown values their text."""
    # DEL is the one control character that the encoder leaves as it is
    return json.dumps(_finite(value), indent=indent, default=str, allow_nan=False).replace("\x7f", "\\u007f")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value


def shots_text(shots: Any) -> str:
    """ "1,000 shots", "1 shot", or "exact" without shots."""
    if shots is None:
        return "exact"
    return plural(shots, "shot") if isinstance(shots, int) else f"{shots} shots"


JOB_COLUMNS = ("job", "name", "device", "shots", "status", "vendor id", "queue s", "run s", "cost", "note")


# on a page and in a table artifact, which are cut at the right: events come before ids
PAGE_COLUMNS = ("name", "device", "status", "cost", "queue, run", "shots", "note", "job", "vendor id")


def job_row(job: Job) -> dict[str, str]:
    """One row of a job table; the same on a terminal, in the UI and as JSON."""
    times = job.timeline
    cost = job.cost
    return {
        "job": job.key[:12],
        "name": job.name,
        "device": job.device,
        "shots": "exact" if job.shots is None else str(job.shots),
        "status": job.status.value,
        "vendor id": job.vendor_id or "",
        "queue s": f"{times.queue_s:.1f}" if times.queue_s is not None else "",
        "run s": f"{times.execution_s:.1f}" if times.execution_s is not None else "",
        "cost": f"{'~' if cost.is_estimate else ''}{cost.amount:g} {cost.unit}" if cost else "",
        "note": "; ".join(filter(None, (job.origin, job.error_message or ("" if job.is_terminal else job.queue_note)))),
    }


def page_row(job: Job) -> dict[str, str]:
    """`job_row` for a page, where width is scarce: both times in one column, and numbers as people write them."""
    row = job_row(job)
    times = [f"{row[name]} s" if row[name] else "?" for name in ("queue s", "run s")]
    shots = row["shots"] if job.shots is None else f"{job.shots:,}"
    return row | {"queue, run": ", ".join(times) if set(times) != {"?"} else "", "shots": shots}


def job_table(jobs: Sequence[Job]) -> list[dict[str, str]]:
    """Rows for a table artifact."""
    rows = [page_row(job) for job in jobs]
    return [{column: cell(row[column]) for column in PAGE_COLUMNS} for row in rows]


def markdown_table(rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> str:
    """A markdown table; cells must be escaped already."""
    lines = [" | ".join(columns), " | ".join("---" for _ in columns)]
    lines += [" | ".join(str(row.get(column, "")) for column in columns) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)
