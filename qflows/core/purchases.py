"""Buying, waiting and cancelling for one process: jobs, results and batches."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, Unpack

from qflows.core import orders
from qflows.core.arguments import check_names, check_seconds, check_text, check_whole
from qflows.core.batches.batch import Batch
from qflows.core.batches.planning import Planned
from qflows.core.choice import asking
from qflows.core.durations import seconds
from qflows.core.holds import Holds, none_refused
from qflows.core.money import quoted, with_approval
from qflows.core.native_groups import into_native
from qflows.core.poller import OnChange
from qflows.core.references import FAMILY, Reference
from qflows.core.rereading import reread
from qflows.core.scope import Scope
from qflows.core.sessions import Session
from qflows.core.stored import stored
from qflows.core.verbs import BatchWishes, RunWishes, Wishes
from qflows.display import plural
from qflows.errors import InDoubt, LedgerError, OtherAccount, ProgramRejected, QflowsError
from qflows.ledger import outcomes, reads
from qflows.ledger.budgets import Buyer
from qflows.ledger.intents import Intent, give_back
from qflows.ledger.store import utc_now
from qflows.model import Job, Result
from qflows.programs import to_program
from qflows.protocol import JobSpec
from qflows.states import JobStatus

log = logging.getLogger("qflows.client")
_EXACT = "local-exact"


class Purchases(Holds):
    """Buys programs and lists of them, waits for them, and reads or cancels them."""

    def wait(
        self,
        keys: Collection[str],
        *,
        timeout: float | None = None,
        on_change: OnChange | None = None,
        every: float | None = None,
    ) -> dict[str, Job]:
        """Block until all are terminal, under one deadline. See `Poller.wait`."""
        return self.poller().wait(keys, timeout=timeout, on_change=on_change, every=every)

    def result(
        self,
        keys: Sequence[str],
        *,
        timeout: float | None = None,
        on_change: OnChange | None = None,
        every: float | None = None,
        refresh: bool = False,
    ) -> Result:
        """Wait, then read the counts. Several keys are the parts of one expectation value.

        `refresh`: see `rereading.reread`. Raises JobFailed or JobCancelled with the vendor's reason, WaitTimeout at the
        deadline.
        """
        handles = self.wait(keys, timeout=timeout, on_change=on_change, every=every)
        jobs = [handles[key] for key in keys]
        return reread(self.submitter, self.vendors, jobs) if refresh else self.stored(jobs)

    def stored(self, jobs: Sequence[Job]) -> Result:
        """The result of finished jobs, from the ledger alone. Raises JobFailed, JobCancelled."""
        return stored(self.ledger, jobs)

    def cancel(self, keys: Collection[str], *, timeout: float = 60.0) -> dict[str, Job]:
        """Cancel at the vendor and verify; return terminal handles.

        A job that finished first comes back COMPLETED: the cancel was too late. Raises WaitTimeout if the vendor has
        not confirmed in time; the request is recorded, and the next poll repeats it.
        """
        if imported := [job for job in reads.by_keys(self.ledger, keys).values() if job.is_imported]:
            raise ProgramRejected(
                f"job {imported[0].key[:12]} was imported: {imported[0].vendor_id} was bought "
                "elsewhere and must be cancelled there; nothing was cancelled"
            )
        outcomes.request_cancel(self.ledger, keys)
        return self.wait(keys, timeout=timeout)

    def intents(self, specs: Sequence[JobSpec], *, device: str, scope: Scope, resubmit: int = 0) -> list[Intent]:
        """Each spec with the names it is bought under. Making an intent counts as one call of the scope's caller."""
        provider = self.device(device).provider
        if scope.group:
            mirrors = self.settings.vendor_groups
            specs = into_native(self.ledger, scope.group, provider, specs, device=device, by_itself=mirrors)
        buyer = self.buyer(scope)
        return [
            Intent(spec, scope.want(spec.content), device, provider.account, resubmit=resubmit, buyer=_of(buyer, spec))
            for spec in specs
        ]

    def buy(self, intents: Sequence[Intent]) -> list[Job]:
        """Submit what was not bought before; return handles in order, at once."""
        if not intents:
            return []
        started = utc_now()
        target = self.device(intents[0].device)
        provider = self.vendors.teach(target.provider)
        intents = quoted(self.ledger, target, intents)
        try:
            jobs = with_approval(self.ledger, self.parts.asks, lambda: self.submitter.submit(provider, intents))
        except OtherAccount as error:
            if not error.pending or not self._is_ours(error.pending[0]):
                raise
            jobs = self.submitter.submit(provider, intents)
        _say_what_was_adopted(jobs, started)
        return jobs

    def _is_ours(self, key: str) -> bool:
        """Whether the vendor shows a job of another account to these credentials: the key was then only renewed."""
        try:
            self.vendors.of(reads.job(self.ledger, key))
        except OtherAccount:
            return False
        return True

    def submit(self, specs: Sequence[JobSpec], *, device: str, scope: Scope, resubmit: int = 0) -> list[Job]:
        """Submit each spec once under the scope's run key and return handles at once."""
        wanted = self.intents(specs, device=device, scope=scope, resubmit=resubmit)
        with self._one_call(wanted):
            return self.buy(wanted)

    def submit_one(
        self, program: Any, scope: Scope, *, device: str, session: Session | None = None, **wishes: Unpack[Wishes]
    ) -> Job:
        """Buy one job under a scope. Raises ProgramRejected if several jobs are needed."""
        check_names("submit", wishes, Wishes.__annotations__)
        asked = partial(asking.for_programs, program, wishes.get("shots"), wishes, label=wishes.get("label", ""))
        return self.through(
            device, scope, asked, lambda name, here: self._submit_one(program, here, name, session, wishes), _one
        )

    def _submit_one(
        self, program: Any, scope: Scope, device: str, session: Session | None, wishes: Mapping[str, Any]
    ) -> Job:
        specs, resubmit, named = self._wished(program, scope, device, session, wishes)
        if len(specs) > 1:
            raise ProgramRejected(
                f"{device} takes one circuit per job and these observables need {len(specs)}; use qflows.run, which "
                "buys them together and waits"
            )
        return self.submit(specs, device=device, scope=named, resubmit=resubmit)[0]

    def run(
        self, program: Any, scope: Scope, *, device: str, session: Session | None = None, **wishes: Unpack[RunWishes]
    ) -> Result:
        """Buy under a scope, wait, and read the result."""
        check_names("run", wishes, {*Wishes.__annotations__, *RunWishes.__annotations__})
        asked = partial(asking.for_programs, program, wishes.get("shots"), wishes, label=wishes.get("label", ""))
        return self.through(
            device, scope, asked, lambda name, here: self._run(program, here, name, session, dict(wishes)), none_refused
        )

    def _run(self, program: Any, scope: Scope, device: str, session: Session | None, wishes: Any) -> Result:
        timeout = wishes.pop("timeout", None)
        check_seconds("timeout", timeout)
        if wishes.get("mitigate"):
            return self._run_mitigated(program, scope, device, session, timeout, wishes)
        wishes.pop("mitigate", None)
        specs, resubmit, named = self._wished(program, scope, device, session, wishes)
        wanted = self.intents(specs, device=device, scope=named, resubmit=resubmit)
        with self._one_call(wanted):
            jobs = self.buy(wanted)
            return self.result([job.key for job in jobs], timeout=timeout)

    def _run_mitigated(
        self, program: Any, scope: Scope, device: str, session: Session | None, timeout: float | None, wishes: Any
    ) -> Result:
        """Buy all circuits of one value as one batch; the result has its first job, and the cost of all."""
        given: dict[str, Any] = {name: value for name, value in dict(wishes).items() if name != "run_key"}
        if given.pop("resubmit", 0):
            raise ProgramRejected(
                "mitigate: resubmit applies to single jobs; attach to the batch and call rerun_failed()"
            )
        values, name, sample = given.pop("values", None), given.pop("name", None), given.pop("sample", None)
        wanted = orders.listed_observables(given.pop("observables", None))
        planned = self.plan_batch(
            [to_program(program, values, name)],
            device=device,
            shots=given.pop("shots", None),
            observables=list(wanted) or None,
            seed=scope.run_key,
            **given,
        )
        named = replace(scope, sample=sample) if sample is not None else scope
        batch = self.create_batch(planned, device=device, scope=named, name=name or "", tags=given.get("tags"))
        if session is None:
            self.submit_batch(batch)
        else:
            batch.submit(session_id=session.id)
        found = batch.result(timeout)
        jobs = batch.sub_jobs()
        provenance = {"batch": batch.id, "programs": [one.digest for one in batch.programs]}
        return Result(replace(jobs[0], cost=found.cost), (found[0],), provenance)

    @contextmanager
    def _one_call(self, wanted: Sequence[Intent]) -> Iterator[None]:
        """Release the samples of a call that does not return: the next equal call of the attempt gets them."""
        try:
            yield
        except BaseException:
            try:
                give_back(self.ledger, wanted)
            except LedgerError as error:
                log.warning("%s", error)
            raise

    def _wished(
        self, program: Any, scope: Scope, device: str, session: Session | None, wishes: Any
    ) -> tuple[list[JobSpec], int, Scope]:
        given = dict(wishes)
        given.pop("run_key", None)
        resubmit, sample = given.pop("resubmit", 0), given.pop("sample", None)
        check_whole("resubmit", resubmit)
        check_whole("sample", sample)
        scope = _for_project(scope, given.pop("project", None))
        specs = self.specs(
            program, device=device, shots=given.pop("shots", None), session_id=session.id if session else None, **given
        )
        return specs, resubmit, replace(scope, sample=sample) if sample is not None else scope

    def submit_list(
        self, programs: Sequence[Any], scope: Scope, *, device: str, **wishes: Unpack[BatchWishes]
    ) -> Batch:
        """Buy a list of programs, or a sweep, as a batch."""
        check_names("batch", wishes, BatchWishes.__annotations__)
        check_text("name", wishes.get("name"))
        # a tuple may be (circuit, values), and circuits are iterable: converting it would take them apart
        several = isinstance(programs, list | Iterator) or hasattr(programs, "tolist")
        sources: Any = list(programs) if several else programs
        asked = partial(asking.for_sweep, sources, wishes.get("shots"), wishes, label=wishes.get("label", ""))
        return self.through(
            device, scope, asked, lambda chosen, here: self._submit_list(sources, here, chosen, wishes), _parts_of
        )

    def _submit_list(self, sources: Any, scope: Scope, device: str, wishes: Mapping[str, Any]) -> Batch:
        given: dict[str, Any] = dict(wishes)
        given.pop("run_key", None)
        name, tags = given.pop("name", ""), given.get("tags")
        max_time_s = seconds(given.pop("max_time", None))
        scope = _for_project(scope, given.pop("project", None))
        planned = self.plan_batch(sources, device=device, shots=given.pop("shots", None), seed=scope.run_key, **given)
        made = self.create_batch(planned, device=device, scope=scope, name=name, tags=tags, max_time_s=max_time_s)
        self.submit_batch(made)
        return made

    def with_expected(self, references: Sequence[Reference], scope: Scope) -> tuple[Reference, ...]:
        """Give those without a distribution the exact one, computed here. Raises ProgramRejected if it cannot be."""
        here = replace(scope, group=None, choice=None)
        return tuple(one if one.expected is not None else self._computed(one, here) for one in references)

    def _computed(self, one: Reference, scope: Scope) -> Reference:
        try:
            result = self.run(one.program, scope, device=_EXACT, shots=None, label=FAMILY)
        except QflowsError as error:
            raise ProgramRejected(
                f"reference {one.name}: its distribution cannot be computed here ({error}); give it as expected="
            ) from error
        return replace(one, expected=dict(result.probabilities or {}))

    def create_batch(
        self,
        planned: Planned,
        *,
        device: str,
        scope: Scope,
        name: str = "",
        tags: Mapping[str, str] | None = None,
        max_time_s: float | None = None,
    ) -> Batch:
        """Make the batch and all its jobs durable, or find that of an earlier attempt; send nothing.

        `max_time_s`: how long the vendor's batch mode may last. Raises ProgramRejected if there is none.
        """
        first = next(spec for indices, spec in planned.specs if indices)
        provider = self.device(device).provider
        if planned.references:
            planned = replace(planned, references=self.with_expected(planned.references, scope))
        if max_time_s is not None and "batch" not in provider.capabilities.sessions:
            raise ProgramRejected(
                f"{provider.name} has no batch mode whose time could be limited; leave max_time out, or limit the "
                "wait with timeout="
            )
        return Batch.create(
            self.parts,
            provider,
            planned,
            scope.want,
            device=device,
            name=name or f"{planned.n_circuits} circuits from {first.programs[0].name}",
            tags=tags or {},
            buyer=_of(self.buyer(scope), first),
            max_time_s=max_time_s,
        )

    @contextmanager
    def batch_mode(self, batch: Batch, n_jobs: int | None = None) -> Iterator[str | None]:
        """The vendor's batch mode for the parts sent inside, if there is one and several parts are sent, or its time is
        limited.

        Leaving the block closes it to new jobs; queued ones still run. `n_jobs`: of the batch, if known.
        """
        provider = self.device(batch.device).provider
        max_time_s = batch.record.details.get("max_time_s")
        if "batch" not in provider.capabilities.sessions:
            yield None
            return
        if (len(batch.parts) if n_jobs is None else n_jobs) < 2 and max_time_s is None:
            yield None
            return
        try:
            name = f"batch {batch.id[:16]}"
            hold = self.open_session(batch.device, batch.record.run_key, mode="batch", name=name, max_time_s=max_time_s)
        except InDoubt as error:
            # the mode only groups jobs for the vendor: sending them without it beats waiting for a person
            log.warning("batch %s is sent without the vendor's batch mode: %s", batch.id[:12], error)
            yield None
            return
        try:
            yield hold.id
        finally:
            hold.close()

    def submit_batch(self, batch: Batch) -> None:
        """Send what was not sent; a batch whose parts are all at the vendor costs nothing."""
        jobs = {job.key: job for job in batch.sub_jobs()}
        if any(job.status is JobStatus.PREPARED for job in jobs.values()):
            with self.batch_mode(batch, len(jobs)) as session_id:
                batch.submit(session_id=session_id, known=jobs)


def _one(job: Job) -> list[Job]:
    return [job]


def _parts_of(batch: Batch) -> list[Job]:
    return batch.sub_jobs()


def _say_what_was_adopted(jobs: Sequence[Job], started: datetime) -> None:
    """Log one line per call: whether an equal call was found again, or this is one more sample of the same content."""
    adopted = [job for job in jobs if job.created_at < started]
    if adopted:
        first, live = adopted[0], sum(not job.is_terminal for job in adopted)
        log.info(
            "%d of %s adopted from an earlier equal call of run %s (first: %s, %d still live); nothing was "
            "bought for them. Pass sample= for another sample",
            len(adopted), plural(len(jobs), "job"), first.run_key, first.key[:12], live,
        )  # fmt: skip
    for job in jobs:
        if job.ordinal and job.created_at >= started:
            log.info("job %s is sample %d of equal calls in run %s", job.key[:12], job.ordinal, job.run_key)
            break


def _for_project(scope: Scope, project: str | None) -> Scope:
    check_text("project", project)
    return scope if project is None else replace(scope, buyer=replace(scope.buyer, project=project[:128]))


def _of(buyer: Buyer, spec: JobSpec) -> Buyer:
    """Use a `project` tag as the project if nothing else names one."""
    return replace(buyer, project=spec.tags["project"][:128]) if not buyer.project and "project" in spec.tags else buyer
