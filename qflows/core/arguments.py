"""Arguments of public calls, checked before anything is recorded or sent: their names, and the kinds of values."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any

from qflows.errors import ProgramRejected, UnknownJob

_LONGEST_TEXT = 255


def shown(value: Any) -> str:
    """A value in a message: its kind, and what it says if that is short."""
    text = ascii(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"


def check_names(verb: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise ProgramRejected for an argument that the call does not have, with the name that was meant."""
    known = sorted(known)
    for name in given:
        if name not in known:
            alike = difflib.get_close_matches(name, known, n=1)
            meant = f"did you mean {alike[0]}?" if alike else f"it takes {', '.join(known)}"
            raise ProgramRejected(f"{verb} has no argument {name!r}; {meant}")


def check_text(name: str, value: Any) -> None:
    """Raise ProgramRejected for a name, project or label that is not text."""
    if value is not None and not isinstance(value, str):
        raise ProgramRejected(f"{name} must be text, not {shown(value)}; write {name}={str(value)[:40]!r}")


def check_label(value: Any) -> None:
    """Raise ProgramRejected for a label that is not text, or too long to be one."""
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        raise ProgramRejected(f"a label must be text of at most {_LONGEST_TEXT} characters, not {value!a:.60}")


def tags_of(value: Any) -> dict[str, str]:
    """Tags as text to text. Raises ProgramRejected for anything but a mapping."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ProgramRejected(f"tags map text to text, such as {{'study': 'a'}}, not {shown(value)}")
    return {str(name): str(one) for name, one in value.items()}


def check_seconds(name: str, value: Any) -> None:
    """Raise ProgramRejected for a time in seconds that is not a number of at least 0."""
    if value is None or (isinstance(value, int | float) and 0 <= value < math.inf):
        return
    raise ProgramRejected(
        f"{name} must be a number of seconds of at least 0, not {value!r}; write for example {name}=600"
    )


def check_whole(name: str, value: Any) -> None:
    """Raise ProgramRejected for a number that is not whole and at least 0; None is left to the caller."""
    if value is not None and not (isinstance(value, int) and value >= 0):
        raise ProgramRejected(f"{name} must be a whole number of at least 0, not {value!r}")


def job_name(value: Any) -> str:
    """The id by which a caller names a job. Raises UnknownJob for anything but text."""
    if isinstance(value, str):
        return value
    kind = type(value).__name__
    own = {
        "Result": "its counts are there: result.counts",
        "Batch": "call the batch's own method, such as batch.result()",
        "Group": "call the group's own method, such as group.results()",
        "Session": "name one of its jobs; `qflows jobs ls` lists ids",
    }.get(kind, "`qflows jobs ls` lists ids")
    what = f"a {kind}" if kind in ("Result", "Batch", "Group", "Session", "list", "tuple") else shown(value)
    raise UnknownJob(f"a job, or its id as text, goes here, not {what}; {own}")
