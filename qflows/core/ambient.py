"""Which group a purchase belongs to: the one of this context, else the one that is open in this process.

Contexts are copied into threads by Prefect's runners and by asyncio; a plain thread starts without one and then joins
the group that is open in this process under its run key.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar

from qflows.errors import GroupError

ACTIVE: ContextVar[str | None] = ContextVar("qflows_group", default=None)
_in_process: dict[str, set[str]] = {}  # run key → ids of ambient groups
_in_process_lock = threading.Lock()


def enter(run_key: str, id_: str) -> None:
    """Makes a group the one of this context, and the one that plain threads of the run join."""
    ACTIVE.set(id_)
    with _in_process_lock:
        _in_process.setdefault(run_key, set()).add(id_)


def leave(run_key: str, id_: str) -> None:
    """Ends that. Contexts elsewhere that still point at the group are refused by the ledger, never ignored."""
    if ACTIVE.get() == id_:
        ACTIVE.set(None)
    with _in_process_lock:
        ids = _in_process.get(run_key, set())
        ids.discard(id_)
        if not ids:
            _in_process.pop(run_key, None)


def joined(run_key: str) -> str | None:
    """The group of this context, else the only one that is open in this process under this run key.

    For callers outside any flow, who named the run by hand. Raises GroupError where there is a choice.
    """
    mine = ACTIVE.get()
    if mine is not None:
        return mine
    with _in_process_lock:
        ids = sorted(_in_process.get(run_key, ()))
    if len(ids) > 1:
        raise GroupError(
            f"{len(ids)} groups of run {run_key!r} are open in this process and this thread is "
            "in none of them; nothing was bought. Submit with group.submit(...), or inside `with group.inside():`"
        )
    return ids[0] if ids else None
