"""The wall: one page for a shared screen. What needs a person, what runs, queues, money, drift.

Reads the ledger alone; no vendor is asked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from qflows.ledger import lanes, pending, sessions
from qflows.ledger.budgets import amount_of
from qflows.ledger.pending import OnDevice
from qflows.ledger.store import Ledger
from qflows.pages.morning import gather
from qflows.pages.morning.gather import Report
from qflows.pages.morning.money import amounts
from qflows.pages.text import escape, markdown_table
from qflows.states import JobStatus, SessionState

TITLE = "Quantum jobs now"
_MOST = 8
_RUNNING = ("device", "running", "queued", "not sent yet", "in doubt", "queue", "oldest")
_VENDORS = ("vendor", "account", "last answer", "last failure")


def compose(ledger: Ledger, now: datetime | None = None) -> str:
    """The page as Markdown. Raises LedgerError."""
    now = now or datetime.now(UTC)
    day = gather(ledger, now - timedelta(days=1), now)
    live = pending.by_device(ledger)
    page = [f"# {TITLE}", f"{now:%Y-%m-%d %H:%M} UTC · **{sum(one.n for one in live)} live jobs** · {_last_day(day)}"]
    page += _needs(ledger, day)
    page += ["## Running", markdown_table(_running(live, now), _RUNNING) if live else "Nothing runs."]
    page += ["## Spent", _spent(day)]
    page += ["## Drift", _drift(day)]
    found = _vendors(ledger)
    page += ["## Vendors", markdown_table(found, _VENDORS)] if found else []
    return "\n\n".join(page)


def _last_day(day: Report) -> str:
    done = sum(one.n for one in day.tallies if one.status is JobStatus.COMPLETED)
    bad = sum(one.n for one in day.tallies if one.status is JobStatus.FAILED)
    return f"last 24 h: {done} completed, {bad} failed"


def _needs(ledger: Ledger, day: Report) -> list[str]:
    lines = [
        f"- in doubt, needs a decision: job `{one.job.key[:12]}` on {escape(one.job.device)}: "
        f"`qflows jobs resolve {one.job.key[:12]} …`"
        for one in day.doubts
        if one.needs_person
    ]
    lines += [
        f"- held: job `{job.key[:12]}` on {escape(job.device)}: "
        f"{escape(job.queue_note or job.word or 'cannot be read')}"
        for job in day.held
    ]
    lines += [
        f"- session `{one.key[:12]}` on {escape(one.device)}: the vendor never answered its opening, "
        f"`qflows sessions resolve {one.key[:12]} …`"
        for one in sessions.listing(ledger, only_live=True, limit=200)
        if one.state is SessionState.IN_DOUBT
    ]
    more = [f"- and {len(lines) - _MOST} more: `qflows status`"] if len(lines) > _MOST else []
    return ["## Needs attention", "\n".join([*lines[:_MOST], *more])] if lines else []


def _running(live: Sequence[OnDevice], now: datetime) -> list[dict[str, str]]:
    by_device: defaultdict[str, list[OnDevice]] = defaultdict(list)
    for one in live:
        by_device[one.device].append(one)
    rows = []
    for device, found in sorted(by_device.items(), key=lambda pair: -sum(one.n for one in pair[1])):

        def count(*states: JobStatus, of: Sequence[OnDevice] = found) -> str:
            return str(sum(one.n for one in of if one.status in states) or "")

        positions = [one.place for one in found if one.place is not None]
        rows.append(
            {
                "device": escape(device),
                "running": count(JobStatus.RUNNING),
                "queued": count(JobStatus.QUEUED),
                "not sent yet": count(JobStatus.PREPARED, JobStatus.SUBMITTING),
                "in doubt": count(JobStatus.IN_DOUBT),
                "queue": f"place {min(positions)}" if positions else "",
                "oldest": ago((now - min(one.oldest for one in found)).total_seconds()),
            }
        )
    return rows


def _spent(day: Report) -> str:
    told = [("last 24 h", day.spending), ("this month", day.month)]
    lines = [f"- {when}: {', '.join(amounts(spent)) or 'nothing'}" for when, spent in told]
    for one in sorted(day.budgets, key=lambda one: -one.share)[:_MOST]:
        limit = f"{amount_of(one.limit):.6g} {one.budget.currency}"
        text = f"budget {escape(one.budget.name)} ({escape(one.bucket)}): {one.share:.0%} of {limit} used"
        lines.append(f"- **{text}**" if one.share >= one.budget.warn else f"- {text}")
    return "\n".join(lines)


def _drift(day: Report) -> str:
    if not day.flagged:
        return (
            f"None in {day.n_compared} values of the last 24 h."
            if day.n_compared
            else "No value of the last 24 h has enough history to compare."
        )
    return "\n".join(
        f"- **{escape(one.newest.device)}** {escape(one.newest.name)}: "
        f"{max((abs(flag.sigmas or 0.0) for flag in one.flagged), default=0.0):.1f}σ"
        for one in day.flagged[:_MOST]
    )


def _vendors(ledger: Ledger) -> list[dict[str, str]]:
    return [
        {
            "vendor": escape(one.provider),
            "account": escape(one.account),
            "last answer": f"{ago(one.ok_ago_s)} ago" if one.ok_ago_s is not None else "never",
            "last failure": f"{ago(one.error_ago_s)} ago: {escape(one.error)}" if one.error_ago_s is not None else "",
        }
        for one in lanes.health(ledger)
    ]


def ago(seconds: float) -> str:
    """A duration in one unit."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
