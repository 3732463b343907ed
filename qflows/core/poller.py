"""Waiting: one bulk poll per lane for everybody, at the vendor's pace, with the state in SQL.

A lane is one (vendor, account) pair. Whoever holds its lease polls the jobs of the lane that are due (`pacing`), also
those of other processes, stores their counts, and gives the lane back with the moment of the next request, which a
younger job may bring forward. Everybody else reads the ledger. So N queued jobs cost ceil(N / page) requests a tick,
however many flows wait for them.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module

from qflows.core.devices import SpeaksFor
from qflows.core.fetching import UNREADABLE, Fetcher
from qflows.core.pacing import Agenda, held_up_s, paced, step_s, used_s
from qflows.core.submit import Submitter, person_must_decide
from qflows.errors import (
    InDoubt,
    LedgerError,
    NotSent,
    OtherAccount,
    ProviderError,
    QflowsError,
    Refused,
    ResultsHeld,
    StaleClaim,
    UnknownJob,
    Unreadable,
    WaitTimeout,
)
from qflows.ledger import claims, lanes, outcomes, reads
from qflows.ledger.store import Ledger
from qflows.model import Job
from qflows.protocol import Lookup, Observation, Phase, Provider
from qflows.states import AT_VENDOR, JobStatus

log = logging.getLogger("qflows.poller")

_READ_EVERY_S = 0.25  # how often a waiter reads the ledger while somebody else moves its jobs
_IDLE_S = 1.0  # the like while nobody does: another process may wish to cancel, or end a job by hand
_RETRY_S = 1.0  # the pause after the first failed poll is twice as long
_LANE_LEASE_S = 60.0
_REFUSALS = 3  # polls refused in a row (credentials revoked) before the waiter is told
_SURPRISES = 3  # unforeseen errors in a row, until a vendor is given up
_GRACE_S = 0.05  # a lane that ends at the deadline may still write down what it has
_NOT_LISTED = "(not listed)"
_UNREADABLE_STATUS = "(unreadable)"
_UNKNOWN_WORD_S = 600.0  # how long a status word that no document names is waited out
_APART_REQUESTS = 64  # to find the jobs that spoil an answer
LONGEST_PAUSE_S = 300.0  # whatever a vendor asks for: a pause that is longer is asked for again
_GONE = Observation(
    Phase.FAILED,
    "(gone)",
    error_code=claims.VANISHED,
    error_message="the vendor no longer has this job",
    is_retryable=True,
)

OnChange = Callable[[Job], None]


@dataclass
class Round:
    """What one round found out: when another is due, and what kept single jobs from moving, by key."""

    pause_s: float = 0.0
    troubles: dict[str, Exception] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Looked:
    """Keys of the jobs of which a look brought news, and of those that are over at the vendor."""

    changed: frozenset[str] = frozenset()
    over: frozenset[str] = frozenset()


@dataclass
class Poller:
    """Brings jobs to their end. `vendors` says which provider may act on a job.

    Whatever a vendor, a decoder or a library raises stays with the job it was about; a lane that cannot be polled
    stays with its own jobs. Only a broken ledger stops everything.
    """

    submitter: Submitter
    vendors: SpeaksFor
    poll_min_s: float | None = None
    on_stored: Callable[[], None] | None = None  # see `Fetcher`
    _waiter: str = field(default_factory=lambda: uuid.uuid4().hex[:8], repr=False)
    _failures: dict[tuple[str, str], int] = field(default_factory=dict, repr=False)  # polls refused in a row, by lane

    def __post_init__(self) -> None:
        self._fetcher = Fetcher(self.submitter, self.on_stored)

    def wait(
        self, keys: Collection[str], *, timeout: float | None = None, on_change: OnChange | None = None
    ) -> dict[str, Job]:
        """Blocks until every job is terminal and returns their handles by key.

        One deadline for all: after `timeout` seconds (0: one look) raises WaitTimeout naming the pending ones and what
        is known of each. Raises, as soon as none of the others is left to wait for: InDoubt when only a person can
        tell where a job is, OtherAccount when a job is another account's, ResultsHeld when the vendor finished it and
        its result cannot be read, Refused when the vendor keeps refusing to be polled (credentials). Raises UnknownJob
        for a key the ledger does not have.
        """
        deadline = time.monotonic() + timeout if timeout is not None else None
        handles: dict[str, Job] = {}
        ledger = self.submitter.ledger
        outcomes.forget_held(ledger, keys)  # whoever waits again wants the vendor asked again
        self.revive(reads.by_keys(ledger, keys).values())
        told: set[str] = set()
        looked = False
        while True:
            fresh = reads.by_keys(ledger, keys)
            missing = set(keys) - set(fresh)
            if missing:
                raise UnknownJob(f"the ledger has no job {', '.join(sorted(k[:12] for k in missing))}")
            if on_change:
                for key, job in fresh.items():
                    before = handles.get(key)
                    if before is None or (before.status, before.word) != (job.status, job.word):
                        on_change(job)
            handles = fresh
            pending = [job for job in handles.values() if not job.is_terminal]
            if not pending:
                return handles
            if looked and deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeout(
                    f"{len(pending)} of {len(handles)} job(s) not finished after {timeout:g} s: "
                    f"{where_they_are(pending)}. qflows.result or qflows.attach picks them up later",
                    pending=tuple(job.key for job in pending),
                )
            done = self.tick(pending, urgent=deadline is not None and time.monotonic() >= deadline)
            looked = True
            self._tell(done.troubles, handles, told)
            self._raise_if_nothing_is_left(pending, done.troubles)
            pause = done.pause_s
            if deadline is not None:
                pause = min(pause, max(deadline - time.monotonic(), 0.0))
            if pause > 0:
                time.sleep(pause)

    def _tell(self, troubles: Mapping[str, Exception], handles: Mapping[str, Job], told: set[str]) -> None:
        """Says once what keeps a job from moving, while the others are still waited for."""
        for key, error in troubles.items():
            if key not in told:
                told.add(key)
                job = handles.get(key)
                log.warning("job %s on %s waits: %s", key[:12], job.device if job else "?", error)

    def _raise_if_nothing_is_left(self, pending: Sequence[Job], troubles: Mapping[str, Exception]) -> None:
        """Raises what keeps the last pending jobs from moving, when it cannot pass by itself."""
        fresh = reads.by_keys(self.submitter.ledger, [job.key for job in pending]).values()
        stuck = [job for job in fresh if not job.is_terminal]
        if not stuck or not all(job.is_held or job.asks_person or job.key in troubles for job in stuck):
            return
        keys = tuple(job.key for job in stuck)
        held = [job for job in stuck if job.is_held]
        doubtful = [job for job in stuck if job.asks_person]
        if held and len(held) == len(stuck):
            raise ResultsHeld(
                f"{held[0].provider} finished {len(held)} job(s), but their results cannot be read: "
                f"{held[0].queue_note or held[0].word}; fix that, then wait again",
                pending=keys,
            )
        for job in stuck:
            error = troubles.get(job.key)
            if error is not None:
                if isinstance(error, OtherAccount):
                    raise OtherAccount(
                        f"job {job.key[:12]} waits: {error}", provider=job.provider, account=job.account, pending=keys
                    ) from error
                raise error
        if doubtful:
            job = doubtful[0]
            raise InDoubt(person_must_decide(job, job.error_message or "no answer"), key=job.key, provider=job.provider)

    def wait_until(self, keys: Collection[str], enough: Callable[[Job], bool], *, timeout: float | None = None) -> None:
        """Blocks until `enough` holds for every job. Raises WaitTimeout naming the others."""
        deadline = time.monotonic() + timeout if timeout is not None else None
        while lacking := [job for job in reads.by_keys(self.submitter.ledger, keys).values() if not enough(job)]:
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeout(
                    f"{len(lacking)} job(s) not there after {timeout:g} s: {where_they_are(lacking)}",
                    pending=tuple(job.key for job in lacking),
                )
            done = self.tick(lacking)
            self._raise_if_nothing_is_left(lacking, done.troubles)
            pause = done.pause_s
            time.sleep(pause if deadline is None else min(pause, max(deadline - time.monotonic(), 0.0)))

    def revive(self, jobs: Iterable[Job]) -> list[str]:
        """Takes back the end of jobs that only seemed to be gone, when the vendor shows them again; returns keys."""
        revived = []
        for job in jobs:
            if job.status is not JobStatus.FAILED or job.error_code != claims.VANISHED or not job.vendor_id:
                continue
            try:
                if self.vendors.of(job).exists(job.vendor_id):
                    claims.revoke(self.submitter.ledger, job, why="the vendor shows it again")
                    log.warning("job %s is listed again at %s and is polled as before", job.key[:12], job.provider)
                    revived.append(job.key)
            except StaleClaim as error:
                log.info("%s", error)
            except LedgerError:
                raise
            except Exception as error:  # nothing that goes wrong in here may change the end that stands
                log.info("job %s could not be looked for again: %s", job.key[:12], error)
        return revived

    def tick(self, pending: Sequence[Job], *, urgent: bool = False) -> Round:
        """One round for `pending`, lane by lane: the jobs that are due are looked at; `urgent`: all of `pending`, as
        soon as the vendor's pace allows."""
        done = Round()
        lanes_of: dict[tuple[str, str], tuple[Provider, list[Job]]] = {}
        for job in pending:
            try:
                provider = self.vendors.of(job)
            except LedgerError:
                raise
            except Exception as error:  # no credentials, another account, a broken profile: this job alone waits
                done.troubles[job.key] = error
                continue
            lanes_of.setdefault((job.provider, job.account), (provider, []))[1].append(job)
        pauses = [_READ_EVERY_S] if done.troubles else []
        for (_, account), (provider, jobs) in lanes_of.items():
            try:
                pauses.append(self._tick_lane(provider, account, jobs, done, urgent=urgent))
            except LedgerError:
                raise
            except Exception as error:  # the edge to one vendor: its jobs wait, the others go on
                log.warning("%s: %s", provider.name, error, exc_info=not isinstance(error, QflowsError))
                done.troubles |= {j.key: _told(provider, error) for j in jobs if j.key not in done.troubles}
                pauses.append(_READ_EVERY_S)
        done.pause_s = min(pauses, default=0.0)
        return done

    def _tick_lane(self, provider: Provider, account: str, mine: Sequence[Job], done: Round, *, urgent: bool) -> float:
        pauses = [self._push(provider, mine)]
        if provider.capabilities.lookup is Lookup.LOCAL:
            # there is no queue to share: a local job runs in the process that waits for it
            fresh = reads.by_keys(self.submitter.ledger, [job.key for job in mine]) if pauses[0] == 0 else {}
            return 0.0 if self._look(provider, [fresh.get(job.key, job) for job in mine]).changed else pauses[0]
        there = [job for job in mine if _is_there(job)]
        if not there:
            return pauses[0]
        pace = paced(provider.capabilities.pace, self.poll_min_s)
        at_once = frozenset(job.key for job in there) if urgent else frozenset[str]()
        agenda = Agenda(pace, provider.capabilities.poll_page, self.submitter.news, at_once)

        def wanted_at(lane: lanes.Lane) -> float:
            soonest = agenda.soonest(there, now=lane.now, after=lane.asked_at or 0.0)
            allowed = held_up_s(pace, lane.interval_s) - lane.since_s
            gap = step_s(pace, 0.0) - lane.since_s
            return max(soonest or 0.0, lane.now + allowed, lane.now + gap)

        lane = lanes.acquire(
            self.submitter.ledger,
            provider.name,
            account,
            holder=lanes.holder_name(self._waiter),
            lease_s=_LANE_LEASE_S,
            wanted_at=wanted_at,
        )
        if isinstance(lane, float | int):
            return min(lane, *pauses)
        pauses.append(self._poll_lane(provider, lane, mine, done, agenda))
        return min(pauses)

    def _push(self, provider: Provider, mine: Sequence[Job]) -> float:
        """Sends what is free to be sent, ends doubts, passes cancels on. Returns when to come again, seconds."""
        ledger = self.submitter.ledger
        doubtful = [j.key for j in mine if j.status in (JobStatus.SUBMITTING, JobStatus.IN_DOUBT)]
        self.submitter.settle(provider, doubtful)
        pause = _IDLE_S if all(_is_there(job) for job in mine) else _READ_EVERY_S
        for key, delay_s in reads.send_delay_s(ledger, [j.key for j in mine if j.vendor_id is None]).items():
            if delay_s <= 0:
                self.submitter.send(provider, [reads.job(ledger, key)])
                pause = 0.0
            else:
                pause = min(pause, delay_s)
        self.cancel_wished(provider, mine)
        return pause

    def cancel_wished(self, provider: Provider, mine: Sequence[Job]) -> None:
        """Passes a wish to cancel on to the vendor, once per tick until the vendor says it is over."""
        for job in mine:
            if job.cancel_requested_at and job.vendor_id and job.status in AT_VENDOR:
                try:
                    provider.cancel(job.vendor_id)
                    outcomes.cancel_sent(self.submitter.ledger, job.key)
                except LedgerError:
                    raise
                except Exception as error:  # a cancel that fails is repeated by the next tick
                    log.warning("cancel of job %s: %s", job.key[:12], error)

    def _poll_lane(
        self, provider: Provider, lane: lanes.Lane, mine: Sequence[Job], done: Round, agenda: Agenda
    ) -> float:
        """Polls what is due in the lane; gives the lane back with the moment of the next poll.

        Returns when to come again, seconds; 0 when something changed, so that a waiter sees it at once.
        """
        ledger = self.submitter.ledger
        pace = agenda.pace
        began = time.monotonic()
        next_in_s = interval_s = pace.first_s
        failed: str | None = None
        place = (lane.provider, lane.account)
        looked = _Looked()
        try:
            everyone = {job.key: job for job in reads.live(ledger, lane.provider, lane.account)}
            ours = reads.by_keys(ledger, [job.key for job in mine])
            there = [job for job in (everyone | ours).values() if _is_there(job)]
            due = agenda.due(lane, there)
            looked = self._look(provider, sorted(due, key=lambda job: job.key not in ours))
            self.submitter.news.note([job for job in due if job.key in looked.changed])
            left = [job for job in there if job.key not in looked.over]
            new = sum(agenda.age_s(job) <= lane.since_s for job in there)
            interval_s = used_s(pace, lane, requests=-(-len(due) // agenda.page), new_jobs=new)
            soonest = agenda.soonest(left, now=lane.now, after=lane.now) or lane.now + pace.max_s
            passed_s = time.monotonic() - began
            earliest = max(step_s(pace, 0.0) - passed_s, held_up_s(pace, interval_s), 0.0)
            next_in_s = max(soonest - lane.now - passed_s, earliest)
            self._failures.pop(place, None)
        except LedgerError as error:
            failed = str(error)
            raise
        except Exception as error:  # the edge to one vendor
            failed = str(error) or type(error).__name__
            asked_s = error.retry_after_s if isinstance(error, ProviderError) else None
            shortest_s = pace.first_s if self.poll_min_s is not None else max(pace.first_s, _RETRY_S)
            before_s = max(lane.interval_s, shortest_s) if lane.is_failing else shortest_s
            interval_s = min(before_s * 2, max(pace.max_s, pace.first_s))
            next_in_s = max(min(asked_s or 0.0, LONGEST_PAUSE_S), interval_s)
            log.warning("polling %s: %s; next try in %.1f s", provider.name, error, next_in_s)
            passing = isinstance(error, ProviderError) and not isinstance(error, Refused)
            self._failures[place] = 0 if passing else self._failures.get(place, 0) + 1
            if self._failures[place] >= _REFUSALS:
                done.troubles |= {job.key: _told(provider, error) for job in mine}
        finally:
            lanes.release(ledger, lane, next_in_s=next_in_s, interval_s=interval_s, ok=failed is None, error=failed)
        return 0.0 if looked.changed else next_in_s

    def _look(self, provider: Provider, jobs: Sequence[Job]) -> _Looked:
        """One bulk poll over `jobs`; records what is new and fetches what is done."""
        at_vendor = [job for job in jobs if _is_there(job)]
        if not at_vendor:
            return _Looked()
        suspects = {str(job.vendor_id) for job in at_vendor if job.bad_reads}
        statuses = self._poll(provider, [job.vendor_id for job in at_vendor if job.vendor_id], suspects)
        seen = [(job, self._if_readable(job, _look_of(statuses, job))) for job in at_vendor]
        seen = self._without_vanished(provider, seen)
        partly = [(j, look) for j, look in seen if look.phase is Phase.FAILED and j.n_programs > 1 and look != _GONE]
        done = [(job, look) for job, look in seen if look.phase is Phase.DONE]
        held_back = {job.key for job, _ in done + partly}  # recorded together with their counts
        changed = outcomes.observe(self.submitter.ledger, [(j, look) for j, look in seen if j.key not in held_back])
        self._fetcher.fetch_all(provider, done + partly)
        over = {job.key for job, look in seen if look.phase in (Phase.DONE, Phase.FAILED, Phase.CANCELLED)}
        return _Looked(frozenset(held_back.union(changed)), frozenset(over))

    def _poll(self, provider: Provider, ids: Sequence[str], suspects: Collection[str]) -> dict[str, Observation]:
        """Statuses by id. When an answer cannot be read, halves of the list are asked for, down to the job that spoils
        it: that one stays as it was, the others go on. Gives up, with the first error, where nothing can be read."""
        try:
            return dict(provider.poll(ids))
        except (LedgerError, NotSent, Refused):
            raise
        except Exception as error:
            if isinstance(error, ProviderError) and not isinstance(error, Unreadable):
                raise
            if len(ids) == 1 and ids[0] in suspects:
                return {ids[0]: _unreadable(error)}
            if len(ids) == 1:
                raise
            return self._poll_apart(provider, ids, suspects, error)

    def _poll_apart(
        self, provider: Provider, ids: Sequence[str], suspects: Collection[str], first: Exception
    ) -> dict[str, Observation]:
        found: dict[str, Observation] = {}
        asks, left = [ids[: len(ids) // 2], ids[len(ids) // 2 :]], _APART_REQUESTS
        while asks and left:
            part, left = asks.pop(0), left - 1
            try:
                found |= provider.poll(part)
            except (LedgerError, NotSent, Refused):
                raise
            except Exception as error:
                if len(part) > 1:
                    asks += [part[: len(part) // 2], part[len(part) // 2 :]]
                else:
                    found[part[0]] = _unreadable(error)
        nothing = all(look.word == _UNREADABLE_STATUS for look in found.values())
        if nothing and not set(ids) <= set(suspects):
            raise first
        return found

    def _without_vanished(
        self, provider: Provider, seen: Sequence[tuple[Job, Observation]]
    ) -> list[tuple[Job, Observation]]:
        """Jobs that lists do not show, or show with an undocumented word, for too long.

        One that is not listed is asked for by its id: the vendor's own «there is no such job» is an end that can be
        revoked; anything else leaves the job as it was. One whose word stays unknown is held, and a person told.
        """
        strange = [job for job, look in seen if look.phase is Phase.UNKNOWN]
        ages = outcomes.missed(self.submitter.ledger, strange)
        settle_s = self.submitter.settle_time_s(provider)
        looks = []
        for job, look in seen:
            age_s = ages.get(job.key, -1.0)
            if look.word == _UNREADABLE_STATUS:
                outcomes.keep_unreadable(self.submitter.ledger, job, Unreadable(look.queue_note or look.word))
                if job.bad_reads + 1 >= UNREADABLE:
                    look = replace(look, phase=Phase.HELD)  # noqa: PLW2901
            elif look.word == _NOT_LISTED and age_s >= settle_s and self._is_gone(provider, job):
                look = _GONE  # noqa: PLW2901
            elif look.phase is Phase.UNKNOWN and look.word != _NOT_LISTED and age_s >= _UNKNOWN_WORD_S:
                note = f"for {age_s:.0f} s its status is {look.word[:64]!r}, which no document names"
                look = replace(look, phase=Phase.HELD, queue_note=look.queue_note or note)  # noqa: PLW2901
            looks.append((job, look))
        return looks

    def _if_readable(self, job: Job, look: Observation) -> Observation:
        """A result that could not be read several times in a row is left where it is, and a person told.

        That of a failed job too: it may hold the counts of its good circuits, which are paid.
        """
        if look.phase not in (Phase.DONE, Phase.FAILED) or job.bad_reads < UNREADABLE:
            return look
        note = f"its answer cannot be read (`qflows jobs show {job.key[:12]}` has the text)"
        return replace(look, phase=Phase.HELD, queue_note=note)

    def _is_gone(self, provider: Provider, job: Job) -> bool:
        assert job.vendor_id is not None
        try:
            return not provider.exists(job.vendor_id)
        except LedgerError:
            raise
        except Exception as error:
            log.warning("job %s is not listed, and could not be asked for: %s", job.key[:12], error)
            return False


def _unreadable(error: Exception) -> Observation:
    return Observation(Phase.UNKNOWN, _UNREADABLE_STATUS, queue_note=f"{type(error).__name__}: {error}"[:255])


def _told(provider: Provider, error: Exception) -> Exception:
    """The error as a waiter is told it: what a library raised by accident becomes one of ours."""
    if isinstance(error, QflowsError):
        return error
    wrapped = Unreadable(f"{provider.name} cannot be polled: {type(error).__name__}: {error}", provider=provider.name)
    wrapped.__cause__ = error
    return wrapped


def _is_there(job: Job) -> bool:
    return job.status in AT_VENDOR and job.vendor_id is not None


def where_they_are(jobs: Sequence[Job]) -> str:
    """Where pending jobs are, in words: at the vendor, in doubt, or not sent and why not."""
    there = sum(job.vendor_id is not None for job in jobs)
    doubtful = [job for job in jobs if job.status in (JobStatus.IN_DOUBT, JobStatus.SUBMITTING)]
    unsent = [job for job in jobs if job.status is JobStatus.PREPARED]
    told = [f"{there} at the vendor"] if there else []
    if doubtful:
        told.append(f"{len(doubtful)} in doubt, the vendor may or may not have them{_last_answer(doubtful)}")
    if unsent:
        told.append(f"{len(unsent)} not sent{_last_answer(unsent)}")
    return ", ".join(told)


def _last_answer(jobs: Sequence[Job]) -> str:
    why = next((job.error_message for job in jobs if job.error_message), None)
    return f" (last answer: {why})" if why else ""


def _look_of(statuses: Mapping[str, Observation], job: Job) -> Observation:
    assert job.vendor_id is not None
    return statuses.get(job.vendor_id) or Observation(Phase.UNKNOWN, _NOT_LISTED)


def wait_lanes(
    ledger: Ledger, poller: Callable[[], Poller], keys: Collection[str], *, timeout: float | None
) -> dict[str, str]:
    """Waits for jobs of several vendors under one deadline; returns vendor → why it could not be waited for.

    Each vendor account is polled from a thread of its own: one that hangs, refuses or needs a person costs the others
    nothing. A request that is under way at the deadline is left to end by itself.
    """
    deadline = time.monotonic() + timeout if timeout is not None else None
    lanes: dict[tuple[str, str], list[str]] = {}
    for job in reads.by_keys(ledger, keys).values():
        if not job.is_terminal:
            lanes.setdefault((job.provider, job.account), []).append(job.key)
    troubles: dict[str, str] = {}
    broken: list[LedgerError] = []

    def lane(vendor: str, waiting: list[str]) -> None:
        surprises = 0
        while waiting:
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            try:
                poller().wait(waiting, timeout=left)
                return
            except WaitTimeout:
                return
            except InDoubt as error:  # one job needs a person; the others of its vendor do not
                troubles[f"{vendor} {(error.key or '')[:12]}"] = str(error)
                waiting = [key for key in waiting if key != error.key] if error.key else []
            except LedgerError as error:
                broken.append(error)
                return
            except QflowsError as error:
                troubles[vendor] = str(error)
                return
            except Exception as error:  # a thread's edge; waiting may always be repeated
                log.warning("waiting for %s", vendor, exc_info=True)
                surprises += 1
                if surprises >= _SURPRISES:
                    troubles[vendor] = f"{type(error).__name__}: {error}"
                    return

    if len(lanes) > 1:
        # threads that load parts of one package at once can lock each other out; several vendors load this one
        import_module("qiskit")
    threads = [
        threading.Thread(target=lane, args=(vendor, waiting), name=f"qflows-wait-{vendor}", daemon=True)
        for (vendor, _), waiting in lanes.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(None if deadline is None else max(deadline - time.monotonic(), 0.0) + _GRACE_S)
    if broken:
        raise broken[0]
    return dict(troubles)
