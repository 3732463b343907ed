"""The only caller of `Provider.submit`, and the only place that ends a doubt.

A submission is one claim, one POST that carries the job key, one outcome. Nothing here repeats a POST in place: a lost
answer becomes IN_DOUBT, and only proved absence makes the job PREPARED again.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

from qflows.core.calibrating import Calibrations
from qflows.core.claimed import ClaimsOfCall
from qflows.core.pacing import News
from qflows.core.versions import versions
from qflows.display import plural
from qflows.errors import (
    KeyReused,
    LedgerError,
    LedgerUnavailable,
    NotSent,
    ProviderError,
    QflowsError,
    Refused,
    StaleClaim,
    VendorGroupClosed,
)
from qflows.keys import mark_of
from qflows.ledger import charges, claims, intents, lanes, marks, reads, sessions
from qflows.ledger.claims import Doubt
from qflows.ledger.intents import Intent
from qflows.ledger.store import Ledger, utc_now
from qflows.model import Job, Quote
from qflows.programs.panics import refused_if_qiskit_panics
from qflows.protocol import Accepted, Found, JobSpec, Lookup, Prepared, Provider
from qflows.states import JobStatus

log = logging.getLogger("qflows.submit")

# a look-up goes by our key and needs no clock; the date only shortens long lists, and no clock is off by over a day
_SLACK = timedelta(hours=26)
_LOOKS = 2  # one listing may lag; two that are `settle_s` apart may not
_CACHED_SPECS = 4096
_CLAIMS_AT_ONCE = 10
_NOT_SENT_RETRY_S = 2.0
_LOOK_RETRY_S = 2.0
_LONGEST_LOOK_PAUSE_S = 300.0
_LAG_MARGIN = 2.0  # a listing that lagged once may lag longer the next time
_LONGEST_LAG_S = 600.0
_LONGEST_ID = 255
MAX_SENDS = 2  # lost answers of one job before a person decides
_MAX_FENCE = 24  # the same for senders that died: a claim and its expiry count one each


@dataclass
class Submitter:
    """Buys jobs through a ledger. Thread-safe.

    `lease_s`: how long a claim keeps others away; must exceed the longest time one POST can take. `settle_s`: overrides
    the vendors' own settle times. `workers`: concurrent POSTs in `submit`, as many as the vendor's quotas allow if
    None. `max_sends`: how often one job is sent before a person is asked, if each answer was lost and the vendor shows
    nothing.
    """

    ledger: Ledger
    lease_s: float = 120.0
    settle_s: float | None = None
    workers: int | None = None
    max_sends: int = MAX_SENDS
    news: News = field(default_factory=News, repr=False)  # for the pollers of this submitter, which come and go
    calibrations: Calibrations = field(default_factory=Calibrations, repr=False)  # likewise
    _specs: OrderedDict[str, JobSpec] = field(default_factory=OrderedDict, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)
    _mark: str | None = field(default=None, repr=False)

    def submit(self, provider: Provider, wanted: Sequence[Intent]) -> list[Job]:
        """Make each intent durable, then send what was not sent before. Returns handles in input order, at once.

        Raises ProgramRejected before anything is recorded. A handle may come back PREPARED (vendor unreachable) or
        IN_DOUBT (answer lost): `Poller.wait` continues from either.
        """
        for intent in wanted:
            provider.check(intent.spec)
        at_once = self._claims_at_once(provider, len(wanted)) if self._may_claim_early(provider, wanted) else 0
        to_send: dict[str, Job] = {}
        with ClaimsOfCall(self.ledger) as mine:
            try:
                handles, claimed = intents.prepare_and_claim(
                    self.ledger, wanted, at_most=at_once, lease_s=self.lease_s, note=mine.note
                )
            except LedgerUnavailable as error:
                raise LedgerUnavailable(f"{error}. Nothing was sent") from error
            first = mine.recorded()
            for intent, job in zip(wanted, handles, strict=True):
                self.remember(job.key, intent.spec)
                if job.status is JobStatus.PREPARED:
                    to_send[job.key] = job
            rest = [job for key, job in to_send.items() if key not in claimed]
            self._send_claimed(provider, self._specs_of([to_send[claim.key] for claim in first]), first, mine)
        self.send_all(provider, rest)
        fresh = reads.by_keys(self.ledger, {job.key for job in handles}) if to_send else {}
        return [fresh.get(job.key, job) for job in handles]

    def send_all(self, provider: Provider, batch: Sequence[Job]) -> None:
        """Send PREPARED jobs, several at a time if there are workers. Outcomes are in the ledger, not raised."""
        # several claims in one commit; a crash leaves no more in doubt than one look-up settles. Where no look-up is
        # possible, every doubt costs a person's time, so claims are taken one by one.
        parts = self._parts(provider, batch)
        workers = min(self._workers(provider), len(parts))
        if workers > 1:
            with ThreadPoolExecutor(workers, thread_name_prefix="qflows-submit") as pool:
                list(pool.map(lambda part: self.send(provider, part), parts))
        else:
            for part in parts:
                self.send(provider, part)

    def send(self, provider: Provider, batch: Sequence[Job]) -> None:
        """Claim and POST once each job that is free to be sent. Outcomes are in the ledger, not raised."""
        specs = self._specs_of(batch)
        in_session = [key for key, spec in specs.items() if spec.session_id is not None]
        for key in sessions.leave_closed_batches(self.ledger, in_session) if in_session else ():
            specs[key] = replace(specs[key], session_id=None)
            self.remember(key, specs[key])
        self._price(provider, {job.key: specs[job.key] for job in batch if job.error_code == charges.UNPRICED})
        with ClaimsOfCall(self.ledger) as mine:
            claims.claim_several(self.ledger, list(specs), lease_s=self.lease_s, note=mine.note)
            self._send_claimed(provider, specs, mine.recorded(), mine)

    def _send_claimed(
        self, provider: Provider, specs: Mapping[str, JobSpec], claimed: Sequence[claims.Claim], mine: ClaimsOfCall
    ) -> None:
        for claim in claimed:
            try:
                self._post(provider, specs[claim.key], claim, mine)
            except StaleClaim as error:
                log.warning("%s", error)
            mine.ended(claim)

    def _workers(self, provider: Provider) -> int:
        if provider.capabilities.lookup is Lookup.NONE:
            return 1
        return provider.capabilities.posts_at_once if self.workers is None else self.workers

    def _claims_at_once(self, provider: Provider, n: int) -> int:
        """How many of `n` jobs that are left one worker claims in one commit: few commits, and work for each worker."""
        if provider.capabilities.lookup is Lookup.NONE:
            return 1
        workers = self._workers(provider)
        return _CLAIMS_AT_ONCE if workers == 1 else min(max(n // (2 * workers), 1), _CLAIMS_AT_ONCE)

    def _parts(self, provider: Provider, batch: Sequence[Job]) -> list[Sequence[Job]]:
        """`batch` as the workers take it: the parts become smaller, so that all workers end at about the same time."""
        parts: list[Sequence[Job]] = []
        start = 0
        while start < len(batch):
            end = start + self._claims_at_once(provider, len(batch) - start)
            parts.append(batch[start:end])
            start = end
        return parts

    def _may_claim_early(self, provider: Provider, wanted: Sequence[Intent]) -> bool:
        """Whether the claim may be part of the intent: when one worker sends, and no session can have closed."""
        few = len(wanted) == 1 or self._workers(provider) == 1
        return few and all(intent.spec.session_id is None for intent in wanted)

    def _specs_of(self, batch: Sequence[Job]) -> dict[str, JobSpec]:
        # labels may have changed since the spec was remembered
        return {job.key: replace(self.spec(job.key), name=job.name, tags=job.tags) for job in batch}

    def _price(self, provider: Provider, specs: Mapping[str, JobSpec]) -> None:
        """Ask for the cost of jobs that were wanted before a budget came into force."""
        told: dict[str, Quote | None] = {}
        for key, spec in specs.items():
            try:
                told[key] = provider.estimate(spec)
            except Refused:
                told[key] = None
            except ProviderError as error:
                log.warning("the price of job %s could not be requested: %s", key[:12], error)
        if told:
            charges.note_quotes(self.ledger, told)

    def _post(self, provider: Provider, spec: JobSpec, claim: claims.Claim, mine: ClaimsOfCall) -> None:
        if claim.remaining_s() < self.lease_s / 2:
            # this process was stalled between claim and wire; a process that took over must find nothing at the vendor
            claims.not_sent(self.ledger, claim, message="stalled before sending", retry_in_s=0.0)
            return
        prepared = self._prepared(provider, spec, claim)
        if prepared is None:
            return
        mine.sending(claim)
        try:
            answer = provider.send(prepared)
        except VendorGroupClosed as error:
            self._leave_group(spec, claim, error)
        except Refused as error:
            claims.refused(self.ledger, claim, code=error.vendor_code, message=str(error))
            log.warning("%s", error)
        except NotSent as error:
            self._not_sent(claim, error)
        except BaseException as error:
            # Whatever else happened, including an interrupt, the vendor may have accepted.
            claims.doubted(self.ledger, claim, message=f"{type(error).__name__}: {error}"[:1000])
            mine.ended(claim)
            if not isinstance(error, Exception):
                raise
            log.warning("job %s is in doubt: %s", claim.key[:12], error, exc_info=not isinstance(error, QflowsError))
        else:
            self._accepted(provider, spec, claim, answer)

    def _prepared(self, provider: Provider, spec: JobSpec, claim: claims.Claim) -> Prepared | None:
        """The submission, ready to send; None if it cannot be made. Nothing in here can leave a doubt."""
        try:
            with refused_if_qiskit_panics(spec.name):
                prepared = provider.prepare(spec, claim.key)
        except NotSent as error:
            self._not_sent(claim, error)
            return None
        except Exception as error:  # boundary to compilers and vendors' libraries, which raise anything
            told = str(error) if isinstance(error, QflowsError) else f"{type(error).__name__}: {error}"
            code = error.vendor_code if isinstance(error, ProviderError) else None
            message = f"job {claim.key[:12]} could not be prepared for {provider.name}, and nothing was sent: {told}"
            claims.refused(self.ledger, claim, code=code, message=message)
            log.warning("%s", message, exc_info=not isinstance(error, QflowsError))
            return None
        if claim.remaining_s() < self.lease_s / 2:
            claims.not_sent(
                self.ledger, claim, message="preparing it took too long; it is prepared again", retry_in_s=0
            )
            return None
        return prepared

    def _leave_group(self, spec: JobSpec, claim: claims.Claim, error: VendorGroupClosed) -> None:
        """Free a job to be sent without the vendor's group, which closed before the job got there.

        Such a group only mirrors ours at the vendor. A job that is sent late, after a crash or a doubt, must not fail
        because the mirror closed in the meantime.
        """
        message = f"{error}. It will be sent outside that group"
        claims.not_sent(self.ledger, claim, message=message, retry_in_s=0.0)
        intents.put_into_session(self.ledger, [claim.key], None)
        self.remember(claim.key, replace(spec, session_id=None))
        log.warning("job %s: %s", claim.key[:12], message)

    def _not_sent(self, claim: claims.Claim, error: NotSent) -> None:
        retry_in_s = error.retry_after_s if error.retry_after_s is not None else _NOT_SENT_RETRY_S
        claims.not_sent(self.ledger, claim, message=str(error), retry_in_s=retry_in_s)
        log.warning("%s; it will be sent again later", error)

    def _accepted(self, provider: Provider, spec: JobSpec, claim: claims.Claim, answer: Accepted) -> None:
        vendor_id = answer.vendor_id
        if not fits(vendor_id):
            claims.doubted(self.ledger, claim, message=f"{provider.name} answered with no usable id: {vendor_id!a:.80}")
            return
        try:
            claims.accepted(self.ledger, claim, vendor_id, submission={**answer.metadata, **versions()})
        except StaleClaim:
            self._late_answer(provider, claim.key, answer)
            raise
        except KeyReused as error:  # the vendor gave one id twice: only a look-up can tell whose job it is
            claims.doubted(self.ledger, claim, message=str(error))
            log.warning("%s", error)
            return
        except LedgerUnavailable as error:
            raise LedgerUnavailable(
                f"{provider.name} took job {claim.key[:12]} as {vendor_id}, which could not be recorded: {error}. "
                "Run again once that is fixed: the job is found there by its key"
            ) from error
        except BaseException as error:
            if not isinstance(error, Exception):
                self._record_after_all(claim, answer)
            raise
        if claim.fence > 1:
            self._cancel_late_answers(provider, claim.key, vendor_id)
        if provider.capabilities.repeats_posts:
            self.cancel_extras_of(provider, spec.device_id, claim.key)

    def _record_after_all(self, claim: claims.Claim, answer: Accepted) -> None:
        """Record an id whose recording was interrupted, before its commit or after it; the claim would keep others from
        the job until it expires."""
        with suppress(QflowsError):
            if reads.job(self.ledger, claim.key).vendor_id is None:
                claims.accepted(self.ledger, claim, answer.vendor_id, submission={**answer.metadata, **versions()})

    def _late_answer(self, provider: Provider, key: str, answer: Accepted) -> None:
        """Handle an answer that arrived after our claim was taken over.

        A job that is free to be sent again is this one. If the job has another id, or has ended, ours is an extra. A
        job in doubt is left to `settle`, which finds this id by its key; a job being sent is left to its sender.
        """
        job = reads.job(self.ledger, key)
        if job.status is JobStatus.PREPARED:
            claim = claims.claim(self.ledger, key, lease_s=self.lease_s)
            if claim is not None:
                claims.accepted(self.ledger, claim, answer.vendor_id, submission=answer.metadata)
                return
            job = reads.job(self.ledger, key)
        if job.vendor_id != answer.vendor_id and (job.vendor_id is not None or job.is_terminal):
            self._cancel_extras(provider, job.key, [answer.vendor_id])

    def _cancel_late_answers(self, provider: Provider, key: str, vendor_id: str) -> None:
        """Cancel what an earlier claim bought without knowing that it had been taken over."""
        late = {
            str(event["detail"]["vendor_id"])
            for event in reads.history(self.ledger, key)
            if event["kind"] == "late-answer"
        }
        if late - {vendor_id}:
            self._cancel_extras(provider, key, sorted(late - {vendor_id}))

    def cancel_extras_of(self, provider: Provider, device_id: str, key: str) -> None:
        """Look for other jobs that carry the key, and cancel them.

        The vendor's own client may have bought them behind an apparent success, or a process that was taken for dead
        woke and sent late.
        """
        job = reads.job(self.ledger, key)
        try:
            found = provider.find_submitted([key], since=job.created_at - _SLACK, device_ids={device_id})
        except LedgerError:
            raise
        except Exception as error:  # vendor boundary
            log.warning("could not look for extras of job %s: %s", key[:12], error, exc_info=_is_strange(error))
            return
        extras = [hit.vendor_id for hit in found.get(key, ()) if hit.vendor_id != job.vendor_id]
        if extras:
            if job.sends and self._is_ours_alone(key):
                self._learn_lag(provider, job.account)
            self._cancel_found(provider, key, extras)

    def _is_ours_alone(self, key: str) -> bool:
        """Whether no other ledger can have made this key. Keys without our mark may belong to a colleague's job."""
        if self._mark is None:
            self._mark = marks.of(self.ledger).own
        return mark_of(key) == self._mark

    def _cancel_found(self, provider: Provider, key: str, extras: Collection[str]) -> None:
        """Cancel jobs that were found by their key, if the key proves that this ledger bought them."""
        if self._is_ours_alone(key):
            self._cancel_extras(provider, key, extras)
            return
        for vendor_id in extras:
            log.warning(
                "job %s at %s has the same key as job %s and was not cancelled: the key does not say which ledger "
                "bought it. If it is yours, cancel it in the console of %s",
                vendor_id, provider.name, key[:12], provider.name,
            )  # fmt: skip
            with self.ledger.write() as connection:
                outcome = "not cancelled: its key does not say which ledger bought it"
                self.ledger.record_event(connection, "extra", key, vendor_id=vendor_id, outcome=outcome)

    def settle_time_s(self, provider: Provider) -> float:
        """How long a listing of this vendor may lag before absence counts, in seconds: the value in its documents or a
        setting, or twice the longest lag ever seen there."""
        stated = provider.capabilities.settle_s if self.settle_s is None else self.settle_s
        return max(stated, _LAG_MARGIN * lanes.longest_lag_s(self.ledger, provider.name))

    def _learn_lag(self, provider: Provider, account: str) -> None:
        """Double the settle time, up to ten minutes: a job taken for absent has appeared after all."""
        seen_s = min(self.settle_time_s(provider), _LONGEST_LAG_S / _LAG_MARGIN)
        lanes.note_lag(self.ledger, provider.name, account, seen_s)
        log.warning(
            "a job list of %s lagged; absence now counts after %.0f s",
            provider.name,
            self.settle_time_s(provider),
        )

    def settle(self, provider: Provider, keys: Collection[str]) -> None:
        """End doubts among `keys`: expired claims become doubts, and every due doubt gets one look-up, all together."""
        claims.expire(self.ledger, keys)
        due = claims.doubts_due(self.ledger, keys)
        if not due:
            return
        lookup = provider.capabilities.lookup
        if lookup is Lookup.LOCAL:
            for doubt in due:  # nothing left this process; running it again is the same job
                self._quietly(claims.absent, doubt.job)
            return
        if lookup is Lookup.NONE:
            for doubt in due:
                self._leave_to_a_person(doubt, f"{provider.name} cannot be asked")
            return
        try:
            found = provider.find_submitted(
                [doubt.job.key for doubt in due],
                since=min(doubt.claimed_at for doubt in due) - _SLACK,
                device_ids={doubt.job.device_id for doubt in due},
            )
        except LedgerError:
            raise
        except Exception as error:  # vendor boundary; polled jobs go on
            told = f"could not look up {plural(len(due), 'job')} in doubt at {provider.name}: {error}"
            log.warning("%s", told, exc_info=_is_strange(error))
            asked_s = error.retry_after_s if isinstance(error, ProviderError) else None
            for doubt in due:
                grown = max(_LOOK_RETRY_S, doubt.age_s / 4)  # the longer the silence, the rarer the look-up
                again = min(max(asked_s or 0.0, grown), _LONGEST_LOOK_PAUSE_S)
                at = utc_now() + timedelta(seconds=again)
                why = f"not before {at:%H:%M:%S} UTC, because the last one failed: {error}"
                claims.postpone(self.ledger, doubt.job, again_in_s=again, why=why)
            return
        for doubt in due:
            self._conclude(provider, doubt, found.get(doubt.job.key, ()))

    def _conclude(self, provider: Provider, doubt: Doubt, hits: Sequence[Found]) -> None:
        job = doubt.job
        if hits:
            ids = [hit.vendor_id for hit in hits]
            if not all(map(fits, ids)):
                self._leave_to_a_person(
                    doubt, f"{provider.name} shows it under an id that cannot be kept: {ids!a:.200}"
                )
                return
            if not mark_of(job.key) and (early := _bought_before(hits, doubt.claimed_at)):
                self._leave_to_a_person(
                    doubt,
                    f"{provider.name} has {', '.join(early)[:200]} under its key, from before this ledger sent it. "
                    "The key has no mark, so the job may be a colleague's",
                )
                return
            first, *rest = ids
            if rest and job.sends >= _LOOKS:  # sent again because the first was not shown
                self._learn_lag(provider, job.account)
            try:
                is_ours = self._quietly(claims.adopt, job, first, extras=rest)
            except KeyReused as error:
                self._leave_to_a_person(doubt, str(error))
                return
            if is_ours:
                log.info("job %s was found at %s as %s", job.key[:12], provider.name, first)
                self._cancel_found(provider, job.key, rest)
            return
        settle_s = self.settle_time_s(provider)
        if doubt.age_s < settle_s or doubt.looks + 1 < _LOOKS:
            again = max(settle_s - doubt.age_s, 0.0)
            claims.looked(self.ledger, job, again_in_s=min(again, _LONGEST_LOOK_PAUSE_S))
        elif job.sends >= self.max_sends or job.fence >= _MAX_FENCE:
            self._leave_to_a_person(
                doubt,
                f"sent {plural(max(job.sends, 1), 'time')}, but {provider.name} shows no job of its key after "
                f"{doubt.age_s:.0f} s",
            )
        elif self._quietly(claims.absent, job):
            log.info("%s does not have job %s; it may be sent", provider.name, job.key[:12])

    def _quietly(self, step: Callable[..., None], *args: Any, **kw: Any) -> bool:
        try:
            step(self.ledger, *args, **kw)
        except StaleClaim as error:
            log.info("%s", error)
            return False
        return True

    def _leave_to_a_person(self, doubt: Doubt, why: str) -> None:
        key = doubt.job.key
        if not doubt.job.asks_person:
            log.error("%s", person_must_decide(doubt.job, why))
            with self.ledger.write() as connection:
                self.ledger.record_event(connection, "asks-person", key, why=why)
        claims.looked(self.ledger, doubt.job, again_in_s=None)

    def _cancel_extras(self, provider: Provider, key: str, extras: Collection[str]) -> None:
        for vendor_id in extras:
            outcome = "cancelled"
            try:
                provider.cancel(vendor_id)
            except LedgerError:
                raise
            except Exception as error:  # vendor boundary
                outcome = f"cancel failed: {error}"[:500]
            log.warning("extra job %s of %s at %s: %s", vendor_id, key[:12], provider.name, outcome)
            with self.ledger.write() as connection:
                self.ledger.record_event(connection, "extra", key, vendor_id=vendor_id, outcome=outcome)

    def spec(self, key: str) -> JobSpec:
        """The spec of a job, from memory or from the ledger."""
        with self._lock:
            known = self._specs.get(key)
        if known is None:
            known = reads.spec_of(self.ledger, key)
            self.remember(key, known)
        return known

    def remember(self, key: str, spec: JobSpec) -> None:
        """Keep a spec in memory, so that its programs need not be read back to decode the result."""
        with self._lock:
            self._specs[key] = spec
            while len(self._specs) > _CACHED_SPECS:
                self._specs.popitem(last=False)


def _bought_before(hits: Sequence[Found], claimed_at: datetime) -> list[str]:
    """The ids of jobs that are older than anything this ledger can have sent, however wrong its clock."""
    return [hit.vendor_id for hit in hits if hit.created_at is not None and hit.created_at < claimed_at - _SLACK]


def fits(vendor_id: str) -> bool:
    """Whether a vendor's id can be stored, shown and sent back: one line of at most 255 printable characters."""
    return 0 < len(vendor_id) <= _LONGEST_ID and vendor_id.isprintable()


def _is_strange(error: Exception) -> bool:
    return not isinstance(error, QflowsError)


def person_must_decide(job: Job, why: str) -> str:
    """The message about a job that only a person can settle."""
    return (
        f"job {job.key[:12]} may or may not run at {job.provider}: {why}. Check its console, then run "
        f"`qflows jobs resolve {job.key[:12]} --submitted ID` or `--absent`"
    )
