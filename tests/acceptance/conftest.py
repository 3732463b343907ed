"""Victims to kill, and a table of what became of them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa

from qflows.ledger import Ledger
from qflows.sandbox import Sandbox

from .forge import Forge, Victim

__all__ = ["SHOTS", "WIDTH", "Forge", "Station", "Victim", "right_counts"]

WIDTH, SHOTS = 6, 100


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
