"""The parts of a report: plain values that `render` turns into markdown, HTML or text. Nothing is escaped here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from qflows.model import Job

ROWS = 12  # of a table; the number of further rows is stated


class Tone(StrEnum):
    """How much attention a section wants."""

    ALARM = "alarm"
    WORK = "work"
    CALM = "calm"


@dataclass(frozen=True, slots=True)
class Line:
    """A sentence, and a command to type, if there is one."""

    text: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as text, in the order of `columns`; those whose name is in `figures` are numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    figures: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG and what it shows."""

    png: bytes
    alt: str


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and the content below it."""

    title: str
    tone: Tone
    content: tuple[Line | Table | Picture, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """The whole report: title, the time it covers, a one-sentence summary, and a few numbers."""

    title: str
    covers: str
    verdict: str
    tone: Tone
    numbers: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]


def unit_text(unit: str) -> str:
    return "" if unit == "1" else f" {unit}"


def job_text(job: Job) -> str:
    return f"Job {job.key[:12]} ({job.name} on {job.device})"


def moment(at: datetime) -> str:
    """A time to the minute, UTC."""
    return f"{at:%Y-%m-%d %H:%M}"


def span(seconds: float) -> str:
    """`3 min`, `2.5 h`, `4 d`."""
    if seconds < 3600:
        return f"{max(seconds / 60, 1):.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.0f} d"
