"""Copies of a ledger in use, and ledgers that are not whole."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from qflows.errors import ProgramRejected
from qflows.ledger import Ledger, intents, raws, reads
from qflows.ledger.backup import backup
from qflows.ledger.verify import verify
from qflows.protocol import RawAnswer
from qflows.states import JobStatus

from .conftest import MakeIntent, drive


@pytest.fixture
def filled(ledger: Ledger, make_intent: MakeIntent) -> Ledger:
    """Five jobs: completed with a kept answer, queued, in doubt, and two that were not sent."""
    made = intents.prepare(ledger, [make_intent(str(n)) for n in range(5)])
    for job, status in zip(made, [JobStatus.COMPLETED, JobStatus.QUEUED, JobStatus.IN_DOUBT], strict=False):
        drive(ledger, job.key, status)
    raws.keep(ledger, {made[0].key: RawAnswer({"result": b'{"00": 5}'})}, versions={})
    return ledger


def test_copy_is_a_whole_ledger_with_every_row(
    filled: Ledger, tmp_path: Path, open_ledger: Callable[[str], Ledger]
) -> None:
    made = backup(filled.engine, tmp_path / "copy.db")
    assert [path.name for path in tmp_path.iterdir() if "copy" in path.name] == ["copy.db"]
    copy = open_ledger(f"sqlite:///{made.path}")
    done = verify(copy.engine)
    assert (done.findings, done.checked["jobs"], done.checked["raw answers"]) == ([], 5, 1)
    for job in reads.listing(filled):
        assert reads.job(copy, job.key) == job
        assert reads.items(copy, job.key) == reads.items(filled, job.key)
    assert made.rows["jobs"] == 5


def test_ledger_that_is_written_to_is_copied_as_of_one_moment(
    filled: Ledger, tmp_path: Path, make_intent: MakeIntent, open_ledger: Callable[[str], Ledger]
) -> None:
    over = threading.Event()
    written = []

    def write() -> None:
        while not over.is_set():
            [job] = intents.prepare(filled, [make_intent(f"more{len(written)}")])
            written.append(job.key)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        copies = [backup(filled.engine, tmp_path / f"copy{n}.db") for n in range(3)]
    finally:
        over.set()
        writer.join()
    assert written
    for made in copies:
        assert verify(open_ledger(f"sqlite:///{made.path}").engine).findings == []


def test_taken_name_is_refused_and_kept(filled: Ledger, tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_text("mine")
    with pytest.raises(ProgramRejected, match="exists"):
        backup(filled.engine, tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "mine"


@pytest.mark.parametrize(
    ("damage", "check"),
    [
        ("update programs set text = replace(text, 'h', 'x')", "programs"),
        ("update jobs set shots = 7", "jobs"),
        ("update jobs set run_key = 'other'", "jobs"),
        ("update jobs set epoch = 3", "jobs"),
        ("update jobs set vendor_id = null where status = 'QUEUED'", "jobs"),
        ("delete from results", "results"),
        ("update results set job_key = 'nobody'", "results"),
        ("update raw_answers set job_key = 'nobody'", "raw answers"),
        ("insert into group_members (group_id, job_key, position) values ('g', 'nobody', 0)", "groups"),
        ("update qflows_version set version_num = '0003'", "schema"),
    ],
)
def test_damage_is_found(filled: Ledger, damage: str, check: str) -> None:
    assert verify(filled.engine).is_whole
    with filled.engine.begin() as connection:
        connection.execute(sa.text(damage))
    assert check in {one.check for one in verify(filled.engine).findings}


def test_flipped_bit_in_a_kept_answer_is_found(filled: Ledger, tmp_path: Path) -> None:
    made = backup(filled.engine, tmp_path / "copy.db")
    with sqlite3.connect(made.path) as connection:
        [(body,)] = connection.execute("select body from raw_answers")
        for place in range(len(body)):
            flipped = bytes([*body[:place], body[place] ^ 1, *body[place + 1 :]])
            connection.execute("update raw_answers set body = ?", (flipped,))
            connection.commit()
            engine = sa.create_engine(f"sqlite:///{made.path}")
            assert {one.check for one in verify(engine).findings} == {"raw answers"}, place
            engine.dispose()


def test_torn_file_is_found(filled: Ledger, tmp_path: Path) -> None:
    made = backup(filled.engine, tmp_path / "copy.db")
    content = bytearray(made.path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4096] = b"\xff" * 4096
    made.path.write_bytes(content)
    engine = sa.create_engine(f"sqlite:///{made.path}")
    assert not verify(engine).is_whole
    engine.dispose()
