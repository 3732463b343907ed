"""Jobs that this ledger did not buy: bought elsewhere (imported), or ours and lost (rebuilt)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qflows.keys import digest
from qflows.ledger.claims import chunks
from qflows.ledger.rows import JOB_COLUMNS, items_of, job_of
from qflows.ledger.store import Ledger, utc_now
from qflows.ledger.tables import IMPORTED, REBUILT, jobs, programs, results, runs
from qflows.model import Job
from qflows.protocol import JobSpec
from qflows.states import JobStatus

_RAW_READ_ONCE = 1  # as if its answer had been unreadable once: the stored one is used if the vendor gives none again


@dataclass(frozen=True, slots=True)
class Entry:
    """A job to enter. `key`: the mark that it carries, for one of ours; None for a job bought elsewhere.

    `notes` are stored with it: its client, and what is not known.
    """

    vendor_id: str
    account: str
    device: str
    spec: JobSpec
    created_at: datetime | None
    key: str | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def job_key(self) -> str:
        """The key it is stored under: its own mark, or one made of its vendor's id, the same at every import."""
        return self.key or digest("imported/1", self.spec.provider, self.vendor_id)


def imported_run(provider: str, origin: str = IMPORTED) -> str:
    """The run key that jobs without a known run are listed under."""
    return f"{origin}/{provider}"


def known(ledger: Ledger, provider: str, vendor_ids: Collection[str]) -> dict[str, Job]:
    """Jobs of the ledger by vendor id."""
    with ledger.read() as connection:
        return {
            row.vendor_id: job_of(row)
            for part in chunks(sorted(vendor_ids))
            for row in connection.execute(
                sa.select(*JOB_COLUMNS).where(jobs.c.provider == provider, jobs.c.vendor_id.in_(part))
            )
        }


def enter(ledger: Ledger, entries: Sequence[Entry]) -> list[Job]:
    """Store jobs as QUEUED at their vendor, in one transaction; return those that were not there before."""
    if not entries:
        return []

    def work(connection: sa.Connection) -> list[Job]:
        texts = {program.digest: program.text for one in entries for program in one.spec.programs}
        connection.execute(
            ledger.insert(_program_insert), [{"digest": name, "text": text} for name, text in sorted(texts.items())]
        )
        for run_key in sorted({_run_of(one) for one in entries}):
            now = utc_now()
            connection.execute(
                ledger.insert(_run_insert),
                {"run_key": run_key, "flow_name": None, "flow_run_id": None, "first_seen": now, "last_seen": now},
            )
        made = []
        for one in sorted(entries, key=lambda one: one.job_key):
            row = connection.execute(ledger.insert(_job_insert), _values(one)).one_or_none()
            if row is not None:
                made.append(job_of(row))
                detail = {"vendor_id": one.vendor_id, **one.notes}
                ledger.record_event(connection, row.origin, row.key, **detail)
        return made

    made = ledger.transact(work)
    for job in made:
        ledger.tell("queued", job.key, vendor_id=job.vendor_id, origin=job.origin)
    return made


def _run_of(one: Entry) -> str:
    return imported_run(one.spec.provider, REBUILT if one.key else IMPORTED)


def _values(one: Entry) -> dict[str, Any]:
    spec, key = one.spec, one.job_key
    made_at = one.created_at or utc_now()
    return {
        "key": key,
        "sample": digest("imported-sample/1", key),
        "epoch": 0,
        "superseded": False,
        "run_key": _run_of(one),
        "attempt": "",
        "label": "",
        "content": spec.content,
        "ordinal": 0,
        "provider": spec.provider,
        "account": one.account,
        "device": one.device,
        "device_id": spec.device_id,
        "shots": spec.shots,
        "options": dict(spec.options),
        "items": items_of(spec),
        "n_programs": len(spec.programs),
        "name": spec.name,
        "tags": dict(spec.tags),
        "session_id": spec.session_id,
        "status": JobStatus.QUEUED.value,
        "vendor_id": one.vendor_id,
        "fence": 1,
        "looks": 0,
        "created_at": made_at,
        "claimed_at": made_at,
        "submitted_at": made_at,
        "submission": {"origin": dict(one.notes)},
        "provenance": {},
        "origin": REBUILT if one.key else IMPORTED,
    }


_JOB_VALUES = (
    "key", "sample", "epoch", "superseded", "run_key", "attempt", "label", "content", "ordinal", "provider", "account",
    "device", "device_id", "shots", "options", "items", "n_programs", "name", "tags", "session_id", "status",
    "vendor_id", "fence", "looks", "created_at", "claimed_at", "submitted_at", "submission", "provenance", "origin",
)  # fmt: skip


def _job_insert(insert: Callable[[sa.Table], Any]) -> Any:
    row = {name: sa.bindparam(name, type_=jobs.c[name].type) for name in _JOB_VALUES}
    # neither its key nor its vendor's id may be there twice, whichever was stored first
    return insert(jobs).values(row).on_conflict_do_nothing().returning(*JOB_COLUMNS)


def _program_insert(insert: Callable[[sa.Table], Any]) -> Any:
    row = {"digest": sa.bindparam("digest"), "text": sa.bindparam("text")}
    return insert(programs).values(row).on_conflict_do_nothing()


def _run_insert(insert: Callable[[sa.Table], Any]) -> Any:
    row = {column.name: sa.bindparam(column.name, type_=column.type) for column in runs.columns}
    return insert(runs).values(row).on_conflict_do_nothing()


# -- rebuilding ----------------------------------------------------------------------------------------------------


def attach(ledger: Ledger, key: str, vendor_id: str, *, only_unsent: bool = False) -> bool:
    """PREPARED or IN_DOUBT → QUEUED: the vendor shows a job that carries this key.

    For a ledger that is older than the purchase. With `only_unsent`, just PREPARED: the vendor's job carries the mark
    of another ledger, so it is not what this one sent. False for a job that is being sent now, or that is over.
    """
    moment = utc_now()
    sources = [JobStatus.PREPARED] if only_unsent else [JobStatus.PREPARED, JobStatus.IN_DOUBT]
    with ledger.write() as connection:
        done = connection.execute(
            sa.update(jobs)
            .where(
                jobs.c.key == key,
                jobs.c.vendor_id.is_(None),
                jobs.c.status.in_(sources),
            )
            .values(
                status=JobStatus.QUEUED,
                vendor_id=vendor_id,
                fence=jobs.c.fence + 1,
                claimed_at=sa.func.coalesce(jobs.c.claimed_at, moment),
                submitted_at=moment,
                lease_until=None,
                claim_owner=None,
                doubt_since=None,
                look_after=None,
                error_kind=None,
                error_message=None,
                error_code=None,
                unsent=None,
            )
        ).rowcount
        if done == 1:
            ledger.record_event(connection, "rebuilt", key, vendor_id=vendor_id)
    if done == 1:
        ledger.tell("queued", key, vendor_id=vendor_id, adopted=True)
    return done == 1


def describe(ledger: Ledger, key: str, spec: JobSpec) -> None:
    """Store what the vendor knows of a rebuilt job that is known only by its key: programs, shots, options, labels."""
    texts = [{"digest": program.digest, "text": program.text} for program in spec.programs]
    told = {
        "shots": spec.shots,
        "options": dict(spec.options),
        "items": items_of(spec),
        "n_programs": len(spec.programs),
        "name": spec.name,
        "tags": dict(spec.tags),
    }
    with ledger.write() as connection:
        connection.execute(ledger.insert(_program_insert), sorted(texts, key=lambda row: row["digest"]))
        connection.execute(sa.update(jobs).where(jobs.c.key == key, jobs.c.origin == REBUILT).values(**told))


def recognize(connection: sa.Connection, key: str, values: Mapping[str, Any]) -> Any:
    """Match a rebuilt job to this call by its key, which is a digest of run, work and ordinal.

    It takes the names and programs of the call. Counts read without knowing the programs are dropped and read again,
    from the stored answer if the vendor gives it only once.
    """
    has_counts = jobs.c.status == JobStatus.COMPLETED
    is_read = sa.select(jobs.c.key).where(jobs.c.key == key, jobs.c.origin == REBUILT, has_counts)
    connection.execute(sa.delete(results).where(results.c.job_key.in_(is_read)))
    named = {name: values[name] for name in _RECOGNIZED}
    return connection.execute(
        sa.update(jobs)
        .where(jobs.c.key == key, jobs.c.origin == REBUILT)
        .values(
            **named,
            origin=None,
            word=None,
            bad_reads=sa.case((sa.or_(has_counts, jobs.c.bad_reads > 0), _RAW_READ_ONCE), else_=jobs.c.bad_reads),
            status=sa.case((has_counts, JobStatus.QUEUED.value), else_=jobs.c.status),
            finished_at=sa.case((has_counts, None), else_=jobs.c.finished_at),
        )
        .returning(*JOB_COLUMNS)
    ).one_or_none()


_RECOGNIZED = (
    "sample", "epoch", "run_key", "attempt", "label", "content", "ordinal", "device", "shots", "options", "items",
    "estimate", "n_programs", "name", "tags", "project", "buyer", "deployment",
)  # fmt: skip
