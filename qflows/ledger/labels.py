"""Names and tags of jobs: labels for people, changeable at any time, never part of what a job is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from qflows.errors import UnknownJob
from qflows.ledger.store import Ledger
from qflows.ledger.tables import events, jobs

CHANGED = "labels-changed"


def change(ledger: Ledger, key: str, *, name: str | None, tags: Mapping[str, str], remove: Collection[str]) -> None:
    """Set the name, add or overwrite `tags`, remove `remove`; what others changed meanwhile stays.

    The event is written with it, so that a tag removed from the ledger can later be removed at the vendor.
    """

    def work(connection: sa.Connection) -> None:
        query = sa.select(jobs.c.name, jobs.c.tags).where(jobs.c.key == key).with_for_update()
        row = connection.execute(query).one_or_none()
        if row is None:
            raise UnknownJob(f"the ledger has no job {key[:12]}")
        kept = {tag: value for tag, value in row.tags.items() if tag not in remove} | dict(tags)
        wanted: dict[str, Any] = {"name": row.name if name is None else name, "tags": kept}
        if wanted == {"name": row.name, "tags": dict(row.tags)}:
            return
        connection.execute(sa.update(jobs).where(jobs.c.key == key).values(**wanted))
        ledger.record_event(connection, CHANGED, key, name=name, tags=dict(tags), removed=sorted(remove))

    ledger.transact(work)


def ever_used(ledger: Ledger, key: str) -> frozenset[str]:
    """Names of all tags the job has or had in the ledger: the vendor's tags of these names are ours to change."""
    with ledger.read() as connection:
        now = connection.execute(sa.select(jobs.c.tags).where(jobs.c.key == key)).scalar() or {}
        query = sa.select(events.c.detail).where(events.c.subject == key, events.c.kind == CHANGED)
        changes = connection.execute(query).scalars().all()
    return frozenset(now).union(*(frozenset(one["tags"]) | frozenset(one["removed"]) for one in changes))
