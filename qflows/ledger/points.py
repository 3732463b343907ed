"""Where an optimization evaluated, durable before the job that answers each evaluation is bought."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from qflows.keys import digest
from qflows.ledger.store import Ledger
from qflows.ledger.tables import points

Point = tuple[float, ...]


def trail(ledger: Ledger, loop: str) -> dict[int, Point]:
    """All points of a loop by the number of the evaluation, as last asked; floats bit for bit."""
    with ledger.read() as connection:
        rows = connection.execute(sa.select(points.c.idx, points.c.point).where(points.c.loop == loop))
        return {row.idx: tuple(row.point) for row in rows}


def keep(ledger: Ledger, loop: str, index: int, point: Point) -> None:
    """Store a point, replacing an earlier one with the same number."""
    with ledger.write() as connection:
        connection.execute(ledger.insert(_insert), {"loop": loop, "idx": index, "point": list(point)})


def ask_to_stop(ledger: Ledger, run_key: str) -> None:
    """Mark a run: its loop stops before its next evaluation and clears the mark, so that it can continue later."""
    keep(ledger, _mark(run_key), 0, ())


def take_stop(ledger: Ledger, run_key: str) -> bool:
    """True, once, if the run was asked to stop."""
    mark = _mark(run_key)
    if 0 not in trail(ledger, mark):
        return False
    with ledger.write() as connection:
        connection.execute(sa.delete(points).where(points.c.loop == mark))
    return True


def _mark(run_key: str) -> str:
    return digest("stop/1", run_key)


def _insert(insert: Callable[[sa.Table], Any]) -> Any:
    row = {name: sa.bindparam(name, type_=points.c[name].type) for name in ("loop", "idx", "point")}
    made = insert(points).values(row)
    return made.on_conflict_do_update(index_elements=["loop", "idx"], set_={"point": made.excluded.point})
