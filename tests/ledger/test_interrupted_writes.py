"""An interrupt before any line that a write runs through: it is written or it is not, and the ledger goes on."""

from __future__ import annotations

import threading
from collections import Counter, deque
from typing import Any

import pytest
import sqlalchemy as sa
from interrupting import InterruptAt

from qflows.errors import LedgerUnavailable
from qflows.ledger import Ledger
from qflows.ledger.tables import events

# Not the locks of Python and of SQLAlchemy's pool: an interrupt in the few lines around one leaves it taken for good.
PLACES = ("/contextlib.py", "/qflows/", "/sqlalchemy/engine/", "/sqlalchemy/event/", "/sqlalchemy/sql/")


def write(ledger: Ledger, subject: str, *, flush: bool = True) -> None:
    with ledger.write(flush=flush) as connection:
        ledger.record_event(connection, "tried", subject)


def written(ledger: Ledger) -> Counter[str]:
    with ledger.read() as connection:
        return Counter(connection.execute(sa.select(events.c.subject).where(events.c.kind == "tried")).scalars())


@pytest.mark.slow(reason="a write is interrupted at some hundred lines")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::sqlalchemy.exc.SAWarning")
@pytest.mark.parametrize("flush", [True, False])
def test_write_can_be_interrupted_at_any_line(ledger: Ledger, flush: bool) -> None:
    write(ledger, "first", flush=flush)
    kept: deque[BaseException] = deque(maxlen=3)  # a notebook keeps the last traceback with its frames
    step = 3 if ledger.engine.dialect.name == "sqlite" else 11  # the lines of both are nearly the same
    at = 1 - step
    while True:
        at += step
        interrupt = InterruptAt(at, PLACES)
        try:
            with interrupt:
                write(ledger, f"try {at}", flush=flush)
        except BaseException as error:  # in a few places SQLAlchemy makes an AttributeError of it
            kept.append(error)
        if not interrupt.where:
            break
        try:
            write(ledger, f"after {at}")
        except LedgerUnavailable as error:
            pytest.fail(f"after an interrupt before {interrupt.where}: {error}")
    assert at > 500  # lines that a write runs through
    other = threading.Thread(target=write, args=(ledger, "other thread"))
    other.start()
    other.join()
    found = written(ledger)
    assert all(found[f"after {n}"] == 1 for n in range(1, at, step))
    assert found["other thread"] == 1
    assert set(found.values()) == {1}


def test_threads_write_after_a_thread_that_died_in_its_write(sqlite_ledger: Ledger) -> None:
    ledger = Ledger(sqlite_ledger.engine, turn_s=0.5)
    kept: list[Any] = []

    def die() -> None:
        block = ledger.write()
        block.__enter__()
        kept.append(block)  # as an exception would that is delivered between the body and the commit

    thread = threading.Thread(target=die)
    thread.start()
    thread.join()
    kept.clear()  # nobody kept the traceback
    write(ledger, "other thread")
    assert written(ledger)["other thread"] == 1


def test_block_that_ends_late_takes_no_turn_from_the_next(sqlite_ledger: Ledger) -> None:
    stray = sqlite_ledger.write()
    sqlite_ledger.record_event(stray.__enter__(), "tried", "stray")
    order: list[str] = []

    def next_writer() -> None:
        write(sqlite_ledger, "other thread")
        order.append("other thread")

    with sqlite_ledger.write() as connection:
        sqlite_ledger.record_event(connection, "tried", "this thread")
        del stray  # its generator ends here, inside of the block that followed it
        other = threading.Thread(target=next_writer)
        other.start()
        order.append("this thread")
    other.join()
    assert order == ["this thread", "other thread"]
    assert written(sqlite_ledger) == Counter(["this thread", "other thread"])
