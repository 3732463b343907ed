"""Schema upgrades by Alembic, under a lock so that racing processes upgrade once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from qflows.ledger.engine import faults_as_sentences

_LOCK = 0x71666C6F7773  # "qflows", for pg_advisory_lock


def _config(connection: sa.Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def head() -> str:
    """The newest revision on disk."""
    found = ScriptDirectory.from_config(_config()).get_current_head()
    assert found is not None
    return found


def revisions() -> frozenset[str]:
    """All revisions on disk."""
    return frozenset(one.revision for one in ScriptDirectory.from_config(_config()).walk_revisions())


@contextmanager
def _exclusive(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.connect() as connection:
        locked = connection.execution_options(ledger_write=True)  # SQLite: the write lock is the mutex
        with locked.begin():
            if engine.dialect.name == "postgresql":
                locked.execute(sa.text("select pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            yield locked


def upgrade(engine: sa.Engine) -> str:
    """Upgrade the ledger to the newest version and return that version; do nothing if it is already there."""
    with faults_as_sentences(engine), _exclusive(engine) as connection:
        command.upgrade(_config(connection), "head")
    return head()
