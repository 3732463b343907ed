"""Batches in the ledger: which circuits went into which job."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from qflows.errors import UnknownJob
from qflows.keys import digest
from qflows.ledger.intents import Intent, Want, lease_ordinal, prepare
from qflows.ledger.store import Ledger
from qflows.ledger.tables import batch_parts, batches, jobs
from qflows.model import Job
from qflows.states import LIVE, JobStatus


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """A batch as stored in the ledger."""

    id: str
    run_key: str
    name: str
    tags: Mapping[str, str]
    provider: str
    device: str
    device_id: str
    n_circuits: int
    options: Mapping[str, Any]
    details: Mapping[str, Any]
    created_at: Any


@dataclass(frozen=True, slots=True)
class PartRecord:
    """One job of a batch: the circuits it holds, in the order of its programs. Generation 0 is the first plan."""

    part: int
    generation: int
    indices: tuple[int, ...]
    job_key: str


@dataclass(frozen=True, slots=True)
class EndedBatch:
    """A batch all of whose jobs have ended. `n_bad`: jobs that are not COMPLETED; `at`: when the last one ended."""

    id: str
    run_key: str
    name: str
    device: str
    n_circuits: int
    n_jobs: int
    n_bad: int
    at: str


def open_batch(ledger: Ledger, want: Want, content: str, draft: BatchRecord) -> tuple[BatchRecord, bool]:
    """The batch with this content, and whether it is new: the same on a replay, another for another equal call.

    `draft` is stored under the batch's id, whatever id it has, unless the batch already exists: then that one counts.
    """

    def work(connection: sa.Connection) -> tuple[BatchRecord, bool]:
        id_ = id_of(want.run_key, content, lease_ordinal(ledger, connection, want, content))
        row = {name: getattr(draft, name) for name in BatchRecord.__slots__} | {"id": id_}
        row |= {"tags": dict(draft.tags), "options": dict(draft.options), "details": dict(draft.details)}
        is_new = connection.execute(ledger.insert(_batch_insert), row).rowcount == 1
        stands = connection.execute(sa.select(batches).where(batches.c.id == id_)).one()
        return BatchRecord(**stands._mapping), is_new

    return ledger.transact(work)


def id_of(run_key: str, content: str, ordinal: int) -> str:
    """The id of the batch that is the `ordinal`-th equal call of a run."""
    return digest("batch/1", run_key, content, ordinal)


def earlier(ledger: Ledger, run_key: str, label: str, attempt: str) -> set[str]:
    """Ids of the batches of a run and label made by other attempts, not counting attempts that begin with this one and
    a colon."""
    query = sa.select(batches.c.id, batches.c.details).where(batches.c.run_key == run_key)
    with ledger.read() as connection:
        rows = connection.execute(query).all()
    return {row.id for row in rows if row.details.get("label") == label and _life(row.details) != attempt}


def _life(details: Mapping[str, Any]) -> str:
    return str(details.get("attempt")).partition(":")[0]


def _batch_insert(insert: Callable[[sa.Table], Any]) -> Any:
    row = {name: sa.bindparam(name, type_=batches.c[name].type) for name in BatchRecord.__slots__}
    return insert(batches).values(row).on_conflict_do_nothing()


def add_parts(ledger: Ledger, id_: str, generation: int, wanted: Sequence[tuple[Sequence[int], Intent]]) -> list[str]:
    """Make these parts and their jobs durable in one transaction; return the jobs' keys. Repeating it finds the same
    jobs. There is never a part without its job, nor a job of a batch outside a part.
    """

    def enter(connection: sa.Connection, jobs: Sequence[Job]) -> None:
        # two re-runs at once number their parts consecutively, and a job is in one part only
        connection.execute(sa.select(batches.c.id).where(batches.c.id == id_).with_for_update())
        taken = sa.select(batch_parts.c.part, batch_parts.c.job_key).where(batch_parts.c.batch_id == id_)
        known = {job_key: part for part, job_key in connection.execute(taken)}
        first = 1 + max(known.values(), default=-1) if generation else 0
        fresh = [(indices, job.key) for (indices, _), job in zip(wanted, jobs, strict=True) if job.key not in known]
        rows = [
            {
                "batch_id": id_,
                "part": first + place,
                "generation": generation,
                "indices": _ranges(indices),
                "job_key": key,
            }
            for place, (indices, key) in enumerate(fresh)
        ]
        if rows:
            connection.execute(ledger.insert(_part_insert), rows)

    return [job.key for job in prepare(ledger, [intent for _, intent in wanted], also=enter)]


def adopt(ledger: Ledger, record: BatchRecord, parts: Sequence[tuple[str, int]]) -> BatchRecord:
    """Store a batch of existing jobs, given as (key, number of programs); repeating it changes nothing."""

    def work(connection: sa.Connection) -> BatchRecord:
        row = {name: getattr(record, name) for name in BatchRecord.__slots__}
        connection.execute(ledger.insert(_batch_insert), row)
        start, rows = 0, []
        for part, (key, n_programs) in enumerate(parts):
            indices = [[start, start + n_programs]]
            rows.append({"batch_id": record.id, "part": part, "generation": 0, "indices": indices, "job_key": key})
            start += n_programs
        connection.execute(ledger.insert(_part_insert), rows)
        return BatchRecord(**connection.execute(sa.select(batches).where(batches.c.id == record.id)).one()._mapping)

    return ledger.transact(work)


def _part_insert(insert: Callable[[sa.Table], Any]) -> Any:
    names = ("batch_id", "part", "generation", "indices", "job_key")
    row = {name: sa.bindparam(name, type_=batch_parts.c[name].type) for name in names}
    return insert(batch_parts).values(row).on_conflict_do_nothing()


def _ranges(indices: Sequence[int]) -> list[list[int]]:
    """[3, 4, 5, 9] → [[3, 6], [9, 10]]."""
    ranges: list[list[int]] = []
    for index in indices:
        if ranges and ranges[-1][1] == index:
            ranges[-1][1] = index + 1
        else:
            ranges.append([index, index + 1])
    return ranges


def parts(ledger: Ledger, id_: str) -> list[PartRecord]:
    """All parts of a batch: the first plan, then re-runs in the order they were made."""
    query = sa.select(batch_parts).where(batch_parts.c.batch_id == id_).order_by(batch_parts.c.part)
    with ledger.read() as connection:
        rows = connection.execute(query).all()
    return [
        PartRecord(row.part, row.generation, tuple(i for a, b in row.indices for i in range(a, b)), row.job_key)
        for row in rows
    ]


def find(ledger: Ledger, name: str) -> BatchRecord:
    """A batch by id or unique prefix of it. Raises UnknownJob."""
    query = sa.select(batches).where(batches.c.id.startswith(name, autoescape=True)).limit(2)
    with ledger.read() as connection:
        rows = connection.execute(query).all()
    if len(rows) != 1:
        raise UnknownJob(f"the ledger has {'no' if not rows else 'several'} batch {name!r}; see `qflows batches ls`")
    return BatchRecord(**rows[0]._mapping)


def ended_with(ledger: Ledger, job_key: str) -> EndedBatch | None:
    """The batch of a job, if all of its jobs have ended; None for a job without a batch, and while one is live."""
    mine = sa.select(batch_parts.c.batch_id).where(batch_parts.c.job_key == job_key).scalar_subquery()
    of_batch = sa.join(batch_parts, jobs, jobs.c.key == batch_parts.c.job_key)
    live = sa.select(sa.literal(1)).select_from(of_batch)
    live = live.where(batch_parts.c.batch_id == mine, jobs.c.status.in_([one.value for one in LIVE])).limit(1)
    bad = sa.func.sum(sa.case((jobs.c.status == JobStatus.COMPLETED.value, 0), else_=1))
    sums = sa.select(sa.func.count().label("n"), bad.label("bad"), sa.func.max(jobs.c.finished_at).label("at"))
    with ledger.read() as connection:
        batch = connection.execute(sa.select(batches).where(batches.c.id == mine)).one_or_none()
        if batch is None or connection.execute(live).first() is not None:
            return None
        row = connection.execute(sums.select_from(of_batch).where(batch_parts.c.batch_id == batch.id)).one()
    rest = (batch.device, batch.n_circuits, row.n, int(row.bad), str(row.at))
    return EndedBatch(batch.id, batch.run_key, batch.name, *rest)


def listing(ledger: Ledger, *, limit: int = 50) -> list[BatchRecord]:
    """The newest batches first."""
    with ledger.read() as connection:
        rows = connection.execute(sa.select(batches).order_by(batches.c.created_at.desc()).limit(limit)).all()
    return [BatchRecord(**row._mapping) for row in rows]


def update(ledger: Ledger, id_: str, *, name: str | None, tags: Mapping[str, str] | None) -> None:
    """Change name or tags in the ledger."""
    values = ({"name": name[:255]} if name is not None else {}) | ({"tags": dict(tags)} if tags is not None else {})
    if values:
        with ledger.write() as connection:
            connection.execute(sa.update(batches).where(batches.c.id == id_).values(**values))
