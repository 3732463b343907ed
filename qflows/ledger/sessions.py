"""Sessions in the ledger: opened once per run, held by a lease with a heartbeat, closed when their owner died."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from qflows.errors import KeyReused, OtherAccount, StaleClaim
from qflows.keys import digest, sample_key
from qflows.ledger import accounts, charges, choices, marks, settlements
from qflows.ledger.budgets import Buyer, Purchase
from qflows.ledger.claims import chunks
from qflows.ledger.owner import is_dead, me
from qflows.ledger.store import Ledger, utc_now
from qflows.ledger.tables import jobs, ledger_now, sessions
from qflows.model import Cost, Quote, SessionRecord
from qflows.states import JobStatus, SessionState, session_sources

BUYER = ("project", "buyer", "deployment")
_UNREAD = ("sample", "lease_until", "doubt_since", *BUYER)
COLUMNS = [column for column in sessions.columns if column.name not in _UNREAD]


def record_of(row: Any) -> SessionRecord:
    fields: dict[str, Any] = {column.name: row._mapping[column.name] for column in COLUMNS}
    fields["state"] = SessionState(fields["state"])
    return SessionRecord(**fields)


def content(*, device: str, mode: str, max_time_s: float | None, options: Mapping[str, Any], name: str) -> str:
    """Identity of a wanted session inside its run; two equal ones at one time need two names."""
    return digest("session/1", device, mode, max_time_s, dict(options), name)


def prepare(
    ledger: Ledger,
    run_key: str,
    *,
    name: str,
    provider: str,
    account: str,
    device: str,
    device_id: str,
    mode: str,
    max_time_s: float | None,
    options: Mapping[str, Any],
    buyer: Buyer | None = None,
    quote: Quote | None = None,
    is_priced: bool = False,
    choice: choices.Turn | None = None,
) -> SessionRecord:
    """Make the request durable, or find the session of an earlier attempt that is not closed yet.

    Raises OtherAccount if that is a session of another account, OverBudget if a budget has no room for it, ChoiceMoved
    if the choice by rule has moved to another device.
    """
    who = buyer or Buyer()
    identity = content(device=device, mode=mode, max_time_s=max_time_s, options=options, name=name)
    sample = sample_key(run_key, identity, 0)
    with ledger.write() as connection:
        choices.hold(connection, [choice] if choice else [])
        epochs = [(sample, epoch) for epoch in range(_EPOCHS)]
        keys = marks.read(connection).keys(connection, epochs, sessions.c.key)
        newest = sa.select(sa.func.max(sessions.c.epoch)).where(sessions.c.key.in_(keys.values()))
        epoch = connection.execute(newest).scalar() or 0
        values = {
            "sample": sample,
            "run_key": run_key,
            "name": name,
            "provider": provider,
            "account": account,
            "device": device,
            "device_id": device_id,
            "mode": mode,
            "options": dict(options),
            "state": SessionState.PREPARED.value,
            "fence": 0,
            "created_at": utc_now(),
            "project": who.project,
            "buyer": who.user,
            "deployment": who.deployment,
        }
        while True:
            key = keys[sample, epoch]
            row = {**values, "key": key, "epoch": epoch, "max_time_s": max_time_s}
            connection.execute(ledger.insert(_insert), row)
            found = connection.execute(sa.select(*COLUMNS).where(sessions.c.key == key)).one()
            if found.state != SessionState.CLOSED:
                choices.link(ledger, connection, [(choice[0], key)] if choice else [])
                if not accounts.are_same_in(connection, provider, found.account, account):
                    raise OtherAccount(
                        f"run {run_key!r} has session {key[:12]} with another account of {provider} ({found.account}, "
                        f"now {account}); nothing was opened. Use another run key, or, if the key was only renewed, "
                        f"run `qflows accounts same {provider} {found.account} {account}`",
                        provider=provider,
                        account=found.account,
                    )
                if found.state == SessionState.PREPARED:
                    wanted = Purchase(key, provider, device, run_key, who, quote, is_priced)
                    charges.reserve(ledger, connection, [wanted], may_wait=False)
                return record_of(found)
            epoch += 1


_EPOCHS = 1000  # a run that reopens its session more often than this is looping


def _insert(insert: Callable[[sa.Table], Any]) -> Any:
    names = (
        "key", "sample", "epoch", "run_key", "name", "provider", "account", "device", "device_id", "mode",
        "max_time_s", "options", "state", "fence", "created_at", "project", "buyer", "deployment",
    )  # fmt: skip
    row = {name: sa.bindparam(name, type_=sessions.c[name].type) for name in names}
    return insert(sessions).values(row).on_conflict_do_nothing()


def claim(ledger: Ledger, record: SessionRecord, *, lease_s: float) -> SessionRecord | None:
    """PREPARED → OPENING for one caller, with the lease that the heartbeat will renew."""
    return _step(
        ledger,
        record,
        SessionState.OPENING,
        fence=sessions.c.fence + 1,
        owner=me(),
        lease_until=ledger_now() + lease_s,
        claimed_at=utc_now(),
    )


def opened(ledger: Ledger, record: SessionRecord, vendor_id: str) -> SessionRecord:
    """OPENING or IN_DOUBT → OPEN. Raises StaleClaim if another process settled it, KeyReused for the id of another
    session."""
    try:
        done = _step(ledger, record, SessionState.OPEN, vendor_id=vendor_id, opened_at=utc_now(), doubt_since=None)
    except exc.IntegrityError as error:
        raise KeyReused(f"{vendor_id!a:.80} cannot be the id of session {record.key[:12]}: another has it") from error
    if done is None:
        raise StaleClaim(f"session {record.key[:12]} was settled by another process")
    ledger.tell("session-opened", record.key, vendor_id=vendor_id)
    return done


def not_sent(ledger: Ledger, record: SessionRecord) -> None:
    """OPENING or IN_DOUBT → PREPARED: the vendor certainly has no such session."""
    _step(ledger, record, SessionState.PREPARED, owner=None, lease_until=None, doubt_since=None)


def doubted(ledger: Ledger, record: SessionRecord) -> None:
    """OPENING → IN_DOUBT."""
    _step(ledger, record, SessionState.IN_DOUBT, doubt_since=ledger_now())


def closed(ledger: Ledger, record: SessionRecord, reason: str) -> bool:
    """Any state → CLOSED. False if it was closed before."""
    done = _step(ledger, record, SessionState.CLOSED, closed_at=utc_now(), close_reason=reason[:255], guard=False)
    if done is not None and done.vendor_id is None:
        settle(ledger, record.key, bill=None, was_opened=False)
    if done is not None:
        ledger.tell("session-closed", record.key, reason=reason)
    return done is not None


def settle(ledger: Ledger, key: str, *, bill: Cost | None, was_opened: bool = True) -> None:
    """End what a session holds in budgets; see `settlements.settle_session`."""
    with ledger.write() as connection:
        settlements.settle_session(connection, key, bill=bill, was_opened=was_opened)


def _step(
    ledger: Ledger,
    record: SessionRecord,
    to: SessionState,
    *,
    guard: bool = True,
    **values: Any,
) -> SessionRecord | None:
    where = [sessions.c.key == record.key, sessions.c.state.in_([state.value for state in session_sources(to)])]
    if guard:
        where.append(sessions.c.fence == record.fence)
    statement = sa.update(sessions).where(*where).values(state=to.value, **values).returning(*COLUMNS)
    with ledger.write() as connection:
        row = connection.execute(statement).one_or_none()
    return record_of(row) if row is not None else None


def hold(ledger: Ledger, key: str, *, lease_s: float, owner: str | None = None) -> bool:
    """Take or renew the lease of an open session for this process; False if it is closed.

    An owner who may be alive stays the owner, and only the lease is renewed: if a process that merely read it took the
    session over and ended, its owner would seem to be dead.
    """
    is_open = sa.and_(sessions.c.key == key, sessions.c.state == SessionState.OPEN.value)
    look = sa.select(sessions.c.owner, (sessions.c.lease_until > ledger_now()).label("runs")).where(is_open)
    with ledger.write() as connection:
        row = connection.execute(look).one_or_none()
        if row is None:
            return False
        is_owned = row.owner is not None and row.runs and not is_dead(row.owner)
        holder = row.owner if is_owned else owner or me()
        values = {"owner": holder, "lease_until": ledger_now() + lease_s}
        return connection.execute(sa.update(sessions).where(is_open).values(**values)).rowcount == 1


def get(ledger: Ledger, key: str) -> SessionRecord | None:
    """One session by key, unique prefix of it, or vendor id."""
    query = sa.select(*COLUMNS).where(
        sa.or_(sessions.c.key.startswith(key, autoescape=True), sessions.c.vendor_id == key)
    )
    with ledger.read() as connection:
        rows = connection.execute(query.limit(2)).all()
    return record_of(rows[0]) if len(rows) == 1 else None


def listing(ledger: Ledger, *, only_live: bool = False, limit: int = 50) -> list[SessionRecord]:
    """The newest sessions first."""
    query = sa.select(*COLUMNS).order_by(sessions.c.created_at.desc()).limit(limit)
    if only_live:
        query = query.where(sessions.c.state != SessionState.CLOSED.value)
    with ledger.read() as connection:
        return [record_of(row) for row in connection.execute(query)]


def abandoned(ledger: Ledger) -> list[SessionRecord]:
    """Sessions that may be open at the vendor and whose owner let its lease expire, or certainly died."""
    states = [state.value for state in (SessionState.OPENING, SessionState.IN_DOUBT, SessionState.OPEN)]
    query = sa.select(*COLUMNS, (sessions.c.lease_until <= ledger_now()).label("ran_out")).where(
        sessions.c.state.in_(states)
    )
    with ledger.read() as connection:
        rows = connection.execute(query).all()
    return [record_of(row) for row in rows if row.ran_out or row.owner is None or is_dead(row.owner)]


def is_held(ledger: Ledger, key: str) -> bool:
    """True while a possibly live owner works on the session: its lease has not expired, and its owner is not known
    dead."""
    query = sa.select(sessions.c.owner, sessions.c.lease_until > ledger_now()).where(sessions.c.key == key)
    with ledger.read() as connection:
        row = connection.execute(query).one_or_none()
    return row is not None and bool(row[1]) and not is_dead(row[0])


def leave_closed_batches(ledger: Ledger, keys: Collection[str]) -> set[str]:
    """Take unsent jobs out of batch modes that are closed by now; return their keys.

    A batch mode only groups jobs for the vendor, so a part whose submission ended in doubt and is sent late can go
    without it. A dedicated session is binding: its jobs stay in it, and are refused.
    """
    closed = sa.select(sessions.c.vendor_id).where(
        sessions.c.mode == "batch",
        sessions.c.state == SessionState.CLOSED.value,
        sessions.c.provider == jobs.c.provider,
        sessions.c.vendor_id == jobs.c.session_id,
    )
    with ledger.write() as connection:
        return {
            row.key
            for part in chunks(sorted(keys))
            for row in connection.execute(
                sa.update(jobs)
                .where(jobs.c.key.in_(part), jobs.c.status == JobStatus.PREPARED.value, sa.exists(closed))
                .values(session_id=None)
                .returning(jobs.c.key)
            )
        }
