"""Opening a ledger: the schema it must have, and every way a database can be unusable, with nothing sent."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from qflows.core.submit import Submitter
from qflows.errors import LedgerUnavailable, LedgerVersionError
from qflows.ledger import Ledger, migrate, reads, tables
from qflows.ledger.engine import engine_for, version_of

from .conftest import MakeIntent
from .fake_vendor import FakeVendor

NOBODY = 65534


def test_newest_migration_is_the_version_the_code_asks_for() -> None:
    assert migrate.head() == tables.HEAD


def test_migrated_schema_is_the_schema_of_the_tables(ledger: Ledger) -> None:
    with ledger.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "version_table": "qflows_version"})
        assert compare_metadata(context, tables.metadata) == []
        found = {i["name"]: i for t in ("jobs", "sessions") for i in sa.inspect(connection).get_indexes(t)}
    assert {"ix_jobs_live", "uq_jobs_vendor_id", "ix_jobs_run_key"} <= found.keys()
    assert found["uq_jobs_vendor_id"]["unique"]
    assert any("where" in option for option in found["ix_jobs_live"]["dialect_options"])


def test_opening_again_changes_nothing(ledger: Ledger, ledger_url: str, open_ledger: Callable[[str], Ledger]) -> None:
    assert reads.listing(open_ledger(ledger_url)) == []
    assert migrate.upgrade(ledger.engine) == tables.HEAD


@pytest.mark.parametrize(("version", "remedy"), [("0000", "qflows ledger upgrade"), ("9999", "newer")])
def test_ledger_of_another_version_is_refused_with_what_to_do(
    ledger: Ledger, ledger_url: str, version: str, remedy: str
) -> None:
    with ledger.write() as connection:
        connection.execute(sa.text("update qflows_version set version_num = :v"), {"v": version})
    with pytest.raises(LedgerVersionError, match=remedy) as caught:
        Ledger.open(ledger_url)
    assert version in str(caught.value)


def test_empty_ledger_of_an_older_kind_is_upgraded(ledger_url: str, open_ledger: Callable[[str], Ledger]) -> None:
    engine = sa.create_engine(ledger_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("create table qflows_version (version_num varchar(32) not null)")
    engine.dispose()
    assert reads.listing(open_ledger(ledger_url)) == []


def fork(work: Callable[[], str]) -> Callable[[], str]:
    """Starts `work` in a process of its own, which may spoil its limits and rights; call the answer to wait for it.

    That gives what `work` returned or the error it raised, or nothing when it was killed.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            said = work()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)

    def finish() -> str:
        with os.fdopen(reader) as pipe:
            said = pipe.read()
        os.waitpid(pid, 0)
        return said

    return finish


def test_eight_processes_racing_to_open_an_empty_database_all_get_a_ledger(ledger_url: str) -> None:
    start = time.monotonic() + 0.2

    def open_together() -> str:
        while time.monotonic() < start:
            pass
        Ledger.open(ledger_url).close()
        return "opened"

    for finish in [fork(open_together) for _ in range(8)]:
        assert finish() == "opened"


def test_new_file_that_another_process_is_writing_to_is_waited_for(
    sqlite_url: str, tmp_path: Path, open_ledger: Callable[[str], Ledger]
) -> None:
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    other.execute("begin immediate")
    with ThreadPoolExecutor() as pool:
        opened = pool.submit(open_ledger, sqlite_url)
        with pytest.raises(TimeoutError):
            opened.result(0.2)
        other.execute("rollback")
        assert reads.listing(opened.result(30)) == []
    other.close()


def test_new_file_that_stays_locked_is_an_error_that_says_so(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    other.execute("begin immediate")
    engine = engine_for(f"sqlite:///{tmp_path / 'ledger.db'}", busy_s=0.05)
    with pytest.raises(LedgerUnavailable, match="stays locked by another process"):
        version_of(engine)
    engine.dispose()
    other.close()


@pytest.mark.parametrize("statement", [1, 4, 9, 15])
def test_process_killed_in_the_middle_of_the_first_open_leaves_nothing_that_hinders_the_next(
    ledger_url: str, statement: int, open_ledger: Callable[[str], Ledger]
) -> None:
    def work() -> str:
        left = [statement]

        @sa.event.listens_for(sa.Engine, "before_cursor_execute")
        def count(connection: object, cursor: object, text: str, *rest: object) -> None:
            left[0] -= text.lstrip().lower().startswith("create")
            if left[0] <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

        Ledger.open(ledger_url)
        return "was not killed"

    assert fork(work)() == ""
    assert reads.listing(open_ledger(ledger_url)) == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://h/x", "mysql cannot hold a ledger"),
        ("not a url", "cannot be parsed"),
        ("sqlite://", "must outlive the process"),
        ("sqlite:///:memory:", "must outlive the process"),
        ("postgresql://nobody@127.0.0.1:9/x", "cannot be reached"),
        ("sqlite:////proc/nowhere/ledger.db", "folder cannot be created"),
    ],
)
def test_address_that_cannot_be_opened_is_refused_with_a_reason(url: str, words: str) -> None:
    with pytest.raises(LedgerUnavailable, match=words):
        Ledger.open(url)


def test_password_is_not_in_the_error() -> None:
    with pytest.raises(LedgerUnavailable) as caught:
        Ledger.open("postgresql://nobody:canary-secret@127.0.0.1:9/x")
    assert "canary-secret" not in str(caught.value)


def test_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"these are my holiday photos" * 1000)
    before = path.read_bytes()
    with pytest.raises(LedgerUnavailable, match="not a SQLite database"):
        Ledger.open(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_damaged_ledger_is_refused_with_a_remedy_and_nothing_is_sent(
    sqlite_url: str, open_ledger: Callable[[str], Ledger], make_intent: MakeIntent
) -> None:
    vendor = FakeVendor()
    Submitter(open_ledger(sqlite_url)).submit(vendor, [make_intent(str(n)) for n in range(50)])
    first = open_ledger(sqlite_url)
    with first.engine.connect() as connection:
        connection.exec_driver_sql("pragma wal_checkpoint(truncate)")
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    healthy = path.read_bytes()
    path.write_bytes(healthy[:4096] + b"\xa5" * (len(healthy) - 4096))
    posts = vendor.posts
    with pytest.raises(LedgerUnavailable, match="damaged"):
        Submitter(open_ledger(sqlite_url)).submit(vendor, [make_intent("new")])
    assert vendor.posts == posts


def test_locked_ledger_is_waited_for_and_then_refused_and_nothing_is_sent(
    sqlite_url: str, make_intent: MakeIntent, open_ledger: Callable[[str], Ledger]
) -> None:
    other, vendor = open_ledger(sqlite_url), FakeVendor()
    impatient = Ledger.open(sqlite_url, busy_s=0.1)
    try:
        with other.write(), pytest.raises(LedgerUnavailable, match=r"locked.*Nothing was sent"):
            Submitter(impatient).submit(vendor, [make_intent()])
        assert vendor.posts == 0
        Submitter(impatient).submit(vendor, [make_intent()])
        assert vendor.posts == 1
    finally:
        impatient.close()


def submit_elsewhere(url: str, make_intent: MakeIntent, spoil: Callable[[], None]) -> str:
    """What a submit says in a process that was spoiled, and how many requests it sent."""

    def work() -> str:
        spoil()
        vendor = FakeVendor()
        try:
            Submitter(Ledger.open(url)).submit(vendor, [make_intent(str(n), state=n % 8) for n in range(200)])
        except LedgerUnavailable as error:
            return f"{vendor.posts} sent: {error}"
        return f"{vendor.posts} sent"

    return fork(work)()


def test_full_disk_is_refused_with_a_remedy_and_nothing_is_sent(
    sqlite_url: str, make_intent: MakeIntent, open_ledger: Callable[[str], Ledger]
) -> None:
    open_ledger(sqlite_url).close()

    def fill() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (32_768, 32_768))  # a few pages of the log, then nothing

    said = submit_elsewhere(sqlite_url, make_intent, fill)
    assert said.startswith("0 sent: ")
    assert "disk" in said
    assert "run again" in said
    assert reads.listing(open_ledger(sqlite_url)) == []


def test_read_only_ledger_is_refused_with_a_remedy_and_nothing_is_sent(
    sqlite_url: str, make_intent: MakeIntent, open_ledger: Callable[[str], Ledger]
) -> None:
    open_ledger(sqlite_url).close()
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    _make_read_only(path)
    said = submit_elsewhere(sqlite_url, make_intent, _become_nobody)
    assert said.startswith("0 sent: ")
    assert "read-only" in said or "cannot be opened" in said


def test_folder_that_may_not_be_written_is_refused_with_a_remedy(tmp_path: Path, make_intent: MakeIntent) -> None:
    path = tmp_path / "ledger.db"
    _make_read_only(path)
    said = submit_elsewhere(f"sqlite:///{path}", make_intent, _become_nobody)
    assert said.startswith("0 sent: ")
    assert "cannot be opened" in said


def _make_read_only(path: Path) -> None:
    """Everybody may come to `path` and read it, nobody may write there. Root could, which is why it is given up."""
    temporary = Path(tempfile.gettempdir())
    for folder in [path.parent, *path.parent.parents]:
        if folder.stat().st_uid == os.getuid() and temporary in folder.parents:
            folder.chmod(0o555 if folder == path.parent else folder.stat().st_mode | 0o055)
    for file in path.parent.glob(path.name + "*"):
        file.chmod(0o444)


def _become_nobody() -> None:
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def test_threads_of_a_process_write_to_sqlite_by_turns(sqlite_url: str) -> None:
    """None of them meets SQLite's own lock, which makes the loser sleep: here it would fail at once."""
    ledger = Ledger.open(sqlite_url, busy_s=0.0)

    def write(n: int) -> None:
        for i in range(10):
            with ledger.write() as connection:
                ledger.record_event(connection, "turn", f"{n}", i=i)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    with ledger.read() as connection:
        assert connection.execute(sa.text("select count(*) from events where kind = 'turn'")).scalar() == 80
    ledger.close()
