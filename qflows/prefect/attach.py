"""`qflows.attach`: any durable thing by its id."""

from __future__ import annotations

from typing import Any, TypeVar, overload

from qflows.core.batches.batch import Batch
from qflows.core.sessions import SessionHold
from qflows.errors import UnknownJob
from qflows.ledger import sessions as ledger_sessions
from qflows.model import Job
from qflows.prefect import tasks
from qflows.prefect.groups import Group
from qflows.prefect.tasks import Session
from qflows.states import SessionState

T = TypeVar("T")

_SHORTEST = 8  # characters of an id that may stand for it


@overload
def attach(name: str) -> Job | Batch | Group | Session: ...
@overload
def attach(name: str, kind: type[T]) -> T: ...
def attach(name: str, kind: type[Any] | None = None) -> Any:
    """A job, batch, group or session by its id, a unique beginning of it (8 characters), or its vendor id.

    From any process, any day. `kind` says which is meant, for readers and type checkers:
    `qflows.attach(id, qflows.Group).results()`. Raises UnknownJob when the ledger has none of that kind.
    """
    found = _attach_any(name)
    if kind is not None and not isinstance(found, kind):
        raise UnknownJob(f"{name!r} is a {type(found).__name__}, not a {kind.__name__}")
    return found


def _attach_any(name: str) -> Job | Batch | Group | Session:
    core = tasks.client()
    try:
        return core.find(name)
    except UnknownJob as error:
        not_a_job = error
    if len(name) >= _SHORTEST:
        for look in (core.batch, _attach_group):
            try:
                return look(name)
            except UnknownJob:
                continue
        record = ledger_sessions.get(core.ledger, name)
        if record is not None:
            if record.state is SessionState.OPEN:
                ledger_sessions.hold(core.ledger, record.key, lease_s=SessionHold.lease_s)
            provider = core.provider_named(record.device, record.provider)
            return Session(SessionHold(core.ledger, provider, record), record.device, record.run_key, "close")
    if "several" in str(not_a_job):
        raise not_a_job
    raise UnknownJob(f"the ledger has no job, batch, group or session {name!r}; see `qflows jobs ls`, `group ls`, ...")


def _attach_group(name: str) -> Group:
    handle = tasks.client().group(name)
    record = handle.record
    made = Group(record.name, max_ttl=record.max_ttl_s, tags=record.tags, metadata=record.metadata)
    made._handle, made._run_key = handle, record.run_key
    return made
