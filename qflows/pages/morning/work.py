"""The sections that need a person's attention: doubts, withheld results, failures, each with its next step."""

from __future__ import annotations

from collections import defaultdict

from qflows.display import plural
from qflows.model import Job
from qflows.pages.morning.gather import Report
from qflows.pages.morning.page import ROWS, Line, Picture, Section, Table, Tone, job_text, moment, span
from qflows.states import JobStatus


def work_sections(report: Report) -> list[Section]:
    lines: list[Line] = []
    for doubt in report.doubts[:ROWS]:
        job = doubt.job
        if doubt.needs_person:
            text = (
                f"{job_text(job)} has been in doubt for {span(doubt.age_s)}: {job.provider} "
                "may or may not have it. Check there, then run:"
            )
            lines.append(Line(text, f"qflows jobs resolve {job.key[:12]} --submitted ID   or   --absent"))
        else:
            lines.append(Line(f"{job_text(job)} has been in doubt for {span(doubt.age_s)}; qflows is looking for it."))
    if len(report.doubts) > ROWS:
        lines.append(Line(f"… and {len(report.doubts) - ROWS} more", "qflows jobs ls --status in_doubt"))
    lines += [
        Line(
            f"{job_text(job)} is finished, and {job.provider} withholds its results: {job.queue_note or job.word or ''}"
        )
        for job in report.held[:ROWS]
    ]
    lines += [
        Line(f"The callback of group {name or id_[:12]} failed: {error}", f"qflows groups callback {id_[:12]} --again")
        for id_, name, error in report.callbacks[:ROWS]
    ]
    needs_person = any(one.needs_person for one in report.doubts) or report.held or report.callbacks
    title, tone = ("Needs you", Tone.WORK) if needs_person else ("In doubt", Tone.CALM)
    found = [Section(title, tone, tuple(lines))] if lines else []
    failures = _failures(report)
    return [*found, failures] if failures else found


def _failures(report: Report) -> Section | None:
    content: list[Line | Table | Picture] = []
    alike: defaultdict[tuple[str, str, str], list[Job]] = defaultdict(list)
    for job in report.bad:
        alike[job.device, job.error_code or "", (job.error_message or "")[:200]].append(job)
    rows = []
    for (device, code, reason), jobs in sorted(alike.items(), key=lambda pair: -len(pair[1]))[:ROWS]:
        said = ": ".join(filter(None, (code, reason))) or "no reason given"
        rows.append((device, str(len(jobs)), said, next_step(jobs[0]), jobs[0].key[:12]))
    if rows:
        columns = ("device", "jobs", "vendor's message", "next step", "for example")
        content.append(Table(columns, tuple(rows), frozenset({"jobs"})))
    if len(alike) > ROWS:
        content.append(Line(f"… and {len(alike) - ROWS} more kinds", "qflows jobs ls --status failed"))
    if report.runs:
        rows = [(run.name, run.state, run.message, moment(run.at)) for run in report.runs[:ROWS]]
        content.append(Table(("flow run", "state", "message", "ended"), tuple(rows)))
    if len(report.runs) > ROWS:
        content.append(Line(f"… and {len(report.runs) - ROWS} more flow runs; the UI lists them."))
    if not content:
        return None
    is_work = bool(report.runs) or any(not was_wished(job) for job in report.bad)
    return Section("What failed", Tone.WORK if is_work else Tone.CALM, tuple(content))


def was_wished(job: Job) -> bool:
    return job.status is JobStatus.CANCELLED and job.cancel_requested_at is not None


def next_step(job: Job) -> str:
    """What can be done about a job without all its counts."""
    if job.status is JobStatus.COMPLETED:
        return f"{plural(job.n_errors, 'circuit')} without counts: qflows batches rerun buys only those again"
    if job.status is JobStatus.CANCELLED:
        return "cancelled on request" if was_wished(job) else "stopped by the vendor: buy it again with resubmit=1"
    if job.error_kind == "refused":
        return "nothing ran and nothing was charged: change the circuit, the options or the account, then run again"
    if job.error_retryable:
        return "buying it again may succeed: resubmit=1, or qflows batches rerun for a batch"
    return "read the reason: unchanged, it will fail again"
