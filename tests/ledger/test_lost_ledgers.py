"""A ledger that is deleted, replaced, dropped or out of reach in mid-run: nothing is bought twice, and it is said."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from qflows.core.client import Client
from qflows.core.scope import Scope
from qflows.errors import LedgerUnavailable
from qflows.ledger import Ledger
from qflows.model import Job
from qflows.sandbox import Sandbox
from qflows.settings import Settings

BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'
Connect = Callable[[str], Client]


@pytest.fixture
def connect(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Connect:
    for name, value in sandbox.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("QFLOWS_HOME", str(tmp_path))
    return lambda url: Client(Settings(ledger_url=url, settle_s=0.1, poll_min_s=0.01))


def buy(core: Client, label: str = "", attempt: str = "a") -> Job:
    specs = core.specs(BELL, device="ionq-simulator", shots=20, label=label)
    return core.submit(specs, device="ionq-simulator", scope=Scope("run", attempt, f"caller {attempt}"))[0]


def test_a_sqlite_ledger_deleted_in_mid_run_stops_the_run_and_the_next_one(
    sandbox: Sandbox, connect: Connect, tmp_path: Path
) -> None:
    sandbox.admin.clock("frozen")
    core = connect(f"sqlite:///{tmp_path / 'ledger.db'}")
    job = buy(core)
    for path in tmp_path.glob("ledger.db*"):
        path.unlink()
    acts = [lambda: buy(core), lambda: buy(core, "more"), lambda: core.wait([job.key], timeout=5)]
    for act in [*acts, lambda: core.find(job.key), lambda: core.reconciler().tick()]:
        with pytest.raises(LedgerUnavailable, match=r"deleted or replaced.*qflows ledger rebuild"):
            act()
    assert not (tmp_path / "ledger.db").exists()  # nor is another one begun in passing
    assert sandbox.admin.count_jobs("ionq") == 1

    with pytest.raises(LedgerUnavailable, match=r"is missing, although there was one.*qflows ledger upgrade"):
        buy(connect(f"sqlite:///{tmp_path / 'ledger.db'}"), attempt="b")
    assert sandbox.admin.count_jobs("ionq") == 1

    # what it says to do: an empty one, the jobs from the vendor; then the run adopts
    for command in (["ledger", "upgrade"], ["ledger", "rebuild", "ionq"]):
        done = subprocess.run(
            [sys.executable, "-m", "qflows.cli", *command], env=os.environ, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
    sandbox.admin.clock("instant")
    sandbox.admin.release()
    again = connect(f"sqlite:///{tmp_path / 'ledger.db'}")
    assert buy(again, attempt="c").key == job.key
    assert sandbox.admin.count_jobs("ionq") == 1
    again.wait([job.key], timeout=20)


def test_a_ledger_put_back_from_a_backup_in_mid_run_is_not_written_beside(connect: Connect, tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    core = connect(f"sqlite:///{path}")
    buy(core)
    with sqlite3.connect(path) as raw, sqlite3.connect(tmp_path / "backup") as copy:
        raw.backup(copy)
    (tmp_path / "backup").replace(path)
    with pytest.raises(LedgerUnavailable, match="deleted or replaced"):
        buy(core, "more")
    path.with_name("ledger.db-wal").unlink(missing_ok=True)
    path.with_name("ledger.db-shm").unlink(missing_ok=True)
    assert buy(connect(f"sqlite:///{path}"), attempt="b").vendor_id  # the note does not refuse a ledger that is there


@pytest.mark.parametrize("how", ["dropped", "dropped and made again", "cut off"])
def test_a_postgresql_ledger_lost_in_mid_run_stops_the_run(
    sandbox: Sandbox, connect: Connect, postgres_server: sa.Engine, postgres_url: str, how: str
) -> None:
    core = connect(postgres_url)
    buy(core)
    name = sa.make_url(postgres_url).database
    with postgres_server.connect() as connection:
        if how == "cut off":
            connection.exec_driver_sql(f"alter database {name} with allow_connections false")
            connection.exec_driver_sql(
                f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"
            )
        else:
            connection.exec_driver_sql(f"drop database {name} with (force)")
            connection.exec_driver_sql(f"create database {name}")
            if how == "dropped":
                connection.exec_driver_sql(f"alter database {name} rename to {name}_x")
    told = {"dropped": "is gone", "dropped and made again": "is gone", "cut off": "cannot be reached"}[how]
    try:
        for label in ("", "more"):
            with pytest.raises(LedgerUnavailable, match=told):
                buy(core, label)
        assert sandbox.admin.count_jobs("ionq") == 1
    finally:
        with postgres_server.connect() as connection:
            if how == "dropped":
                connection.exec_driver_sql(f"alter database {name}_x rename to {name}")
            if how == "cut off":
                connection.exec_driver_sql(f"alter database {name} with allow_connections true")
    if how == "cut off":  # it is the same one: the run goes on
        assert buy(core, attempt="b").vendor_id
        assert sandbox.admin.count_jobs("ionq") == 1


def test_an_answer_that_cannot_be_recorded_any_more_names_the_job(
    sandbox: Sandbox, connect: Connect, tmp_path: Path
) -> None:
    """The file goes while the vendor has the request: the purchase is told with its id."""
    core = connect(f"sqlite:///{tmp_path / 'ledger.db'}")
    buy(core, "first")

    class Gone:
        def __init__(self) -> None:
            self.inner = core.provider("ionq")

        def __getattr__(self, name: str) -> object:
            return getattr(self.inner, name)

        def send(self, prepared: object) -> object:
            answer = self.inner.send(prepared)  # pyright: ignore[reportArgumentType]
            (tmp_path / "ledger.db").unlink()
            return answer

    specs = core.specs(BELL, device="ionq-simulator", shots=20, label="second")
    intents = core.intents(specs, device="ionq-simulator", scope=Scope("run", "a", "caller"))
    with pytest.raises(
        LedgerUnavailable, match=r"ionq took job \w{12} as .*could not be recorded.*found there by its key"
    ):
        core.submitter.submit(Gone(), intents)  # pyright: ignore[reportArgumentType]


def test_racing_processes_begin_one_ledger(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    script = f"from qflows.ledger import Ledger; Ledger.open({url!r}).close()"
    racing = [subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE) for _ in range(4)]
    assert [(one.wait(60), one.communicate()[1]) for one in racing] == [(0, b"")] * 4
    Ledger.open(url).close()
    assert (tmp_path / ".ledger.db.made").stat().st_mode & 0o077 == 0
