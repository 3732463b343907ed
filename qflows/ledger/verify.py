"""Whether a ledger is intact: the database's own check, its schema, references between rows, and every digest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from qflows.errors import QflowsError
from qflows.keys import digest, job_key, mark_of, sample_key
from qflows.ledger import archives, raws, reads
from qflows.ledger.engine import faults_as_sentences, version_of
from qflows.ledger.migrate import revisions
from qflows.ledger.store import Ledger
from qflows.ledger.tables import (
    HEAD,
    batch_parts,
    batches,
    group_members,
    groups,
    jobs,
    metadata,
    programs,
    raw_answers,
    results,
)
from qflows.states import AT_VENDOR, JobStatus

_MOST_FINDINGS = 1_000
_ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem: the check, the row, and what was found."""

    check: str
    subject: str
    detail: str


@dataclass
class Verified:
    """Rows checked, by check, and what is wrong; at most a thousand findings are kept."""

    checked: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    n_findings: int = 0

    @property
    def is_whole(self) -> bool:
        """True if nothing is wrong."""
        return not self.n_findings

    def count(self, check: str, n: int = 1) -> None:
        """Count rows that a check examined."""
        self.checked[check] = self.checked.get(check, 0) + n

    def find(self, check: str, subject: str, detail: str) -> None:
        """Note a problem."""
        self.n_findings += 1
        if len(self.findings) < _MOST_FINDINGS:
            self.findings.append(Finding(check, subject, detail[:500]))


def verify(engine: sa.Engine) -> Verified:
    """Check a whole ledger; read only. If other processes write to it, each check reads one snapshot.

    Raises LedgerUnavailable if it cannot be opened at all.
    """
    done = Verified()
    with faults_as_sentences(engine):
        if not _database(engine, done) or not _schema(engine, done):
            return done
        ledger = Ledger(engine)
        for check in (_programs, _jobs, _counts, _raw_answers, _members):
            try:
                check(ledger, done)
            except (QflowsError, ValueError, TypeError, KeyError, exc.SQLAlchemyError) as error:
                done.find(check.__name__.strip("_"), "", f"the rows cannot be read: {error}")
    return done


def _database(engine: sa.Engine, done: Verified) -> bool:
    """Run SQLite's integrity check; PostgreSQL checks pages itself as it reads them."""
    done.count("database")
    if engine.dialect.name != "sqlite":
        return True
    try:
        with engine.connect() as connection:
            said = [row[0] for row in connection.exec_driver_sql("pragma integrity_check(20)")]
    except exc.DatabaseError as error:
        done.find("database", "", f"SQLite: {error.orig}")
        return False
    for line in said:
        if line != "ok":
            done.find("database", "", str(line))
    return said == ["ok"]


def _schema(engine: sa.Engine, done: Verified) -> bool:
    done.count("schema")
    found = version_of(engine)
    if found != HEAD:
        hint = "run `qflows ledger upgrade`" if found in revisions() else "it is not a ledger of this version of qflows"
        done.find("schema", "", f"schema {found}, this qflows needs {HEAD}; {hint}")
        return False
    look = sa.inspect(engine)
    there = {name: {column["name"] for column in look.get_columns(name)} for name in look.get_table_names()}
    before = done.n_findings
    for table in metadata.sorted_tables:
        missing = {column.name for column in table.columns} - there.get(table.name, set())
        if missing:
            done.find("schema", table.name, f"columns are missing: {', '.join(sorted(missing))}")
    return done.n_findings == before


def _programs(ledger: Ledger, done: Verified) -> None:
    """Check that a text's name is its digest: for a program its sha256, for an estimation plan that of `text/1`."""
    for row in _rows(ledger, sa.select(programs.c.digest, programs.c.text)):
        done.count("programs")
        if row.digest not in (sha256(row.text.encode()).hexdigest(), digest("text/1", row.text)):
            done.find("programs", row.digest[:12], "the text does not match its digest")


def _jobs(ledger: Ledger, done: Verified) -> None:
    """Check that a job's key is the digest of its run, its work and its sample, which are all in its row."""
    for row in _rows(ledger, sa.select(jobs)):
        done.count("jobs")
        name = row.key[:12]
        if row.status in AT_VENDOR and row.vendor_id is None:
            done.find("jobs", name, f"{row.status} without a vendor's id")
        if row.origin is None and row.sample != sample_key(row.run_key, row.content, row.ordinal):
            done.find("jobs", name, "run key, content or ordinal do not match its sample")
        if row.origin is None and row.key != job_key(row.sample, row.epoch, mark_of(row.key)):
            done.find("jobs", name, "its key does not match its sample and epoch")
        try:
            if reads.spec_of(ledger, row.key).content != row.content:
                done.find("jobs", name, "programs, observables, shots or options do not match its content digest")
        except (QflowsError, KeyError, ValueError, TypeError) as error:
            done.find("jobs", name, f"its programs cannot be read: {error!r:.200}")


def _counts(ledger: Ledger, done: Verified) -> None:
    """Check that a completed job has one result per program, and counts that sum to its shots."""
    query = sa.select(results.c.job_key, results.c.idx, results.c.body, jobs.c.shots, jobs.c.n_programs, jobs.c.origin)
    query = query.join(jobs, jobs.c.key == results.c.job_key, isouter=True)
    for row in _rows(ledger, query):
        done.count("results")
        if row.n_programs is None:
            done.find("results", row.job_key[:12], "a result without a job")
            continue
        counts = row.body.get("counts") if isinstance(row.body, Mapping) else None
        if row.idx >= row.n_programs or not isinstance(row.body, Mapping):
            done.find("results", row.job_key[:12], f"result {row.idx} of {row.n_programs} programs")
        elif counts and row.shots is not None and row.origin is None and sum(counts.values()) < row.shots:
            done.find("results", row.job_key[:12], f"{sum(counts.values())} counts of {row.shots} shots")
    n_results = sa.select(sa.func.count()).where(results.c.job_key == jobs.c.key).scalar_subquery()
    short = sa.select(jobs.c.key, jobs.c.n_programs, jobs.c.provenance, n_results.label("n")).where(
        jobs.c.status == JobStatus.COMPLETED, jobs.c.n_programs != n_results
    )
    for row in _rows(ledger, short):
        if archives.POINTER in row.provenance:
            done.count("archived jobs")  # `qflows verify FILE` checks their files
            continue
        done.find("results", row.key[:12], f"{row.n} results of {row.n_programs} programs")


def _raw_answers(ledger: Ledger, done: Verified) -> None:
    """Check that a stored answer matches the checksum of its compression and its recorded size."""
    query = sa.select(raw_answers, jobs.c.key.label("owner")).join(
        jobs, jobs.c.key == raw_answers.c.job_key, isouter=True
    )
    for row in _rows(ledger, query):
        done.count("raw answers")
        if row.owner is None:
            done.find("raw answers", row.job_key[:12], "an answer without a job")
        try:
            raws.unpack(row.codec, row.body)
        except QflowsError as error:
            done.find("raw answers", row.job_key[:12], str(error))


def _members(ledger: Ledger, done: Verified) -> None:
    """Check that parts belong to batches and members to groups, and that both are jobs."""
    for what, table, owner, owners in (
        ("batches", batch_parts, batch_parts.c.batch_id, batches),
        ("groups", group_members, group_members.c.group_id, groups),
    ):
        query = sa.select(owner.label("owner"), table.c.job_key, jobs.c.key, owners.c.id)
        query = query.join(jobs, jobs.c.key == table.c.job_key, isouter=True).join(
            owners, owners.c.id == owner, isouter=True
        )
        for row in _rows(ledger, query):
            done.count(what)
            if row.key is None or row.id is None:
                missing = "jobs" if row.key is None else what
                done.find(what, row.owner[:12], f"{row.job_key[:12]}: not found among {missing}")


def _rows(ledger: Ledger, query: sa.Select[Any]) -> Iterator[Any]:
    with ledger.read() as connection:
        for part in connection.execution_options(stream_results=True).execute(query).partitions(_ROWS_AT_ONCE):
            yield from part
