"""Facts measured about vendors, by account: a history in which the newest fact of each name is in force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qflows.ledger.store import Ledger
from qflows.ledger.tables import events
from qflows.protocol import Fact

_KIND = "measured"


def record(ledger: Ledger, provider: str, account: str, found: Sequence[Fact]) -> None:
    """Store facts; a fact that could not be determined leaves the previous one in force."""
    with ledger.write() as connection:
        for fact in found:
            if fact.seen is not None:
                detail: Mapping[str, Any] = {"name": fact.name, "seen": fact.seen, "note": fact.note}
                ledger.record_event(connection, _KIND, _subject(provider, account), **detail)


def known(ledger: Ledger, provider: str, account: str) -> dict[str, tuple[Fact, datetime]]:
    """The newest fact of each name, with the time it was measured."""
    query = (
        sa.select(events.c.at, events.c.detail)
        .where(events.c.subject == _subject(provider, account), events.c.kind == _KIND)
        .order_by(events.c.id)
    )
    with ledger.read() as connection:
        rows = connection.execute(query).all()
    return {row.detail["name"]: (Fact(**row.detail), row.at) for row in rows}


def _subject(provider: str, account: str) -> str:
    return f"{provider}/{account}"[:128]
