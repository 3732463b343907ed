"""Lists of records: a page of handles that knows the total and converts to other formats."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypedDict, TypeVar, Unpack, overload

from qflows import display
from qflows.core.durations import Moment, past
from qflows.errors import ProgramRejected
from qflows.ledger import listing
from qflows.ledger.listing import Extent, Run, Wanted
from qflows.ledger.store import Ledger
from qflows.model import Job, SessionRecord
from qflows.states import JobStatus

if TYPE_CHECKING:
    from qflows.core.batches.batch import Batch
    from qflows.core.groups.handle import Group

T = TypeVar("T")
Values = str | Collection[str] | None
Tags = str | Collection[str] | Mapping[str, str | None] | None
_SHOWN = 5


class Paging(TypedDict, total=False):
    """Which part of a list, and in which order."""

    since: Moment | None
    until: Moment | None
    order: str | None
    limit: int | None
    offset: int


class RunFilters(Paging, total=False):
    """Filters of `qflows.runs`."""

    flow: Values
    run: Values


class SessionFilters(Paging, total=False):
    """Filters of `qflows.sessions`."""

    status: Values
    device: Values
    provider: Values
    run: Values
    name: Values


class GroupFilters(Paging, total=False):
    """Filters of `qflows.groups`."""

    status: Values
    run: Values
    name: Values
    tag: Tags


class BatchFilters(Paging, total=False):
    """Filters of `qflows.batches`."""

    device: Values
    provider: Values
    run: Values
    name: Values
    tag: Tags


class JobFilters(BatchFilters, total=False):
    """Filters of `qflows.jobs`."""

    status: Values
    account: Values
    label: Values
    project: Values
    session: Values
    batch: Values
    group: Values
    origin: Values


@dataclass(frozen=True, repr=False)
class Rows(Sequence[T], Generic[T]):
    """A page of jobs, batches, groups, sessions or runs, in order.

    `next_offset`: where the next page begins, None for the last one.
    """

    title: str
    items: tuple[T, ...]
    _extent: Extent = field(compare=False)
    offset: int
    _as_dict: Callable[[T], dict[str, Any]] = field(repr=False)

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def total(self) -> int:
        """How many match the filters in all; counted when read."""
        return self._extent.count()

    def __getstate__(self) -> dict[str, Any]:
        total = self.total  # another process has no ledger to count in
        return self.__dict__ | {"_extent": Extent(self._extent.has_more, partial(int, total))}

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[T, ...]: ...
    def __getitem__(self, index: int | slice) -> T | tuple[T, ...]:
        return self.items[index]

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __repr__(self) -> str:
        of = f" of {self.total}" if self.total != len(self) else ""
        shown = "".join(f"\n  {one!r}" for one in self.items[:_SHOWN])
        more = f"\n  and {len(self) - _SHOWN} more" if len(self) > _SHOWN else ""
        return f"<{len(self)}{of} {self.title}{shown}{more}>"

    def _repr_html_(self) -> str:
        rows = [{name: _short(value) for name, value in row.items()} for row in self.to_dicts()]
        columns = [name for name in (rows[0] if rows else ()) if any(row[name] not in ("", "{}") for row in rows)]
        return f"<p>{len(self)} of {self.total} {self.title}</p>" + display.table(rows, columns)

    @property
    def next_offset(self) -> int | None:
        """`offset=` of the next page."""
        return self.offset + len(self) if self.items and self._extent.has_more else None

    def to_dicts(self) -> list[dict[str, Any]]:
        """One flat dict per row: texts, numbers, aware times, and `tags` as a dict."""
        return [self._as_dict(one) for one in self.items]

    def to_pandas(self) -> Any:
        """A pandas DataFrame, one row per record. Raises ProgramRejected without pandas."""
        try:
            import pandas  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise ProgramRejected(
                "to_pandas needs pandas (pip install pandas); to_dicts needs no extra package"
            ) from None
        return pandas.DataFrame(self.to_dicts())

    def to_parquet(self, path: str | Path) -> Path:
        """A Parquet file, tags as JSON text. Raises ProgramRejected without pyarrow (`pip install qflows[parquet]`)."""
        return write_parquet(self.to_dicts(), Path(path))


def write_parquet(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Rows as a Parquet file; anything but numbers, text and times becomes JSON text. Raises ProgramRejected."""
    try:
        import pyarrow  # pyright: ignore[reportMissingImports]
        import pyarrow.parquet  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ProgramRejected(
            "Parquet needs pyarrow (pip install qflows[parquet]); JSON needs no extra package"
        ) from None
    import json

    flat = [
        {
            name: json.dumps(value, sort_keys=True) if isinstance(value, Mapping | list | tuple) else value
            for name, value in row.items()
        }
        for row in rows
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(flat), path)
    return path


def _short(value: Any) -> str:
    if value is None:
        return ""
    text = f"{value:%Y-%m-%d %H:%M:%S}" if hasattr(value, "strftime") else str(value)
    return text if len(text) <= 60 else text[:59] + "…"


def job_dict(job: Job) -> dict[str, Any]:
    """A job as one flat row."""
    times, cost = job.timeline, job.cost
    return {
        "key": job.key,
        "name": job.name,
        "device": job.device,
        "provider": job.provider,
        "account": job.account,
        "device_id": job.device_id,
        "shots": job.shots,
        "n_programs": job.n_programs,
        "status": job.status.value,
        "vendor_id": job.vendor_id,
        "run_key": job.run_key,
        "label": job.label,
        "ordinal": job.ordinal,
        "session_id": job.session_id,
        "origin": job.origin,
        "created": times.created,
        "submitted": times.submitted,
        "started": times.started,
        "finished": times.finished,
        "queue_s": times.queue_s,
        "execution_s": times.execution_s,
        "qpu_s": times.qpu_s,
        "cost": float(cost.amount) if cost else None,
        "cost_unit": cost.unit if cost else None,
        "cost_is_estimate": cost.is_estimate if cost else None,
        "queue_position": job.queue_position,
        "expected_start": times.expected_start,
        "expected_end": times.expected_end,
        "steps": {f"{step.name}{'' if step.is_reported else ' (seen)'}": step.at.isoformat() for step in times.steps},
        "error_code": job.error_code,
        "error": job.error_message,
        "tags": dict(job.tags),
    }


def batch_dict(batch: Batch) -> dict[str, Any]:
    """A batch as one flat row."""
    return {
        "id": batch.id,
        "name": batch.name,
        "device": batch.device,
        "provider": batch.record.provider,
        "circuits": batch.n_circuits,
        "parts": len(batch.parts),
        "status": batch.status.value,
        "run_key": batch.record.run_key,
        "created": batch.created_at,
        "tags": dict(batch.tags),
    }


def group_dict(group: Group) -> dict[str, Any]:
    """A group as one flat row."""
    record = group.record
    return {
        "id": record.id,
        "name": record.name,
        "status": record.state.value,
        "jobs": len(group.jobs),
        "run_key": record.run_key,
        "created": record.created_at,
        "closed": record.closed_at,
        "expires": record.expires_at,
        "close_reason": record.close_reason,
        "vendor_group": record.native_id,
        "tags": dict(record.tags),
    }


def session_dict(session: SessionRecord) -> dict[str, Any]:
    """A session as one flat row."""
    return {
        "key": session.key,
        "name": session.name,
        "device": session.device,
        "provider": session.provider,
        "mode": session.mode,
        "status": session.state.value,
        "vendor_id": session.vendor_id,
        "run_key": session.run_key,
        "max_time_s": session.max_time_s,
        "created": session.created_at,
        "opened": session.opened_at,
        "closed": session.closed_at,
        "close_reason": session.close_reason,
    }


def run_dict(run: Run) -> dict[str, Any]:
    """A run as one flat row, with a column for each status."""
    counts = {status.value.lower(): run.jobs.get(status, 0) for status in JobStatus}
    return {
        "run_key": run.run_key,
        "flow": run.flow,
        "flow_run_id": run.flow_run_id,
        "first_seen": run.first_seen,
        "last_seen": run.last_seen,
        "jobs": sum(run.jobs.values()),
        **counts,
    }


def jobs(ledger: Ledger, **filters: Unpack[JobFilters]) -> Rows[Job]:
    """Jobs of the ledger; see `qflows.jobs` for the filters."""
    chosen = wanted(**filters)
    found, extent = listing.select_jobs(ledger, chosen)
    return Rows("jobs", tuple(found), extent, chosen.offset, job_dict)


def wanted(
    *,
    tag: Tags = None,
    since: Moment | None = None,
    until: Moment | None = None,
    order: str | None = None,
    limit: int | None = 50,
    offset: int = 0,
    **filters: Any,
) -> Wanted:
    """Filters as callers write them. `tag`: `name`, `name=value`, several, or a dict. Raises ProgramRejected."""
    known = {one.name for one in fields(Wanted)} - {"tags"} | {"tag"}
    if unknown := sorted(filters.keys() - known):
        near = difflib.get_close_matches(unknown[0], sorted(known), n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known))}"
        raise ProgramRejected(f"there is no filter {unknown[0]!r}; {hint}")
    _whole("limit", limit)
    _whole("offset", offset)
    if offset is None:
        raise ProgramRejected("offset must be a whole number of at least 0")
    if order is not None and not isinstance(order, str):
        raise ProgramRejected(f"order is a column's name, '-' before it for descending; not {order!r:.40}")
    tags: dict[str, str | None] = {}
    if isinstance(tag, Mapping):
        tags = {str(name): None if value is None else str(value) for name, value in tag.items()}
    else:
        for text in _several(tag):
            name, equals, value = text.partition("=")
            if not name:
                raise ProgramRejected(f"tag {text!r}: write name or name=value")
            tags[name] = value if equals else None
    return Wanted(
        tags=tags,
        since=past(since) if since is not None else None,
        until=past(until) if until is not None else None,
        order=order,
        limit=limit,
        offset=offset,
        **{name: _run_keys(value) if name == "run" else _several(value) for name, value in filters.items()},
    )


def _run_keys(values: Values) -> tuple[str, ...]:
    """As given, and as written in the namespace of the settings."""
    if not (given := _several(values)):
        return ()  # such lists do without the rest of the core
    from qflows.core.scope import named

    return tuple(dict.fromkeys(key for value in given for key in (value, named(value))))


def _several(values: Values) -> tuple[str, ...]:
    if values is None:
        return ()
    found = (values,) if isinstance(values, str) or not isinstance(values, Iterable) else tuple(values)
    if strange := [one for one in found if not isinstance(one, str)]:
        raise ProgramRejected(f"a filter is text or a list of texts, not {strange[0]!r:.40}")
    return found


def _whole(name: str, value: int | None) -> None:
    is_whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if value is not None and not is_whole:
        raise ProgramRejected(f"{name} must be a whole number of at least 0, not {value!r:.40}")
