"""A copy of the ledger in one SQLite file, taken while others write.

A SQLite ledger is copied page by page by SQLite's own backup. A PostgreSQL ledger is read in one snapshot and written
into a SQLite ledger of the same schema, so that a copy can be opened, read and verified on any machine.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from glob import escape
from pathlib import Path

import sqlalchemy as sa

from qflows.errors import LedgerUnavailable, ProgramRejected
from qflows.ledger.engine import engine_for, ensure_schema, faults_as_sentences
from qflows.ledger.tables import metadata

_PAGES_AT_ONCE = 1_000
_ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Copy:
    """A backup: its path, its size in bytes, and rows by table."""

    path: Path
    size: int
    rows: Mapping[str, int]


def backup(engine: sa.Engine, path: Path) -> Copy:
    """Write a consistent copy of the ledger to a new file, which appears under its name once it is complete.

    Raises ProgramRejected if the file exists, LedgerUnavailable.
    """
    path = path.expanduser()
    if path.exists():
        raise ProgramRejected(f"{path} already exists; choose another name, or move the file")
    if not path.parent.is_dir():
        raise ProgramRejected(f"there is no folder {path.parent}; make it, or give a path in another one")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.touch(mode=0o600, exist_ok=False)
    try:
        with faults_as_sentences(engine):
            (_copy_pages if engine.dialect.name == "sqlite" else _copy_rows)(engine, partial)
        rows = _rows_of(partial)
        partial.replace(path)
    finally:
        for leftover in path.parent.glob(f"*.{escape(path.name)}.{os.getpid()}.partial*"):
            leftover.unlink(missing_ok=True)
    return Copy(path, path.stat().st_size, rows)


def _copy_pages(engine: sa.Engine, path: Path) -> None:
    target = sqlite3.connect(path)
    try:
        with engine.connect() as connection:
            source = connection.connection.driver_connection
            assert isinstance(source, sqlite3.Connection)
            source.backup(target, pages=_PAGES_AT_ONCE)
        target.execute("pragma journal_mode=delete")  # one file, without a write-ahead log beside it
    except sqlite3.Error as error:
        raise LedgerUnavailable(f"the copy could not be written: {error}") from error
    finally:
        target.close()


def _copy_rows(engine: sa.Engine, path: Path) -> None:
    path.unlink()
    target = engine_for(f"sqlite:///{path}")
    try:
        ensure_schema(target)
        snapshot = engine.connect().execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with snapshot, target.connect() as to, to.execution_options(ledger_write=True).begin():
            for table in metadata.sorted_tables:
                rows = snapshot.execution_options(stream_results=True).execute(sa.select(table))
                for part in rows.mappings().partitions(_ROWS_AT_ONCE):
                    to.execute(sa.insert(table), [dict(row) for row in part])
    finally:
        target.dispose()
    with sqlite3.connect(path) as connection:
        connection.execute("pragma journal_mode=delete")
    connection.close()


def _rows_of(path: Path) -> dict[str, int]:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        there = {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
        names = [table.name for table in metadata.sorted_tables if table.name in there]
        found = {name: connection.execute(f'select count(*) from "{name}"').fetchone()[0] for name in names}
    connection.close()
    return found
