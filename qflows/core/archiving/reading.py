"""Reading jobs that `qflows ledger archive` moved out of a ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from qflows.core.archiving import container, records
from qflows.core.archiving.container import Container, Damaged
from qflows.errors import ArchiveMissing, ProgramRejected
from qflows.ledger import archives
from qflows.ledger.archives import ArchivedJob, Pointer
from qflows.ledger.store import Ledger

SCHEMA = "qflows.old-jobs/1"


@dataclass(frozen=True)
class ArchiveReader:
    """Reads archived jobs: from `folder`, else from where they were written."""

    folder: Path

    def __call__(self, wanted: Mapping[str, Pointer]) -> dict[str, ArchivedJob]:
        """The archived part of these jobs. Raises ArchiveMissing naming the file."""
        return {key: self._job(key, pointer) for key, pointer in wanted.items()}

    def _job(self, key: str, pointer: Pointer) -> ArchivedJob:
        path = self._path(key, pointer)
        try:
            whole = _opened(path, path.stat().st_mtime_ns, pointer.digest)
            row = next(_lines_of(whole["records/jobs.jsonl"], "key", key))
        except (Damaged, ProgramRejected, OSError, StopIteration, KeyError, ValueError) as error:
            raise ArchiveMissing(
                f"job {key[:12]} is archived in {path}, which cannot be read: {error}; put back a copy with the "
                f"SHA-256 {pointer.digest}"
            ) from error
        history = [
            {"at": datetime.fromisoformat(one["at"]), "kind": one["kind"], "detail": one["detail"]}
            for one in _lines_of(whole["records/events.jsonl"], "subject", key)
        ]
        items = [one["body"] for one in _lines_of(whole["records/results.jsonl"], "job_key", key)]
        told = next(_lines_of(whole["records/answers.jsonl"], "job_key", key), None)
        answer = records.answer_of(told, whole.__getitem__) if told else None
        return ArchivedJob(row["provenance"], row["submission"], items, history, answer, told)

    def _path(self, key: str, pointer: Pointer) -> Path:
        places = dict.fromkeys((self.folder / pointer.file, Path(pointer.folder) / pointer.file))
        for place in places:
            if place.is_file():
                return place
        raise ArchiveMissing(
            f"job {key[:12]} is archived in {pointer.file} (SHA-256 {pointer.digest[:12]}), which is in none of: "
            f"{', '.join(str(place.parent) for place in places)}; put it there, or set QFLOWS_ARCHIVE to its folder"
        )


@lru_cache(maxsize=4)
def _opened(path: Path, _changed: int, digest: str) -> dict[str, bytes]:
    """All members of a file whose digest is right."""
    found = container.file_digest(path)
    if found != digest:
        raise Damaged("", f"its SHA-256 is {found}")
    with Container(path) as opened:
        return {name: opened.read(name) for name in opened}


def _lines_of(text: bytes, name: str, value: str) -> Iterator[dict[str, Any]]:
    """The JSON lines whose member `name` is `value`, without parsing the others."""
    mark = f'"{name}":"{value}"'.encode("ascii")
    start = text.find(mark)
    while start >= 0:
        begin, end = text.rfind(b"\n", 0, start) + 1, text.find(b"\n", start)
        row = json.loads(text[begin:end])
        if row.get(name) == value:  # and not of something inside the line
            yield row
        start = text.find(mark, end)


def with_archived(ledger: Ledger, found: dict[str, list[records.Row]]) -> tuple[dict[str, bytes], list[records.Row]]:
    """Put back into gathered rows what left the ledger with archived jobs; returns their answers as members, and what
    is recorded of these."""
    moved = archives.fetch(ledger, [row["key"] for row in found["jobs"]])
    for row in found["jobs"]:
        if (one := moved.get(row["key"])) is not None:
            row |= {"provenance": one.provenance, "submission": one.submission}
    for key in sorted(moved):
        found["results"] += [{"job_key": key, "idx": n, "body": body} for n, body in enumerate(moved[key].items)]
        found["events"] += [
            {"subject": key, "at": event["at"].isoformat(), "kind": event["kind"], "detail": event["detail"]}
            for event in moved[key].history
        ]
    found["results"].sort(key=lambda row: (row["job_key"], row["idx"]))
    members = {
        records.answer_member(key, name): text
        for key, one in moved.items()
        for name, text in (one.answer.documents if one.answer else {}).items()
    }
    return members, [dict(one.about) for one in moved.values() if one.about]
