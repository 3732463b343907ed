"""The home and the ledger are for one user alone, from the start and where an older version left them wider."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from qflows.ledger import Ledger
from qflows.privacy.files import private_folder, private_text
from qflows.settings import Settings


def _mode(path: Path) -> str:
    return oct(stat.S_IMODE(path.stat().st_mode))


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct, autouse=True)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever the user's umask is."""
    before = os.umask(request.param)
    yield
    os.umask(before)


def test_new_ledger_and_its_side_files_are_private(tmp_path: Path) -> None:
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'new' / 'ledger.db'}")
    with ledger.write() as connection:
        ledger.record_event(connection, "said", "x")
        found = {path.name: _mode(path) for path in (tmp_path / "new").iterdir()}
    ledger.close()
    assert found == dict.fromkeys(("ledger.db", "ledger.db-wal", "ledger.db-shm", ".ledger.db.made"), "0o600")
    assert _mode(tmp_path / "new") == "0o700"


def test_ledger_of_an_older_version_is_closed_with_its_side_files(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    first = Ledger.open(url)
    with first.write() as connection:
        first.record_event(connection, "said", "x")
    files = list(tmp_path.glob("ledger.db*"))
    for path in files:
        path.chmod(0o644)
    second = Ledger.open(url)
    assert {_mode(path) for path in files} == {"0o600"}
    assert len(files) == 3
    second.close()
    first.close()


def test_ledger_that_a_group_may_write_stays_the_group_s(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.touch()
    path.chmod(0o666)
    Ledger.open(f"sqlite:///{path}").close()
    assert _mode(path) == "0o660"


def test_home_is_made_private_or_closed(tmp_path: Path) -> None:
    assert _mode(Settings(home=tmp_path / "a" / "home").make_home()) == "0o700"
    (tmp_path / "old").mkdir()
    (tmp_path / "old").chmod(0o755)
    assert _mode(Settings(home=tmp_path / "old").make_home()) == "0o700"
    (tmp_path / "link").symlink_to("old")
    (tmp_path / "old").chmod(0o755)
    private_folder(tmp_path / "link")
    assert _mode(tmp_path / "old") == "0o755"


def test_text_replaces_a_wider_file_and_follows_no_link(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "up.env"
    victim.write_text("mine")
    (tmp_path / "up.env.part").symlink_to(victim)
    path.write_text("old")
    path.chmod(0o666)
    private_text(path, "new")
    assert (path.read_text(), _mode(path), victim.read_text()) == ("new", "0o600", "mine")
