"""The ledger rows that belong to a study, as JSON lines, and their import into an empty ledger.

Columns that say who is working on a row now (leases, owners, polls) are left out: they are not evidence.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from qflows.ledger.claims import chunks
from qflows.ledger.money_tables import charges, quotes
from qflows.ledger.store import Ledger
from qflows.ledger.tables import (
    UtcDateTime,
    batch_parts,
    batches,
    calibrations,
    events,
    group_members,
    groups,
    jobs,
    measurements,
    points,
    results,
    runs,
    sessions,
)
from qflows.protocol import RawAnswer

Row = dict[str, Any]

TABLES: Mapping[str, sa.Table] = {
    table.name: table
    for table in (
        runs,
        jobs,
        results,
        batches,
        batch_parts,
        groups,
        group_members,
        sessions,
        events,
        quotes,
        charges,
        measurements,
        calibrations,
        points,
    )
}
# columns that are left out, and their values in a ledger that the rows are read back into
_LEFT_OUT: Mapping[str, Mapping[str, Any]] = {
    "runs": {"last_seen": None},
    "jobs": dict.fromkeys(
        (
            *("earlier_attempt", "claim_owner", "lease_until", "doubt_since", "look_after", "send_after", "unsent"),
            *("missing_since", "bad_reads", "cancel_sent_at", "expected_start_at", "expected_end_at"),
        )
    )
    | {"attempt": "", "looks": 0, "fence": 0},
    "groups": dict.fromkeys(("caller", "owner", "callback_owner")),
    "sessions": dict.fromkeys(("owner", "lease_until", "doubt_since")) | {"fence": 0},
    "events": {"id": None},
}


# columns that archives of older versions do not have
_LATER: Mapping[str, Collection[str]] = {"jobs": ("steps",)}


def columns(name: str, rows: Sequence[Row] | None = None) -> list[sa.Column[Any]]:
    """The columns of a kind of record; with `rows`, those that an archive with these rows has."""
    found = [column for column in TABLES[name].columns if column.name not in _LEFT_OUT.get(name, {})]
    if not rows:
        return found
    absent = {later for later in _LATER.get(name, ()) if not any(later in row for row in rows)}
    return [column for column in found if column.name not in absent]


def gather(ledger: Ledger, keys: Sequence[str]) -> dict[str, list[Row]]:
    """Rows by table for these jobs: runs, results, history, money, and batches and groups with no other jobs."""
    found: dict[str, list[Row]] = {}
    with ledger.read() as connection:

        def take(name: str, column: sa.Column[Any], values: Collection[Any], *tests: Any) -> list[Row]:
            table, rows = TABLES[name], []
            order = [events.c.id] if name == "events" else list(table.primary_key.columns)
            for part in chunks(sorted(set(values))):
                query = sa.select(*columns(name)).where(column.in_(part), *tests).order_by(*order)
                rows += [plain(row) for row in connection.execute(query).mappings()]
            found[name] = rows
            return rows

        own = take("jobs", jobs.c.key, keys)
        run_keys = {row["run_key"] for row in own}
        take("runs", runs.c.run_key, run_keys)
        take("results", results.c.job_key, keys)
        held = {(row["provider"], row["session_id"]) for row in own if row["session_id"]}
        taken = take("sessions", sessions.c.vendor_id, {vendor_id for _, vendor_id in held})
        found["sessions"] = taken = [row for row in taken if (row["provider"], row["vendor_id"]) in held]
        subjects = [*keys, *(row["key"] for row in taken)]
        for kind, members, owner in (
            ("batches", "batch_parts", batch_parts.c.batch_id),
            ("groups", "group_members", group_members.c.group_id),
        ):
            touched = {row[owner.name] for row in take(members, TABLES[members].c.job_key, keys)}
            present = set(keys)
            all_members = take(members, owner, touched)
            whole = touched - {row[owner.name] for row in all_members if row["job_key"] not in present}
            found[members] = [row for row in all_members if row[owner.name] in whole]
            take(kind, TABLES[kind].c.id, whole)
            subjects += whole
        take("events", events.c.subject, subjects)
        take("quotes", quotes.c.subject, subjects)
        take("charges", charges.c.subject, subjects)
        measured = take("measurements", measurements.c.run_key, run_keys)
        found["measurements"] = measured = [row for row in measured if set(row["job_keys"]) <= set(keys)]
        beside = (row["provenance"].get("calibration") for row in own)
        wanted = {row["calibration"] for row in measured} | {name for name in beside if isinstance(name, str)}
        take("calibrations", calibrations.c.digest, wanted - {None})
        take("points", points.c.loop, keys)
    return {name: found[name] for name in TABLES}


def restore(ledger: Ledger, name: str, rows: Sequence[Row]) -> None:
    """Insert rows into an empty ledger. Raises ValueError, TypeError, KeyError or a database error for malformed
    rows."""
    table = TABLES[name]
    made = []
    for row in rows:
        values = {column.name: _read(column, row[column.name]) for column in columns(name, rows)}
        values |= {key: value for key, value in _LEFT_OUT.get(name, {}).items() if key != "id"}
        if name == "runs":
            values["last_seen"] = values["first_seen"]
        made.append(values)
    if made:
        with ledger.write(flush=False) as connection:
            connection.execute(sa.insert(table), made)


def lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """JSON lines, keys sorted, ASCII."""
    return b"".join(as_json(row) + b"\n" for row in rows)


def as_json(value: Any) -> bytes:
    """One line of JSON, keys sorted, ASCII, floats in the shortest form that reads back exactly."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def read_lines(text: bytes) -> list[Row]:
    """The inverse of `lines`. Raises ValueError naming the line."""
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {number}: {error}") from error
        if not isinstance(row, dict):
            raise ValueError(f"line {number} is not an object")
        found.append(row)
    return found


def answer_row(row: Any, documents: Mapping[str, bytes]) -> Row:
    """What is recorded of a stored answer: when it was fetched, by what, and the digests of its documents."""
    return {
        "job_key": row.job_key,
        "fetched_at": row.fetched_at.isoformat(),
        "versions": row.versions,
        "documents": [[name, len(text), sha256(text).hexdigest()] for name, text in documents.items()],
    }


def plain(row: Mapping[Any, Any]) -> Row:
    """A row with times as ISO text."""
    return {str(name): value.isoformat() if isinstance(value, datetime) else value for name, value in dict(row).items()}


def _read(column: sa.Column[Any], value: Any) -> Any:
    if isinstance(column.type, UtcDateTime):
        return datetime.fromisoformat(value) if value is not None else None
    if value is not None and isinstance(column.type, sa.String | sa.Text) and not isinstance(value, str):
        raise TypeError(f"{column.name} is not text")
    return value


def answer_member(key: str, document: str) -> str:
    """The member name of a document of an answer."""
    return f"answers/{key}/{quote(document, safe='._-')}"


def answer_of(row: Mapping[str, Any], read: Callable[[str], bytes]) -> RawAnswer:
    """A job's answer in the form that its adapter's decoder takes."""
    return RawAnswer({name: read(answer_member(row["job_key"], name)) for name, *_ in row["documents"]})
