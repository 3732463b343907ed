"""Sums over a time span, computed by the database: what a report needs without reading every job."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qflows.ledger.pending import LIVE_JOBS
from qflows.ledger.rows import JOB_COLUMNS, job_of
from qflows.ledger.store import Ledger
from qflows.ledger.tables import IMPORTED, crash_retries, groups, jobs, ledger_now, runs
from qflows.model import Job
from qflows.states import LIVE, CallbackState, JobStatus

_MOST = 2000  # ended jobs whose reasons are read


@dataclass(frozen=True, slots=True)
class Tally:
    """Jobs of one device in one status. `qpu_s`: seconds that vendors reported, for `n_qpu` of the jobs."""

    provider: str
    device: str
    status: JobStatus
    n: int
    n_programs: int
    qpu_s: float
    n_qpu: int


@dataclass(frozen=True, slots=True)
class Spending:
    """The cost of one device's jobs that ended. `unit` None: not reported; `is_estimate`: not billed yet."""

    provider: str
    device: str
    unit: str | None
    is_estimate: bool
    amount: float
    n: int


@dataclass(frozen=True, slots=True)
class FlowTally:
    """Runs of one flow (None: scripts and commands) and their jobs in the requested time."""

    flow_name: str | None
    n_runs: int
    n_jobs: int
    n_completed: int
    n_failed: int
    n_live: int
    last: datetime


@dataclass(frozen=True, slots=True)
class OpenDoubt:
    """A job that a vendor may or may not have. `needs_person`: qflows cannot find out by itself."""

    job: Job
    age_s: float
    needs_person: bool


def _touched(since: datetime, until: datetime) -> sa.ColumnElement[bool]:
    """Wanted or ended in this time."""
    return sa.or_(
        sa.and_(jobs.c.created_at >= since, jobs.c.created_at < until),
        sa.and_(jobs.c.finished_at >= since, jobs.c.finished_at < until),
    )


def tallies(ledger: Ledger, since: datetime, until: datetime) -> list[Tally]:
    """Jobs that were wanted or ended in this time, by device and status."""
    place = (jobs.c.provider, jobs.c.device, jobs.c.status)
    query = (
        sa.select(
            *place,
            sa.func.count(),
            sa.func.sum(jobs.c.n_programs),
            sa.func.coalesce(sa.func.sum(jobs.c.qpu_s), 0.0),
            sa.func.count(jobs.c.qpu_s),
        )
        .where(_touched(since, until))
        .group_by(*place)
        .order_by(*place)
    )
    with ledger.read() as connection:
        return [Tally(row[0], row[1], JobStatus(row[2]), *row[3:]) for row in connection.execute(query)]


# a vendor had it, and this ledger bought it: imported jobs are on somebody else's bill
PAID_HERE = sa.and_(jobs.c.vendor_id.is_not(None), jobs.c.origin.is_distinct_from(IMPORTED))


def spending(ledger: Ledger, since: datetime, until: datetime) -> list[Spending]:
    """Cost of jobs that were bought here and ended in this time, by device, unit and kind of figure."""
    place = (jobs.c.provider, jobs.c.device, jobs.c.cost_unit, jobs.c.cost_is_estimate)
    query = (
        sa.select(*place, sa.func.coalesce(sa.func.sum(jobs.c.cost), 0.0), sa.func.count())
        .where(jobs.c.finished_at >= since, jobs.c.finished_at < until, PAID_HERE)
        .group_by(*place)
        .order_by(*place)
    )
    with ledger.read() as connection:
        return [Spending(row[0], row[1], row[2], bool(row[3]), *row[4:]) for row in connection.execute(query)]


def flow_tallies(ledger: Ledger, since: datetime, until: datetime) -> list[FlowTally]:
    """Runs with such jobs, by flow; the busiest first."""
    failed = (JobStatus.FAILED.value, JobStatus.CANCELLED.value)

    def count(which: sa.ColumnElement[bool]) -> Any:
        return sa.func.sum(sa.case((which, 1), else_=0))

    query = (
        sa.select(
            runs.c.flow_name,
            sa.func.count(sa.distinct(jobs.c.run_key)),
            sa.func.count(),
            count(jobs.c.status == JobStatus.COMPLETED.value),
            count(jobs.c.status.in_(failed)),
            count(jobs.c.status.in_([status.value for status in LIVE])),
            sa.func.max(jobs.c.created_at),
        )
        .select_from(jobs.outerjoin(runs, runs.c.run_key == jobs.c.run_key))
        .where(_touched(since, until))
        .group_by(runs.c.flow_name)
        .order_by(sa.func.count().desc())
    )
    with ledger.read() as connection:
        return [FlowTally(*row) for row in connection.execute(query)]


def ended_badly(ledger: Ledger, since: datetime, until: datetime) -> list[Job]:
    """Jobs without all their counts that ended in this time and that no later purchase replaced; newest first."""
    bad = sa.or_(jobs.c.status.in_([JobStatus.FAILED.value, JobStatus.CANCELLED.value]), jobs.c.n_errors > 0)
    query = (
        sa.select(*JOB_COLUMNS)
        .where(jobs.c.finished_at >= since, jobs.c.finished_at < until, bad, jobs.c.superseded.is_(False))
        .order_by(jobs.c.finished_at.desc())
        .limit(_MOST)
    )
    with ledger.read() as connection:
        return [job_of(row) for row in connection.execute(query)]


def open_doubts(ledger: Ledger) -> list[OpenDoubt]:
    """Every job in doubt, however old, the oldest first."""
    age = ledger_now() - jobs.c.doubt_since
    query = (
        sa.select(*JOB_COLUMNS, age.label("age_s"), jobs.c.looks, jobs.c.look_after)
        .where(LIVE_JOBS, jobs.c.status == JobStatus.IN_DOUBT.value)
        .order_by(jobs.c.doubt_since)
    )
    with ledger.read() as connection:
        return [
            OpenDoubt(job_of(row), float(row.age_s or 0.0), row.looks > 0 and row.look_after is None)
            for row in connection.execute(query)
        ]


def held(ledger: Ledger) -> list[Job]:
    """Finished jobs whose results the vendor withholds."""
    with ledger.read() as connection:
        rows = connection.execute(sa.select(*JOB_COLUMNS).where(LIVE_JOBS, jobs.c.is_held.is_(True)))
        return [job_of(row) for row in rows]


def failed_callbacks(ledger: Ledger) -> list[tuple[str, str, str]]:
    """Groups whose callback raised: id, name and the error."""
    query = sa.select(groups.c.id, groups.c.name, groups.c.callback_error).where(
        groups.c.callback_state == CallbackState.FAILED.value
    )
    with ledger.read() as connection:
        return [(row[0], row[1], row[2] or "") for row in connection.execute(query)]


def crash_retries_between(ledger: Ledger, since: datetime, until: datetime) -> int:
    """How often the reconciler started a crashed flow run again."""
    query = sa.select(sa.func.count()).where(
        crash_retries.c.claimed_at >= since.timestamp(), crash_retries.c.claimed_at < until.timestamp()
    )
    with ledger.read() as connection:
        return connection.execute(query).scalar_one()
