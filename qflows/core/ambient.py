"""The group a purchase belongs to: the one in this context, otherwise the one open in this process.

Prefect's runners and asyncio copy contexts into threads; a plain thread starts without one and joins the group that is
open in this process under its run key.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar

from qflows.errors import GroupError

ACTIVE: ContextVar[str | None] = ContextVar("qflows_group", default=None)
_in_process: dict[str, set[str]] = {}  # run key → ids of ambient groups
_in_process_lock = threading.Lock()


def enter(run_key: str, id_: str) -> None:
    """Make a group current in this context, and the one that plain threads of the run join."""
    ACTIVE.set(id_)
    with _in_process_lock:
        _in_process.setdefault(run_key, set()).add(id_)


def leave(run_key: str, id_: str) -> None:
    """Undo `enter`. The ledger refuses contexts elsewhere that still point at the group; it never ignores them."""
    if ACTIVE.get() == id_:
        ACTIVE.set(None)
    with _in_process_lock:
        ids = _in_process.get(run_key, set())
        ids.discard(id_)
        if not ids:
            _in_process.pop(run_key, None)


def joined(run_key: str) -> str | None:
    """The group of this context, otherwise the only one open in this process under this run key.

    For callers outside any flow that passed the run key themselves. Raises GroupError if several groups are open.
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
