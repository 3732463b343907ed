"""What UPDATE statements say about states: the one they set, and those that their WHERE allows before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.operators import eq, in_op

from qflows.ledger.tables import groups, jobs, sessions
from qflows.states import (
    CallbackState,
    GroupState,
    JobStatus,
    SessionState,
    callback_sources,
    group_sources,
    revocable,
    session_sources,
    sources,
)

TABLES: tuple[tuple[sa.Column[Any], type[StrEnum], Callable[[Any], Any]], ...] = (
    (jobs.c.status, JobStatus, lambda to: (*sources(to), *revocable(to))),
    (sessions.c.state, SessionState, session_sources),
    (groups.c.state, GroupState, group_sources),
    (groups.c.callback_state, CallbackState, callback_sources),
)


@dataclass(frozen=True)
class Move:
    """One column that an UPDATE moves: to which state, from those its WHERE names, and from those the table allows."""

    column: str
    to: str
    named: frozenset[str]
    allowed: frozenset[str]


def moves_of(statement: sa.Update, values: Mapping[str, Any]) -> Iterator[Move]:
    """The moves of a statement, executed with `values`; none if the new state is chosen in SQL."""
    given = {getattr(name, "key", name): value for name, value in (statement._values or {}).items()}
    for column, states, sources_of in TABLES:
        to: Any = given.get(column.key) if statement.table is column.table else None
        if isinstance(to, sa.BindParameter):
            to = values.get(to.key, to.value)
            if to is not None:
                allowed = frozenset(one.value for one in sources_of(states(to)))
                yield Move(str(column), states(to).value, _named(statement, column, values), allowed)


def _named(statement: sa.Update, column: sa.Column[Any], values: Mapping[str, Any]) -> frozenset[str]:
    named: set[str] = set()
    pending: list[Any] = [statement.whereclause]
    while pending:
        clause = pending.pop()
        if isinstance(clause, sa.BooleanClauseList):
            pending += clause.clauses
        elif isinstance(clause, sa.sql.elements.Grouping):
            pending.append(clause.element)
        elif isinstance(clause, sa.BinaryExpression) and clause.left is column and clause.operator in (eq, in_op):
            said = values.get(clause.right.key, clause.right.value)
            named |= {str(one) for one in (said if clause.operator is in_op else [said])}
    return frozenset(named)
