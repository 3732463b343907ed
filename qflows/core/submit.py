"""The only caller of `Provider.submit`, and the only place that ends a doubt.

A submission is one claim, one POST that bears the job key, one outcome. Nothing here repeats a POST in place: a
lost answer becomes IN_DOUBT, and only proved absence makes the job PREPARED again.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from threading import Lock
from typing import Any

from qflows.errors import LedgerError, LedgerUnavailable, NotSent, ProviderError, Refused, StaleClaim
from qflows.ledger import claims, intents, reads, sessions
from qflows.ledger.claims import Doubt
from qflows.ledger.intents import Intent
from qflows.ledger.store import Ledger
from qflows.model import Job
from qflows.protocol import Accepted, Found, JobSpec, Lookup, Provider
from qflows.states import JobStatus

log = logging.getLogger("qflows.submit")

_SLACK = timedelta(minutes=5)  # clocks differ: vendor timestamps may be this much before our own
_LOOKS = 2  # one listing may lag; two that are `settle_s` apart may not
_CACHED_SPECS = 4096
_CLAIMS_AT_ONCE = 10
_NOT_SENT_RETRY_S = 2.0
_LOOK_RETRY_S = 2.0


@dataclass
class Submitter:
    """Buys jobs through a ledger. Safe for use from several threads.

    `lease_s`: how long a claim keeps others away; must exceed the longest time one POST can take.
    `settle_s`: overrides the vendors' own settle times. `workers`: POSTs under way at once in `submit`.
    """

    ledger: Ledger
    lease_s: float = 120.0
    settle_s: float | None = None
    workers: int = 1
    _specs: OrderedDict[str, JobSpec] = field(default_factory=OrderedDict, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def submit(self, provider: Provider, wanted: Sequence[Intent]) -> list[Job]:
        """Makes each intent durable, then sends what nobody sent before. Returns handles in input order, at once.

        Raises ProgramRejected before anything is recorded. A handle may come back PREPARED (vendor out of reach)
        or IN_DOUBT (answer lost): `Poller.wait` goes on with either.
        """
        for intent in wanted:
            provider.check(intent.spec)
        try:
            handles = intents.prepare(self.ledger, wanted)
        except LedgerUnavailable as error:
            raise LedgerUnavailable(f"{error}. Nothing was sent") from error
        to_send: dict[str, Job] = {}
        for intent, job in zip(wanted, handles, strict=True):
            self.remember(job.key, intent.spec)
            if job.status is JobStatus.PREPARED:
                to_send[job.key] = job
        self.send_all(provider, list(to_send.values()))
        fresh = reads.by_keys(self.ledger, {job.key for job in handles}) if to_send else {}
        return [fresh.get(job.key, job) for job in handles]

    def send_all(self, provider: Provider, batch: Sequence[Job]) -> None:
        """Sends PREPARED jobs, several at once when there are workers. Outcomes are in the ledger, not raised."""
        # several claims in one commit; a crash leaves no more in doubt than one look-up settles. Where nobody can
        # look, every doubt costs a person's time, so claims are taken one by one.
        size = 1 if provider.capabilities.lookup is Lookup.NONE else _CLAIMS_AT_ONCE
        parts = [batch[start : start + size] for start in range(0, len(batch), size)]
        if self.workers > 1 and len(parts) > 1:
            with ThreadPoolExecutor(min(self.workers, len(parts)), thread_name_prefix="qflows-submit") as pool:
                list(pool.map(lambda part: self.send(provider, part), parts))
        else:
            for part in parts:
                self.send(provider, part)

    def send(self, provider: Provider, batch: Sequence[Job]) -> None:
        """One claim and one POST for each job that is free to be sent. Outcomes are in the ledger, not raised."""
        # labels may have changed since the spec was remembered
        specs = {job.key: replace(self.spec(job.key), name=job.name, tags=job.tags) for job in batch}
        in_session = [key for key, spec in specs.items() if spec.session_id is not None]
        for key in sessions.leave_closed_batches(self.ledger, in_session) if in_session else ():
            specs[key] = replace(specs[key], session_id=None)
            self.remember(key, specs[key])
        mine = claims.claim_several(self.ledger, list(specs), lease_s=self.lease_s, account=provider.account)
        unsent = list(mine.values())
        try:
            while unsent:
                claim = unsent.pop(0)
                try:
                    self._post(provider, specs[claim.key], claim)
                except StaleClaim as error:
                    log.warning("%s", error)
        finally:
            for claim in unsent:
                self._give_back(claim)

    def _give_back(self, claim: claims.Claim) -> None:
        """Frees a claim after an interrupt, so that nobody has to wait for the lease of what never left."""
        try:
            claims.not_sent(self.ledger, claim, message="interrupted before sending", retry_in_s=0.0)
        except LedgerError as error:
            log.warning("%s", error)

    def _post(self, provider: Provider, spec: JobSpec, claim: claims.Claim) -> None:
        if claim.remaining_s() < self.lease_s / 2:
            # this process was stalled between claim and wire; whoever takes over must find nothing at the vendor
            claims.not_sent(self.ledger, claim, message="stalled before sending", retry_in_s=0.0)
            return
        try:
            answer = provider.submit(spec, claim.key)
        except Refused as error:
            claims.refused(self.ledger, claim, code=error.vendor_code, message=str(error))
            log.warning("%s", error)
        except NotSent as error:
            retry_in_s = error.retry_after_s if error.retry_after_s is not None else _NOT_SENT_RETRY_S
            claims.not_sent(self.ledger, claim, message=str(error), retry_in_s=retry_in_s)
            log.warning("%s; it will be sent again in %.0f s", error, retry_in_s)
        except BaseException as error:
            # Whatever else happened, an interrupt included, the vendor may have accepted.
            claims.doubted(self.ledger, claim, message=f"{type(error).__name__}: {error}"[:1000])
            if not isinstance(error, ProviderError):
                raise
            log.warning("job %s is in doubt: %s", claim.key[:12], error)
        else:
            self._accepted(provider, spec, claim, answer)

    def _accepted(self, provider: Provider, spec: JobSpec, claim: claims.Claim, answer: Accepted) -> None:
        vendor_id = answer.vendor_id
        try:
            claims.accepted(self.ledger, claim, vendor_id, submission=answer.metadata)
        except StaleClaim:
            self._late_answer(provider, claim.key, answer)
            raise
        except LedgerUnavailable as error:
            raise LedgerUnavailable(
                f"{provider.name} took job {claim.key[:12]} as {vendor_id}, which could not be written down: {error}. "
                "Run again when that is mended: the job is found there by its key"
            ) from error
        if claim.fence > 1:
            self._cancel_late_answers(provider, claim.key, vendor_id)
        if provider.capabilities.repeats_posts:
            self._cancel_silent_extras(provider, spec, claim.key)

    def _late_answer(self, provider: Provider, key: str, answer: Accepted) -> None:
        """Our claim was taken over while the answer was under way.

        A job that is free to be sent again is this one. A job that has another id, or has ended, makes ours an extra.
        A job in doubt is left to `settle`, which finds this id by its key; one that is being sent, to its sender.
        """
        job = reads.job(self.ledger, key)
        if job.status is JobStatus.PREPARED:
            claim = claims.claim(self.ledger, key, lease_s=self.lease_s, account=provider.account)
            if claim is not None:
                claims.accepted(self.ledger, claim, answer.vendor_id, submission=answer.metadata)
                return
            job = reads.job(self.ledger, key)
        if job.vendor_id != answer.vendor_id and (job.vendor_id is not None or job.is_terminal):
            self._cancel_extras(provider, job.key, [answer.vendor_id])

    def _cancel_late_answers(self, provider: Provider, key: str, vendor_id: str) -> None:
        """Cancels what an earlier claim bought without knowing that it had been taken over."""
        late = {
            str(event["detail"]["vendor_id"])
            for event in reads.history(self.ledger, key)
            if event["kind"] == "late-answer"
        }
        if late - {vendor_id}:
            self._cancel_extras(provider, key, sorted(late - {vendor_id}))

    def _cancel_silent_extras(self, provider: Provider, spec: JobSpec, key: str) -> None:
        """Looks for jobs that the vendor's own client bought behind an apparent success."""
        job = reads.job(self.ledger, key)
        try:
            found = provider.find_submitted([key], since=job.created_at - _SLACK, device_ids={spec.device_id})
        except ProviderError as error:
            log.warning("could not look for extras of job %s: %s", key[:12], error)
            return
        extras = [hit.vendor_id for hit in found.get(key, ()) if hit.vendor_id != job.vendor_id]
        if extras:
            self._cancel_extras(provider, key, extras)

    def settle_time_s(self, provider: Provider) -> float:
        """How long a listing of this vendor may lag before absence counts, seconds."""
        return provider.capabilities.settle_s if self.settle_s is None else self.settle_s

    def settle(self, provider: Provider, keys: Collection[str]) -> None:
        """Ends doubts among `keys`: expired claims become doubts, and every due doubt gets one look, in one go."""
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
                self._leave_to_a_person(doubt)
            return
        try:
            found = provider.find_submitted(
                [doubt.job.key for doubt in due],
                since=min(doubt.claimed_at for doubt in due) - _SLACK,
                device_ids={doubt.job.device_id for doubt in due},
            )
        except ProviderError as error:
            log.warning("could not look up %d job(s) in doubt at %s: %s", len(due), provider.name, error)
            again = max(error.retry_after_s or 0.0, _LOOK_RETRY_S)
            for doubt in due:
                claims.postpone(self.ledger, doubt.job, again_in_s=again)
            return
        for doubt in due:
            self._conclude(provider, doubt, found.get(doubt.job.key, ()))

    def _conclude(self, provider: Provider, doubt: Doubt, hits: Sequence[Found]) -> None:
        job = doubt.job
        if hits:
            first, *rest = (hit.vendor_id for hit in hits)
            if self._quietly(claims.adopt, job, first, extras=rest):
                log.info("job %s was found at %s as %s", job.key[:12], provider.name, first)
                self._cancel_extras(provider, job.key, rest)
            return
        settle_s = self.settle_time_s(provider)
        if doubt.age_s >= settle_s and doubt.looks + 1 >= _LOOKS:
            if self._quietly(claims.absent, job):
                log.info("%s has no job %s; it is free to be sent", provider.name, job.key[:12])
        else:
            claims.looked(self.ledger, job, again_in_s=max(settle_s - doubt.age_s, 0.0))

    def _quietly(self, step: Callable[..., None], *args: Any, **kw: Any) -> bool:
        try:
            step(self.ledger, *args, **kw)
        except StaleClaim as error:
            log.info("%s", error)
            return False
        return True

    def _leave_to_a_person(self, doubt: Doubt) -> None:
        if doubt.looks == 0:
            log.error(
                "job %s may or may not run at %s, and %s cannot be asked; look at its console, then run "
                "`qflows jobs resolve %s --submitted ID` or `--absent`",
                doubt.job.key[:12], doubt.job.provider, doubt.job.provider, doubt.job.key[:12],
            )  # fmt: skip
        claims.looked(self.ledger, doubt.job, again_in_s=None)

    def _cancel_extras(self, provider: Provider, key: str, extras: Collection[str]) -> None:
        for vendor_id in extras:
            outcome = "cancelled"
            try:
                provider.cancel(vendor_id)
            except ProviderError as error:
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
        """Keeps a spec at hand, so that its programs need not be read back to decode the result."""
        with self._lock:
            self._specs[key] = spec
            while len(self._specs) > _CACHED_SPECS:
                self._specs.popitem(last=False)
