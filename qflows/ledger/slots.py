"""Decisions about schedule slots that may have been missed: made once, however often it is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qflows.ledger.store import Ledger
from qflows.ledger.tables import slots


@dataclass(frozen=True, slots=True)
class SlotDecision:
    """`skipped`: why the slot was not run; None if it was. `started_at`: the first start of the run that decided."""

    key: str
    deployment_id: str
    slot: datetime
    flow_name: str
    flow_run_id: str
    started_at: datetime
    skipped: str | None


_FIELDS = tuple(one.name for one in fields(SlotDecision))
_COLUMNS = [slots.c[name] for name in _FIELDS]


def decided(ledger: Ledger, key: str) -> SlotDecision | None:
    """The stored decision, if there is one."""
    with ledger.read() as connection:
        row = connection.execute(sa.select(*_COLUMNS).where(slots.c.key == key)).one_or_none()
    return SlotDecision(*row) if row else None


def decide(ledger: Ledger, wanted: SlotDecision) -> SlotDecision:
    """Store this decision unless there is one; return the stored one."""
    values = {name: getattr(wanted, name) for name in _FIELDS}
    with ledger.write() as connection:
        connection.execute(ledger.insert(_slot_insert), values)
        return SlotDecision(*connection.execute(sa.select(*_COLUMNS).where(slots.c.key == wanted.key)).one())


def _slot_insert(insert: Callable[[sa.Table], Any]) -> Any:
    row = {name: sa.bindparam(name, type_=slots.c[name].type) for name in _FIELDS}
    return insert(slots).values(row).on_conflict_do_nothing()


def skipped_between(ledger: Ledger, since: datetime, until: datetime) -> list[SlotDecision]:
    """Slots that were skipped in this time, oldest first."""
    query = (
        sa.select(*_COLUMNS)
        .where(slots.c.started_at >= since, slots.c.started_at < until, slots.c.skipped.is_not(None))
        .order_by(slots.c.slot)
    )
    with ledger.read() as connection:
        return [SlotDecision(*row) for row in connection.execute(query)]
