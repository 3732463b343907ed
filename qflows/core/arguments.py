"""Arguments of public calls, checked before anything is recorded or sent: their names, and the kinds of values."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

from qflows.errors import ProgramRejected, UnknownJob

P = ParamSpec("P")
R = TypeVar("R")

_LONGEST_TEXT = 255
# what other clients call it
_ELSEWHERE = {
    "backend": ("device",),
    "backends": ("devices",),
    "circuit": ("program", "circuits", "programs"),
    "circuits": ("programs",),
    "mode": ("device",),
    "parameter_values": ("values",),
    "parameters": ("values",),
    "repetitions": ("shots",),
}


def shown(value: Any) -> str:
    """A value in a message: its kind, and what it says if that is short."""
    text = ascii(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"


def check_names(verb: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise ProgramRejected for an argument that the call does not have, with the name that was meant."""
    known = sorted(known)
    for name in given:
        if name not in known:
            alike = [one for one in _ELSEWHERE.get(name, ()) if one in known]
            alike = alike or difflib.get_close_matches(name, known, n=1)
            meant = f"did you mean {alike[0]}?" if alike else f"it takes {', '.join(known) or 'none'}"
            raise ProgramRejected(f"{verb} has no argument {name!r}; {meant}")


def check_call(verb: str, function: Callable[..., Any], args: Collection[Any], given: Mapping[str, Any]) -> None:
    """Raise ProgramRejected for a call that does not fit the function: a wrong name, one missing, one too many."""
    signature = _signature(function)
    try:
        signature.bind(*args, **given)
    except TypeError as error:
        named = [
            one.name for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD and one.name != "self"
        ]
        strange = [one for one in given if one not in named]
        if not any(one.kind is one.VAR_KEYWORD for one in signature.parameters.values()):
            check_names(verb, strange, named)
        # an argument that other clients have, in place of one that is missing here
        check_names(verb, [one for one in strange if one in _ELSEWHERE], named)
        raise ProgramRejected(f"{verb}: {error}; it takes {', '.join(named)}") from None


def fitting(function: Callable[P, R]) -> Callable[P, R]:
    """The function, whose calls are checked by `check_call` first."""

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        check_call(function.__name__, function, args, kwargs)
        return function(*args, **kwargs)

    return checked


@cache
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


def check_choice(name: str, value: Any, choices: Iterable[Any]) -> None:
    """Raise ProgramRejected for a value that is none of the choices, with the one that was meant."""
    choices = list(choices)
    if value in choices:
        return
    near = difflib.get_close_matches(value, [str(one) for one in choices], n=1) if isinstance(value, str) else []
    meant = f"; did you mean {near[0]!r}?" if near else ""
    raise ProgramRejected(f"{name} must be {' or '.join(repr(one) for one in choices)}, not {shown(value)}{meant}")


def device_names(value: Any) -> list[str]:
    """Names of devices as a list; one name is a list of one. Raises ProgramRejected for anything else."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not names or not all(isinstance(one, str) for one in names):
        raise ProgramRejected(
            f"devices must be a list of names of devices, not {shown(value)}; write devices=['local-aer'], "
            "`qflows devices` lists the names"
        )
    return list(names)


def check_text(name: str, value: Any, *, required: bool = False) -> None:
    """Raise ProgramRejected for a name, project or label that is not text."""
    if (value is not None or required) and not isinstance(value, str):
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
    raise UnknownJob(f"expected a job, or its id as text, not {what}; {own}")
