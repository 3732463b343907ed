"""One job on a terminal: the most important facts first; long values cut."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from qflows.model import Cost, ItemResult, Job, gist
from qflows.pages.text import shots_text
from qflows.states import JobStatus

_WIDTH, _ROWS = 110, 6
Line = tuple[str, str]


def lines(
    job: Job,
    items: Sequence[ItemResult],
    *,
    circuits: Sequence[str],
    options: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    versions: Mapping[str, Mapping[str, str]],
    is_full: bool,
) -> list[Line]:
    """Pairs of a heading and a value, in display order. `circuits`: their names, `history`: the events of the job.
    `is_full`: nothing is cut; otherwise a last line says how to see what was cut."""
    found = [
        ("status", _status(job)),
        ("device", _device(job)),
        ("when", _when(job)),
        ("cost", _cost(job.cost)),
        ("run", job.run_key + (f", label {job.label}" if job.label else "")),
        ("circuits", f"{len(circuits):,}: " + ", ".join(circuits)),
        *_results(items, circuits, is_full=is_full),
        ("error", _error(job)),
        ("look-up" if job.status is JobStatus.IN_DOUBT else "queue", _queue(job)),
        ("expected", _expected(job)),
        ("steps", _steps(job)),
        ("name", job.name),
        ("tags", ", ".join(f"{name}={value}" if value else name for name, value in sorted(job.tags.items()))),
        ("options", ", ".join(f"{name}={value}" for name, value in sorted(options.items()))),
        ("session", job.session_id or ""),
        ("origin", job.origin or ""),
        ("emulated", "by an emulator on this machine, not the vendor" if job.is_emulated else ""),
        ("key", job.key),
        ("vendor id", job.vendor_id or ""),
        ("versions", _versions(versions)),
        *_events(history, is_full=is_full),
    ]
    shown = [(name, " ".join(text.split())) for name, text in found if text]
    if is_full:
        return shown
    cut = [(name, text if len(text) <= _WIDTH or name in ("key", "vendor id") else _cut(text)) for name, text in shown]
    few = len(items) > _ROWS or len(history) > _ROWS
    return (
        [*cut, ("", f"cut: `qflows jobs show {job.key[:12]} --full` shows all of it, --json all there is")]
        if (few or cut != shown)
        else cut
    )


def _cut(text: str) -> str:
    return text[: _WIDTH - 1].rstrip() + "…"


def _status(job: Job) -> str:
    notes = []
    # a job that is completed was read once more to fetch its counts, and the last word kept may be older than that
    if job.word and job.status is not JobStatus.COMPLETED and job.word.lower() != job.status.value.lower():
        notes.append(f"{job.provider} says {job.word}")
    if job.is_held:
        notes.append("held: its result cannot be read")
    if job.asks_person:
        notes.append("a person must say whether the vendor has it")
    if job.n_errors:
        notes.append(f"{job.n_errors} of {job.n_programs} circuits have an error")
    return job.status.value + (f" ({'; '.join(notes)})" if notes else "")


def _device(job: Job) -> str:
    own = "" if job.device_id in job.device else f", {job.device_id}"
    return f"{job.device} ({job.provider}{own}), {shots_text(job.shots)}"


def _when(job: Job) -> str:
    times = job.timeline
    told = []
    if times.created:
        told.append(f"created {times.created:%Y-%m-%d %H:%M:%S} UTC")
    before = times.created
    for name, moment in (("submitted", times.submitted), ("started", times.started), ("finished", times.finished)):
        if moment:
            told.append(f"{name} {_clock(moment, before)}")
            before = moment
    for name, seconds in (("in the queue", times.queue_s), ("running", times.execution_s), ("billed", times.qpu_s)):
        if seconds is not None:
            told.append(f"{seconds:.1f} s {name}")
    return ", ".join(told)


def _queue(job: Job) -> str:
    """The place in the queue or, of a job in doubt, why it cannot be looked up now."""
    return "" if job.is_terminal else str(job.queue_note or job.queue_position or "")


def _expected(job: Job) -> str:
    named = (("start", job.timeline.expected_start), ("end", job.timeline.expected_end))
    return ", ".join(f"{name} {at:%Y-%m-%d %H:%M:%S} UTC" for name, at in named if at)


def _steps(job: Job) -> str:
    told, before = [], None
    for step in job.timeline.steps:
        told.append(f"{step.name} {_clock(step.at, before)}" + ("" if step.is_reported else " (seen)"))
        before = step.at
    return ", ".join(told)


def _clock(moment: datetime, before: datetime | None) -> str:
    return f"{moment:%H:%M:%S}" if before and before.date() == moment.date() else f"{moment:%Y-%m-%d %H:%M:%S}"


def _cost(cost: Cost | None) -> str:
    if cost is None:
        return ""
    return f"{cost.amount:g} {cost.unit}" + (", an estimate" if cost.is_estimate else "")


def _error(job: Job) -> str:
    if not job.error_message:
        return ""
    return f"[{job.error_code}] {job.error_message}" if job.error_code else job.error_message


def _results(items: Sequence[ItemResult], circuits: Sequence[str], *, is_full: bool) -> Iterator[Line]:
    shown = items if is_full else items[:_ROWS]
    for place, item in enumerate(shown):
        name = f" {circuits[place]}:" if len(items) > 1 and place < len(circuits) else ""
        everything = item.counts if item.counts is not None else item.probabilities
        whole = ", ".join(f"{key}: {n:g}" for key, n in sorted((everything or {}).items(), key=lambda one: -one[1]))
        yield f"result {place}", f"{name} {whole if is_full and whole else gist(item)}"
    if len(items) > len(shown):
        yield "", f"and {len(items) - len(shown):,} more results"


def _versions(versions: Mapping[str, Mapping[str, str]]) -> str:
    sent, read = (", ".join(f"{n} {v}" for n, v in versions.get(role, {}).items()) for role in ("submitted", "decoded"))
    if sent == read or not (sent and read):
        return sent or read
    return f"sent with {sent}; read with {read}"


def _events(history: Sequence[Mapping[str, Any]], *, is_full: bool) -> Iterator[Line]:
    shown = history if is_full else history[-_ROWS:]
    if len(history) > len(shown):
        yield "", f"{len(history) - len(shown):,} earlier events"
    for event in shown:
        detail = ", ".join(f"{name}={value}" for name, value in event["detail"].items() if value not in (None, "", {}))
        yield "event", f"{event['at']:%Y-%m-%d %H:%M:%S} {event['kind']} {detail}"
