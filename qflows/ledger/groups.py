"""Groups in the ledger: membership is decided in the transaction that makes the job durable, so no job can be bought
outside a group that had closed. Every move repeats the state table in its WHERE."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from qflows.errors import GroupClosed, UnknownJob
from qflows.keys import digest
from qflows.ledger.claims import chunks
from qflows.ledger.owner import is_dead, me
from qflows.ledger.rows import JOB_COLUMNS, job_of
from qflows.ledger.store import Ledger, utc_now
from qflows.ledger.tables import group_members, groups, jobs, ledger_now
from qflows.model import Job
from qflows.states import LIVE, CallbackState, GroupState, JobStatus, group_sources

ASKED, EXCEPTION, TTL = "asked", "exception", "ttl"
_LIVE = [status.value for status in LIVE]


@dataclass(frozen=True, slots=True)
class GroupRecord:
    """A group as stored in the ledger. `expires_at`: by the database's clock, UTC."""

    id: str
    run_key: str
    name: str
    tags: Mapping[str, str]
    metadata: Mapping[str, Any]
    max_ttl_s: float
    caller: str | None
    owner: str | None
    state: GroupState
    created_at: datetime
    expires_at: datetime
    closed_at: datetime | None
    close_reason: str | None
    native_provider: str | None
    native_account: str | None
    native_device: str | None
    native_id: str | None
    callback: str | None
    callback_importable: bool | None
    callback_state: CallbackState | None
    callback_owner: str | None
    callback_error: str | None
    callback_at: datetime | None

    @property
    def title(self) -> str:
        """The name and the beginning of the id, for messages."""
        return f"{self.name!r} ({self.id[:12]})" if self.name else self.id[:12]

    @property
    def is_interrupted(self) -> bool:
        """True if the process that ran the callback certainly died while running it."""
        return self.callback_state is CallbackState.CLAIMED and is_dead(self.callback_owner)


def record_of(row: Any) -> GroupRecord:
    """A table row as a value."""
    fields = dict(row._mapping)
    fields["state"] = GroupState(fields["state"])
    fields["expires_at"] = datetime.fromtimestamp(fields["expires_at"], UTC)
    fields["callback_state"] = CallbackState(fields["callback_state"]) if fields["callback_state"] else None
    return GroupRecord(**fields)


def group_id(run_key: str, name: str, ordinal: int) -> str:
    """The id of the n-th group of this name that an attempt of the run opens."""
    return digest("group/1", run_key, name, ordinal)


def content(name: str) -> str:
    """What makes two openings equal, so that ordinals tell them apart. Labels and limits do not count."""
    return digest("group-content/1", name)


def open_group(
    ledger: Ledger,
    id_: str,
    *,
    run_key: str,
    name: str,
    tags: Mapping[str, str],
    metadata: Mapping[str, Any],
    max_ttl_s: float,
    caller: str | None,
) -> GroupRecord:
    """Store the group, or enter the existing one again.

    A replay that finds it over opens it again with a fresh time to live: the first attempt may have ended before all
    jobs were requested. A group that a person cancelled stays cancelled.
    """
    row = {
        "id": id_,
        "run_key": run_key,
        "name": name,
        "tags": dict(tags),
        "metadata": dict(metadata),
        "max_ttl_s": max_ttl_s,
        "caller": caller,
        "owner": me(),
        "state": GroupState.OPEN.value,
        "created_at": utc_now(),
    }
    again = {name: row[name] for name in ("tags", "metadata", "max_ttl_s", "caller", "owner")}
    over = sa.and_(groups.c.state == GroupState.OPEN.value, groups.c.expires_at <= ledger_now())
    with ledger.write() as connection:
        connection.execute(ledger.insert(_insert), row)
        connection.execute(sa.update(groups).where(groups.c.id == id_).values(**again))
        connection.execute(
            sa.update(groups)
            .where(groups.c.id == id_, sa.or_(over, groups.c.state.in_(_states(GroupState.OPEN))))
            .where(sa.or_(groups.c.state != GroupState.CANCELLED.value, groups.c.close_reason == EXCEPTION))
            .values(
                state=GroupState.OPEN.value,
                expires_at=ledger_now() + max_ttl_s,
                closed_at=None,
                close_reason=None,
            )
        )
        found = connection.execute(sa.select(groups).where(groups.c.id == id_)).one()
    ledger.tell("group-opened", id_)
    return record_of(found)


def _states(to: GroupState) -> list[str]:
    return [state.value for state in group_sources(to)]


def _insert(insert: Callable[[sa.Table], Any]) -> Any:
    names = (
        "id", "run_key", "name", "tags", "metadata", "max_ttl_s", "caller", "owner", "state", "created_at",
    )  # fmt: skip
    row: dict[str, Any] = {name: sa.bindparam(name, type_=groups.c[name].type) for name in names}
    row["expires_at"] = ledger_now() + sa.bindparam("max_ttl_s", type_=sa.Float)
    return insert(groups).values(row).on_conflict_do_nothing()


# -- membership, in the transaction of the purchase


def lock(connection: sa.Connection, id_: str) -> bool:
    """Lock the group's row until the transaction ends, so that it cannot close meanwhile. True if it takes jobs."""
    query = (
        sa.select(sa.and_(groups.c.state == GroupState.OPEN.value, groups.c.expires_at > ledger_now()))
        .where(groups.c.id == id_)
        .with_for_update()
    )
    found = connection.execute(query).scalar()
    if found is None:
        raise UnknownJob(f"the ledger has no group {id_[:12]}; `qflows groups ls` lists what it has")
    return bool(found)


def enrol(connection: sa.Connection, id_: str, keys: Collection[str], *, takes_jobs: bool) -> None:
    """Add jobs in order; jobs that are already members keep their position. Raises GroupClosed for any other.

    A new purchase of a failed member takes its position.
    """
    has = sa.select(group_members.c.job_key, group_members.c.position).where(group_members.c.group_id == id_)
    present = {row.job_key: row.position for row in connection.execute(has)}
    fresh = [key for key in dict.fromkeys(keys) if key not in present]
    if not fresh:
        return
    if not takes_jobs:
        raise _closed(connection, id_, len(fresh))
    following = max(present.values(), default=-1) + 1
    for key in fresh:
        earlier = _earlier_epochs(connection, key) & present.keys()
        if earlier:
            replaced = sa.update(group_members).where(group_members.c.group_id == id_)
            connection.execute(replaced.where(group_members.c.job_key.in_(earlier)).values(job_key=key))
            continue
        connection.execute(sa.insert(group_members), {"group_id": id_, "job_key": key, "position": following})
        following += 1


def _earlier_epochs(connection: sa.Connection, key: str) -> set[str]:
    newest = sa.select(jobs.c.sample, jobs.c.epoch).where(jobs.c.key == key)
    sample, epoch = connection.execute(newest).one()
    if epoch == 0:
        return set()
    same = sa.select(jobs.c.key).join(group_members, group_members.c.job_key == jobs.c.key)
    return set(connection.execute(same.where(jobs.c.sample == sample, jobs.c.epoch < epoch)).scalars())


def _closed(connection: sa.Connection, id_: str, n_jobs: int) -> GroupClosed:
    record = record_of(connection.execute(sa.select(groups).where(groups.c.id == id_)).one())
    state = record.state
    why = {
        EXCEPTION: "an exception ended its block",
        TTL: "its time to live ran out",
        ASKED: "closed by a user" if state is not GroupState.CANCELLED else "cancelled by a user",
    }.get(record.close_reason or TTL, "")
    if state is GroupState.OPEN:
        state = GroupState.CLOSED  # the next read updates the row
    return GroupClosed(
        f"group {record.title} is {state.value} ({why}) and accepts no more jobs: {n_jobs} "
        "refused, nothing was bought. Open another group, set a longer max_ttl, or buy outside the group's block",
        group_id=id_,
        state=state.value,
    )


# -- moves


def close(ledger: Ledger, id_: str, reason: str) -> bool:
    """OPEN → CLOSED. False if it was over already."""
    return _end(ledger, id_, GroupState.CLOSED, reason)


def cancel(ledger: Ledger, id_: str, reason: str) -> bool:
    """OPEN or CLOSED → CANCELLED. False if it was over already. Does not touch its jobs."""
    return _end(ledger, id_, GroupState.CANCELLED, reason)


def _end(ledger: Ledger, id_: str, to: GroupState, reason: str) -> bool:
    statement = (
        sa.update(groups)
        .where(groups.c.id == id_, groups.c.state.in_(_states(to)))
        .values(state=to.value, closed_at=utc_now(), close_reason=reason)
    )
    with ledger.write() as connection:
        done = connection.execute(statement).rowcount == 1
        if done:
            ledger.record_event(connection, f"group-{to.value.lower()}", id_, reason=reason)
    if done:
        ledger.tell(f"group-{to.value.lower()}", id_, reason=reason)
    return done


def refresh(ledger: Ledger, id_: str | None = None) -> list[str]:
    """Apply time to live and completion to one group, or to all; return the ids that time closed.

    Level-triggered: every reader of a group does this first, and the reconciler does it for groups that are not read.
    """
    members = sa.select(group_members.c.job_key).where(group_members.c.group_id == groups.c.id)
    their_jobs = members.join(jobs, jobs.c.key == group_members.c.job_key)
    mine = groups.c.id == id_ if id_ is not None else sa.true()
    is_old = sa.and_(mine, groups.c.state == GroupState.OPEN.value, groups.c.expires_at <= ledger_now())
    is_over = sa.and_(mine, members.exists(), ~their_jobs.where(jobs.c.status.in_(_LIVE)).exists())
    ends_now = sa.and_(is_over, groups.c.state.in_(_states(GroupState.COMPLETED)))
    with ledger.read() as connection:  # most calls find nothing to do and must not queue up for the write lock
        if connection.execute(sa.select(groups.c.id).where(sa.or_(is_old, ends_now)).limit(1)).first() is None:
            return []
    expired = sa.update(groups).where(is_old)
    expired = expired.values(state=GroupState.CLOSED.value, closed_at=utc_now(), close_reason=TTL)
    has_holes = their_jobs.where(jobs.c.status != JobStatus.COMPLETED.value).exists()
    outcome = sa.case((has_holes, GroupState.FAILED.value), else_=GroupState.COMPLETED.value)
    ended = sa.update(groups).where(ends_now).values(state=outcome)
    with ledger.write() as connection:
        closed = list(connection.execute(expired.returning(groups.c.id)).scalars())
        for one in closed:
            ledger.record_event(connection, "group-closed", one, reason=TTL)
        moved = connection.execute(ended.returning(groups.c.id, groups.c.state)).all()
    for one, state in moved:
        ledger.tell(f"group-{state.lower()}", one)
    return closed


def set_native(ledger: Ledger, id_: str, *, provider: str, account: str, device: str, native_id: str) -> None:
    """Record the vendor's own group that mirrors this one."""
    values = {"native_provider": provider, "native_account": account, "native_device": device, "native_id": native_id}
    with ledger.write() as connection:
        connection.execute(sa.update(groups).where(groups.c.id == id_).values(**values))


# -- reading


def get(ledger: Ledger, id_: str) -> GroupRecord:
    """One group by its full id, after applying time to live and completion. Raises UnknownJob."""
    refresh(ledger, id_)
    return find(ledger, id_)


def find(ledger: Ledger, name: str) -> GroupRecord:
    """A group by id, unique prefix of it, or the vendor's id of its native group. Raises UnknownJob."""
    by_id = sa.or_(groups.c.id.startswith(name, autoescape=True), groups.c.native_id == name)
    with ledger.read() as connection:
        rows = connection.execute(sa.select(groups).where(by_id).limit(2)).all()
    if len(rows) != 1:
        raise UnknownJob(f"the ledger has {'no' if not rows else 'several'} group {name!r}; see `qflows groups ls`")
    return record_of(rows[0])


def members(ledger: Ledger, id_: str) -> list[Job]:
    """Handles of all jobs of a group, in the order of enrollment."""
    query = (
        sa.select(*JOB_COLUMNS)
        .join(group_members, group_members.c.job_key == jobs.c.key)
        .where(group_members.c.group_id == id_)
        .order_by(group_members.c.position)
    )
    with ledger.read() as connection:
        return [job_of(row) for row in connection.execute(query)]


def open_group_of(ledger: Ledger, keys: Collection[str]) -> str | None:
    """The most recently opened group that has one of these jobs as a member and still takes jobs."""
    refresh(ledger)
    query = sa.select(groups.c.id).join(group_members, group_members.c.group_id == groups.c.id)
    query = query.where(groups.c.state == GroupState.OPEN.value).order_by(groups.c.created_at.desc())
    with ledger.read() as connection:
        for part in chunks(sorted(keys)):
            found = connection.execute(query.where(group_members.c.job_key.in_(part)).limit(1)).scalar()
            if found is not None:
                return str(found)
    return None


def sizes(ledger: Ledger, ids: Collection[str]) -> dict[str, int]:
    """Number of members of each group; an empty group is absent."""
    query = sa.select(group_members.c.group_id, sa.func.count()).where(group_members.c.group_id.in_(ids))
    with ledger.read() as connection:
        return {row[0]: row[1] for row in connection.execute(query.group_by(group_members.c.group_id))}


def listing(ledger: Ledger, *, only_live: bool = False, limit: int = 50) -> list[GroupRecord]:
    """The newest groups first."""
    query = sa.select(groups).order_by(groups.c.created_at.desc()).limit(limit)
    if only_live:
        query = query.where(groups.c.state.in_([GroupState.OPEN.value, GroupState.CLOSED.value]))
    with ledger.read() as connection:
        return [record_of(row) for row in connection.execute(query)]


def open_elsewhere(ledger: Ledger, run_key: str, caller: str) -> list[GroupRecord]:
    """Groups that `caller` of this run opened in other processes and that take jobs now."""
    query = sa.select(groups).where(
        groups.c.run_key == run_key,
        groups.c.caller == caller,
        groups.c.owner != me(),
        groups.c.state == GroupState.OPEN.value,
        groups.c.expires_at > ledger_now(),
    )
    with ledger.read() as connection:
        return [record_of(row) for row in connection.execute(query)]
