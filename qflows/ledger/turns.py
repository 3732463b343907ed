"""One writing thread of a process after the other, and the end of a transaction that an interrupt left open."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import sqlalchemy as sa


class _OfThread(threading.local):
    turn: object | None = None
    connection: sa.Connection | None = None


class Turns:
    """Gives the threads of this process their turns to write.

    SQLite makes all but one writer sleep for up to a tenth of a second each time, whoever is done meanwhile; threads
    that queue here do not sleep. SQLite still decides between processes, so a lost turn costs time and nothing else.
    On PostgreSQL (`is_one_by_one=False`) everybody's turn is now.

    `wait_s`: how long to wait for a turn; after that the writer goes ahead, and asks SQLite.
    """

    def __init__(self, *, is_one_by_one: bool, wait_s: float) -> None:
        self._mine = _OfThread()
        self._wait_s = wait_s
        self._lock = threading.RLock() if is_one_by_one else None

    @contextmanager
    def take(self) -> Iterator[Callable[[sa.Connection], None]]:
        """Wait for the turn. The block passes the connection with which it writes to the function that it gets.

        A thread writes in one block at a time. If it asks again before its last block has ended, then an interrupt came
        after that block's body and before its commit, and the block's generator hangs on in the interrupt's traceback.
        Its transaction is rolled back: whoever opened it saw the interrupt, not a commit.
        """
        mine = self._mine
        stray = mine.connection
        if stray is not None and not stray.closed:
            stray.invalidate()
        turn = mine.turn = object()
        lock = self._lock
        if lock is not None and not lock.acquire(timeout=self._wait_s):
            self._lock = threading.RLock()  # its thread may have been stopped before it could release it
        try:
            yield self._note
        finally:
            if mine.turn is turn:  # not a stray block, ended late by the garbage collector
                mine.turn = mine.connection = None
                _release(lock)

    def _note(self, connection: sa.Connection) -> None:
        self._mine.connection = connection


def _release(lock: threading.RLock | None) -> None:
    """Release it as often as this thread has it: a stray block took it too."""
    if lock is not None:
        with suppress(RuntimeError):  # not this thread's
            while True:
                lock.release()
