"""Vendors' answers, stored once, unchanged and compressed, so that a paid answer is never lost.

One that the vendor gives only once is stored before it is decoded; any other together with what it decodes to, or by
itself if it cannot be decoded.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from qflows.errors import Unreadable
from qflows.ledger import archives
from qflows.ledger.claims import chunks
from qflows.ledger.store import Ledger, utc_now
from qflows.ledger.tables import raw_answers
from qflows.privacy.redaction import redact_bytes
from qflows.protocol import RawAnswer

log = logging.getLogger("qflows.ledger")

Row = dict[str, Any]

_CODEC = "zlib/1"  # a JSON line [[name, length], ...], then the documents one after the other, all compressed
_LEVEL = 6
MAX_BYTES = 64 * 1024 * 1024  # of the documents; a larger answer is decoded at once and not stored


def keep(ledger: Ledger, answers: Mapping[str, RawAnswer], *, versions: Mapping[str, Any]) -> None:
    """Store the answers of these jobs in one transaction; an existing one stays, unless it differs.

    An answer that differs from the stored one replaces it and leaves an event, because the vendor changed its answer.
    The disk is waited for only if the vendor will not give an answer again.
    """
    if packed := rows_of(answers, versions=versions):
        flush = any(answer.is_only_copy for answer in answers.values())
        ledger.transact(lambda connection: keep_in(ledger, connection, packed), flush=flush)


def rows_of(answers: Mapping[str, RawAnswer], *, versions: Mapping[str, Any]) -> list[Row]:
    """The answers of these jobs, packed for `keep_in`, in the order in which jobs are written."""
    rows = [_row(key, answer, versions) for key, answer in sorted(answers.items())]
    return [row for row in rows if row is not None]


def keep_in(ledger: Ledger, connection: sa.Connection, rows: Sequence[Row]) -> None:
    """`keep` in the caller's transaction."""
    for row in rows:
        if connection.execute(ledger.insert(_insert), row).scalar() is not None:
            continue
        kept = connection.execute(_BODY, {"at_key": row["job_key"]}).scalar()
        if kept != row["body"]:
            connection.execute(_REPLACE, {"at_key": row["job_key"], **{f"to_{n}": row[n] for n in _REPLACED}})
            ledger.record_event(connection, "answer-changed", row["job_key"], size=row["size"])


def of(ledger: Ledger, keys: Collection[str]) -> dict[str, RawAnswer]:
    """The stored answers of these jobs; jobs without one are absent. Raises Unreadable for a damaged one,
    ArchiveMissing."""
    found: dict[str, RawAnswer] = {}
    with ledger.read() as connection:
        for part in chunks(sorted(keys)):
            query = sa.select(raw_answers.c.job_key, raw_answers.c.codec, raw_answers.c.body)
            for key, codec, body in connection.execute(query.where(raw_answers.c.job_key.in_(part))):
                found[key] = unpack(codec, body)
    moved = archives.fetch(ledger, set(keys) - set(found))
    return found | {key: one.answer for key, one in moved.items() if one.answer is not None}


def pack(answer: RawAnswer) -> bytes:
    """The documents as one compressed byte string."""
    names = json.dumps([[name, len(body)] for name, body in answer.documents.items()], separators=(",", ":"))
    return zlib.compress(names.encode("utf-8") + b"\n" + b"".join(answer.documents.values()), _LEVEL)


def unpack(codec: str, packed: bytes) -> RawAnswer:
    """The inverse of `pack`. Raises Unreadable."""
    try:
        if codec != _CODEC:
            raise ValueError(f"unknown codec {codec!r}, written by a newer version of qflows")
        head, _, rest = zlib.decompress(packed).partition(b"\n")
        documents, start = {}, 0
        for name, length in json.loads(head):
            documents[name] = rest[start : start + length]
            start += length
        if start != len(rest):
            raise ValueError("lengths do not match")
    except (ValueError, TypeError, zlib.error) as error:
        raise Unreadable(f"a stored answer cannot be read: {error}") from error
    return RawAnswer(documents)


def _row(key: str, answer: RawAnswer, versions: Mapping[str, Any]) -> Row | None:
    size = sum(map(len, answer.documents.values()))
    if not answer.documents:
        return None
    if size > MAX_BYTES:
        log.warning("the answer of job %s has %d bytes, too many to store; it is decoded only", key[:12], size)
        return None
    clean = RawAnswer({name: redact_bytes(body) for name, body in answer.documents.items()})
    return {
        "job_key": key,
        "fetched_at": utc_now(),
        "codec": _CODEC,
        "size": size,
        "body": pack(clean),
        "versions": dict(versions),
    }


_REPLACED: Sequence[str] = ("fetched_at", "codec", "size", "body", "versions")
_AT_KEY = sa.bindparam("at_key", type_=sa.String(64))
_BODY = sa.select(raw_answers.c.body).where(raw_answers.c.job_key == _AT_KEY)
_REPLACE = (
    sa.update(raw_answers)
    .where(raw_answers.c.job_key == _AT_KEY)
    .values({name: sa.bindparam(f"to_{name}", type_=raw_answers.c[name].type) for name in _REPLACED})
)


def _insert(insert: Callable[[sa.Table], Any]) -> Any:
    row = {name: sa.bindparam(name, type_=raw_answers.c[name].type) for name in ("job_key", *_REPLACED)}
    return insert(raw_answers).values(row).on_conflict_do_nothing().returning(raw_answers.c.job_key)
