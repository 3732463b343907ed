"""What the vendor says of jobs it has: observations, counts, failures; and cancel requests."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa

from qflows.errors import IllegalTransition
from qflows.ledger.claims import cancel_unsent, chunks
from qflows.ledger.pending import Polled
from qflows.ledger.rows import CODE_CAP, MESSAGE_CAP, body_of, steps_of, vendor_text
from qflows.ledger.settlements import follow
from qflows.ledger.store import Ledger, More, utc_now
from qflows.ledger.tables import IMPORTED, jobs, ledger_now, results
from qflows.model import Cost, ItemResult, Job
from qflows.protocol import Observation, Phase, VendorResult
from qflows.states import AT_VENDOR, LIVE, JobStatus, sources

log = logging.getLogger("qflows.ledger")

_WORD_CAP = 64


def observe(ledger: Ledger, seen: Sequence[tuple[Job, Observation]]) -> list[str]:
    """Apply one poll of many jobs in one transaction; return the keys whose record changed.

    Only forward moves are applied. A backward or undocumented word becomes an event, once per change of word. DONE
    moves to RUNNING at most: COMPLETED is written together with the counts, by `store`.
    """
    news = [(job, look) for job, look in seen if is_news(job, look)]
    if not news:
        return []
    news.sort(key=lambda pair: pair[0].key)

    def work(connection: sa.Connection) -> dict[str, str]:
        kinds = {job.key: _apply(ledger, connection, job, look) for job, look in news}
        follow(ledger, connection, [key for key, kind in kinds.items() if kind in ("failed", "cancelled")])
        return {key: kind for key, kind in kinds.items() if kind}

    changed = ledger.transact(work)
    for key, kind in changed.items():
        ledger.tell(kind, key)
    for job, look in news:
        if look.phase is Phase.HELD and not job.is_held:
            ledger.tell("results-withheld", job.key, reason=vendor_text(look.queue_note or look.word, MESSAGE_CAP))
    return list(changed)


def forget_held(ledger: Ledger, keys: Collection[str]) -> None:
    """Clear the mark of withheld results, so that only a new poll can set it."""
    with ledger.read() as connection:
        held = [
            row.key
            for part in chunks(sorted(keys))
            for row in connection.execute(sa.select(jobs.c.key).where(jobs.c.key.in_(part), jobs.c.is_held.is_(True)))
        ]
    if held:
        with ledger.write() as connection:
            for part in chunks(held):
                connection.execute(sa.update(jobs).where(jobs.c.key.in_(part)).values(is_held=False, bad_reads=None))


def keep_unreadable(ledger: Ledger, job: Job, error: Exception) -> None:
    """Count an answer that could not be read, and store the error and the answer, capped; its counts may yet come."""
    with ledger.write() as connection:
        ledger.record_event(
            connection,
            "unreadable-result",
            job.key,
            message=vendor_text(f"{type(error).__name__}: {error}", MESSAGE_CAP),
            body=vendor_text(getattr(error, "body", None) or "", MESSAGE_CAP),
        )
        connection.execute(
            sa.update(jobs).where(jobs.c.key == job.key).values(bad_reads=sa.func.coalesce(jobs.c.bad_reads, 0) + 1)
        )
    ledger.tell("unreadable-result", job.key)


def keep_undecoded(ledger: Ledger, finished: Sequence[tuple[Job, Observation]]) -> None:
    """Record that these jobs' answers are stored, and wait for somebody who knows the programs."""
    observe(ledger, finished)
    with ledger.write() as connection:
        for part in chunks(sorted(job.key for job, _ in finished)):
            connection.execute(
                sa.update(jobs)
                .where(jobs.c.key.in_(part), jobs.c.status == JobStatus.RUNNING.value, jobs.c.bad_reads.is_(None))
                .values(bad_reads=0)
            )


def missed(ledger: Ledger, absent: Collection[Job]) -> dict[str, float]:
    """Record that the vendor's lists do not show these jobs; return key → for how many seconds so far."""
    if not absent:
        return {}
    keys = sorted(job.key for job in absent)
    with ledger.write() as connection:
        for part in chunks(keys):
            connection.execute(
                sa.update(jobs)
                .where(jobs.c.key.in_(part), jobs.c.missing_since.is_(None))
                .values(missing_since=ledger_now())
            )
        return {
            row.key: row[1]
            for part in chunks(keys)
            for row in connection.execute(
                sa.select(jobs.c.key, ledger_now() - jobs.c.missing_since).where(jobs.c.key.in_(part))
            )
        }


def is_news(job: Polled, look: Observation) -> bool:
    """Whether an observation differs from what is recorded."""
    if (look.phase is Phase.HELD) != job.is_held:
        return True
    return look.word != job.word or look.queue_position != job.queue_position or look.queue_note != job.queue_note


def _apply(ledger: Ledger, connection: sa.Connection, job: Job, look: Observation) -> str | None:
    heard: dict[str, Any] = {"word": vendor_text(look.word, _WORD_CAP), "queue_position": look.queue_position}
    if look.phase is not Phase.UNKNOWN:
        heard["missing_since"] = None
    heard["queue_note"] = vendor_text(look.queue_note, CODE_CAP) or None
    if look.started_at:
        heard["started_at"] = look.started_at
    heard["is_held"] = look.phase is Phase.HELD
    heard["steps"] = steps_of(job.timeline.steps, look.steps, seen=heard["word"] or "", at=utc_now())
    heard["expected_start_at"] = look.expected_start_at
    heard["expected_end_at"] = look.expected_end_at
    if look.phase in (Phase.RUNNING, Phase.DONE, Phase.HELD):
        if _move(connection, job, JobStatus.RUNNING, heard):
            return "running"
    elif look.phase in (Phase.FAILED, Phase.CANCELLED):
        to = JobStatus.FAILED if look.phase is Phase.FAILED else JobStatus.CANCELLED
        return to.value.lower() if _move(connection, job, to, heard | _ending(look)) else None
    elif look.phase is Phase.UNKNOWN:
        log.warning(
            "%s reports status %r for job %s; status left unchanged", job.provider, look.word[:64], job.key[:12]
        )
        ledger.record_event(connection, "unknown-status", job.key, word=look.word[:64])
    elif job.status is JobStatus.RUNNING:
        ledger.record_event(connection, "backward-status", job.key, word=look.word[:64])
    connection.execute(
        sa.update(jobs).where(jobs.c.key == job.key, jobs.c.status.in_([s.value for s in AT_VENDOR])).values(**heard)
    )
    return None


def _ending(look: Observation) -> dict[str, Any]:
    return _costs(look.cost) | {
        "finished_at": look.finished_at or utc_now(),
        "error_kind": "failed" if look.phase is Phase.FAILED else "cancelled",
        "error_code": vendor_text(look.error_code, CODE_CAP) or None,
        "error_message": vendor_text(look.error_message or "", MESSAGE_CAP),
        "error_retryable": look.is_retryable,
    }


def _move(connection: sa.Connection, job: Job, to: JobStatus, values: dict[str, Any]) -> bool:
    """One guarded step; also guarded by the vendor id, so that a poll of an extra cannot end the real job."""
    row = {f"to_{name}": value for name, value in values.items()}
    row |= {"at_key": job.key, "at_vendor_id": job.vendor_id}
    return connection.execute(_move_statement(to, tuple(sorted(values))), row).rowcount == 1


@cache
def _move_statement(to: JobStatus, columns: tuple[str, ...]) -> sa.Update:
    return (
        sa.update(jobs)
        .where(
            jobs.c.key == sa.bindparam("at_key"),
            jobs.c.vendor_id == sa.bindparam("at_vendor_id"),
            jobs.c.status.in_([status.value for status in sources(to)]),
        )
        .values(status=to.value, **{name: sa.bindparam(f"to_{name}", type_=jobs.c[name].type) for name in columns})
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """A downloaded result of a job; with `failure`, the vendor called the job failed and some programs have counts.

    `steps`: times that the vendor's last status gave.
    """

    job: Job
    result: VendorResult
    provenance: dict[str, Any]
    failure: Observation | None = None
    steps: Mapping[str, datetime] = field(default_factory=dict)


def store(ledger: Ledger, job: Job, result: VendorResult, *, provenance: dict[str, Any]) -> None:
    """Store counts and COMPLETED in one transaction. Repeating it is harmless; other ends raise IllegalTransition."""
    late = store_all(ledger, [Outcome(job, result, provenance)])
    if late:
        raise IllegalTransition(f"job {job.key[:12]} is {late[job.key]}; its counts arrived too late to be stored")


def store_all(ledger: Ledger, outcomes: Sequence[Outcome], *, also: More | None = None) -> dict[str, str]:
    """Store counts and final status of several jobs in one transaction: each with its counts, or not at all.

    Returns key → status of jobs that had already ended differently; their counts are not stored. `also` writes more in
    the same transaction.
    """

    def work(connection: sa.Connection) -> tuple[list[tuple[str, str]], dict[str, str]]:
        late: dict[str, str] = {}
        stored: list[tuple[str, str]] = []
        for one in sorted(outcomes, key=lambda one: one.job.key):
            if _store_one(ledger, connection, one):
                stored.append(("failed" if one.failure else "completed", one.job.key))
                continue
            found = connection.execute(sa.select(jobs.c.status).where(jobs.c.key == one.job.key)).scalar()
            if found != (JobStatus.FAILED if one.failure else JobStatus.COMPLETED):
                late[one.job.key] = str(found)
        follow(ledger, connection, [key for _, key in stored])
        if also is not None:
            also(connection)
        return stored, late

    stored, late = ledger.transact(work)
    for kind, key in stored:
        ledger.tell(kind, key)
    return late


def _store_one(ledger: Ledger, connection: sa.Connection, one: Outcome) -> bool:
    values = _result_values(one.result, one.provenance) | {"bad_reads": None}
    values["steps"] = steps_of(one.job.timeline.steps, {**one.steps, **one.result.steps})
    if one.failure is None:
        values |= {"error_kind": None, "error_message": None}
        to = JobStatus.COMPLETED
    else:
        values |= _ending(one.failure) | {"word": vendor_text(one.failure.word, _WORD_CAP)}
        to = JobStatus.FAILED
    if not _move(connection, one.job, to, values):
        return False
    _store_items(ledger, connection, one.job.key, one.result.items)
    return True


def _result_values(result: VendorResult, provenance: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {"provenance": provenance, "finished_at": result.finished_at or utc_now()}
    values["n_errors"] = sum(item.error is not None for item in result.items)
    if result.started_at:
        values["started_at"] = result.started_at
    if result.qpu_s is not None:
        values["qpu_s"] = result.qpu_s
    return values | _costs(result.cost)


def _costs(cost: Cost | None) -> dict[str, Any]:
    if cost is None:
        return {}
    return {"cost": cost.amount, "cost_unit": cost.unit, "cost_is_estimate": cost.is_estimate}


def _store_items(ledger: Ledger, connection: sa.Connection, key: str, items: Sequence[ItemResult]) -> None:
    rows = [{"job_key": key, "idx": index, "body": body_of(item)} for index, item in enumerate(items)]
    connection.execute(ledger.insert(_result_insert), rows)


def _result_insert(insert: Callable[[sa.Table], Any]) -> Any:
    row = {name: sa.bindparam(name, type_=results.c[name].type) for name in ("job_key", "idx", "body")}
    return insert(results).values(row).on_conflict_do_nothing()


def request_cancel(ledger: Ledger, keys: Collection[str]) -> list[str]:
    """Record the request on live jobs; a job that was never sent is CANCELLED at once. Returns the keys it applied
    to."""

    def work(connection: sa.Connection) -> list[str]:
        return [key for part in chunks(sorted(keys)) for key in _wish(ledger, connection, part)]

    wished = ledger.transact(work)
    for key in wished:
        ledger.tell("cancel-requested", key)
    return wished


def _wish(ledger: Ledger, connection: sa.Connection, keys: Collection[str]) -> list[str]:
    rows = connection.execute(
        sa.update(jobs)
        .where(
            jobs.c.key.in_(keys),
            jobs.c.status.in_([s.value for s in LIVE]),
            # a job bought elsewhere is not ours to cancel
            sa.or_(jobs.c.origin.is_(None), jobs.c.origin != IMPORTED),
        )
        .values(cancel_requested_at=sa.func.coalesce(jobs.c.cancel_requested_at, utc_now()))
        .returning(jobs.c.key)
    )
    wished = [row.key for row in rows]
    cancel_unsent(ledger, connection, keys)
    return wished


def cancel_sent(ledger: Ledger, key: str) -> None:
    """Record when the vendor was asked; the next observation shows whether it worked."""
    with ledger.write() as connection:
        connection.execute(
            sa.update(jobs)
            .where(jobs.c.key == key, jobs.c.status.in_([s.value for s in AT_VENDOR]))
            .values(cancel_sent_at=utc_now())
        )
