"""Ledger rows as values, and values as rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from qflows.ledger.tables import jobs
from qflows.model import Cost, Counts, Expectation, ItemError, ItemResult, Job, Step, Timeline
from qflows.privacy.redaction import clean
from qflows.states import AT_VENDOR, JobStatus

if TYPE_CHECKING:
    from qflows.protocol import JobSpec

# everything but the (possibly long) list of programs
_UNREAD = ("items", "options", "submission", "provenance", "project", "buyer", "deployment")
JOB_COLUMNS = [column for column in jobs.columns if column.name not in _UNREAD]


MESSAGE_CAP = 4000
CODE_CAP = 255
_STEP_CAP = 64
_MOST_STEPS = 32


def vendor_text(text: str | None, cap: int) -> str | None:
    """A vendor's text, fit for storage: bounded, and without what a database or UTF-8 cannot hold."""
    if text is None:
        return None
    return text[:cap].replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def job_of(row: sa.Row[Any] | Any) -> Job:
    """A row of JOB_COLUMNS as a handle."""
    return Job(
        key=row.key,
        run_key=row.run_key,
        label=row.label,
        provider=row.provider,
        account=row.account,
        device=row.device,
        device_id=row.device_id,
        shots=row.shots,
        status=JobStatus(row.status),
        vendor_id=row.vendor_id,
        fence=row.fence,
        epoch=row.epoch,
        ordinal=row.ordinal,
        name=row.name,
        tags=row.tags,
        n_programs=row.n_programs,
        created_at=row.created_at,
        error_kind=row.error_kind,
        error_code=row.error_code,
        error_message=row.error_message,
        error_retryable=row.error_retryable,
        n_errors=row.n_errors or 0,
        is_held=bool(row.is_held),
        queue_position=row.queue_position,
        queue_note=row.queue_note,
        word=row.word,
        session_id=row.session_id,
        cancel_requested_at=row.cancel_requested_at,
        sends=row.sends or 0,
        bad_reads=row.bad_reads or 0,
        has_answer=row.bad_reads == 0,
        origin=row.origin,
        asks_person=row.status == JobStatus.IN_DOUBT and row.looks > 0 and row.look_after is None,
        timeline=_timeline(row),
        cost=Cost(row.cost, row.cost_unit, row.cost_is_estimate) if row.cost is not None else None,
    )


def _timeline(row: sa.Row[Any] | Any) -> Timeline:
    is_ahead = row.status in AT_VENDOR
    return Timeline(
        row.created_at,
        row.submitted_at,
        row.started_at,
        row.finished_at,
        row.qpu_s,
        tuple(Step(name, datetime.fromisoformat(at), bool(reported)) for name, at, reported in row.steps or ()),
        row.expected_start_at if is_ahead and row.status != JobStatus.RUNNING else None,
        row.expected_end_at if is_ahead else None,
    )


def steps_of(
    known: Sequence[Step], reported: Mapping[str, datetime], seen: str = "", at: datetime | None = None
) -> Any:
    """Known steps with those that the vendor reports now and the status seen now, oldest first, as a column's value."""
    said = {step.name: step.at for step in known if step.is_reported} | {
        name: moment.astimezone(UTC) for name, moment in reported.items()
    }
    found = [Step(name, moment, True) for name, moment in said.items()]
    found += [step for step in known if not step.is_reported]
    seen = clean(seen, cap=_STEP_CAP)
    words = [step.name for step in known if not step.is_reported]
    if seen and at is not None and (not words or words[-1] != seen):
        found.append(Step(seen, at, False))
    found.sort(key=lambda step: step.at)
    return [[step.name, step.at.isoformat(), step.is_reported] for step in found[-_MOST_STEPS:]]


def items_of(spec: JobSpec) -> list[dict[str, Any]]:
    """The per-program part of a job row; programs themselves are stored once, by digest."""
    return [
        {
            "digest": program.digest,
            "name": program.name,
            "observables": [observable.to_json() for observable in spec.observables_of(index)],
            **({"metadata": dict(program.metadata)} if program.metadata else {}),
        }
        for index, program in enumerate(spec.programs)
    ]


def body_of(item: ItemResult) -> dict[str, Any]:
    """One program's result as JSON, readable without qflows: plain bit strings and numbers."""
    return {
        "counts": dict(item.counts) if item.counts is not None else None,
        "probabilities": item.probabilities,
        "memory": list(item.memory) if item.memory is not None else None,
        "expectations": [[e.value, e.std_error] for e in item.expectations] if item.expectations is not None else None,
        "error": {"code": item.error.code, "message": item.error.message} if item.error else None,
        "metadata": dict(item.metadata),
    }


def _same(keys: Mapping[str, str], shots: Iterable[str]) -> Iterator[str]:
    return (keys.get(shot, shot) for shot in shots)


def item_of(body: Mapping[str, Any]) -> ItemResult:
    """The inverse of `body_of`."""
    counts = Counts(body["counts"]) if body["counts"] is not None else None
    # a shot refers to its outcome: each text of its own takes 64 bytes
    keys: dict[str, str] = {key: key for key in counts or ()}
    return ItemResult(
        counts=counts,
        probabilities=body["probabilities"],
        memory=tuple(_same(keys, body["memory"])) if body["memory"] is not None else None,
        expectations=tuple(Expectation(v, e) for v, e in body["expectations"]) if body["expectations"] else None,
        error=ItemError(**body["error"]) if body["error"] else None,
        metadata=body["metadata"],
    )
