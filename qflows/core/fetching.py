"""Fetching finished jobs' answers: downloaded, decoded, and stored unchanged together with what they say.

Whatever a vendor's library, a decoder or the database raises about one answer stays with its job: the message and the
answer are kept, and after three failed readings in a row the job is held until a person, or a later version, reads it
again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, TypeGuard

from qflows.core.submit import Submitter
from qflows.core.versions import versions
from qflows.errors import LedgerError, LedgerUnavailable, ProviderError, QflowsError, Refused, Unreadable
from qflows.ledger import imports, outcomes, raws
from qflows.ledger.rows import CODE_CAP
from qflows.ledger.store import More
from qflows.ledger.tables import REBUILT
from qflows.model import Job
from qflows.programs.unknown import is_unread
from qflows.protocol import ImportProvider, JobSpec, Lookup, Observation, Phase, Provider, RawAnswer

if TYPE_CHECKING:
    from sqlalchemy import Connection

log = logging.getLogger("qflows.poller")

Patience = Callable[[Callable[[], RawAnswer]], RawAnswer]

UNREADABLE = 3  # consecutive unreadable answers before a result is left alone: one may be a truncated download
_STORED_AT_ONCE = 32  # jobs
_DECODED_AT_ONCE = 1_000  # circuits, unless one job has more


def _parts(finished: Sequence[tuple[Job, Observation]]) -> Iterator[Sequence[tuple[Job, Observation]]]:
    """In order, what is decoded and stored in one go: many small jobs for one commit, few large ones for the memory."""
    start = n_circuits = 0
    for end, (job, _) in enumerate(finished):
        if end - start == _STORED_AT_ONCE or (end > start and n_circuits + job.n_programs > _DECODED_AT_ONCE):
            yield finished[start:end]
            start, n_circuits = end, 0
        n_circuits += job.n_programs
    yield finished[start:]


@dataclass
class Fetcher:
    """`on_stored` is called when some results of a round are durable and others are still to come.

    `patience` repeats a download that the vendor asks to be made later; without it the download fails.
    """

    submitter: Submitter
    on_stored: Callable[[], None] | None = None
    patience: Patience | None = None
    told: dict[str, str] = field(default_factory=dict)  # what was last logged of jobs that could not be read, by key

    def fetch_all(
        self, provider: Provider, finished: Sequence[tuple[Job, Observation]], *, also: More | None = None
    ) -> bool:
        """Download results, several at a time, and store the raw answers and what they decode to, part by part: one
        commit for many jobs.

        `also` writes more in the last commit, if there is one; returns whether it did.
        """
        if not finished:
            return False
        local = provider.capabilities.lookup is Lookup.LOCAL
        submitter, ledger = self.submitter, self.submitter.ledger
        is_closed = False
        with ThreadPoolExecutor(provider.capabilities.reads_at_once, thread_name_prefix="qflows-fetch") as pool:
            for part in _parts(finished):
                were_stored = [job.key for job, _ in part if job.bad_reads or job.has_answer]
                kept = raws.of(ledger, were_stored) if were_stored else {}
                run = map if local or len(part) == 1 else pool.map
                answers = run(partial(self._download, provider, kept), part)
                there = {job.key: raw for (job, _), raw in zip(part, answers, strict=True) if raw is not None}
                later = [(job, look) for job, look in part if job.key in there and self._waits_for_its_run(job)]
                late_keys = {job.key for job, _ in later}
                unsafe = {key: raw for key, raw in there.items() if raw.is_only_copy or key in late_keys}
                if not local:
                    raws.keep(ledger, unsafe, versions=versions()["versions"])
                if later:
                    outcomes.keep_undecoded(ledger, later)
                    there = {key: raw for key, raw in there.items() if key not in late_keys}
                named = {job.device_id for job, _ in part if job.key in there}
                about = {name: submitter.calibrations.of(ledger, provider, name) for name in sorted(named)}
                decoded = [
                    self._decode(provider, job, look, there[job.key], about[job.device_id])
                    for job, look in part
                    if job.key in there
                ]
                good = [one for one in decoded if one]
                new = {} if local else {one.job.key: there[one.job.key] for one in good}
                last = also if part[-1] is finished[-1] else None
                is_closed = self._store(good, {key: raw for key, raw in new.items() if key not in unsafe}, last)
        return is_closed and also is not None

    def _store(
        self, outcome: Sequence[outcomes.Outcome], answers: Mapping[str, RawAnswer], also: More | None = None
    ) -> bool:
        """Store results with their raw answers, and what `also` writes; returns whether it was one commit."""
        if not outcome:
            return False
        ledger = self.submitter.ledger
        packed = raws.rows_of(answers, versions=versions()["versions"])

        def more(connection: Connection) -> None:
            raws.keep_in(ledger, connection, packed)
            if also is not None:
                also(connection)

        try:
            late = outcomes.store_all(ledger, outcome, also=more)
        except LedgerUnavailable:
            raise
        except Exception as error:  # one of them has something that the database rejects
            raws.keep(ledger, answers, versions=versions()["versions"])
            if len(outcome) > 1:
                for one in outcome:
                    self._store([one], {})
                return False
            outcomes.keep_unreadable(ledger, outcome[0].job, error)
            log.warning("the result of job %s could not be stored: %s", outcome[0].job.key[:12], error)
            return False
        for key, status in late.items():
            log.warning("job %s is %s; its counts arrived too late to be stored", key[:12], status)
        if self.on_stored:
            self.on_stored()
        return True

    def _download(
        self, provider: Provider, kept: Mapping[str, RawAnswer], finished: tuple[Job, Observation]
    ) -> RawAnswer | None:
        """The raw answer, from the vendor or otherwise from the ledger. A failed download leaves the job RUNNING."""
        job, look = finished
        vendor_id = job.vendor_id
        assert vendor_id is not None
        if job.has_answer and job.key in kept:
            return kept[job.key]

        def fetch() -> RawAnswer:
            return provider.fetch(vendor_id, self.submitter.spec(job.key))

        try:
            return self.patience(fetch) if self.patience else fetch()
        except LedgerError:
            raise
        except Exception as error:  # boundary to vendors' libraries
            # it gave an answer before, and a vendor may give each one only once; the reader may have died since
            if (stored := kept.get(job.key) or raws.of(self.submitter.ledger, [job.key]).get(job.key)) is not None:
                return stored
            self._could_not_read(job, look, error)
            return None

    def _decode(
        self, provider: Provider, job: Job, look: Observation, raw: RawAnswer, calibration: str | None
    ) -> outcomes.Outcome | None:
        """What the answer says. A decoder's error stays with this job; the answer is kept.

        `calibration`: the digest of the device's calibration, to record with the counts.
        """
        try:
            if job.fence > 1 and provider.capabilities.lookup is not Lookup.NONE:
                # an earlier sender that was taken for dead may have woken since
                self.submitter.cancel_extras_of(provider, job.device_id, job.key)
            result = provider.decode(raw, spec_to_read(self.submitter, provider, job), job.key)
        except LedgerError:
            raise
        except Exception as error:
            if provider.capabilities.lookup is not Lookup.LOCAL:
                raws.keep(self.submitter.ledger, {job.key: raw}, versions=versions()["versions"])
            self._could_not_read(job, look, error)
            return None
        provenance = {"vendor": dict(result.metadata)} | versions()
        provenance |= {"calibration": calibration} if calibration else {}
        return outcomes.Outcome(job, result, provenance, look if look.phase is Phase.FAILED else None, look.steps)

    def _waits_for_its_run(self, job: Job) -> bool:
        """True once for a rebuilt job whose programs are not known: its run knows them, and reading them back costs
        requests. Whoever waits for the job itself decodes the stored answer at the next poll."""
        is_new = job.origin == REBUILT and not job.has_answer and not job.bad_reads
        return is_new and is_unread(self.submitter.spec(job.key).programs[0])

    def _could_not_read(self, job: Job, look: Observation, error: Exception) -> None:
        ledger = self.submitter.ledger
        passing = isinstance(error, ProviderError) and not isinstance(error, Unreadable | Refused)
        if not passing:
            outcomes.keep_unreadable(ledger, job, error)
        if look.phase is Phase.DONE or isinstance(error, Refused):
            # done, but not available yet; or failed without partial results
            if look.phase is Phase.DONE:
                look = replace(
                    look, queue_note=f"finished, but its counts could not be fetched yet: {error}"[:CODE_CAP]
                )
            outcomes.observe(ledger, [(job, look)])
        # a vendor that is down is asked every second or so
        is_new = self.told.get(job.key) != (told := str(error))
        self.told[job.key] = told
        log.log(
            logging.WARNING if is_new else logging.DEBUG,
            "the result of job %s could not be read: %s", job.key[:12], error,
            exc_info=not isinstance(error, QflowsError),
        )  # fmt: skip


def spec_to_read(submitter: Submitter, provider: Provider, job: Job) -> JobSpec:
    """What a job ordered, with programs that its answer can be read by.

    Of a rebuilt job that is known only by its key, they are read from the vendor and stored. Raises Unreadable if the
    vendor does not have them either.
    """
    spec = submitter.spec(job.key)
    if job.origin != REBUILT or not is_unread(spec.programs[0]):
        return spec
    if reads_back(provider) and job.vendor_id is not None:
        spec = provider.foreign(job.vendor_id).spec
    if is_unread(spec.programs[0]):
        raise Unreadable(f"job {job.key[:12]} is known only by its key; start its run again to restore the rest")
    imports.describe(submitter.ledger, job.key, spec)
    submitter.remember(job.key, spec)
    return spec


def reads_back(provider: Provider) -> TypeGuard[ImportProvider]:
    """True if jobs can be listed and read back whoever bought them."""
    return provider.capabilities.imports
