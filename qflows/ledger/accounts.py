"""Accounts proved, or declared by a person, to be the same: renewed keys of one project."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from qflows.errors import UnknownJob
from qflows.ledger.store import Ledger, utc_now
from qflows.ledger.tables import jobs, same_accounts
from qflows.states import LIVE


def note_same(ledger: Ledger, provider: str, account: str, other: str, *, proof: str) -> None:
    """Record that two account names of a vendor mean one account, and why. Repeating it changes nothing."""
    first, second = sorted((account, other))
    row = {"provider": provider, "account": first, "other": second, "proof": proof, "at": utc_now()}
    with ledger.write() as connection:
        connection.execute(ledger.insert(_insert), row)
        ledger.record_event(connection, "same-account", f"{provider}/{first}"[:128], other=second, proof=proof)


def are_same_in(connection: sa.Connection, provider: str, account: str, other: str) -> bool:
    """The same inside the caller's transaction."""
    return account == other or other in _known_as(connection, provider, account)


def are_same(ledger: Ledger, provider: str, account: str, other: str) -> bool:
    """True if the two names are equal, or linked by a chain of proofs."""
    return account == other or other in known_as(ledger, provider, account)


def known_as(ledger: Ledger, provider: str, account: str) -> set[str]:
    """All names of an account, including this one."""
    with ledger.read() as connection:
        return _known_as(connection, provider, account)


def _known_as(connection: sa.Connection, provider: str, account: str) -> set[str]:
    pairs = connection.execute(
        sa.select(same_accounts.c.account, same_accounts.c.other).where(same_accounts.c.provider == provider)
    ).all()
    names = {account}
    while grown := {name for pair in pairs if names & set(pair) for name in pair} - names:
        names |= grown
    return names


def _insert(insert: Callable[[sa.Table], Any]) -> Any:
    row = {name: sa.bindparam(name) for name in ("provider", "account", "other", "proof")}
    at = sa.bindparam("at", type_=same_accounts.c.at.type)
    return insert(same_accounts).values(**row, at=at).on_conflict_do_nothing()


def in_use(ledger: Ledger) -> list[tuple[str, str, int, int]]:
    """Vendor, account, jobs, and live jobs among them, for every account that the ledger knows."""
    live = sa.func.sum(sa.case((jobs.c.status.in_([status.value for status in LIVE]), 1), else_=0))
    query = sa.select(jobs.c.provider, jobs.c.account, sa.func.count(), live)
    with ledger.read() as connection:
        rows = connection.execute(query.group_by(jobs.c.provider, jobs.c.account).order_by(jobs.c.provider))
        return [(row[0], row[1], row[2], row[3]) for row in rows]


def named(ledger: Ledger, provider: str, beginning: str) -> str:
    """The one account of a vendor whose name begins with this text. Raises UnknownJob."""
    fits = [account for vendor, account, *_ in in_use(ledger) if vendor == provider and account.startswith(beginning)]
    if len(fits) != 1:
        raise UnknownJob(
            f"{len(fits)} accounts of {provider} in the ledger begin with {beginning!r}; see `qflows accounts ls`"
        )
    return fits[0]
