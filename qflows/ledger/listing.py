"""Lists with filters: which rows match, in which order, and how many there are in all."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qflows.errors import ProgramRejected
from qflows.ledger.pending import LIVE_JOBS
from qflows.ledger.rows import JOB_COLUMNS, job_of
from qflows.ledger.store import Ledger, chunks
from qflows.ledger.tables import IMPORTED, REBUILT, batch_parts, batches, group_members, groups, jobs, runs, sessions
from qflows.model import Job
from qflows.states import LIVE, TERMINAL, GroupState, JobStatus, SessionState

ORIGINS = ("bought", IMPORTED, REBUILT)
_GROUPS_OF_STATUSES = {"live": LIVE, "over": TERMINAL}
STATUSES = (*(status.value.lower() for status in JobStatus), *_GROUPS_OF_STATUSES)
_SHOWN = 12
_MOST = 100_000


@dataclass(frozen=True)
class Wanted:
    """Which rows. Several values of one filter are alternatives; several filters must all match.

    `tags`: name → value, None for any value. `order`: a column, `-` before it for descending; the newest first by
    default. A filter that a kind of list does not have is refused.
    """

    status: Collection[str] = ()
    device: Collection[str] = ()
    provider: Collection[str] = ()
    account: Collection[str] = ()
    run: Collection[str] = ()
    name: Collection[str] = ()
    label: Collection[str] = ()
    project: Collection[str] = ()
    session: Collection[str] = ()
    batch: Collection[str] = ()
    group: Collection[str] = ()
    flow: Collection[str] = ()
    origin: Collection[str] = ()
    tags: Mapping[str, str | None] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None
    order: str | None = None
    limit: int | None = 50
    offset: int = 0


@dataclass(frozen=True)
class Kind:
    """A kind of list: its table, and the column for each filter and order."""

    title: str
    table: sa.Table
    columns: Mapping[str, Any]
    orders: Mapping[str, Any]
    states: tuple[str, ...] = ()


JOBS = Kind(
    "jobs",
    jobs,
    {
        "status": jobs.c.status,
        "device": jobs.c.device,
        "provider": jobs.c.provider,
        "account": jobs.c.account,
        "run": jobs.c.run_key,
        "name": jobs.c.name,
        "label": jobs.c.label,
        "project": jobs.c.project,
        "session": jobs.c.session_id,
        "batch": None,
        "group": None,
        "origin": jobs.c.origin,
        "tags": jobs.c.tags,
        "since": jobs.c.created_at,
    },
    {
        name: jobs.c[column]
        for name, column in {
            "created": "created_at",
            "submitted": "submitted_at",
            "started": "started_at",
            "finished": "finished_at",
            "name": "name",
            "device": "device",
            "status": "status",
            "shots": "shots",
            "cost": "cost",
            "qpu_s": "qpu_s",
            "queue_position": "queue_position",
        }.items()
    },
    STATUSES,
)
BATCHES = Kind(
    "batches",
    batches,
    {
        "device": batches.c.device,
        "provider": batches.c.provider,
        "run": batches.c.run_key,
        "name": batches.c.name,
        "tags": batches.c.tags,
        "since": batches.c.created_at,
    },
    {"created": batches.c.created_at, "name": batches.c.name, "device": batches.c.device, "size": batches.c.n_circuits},
)
GROUPS = Kind(
    "groups",
    groups,
    {
        "status": groups.c.state,
        "run": groups.c.run_key,
        "name": groups.c.name,
        "tags": groups.c.tags,
        "since": groups.c.created_at,
    },
    {"created": groups.c.created_at, "name": groups.c.name, "status": groups.c.state, "closed": groups.c.closed_at},
    tuple(state.value.lower() for state in GroupState),
)
SESSIONS = Kind(
    "sessions",
    sessions,
    {
        "status": sessions.c.state,
        "device": sessions.c.device,
        "provider": sessions.c.provider,
        "account": sessions.c.account,
        "run": sessions.c.run_key,
        "name": sessions.c.name,
        "since": sessions.c.created_at,
    },
    {
        "created": sessions.c.created_at,
        "name": sessions.c.name,
        "status": sessions.c.state,
        "closed": sessions.c.closed_at,
    },
    tuple(state.value.lower() for state in SessionState),
)
RUNS = Kind(
    "runs",
    runs,
    {"run": runs.c.run_key, "flow": runs.c.flow_name, "since": runs.c.last_seen},
    {"created": runs.c.first_seen, "seen": runs.c.last_seen, "flow": runs.c.flow_name},
)
_DEFAULT_ORDER = {"runs": "-seen"}
# values that a person may mistype; only values in the ledger are accepted
_CHECKED = ("project", "device", "provider", "account", "run", "session", "flow", "batch", "group")


@dataclass(frozen=True, slots=True)
class Extent:
    """How much matches in all. Counting reads every matching row, so it is done on request."""

    has_more: bool  # after this page
    count: Callable[[], int]


def select_jobs(ledger: Ledger, wanted: Wanted) -> tuple[list[Job], Extent]:
    """Handles, and how many match in all. Raises ProgramRejected for an unknown filter, value or order."""
    rows, extent = select(ledger, JOBS, wanted, JOB_COLUMNS)
    return [job_of(row) for row in rows], extent


@dataclass(frozen=True, slots=True)
class Run:
    """A logical run, and the number of its jobs in each state."""

    run_key: str
    flow: str | None
    flow_run_id: str | None
    first_seen: datetime
    last_seen: datetime
    jobs: Mapping[JobStatus, int]

    def __repr__(self) -> str:
        counts = ", ".join(f"{n} {status.value.lower()}" for status, n in self.jobs.items()) or "no jobs"
        return f"<Run {self.run_key!r}{f' of {self.flow}' if self.flow else ''}: {counts}>"


def select_runs(ledger: Ledger, wanted: Wanted) -> tuple[list[Run], Extent]:
    """Runs with their jobs by status, and how many match in all. Raises as `select_jobs`."""
    rows, extent = select(ledger, RUNS, wanted)
    tallies: dict[str, dict[JobStatus, int]] = {row.run_key: {} for row in rows}
    query = sa.select(jobs.c.run_key, jobs.c.status, sa.func.count()).group_by(jobs.c.run_key, jobs.c.status)
    with ledger.read() as connection:
        for part in chunks(list(tallies)):
            for run_key, status, n in connection.execute(query.where(jobs.c.run_key.in_(part))):
                tallies[run_key][JobStatus(status)] = n
    found = [
        Run(row.run_key, row.flow_name, row.flow_run_id, row.first_seen, row.last_seen, tallies[row.run_key])
        for row in rows
    ]
    return found, extent


def select(
    ledger: Ledger, kind: Kind, wanted: Wanted, columns: Sequence[Any] | None = None
) -> tuple[list[sa.Row[Any]], Extent]:
    """Rows of a page, and how many match in all. Raises as `select_jobs`."""
    tests = _tests(ledger, kind, wanted)
    limit = _MOST if wanted.limit is None else wanted.limit
    if limit < 0 or wanted.offset < 0:
        raise ProgramRejected("limit and offset must be whole numbers of at least 0")
    order = wanted.order or _DEFAULT_ORDER.get(kind.title, "-created")
    column = kind.orders.get(order.removeprefix("-"))
    if column is None:
        raise _unknown(f"order of {kind.title}", order.removeprefix("-"), kind.orders)
    direction = column.desc() if order.startswith("-") else column.asc()
    query = sa.select(*(columns or kind.table.columns)).where(*tests)
    # the primary key last: pages must not overlap where times are equal
    query = query.order_by(direction.nulls_last(), *kind.table.primary_key.columns).offset(wanted.offset)
    with ledger.read() as connection:
        found = list(connection.execute(query.limit(limit + 1)))  # one more than asked for: is there another page?
    rows, has_more = found[:limit], len(found) > limit

    def count() -> int:
        if not has_more and (rows or not wanted.offset):
            return wanted.offset + len(rows)
        with ledger.read() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(kind.table).where(*tests)).scalar_one()

    return rows, Extent(has_more, count)


def _tests(ledger: Ledger, kind: Kind, wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    tests: list[sa.ColumnElement[bool]] = []
    for name in (
        "status",
        "device",
        "provider",
        "account",
        "run",
        "name",
        "label",
        "project",
        "session",
        "batch",
        "group",
        "flow",
        "origin",
    ):
        values: Collection[str] = getattr(wanted, name)
        if not values:
            continue
        if name not in kind.columns:
            raise ProgramRejected(f"{kind.title} have no {name}; they are filtered by {', '.join(_filters(kind))}")
        tests.append(_test(ledger, kind, name, values))
    if wanted.tags:
        if "tags" not in kind.columns:
            raise ProgramRejected(f"{kind.title} have no tags; they are filtered by {', '.join(_filters(kind))}")
        tests += [_tag_test(ledger, kind, tag, value) for tag, value in wanted.tags.items()]
    if wanted.since is not None:
        tests.append(kind.columns["since"] >= wanted.since)
    if wanted.until is not None:
        tests.append(kind.columns["since"] <= wanted.until)
    return tests


def _tag_test(ledger: Ledger, kind: Kind, tag: str, value: str | None) -> sa.ColumnElement[bool]:
    if ledger.engine.dialect.name != "sqlite":
        text = kind.columns["tags"][tag].as_string()
        return text.is_not(None) if value is None else text == value
    # SQLite's paths find no name with a quote, a backslash or a letter that JSON text escapes
    pairs = sa.func.json_each(kind.columns["tags"]).table_valued("key", "value")
    is_value = [] if value is None else [pairs.c.value == value]
    return sa.exists(sa.select(sa.literal(1)).select_from(pairs).where(pairs.c.key == tag, *is_value))


def _filters(kind: Kind) -> list[str]:
    return [*kind.columns, "until"]


def _test(ledger: Ledger, kind: Kind, name: str, values: Collection[str]) -> sa.ColumnElement[bool]:
    if name == "status":
        return _status_test(kind, values)
    if name == "origin":
        for value in values:
            if value not in ORIGINS:
                raise _unknown("origin", value, ORIGINS)
        there = [value for value in values if value != "bought"]
        unbought = kind.columns[name].in_(there)
        return sa.or_(unbought, kind.columns[name].is_(None)) if "bought" in values else unbought
    if name in ("batch", "group"):
        return _member_test(ledger, name, values)
    if name in _CHECKED:
        # one run key is looked for under several names
        missing = [value for value in values if not _is_there(ledger, kind.columns[name], value)]
        for value in missing if name != "run" or len(missing) == len(values) else ():
            raise _unknown(f"{name} of {kind.title}", value, _known(ledger, kind.columns[name]))
    return kind.columns[name].in_(list(values))


def _status_test(kind: Kind, values: Collection[str]) -> sa.ColumnElement[bool]:
    chosen: set[str] = set()
    for value in values:
        small = value.lower()
        if small not in kind.states:
            raise _unknown(f"status of {kind.title}", value, kind.states)
        chosen |= {one.value for one in _GROUPS_OF_STATUSES.get(small, ())} or {small.upper()}
    test = kind.columns["status"].in_(sorted(chosen))
    if kind is not JOBS or not chosen <= {one.value for one in LIVE}:
        return test
    # by the index of live jobs; left alone, the planner scans all jobs that ever were, newest first
    return sa.and_(jobs.c.key.in_(sa.select(jobs.c.key).where(LIVE_JOBS).correlate(None)), test)


def _member_test(ledger: Ledger, name: str, values: Collection[str]) -> sa.ColumnElement[bool]:
    table, owner = (
        (batch_parts, batch_parts.c.batch_id) if name == "batch" else (group_members, group_members.c.group_id)
    )
    whole = batches.c.id if name == "batch" else groups.c.id
    with ledger.read() as connection:
        found: list[str] = []
        for value in values:
            ids = list(
                connection.execute(sa.select(whole).where(whole.startswith(value, autoescape=True)).limit(2)).scalars()
            )
            if len(ids) != 1:
                raise ProgramRejected(f"the ledger has {'several' if ids else 'no'} {name} {value!r}")
            found += ids
    return jobs.c.key.in_(sa.select(table.c.job_key).where(owner.in_(found)))


def _is_there(ledger: Ledger, column: Any, value: str) -> bool:
    with ledger.read() as connection:
        return connection.execute(sa.select(sa.literal(1)).where(column == value).limit(1)).first() is not None


def _known(ledger: Ledger, column: Any) -> list[str]:
    with ledger.read() as connection:
        return [value for value in connection.execute(sa.select(column).distinct()).scalars() if value is not None]


def _unknown(what: str, value: str, known: Iterable[str]) -> ProgramRejected:
    there = sorted(known)
    near = difflib.get_close_matches(value, there, n=3, cutoff=0.6)
    shown = near or there[:_SHOWN]
    more = f" and {len(there) - len(shown)} more" if not near and len(there) > len(shown) else ""
    lead = "did you mean" if near else "there are"
    if not shown:
        return ProgramRejected(f"no {what} {value!r}: the ledger has none yet; `qflows ledger where` shows which it is")
    return ProgramRejected(f"no {what} {value!r}; {lead} {', '.join(shown)}{more}" + ("?" if near else ""))
