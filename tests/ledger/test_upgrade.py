"""Ledgers of an older version: refused as they are, upgraded with everything that was in them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from alembic import command

from qflows.errors import LedgerVersionError
from qflows.keys import job_key, mark_of
from qflows.ledger import Ledger, intents, marks, migrate, reads, tables
from qflows.ledger.engine import engine_for, version_of
from qflows.ledger.migrate import _config, _exclusive
from qflows.states import JobStatus

from .conftest import MakeIntent, drive

JOBS = 5


LATER_TABLES = (
    "measurements",
    "calibrations",
    "slots",
    "points",
    "same_accounts",
    "raw_answers",
    "budgets",
    "budget_periods",
    "quotes",
    "charges",
    "approvals",
    "choices",
    "choice_purchases",
    "gates",
    "marks",
)
LATER_COLUMNS = {
    "jobs": ("sends", "unsent", "bad_reads", "origin", "project", "buyer", "deployment")
    + ("steps", "expected_start_at", "expected_end_at"),
    "lanes": ("lag_s", "ok_at", "error_at", "error"),
    "sessions": ("project", "buyer", "deployment"),
}


def back_to_first(url: str) -> None:
    """Makes a ledger what version 0001 left: its tables and indexes alone, with their rows."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for key, sample, epoch in connection.exec_driver_sql("select key, sample, epoch from jobs").all():
            before = {"key": key, "old": job_key(sample, epoch)}
            for table, column in (("jobs", "key"), ("results", "job_key"), ("events", "subject")):
                connection.execute(sa.text(f"update {table} set {column} = :old where {column} = :key"), before)
        for table in LATER_TABLES:
            connection.exec_driver_sql(f"drop table {table}")
        for table, columns in LATER_COLUMNS.items():
            for column in columns:
                connection.exec_driver_sql(f"alter table {table} drop column {column}")
        for index in ("ix_jobs_created_at", "ix_jobs_finished_at"):
            connection.exec_driver_sql(f"drop index {index}")
        connection.exec_driver_sql("update qflows_version set version_num = '0001'")
    engine.dispose()


@pytest.fixture
def first_version(ledger_url: str, make_intent: MakeIntent) -> str:
    """URL of a ledger of version 0001 with finished and live jobs in it."""
    ledger = Ledger.open(ledger_url)
    made = intents.prepare(ledger, [make_intent(str(n)) for n in range(JOBS)])
    for job, status in zip(made, [JobStatus.COMPLETED, JobStatus.QUEUED, JobStatus.IN_DOUBT], strict=False):
        drive(ledger, job.key, status)
    ledger.close()
    back_to_first(ledger_url)
    return ledger_url


def test_older_ledger_is_refused_then_upgraded_with_its_rows(
    first_version: str, open_ledger: Callable[[str], Ledger], make_intent: MakeIntent
) -> None:
    with pytest.raises(LedgerVersionError, match="qflows ledger upgrade"):
        Ledger.open(first_version)
    engine = engine_for(first_version)
    before = rows_of(engine)
    assert migrate.upgrade(engine) == tables.HEAD
    assert rows_of(engine) == before
    engine.dispose()
    found = reads.listing(open_ledger(first_version))
    assert sorted(job.status for job in found) == ["COMPLETED", "IN_DOUBT", "PREPARED", "PREPARED", "QUEUED"]
    ledger = open_ledger(first_version)
    assert len(reads.items(ledger, next(j.key for j in found if j.status == "COMPLETED"))) == 1
    wanted_again = intents.prepare(ledger, [make_intent(str(n)) for n in range(JOBS + 1)])
    assert {job.key for job in found} == {job.key for job in wanted_again[:JOBS]}
    assert {mark_of(job.key) for job in wanted_again[:JOBS]} == {""}
    assert mark_of(wanted_again[JOBS].key) == marks.of(ledger).own


def rows_of(engine: sa.Engine) -> dict[str, list[tuple[object, ...]]]:
    """All rows of the tables that version 0001 had, as the driver gives them."""
    found = {}
    with engine.connect() as connection:
        for name, table in tables.metadata.tables.items():
            if name not in LATER_TABLES:
                old = [column.name for column in table.columns if column.name not in LATER_COLUMNS.get(name, ())]
                query = f"select {', '.join(map(connection.dialect.identifier_preparer.quote, old))} from {name}"
                found[name] = sorted((tuple(row) for row in connection.exec_driver_sql(query)), key=repr)
    return found


def test_upgraded_schema_is_the_schema_of_a_new_ledger(first_version: str, sqlite_url: str, ledger_url: str) -> None:
    engine = engine_for(first_version)
    migrate.upgrade(engine)
    with engine.connect() as connection:
        inspector = sa.inspect(connection)
        assert set(tables.metadata.tables) <= set(inspector.get_table_names())
        indexes = {
            index["name"] for table in ("jobs", "measurements", "slots") for index in inspector.get_indexes(table)
        }
    engine.dispose()
    wanted = {
        index.name for name in ("jobs", "measurements", "slots") for index in tables.metadata.tables[name].indexes
    }
    assert indexes == wanted


def test_revision_0001_of_the_migrations_makes_a_ledger_that_0002_upgrades(ledger_url: str) -> None:
    engine = engine_for(ledger_url)
    with _exclusive(engine) as connection:
        command.upgrade(_config(connection), "0001")
    assert version_of(engine) == "0001"
    with engine.connect() as connection:
        assert not sa.inspect(connection).has_table("measurements")
    migrate.upgrade(engine)
    assert version_of(engine) == tables.HEAD
    engine.dispose()
    Ledger.open(ledger_url).close()
