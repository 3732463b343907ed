"""The contents of a report in order of urgency: drift, what a person must do, what ran, money, then every device."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from qflows.display import plural
from qflows.ledger.gates import LATER, NO
from qflows.ledger.summaries import Tally
from qflows.pages.morning.gather import Report
from qflows.pages.morning.money import amounts, money_section, used_up
from qflows.pages.morning.page import ROWS, Line, Page, Section, Table, Tone, moment
from qflows.pages.morning.quantities import device_sections, drift_section, methods_section
from qflows.pages.morning.work import was_wished, work_sections
from qflows.states import LIVE, JobStatus


def compose(report: Report) -> Page:
    """The page of a report. Empty sections are left out, except drift, jobs and money."""
    sections = [
        drift_section(report),
        *work_sections(report),
        _ran(report),
        money_section(report),
        *_open(report),
        *_skipped(report),
        *_gated(report),
    ]
    sections += [*device_sections(report), methods_section(report)]
    alarm = bool(report.flagged)
    work = any(section.tone is Tone.WORK for section in sections)
    return Page(
        title="qflows report",
        covers=f"{moment(report.since)} to {moment(report.until)} UTC",
        verdict=_verdict(report),
        tone=Tone.ALARM if alarm else Tone.WORK if work else Tone.CALM,
        numbers=_numbers(report),
        sections=tuple(sections),
    )


def _verdict(report: Report) -> str:
    told = []
    if report.flagged:
        told.append(f"{plural(len(report.flagged), 'quantity', 'quantities')} drifted beyond 3σ")
    waiting = sum(one.needs_person for one in report.doubts) + len(report.held) + len(report.callbacks)
    if waiting:
        told.append(f"{plural(waiting, 'thing waits', 'things wait')} for a person")
    failed = [job for job in report.bad if not was_wished(job)]
    if failed:
        told.append(f"{plural(len(failed), 'job')} without counts")
    if report.runs:
        told.append(f"{plural(len(report.runs), 'flow run')} failed or crashed")
    full = used_up(report)
    if full:
        told.append(f"{plural(len(full), 'budget')} nearly used up")
    if told:
        return ", ".join(told) + "."
    if not report.n_jobs and not report.n_compared:
        return "Nothing ran in this period, and nothing needs your attention."
    return "Nothing needs your attention."


def _numbers(report: Report) -> tuple[tuple[str, str], ...]:
    by_status: defaultdict[JobStatus, int] = defaultdict(int)
    for tally in report.tallies:
        by_status[tally.status] += tally.n
    live = sum(n for status, n in by_status.items() if status in LIVE)
    return (
        ("jobs", str(report.n_jobs)),
        ("completed", str(by_status[JobStatus.COMPLETED])),
        ("failed", str(by_status[JobStatus.FAILED])),
        ("cancelled", str(by_status[JobStatus.CANCELLED])),
        ("under way", str(live)),
        ("paid", "; ".join(amounts(report.spending)) or "nothing"),
        ("QPU time", qpu(report.tallies)),
        ("drift flags", str(len(report.flagged))),
    )


# -- what ran


def _ran(report: Report) -> Section:
    if not report.n_jobs:
        text = "No job was submitted or finished in this period."
        return Section("What ran", Tone.CALM, (Line(text), *_retries(report)))
    flows = tuple(
        (one.flow_name or "scripts and commands", str(one.n_runs), str(one.n_jobs), str(one.n_completed),
         str(one.n_failed), str(one.n_live), moment(one.last))
        for one in report.flows[:ROWS]
    )  # fmt: skip
    columns = ("flow", "runs", "jobs", "completed", "failed", "under way", "last job")
    by_flow = Table(columns, flows, frozenset(columns[1:6]))
    return Section("What ran", Tone.CALM, (by_flow, _by_device(report), *_retries(report)))


def _by_device(report: Report) -> Table:
    statuses = [status for status in JobStatus if any(tally.status is status for tally in report.tallies)]
    devices: defaultdict[tuple[str, str], list[Tally]] = defaultdict(list)
    for tally in report.tallies:
        devices[tally.device, tally.provider].append(tally)
    rows = []
    for (device, provider), tallies in sorted(devices.items()):
        n = {tally.status: tally.n for tally in tallies}
        counts = [str(n.get(status, 0) or "") for status in statuses]
        rows.append((device, provider, *counts, str(sum(tally.n_programs for tally in tallies)), qpu(tallies)))
    names = [status.value.lower().replace("_", " ") for status in statuses]
    return Table(("device", "vendor", *names, "circuits", "QPU time"), tuple(rows), frozenset([*names, "circuits"]))


def _retries(report: Report) -> list[Line]:
    if not report.crash_retries:
        return []
    return [Line(f"Crashed flow runs were started again {plural(report.crash_retries, 'time')}.")]


def qpu(tallies: Iterable[Tally]) -> str:
    """QPU seconds as vendors reported them, and for how many completed jobs they reported none."""
    done = [tally for tally in tallies if tally.status is JobStatus.COMPLETED]
    told, known = sum(tally.qpu_s for tally in done), sum(tally.n_qpu for tally in done)
    silent = sum(tally.n for tally in done) - known
    if not known:
        return "not reported" if silent else "none"
    return f"{told:.3g} s" + (f", {plural(silent, 'job')} not reported" if silent else "")


def _open(report: Report) -> list[Section]:
    rows = [
        (
            "session",
            one.name or one.key[:12],
            one.device,
            one.state.value.lower().replace("_", " "),
            moment(one.created_at),
        )
        for one in report.sessions[:ROWS]
    ] + [
        (
            "group",
            one.name or one.id[:12],
            "",
            f"{one.state.value.lower()}, until {moment(one.expires_at)}",
            moment(one.created_at),
        )
        for one in report.groups[:ROWS]
    ]
    if not rows:
        return []
    more = len(report.sessions) + len(report.groups) - len(rows)
    lines = [Line(f"… and {more} more", "qflows sessions ls --live")] if more else []
    table = Table(("what", "name", "device", "state", "since"), tuple(rows))
    return [Section("Open sessions and groups", Tone.CALM, (table, *lines))]


def _skipped(report: Report) -> list[Section]:
    if not report.skipped:
        return []
    rows = tuple((one.flow_name, moment(one.slot), one.skipped or "") for one in report.skipped[-ROWS:])
    lines = [Line(f"{len(report.skipped)} in all; the last {ROWS} are shown.")] if len(report.skipped) > ROWS else []
    return [Section("Skipped schedule slots", Tone.CALM, (Table(("flow", "slot", "why"), rows), *lines))]


def _gated(report: Report) -> list[Section]:
    if not report.gates:
        return []
    words = {LATER: "to be looked at again", NO: "not bought"}
    newest = {(one.run_key, one.device): (one, flow) for one, flow in report.gates}  # oldest first: the last look wins
    rows = tuple(
        (flow or "script", one.run_key[:40], one.device, str(one.look + 1), words[one.verdict], one.why, moment(one.at))
        for one, flow in list(newest.values())[-ROWS:]
    )
    columns = ("flow", "run key", "device", "look", "decision", "why", "at")
    lines = [Line(f"{len(newest)} in all; the last {ROWS} are shown.")] if len(newest) > ROWS else []
    table = Table(columns, rows, frozenset({"look"}))
    return [Section("Held back by a gate", Tone.CALM, (table, *lines))]
