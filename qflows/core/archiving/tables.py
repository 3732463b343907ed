"""Records as Parquet tables: numbers and times in native types, nested values as JSON text."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qflows.core.archiving.records import TABLES, Row, as_json, columns
from qflows.errors import ProgramRejected
from qflows.ledger.tables import UtcDateTime

_TEXT, _WHOLE, _REAL, _TRUTH, _MOMENT = "text", "whole", "real", "truth", "moment"
Schema = Mapping[str, str]

COUNTS: Schema = {"job_key": _TEXT, "place": _WHOLE, "program": _TEXT, "outcome": _TEXT, "count": _WHOLE, "p": _REAL}
VALUES: Schema = {
    "subject": _TEXT,
    "run_key": _TEXT,
    "place": _WHOLE,
    "observable": _WHOLE,
    "step": _WHOLE,
    "value": _REAL,
    "std_error": _REAL,
}


def is_at_hand() -> bool:
    """Whether Parquet can be read and written here."""
    try:
        import pyarrow.parquet  # noqa: F401  # pyright: ignore[reportMissingImports, reportUnusedImport]
    except ImportError:
        return False
    return True


def all_of(records: Mapping[str, Sequence[Row]], values: Sequence[Row]) -> dict[str, tuple[Schema, list[Row]]]:
    """Schema and rows by table: every kind of record, `counts` with one row per outcome, and `values`."""
    made: dict[str, tuple[Schema, list[Row]]] = {}
    for name in TABLES:
        schema = {column.name: _kind(column) for column in columns(name, records[name])}
        made[name] = schema, [{key: _flat(kind, row.get(key)) for key, kind in schema.items()} for row in records[name]]
    made["counts"] = COUNTS, _counts(records)
    made["values"] = VALUES, [{key: row[key] for key in VALUES} for row in values]
    return made


def _counts(records: Mapping[str, Sequence[Row]]) -> list[Row]:
    digests = {row["key"]: [item["digest"] for item in row["items"]] for row in records["jobs"]}
    found: list[Row] = []
    for row in records["results"]:
        key, place, body = row["job_key"], row["idx"], row["body"]
        program = digests[key][place] if place < len(digests.get(key, ())) else None
        head = {"job_key": key, "place": place, "program": program}
        found += [head | {"outcome": o, "count": n, "p": None} for o, n in sorted((body.get("counts") or {}).items())]
        exact = body.get("probabilities") or {}
        found += [head | {"outcome": o, "count": None, "p": p} for o, p in sorted(exact.items())]
    return found


def _kind(column: sa.Column[Any]) -> str:
    if isinstance(column.type, UtcDateTime):
        return _MOMENT
    if isinstance(column.type, sa.Boolean):
        return _TRUTH
    if isinstance(column.type, sa.Integer):
        return _WHOLE
    return _REAL if isinstance(column.type, sa.Float) else _TEXT


def _flat(kind: str, value: Any) -> Any:
    if value is None:
        return None
    if kind == _MOMENT:
        return datetime.fromisoformat(value)
    return as_json(value).decode() if kind == _TEXT and not isinstance(value, str) else value


def to_bytes(schema: Schema, rows: Sequence[Row]) -> bytes:
    """A Parquet file; identical bytes for identical rows and pyarrow version. Raises ProgramRejected without
    pyarrow."""
    try:
        import pyarrow  # pyright: ignore[reportMissingImports]
        import pyarrow.parquet  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ProgramRejected("an archive contains Parquet tables; pip install qflows[parquet]") from None
    types = {
        _TEXT: pyarrow.string(),
        _WHOLE: pyarrow.int64(),
        _REAL: pyarrow.float64(),
        _TRUTH: pyarrow.bool_(),
        _MOMENT: pyarrow.timestamp("us", tz="UTC"),
    }
    shape = pyarrow.schema([(name, types[kind]) for name, kind in schema.items()])
    made = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows), schema=shape), made, compression="snappy")
    return made.getvalue()


def difference(schema: Schema, rows: Sequence[Row], found: bytes) -> str | None:
    """What differs between a Parquet file and these rows; None if nothing does.

    The row count is checked before rows are read. Bytes may differ between versions of pyarrow.
    """
    if to_bytes(schema, rows) == found:
        return None
    import pyarrow.parquet  # pyright: ignore[reportMissingImports]

    try:
        file = pyarrow.parquet.ParquetFile(io.BytesIO(found))
        if file.metadata.num_rows != len(rows):
            return f"it has {file.metadata.num_rows:,} rows, the records have {len(rows):,}"
        if (names := list(file.schema_arrow.names)) != list(schema):
            return f"its columns are {', '.join(map(str, names))[:200]}"
        size = sum(file.metadata.row_group(n).total_byte_size for n in range(file.metadata.num_row_groups))
        if size > 100 * len(found) + 1_000_000:
            return "it would expand to an unreasonable size"
        read = file.read().to_pylist()
    except Exception as error:  # noqa: BLE001  (the reader gets untrusted files)
        return f"it cannot be read: {type(error).__name__}: {str(error)[:200]}"
    for number, (one, wanted) in enumerate(zip(read, rows, strict=True)):
        for name in schema:
            if one[name] != wanted[name] and not (one[name] != one[name] and wanted[name] != wanted[name]):
                return f"row {number}, column {name} is {json.dumps(one[name], default=str)[:100]}"
    return "its bytes differ from those that the same rows produce"
