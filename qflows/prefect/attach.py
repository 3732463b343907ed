"""`qflows.attach`: finds any job, batch, group or session by its id."""

from __future__ import annotations

from typing import Any, TypeVar, overload

from qflows.core.batches.batch import Batch
from qflows.core.groups.handle import Group
from qflows.core.sessions import Session
from qflows.errors import SeveralFit, UnknownJob
from qflows.model import Job
from qflows.prefect.client import client

T = TypeVar("T")

_SHORTEST = 8  # characters of an id that may stand for it


@overload
def attach(name: str) -> Job | Batch | Group | Session: ...
@overload
def attach(name: str, kind: type[T]) -> T: ...
def attach(name: str, kind: type[Any] | None = None) -> Any:
    """Returns a job, batch, group or session by its id, a unique prefix of it (8 characters), or its vendor id.

    Works from any process, at any time. `kind` says which is meant, for readers and type checkers:
    `qflows.attach(id, qflows.Group).results()`. Raises UnknownJob if the ledger has none of that kind.
    """
    if not isinstance(name, str):
        raise UnknownJob(f"attach takes an id as text, not {name!r}; `qflows jobs ls` lists ids")
    found = _attach_any(name)
    if kind is not None and not isinstance(found, kind):
        raise UnknownJob(f"{name!r} is a {type(found).__name__}, not a {kind.__name__}")
    return found


def _attach_any(name: str) -> Job | Batch | Group | Session:
    core = client()
    try:
        return core.find(name)
    except SeveralFit:
        several = True
    except UnknownJob:
        several = False
    if len(name) >= _SHORTEST:
        for look in (core.batch, core.group, core.session):
            try:
                return look(name)
            except UnknownJob:
                continue
    if several:
        raise SeveralFit(f"{name!r} matches several jobs; give more characters of the key")
    raise UnknownJob(
        f"the ledger has no job, batch, group or session {name!r}; `qflows jobs ls`, `batches ls`, `groups ls` and "
        "`sessions ls` list what it has"
    )
