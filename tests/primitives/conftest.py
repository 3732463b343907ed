"""A client on a ledger of its own, and the count of what it bought."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from qflows.core.client import Client
from qflows.settings import Settings


@pytest.fixture
def new_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Client]]:
    """Makes clients that share a ledger."""
    monkeypatch.setenv("QFLOWS_HOME", str(tmp_path))
    made: list[Client] = []

    def new() -> Client:
        made.append(Client(Settings(settle_s=0.2, poll_min_s=0.001)))
        return made[-1]

    yield new
    for one in made:
        one.ledger.close()


@pytest.fixture
def core(new_client: Callable[[], Client]) -> Client:
    """A client on an empty ledger."""
    return new_client()


@pytest.fixture
def count_jobs(core: Client) -> Callable[[], int]:
    """How many jobs the ledger has."""

    def count() -> int:
        with core.ledger.read() as connection:
            return int(connection.execute(sa.text("select count(*) from jobs")).scalar_one())

    return count
