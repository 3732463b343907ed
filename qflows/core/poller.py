"""Waiting: one bulk poll per lane for everybody, at the vendor's pace, with the state in SQL.

A lane is one (vendor, account) pair. Whoever holds its lease polls all jobs of the lane, also those of other
processes, stores their counts, and gives the lane back with the moment of the next request. Everybody else reads
the ledger. So N queued jobs cost ceil(N / page) requests a tick, however many flows wait for them.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

from qflows.core.submit import Submitter
from qflows.errors import (
    InDoubt,
    LedgerError,
    ProviderError,
    QflowsError,
    Refused,
    ResultsHeld,
    UnknownJob,
    Unreadable,
    WaitTimeout,
)
from qflows.ledger import lanes, outcomes, reads
from qflows.ledger.store import Ledger
from qflows.model import Job
from qflows.protocol import Lookup, Observation, Phase, Provider
from qflows.states import AT_VENDOR, JobStatus

log = logging.getLogger("qflows.poller")

_READ_EVERY_S = 0.25  # how often a waiter without the lane reads the ledger
_LANE_LEASE_S = 60.0
_REFUSALS = 3  # polls refused in a row (credentials revoked) before the waiter is told
_UNREADABLE = 3  # answers in a row that fit no document before a result is left alone: one may be a cut-off download
_STORED_AT_ONCE = 32
_SURPRISES = 3  # errors nobody foresaw, until a vendor is given up
_GRACE_S = 0.05  # a lane that ends at the deadline may still write down what it has
_NOT_LISTED = "(not listed)"
_GONE = Observation(
    Phase.FAILED,
    "(gone)",
    error_code="vanished",
    error_message="the vendor no longer has this job",
    is_retryable=True,
)

Connect = Callable[[Job], Provider]
OnChange = Callable[[Job], None]


@dataclass
class Poller:
    """Brings jobs to their end. `connect` gives the provider that can speak for a job."""

    submitter: Submitter
    connect: Connect
    fetchers: int = 4  # result downloads under way at once
    poll_min_s: float | None = None
    on_stored: Callable[[], None] | None = None  # called when some results of a round are durable, others still to come
    _waiter: str = field(default_factory=lambda: uuid.uuid4().hex[:8], repr=False)
    _refusals: int = 0
    _unreadable: dict[str, int] = field(default_factory=dict, repr=False)

    def wait(
        self, keys: Collection[str], *, timeout: float | None = None, on_change: OnChange | None = None
    ) -> dict[str, Job]:
        """Blocks until every job is terminal and returns their handles by key.

        One deadline for all: after `timeout` seconds raises WaitTimeout naming the pending ones, which go on at the
        vendor. Raises InDoubt when only a person can tell where a job is, Refused when the vendor keeps refusing to
        be polled (credentials), ResultsHeld when it finished all that is left and withholds the results or answers
        with something that cannot be read as such, UnknownJob for a key the ledger does not have.
        """
        deadline = time.monotonic() + timeout if timeout is not None else None
        handles: dict[str, Job] = {}
        outcomes.forget_held(self.submitter.ledger, keys)  # whoever waits again wants the vendor asked again
        for key in keys:
            self._unreadable.pop(key, None)
        while True:
            fresh = reads.by_keys(self.submitter.ledger, keys)
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
            if all(job.is_held for job in pending):
                raise ResultsHeld(
                    f"{pending[0].provider} finished {len(pending)} job(s), but their results cannot be had: "
                    f"{pending[0].queue_note or pending[0].word}; put that in order, then wait again",
                    pending=tuple(job.key for job in pending),
                )
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeout(
                    f"{len(pending)} of {len(handles)} job(s) not finished after {timeout:g} s; they go on at the "
                    "vendor, and qflows.result or qflows.attach picks them up later",
                    pending=tuple(job.key for job in pending),
                )
            pause = self.tick(pending)
            if deadline is not None:
                pause = min(pause, max(deadline - time.monotonic(), 0.0))
            if pause > 0:
                time.sleep(pause)

    def wait_until(self, keys: Collection[str], enough: Callable[[Job], bool], *, timeout: float | None = None) -> None:
        """Blocks until `enough` holds for every job. Raises WaitTimeout naming the others."""
        deadline = time.monotonic() + timeout if timeout is not None else None
        while lacking := [job for job in reads.by_keys(self.submitter.ledger, keys).values() if not enough(job)]:
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeout(
                    f"{len(lacking)} job(s) not there after {timeout:g} s", pending=tuple(job.key for job in lacking)
                )
            pause = self.tick(lacking)
            time.sleep(pause if deadline is None else min(pause, max(deadline - time.monotonic(), 0.0)))

    def tick(self, pending: Sequence[Job]) -> float:
        """One round for `pending`, lane by lane; returns the seconds until another round is worth while."""
        by_provider: dict[tuple[str, str], tuple[Provider, list[Job]]] = {}
        for job in pending:
            provider = self.connect(job)
            by_provider.setdefault((provider.name, provider.account), (provider, []))[1].append(job)
        return min((self._tick_lane(provider, jobs) for provider, jobs in by_provider.values()), default=0.0)

    def _tick_lane(self, provider: Provider, mine: Sequence[Job]) -> float:
        pauses = [self._push(provider, mine)]
        if provider.capabilities.lookup is Lookup.LOCAL:
            # there is no queue to share: a local job runs in the process that waits for it
            fresh = reads.by_keys(self.submitter.ledger, [job.key for job in mine]) if pauses[0] == 0 else {}
            return 0.0 if self._look(provider, [fresh.get(job.key, job) for job in mine]) else pauses[0]
        holder = lanes.holder_name(self._waiter)
        lane = lanes.acquire(
            self.submitter.ledger, provider.name, provider.account, holder=holder, lease_s=_LANE_LEASE_S
        )
        if isinstance(lane, float | int):
            return min(lane, _READ_EVERY_S, *pauses) if lane else 0.0
        pauses.append(self._poll_lane(provider, lane, mine))
        return min(pauses)

    def _push(self, provider: Provider, mine: Sequence[Job]) -> float:
        """Sends what is free to be sent, ends doubts, passes cancels on. Returns when to come again, seconds."""
        ledger = self.submitter.ledger
        doubtful = [j.key for j in mine if j.status in (JobStatus.SUBMITTING, JobStatus.IN_DOUBT)]
        self.submitter.settle(provider, doubtful)
        self._raise_if_a_person_must_decide(provider, doubtful)
        pause = _READ_EVERY_S
        for key, delay_s in reads.send_delay_s(ledger, [j.key for j in mine if j.vendor_id is None]).items():
            if delay_s <= 0:
                self.submitter.send(provider, [reads.job(ledger, key)])
                pause = 0.0
            else:
                pause = min(pause, delay_s)
        self.cancel_wished(provider, mine)
        return pause

    def _raise_if_a_person_must_decide(self, provider: Provider, keys: Collection[str]) -> None:
        if provider.capabilities.lookup is not Lookup.NONE:
            return
        for job in reads.by_keys(self.submitter.ledger, keys).values():
            if job.status is JobStatus.IN_DOUBT:
                raise InDoubt(
                    f"job {job.key[:12]} may or may not run at {job.provider}; look at its console, then run "
                    f"`qflows jobs resolve {job.key[:12]} --submitted ID` or `--absent`",
                    key=job.key,
                    provider=job.provider,
                )

    def cancel_wished(self, provider: Provider, mine: Sequence[Job]) -> None:
        """Passes a wish to cancel on to the vendor, once per tick until the vendor says it is over."""
        for job in mine:
            if job.cancel_requested_at and job.vendor_id and job.status in AT_VENDOR:
                try:
                    provider.cancel(job.vendor_id)
                    outcomes.cancel_sent(self.submitter.ledger, job.key)
                except ProviderError as error:
                    log.warning("cancel of job %s: %s", job.key[:12], error)

    def _poll_lane(self, provider: Provider, lane: lanes.Lane, mine: Sequence[Job]) -> float:
        """Polls everything in the lane once; gives the lane back with the moment of the next poll."""
        ledger = self.submitter.ledger
        pace = provider.capabilities.pace
        first_s = pace.first_s if self.poll_min_s is None else self.poll_min_s
        next_in_s = interval_s = first_s
        try:
            everyone = {job.key: job for job in reads.live(ledger, provider.name, provider.account)}
            ours = reads.by_keys(ledger, [job.key for job in mine])
            everyone |= ours
            changed = self._look(provider, sorted(everyone.values(), key=lambda job: job.key not in ours))
            grown = max(lane.interval_s, first_s) * pace.factor
            next_in_s = interval_s = first_s if changed else min(grown, max(pace.max_s, first_s))
            self._refusals = 0
        except ProviderError as error:
            interval_s = min(max(lane.interval_s, first_s) * 2, max(pace.max_s, first_s))
            next_in_s = max(error.retry_after_s or 0.0, interval_s)
            log.warning("polling %s: %s; next try in %.1f s", provider.name, error, next_in_s)
            self._refusals = self._refusals + 1 if isinstance(error, Refused) else 0
            if self._refusals >= _REFUSALS:
                raise
        finally:
            lanes.release(ledger, lane, next_in_s=next_in_s, interval_s=interval_s)
        return next_in_s

    def _look(self, provider: Provider, jobs: Sequence[Job]) -> bool:
        """One bulk poll over `jobs`; records what is new and fetches what is done. True if anything changed."""
        at_vendor = [job for job in jobs if job.status in AT_VENDOR and job.vendor_id]
        if not at_vendor:
            return False
        statuses = provider.poll([job.vendor_id for job in at_vendor if job.vendor_id])
        seen = [(job, self._if_readable(job, _look_of(statuses, job))) for job in at_vendor]
        seen = self._without_vanished(provider, seen)
        partly = [(j, look) for j, look in seen if look.phase is Phase.FAILED and j.n_programs > 1 and look != _GONE]
        done = [(job, look) for job, look in seen if look.phase is Phase.DONE]
        held_back = {job.key for job, _ in done + partly}  # recorded together with their counts
        changed = outcomes.observe(self.submitter.ledger, [(j, look) for j, look in seen if j.key not in held_back])
        self._fetch_all(provider, done + partly)
        return bool(changed or done or partly)

    def _without_vanished(
        self, provider: Provider, seen: Sequence[tuple[Job, Observation]]
    ) -> list[tuple[Job, Observation]]:
        """A job that lists have not shown for longer than they may lag is asked for by its id: the vendor's own «there
        is no such job» is a failure it confirmed; anything else leaves the job as it was."""
        absent = [job for job, look in seen if look.word == _NOT_LISTED]
        ages = outcomes.missed(self.submitter.ledger, absent)
        settle_s = self.submitter.settle_time_s(provider)
        looks = []
        for job, look in seen:
            vanished = ages.get(job.key, -1.0) >= settle_s and self._is_gone(provider, job)
            looks.append((job, _GONE if vanished else look))
        return looks

    def _if_readable(self, job: Job, look: Observation) -> Observation:
        """A result that came in no documented shape several times in a row is left where it is, and a person told.

        That of a failed job too: it may hold the counts of its good circuits, which are paid.
        """
        if look.phase not in (Phase.DONE, Phase.FAILED) or self._unreadable.get(job.key, 0) < _UNREADABLE:
            return look
        note = f"its answer fits no document (`qflows jobs show {job.key[:12]}` has the text)"
        return replace(look, phase=Phase.HELD, queue_note=note)

    def _is_gone(self, provider: Provider, job: Job) -> bool:
        assert job.vendor_id is not None
        try:
            return not provider.exists(job.vendor_id)
        except ProviderError:
            return False

    def _fetch_all(self, provider: Provider, finished: Sequence[tuple[Job, Observation]]) -> None:
        """Downloads results, several at once, and stores them part by part: one commit for many jobs."""
        local = provider.capabilities.lookup is Lookup.LOCAL
        with ThreadPoolExecutor(self.fetchers, thread_name_prefix="qflows-fetch") as pool:
            for start in range(0, len(finished), _STORED_AT_ONCE):
                part = finished[start : start + _STORED_AT_ONCE]
                run = map if local or len(part) == 1 else pool.map
                fetched = [one for one in run(lambda pair: self._fetch(provider, *pair), part) if one]
                if fetched:
                    for key, status in outcomes.store_all(self.submitter.ledger, fetched).items():
                        log.warning("job %s is %s; its counts came too late to be stored", key[:12], status)
                    if self.on_stored:
                        self.on_stored()

    def _fetch(self, provider: Provider, job: Job, look: Observation) -> outcomes.Outcome | None:
        """Downloads one result. A failed download leaves the job RUNNING and is free to repeat."""
        assert job.vendor_id is not None
        try:
            result = provider.result(job.vendor_id, self.submitter.spec(job.key), job.key)
        except ProviderError as error:
            if isinstance(error, Unreadable):
                self._unreadable[job.key] = self._unreadable.get(job.key, 0) + 1
                if self._unreadable[job.key] == _UNREADABLE:
                    outcomes.keep_unreadable(self.submitter.ledger, job, error)
            if look.phase is Phase.DONE or isinstance(error, Refused):
                # done, but not here yet; or failed without partial results
                outcomes.observe(self.submitter.ledger, [(job, look)])
            log.warning("the result of job %s could not be read: %s", job.key[:12], error)
            return None
        self._unreadable.pop(job.key, None)
        provenance = {"vendor": dict(result.metadata)} | versions()
        return outcomes.Outcome(job, result, provenance, look if look.phase is Phase.FAILED else None)


def _look_of(statuses: Mapping[str, Observation], job: Job) -> Observation:
    assert job.vendor_id is not None
    return statuses.get(job.vendor_id) or Observation(Phase.UNKNOWN, _NOT_LISTED)


def versions() -> dict[str, Any]:
    """Library versions to keep beside counts; only what is loaded already, so that nothing is imported for it."""
    import sys

    found = {}
    for name in ("qflows", "qiskit", "qiskit_aer", "braket", "qiskit_ibm_runtime", "httpx"):
        version = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(version, str):
            found[name] = version
    return {"versions": found}


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
