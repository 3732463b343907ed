"""Marks of ledgers: which of them bought a job.

Each ledger has a mark of its own, which ends every job key it makes. It also recognizes the keys of other marks that it
holds jobs of: those without a mark, made before marks existed, and those of a ledger that it was rebuilt from. A job
whose key carries another mark may be a colleague's, and is never adopted or cancelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from qflows.errors import LedgerError
from qflows.keys import job_key
from qflows.ledger.claims import chunks
from qflows.ledger.store import Ledger, utc_now
from qflows.ledger.tables import jobs, marks

OWN = "own"
RECOGNIZED = "recognized"
_Purchase = tuple[str, int]  # sample and epoch
_SELECT = sa.select(marks.c.mark, marks.c.kind).order_by(marks.c.at, marks.c.mark)


@dataclass(frozen=True, slots=True)
class Marks:
    """`own` ends the keys of new purchases; `recognized` are other marks in this ledger, "" for keys without one."""

    own: str
    recognized: tuple[str, ...] = ()

    def keys(
        self, connection: sa.Connection, wanted: Sequence[_Purchase], column: sa.Column[Any] = jobs.c.key
    ) -> dict[_Purchase, str]:
        """The key of each purchase: the one that `column` has, otherwise one with our own mark."""
        named = {one: job_key(*one, self.own) for one in wanted}
        if not self.recognized:
            return named
        others = {job_key(*one, mark): one for mark in self.recognized for one in wanted}
        there = {
            key
            for part in chunks(sorted({*named.values(), *others}))
            for key in connection.execute(sa.select(column).where(column.in_(part))).scalars()
        }
        for key, one in others.items():
            if key in there and named[one] not in there:
                named[one] = key
        return named


def read(connection: sa.Connection) -> Marks:
    """The marks of this ledger. Raises LedgerError if it has none of its own, which no upgrade leaves behind."""
    found = connection.execute(_SELECT).all()
    own = [row.mark for row in found if row.kind == OWN]
    if len(own) != 1:
        raise LedgerError(f"the ledger has {len(own)} marks of its own instead of one; restore it from a backup")
    return Marks(own[0], tuple(row.mark for row in found if row.kind != OWN))


def of(ledger: Ledger) -> Marks:
    """The marks of this ledger."""
    with ledger.read() as connection:
        return read(connection)


def recognize(ledger: Ledger, mark: str) -> None:
    """Count jobs whose keys carry this mark as bought by this ledger from now on. Permanent."""
    row = {"mark": mark, "kind": RECOGNIZED, "at": utc_now()}
    with ledger.write() as connection:
        if mark not in connection.execute(sa.select(marks.c.mark)).scalars().all():
            connection.execute(sa.insert(marks), row)
