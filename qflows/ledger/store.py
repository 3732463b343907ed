"""The ledger: one database that records every intent, every vendor id and every count."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, TypeVar

import sqlalchemy as sa

from qflows.errors import LedgerUnavailable
from qflows.ledger.engine import (
    BUSY_S,
    connected,
    engine_for,
    ensure_schema,
    faults_as_sentences,
    flush_later,
    lost_a_deadlock,
    unflushed,
)
from qflows.ledger.tables import events
from qflows.ledger.turns import Turns

log = logging.getLogger("qflows.ledger")

_CHUNK = 500  # bound parameters per statement; SQLite allows 32766, PostgreSQL plans long IN lists slowly
_DEADLOCKS = 20  # lost in a row by one transaction before it raises

T = TypeVar("T")
Listener = Callable[[str, str, Mapping[str, Any]], None]
More = Callable[[sa.Connection], None]
"""What else a transaction writes. Run again with the transaction if that is."""


class Ledger:
    """A handle on the database; cheap to share between threads, to be opened again in a forked process.

    Listeners are called after a commit with (kind, job key, detail); they serve screens and progress. A listener that
    raises is logged and changes nothing.
    """

    def __init__(self, engine: sa.Engine, *, turn_s: float = BUSY_S) -> None:
        self.engine = engine
        self.is_closed = False
        self.listeners: list[Listener] = []
        # reads jobs whose results were moved to archive files: see ledger/archives.py
        self.archives: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
        self._inserts: dict[Any, Any] = {}
        self._turns = Turns(is_one_by_one=engine.dialect.name == "sqlite", wait_s=turn_s)

    @classmethod
    def open(cls, url: str, *, busy_s: float = BUSY_S) -> Ledger:
        """Open the ledger at `url`, creating it if the database is empty.

        `busy_s`: how long to wait for a SQLite ledger that another process is writing to.

        Raises LedgerUnavailable, or LedgerVersionError naming the command to run.
        """
        engine = engine_for(url, busy_s=busy_s)
        ensure_schema(engine)
        return cls(engine)

    def close(self) -> None:
        """Release the connections. Threads that renew leases of sessions end with their next beat."""
        self.is_closed = True
        self.engine.dispose()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that only reads."""
        with faults_as_sentences(self.engine), connected(self.engine) as connection:
            yield connection

    @contextmanager
    def write(self, *, flush: bool = True) -> Iterator[sa.Connection]:
        """A transaction that is durable when the block is left without an exception.

        With `flush=False` the disk is not waited for: the write survives the death of this process, not a power cut in
        the next moment. For what a power cut makes void anyway (who polls), or what can be fetched again.
        """
        with self._turns.take() as note, faults_as_sentences(self.engine), connected(self.engine) as connection:
            note(connection)
            writing = connection.execution_options(ledger_write=True)
            with unflushed(writing) if not flush else nullcontext(), writing.begin():
                if not flush:
                    flush_later(writing)
                yield writing

    def transact(self, work: Callable[[sa.Connection], T], *, flush: bool = True) -> T:
        """Run `work` and return its result, durable. For transactions over many rows: PostgreSQL ends one of two that
        wait for each other's rows, and the loser is run again from its start. `work` does nothing but SQL. `flush`: see
        `write`.
        """
        lost = 0
        while True:
            try:
                with self.write(flush=flush) as connection:
                    return work(connection)
            except LedgerUnavailable as error:
                lost += 1
                if lost > _DEADLOCKS or not lost_a_deadlock(error):
                    raise

    def insert(self, build: Callable[[Callable[[sa.Table], Any]], Any]) -> Any:
        """The INSERT that `build` makes of a dialect's own insert function (ON CONFLICT differs), compiled once.

        SQLAlchemy does not cache statements with ON CONFLICT; compiling one takes longer than running it.
        """
        compiled = self._inserts.get(build)
        if compiled is None:
            # the drivers that come with the other dialect take longer to import than the rest of this package
            dialect = import_module(f"sqlalchemy.dialects.{self.engine.dialect.name}")
            compiled = self._inserts[build] = build(dialect.insert).compile(dialect=self.engine.dialect)
        return compiled

    def tell(self, kind: str, key: str, **detail: Any) -> None:
        """Notify the listeners of what is now durable."""
        for listener in self.listeners:
            try:
                listener(kind, key, detail)
            except Exception:
                log.exception("a ledger listener failed on %s of %s", kind, key[:12])

    def record_event(self, connection: sa.Connection, kind: str, subject: str, **detail: Any) -> None:
        """Write one line of history in the caller's transaction."""
        connection.execute(sa.insert(events), {"at": utc_now(), "subject": subject, "kind": kind, "detail": detail})


def utc_now() -> datetime:
    """The current time, time-zone aware."""
    return datetime.now(UTC)


def chunks(keys: Collection[str]) -> list[list[str]]:
    """`keys` in slices that fit one statement."""
    flat = list(keys)
    return [flat[start : start + _CHUNK] for start in range(0, len(flat), _CHUNK)]
