"""Devices chosen by a rule: decided once for one call of a run, moved on only while nothing was bought.

A purchase on a chosen device names the choice and its turn; the transaction that makes the job durable locks the choice
and refuses another turn. So two processes never buy for one choice on two devices: either the job is there before the
choice moves on, and it stays, or the buyer learns of the move before anything is durable.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qflows.errors import LedgerError
from qflows.keys import digest
from qflows.ledger.choice_tables import choice_purchases, choices
from qflows.ledger.store import Ledger, utc_now
from qflows.ledger.tables import jobs, sessions
from qflows.states import JobStatus, SessionState

Turn = tuple[str, int]


class ChoiceMoved(LedgerError):
    """Another process moved the choice on to another device; read it again."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A decision. `ranked`: the devices that fit, best first; `candidates`: all that were considered, with their
    numbers, or why they are left out; `turn`: position in `ranked` of the device that counts."""

    key: str
    run_key: str
    rule: str
    turn: int
    ranked: Sequence[str]
    candidates: Sequence[Mapping[str, Any]]
    at: datetime

    @property
    def device(self) -> str:
        """The device that counts."""
        return self.ranked[self.turn]

    @property
    def mark(self) -> Turn:
        """What a purchase names."""
        return self.key, self.turn


_COLUMNS = [choices.c[one.name] for one in fields(Choice)]


def key_of(run_key: str, content: str, ordinal: int) -> str:
    """A name for the call in a run: the `ordinal`-th call that asks for this."""
    return digest("choice/1", run_key, content, ordinal)


def get(ledger: Ledger, key: str) -> Choice | None:
    """A choice by its key."""
    with ledger.read() as connection:
        row = connection.execute(sa.select(*_COLUMNS).where(choices.c.key == key)).one_or_none()
    return Choice(**row._mapping) if row else None


def of_runs(ledger: Ledger, run_keys: Iterable[str]) -> list[Choice]:
    """All choices of some runs, oldest first."""
    query = sa.select(*_COLUMNS).where(choices.c.run_key.in_(sorted(set(run_keys)))).order_by(choices.c.at)
    with ledger.read() as connection:
        return [Choice(**row._mapping) for row in connection.execute(query)]


def record(ledger: Ledger, made: Choice) -> Choice:
    """Store a decision, or return the one that was stored first."""

    def work(connection: sa.Connection) -> Choice:
        row = {name.name: getattr(made, name.name) for name in fields(Choice)}
        row |= {"ranked": list(made.ranked), "candidates": [dict(one) for one in made.candidates]}
        if connection.execute(ledger.insert(_insert), row).scalar() is not None:
            ledger.record_event(connection, "chosen", made.key, rule=made.rule, device=made.device)
        found = connection.execute(sa.select(*_COLUMNS).where(choices.c.key == made.key)).one()
        return Choice(**found._mapping)

    return ledger.transact(work)


def _insert(insert: Callable[[sa.Table], Any]) -> Any:
    row = {column.name: sa.bindparam(column.name, type_=column.type) for column in _COLUMNS}
    return insert(choices).values(row).on_conflict_do_nothing().returning(choices.c.key)


def made(key: str, run_key: str, rule: str, ranked: Sequence[str], candidates: Sequence[Mapping[str, Any]]) -> Choice:
    """A decision made now, not stored yet."""
    return Choice(key, run_key, rule, 0, ranked, candidates, utc_now())


def advance(ledger: Ledger, choice: Choice, *, why: str) -> Choice | None:
    """The choice moved on to its next device, or as another process already moved it.

    None if it has to stay: something was bought, or may have been, or no device is left.
    """

    def work(connection: sa.Connection) -> Choice | None:
        query = sa.select(*_COLUMNS).where(choices.c.key == choice.key).with_for_update()
        now = Choice(**connection.execute(query).one()._mapping)
        if now.turn != choice.turn:
            return now
        if now.turn + 1 >= len(now.ranked) or _was_bought(connection, choice.key):
            return None
        connection.execute(sa.update(choices).where(choices.c.key == choice.key).values(turn=now.turn + 1))
        following = now.ranked[now.turn + 1]
        ledger.record_event(connection, "choice-moved", choice.key, was=now.device, to=following, why=why[:1000])
        return Choice(now.key, now.run_key, now.rule, now.turn + 1, now.ranked, now.candidates, now.at)

    return ledger.transact(work)


def has_purchases(ledger: Ledger, key: str) -> bool:
    """Whether any purchase was recorded for a choice, refused or not."""
    query = sa.select(choice_purchases.c.subject).where(choice_purchases.c.choice == key).limit(1)
    with ledger.read() as connection:
        return connection.execute(query).first() is not None


def _was_bought(connection: sa.Connection, key: str) -> bool:
    """False only if every recorded purchase was refused: no id, no lost answer, nothing still to be sent."""
    wanted = sa.select(choice_purchases.c.subject).where(choice_purchases.c.choice == key)
    refused = sa.and_(
        jobs.c.status == JobStatus.FAILED,
        jobs.c.error_kind == "refused",
        jobs.c.vendor_id.is_(None),
        sa.func.coalesce(jobs.c.sends, 0) == 0,
    )
    job = sa.select(jobs.c.key).where(jobs.c.key.in_(wanted), sa.not_(refused)).limit(1)
    never_opened = sa.and_(sessions.c.state == SessionState.CLOSED, sessions.c.vendor_id.is_(None))
    held = sa.select(sessions.c.key).where(sessions.c.key.in_(wanted), sa.not_(never_opened)).limit(1)
    return any(connection.execute(query).first() is not None for query in (job, held))


def hold(connection: sa.Connection, turns: Collection[Turn]) -> None:
    """Lock choices for the rest of a transaction that makes jobs durable. Raises ChoiceMoved for another turn."""
    for key, turn in sorted(set(turns)):
        query = sa.select(choices.c.turn).where(choices.c.key == key).with_for_update()
        now = connection.execute(query).scalar()
        if now != turn:
            raise ChoiceMoved(f"choice {key[:12]} is at candidate {now}, not {turn}; nothing was created")


def link(ledger: Ledger, connection: sa.Connection, wanted: Iterable[tuple[str, str]]) -> None:
    """Record which jobs or sessions were wanted for which choice; (choice, subject) each."""
    rows = [{"choice": choice, "subject": subject} for choice, subject in sorted(set(wanted))]
    if rows:
        connection.execute(ledger.insert(_link), rows)


def _link(insert: Callable[[sa.Table], Any]) -> Any:
    row = {name: sa.bindparam(name) for name in ("choice", "subject")}
    return insert(choice_purchases).values(row).on_conflict_do_nothing()


def of_subject(ledger: Ledger, subject: str) -> Choice | None:
    """The choice that a job or session was wanted for."""
    wanted = sa.select(choice_purchases.c.choice).where(choice_purchases.c.subject == subject).limit(1)
    with ledger.read() as connection:
        row = connection.execute(sa.select(*_COLUMNS).where(choices.c.key.in_(wanted))).first()
    return Choice(**row._mapping) if row else None


def subjects(ledger: Ledger, keys: Iterable[str]) -> dict[str, list[str]]:
    """Jobs and sessions by choice."""
    query = sa.select(choice_purchases).where(choice_purchases.c.choice.in_(sorted(set(keys))))
    found: dict[str, list[str]] = {}
    with ledger.read() as connection:
        for row in connection.execute(query.order_by(choice_purchases.c.subject)):
            found.setdefault(row.choice, []).append(row.subject)
    return found
