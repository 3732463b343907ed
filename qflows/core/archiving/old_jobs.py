"""Moving old jobs out of a ledger into archive files; `reading` reads them from there.

A file has the layout of an archive (see `write`), without what can be derived from it. It is durable and was read back
before anything leaves the ledger, so a kill at any moment loses nothing: at worst a file holds jobs that are still in
the ledger too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import sqlalchemy as sa

from qflows.core.archiving import container, records
from qflows.core.archiving.container import Container, Damaged
from qflows.core.archiving.reading import SCHEMA
from qflows.core.archiving.write import (
    MANIFEST,
    README,
    STUDY,
    manifest,
    package_versions,
    program_members,
    study,
)
from qflows.errors import ArchiveMissing, ProgramRejected
from qflows.ledger import archives, raws
from qflows.ledger import groups as ledger_groups
from qflows.ledger.archives import Candidate, Pointer
from qflows.ledger.claims import chunks
from qflows.ledger.store import Ledger
from qflows.ledger.tables import events, jobs, raw_answers, results, runs
from qflows.privacy.files import private_folder
from qflows.privacy.redaction import redact_bytes

_JOBS, _PROGRAMS, _ANSWERS = 5_000, 20_000, 64 * 1024 * 1024  # the most in one file: jobs, circuits, bytes of answers
README_TEXT = b"""Old jobs of a qflows ledger, moved here by `qflows ledger archive`.

records/    rows of the ledger, JSON lines: jobs, results, events, runs
answers/    what the vendors answered, byte for byte, by job key
programs/   canonical text of every program (its SHA-256 is the file name); plans/ turn counts into expectation values

In a counts key the rightmost character is classical bit 0; registers are separated by a space, the first rightmost.
The ledger keeps one row a job, with the name and the SHA-256 of this file: do not change or rename it.
Check it without network or account:  pip install qflows; qflows verify FILE
"""


@dataclass(frozen=True, slots=True)
class Moved:
    """One file that was written. `moved`: jobs that left the ledger for it."""

    path: Path
    size: int
    digest: str
    moved: int


@dataclass
class Done:
    """What an archiving pass did, or with `dry_run` would do. `held`: jobs that stay, by reason."""

    jobs: int = 0
    size: int = 0
    files: list[Moved] = field(default_factory=list)
    held: dict[str, int] = field(default_factory=dict)


def archive_old(
    ledger: Ledger,
    before: datetime,
    folder: Path,
    *,
    dry_run: bool = False,
    on_file: Callable[[Done], None] = lambda done: None,
) -> Done:
    """Move jobs that ended before a moment, and that nothing open refers to, into files in a folder.

    Raises ProgramRejected if the folder cannot be made.
    """
    folder = folder.expanduser().absolute()
    done = Done()
    if not dry_run:
        try:
            private_folder(folder)
        except OSError as error:
            raise ProgramRejected(f"the folder {folder} cannot be made: {error.strerror}; choose another") from error
        ledger_groups.refresh(ledger)  # groups whose jobs all ended are over
    for part in _parts(ledger, before, done):
        if dry_run:
            done.jobs += len(part)
        else:
            made = _archive(ledger, part, folder)
            done.files.append(made)
            done.jobs += made.moved
            done.size += made.size
        on_file(done)
    return done


def _parts(ledger: Ledger, before: datetime, done: Done) -> Iterator[list[Candidate]]:
    """Jobs that may leave, in portions that fit one file."""
    last: Candidate | None = None
    kept: list[Candidate] = []
    circuits = size = 0
    while found := archives.candidates(ledger, before, after=last, limit=_JOBS):
        last = found[-1]
        held = archives.held_back(ledger, [one.key for one in found])
        for why in held.values():
            done.held[why] = done.held.get(why, 0) + 1
        for one in found:
            if one.key in held:
                continue
            is_full = len(kept) == _JOBS or circuits + one.n_programs > _PROGRAMS or size + one.size > _ANSWERS
            if kept and is_full:
                yield kept
                kept, circuits, size = [], 0, 0
            kept.append(one)
            circuits, size = circuits + one.n_programs, size + one.size
    if kept:
        yield kept


def _archive(ledger: Ledger, part: Sequence[Candidate], folder: Path) -> Moved:
    keys = sorted(one.key for one in part)
    members, answers, newest_event = _members(ledger, keys)
    body = container.write(members)
    # the name follows from the jobs: a pass that was killed before it moved them writes the same file again
    name = f"jobs-{part[0].finished_at:%Y%m%d}-{sha256(' '.join(keys).encode()).hexdigest()[:16]}.zip"
    digest = sha256(body).hexdigest()
    _write_durably(folder / name, body, members)
    pointer = Pointer(name, digest, str(folder))
    moved = archives.move(ledger, part, pointer, answers=answers, newest_event=newest_event)
    return Moved(folder / name, len(body), digest, moved)


def _members(ledger: Ledger, keys: Sequence[str]) -> tuple[dict[str, bytes], dict[str, datetime], int]:
    """The members of a file, when each answer was fetched, and the id of the newest event."""
    members: dict[str, bytes] = {README: README_TEXT}
    found: dict[str, list[records.Row]] = {kind: [] for kind in records.TABLES}
    fetched: dict[str, datetime] = {}
    about: list[records.Row] = []
    with ledger.read() as connection:
        for chunk in chunks(keys):
            query = sa.select(*records.columns("jobs")).where(jobs.c.key.in_(chunk)).order_by(jobs.c.key)
            found["jobs"] += [records.plain(row) for row in connection.execute(query).mappings()]
        for chunk in chunks(sorted({row["run_key"] for row in found["jobs"]})):
            query = sa.select(*records.columns("runs")).where(runs.c.run_key.in_(chunk)).order_by(runs.c.run_key)
            found["runs"] += [records.plain(row) for row in connection.execute(query).mappings()]
        for kind, table in (("results", results), ("events", events)):
            rows = archives.rows_of(connection, table, keys, *records.columns(kind))
            found[kind] = [records.plain(row._mapping) for row in rows]
        last = archives.rows_of(connection, events, keys, events.c.id)
        for row in archives.rows_of(connection, raw_answers, keys, raw_answers):
            fetched[row.job_key] = row.fetched_at
            documents = raws.unpack(row.codec, row.body).documents
            about.append(records.answer_row(row, documents))
            members |= {records.answer_member(row.job_key, name): text for name, text in documents.items()}
    members |= program_members(ledger, found["jobs"], qasm=False)
    for kind in records.TABLES:
        members[f"records/{kind}.jsonl"] = redact_bytes(records.lines(found[kind]))
    members["records/answers.jsonl"] = records.lines(about)
    told = study(
        found, members, selection={"jobs": len(keys)}, name="old jobs of a qflows ledger", author="", license="",
        versions=package_versions(),
    )  # fmt: skip
    members[STUDY] = records.as_json(told | {"schema": SCHEMA})
    members[MANIFEST] = manifest(members)
    return members, fetched, max((row.id for row in last), default=0)


def _write_durably(path: Path, body: bytes, members: Mapping[str, bytes]) -> None:
    """Write a file, wait for the disk, and compare what it has then with what it should have."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        with Container(partial) as written:
            for name, text in members.items():
                if written.read(name) != text:
                    raise Damaged(name, "it reads differently from what was written")
        partial.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except (OSError, Damaged) as error:
        raise ArchiveMissing(f"the archive {path} could not be written: {error}; nothing left the ledger") from error
    finally:
        partial.unlink(missing_ok=True)
