"""One poll of jobs at a vendor: statuses in bulk, news recorded, finished results fetched.

Whatever one job's answer does to its list, the other jobs of the list are not affected.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from qflows.core.fetching import UNREADABLE, Fetcher
from qflows.core.submit import Submitter
from qflows.errors import LedgerError, NotSent, ProviderError, Refused, Unreadable
from qflows.ledger import claims, outcomes, reads
from qflows.ledger.pending import Pending, Polled
from qflows.model import Job
from qflows.protocol import Observation, Phase, Provider
from qflows.states import AT_VENDOR

log = logging.getLogger("qflows.poller")

_NOT_LISTED = "(not listed)"
_UNREADABLE_STATUS = "(unreadable)"
_UNKNOWN_S = 600.0  # how long nothing may be known of a job before its waiter gets an error
_APART_REQUESTS = 64  # to find the jobs that spoil an answer
_GONE = Observation(
    Phase.FAILED,
    "(gone)",
    error_code=claims.VANISHED,
    error_message="the vendor no longer has this job; if its console still shows it, `qflows jobs resolve KEY "
    "--submitted ID` restores it, otherwise resubmit=1 buys it anew",
    is_retryable=True,
)


@dataclass(frozen=True, slots=True)
class Looked:
    """Keys of the jobs that a poll brought news of, and of those that are over at the vendor; and the jobs whose
    results are there."""

    changed: frozenset[str] = frozenset()
    over: frozenset[str] = frozenset()
    finished: tuple[tuple[Job, Observation], ...] = ()


@dataclass
class Looker:
    """Polls jobs through one submitter; `fetcher` fetches the results of the finished ones."""

    submitter: Submitter
    fetcher: Fetcher

    def look(self, provider: Provider, jobs: Sequence[Polled]) -> Looked:
        """Poll `jobs` once in bulk and record what is new, but for what is `finished`: `Fetcher` records that with the
        results. Jobs that are as they were cost no more than the poll."""
        at_vendor = [job for job in jobs if is_there(job)]
        if not at_vendor:
            return Looked()
        suspects = {str(job.vendor_id) for job in at_vendor if job.bad_reads}
        statuses = self._poll(provider, [job.vendor_id for job in at_vendor if job.vendor_id], suspects)
        told = [(job, _look_of(statuses, job)) for job in at_vendor]
        moved = self._in_full([pair for pair in told if not _is_as_it_was(*pair)])
        seen = [(job, self._if_readable(job, look)) for job, look in moved]
        seen = self._without_vanished(provider, seen)
        partly = [(j, look) for j, look in seen if look.phase is Phase.FAILED and j.n_programs > 1 and look != _GONE]
        done = [(job, look) for job, look in seen if look.phase is Phase.DONE]
        held_back = {job.key for job, _ in done + partly}  # recorded together with their counts
        changed = outcomes.observe(self.submitter.ledger, [(j, look) for j, look in seen if j.key not in held_back])
        over = {job.key for job, look in seen if look.phase in (Phase.DONE, Phase.FAILED, Phase.CANCELLED)}
        return Looked(frozenset(held_back.union(changed)), frozenset(over), tuple(done + partly))

    def _in_full(self, told: Sequence[tuple[Polled, Observation]]) -> list[tuple[Job, Observation]]:
        """Whole handles, without jobs that have come to an end since they were read."""
        keys = [job.key for job, _ in told if isinstance(job, Pending)]
        found = reads.by_keys(self.submitter.ledger, keys) if keys else {}
        whole = [(job if isinstance(job, Job) else found.get(job.key), look) for job, look in told]
        return [(job, look) for job, look in whole if job is not None and is_there(job)]

    def _poll(self, provider: Provider, ids: Sequence[str], suspects: Collection[str]) -> dict[str, Observation]:
        """Statuses by id. If an answer cannot be read, halves of the list are requested, down to the job that spoils
        it: that one stays as it was, the others go through. Gives up, with the first error, if nothing can be read."""
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
        """Jobs that lists have omitted, or shown with an undocumented word, for too long.

        A job that is not listed is requested by its id: the vendor's own "no such job" is an end that can be revoked;
        anything else leaves the job as it was. A job of which nothing is known for ten minutes is held, and a person
        is notified: whoever waits without a timeout would wait forever.
        """
        strange = [job for job, look in seen if look.phase is Phase.UNKNOWN]
        if not strange:
            return list(seen)
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
            elif look.phase is Phase.UNKNOWN and age_s >= _UNKNOWN_S:
                why = f"status is {look.word[:64]!r}, which is not documented"
                if look.word == _NOT_LISTED:
                    why = "vendor has left it out of every list, and does not say that it is gone"
                note = f"for {age_s:.0f} s its {why}"
                look = replace(look, phase=Phase.HELD, queue_note=look.queue_note or note)  # noqa: PLW2901
            looks.append((job, look))
        return looks

    def _if_readable(self, job: Job, look: Observation) -> Observation:
        """Hold a result that could not be read several times in a row, and notify a person.

        This includes results of failed jobs: they may hold counts of good circuits, which are paid for.
        """
        if look.phase not in (Phase.DONE, Phase.FAILED) or job.bad_reads < UNREADABLE:
            return look
        note = f"the vendor's answer cannot be read (`qflows jobs show {job.key[:12]}` has the text)"
        return replace(look, phase=Phase.HELD, queue_note=note)

    def _is_gone(self, provider: Provider, job: Job) -> bool:
        assert job.vendor_id is not None
        try:
            return not provider.exists(job.vendor_id)
        except LedgerError:
            raise
        except Exception as error:
            log.warning("job %s is not listed, and could not be looked up: %s", job.key[:12], error)
            return False


def is_there(job: Polled) -> bool:
    return job.status in AT_VENDOR and job.vendor_id is not None


def _is_as_it_was(job: Polled, look: Observation) -> bool:
    return look.phase in (Phase.QUEUED, Phase.RUNNING) and not outcomes.is_news(job, look)


def _unreadable(error: Exception) -> Observation:
    return Observation(Phase.UNKNOWN, _UNREADABLE_STATUS, queue_note=f"{type(error).__name__}: {error}"[:255])


def _look_of(statuses: Mapping[str, Observation], job: Polled) -> Observation:
    assert job.vendor_id is not None
    return statuses.get(job.vendor_id) or Observation(Phase.UNKNOWN, _NOT_LISTED)
