"""Victims to kill, and a table of what became of them."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from qflows.ledger import Ledger
from qflows.sandbox import Sandbox

WIDTH, SHOTS = 6, 100
TABLES: dict[str, list[str]] = {}


@dataclass
class Victim:
    """A process at work. `pidfd` is None when it had ended before anybody could look."""

    pid: int
    report: Path
    pidfd: int | None

    def ended(self, timeout_s: float) -> bool:
        """True once the process is gone, however it went."""
        if self.pidfd is None:
            return True
        ready, _, _ = select.select([self.pidfd], [], [], timeout_s)
        if ready:
            os.close(self.pidfd)
            self.pidfd = None
        return bool(ready)

    def kill(self) -> None:
        """SIGKILL from outside, and wait until it is gone."""
        if self.pidfd is not None:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            assert self.ended(10)

    def outcome(self) -> dict[str, Any] | None:
        """What it reported, or None when it was killed before."""
        return json.loads(self.report.read_text()) if self.report.exists() else None


class Forge:
    """Makes victims quickly: one process that has everything imported forks them."""

    def __init__(
        self, folder: Path, api: str, *, env: Mapping[str, str] | None = None, imports: Sequence[str] = ()
    ) -> None:
        self.api = api
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("victim.py")), *imports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(folder / "victims.log").open("wb"),
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "USAGE_DATA_OPT_OUT": "True"} | dict(env or {}),
            text=True,
        )
        self._say(None)

    def _say(self, order: dict[str, Any] | None) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if order is not None:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def start(self, *, kill: dict[str, Any] | None = None, **order: Any) -> Victim:
        """A new process for these jobs, with a lease and settle time that suit a test."""
        report = self._folder / f"{uuid.uuid4().hex}.json"
        base = {"api": self.api, "lease_s": 20.0, "settle_s": 0.15, "timeout_s": 60.0}
        pid = int(self._say(base | order | {"kill": kill, "report": str(report)}))
        try:
            return Victim(pid, report, os.pidfd_open(pid))
        except ProcessLookupError:
            return Victim(pid, report, None)

    def run(self, *, kill: dict[str, Any] | None = None, **order: Any) -> dict[str, Any] | None:
        """Start one and wait for its end; its report, or None when it was killed."""
        victim = self.start(kill=kill, **order)
        if not victim.ended(90):
            victim.kill()
            raise AssertionError(f"a process hangs; order {order}")
        return victim.outcome()

    def close(self) -> None:
        """No more orders."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@dataclass(frozen=True)
class Station:
    """A vendor and a maker of clients for it."""

    sandbox: Sandbox
    forge: Forge


@pytest.fixture(scope="session")
def stations(shared_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Station]]:
    """Two stations: faults are scripted per vendor process, so cells that run at once need one each."""
    with Sandbox(vendors=("ionq",)) as second:
        made = [
            Station(sandbox, Forge(tmp_path_factory.mktemp("victims"), sandbox.urls["ionq"] + "/v0.4"))
            for sandbox in (shared_sandbox, second)
        ]
        yield made
        for station in made:
            station.forge.close()


@pytest.fixture
def station(stations: list[Station]) -> Station:
    """One station, emptied."""
    stations[0].sandbox.admin.reset()
    return stations[0]


@pytest.fixture(scope="module")
def module_database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One ledger for all cells of a module: cells differ in their run key. The parameter names the database."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('matrix') / 'ledger.db'}"
        Ledger.open(url).close()
        yield url
        return
    server: sa.Engine = request.getfixturevalue("postgres_server")
    name = f"m_{uuid.uuid4().hex}"
    with server.connect() as connection:
        connection.exec_driver_sql(f"create database {name}")
    url = server.url.set(database=name).render_as_string(hide_password=False)
    Ledger.open(url).close()
    yield url
    with server.connect() as connection:
        connection.exec_driver_sql(f"drop database {name} with (force)")


def right_counts(state: int) -> list[dict[str, int]]:
    """What a job of basis state `state` must have in the ledger."""
    return [{format(state, f"0{WIDTH}b"): SHOTS}]


@pytest.fixture
def check_outcome() -> Any:
    """Asserts that a report has every job completed with its own right counts, each under its own vendor id."""

    def check(outcome: dict[str, Any] | None, jobs: list[tuple[int, int]]) -> None:
        assert outcome is not None, "the last process was killed"
        assert "jobs" in outcome, outcome.get("error")
        assert [job["status"] for job in outcome["jobs"]] == ["COMPLETED"] * len(jobs)
        assert [job["counts"] for job in outcome["jobs"]] == [right_counts(state) for _, state in jobs]
        assert len({job["vendor_id"] for job in outcome["jobs"]}) == len(jobs)

    return check


@pytest.fixture(scope="session")
def tables() -> dict[str, list[str]]:
    """Lines to print at the end of the run, by title."""
    return TABLES


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the tables."""
    for title, lines in TABLES.items():
        terminalreporter.section(title)
        for line in lines:
            terminalreporter.write_line(line)
