"""Whether expensive jobs may be bought: decided once for each look of a run, however often it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qflows.keys import digest
from qflows.ledger.choice_tables import gates
from qflows.ledger.store import Ledger
from qflows.ledger.tables import runs

BUY, LATER, NO = "buy", "later", "no"


@dataclass(frozen=True, slots=True)
class GateDecision:
    """One look at a device. `verdict`: buy, later or no; `evidence`: each value with its distance from history."""

    key: str
    run_key: str
    name: str
    device: str
    look: int
    verdict: str
    why: str
    evidence: Sequence[Mapping[str, Any]]
    at: datetime


_FIELDS = tuple(one.name for one in fields(GateDecision))
_COLUMNS = [gates.c[name] for name in _FIELDS]


def key_of(run_key: str, name: str, device: str, look: int) -> str:
    """The key of one look."""
    return digest("gate/1", run_key, name, device, look)


def decide(ledger: Ledger, wanted: GateDecision) -> GateDecision:
    """Store this decision unless there is one; return the stored one."""
    values = {name: getattr(wanted, name) for name in _FIELDS}
    values["evidence"] = [dict(one) for one in wanted.evidence]
    with ledger.write() as connection:
        connection.execute(ledger.insert(_gate_insert), values)
        row = connection.execute(sa.select(*_COLUMNS).where(gates.c.key == wanted.key)).one()
    return GateDecision(**row._mapping)


def _gate_insert(insert: Callable[[sa.Table], Any]) -> Any:
    row = {name: sa.bindparam(name, type_=gates.c[name].type) for name in _FIELDS}
    return insert(gates).values(row).on_conflict_do_nothing()


def held_between(ledger: Ledger, since: datetime, until: datetime) -> list[tuple[GateDecision, str]]:
    """Looks in this time that held a run back, oldest first, each with the name of the run's flow or an empty text."""
    query = (
        sa.select(*_COLUMNS, runs.c.flow_name)
        .select_from(gates.outerjoin(runs, runs.c.run_key == gates.c.run_key))
        .where(gates.c.at >= since, gates.c.at < until, gates.c.verdict != BUY)
        .order_by(gates.c.at)
    )
    with ledger.read() as connection:
        found = [row._mapping for row in connection.execute(query)]
    return [(GateDecision(**{name: row[name] for name in _FIELDS}), row["flow_name"] or "") for row in found]


def of_runs(ledger: Ledger, run_keys: Iterable[str]) -> list[GateDecision]:
    """All looks of some runs, in order."""
    query = sa.select(*_COLUMNS).where(gates.c.run_key.in_(sorted(set(run_keys)))).order_by(gates.c.at, gates.c.look)
    with ledger.read() as connection:
        return [GateDecision(**row._mapping) for row in connection.execute(query)]
