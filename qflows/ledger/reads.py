"""Reading the ledger: handles, specs to send again, results, history."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from qflows.errors import SeveralFit, UnknownJob
from qflows.keys import name_of
from qflows.ledger import archives
from qflows.ledger.budgets import Buyer
from qflows.ledger.claims import VANISHED, chunks
from qflows.ledger.pending import LIVE_JOBS, WAITS_FOR_ITS_RUN
from qflows.ledger.rows import JOB_COLUMNS, item_of, job_of
from qflows.ledger.store import Ledger, utc_now
from qflows.ledger.tables import calibrations, events, jobs, ledger_now, programs, results, runs
from qflows.model import ItemResult, Job
from qflows.programs import Program
from qflows.programs.observables import Observable
from qflows.protocol import JobSpec
from qflows.states import LIVE, JobStatus


def job(ledger: Ledger, key: str) -> Job:
    """One handle by its full key. Raises UnknownJob."""
    found = by_keys(ledger, [key])
    if not found:
        raise UnknownJob(f"the ledger has no job {key[:12]}; `qflows jobs ls` lists what it has")
    return found[key]


def by_keys(ledger: Ledger, keys: Collection[str]) -> dict[str, Job]:
    """Handles by key; unknown keys are absent."""
    with ledger.read() as connection:
        return {row.key: job_of(row) for part in chunks(keys) for row in connection.execute(_BY_KEYS, {"keys": part})}


_BY_KEYS = sa.select(*JOB_COLUMNS).where(jobs.c.key.in_(sa.bindparam("keys", expanding=True)))


def find(ledger: Ledger, name: str) -> Job:
    """A handle by key, unique prefix of it (8 characters or more), or vendor id. Raises UnknownJob."""
    with ledger.read() as connection:
        by_id = sa.or_(jobs.c.key == name, jobs.c.vendor_id == name)
        rows = connection.execute(sa.select(*JOB_COLUMNS).where(by_id).limit(2)).all()
        if not rows and len(name) >= 8 and all(c in "0123456789abcdef-" for c in name):
            between = sa.and_(jobs.c.key >= name, jobs.c.key < name + "g")
            rows = connection.execute(sa.select(*JOB_COLUMNS).where(between).limit(2)).all()
    if not rows:
        raise UnknownJob(f"the ledger has no job {name!r}; `qflows jobs ls` lists what it has")
    if len(rows) > 1:
        raise SeveralFit(f"{name!r} matches several jobs; give more characters of the key")
    return job_of(rows[0])


def same_purchase(ledger: Ledger, key: str) -> list[Job]:
    """Jobs that are the same purchase as `key`, whichever ledger's mark their keys carry."""
    name = name_of(key)
    between = sa.and_(jobs.c.key >= name, jobs.c.key < name + "g")
    with ledger.read() as connection:
        found = [job_of(row) for row in connection.execute(sa.select(*JOB_COLUMNS).where(between))]
    return [job for job in found if name_of(job.key) == name]


def has_jobs(ledger: Ledger) -> bool:
    """Whether the ledger holds any job."""
    with ledger.read() as connection:
        return connection.execute(sa.select(jobs.c.key).limit(1)).first() is not None


def status_of(ledger: Ledger, keys: Collection[str]) -> dict[str, JobStatus]:
    """Statuses only: the cheapest read for a waiting process."""
    with ledger.read() as connection:
        return {
            key: JobStatus(status)
            for part in chunks(keys)
            for key, status in connection.execute(sa.select(jobs.c.key, jobs.c.status).where(jobs.c.key.in_(part)))
        }


def all_live(ledger: Ledger) -> list[Job]:
    """All jobs of all lanes that are not terminal, without rebuilt ones that wait for their run; for people to see.

    Polls use `pending.all_live`.
    """
    wanted = sa.and_(LIVE_JOBS, sa.not_(WAITS_FOR_ITS_RUN))
    with ledger.read() as connection:
        return [job_of(row) for row in connection.execute(sa.select(*JOB_COLUMNS).where(wanted))]


def vanished(ledger: Ledger, *, within_s: float) -> list[Job]:
    """Jobs that ended within that time because their vendor no longer showed them, and that nothing replaced."""
    since = utc_now() - timedelta(seconds=within_s)
    query = sa.select(*JOB_COLUMNS).where(
        jobs.c.finished_at >= since,
        jobs.c.status == JobStatus.FAILED,
        jobs.c.error_code == VANISHED,
        jobs.c.superseded.is_(False),
    )
    with ledger.read() as connection:
        return [job_of(row) for row in connection.execute(query)]


def newest_vendor_id(ledger: Ledger, provider: str, account: str) -> str | None:
    """The vendor's id of the newest job that this account bought; None without one."""
    query = (
        sa.select(jobs.c.vendor_id)
        .where(jobs.c.provider == provider, jobs.c.account == account, jobs.c.vendor_id.is_not(None))
        .order_by(jobs.c.created_at.desc())
        .limit(1)
    )
    with ledger.read() as connection:
        return connection.execute(query).scalar()


def send_delay_s(ledger: Ledger, keys: Collection[str]) -> dict[str, float]:
    """For PREPARED jobs among `keys`: seconds until they may be sent, 0 or less meaning now."""
    with ledger.read() as connection:
        return {
            key: delay or 0.0
            for part in chunks(keys)
            for key, delay in connection.execute(
                sa.select(jobs.c.key, jobs.c.send_after - ledger_now()).where(
                    jobs.c.key.in_(part), jobs.c.status == JobStatus.PREPARED
                )
            )
        }


def listing(
    ledger: Ledger, *, run_key: str | None = None, status: str | None = None, device: str | None = None, limit: int = 50
) -> list[Job]:
    """The newest jobs first, with the given filters."""
    query = sa.select(*JOB_COLUMNS).order_by(jobs.c.created_at.desc()).limit(limit)
    if run_key:
        query = query.where(jobs.c.run_key == run_key)
    if status:
        query = query.where(jobs.c.status == status.upper())
    if device:
        query = query.where(jobs.c.device == device)
    with ledger.read() as connection:
        return [job_of(row) for row in connection.execute(query)]


def spec_of(ledger: Ledger, key: str) -> JobSpec:
    """The spec of a job, complete with its programs, as another process wrote it."""
    with ledger.read() as connection:
        row = connection.execute(sa.select(jobs).where(jobs.c.key == key)).one_or_none()
        if row is None:
            raise UnknownJob(f"the ledger has no job {key[:12]}")
        wanted = {item["digest"] for item in row.items} | ({row.estimate} if row.estimate else set())
        texts = {
            digest: text
            for part in chunks(wanted)
            for digest, text in connection.execute(
                sa.select(programs.c.digest, programs.c.text).where(programs.c.digest.in_(part))
            )
        }
    observables = tuple(tuple(Observable.from_json(o) for o in item["observables"]) for item in row.items)
    return JobSpec(
        provider=row.provider,
        device_id=row.device_id,
        programs=tuple(
            Program.from_text(texts[item["digest"]], name=item["name"], metadata=item.get("metadata"))
            for item in row.items
        ),
        shots=row.shots,
        observables=observables if any(observables) else (),
        options=row.options,
        name=row.name,
        tags=row.tags,
        label=row.label,
        session_id=row.session_id,
        estimate=texts[row.estimate] if row.estimate else "",
    )


def items(ledger: Ledger, key: str) -> tuple[ItemResult, ...]:
    """The stored results of a job, one per program; empty if there are none yet. Raises ArchiveMissing."""
    with ledger.read() as connection:
        query = sa.select(results.c.body).where(results.c.job_key == key).order_by(results.c.idx)
        found = tuple(item_of(body) for body in connection.execute(query).scalars())
    if not found and (moved := archives.fetch(ledger, [key])):
        return tuple(item_of(body) for body in moved[key].items)
    return found


def provenance(ledger: Ledger, key: str) -> Mapping[str, Any]:
    """What was recorded with the counts: versions, compiled circuit if known, calibration."""
    return provenances(ledger, [key]).get(key, {})


def provenances(ledger: Ledger, keys: Collection[str]) -> dict[str, Mapping[str, Any]]:
    """The same of several jobs, by key. A calibration is given in full, not by its digest. Raises ArchiveMissing."""
    found: dict[str, Mapping[str, Any]] = {}
    with ledger.read() as connection:
        for part in chunks(keys):
            query = sa.select(jobs.c.key, jobs.c.provenance, jobs.c.submission).where(jobs.c.key.in_(part))
            for key, told, submission in connection.execute(query):
                found[key] = {**told, **({"submission": submission} if submission else {})}
    away = [key for key, told in found.items() if archives.POINTER in told]
    for key, moved in (archives.fetch(ledger, away) if away else {}).items():
        found[key] = {**moved.provenance, **({"submission": moved.submission} if moved.submission else {})}
    named = {key: told["calibration"] for key, told in found.items() if isinstance(told.get("calibration"), str)}
    with ledger.read() as connection:
        bodies: dict[str, Any] = {}
        for part in chunks(sorted(set(named.values()))):
            query = sa.select(calibrations.c.digest, calibrations.c.body).where(calibrations.c.digest.in_(part))
            bodies |= {row.digest: row.body for row in connection.execute(query)}
    return {
        key: {**told, "calibration": bodies.get(named[key])} if key in named else told for key, told in found.items()
    }


def program_digests(ledger: Ledger, key: str) -> list[str]:
    """Digests of a job's programs, in order."""
    with ledger.read() as connection:
        found = connection.execute(sa.select(jobs.c["items"]).where(jobs.c.key == key)).scalar() or []
        return [item["digest"] for item in found]


def program_names(ledger: Ledger, key: str) -> list[str]:
    """Names of a job's programs, in order."""
    with ledger.read() as connection:
        found = connection.execute(sa.select(jobs.c["items"]).where(jobs.c.key == key)).scalar() or []
        return [item["name"] for item in found]


def program_labels(ledger: Ledger, key: str) -> list[dict[str, Any]]:
    """Name and metadata of a job's programs, in order."""
    with ledger.read() as connection:
        found = connection.execute(sa.select(jobs.c["items"]).where(jobs.c.key == key)).scalar() or []
        return [{"name": item["name"], "metadata": item.get("metadata", {})} for item in found]


def estimate_plan(ledger: Ledger, key: str) -> str | None:
    """How the counts of a job become expectation values, or None if they do not."""
    with ledger.read() as connection:
        query = sa.select(programs.c.text).join(jobs, jobs.c.estimate == programs.c.digest).where(jobs.c.key == key)
        return connection.execute(query).scalar()


def history(ledger: Ledger, key: str) -> list[dict[str, Any]]:
    """Events of one job, oldest first: at, kind, detail. Raises ArchiveMissing."""
    with ledger.read() as connection:
        query = sa.select(events.c.at, events.c.kind, events.c.detail).where(events.c.subject == key)
        later = [dict(row._mapping) for row in connection.execute(query.order_by(events.c.id))]
    if moved := archives.fetch(ledger, [key]):
        return sorted([*map(dict, moved[key].history), *later], key=lambda event: event["at"])
    return later


def left_behind(ledger: Ledger, run_key: str, attempt: str) -> list[Job]:
    """Live or finished jobs of a run that the present attempt did not ask for: the replay took another path."""
    with ledger.read() as connection:
        rows = connection.execute(
            sa.select(*JOB_COLUMNS).where(
                jobs.c.run_key == run_key, jobs.c.attempt != attempt, jobs.c.superseded.is_(False)
            )
        )
        return [job_of(row) for row in rows]


def unfinished_runs(ledger: Ledger, flow_name: str, *, but: str) -> dict[str, int]:
    """Other runs of a flow with live jobs: run key → how many."""
    with ledger.read() as connection:
        rows = connection.execute(
            sa.select(jobs.c.run_key, sa.func.count())
            .join(runs, runs.c.run_key == jobs.c.run_key)
            .where(runs.c.flow_name == flow_name, jobs.c.run_key != but)
            .where(jobs.c.status.in_([s.value for s in LIVE]))
            .group_by(jobs.c.run_key)
        )
        return {row[0]: row[1] for row in rows}


def buyer_of(ledger: Ledger, key: str) -> Buyer:
    """Whom a job is counted for."""
    query = sa.select(jobs.c.project, jobs.c.buyer, jobs.c.deployment).where(jobs.c.key == key)
    with ledger.read() as connection:
        row = connection.execute(query).one()
    return Buyer(row.project, row.buyer, row.deployment)
