"""Waiting: one bulk poll per lane for all waiters, at the vendor's pace, with the state in SQL.

A lane is one (vendor, account) pair. The process that holds its lease polls the due jobs of the lane (`pacing`),
including those of other processes, stores their counts, and returns the lane with the time of the next request, which a
younger job may bring forward. All others read the ledger. So N queued jobs cost ceil(N / page) requests a tick, however
many flows wait for them.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qflows.core.arguments import check_seconds
from qflows.core.devices import SpeaksFor
from qflows.core.fetching import Fetcher
from qflows.core.looking import Looked, Looker, is_there
from qflows.core.pacing import Agenda, held_up_s, paced, step_s, used_s
from qflows.core.submit import Submitter, person_must_decide
from qflows.display import plural
from qflows.errors import (
    InDoubt,
    LedgerError,
    OtherAccount,
    OverBudget,
    ProviderError,
    QflowsError,
    Refused,
    ResultsHeld,
    StaleClaim,
    UnknownJob,
    Unreadable,
    WaitTimeout,
)
from qflows.ledger import charges, claims, lanes, outcomes, pending, reads
from qflows.ledger.budgets import OVER_BUDGET
from qflows.ledger.pending import Polled, began_at
from qflows.model import Job
from qflows.protocol import Lookup, PatientProvider, Provider
from qflows.states import AT_VENDOR, JobStatus

if TYPE_CHECKING:
    from sqlalchemy import Connection

log = logging.getLogger("qflows.poller")

_READ_EVERY_S = 0.25  # how often a waiter reads the ledger while another process moves its jobs
_IDLE_S = 1.0  # the same while none does: another process may request a cancel, or end a job by hand
_RETRY_S = 1.0  # the pause after the first failed poll is twice as long
_LANE_LEASE_S = 60.0
_SMALL = 100  # a poll of more jobs than this is long enough for one commit more
_REFUSALS = 3  # consecutive refused polls (credentials revoked) before the waiter gets an error
LONGEST_PAUSE_S = 300.0  # a vendor that asks for a longer pause is asked again after this
OnChange = Callable[[Job], None]


@dataclass
class Round:
    """The outcome of one round: when the next is due, and what kept single jobs from moving, by key."""

    pause_s: float = 0.0
    troubles: dict[str, Exception] = field(default_factory=dict)


@dataclass
class Poller:
    """Brings jobs to their end. `vendors`: says which provider may act on a job.

    An error from a vendor, a decoder or a library stays with the job it was about; a lane that cannot be polled affects
    only its own jobs. Only a broken ledger stops everything.
    """

    submitter: Submitter
    vendors: SpeaksFor
    poll_min_s: float | None = None
    on_stored: Callable[[], None] | None = None  # see `Fetcher`
    asks: Callable[[OverBudget], bool] | None = None  # a person, about a purchase beyond a budget; see `Parts`
    _failures: dict[tuple[str, str], int] = field(default_factory=dict, repr=False)  # refused polls in a row, by lane

    def __post_init__(self) -> None:
        self._fetcher = Fetcher(self.submitter, self.on_stored)
        self._looker = Looker(self.submitter, self._fetcher)

    def wait(
        self,
        keys: Collection[str],
        *,
        timeout: float | None = None,
        on_change: OnChange | None = None,
        every: float | None = None,
    ) -> dict[str, Job]:
        """Blocks until every job is terminal and returns their handles by key.

        `every`: the least number of seconds between two polls by this waiter; never below the vendor's pace. The ledger
        is read in between, so that what other processes see is seen here too. One deadline for all: after `timeout`
        seconds (0: one poll) raises WaitTimeout naming the pending jobs and what is known of each. Raises, once no
        other job is left to wait for: InDoubt if only a person can tell where a job is, OtherAccount if a job is
        another account's, ResultsHeld if its result cannot be read or nothing is known of it for ten minutes, Refused
        if the vendor keeps refusing to be polled (credentials). Raises UnknownJob for a key the ledger does not have.
        """
        check_seconds("every", every)
        check_seconds("timeout", timeout)
        deadline = time.monotonic() + timeout if timeout is not None else None
        again_at = -math.inf  # when vendors may be polled again
        handles: dict[str, Job] = {}
        ledger = self.submitter.ledger
        fresh = self._as_found(keys)
        told: set[str] = set()
        looked = False
        while True:
            missing = set(keys) - set(fresh)
            if missing:
                raise UnknownJob(f"the ledger has no job {', '.join(sorted(k[:12] for k in missing))}")
            if on_change:
                for key, job in fresh.items():
                    before = handles.get(key)
                    if before is None or (before.status, before.word) != (job.status, job.word):
                        on_change(job)
            handles = fresh
            left = [job for job in handles.values() if not job.is_terminal]
            if not left:
                return handles
            if looked and deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeout(
                    f"{len(left)} of {plural(len(handles), 'job')} not finished after {timeout:g} s: "
                    f"{where_they_are(left)}",
                    pending=tuple(job.key for job in left),
                )
            asked = left
            if every and time.monotonic() < again_at:
                asked = [job for job in left if not self._is_far(job)]
            else:
                again_at = time.monotonic() + (every or 0.0)
            self._ask(left)
            done = self.tick(asked, urgent=deadline is not None and time.monotonic() >= deadline)
            if every and not asked:
                done.pause_s = _IDLE_S
            looked = True
            self._tell(done.troubles, handles, told)
            fresh = reads.by_keys(ledger, keys)
            self._raise_if_nothing_is_left([fresh[job.key] for job in left if job.key in fresh], done.troubles)
            pause = done.pause_s
            if every and len(asked) < len(left):
                pause = min(pause, max(again_at - time.monotonic(), 0.0))
            if deadline is not None:
                pause = min(pause, max(deadline - time.monotonic(), 0.0))
            if pause > 0:
                time.sleep(pause)
                fresh = reads.by_keys(ledger, keys)

    def _as_found(self, keys: Collection[str]) -> dict[str, Job]:
        """The jobs as a new wait should see them: what was held, or seemed to be gone, is asked for again."""
        ledger = self.submitter.ledger
        found = reads.by_keys(ledger, keys)
        held = [key for key, job in found.items() if job.is_held]
        if held:
            outcomes.forget_held(ledger, held)
        revived = self.revive(found.values())
        return reads.by_keys(ledger, keys) if held or revived else found

    def _ask(self, left: Sequence[Job]) -> None:
        """Ask a person about jobs that have no room in a budget with the policy `ask`. Ends with the answer in the
        ledger, and the next tick sends or ends the jobs; where nobody can be asked, they go on waiting."""
        waiting = [job.key for job in left if job.status is JobStatus.PREPARED and job.error_code == OVER_BUDGET]
        if self.asks is None or not waiting:
            return
        for error in charges.for_a_person(self.submitter.ledger, waiting):
            self.asks(error)

    def _is_far(self, job: Job) -> bool:
        """True for a job at a vendor, where each poll is a request."""
        return is_there(job) and self.vendors.of(job).capabilities.lookup is not Lookup.LOCAL

    def _tell(self, troubles: Mapping[str, Exception], handles: Mapping[str, Job], told: set[str]) -> None:
        """Report once what keeps a job from moving, while the others are still waited for."""
        for key, error in troubles.items():
            if key not in told:
                told.add(key)
                job = handles.get(key)
                log.warning("job %s on %s waits: %s", key[:12], job.device if job else "?", error)

    def _raise_if_nothing_is_left(self, fresh: Iterable[Job], troubles: Mapping[str, Exception]) -> None:
        """Raise what keeps the last pending jobs from moving, if it cannot pass by itself."""
        stuck = [job for job in fresh if not job.is_terminal]
        if not stuck or not all(job.is_held or job.asks_person or job.key in troubles for job in stuck):
            return
        keys = tuple(job.key for job in stuck)
        held = [job for job in stuck if job.is_held]
        doubtful = [job for job in stuck if job.asks_person]
        if held and len(held) == len(stuck):
            raise ResultsHeld(
                f"{held[0].provider} has {plural(len(held), 'job')} whose results cannot be read: "
                f"{held[0].queue_note or held[0].word}; resolve that, then wait again",
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
                    f"{plural(len(lacking), 'job')} not submitted within {timeout:g} s: {where_they_are(lacking)}",
                    pending=tuple(job.key for job in lacking),
                )
            done = self.tick(lacking)
            fresh = reads.by_keys(self.submitter.ledger, [job.key for job in lacking])
            self._raise_if_nothing_is_left(fresh.values(), done.troubles)
            pause = done.pause_s
            time.sleep(pause if deadline is None else min(pause, max(deadline - time.monotonic(), 0.0)))

    def revive(self, jobs: Iterable[Job]) -> list[str]:
        """Revoke the end of jobs that only seemed to be gone, if the vendor shows them again; return keys."""
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
            except Exception as error:  # no failure in here may change the recorded end
                log.info("job %s could not be looked up again: %s", job.key[:12], error)
        return revived

    def tick(self, waiting: Sequence[Polled], *, urgent: bool = False, is_all: bool = False) -> Round:
        """Run one round for `waiting`, lane by lane: the due jobs are polled; `urgent`: all of `waiting`, as soon as
        the vendor's pace allows. `is_all`: they are all live jobs, read just now."""
        done = Round()
        lanes_of: dict[tuple[str, str], tuple[Provider, list[Polled]]] = {}
        known: dict[tuple[str, str, str], Provider] = {}
        for job in waiting:
            place = (job.provider, job.account, job.device)
            try:
                provider = known.get(place) or known.setdefault(place, self.vendors.of(job))
            except LedgerError:
                raise
            except Exception as error:  # no credentials, another account, a broken profile: only this job waits
                done.troubles[job.key] = error
                continue
            lanes_of.setdefault((job.provider, job.account), (provider, []))[1].append(job)
        pauses = [_READ_EVERY_S] if done.troubles else []
        for (_, account), (provider, jobs) in lanes_of.items():
            try:
                pauses.append(self._tick_lane(provider, account, jobs, done, urgent=urgent, is_all=is_all))
            except LedgerError:
                raise
            except Exception as error:  # vendor boundary: its jobs wait, the others go on
                log.warning("%s: %s", provider.name, error, exc_info=not isinstance(error, QflowsError))
                done.troubles |= {j.key: _told(provider, error) for j in jobs if j.key not in done.troubles}
                pauses.append(_READ_EVERY_S)
        done.pause_s = min(pauses, default=0.0)
        return done

    def _tick_lane(
        self, provider: Provider, account: str, mine: Sequence[Polled], done: Round, *, urgent: bool, is_all: bool
    ) -> float:
        pauses = [self._push(provider, mine)]
        if provider.capabilities.lookup is Lookup.LOCAL:
            # no queue to share: a local job runs in the process that waits for it
            fresh: dict[str, Job] = {}
            if pauses[0] == 0:
                fresh = reads.by_keys(self.submitter.ledger, [job.key for job in mine])
            looked = self._looker.look(provider, [fresh.get(job.key, job) for job in mine])
            self._fetcher.fetch_all(provider, looked.finished)
            return 0.0 if looked.changed else pauses[0]
        there = [job for job in mine if is_there(job)]
        if not there:
            return pauses[0]
        pace = paced(provider.capabilities.pace, self.poll_min_s)
        at_once = frozenset(job.key for job in there) if urgent else frozenset[str]()
        agenda = Agenda(pace, provider.capabilities.poll_page, self.submitter.news, at_once)

        def wanted_at(lane: lanes.Lane) -> float:
            asked_at = lane.asked_at or 0.0
            # where all are polled by one, the time of the next poll is that of the older jobs already
            some = [job for job in there if began_at(job).timestamp() > asked_at] if is_all else there
            soonest = agenda.soonest(some, now=lane.now, after=asked_at)
            if soonest is None:
                return math.inf
            allowed = held_up_s(pace, lane.interval_s) - lane.since_s
            return max(soonest, lane.now + allowed)

        alone: dict[str, Polled] = {}

        def is_alone(lane: lanes.Lane) -> bool:
            if self.submitter.news.is_alone(lane) and len(mine) <= _SMALL:
                alone.update({job.key: job for job in mine} if is_all else self._alone(lane, mine))
            return bool(alone)

        ledger = self.submitter.ledger
        lane = lanes.acquire(
            ledger,
            provider.name,
            account,
            holder=lanes.holder_name(f"{threading.get_ident():x}"),
            lease_s=_LANE_LEASE_S,
            wanted_at=wanted_at,
            is_alone=is_alone,
        )
        if isinstance(lane, float | int):
            return min(lane, *pauses)
        try:
            if is_all and self.submitter.news.is_alone(lane):  # nobody can have moved them meanwhile
                alone = {job.key: job for job in mine}
            pauses.append(self._poll_lane(provider, lane, mine, alone, done, agenda))
        except BaseException as error:
            if not isinstance(error, Exception):
                lanes.give_back(ledger, lane)
            raise
        return min(pauses)

    def _alone(self, lane: lanes.Lane, mine: Sequence[Polled]) -> dict[str, pending.Pending]:
        """The jobs of the lane, if there are no others than `mine`; otherwise empty."""
        found = pending.of_lane(self.submitter.ledger, lane.provider, lane.account, at_most=len(mine) + 1)
        live = {job.key: job for job in found}
        return live if live.keys() <= {job.key for job in mine} else {}

    def _push(self, provider: Provider, mine: Sequence[Polled]) -> float:
        """Send what is free to be sent, end doubts, pass cancels on. Returns the seconds until the next call."""
        ledger = self.submitter.ledger
        doubtful = [j.key for j in mine if j.status in (JobStatus.SUBMITTING, JobStatus.IN_DOUBT)]
        self.submitter.settle(provider, doubtful)
        pause = _IDLE_S if all(is_there(job) for job in mine) else _READ_EVERY_S
        for key, delay_s in reads.send_delay_s(ledger, [j.key for j in mine if j.vendor_id is None]).items():
            if delay_s <= 0:
                self.submitter.send(provider, [reads.job(ledger, key)])
                pause = 0.0
            else:
                pause = min(pause, delay_s)
        self.cancel_wished(provider, mine)
        return pause

    def cancel_wished(self, provider: Provider, mine: Sequence[Polled]) -> None:
        """Pass a cancel request on to the vendor, once per tick until the vendor says the job is over."""
        for job in mine:
            if job.cancel_requested_at and job.vendor_id and job.status in AT_VENDOR:
                try:
                    provider.cancel(job.vendor_id)
                    outcomes.cancel_sent(self.submitter.ledger, job.key)
                except LedgerError:
                    raise
                except Exception as error:  # the next tick repeats a cancel that fails
                    log.warning("cancel of job %s: %s", job.key[:12], error)

    def _poll_lane(
        self,
        provider: Provider,
        lane: lanes.Lane,
        mine: Sequence[Polled],
        live: Mapping[str, Polled],
        done: Round,
        agenda: Agenda,
    ) -> float:
        """Poll what is due in the lane, and return the lane with the time of the next poll. `live`: its jobs, if they
        are known.

        Returns the seconds until the next call; 0 if something changed, so that a waiter sees it at once.
        """
        ledger = self.submitter.ledger
        pace = agenda.pace
        began = time.monotonic()
        next_in_s = interval_s = pace.first_s
        failed: str | None = None
        is_released = False
        place = (lane.provider, lane.account)
        looked = Looked()
        if lane.is_failing and lane.next_at == lanes.FREED and isinstance(provider, PatientProvider):
            provider.end_pause()
        try:
            there = self._there(lane, mine, live)
            ours = {job.key for job in mine}
            due = agenda.due(lane, there)
            looked = self._looker.look(provider, sorted(due, key=lambda job: job.key not in ours))
            news = self.submitter.news
            news.note([job for job in due if job.key in looked.changed])
            for job in due:
                news.looked(job, agenda.age_s(job), over=job.key in looked.over)
            left = [job for job in there if job.key not in looked.over]
            new = sum(agenda.age_s(job) <= lane.since_s for job in there)
            interval_s = used_s(pace, lane, requests=-(-len(due) // agenda.page), new_jobs=new)
            soonest = agenda.soonest(left, now=lane.now, after=lane.now) or lane.now + pace.max_s

            def pause_s(held_s: float = held_up_s(pace, interval_s)) -> float:
                passed_s = time.monotonic() - began
                return max(soonest - lane.now - passed_s, step_s(pace, 0.0) - passed_s, held_s, 0.0)

            def release(connection: Connection, used_s: float = interval_s) -> None:
                lanes.release_in(connection, lane, next_in_s=pause_s(), interval_s=used_s)

            is_released = self._fetcher.fetch_all(provider, looked.finished, also=release)
            next_in_s = pause_s()
            self._failures.pop(place, None)
        except LedgerError as error:
            failed = str(error)
            raise
        except Exception as error:  # vendor boundary
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
            if failed is not None or not is_released:
                lanes.release(ledger, lane, next_in_s=next_in_s, interval_s=interval_s, ok=failed is None, error=failed)
        return 0.0 if looked.changed and failed is None else next_in_s

    def _there(self, lane: lanes.Lane, mine: Sequence[Polled], live: Mapping[str, Polled]) -> list[Polled]:
        """The lane's jobs that are at the vendor, and those of `mine` that only their waiter may have polled."""
        ledger = self.submitter.ledger
        known = dict(live) or {job.key: job for job in pending.of_lane(ledger, lane.provider, lane.account)}
        missing = [job.key for job in mine if job.key not in known]
        if missing:
            known |= reads.by_keys(ledger, missing)
        return [job for job in known.values() if is_there(job)]


def _told(provider: Provider, error: Exception) -> Exception:
    """The error as a waiter sees it: an unforeseen error of a library becomes one of ours."""
    if isinstance(error, QflowsError):
        return error
    wrapped = Unreadable(f"{provider.name} cannot be polled: {type(error).__name__}: {error}", provider=provider.name)
    wrapped.__cause__ = error
    return wrapped


def where_they_are(jobs: Collection[Job]) -> str:
    """Where pending jobs are and what becomes of them, in words: at the vendor, in doubt, or not sent and why not."""
    there = sum(is_there(job) for job in jobs)
    doubtful = [job for job in jobs if job.status in (JobStatus.IN_DOUBT, JobStatus.SUBMITTING)]
    unsent = [job for job in jobs if job.status is JobStatus.PREPARED]
    told = [f"{there} at the vendor, to be collected later by qflows.result or qflows.attach"] if there else []
    if doubtful:
        told.append(f"{len(doubtful)} in doubt, which the next wait looks up at the vendor{_last_answer(doubtful)}")
    if unsent:
        told.append(f"{len(unsent)} not sent yet, which the next wait sends{_last_answer(unsent)}")
    return "; ".join(told)


def _last_answer(jobs: Sequence[Job]) -> str:
    why = next((job.error_message for job in jobs if job.error_message), None)
    return f" (last answer: {why})" if why else ""
