"""Numbers derived from counts: expectation values with standard errors for jobs, batches and loops.

The same code computes them from the ledger when an archive is written, and from its answers when it is verified.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from qflows.core.batches.batch import Batch
from qflows.core.parts import Parts
from qflows.errors import QflowsError
from qflows.ledger import batches as ledger_batches
from qflows.ledger import reads
from qflows.ledger.rows import JOB_COLUMNS, job_of
from qflows.ledger.store import Ledger
from qflows.ledger.tables import batches, jobs, programs, results
from qflows.model import ItemResult, Job
from qflows.programs import estimation
from qflows.programs.observables import basis_rotations
from qflows.states import JobStatus

Row = dict[str, Any]


def values(parts: Parts) -> list[Row]:
    """Expectation values. `subject`: a job, several joined by `+`, or `batch:<id>`; `place`: the program or circuit;
    `observable`: its number; `step`: the position of an evaluation in its run, from 1."""
    ledger = parts.ledger
    found = [*_of_jobs(ledger), *_of_batches(parts)]
    return sorted(found, key=lambda row: (row["run_key"], row["subject"], row["place"], row["observable"]))


def compiled(ledger: Ledger) -> list[Row]:
    """What was compiled locally or by the vendor, where known: job, place (None for the whole job), text."""
    found: list[Row] = []
    with ledger.read() as connection:
        stored = connection.execute(sa.select(results.c.job_key, results.c.idx, results.c.body)).all()
        whole = connection.execute(sa.select(jobs.c.key, jobs.c.provenance)).all()
    for key, place, body in stored:
        if told := _compiled_in(body.get("metadata")):
            found.append({"job_key": key, "place": place, "compiled": told})
    for key, provenance in whole:
        if told := _compiled_in((provenance or {}).get("vendor")):
            found.append({"job_key": key, "place": None, "compiled": told})
    return sorted(found, key=lambda row: (row["job_key"], -1 if row["place"] is None else row["place"]))


def _compiled_in(about: Any) -> Any:
    if not isinstance(about, Mapping):
        return None
    return about.get("compiled") or about.get("compiledProgram") or about.get("compiled_program")


def _of_jobs(ledger: Ledger) -> Iterator[Row]:
    query = sa.select(*JOB_COLUMNS, jobs.c["items"], programs.c.text.label("plan"))
    query = query.join(programs, programs.c.digest == jobs.c.estimate, isouter=True)
    query = query.where(jobs.c.status == JobStatus.COMPLETED.value).order_by(jobs.c.created_at, jobs.c.key)
    with ledger.read() as connection:
        rows = connection.execute(query).all()
    evaluations: list[tuple[list[Job], tuple[ItemResult, ...]]] = []
    shared: dict[Any, dict[str, Job]] = defaultdict(dict)
    bases: dict[Any, list[str]] = {}
    for row in rows:
        job = job_of(row)
        if not row.plan:
            evaluations.append(([job], reads.items(ledger, job.key)))
            continue
        wanted = [group.basis for group in estimation.read_plan(row.plan) if group.needs_measurement]
        if len(wanted) <= 1 or len(row.items) == len(wanted):
            items = estimation.combine(row.plan, reads.items(ledger, job.key), job.shots)
            evaluations.append(([job], (items,)))
            continue
        basis = row.items[0]["name"].rpartition("[")[2].rstrip("]")
        place = (job.run_key, job.label, row.plan, job.ordinal, job.shots, _unmeasured(ledger, job.key, basis))
        shared[place][basis] = job
        bases[place] = wanted
    for place, by_basis in shared.items():
        if set(by_basis) != set(bases[place]):
            continue  # part of the value is missing
        several = [by_basis[basis] for basis in bases[place]]
        items = [item for job in several for item in reads.items(ledger, job.key)]
        evaluations.append((several, (estimation.combine(place[2], items, several[0].shots),)))
    yield from _numbered(evaluations)


def _unmeasured(ledger: Ledger, key: str, basis: str) -> tuple[Any, ...]:
    """The steps of a measurement program without its rotations and measurements: equal for all bases of one value."""
    program = reads.spec_of(ledger, key).programs[0]
    steps = [op for op in program.ops() if op[0] != "measure"]
    turns = len(list(basis_rotations(basis)))
    return tuple(repr(op) for op in (steps[: len(steps) - turns] if turns else steps))


def _numbered(evaluations: Sequence[tuple[list[Job], tuple[ItemResult, ...]]]) -> Iterator[Row]:
    steps: dict[str, int] = defaultdict(int)
    for several, items in sorted(evaluations, key=lambda one: (one[0][0].created_at, one[0][0].key)):
        if not any(item.expectations for item in items):
            continue
        first = several[0]
        steps[first.run_key] += 1
        subject = "+".join(job.key for job in several)
        yield from _rows(subject, first.run_key, enumerate(items), steps[first.run_key])


def _of_batches(parts: Parts) -> Iterator[Row]:
    with parts.ledger.read() as connection:
        ids = list(connection.execute(sa.select(batches.c.id).order_by(batches.c.id)).scalars())
    for id_ in ids:
        batch = Batch(parts, ledger_batches.find(parts.ledger, id_))
        try:
            found = batch.stored()
        except QflowsError:
            continue  # some of its parts have not ended
        places = [(place, item) for place, item in enumerate(found.results) if item is not None]
        yield from _rows(f"batch:{id_}", batch.record.run_key, places, None)


def _rows(subject: str, run_key: str, items: Any, step: int | None) -> Iterator[Row]:
    for place, item in items:
        for number, one in enumerate(item.expectations or ()):
            yield {
                "subject": subject,
                "run_key": run_key,
                "place": place,
                "observable": number,
                "step": step,
                "value": one.value,
                "std_error": one.std_error,
            }
