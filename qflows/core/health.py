"""What to know first: what runs, what waits for whom, and whether the vendors answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from qflows.core.devices import Vendors
from qflows.errors import OtherAccount, QflowsError
from qflows.ledger import lanes, reads, sessions
from qflows.ledger.store import Ledger
from qflows.model import Job
from qflows.states import JobStatus, SessionState


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that does not move by itself, and why."""

    job: Job
    why: str


@dataclass
class Health:
    """Live jobs by status; jobs that need attention; lanes."""

    by_status: dict[str, int] = field(default_factory=dict)
    held: list[Waiting] = field(default_factory=list)
    in_doubt: list[Waiting] = field(default_factory=list)
    unsent: list[Waiting] = field(default_factory=list)  # a budget, a pace or an outage holds them back
    elsewhere: list[Waiting] = field(default_factory=list)  # of another account
    sessions: list[str] = field(default_factory=list)  # openings that were never answered: a person must decide
    unreachable: list[Waiting] = field(default_factory=list)  # no credentials, no such device
    lanes: list[lanes.Health] = field(default_factory=list)


def look(ledger: Ledger, vendors: Vendors) -> Health:
    """Everything at once, from the ledger; no vendor is asked for job statuses."""
    found = Health(lanes=lanes.health(ledger))
    for record in sessions.listing(ledger, only_live=True, limit=500):
        if record.state is SessionState.IN_DOUBT:
            found.sessions.append(
                f"session {record.key[:12]} on {record.device}: the vendor never answered its "
                f"opening; run `qflows sessions resolve {record.key[:12]} --opened ID` or `--absent`"
            )
    known: dict[tuple[str, str, str], str | None] = {}
    for job in reads.all_live(ledger):
        found.by_status[job.status.value] = found.by_status.get(job.status.value, 0) + 1
        if job.is_held:
            found.held.append(Waiting(job, job.queue_note or job.word or "its result cannot be read"))
        elif job.status is JobStatus.IN_DOUBT:
            why = "a person must decide" if job.asks_person else "qflows is looking for it"
            note = f"; next look-up {job.queue_note}" if job.queue_note else ""  # a throttled or failed look-up
            found.in_doubt.append(Waiting(job, f"{why}: {job.error_message or 'the answer was lost'}{note}"))
        elif job.status is JobStatus.PREPARED and job.error_message:
            found.unsent.append(Waiting(job, job.error_message))
        place = (job.provider, job.account, job.device)
        if place not in known:
            known[place] = _kept_away(vendors, job, found)
        elif known[place]:
            (found.elsewhere if known[place] == "other" else found.unreachable).append(Waiting(job, "same as above"))
    return found


def _kept_away(vendors: Vendors, job: Job, found: Health) -> str | None:
    try:
        vendors.of(job)
    except OtherAccount as error:
        found.elsewhere.append(Waiting(job, str(error)))
        return "other"
    except QflowsError as error:
        found.unreachable.append(Waiting(job, str(error)))
        return "unreachable"
    return None
