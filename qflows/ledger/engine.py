"""Opening the ledger: the right schema or a clear refusal, and database faults as readable messages."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine import make_url

from qflows.errors import LedgerUnavailable, LedgerVersionError, ProgramRejected
from qflows.ledger.presence import REMEDY, LedgerFile
from qflows.ledger.tables import HEAD
from qflows.privacy.files import private_database, private_folder
from qflows.privacy.redaction import holds_secret, protect, redact_known

_SQLITE_PRAGMAS = (
    "pragma synchronous=full",  # a commit that returned survives a power cut: intent must be durable before the wire
    "pragma cache_size=-8192",  # kB of a connection, and each thread has one; the system's file cache holds the rest
)

BUSY_S = 30.0
_WAL_PAUSE_S = 0.01

_FAULTS = (  # part of the driver's message → what it means and what to do
    ("readonly", "is read-only; make it writable for this user, or set QFLOWS_LEDGER_URL to another location"),
    ("read-only", "is read-only; make it writable for this user, or set QFLOWS_LEDGER_URL to another location"),
    ("disk is full", "is on a full disk; free some space, then run again: it continues where it was"),
    ("no space left", "is on a full disk; free some space, then run again: it continues where it was"),
    ("disk i/o error", "cannot be written (disk I/O error); check the disk, then run again"),
    ("is locked", "stays locked by another process; stop that process or move to PostgreSQL"),
    ("malformed", "is damaged; restore a backup, or move the file away and rebuild from vendor listings"),
    ("not a database", "is not a SQLite database; point QFLOWS_LEDGER_URL to the right file"),
    ("unable to open", "cannot be opened; check that the folder exists and may be written"),
    ("connection refused", "cannot be reached; start the database server, or correct QFLOWS_LEDGER_URL"),
    ("could not connect", "cannot be reached; start the database server, or correct QFLOWS_LEDGER_URL"),
    ('role "', "rejects this user; check the credentials in QFLOWS_LEDGER_URL"),
    ("does not exist", f"is gone: {REMEDY}"),
    ("no such table", f"has lost its tables: {REMEDY}"),
    ("terminating connection", "went away during a statement; run again: it continues where it was"),
    (
        "connection failed",
        "cannot be reached; start the database server, or correct the credentials in QFLOWS_LEDGER_URL",
    ),
    ("server closed the connection", "went away during a statement; run again: it continues where it was"),
)


def engine_for(url: str, *, busy_s: float = BUSY_S) -> sa.Engine:
    """An engine with durable commits and immediate write locks. Raises LedgerUnavailable for a bad URL.

    `busy_s`: how long to wait for a SQLite ledger that another process is writing to.
    """
    try:
        parsed = make_url(url)
    except exc.ArgumentError as error:
        raise LedgerUnavailable("the ledger URL cannot be parsed; example: sqlite:////path/to/ledger.db") from error
    protect(parsed.password)
    backend = parsed.get_backend_name()
    if backend not in ("sqlite", "postgresql"):
        raise LedgerUnavailable(f"{backend} cannot hold a ledger; use sqlite:///… or postgresql+psycopg://…")
    if backend == "sqlite":
        return _sqlite_engine(parsed, busy_s)
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    try:
        engine = sa.create_engine(
            parsed, pool_pre_ping=True, pool_size=8, max_overflow=24, json_serializer=_json_without_secrets
        )
    except ImportError as error:
        raise LedgerUnavailable("PostgreSQL needs the extra: pip install 'qflows[postgres]'") from error
    event.listen(engine, "before_cursor_execute", _without_secrets, retval=True)
    return engine


def _without_secrets(
    connection: sa.Connection, cursor: Any, statement: str, parameters: Any, context: Any, executemany: Any
) -> tuple[str, Any]:
    """Redact every text on its way into the database, whichever column it is for.

    Raises ProgramRejected for a text that a database cannot store: the text is wrong, not the ledger.
    """
    rows = parameters if executemany else [parameters]
    said = "\n".join(text for row in rows for text in _texts(row))
    if "\0" in said or not (said.isascii() or _LONE.search(said) is None):
        raise ProgramRejected(
            f"a text contains U+{ord(_UNFIT.search(said)[0]):04X}, which cannot be stored: "  # type: ignore[index]
            f"{_around(said)!a}; take it out"
        )
    if not holds_secret(said):
        return statement, parameters
    redacted = [_redacted(row) for row in rows]
    return statement, redacted if executemany else redacted[0]


_LONE = re.compile("[\ud800-\udfff]")  # halves of a character, such as bytes from a terminal that are not UTF-8
_UNFIT = re.compile("[\0\ud800-\udfff]")


def _around(text: str) -> str:
    found = _UNFIT.search(text)
    at = found.start() if found else 0
    return text[max(at - 20, 0) : at + 20].partition("\n")[0]


def _json_without_secrets(value: Any) -> str:
    # psycopg takes documents as they are and serializes them itself, later than the hook above
    return redact_known(json.dumps(value))


def _texts(row: Any) -> Iterator[str]:
    values = row.values() if isinstance(row, Mapping) else row or ()
    return (value for value in values if isinstance(value, str))


def _redacted(row: Any) -> Any:
    if isinstance(row, Mapping):
        return {name: redact_known(value) if isinstance(value, str) else value for name, value in row.items()}
    return tuple(redact_known(value) if isinstance(value, str) else value for value in row)


def _sqlite_engine(url: sa.URL, busy_s: float) -> sa.Engine:
    if not url.database or url.database == ":memory:":
        raise LedgerUnavailable("the ledger must outlive the process; use sqlite:///… with a file")
    path = Path(url.database).expanduser()
    try:
        if not path.parent.exists():
            private_folder(path.parent)
    except OSError as error:
        raise LedgerUnavailable(f"the ledger's folder cannot be created: {error}") from error
    file = None if url.database.startswith("file:") else LedgerFile(Path(url.database))
    if file is not None:
        private_database(file.path)
    engine = sa.create_engine(
        url, connect_args={"timeout": busy_s, "check_same_thread": False}, json_serializer=_json_without_secrets
    )
    event.listen(engine, "before_cursor_execute", _without_secrets, retval=True)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # the driver must not begin transactions behind our back
        if file is not None:
            file.check()  # before the first statement, which would make a new file
        _write_ahead(connection, busy_s)
        for pragma in _SQLITE_PRAGMAS:
            connection.execute(pragma)

    @event.listens_for(engine, "invalidate")
    def _roll_back(connection: Any, record: Any, error: BaseException | None) -> None:
        # After an interrupt SQLAlchemy closes the connection. While one of its cursors lives, in a traceback say,
        # SQLite keeps a closed connection with its transaction and its locks.
        with suppress(sqlite3.Error):
            connection.rollback()

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        if file is not None:
            file.check()
        # a read upgraded to a write later fails at once under contention; writers queue up front
        wants_write = connection.get_execution_options().get("ledger_write", False)
        connection.exec_driver_sql("begin immediate" if wants_write else "begin")

    return engine


def _write_ahead(connection: sqlite3.Connection, busy_s: float) -> None:
    """Turn on a new file's write-ahead log; on a file that has it this takes no lock.

    For this change SQLite does not wait for another process's lock, as it otherwise does, but fails at once.
    """
    give_up_at = time.monotonic() + busy_s
    while True:
        try:
            connection.execute("pragma journal_mode=wal")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up_at:
                raise
            time.sleep(_WAL_PAUSE_S)


@contextmanager
def connected(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection that is not used again if an interrupt ends the block.

    A cursor that was being read lives on in the traceback, and on its connection SQLite refuses the next commit.
    """
    with engine.connect() as connection:
        try:
            yield connection
        except BaseException as error:
            if not isinstance(error, Exception):
                connection.invalidate(error)
            raise


@contextmanager
def unflushed(connection: sa.Connection) -> Iterator[None]:
    """SQLite: commits in here do not wait for the disk. The next one that does flushes them too; none is torn."""
    if connection.engine.dialect.name != "sqlite":
        yield
        return
    driver: Any = connection.connection.driver_connection
    driver.execute("pragma synchronous=normal")
    try:
        yield
    finally:
        with suppress(sqlite3.ProgrammingError):  # an interrupt has closed it, and is what is to be raised
            if driver.in_transaction:  # the commit was interrupted; the pragma cannot be changed before a rollback
                driver.execute("rollback")
            driver.execute("pragma synchronous=full")


def flush_later(connection: sa.Connection) -> None:
    """PostgreSQL: the current transaction does not wait for the disk when it commits."""
    if connection.engine.dialect.name == "postgresql":
        connection.exec_driver_sql("set local synchronous_commit to off")


@contextmanager
def faults_as_sentences(engine: sa.Engine) -> Iterator[None]:
    """Turn driver errors into LedgerUnavailable; the URL is shown without its password."""
    try:
        yield
    except exc.IntegrityError:
        raise
    except exc.TimeoutError as error:
        where = engine.url.render_as_string(hide_password=True)
        raise LedgerUnavailable(
            f"the ledger {where} has no free connection for this thread; use fewer threads"
        ) from error
    except exc.DBAPIError as error:
        text = str(error.orig).lower()
        where = engine.url.render_as_string(hide_password=True)
        for part, meaning in _FAULTS:
            if part in text:
                raise LedgerUnavailable(f"the ledger {where} {meaning}") from error
        raise LedgerUnavailable(f"the ledger {where} failed: {str(error.orig).splitlines()[0]}") from error


def lost_a_deadlock(error: LedgerUnavailable) -> bool:
    """True if the database rolled the transaction back in favor of another one; running it again is safe."""
    driver_error = getattr(error.__cause__, "orig", None)
    return getattr(driver_error, "sqlstate", None) in ("40P01", "40001")  # deadlock, serialization failure


def version_of(engine: sa.Engine) -> str | None:
    """The schema's version, or None for a database without a ledger."""
    with faults_as_sentences(engine), engine.connect() as connection:
        if not sa.inspect(connection).has_table("qflows_version"):
            return None
        return connection.execute(sa.text("select version_num from qflows_version")).scalar()


def ensure_schema(engine: sa.Engine) -> None:
    """Create the schema in an empty database; refuse any other version with the command to run."""
    found = version_of(engine)
    file = _file_of(engine)
    if found is None:
        from qflows.ledger.migrate import upgrade

        if file is not None and version_of(engine) is None:  # not created by another process just now
            file.refuse_if_lost()
        upgrade(engine)
    elif found != HEAD:
        where = engine.url.render_as_string(hide_password=True)
        from qflows.ledger.migrate import revisions

        older = found < HEAD or found in revisions()  # numbers are assigned before revisions are landed
        remedy = "run `qflows ledger upgrade`" if older else "install the qflows that wrote it, or a newer one"
        raise LedgerVersionError(f"the ledger {where} has schema {found}, this qflows needs {HEAD}; {remedy}")
    if file is not None:
        file.note_it()


def compact(engine: sa.Engine) -> None:
    """Give unused space back to the disk. Writers of a SQLite ledger wait meanwhile; PostgreSQL's do not."""
    with faults_as_sentences(engine):
        if engine.dialect.name != "sqlite":
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("vacuum")
            return
        driver = engine.raw_connection()
        try:
            driver.cursor().execute("vacuum")
            driver.cursor().execute("pragma wal_checkpoint(truncate)")
        except sqlite3.Error as error:
            raise LedgerUnavailable(f"the ledger could not be compacted: {error}; repeat it later") from error
        finally:
            driver.close()


def _file_of(engine: sa.Engine) -> LedgerFile | None:
    name = engine.url.database
    is_file = engine.dialect.name == "sqlite" and name and not name.startswith("file:")
    return LedgerFile(Path(str(name))) if is_file else None
