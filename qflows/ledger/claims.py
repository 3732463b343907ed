"""The claim on one submission, and every way it can end. Each statement repeats the state table in its WHERE."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from qflows.errors import IllegalTransition, KeyReused, OverBudget, StaleClaim, UnknownJob
from qflows.ledger import charges
from qflows.ledger.budgets import OVER_BUDGET
from qflows.ledger.charges import UNPRICED
from qflows.ledger.owner import is_dead, me
from qflows.ledger.rows import CODE_CAP, JOB_COLUMNS, MESSAGE_CAP, job_of, vendor_text
from qflows.ledger.settlements import follow
from qflows.ledger.store import Ledger, chunks, utc_now
from qflows.ledger.tables import jobs, ledger_now
from qflows.model import Job
from qflows.states import JobStatus, revocable, sources

VANISHED, ABANDONED = "vanished", "abandoned"
REVOCABLE = frozenset({VANISHED, ABANDONED})  # ends that were concluded, not reported by the vendor


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to send one job once. `fence` proves ownership; `ends_at` is on this machine's clock since boot, which
    runs on while the machine sleeps."""

    key: str
    fence: int
    ends_at: float

    def remaining_s(self) -> float:
        """Seconds for which no other process may take the job over. Counted from before the claim, so never too
        long."""
        return self.ends_at - _since_boot()


Note = Callable[[Mapping[str, Claim]], None]


def _since_boot() -> float:
    """Seconds since boot, including sleep, if the system has such a clock."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.clock_gettime(clock) if clock is not None else time.monotonic()


_AT_KEY = sa.bindparam("at_key", type_=sa.String(64))
_AT_FENCE = sa.bindparam("at_fence", type_=sa.Integer)
_NOW = sa.bindparam("now", type_=jobs.c.claimed_at.type)
_CLAIM = (
    sa.update(jobs)
    .where(
        jobs.c.key == _AT_KEY,
        jobs.c.status.in_([status.value for status in sources(JobStatus.SUBMITTING)]),
        jobs.c.cancel_requested_at.is_(None),
        sa.or_(jobs.c.send_after.is_(None), jobs.c.send_after <= ledger_now()),
    )
    .values(
        status=JobStatus.SUBMITTING.value,
        fence=jobs.c.fence + 1,
        claim_owner=sa.bindparam("owner"),
        lease_until=ledger_now() + sa.bindparam("lease_s", type_=sa.Float),
        claimed_at=sa.func.coalesce(jobs.c.claimed_at, _NOW),
    )
    .returning(jobs.c.fence)
)


def claim(ledger: Ledger, key: str, *, lease_s: float) -> Claim | None:
    """PREPARED → SUBMITTING for exactly one caller; None for all others, or if it may not be sent now."""
    return claim_several(ledger, [key], lease_s=lease_s).get(key)


def claim_several(
    ledger: Ledger, keys: Collection[str], *, lease_s: float, note: Note | None = None
) -> dict[str, Claim]:
    """Claim what is free among `keys` in one transaction; keys that another process holds are absent."""
    mine, blocked = ledger.transact(lambda connection: claim_in(ledger, connection, keys, lease_s=lease_s, note=note))
    tell_claimed(ledger, mine, blocked)
    return mine


def tell_claimed(ledger: Ledger, mine: Collection[str], blocked: Mapping[str, OverBudget]) -> None:
    """Notify the listeners of the outcome of `claim_in`, once that is durable."""
    for key, error in blocked.items():
        ledger.tell("failed" if charges.is_final(error) else "not-sent", key, reason=str(error))
        charges.tell(ledger, error)
    for key in mine:
        ledger.tell("claimed", key)


def claim_in(
    ledger: Ledger, connection: sa.Connection, keys: Collection[str], *, lease_s: float, note: Note | None = None
) -> tuple[dict[str, Claim], dict[str, OverBudget]]:
    """Claim what is free among `keys` in the caller's transaction; return the claims, and what no budget has room for.

    `note` is told the claims before they are durable: an interrupt of the commit leaves them to whoever noted them.
    """
    started = _since_boot()
    values = {"owner": me(), "lease_s": lease_s, "now": utc_now()}
    fences = {key: connection.execute(_CLAIM, values | {"at_key": key}).scalar() for key in sorted(keys)}
    blocked = _turn_away(ledger, connection, [key for key, fence in fences.items() if fence is not None])
    mine = {
        key: Claim(key, fence, started + lease_s)
        for key in keys
        if (fence := fences[key]) is not None and key not in blocked
    }
    if note is not None:
        note(mine)
    return mine, blocked


def _turn_away(ledger: Ledger, connection: sa.Connection, keys: Collection[str]) -> dict[str, OverBudget]:
    """End, or postpone, those of the jobs just claimed that a budget has no room for."""
    blocked = charges.admit(ledger, connection, keys)
    for key, error in sorted(blocked.items()):
        end: dict[str, Any] = {"status": JobStatus.PREPARED, "error_code": UNPRICED, "send_after": None}
        if charges.is_final(error):
            end = {"status": JobStatus.FAILED, "error_kind": "refused", "error_code": OVER_BUDGET}
            end |= {"error_retryable": False, "finished_at": utc_now()}
        elif error.policy != UNPRICED:
            end |= {"error_code": OVER_BUDGET, "send_after": ledger_now() + _NO_ROOM_S}
        values = {"lease_until": None, "claim_owner": None, "error_message": str(error)[:MESSAGE_CAP]}
        claimed = jobs.c.status == JobStatus.SUBMITTING.value
        connection.execute(sa.update(jobs).where(jobs.c.key == key, claimed).values(**values, **end))
    follow(ledger, connection, [key for key, error in blocked.items() if charges.is_final(error)])
    return blocked


def accepted(ledger: Ledger, claim: Claim, vendor_id: str, *, submission: Mapping[str, Any] | None = None) -> None:
    """SUBMITTING → QUEUED with the vendor's id.

    A claim that expired meanwhile, with no newer claim after it, still counts: the job is in doubt and this is the
    answer. Otherwise the id is recorded as an event and StaleClaim is raised: the caller holds an extra. `submission`:
    what the adapter noted with the id.
    """
    values = {"at_key": claim.key, "at_fence": claim.fence, "to_vendor_id": vendor_id, "now": utc_now()}
    values["submission"] = dict(submission) if submission else None
    with _one_job_per_vendor_id(claim.key, vendor_id), ledger.write() as connection:
        done = connection.execute(_ACCEPT, values).rowcount
        if done != 1:
            ledger.record_event(connection, "late-answer", claim.key, vendor_id=vendor_id, fence=claim.fence)
    if done != 1:
        raise StaleClaim(f"job {claim.key[:12]} was taken over while its answer was on the way")
    ledger.tell("queued", claim.key, vendor_id=vendor_id)


@contextmanager
def _one_job_per_vendor_id(key: str, vendor_id: str) -> Iterator[None]:
    try:
        yield
    except exc.IntegrityError as error:
        raise KeyReused(f"{vendor_id} cannot be the id of job {key[:12]}; another job already has it") from error


_AT_VENDOR: dict[str, Any] = {
    "status": JobStatus.QUEUED.value,
    "vendor_id": sa.bindparam("to_vendor_id"),
    "submitted_at": _NOW,
    "lease_until": None,
    "claim_owner": None,
    "doubt_since": None,
    "look_after": None,
    "queue_note": None,
    "error_kind": None,
    "error_message": None,
    "error_code": None,
    "unsent": None,
}
_ACCEPT = (
    sa.update(jobs)
    .where(
        jobs.c.key == _AT_KEY,
        sa.or_(
            sa.and_(jobs.c.status == JobStatus.SUBMITTING.value, jobs.c.fence == _AT_FENCE),
            # expiry adds one to the fence; any later claim adds more
            sa.and_(jobs.c.status == JobStatus.IN_DOUBT.value, jobs.c.fence == _AT_FENCE + 1),
        ),
    )
    .values(_AT_VENDOR | {"submission": sa.bindparam("submission", type_=jobs.c.submission.type)})
)
_ADOPT = (
    sa.update(jobs)
    .where(jobs.c.key == _AT_KEY, jobs.c.fence == _AT_FENCE, jobs.c.status == JobStatus.IN_DOUBT.value)
    .values(_AT_VENDOR)
)


def refused(ledger: Ledger, claim: Claim, *, code: str | None, message: str) -> None:
    """SUBMITTING → FAILED: the vendor refused it, or it could not even be prepared; nothing runs there."""
    _end(
        ledger,
        claim,
        JobStatus.FAILED,
        error_kind="refused",
        error_code=vendor_text(code, CODE_CAP),
        error_message=vendor_text(message, MESSAGE_CAP),
        error_retryable=False,
        finished_at=utc_now(),
    )
    ledger.tell("failed", claim.key, reason=message)


_LONGEST_PAUSE_S = 300.0
_NO_ROOM_S = 15.0  # a job that waits for room in a budget is retried after this
_DOUBLINGS = 12


def not_sent(ledger: Ledger, claim: Claim, *, message: str, retry_in_s: float) -> None:
    """SUBMITTING → PREPARED: the request provably never left, or was turned away before acceptance.

    The pause before the next try doubles each time, from `retry_in_s` up to five minutes. The job goes on to CANCELLED
    if a cancel was requested meanwhile.
    """
    text = vendor_text(message, MESSAGE_CAP)
    tries = sa.func.coalesce(jobs.c.unsent, 0)
    doublings = sa.case((tries > _DOUBLINGS, _DOUBLINGS), else_=tries)
    grown = retry_in_s * sa.literal(1).bitwise_lshift(doublings)
    pause = sa.case((grown > _LONGEST_PAUSE_S, max(_LONGEST_PAUSE_S, retry_in_s)), else_=grown)
    values = {"error_message": text, "send_after": ledger_now() + pause, "unsent": tries + 1}
    _end(ledger, claim, JobStatus.PREPARED, **values)
    ledger.tell("not-sent", claim.key, reason=message)


def doubted(ledger: Ledger, claim: Claim, *, message: str) -> None:
    """SUBMITTING → IN_DOUBT: the vendor may have it. The first look-up may follow at once."""
    text = vendor_text(message, MESSAGE_CAP)
    sends = sa.func.coalesce(jobs.c.sends, 0) + 1
    _end(ledger, claim, JobStatus.IN_DOUBT, error_kind="doubt", error_message=text, sends=sends, **_doubt_begins())
    ledger.tell("in-doubt", claim.key, reason=message)


def _doubt_begins() -> dict[str, Any]:
    return {"doubt_since": ledger_now(), "looks": 0, "look_after": ledger_now()}


def _end(ledger: Ledger, claim: Claim, to: JobStatus, **values: Any) -> None:
    with ledger.write() as connection:
        done = connection.execute(
            sa.update(jobs)
            .where(jobs.c.key == claim.key, jobs.c.fence == claim.fence, jobs.c.status == JobStatus.SUBMITTING)
            .values(status=to, lease_until=None, claim_owner=None, **values)
        ).rowcount
        if to is JobStatus.PREPARED and done == 1:
            cancel_unsent(ledger, connection, [claim.key])
        elif to is JobStatus.FAILED and done == 1:
            follow(ledger, connection, [claim.key])
    if done != 1:
        raise StaleClaim(f"job {claim.key[:12]} was taken over; this process drops it")


def cancel_unsent(ledger: Ledger, connection: sa.Connection, keys: Collection[str]) -> None:
    """PREPARED → CANCELLED if that was requested, in the caller's transaction: nobody but us ever knew of the job."""
    done = connection.execute(
        sa.update(jobs)
        .where(jobs.c.key.in_(keys), jobs.c.status == JobStatus.PREPARED, jobs.c.cancel_requested_at.is_not(None))
        .values(
            status=JobStatus.CANCELLED,
            error_kind="cancelled",
            error_message="cancelled before it was sent; nothing was bought",
            finished_at=utc_now(),
        )
    )
    if done.rowcount:
        follow(ledger, connection, keys)


def expire(ledger: Ledger, keys: Collection[str]) -> list[str]:
    """SUBMITTING → IN_DOUBT for claims whose lease expired or whose owner certainly died. Returns their keys."""
    if not keys:
        return []
    with ledger.read() as connection:
        held = [
            row
            for part in chunks(keys)
            for row in connection.execute(
                sa.select(jobs.c.key, jobs.c.fence, jobs.c.claim_owner, jobs.c.lease_until <= ledger_now()).where(
                    jobs.c.key.in_(part), jobs.c.status == JobStatus.SUBMITTING
                )
            )
        ]
    over = sorted((key, fence) for key, fence, owner, ran_out in held if ran_out or is_dead(owner))

    def work(connection: sa.Connection) -> list[str]:
        return [key for key, fence in over if _expire_one(connection, key, fence)]

    expired = ledger.transact(work) if over else []
    for key in expired:
        ledger.tell("in-doubt", key, reason="claim expired")
    return expired


def _expire_one(connection: sa.Connection, key: str, fence: int) -> bool:
    done = connection.execute(
        sa.update(jobs)
        .where(jobs.c.key == key, jobs.c.fence == fence, jobs.c.status == JobStatus.SUBMITTING)
        # the fence grows on expiry too: an owner that wakes late must lose, even without a takeover
        .values(
            status=JobStatus.IN_DOUBT,
            fence=fence + 1,
            error_kind="doubt",
            error_message="the process that was submitting it died or stalled before the answer",
            **_doubt_begins(),
        )
    )
    return done.rowcount == 1


@dataclass(frozen=True, slots=True)
class Doubt:
    """A job to look up at the vendor: how often it was, how long it has been in doubt, and from when to look."""

    job: Job
    looks: int
    age_s: float
    claimed_at: Any


def doubts_due(ledger: Ledger, keys: Collection[str]) -> list[Doubt]:
    """Jobs in doubt among `keys` whose next look-up is due, and those that it covers at no cost: claimed no earlier.

    A vendor's list is read down to the oldest claim. Doubts that were looked up one by one, each at its own time, would
    use up the requests of a vendor that allows few.
    """
    found: list[tuple[Doubt, bool]] = []
    with ledger.read() as connection:
        for part in chunks(keys):
            rows = connection.execute(
                sa.select(
                    *JOB_COLUMNS,
                    (ledger_now() - jobs.c.doubt_since).label("age_s"),
                    sa.case((jobs.c.look_after <= ledger_now(), 1), else_=0).label("is_due"),
                ).where(
                    jobs.c.key.in_(part),
                    jobs.c.status == JobStatus.IN_DOUBT,
                    jobs.c.look_after.is_not(None),  # the others wait for a person
                )
            )
            found += [(Doubt(job_of(row), row.looks, row.age_s, row.claimed_at), bool(row.is_due)) for row in rows]
    oldest = min((doubt.claimed_at for doubt, is_due in found if is_due), default=None)
    return [] if oldest is None else [doubt for doubt, is_due in found if is_due or doubt.claimed_at >= oldest]


def adopt(ledger: Ledger, job: Job, vendor_id: str, *, extras: Collection[str] = ()) -> None:
    """IN_DOUBT → QUEUED with an id found at the vendor.

    Raises StaleClaim if another process settled it first, KeyReused if the id is another job's.
    """
    with _one_job_per_vendor_id(job.key, vendor_id), ledger.write() as connection:
        values = {"at_key": job.key, "at_fence": job.fence, "to_vendor_id": vendor_id, "now": utc_now()}
        done = connection.execute(_ADOPT, values).rowcount
        if done == 1:
            ledger.record_event(connection, "adopted", job.key, vendor_id=vendor_id, extras=sorted(extras))
    if done != 1:
        raise StaleClaim(f"job {job.key[:12]} was settled by another process")
    ledger.tell("queued", job.key, vendor_id=vendor_id, adopted=True)


def absent(ledger: Ledger, job: Job) -> None:
    """IN_DOUBT → PREPARED: absence is proved, so it may be sent again under the same key.

    The job goes on to CANCELLED if a cancel was requested meanwhile.
    """
    with ledger.write() as connection:
        done = connection.execute(
            sa.update(jobs)
            .where(jobs.c.key == job.key, jobs.c.fence == job.fence, jobs.c.status == JobStatus.IN_DOUBT)
            .values(status=JobStatus.PREPARED, doubt_since=None, look_after=None, send_after=None, queue_note=None)
        ).rowcount
        if done == 1:
            ledger.record_event(connection, "absent", job.key)
            cancel_unsent(ledger, connection, [job.key])
    if done != 1:
        raise StaleClaim(f"job {job.key[:12]} was settled by another process")
    ledger.tell("absent", job.key)


def looked(ledger: Ledger, job: Job, *, again_in_s: float | None) -> None:
    """Count a look-up without a result; the next is due in `again_in_s`, or never by itself if None."""
    again = ledger_now() + again_in_s if again_in_s is not None else None
    with ledger.write() as connection:
        connection.execute(
            sa.update(jobs)
            .where(jobs.c.key == job.key, jobs.c.fence == job.fence, jobs.c.status == JobStatus.IN_DOUBT)
            .values(looks=jobs.c.looks + 1, look_after=again, queue_note=None)
        )


def postpone(ledger: Ledger, job: Job, *, again_in_s: float, why: str | None = None) -> None:
    """Postpone the next look-up without counting one, because the vendor's listing was not seen; `why` stays with the
    job until the next look-up."""
    with ledger.write() as connection:
        connection.execute(
            sa.update(jobs)
            .where(jobs.c.key == job.key, jobs.c.fence == job.fence, jobs.c.status == JobStatus.IN_DOUBT)
            .values(look_after=ledger_now() + again_in_s, queue_note=vendor_text(why, CODE_CAP) or None)
        )


def resolve_submitted(ledger: Ledger, key: str, vendor_id: str) -> None:
    """Record a person's statement that the vendor has the job under this id.

    Raises IllegalTransition unless it is in doubt, or ended only because it was not found or was abandoned.
    """
    job = _row(ledger, key)
    if job.status is JobStatus.FAILED and job.error_code in REVOCABLE:
        revoke(ledger, job, vendor_id=vendor_id, why="found by a person")
        return
    adopt(ledger, _doubtful(job), vendor_id)


def resolve_absent(ledger: Ledger, key: str) -> None:
    """Record a person's statement that the vendor does not have the job; it may be sent again. Raises
    IllegalTransition."""
    job = _doubtful(_row(ledger, key))
    absent(ledger, job)
    with ledger.write() as connection:
        connection.execute(sa.update(jobs).where(jobs.c.key == key, jobs.c.fence == job.fence).values(sends=None))


def revoke(ledger: Ledger, job: Job, *, vendor_id: str | None = None, why: str) -> None:
    """FAILED → QUEUED for an end that was only concluded, never reported by the vendor: see `REVOCABLE`.

    Raises StaleClaim if the job changed meanwhile.
    """
    id_ = vendor_id or job.vendor_id
    with _one_job_per_vendor_id(job.key, str(id_)), ledger.write() as connection:
        done = connection.execute(
            sa.update(jobs)
            .where(
                jobs.c.key == job.key,
                jobs.c.fence == job.fence,
                jobs.c.status.in_([status.value for status in revocable(JobStatus.QUEUED)]),
                jobs.c.error_code.in_(sorted(REVOCABLE)),
                jobs.c.superseded.is_(False),
            )
            .values(
                status=JobStatus.QUEUED,
                vendor_id=id_,
                finished_at=None,
                missing_since=None,
                bad_reads=None,
                is_held=False,
                error_kind=None,
                error_code=None,
                error_message=None,
                error_retryable=None,
            )
        ).rowcount
        if done == 1:
            ledger.record_event(connection, "revived", job.key, vendor_id=id_, why=why)
            follow(ledger, connection, [job.key])
    if done != 1:
        raise StaleClaim(f"job {job.key[:12]} was changed by another process, or bought again meanwhile")
    ledger.tell("queued", job.key, vendor_id=id_, revived=True)


def abandon(ledger: Ledger, key: str, *, reason: str) -> None:
    """End a live job on a person's decision; the job at the vendor is not touched, and what is known is kept.

    Raises IllegalTransition for a job that is over.
    """
    job = _row(ledger, key)
    to = JobStatus.CANCELLED if job.status is JobStatus.PREPARED else JobStatus.FAILED
    if job.is_terminal:
        raise IllegalTransition(f"job {key[:12]} is already {job.status.value}; there is nothing to abandon")
    with ledger.write() as connection:
        done = connection.execute(
            sa.update(jobs)
            .where(jobs.c.key == key, jobs.c.fence == job.fence, jobs.c.status.in_([s.value for s in sources(to)]))
            .values(
                status=to,
                fence=jobs.c.fence + 1,
                claim_owner=None,
                lease_until=None,
                finished_at=utc_now(),
                error_kind="abandoned",
                error_code=ABANDONED,
                error_message=vendor_text(f"abandoned: {reason}", MESSAGE_CAP),
                error_retryable=None,
            )
        ).rowcount
        if done == 1:
            ledger.record_event(connection, "abandoned", key, reason=reason, was=job.status.value)
            follow(ledger, connection, [key])
    if done != 1:
        raise StaleClaim(f"job {key[:12]} was changed by another process; check it and try again")
    ledger.tell("failed", key, reason=reason)


def _row(ledger: Ledger, key: str) -> Job:
    with ledger.read() as connection:
        row = connection.execute(sa.select(*JOB_COLUMNS).where(jobs.c.key == key)).one_or_none()
    if row is None:
        raise UnknownJob(f"the ledger has no job {key[:12]}")
    return job_of(row)


def _doubtful(job: Job) -> Job:
    if job.status is not JobStatus.IN_DOUBT:
        raise IllegalTransition(f"job {job.key[:12]} is {job.status.value}, not IN_DOUBT; there is nothing to resolve")
    return job
