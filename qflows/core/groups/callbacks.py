"""Functions to call when a group is over: how they are named, found again, and described."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from qflows.core.groups.results import GroupResult
from qflows.errors import GroupError
from qflows.ledger.groups import EXCEPTION, GroupRecord
from qflows.states import CallbackState, GroupState

_INTERRUPTED = (
    "its process died while it was running, and it is never run twice automatically. Check "
    "whether it took effect; if it did not, run: qflows groups callback {} --again"
)

Callback = Callable[[GroupResult], Any]


def callback_of(record: GroupRecord) -> dict[str, Any] | None:
    """Function, state and next step, for people; None if nothing was registered."""
    if record.callback is None or record.callback_state is None:
        return None
    state, note = record.callback_state.value, record.callback_error or ""
    if record.is_interrupted:
        state, note = "INTERRUPTED", _INTERRUPTED.format(record.id[:12])
    elif record.callback_state is CallbackState.PENDING:
        if record.state is GroupState.CANCELLED:
            note = "not called: the group was cancelled"
        elif record.close_reason == EXCEPTION:
            note = "not called because of an exception; a retry of the run, or group.results(), calls it"
        elif not record.callback_importable:
            note = "only the process that registered it can call it"
    return {"function": record.callback, "state": state, "at": record.callback_at, "note": note}


def path_of(function: Any) -> tuple[str, bool]:
    """`module:function` of a callable, and whether another process can import it by that; otherwise a readable name."""
    target = getattr(function, "fn", function)  # a Prefect task wraps the function
    module, name = getattr(target, "__module__", None), getattr(target, "__qualname__", None)
    if not module or not name:
        return f"{type(function).__name__} object", False
    return f"{module}:{name}"[:512], module != "__main__" and "<" not in name


def resolve(path: str) -> Callback:
    """The function of `module:function`. Raises GroupError if it cannot be imported here."""
    module, _, name = path.partition(":")
    if not module or not name:
        raise GroupError(f"{path!r} does not name a function; write module:function")
    try:
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # other people's modules may raise anything
        raise GroupError(f"callback {path} cannot be imported here: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise GroupError(f"callback {path} is not a function")
    return found
