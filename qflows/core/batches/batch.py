"""Batches: many programs for one device, split into jobs and handled like one job.

Index i is always circuit i: parts name their circuits, and a re-run of failed circuits is a part of a later generation
that names only those. Every part is durable, with its programs, before the first one is sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from qflows.core import ambient, tagging
from qflows.core.batches.health import keep
from qflows.core.batches.planning import Planned, span
from qflows.core.batches.points import by_point
from qflows.core.batches.results import BatchResult, by_circuit, owner_of_circuits, with_one_summary
from qflows.core.batches.view import BatchView, deciding
from qflows.core.money import quoted, with_approval
from qflows.core.native_groups import into_native
from qflows.core.parts import Parts
from qflows.core.poller import OnChange, Poller
from qflows.core.progress import circuits_by_status
from qflows.core.stored import total_cost
from qflows.core.tagging import Tagged
from qflows.errors import JobFailed, ProgramRejected
from qflows.keys import digest
from qflows.ledger import batches as ledger_batches
from qflows.ledger import choices, labels, outcomes, reads
from qflows.ledger import groups as ledger_groups
from qflows.ledger.batches import BatchRecord, PartRecord
from qflows.ledger.budgets import Buyer
from qflows.ledger.choices import Turn
from qflows.ledger.intents import Intent, Want, put_into_session
from qflows.ledger.store import utc_now
from qflows.model import ItemResult, Job, compiled_of
from qflows.protocol import JobSpec, Provider, SessionInfo, SessionProvider
from qflows.states import LIVE, JobStatus

_ENDED_BADLY = frozenset({JobStatus.FAILED, JobStatus.CANCELLED})


class Batch(BatchView):
    """A handle on a batch; any process can create one from its id. Reading never blocks; `wait` and `result` do."""

    @property
    def _provider(self) -> Provider:
        """The provider of the batch's account. Raises OtherAccount."""
        parts = self.parts
        if parts:
            return self._parts.vendors.of(reads.job(self._ledger, parts[0].job_key))
        return self._parts.vendors.device(self.device).provider

    def _poller(self) -> Poller:
        return self._parts.poller()

    @classmethod
    def create(
        cls,
        core: Parts,
        provider: Provider,
        planned: Planned,
        want: Callable[[str], Want],
        *,
        device: str,
        name: str,
        tags: Mapping[str, str],
        buyer: Buyer | None = None,
        max_time_s: float | None = None,
    ) -> Batch:
        """Make the batch and all its jobs durable; send nothing. A replay gets the existing batch.

        The stored plan applies, not the one passed in: a planner that now splits differently changes nothing.
        """
        content = content_of(planned)
        first = next(spec for indices, spec in planned.specs if indices)
        wanted = want(content)
        draft = BatchRecord(
            id="",
            run_key=wanted.run_key,
            name=name[:255],
            tags=tags,
            provider=provider.name,
            device=device,
            device_id=first.device_id,
            n_circuits=planned.n_circuits,
            options=first.options,
            details={
                "limits": planned.limits.to_json(),
                "attempt": wanted.attempt,
                "sweep": dict(planned.sweep),
                "label": first.label,
                **({"references": [one.to_json() for one in planned.references]} if planned.references else {}),
                **({"max_time_s": max_time_s} if max_time_s is not None else {}),
            },
            created_at=utc_now(),
        )
        record, is_new = ledger_batches.open_batch(core.ledger, wanted, content, draft)
        batch = cls(core, record)
        if is_new or batch.n_planned < planned.n_circuits:
            batch._add(
                provider,
                planned.specs,
                generation=0,
                attempt=wanted.attempt,
                group=wanted.group,
                buyer=buyer,
                choice=wanted.choice,
            )
        return batch

    def _add(
        self,
        provider: Provider,
        specs: Sequence[tuple[tuple[int, ...], JobSpec]],
        *,
        generation: int,
        attempt: str,
        group: str | None = None,
        buyer: Buyer | None = None,
        choice: Turn | None = None,
    ) -> None:
        if group:
            mirrors = self._parts.settings.vendor_groups
            plain = [spec for _, spec in specs]
            enrolled = into_native(self._ledger, group, provider, plain, device=self.device, by_itself=mirrors)
            specs = [(indices, spec) for (indices, _), spec in zip(specs, enrolled, strict=True)]
        wanted = [
            (indices, self._intent(provider.account, indices, spec, generation, attempt, group, choice, number))
            for number, (indices, spec) in enumerate(specs)
        ]
        if buyer is not None:
            wanted = [(indices, replace(intent, buyer=buyer)) for indices, intent in wanted]
        target = self._parts.vendors.device(self.device)
        priced = quoted(self._ledger, target, [intent for _, intent in wanted])
        wanted = [(indices, intent) for (indices, _), intent in zip(wanted, priced, strict=True)]
        keys = with_approval(
            self._ledger,
            self._parts.asks,
            lambda: ledger_batches.add_parts(self._ledger, self.id, generation, wanted),
        )
        for key, (_, intent) in zip(keys, wanted, strict=True):
            self._submitter.remember(key, intent.spec)

    def _intent(
        self,
        account: str,
        indices: Sequence[int],
        spec: JobSpec,
        generation: int,
        attempt: str,
        group: str | None,
        choice: Turn | None,
        number: int,
    ) -> Intent:
        # the label names the place, so equal circuits at two places are two samples, and a replay finds both
        place = indices[0] if indices else f"reference-{number}"
        labeled = replace(spec, label=f"batch:{self.id[:16]}:{generation}:{place}")
        holder = f"batch:{generation}:{place}"
        want = Want(self.record.run_key, attempt, holder, group, choice=choice)
        return Intent(labeled, want, self.device, account)

    # -- sending, waiting, reading

    def submit(self, *, session_id: str | None = None, known: Mapping[str, Job] | None = None) -> None:
        """Send every part that was not sent before, several at a time. Repeating it buys nothing again.

        `known`: the batch's jobs by key, for a caller that has just read them.
        """
        self._send(list(known) if known is not None else [part.job_key for part in self.parts], session_id, known)

    def submit_parts(self, numbers: Sequence[int], *, session_id: str | None = None) -> list[Job]:
        """Send some of the parts, by number; the unit of work of one mapped task."""
        chosen = set(numbers)
        keys = [part.job_key for part in self.parts if part.part in chosen]
        self._send(keys, session_id)
        sent = reads.by_keys(self._ledger, keys)
        return [sent[key] for key in keys]

    def _send(self, keys: Sequence[str], session_id: str | None, known: Mapping[str, Job] | None = None) -> None:
        if session_id is not None:
            put_into_session(self._ledger, keys, session_id)
        if known is None or session_id is not None:
            known = reads.by_keys(self._ledger, keys)
        waiting = [known[key] for key in keys if known[key].status is JobStatus.PREPARED]
        for job in waiting:
            if job.session_id is not None:
                spec = replace(self._submitter.spec(job.key), session_id=job.session_id)
                self._submitter.remember(job.key, spec)
        if waiting:
            self._submitter.send_all(self._parts.vendors.of(waiting[0]), waiting)

    def wait_submitted(self, timeout: float | None = None) -> None:
        """Blocks until every part has a vendor id or has ended."""
        self._poller().wait_until(
            [part.job_key for part in self.parts],
            lambda job: job.vendor_id is not None or job.is_terminal,
            timeout=timeout,
        )

    def wait(
        self, timeout: float | None = None, on_change: OnChange | None = None, *, every: float | None = None
    ) -> JobStatus:
        """Block until every part has ended, under one deadline. Raises WaitTimeout; the parts keep running.

        `every`: see `qflows.wait`.
        """
        keys = [part.job_key for part in self.parts]
        self._poller().wait(keys, timeout=timeout, on_change=on_change, every=every)
        return self.status

    def result(self, timeout: float | None = None, *, partial: bool = False) -> BatchResult:
        """Wait, then return every circuit at its own index.

        With `partial`, circuits without counts are None and their errors are in `errors`; otherwise the first of them
        raises JobFailed. Results are in the ledger and can be read again at any time.
        """
        jobs = self._poller().wait([part.job_key for part in self.parts], timeout=timeout)
        self.keep_health()
        found = self._stored(jobs)
        if found.errors and not partial:
            error = found.errors[min(found.errors)]
            raise JobFailed(
                f"{len(found.errors)} of {found.num_circuits} circuits have no counts; first: circuit {error.index} "
                f"[{error.code or error.status}] {error.message}. result(partial=True) gives the others, "
                "rerun_failed() buys only the missing circuits",
                reason=error.message,
                vendor_code=error.code,
                provider=error.provider,
            )
        return found

    def stored(self) -> BatchResult:
        """What the ledger holds now, without waiting."""
        return self._stored({})

    def _stored(self, ended: Mapping[str, Job]) -> BatchResult:
        """`ended`: jobs by key that need not be read again."""
        parts = self.parts  # a re-run may have added some while others were waited for
        others = reads.by_keys(self._ledger, [part.job_key for part in parts if part.job_key not in ended])
        everything = [(part, ended.get(part.job_key) or others[part.job_key]) for part in parts]
        pairs = deciding(everything)
        about = reads.provenances(self._ledger, [job.key for _, job in pairs])
        items = {
            part.part: with_one_summary(reads.items(self._ledger, job.key), about.get(job.key, {}))
            for part, job in pairs
            if job.is_terminal
        }
        sweep = self.record.details.get("sweep") or {}
        found, names = by_point(by_circuit(pairs, items), self._names([part for part, _ in everything]), sweep)
        shape, observable_shape = sweep.get("shape"), sweep.get("observable_shape")
        return BatchResult(
            batch_id=self.id,
            device=self.device,
            device_id=self.record.device_id,
            job_ids=tuple(job.vendor_id or "" for _, job in pairs),
            names=tuple(names),
            results=tuple(found[i][0] for i in range(len(found))),
            errors={i: error for i, (_, error) in found.items() if error is not None},
            cost=total_cost([job for _, job in everything]),
            shape=None if shape is None else tuple(shape),
            observable_shape=None if observable_shape is None else tuple(observable_shape),
            provenances=about,
            compiled=_compiled(pairs, items, about, len(found)),
            health=self.health(),
        )

    def keep_health(self) -> None:
        """Store what the reference circuits measured, for later batches and gates; repeating it changes nothing."""
        if self.record.details.get("references"):
            keep(self._ledger, self.record, self.health())

    def _names(self, parts: Sequence[PartRecord]) -> list[str]:
        names: dict[int, str] = {}
        for part in parts:
            if part.generation == 0:
                names |= dict(zip(part.indices, reads.program_names(self._ledger, part.job_key), strict=False))
        return [names.get(index, "") for index in range(self.n_circuits)]

    def progress(self) -> dict[JobStatus, int]:
        """Number of circuits in each status; for running composite jobs, as the vendor reports it (IonQ).

        Circuits that were bought again count once. Raises ProviderError if a vendor cannot be asked.
        """
        found: Counter[JobStatus] = Counter()
        pairs = self._current()
        owner = owner_of_circuits([part for part, _ in pairs])
        for part, job in pairs:
            if not job.is_terminal:  # no circuit of a live part was bought again
                told = Counter(circuits_by_status(self._ledger, self._parts.vendors, job))
                for _ in range(job.n_programs - len(part.indices)):  # reference circuits
                    told[max(told, key=lambda status: told[status])] -= 1
                found.update(told)
                continue
            items = reads.items(self._ledger, job.key)
            for place, index in enumerate(part.indices):
                if owner[index].part == part.part:
                    found[_ended(items[place] if place < len(items) else None, job)] += 1
        return dict(found)

    def mode_details(self) -> SessionInfo | None:
        """The vendor's batch mode that the parts were sent in, as the vendor reports it now: state, limits, times,
        usage.

        None if the vendor has none, or a single part was sent without it. Raises ProviderError.
        """
        provider = self._provider
        held = [job.session_id for job in self.sub_jobs() if job.session_id]
        if not held or not provider.capabilities.sessions:
            return None
        return cast(SessionProvider, provider).session(held[0])

    def rerun_failed(self, *, attempt: str = "rerun") -> list[int]:
        """Buy again exactly the circuits that ended without counts; return their indices.

        Parts that are live, done or in doubt are never touched. Calling it again before the re-run has ended adds
        nothing: the failed circuits belong to the re-run by then. The new jobs join the group of this context,
        otherwise the batch's own while that is open; the failed ones stay members. Raises GroupClosed if the group has
        ended.
        """
        pairs = self._current()
        # errors alone: the counts of a long list take a tenth of a gigabyte
        items = {
            part.part: [ItemResult(error=item.error) for item in reads.items(self._ledger, job.key)]
            for part, job in pairs
            if job.is_terminal
        }
        found = by_circuit(pairs, items)
        owner = {i: part for part, _ in pairs for i in part.indices}
        holes = sorted(i for i, (_, e) in found.items() if e is not None and e.status not in LIVE)
        if not holes:
            return []
        self._refuse_imported([job for part, job in pairs if set(part.indices) & set(holes)], "bought again")
        generation = 1 + max(part.generation for part, _ in pairs)
        specs = []
        for part_number in sorted({owner[i].part for i in holes}):
            here = tuple(i for i in holes if owner[i].part == part_number)
            spec = self._submitter.spec(owner[here[0]].job_key)
            place = {i: k for k, i in enumerate(owner[here[0]].indices)}
            beside = spec.programs[len(place) :]  # reference circuits, which measure the new job as well
            chosen = (*(spec.programs[place[i]] for i in here), *beside)
            wanted = tuple(spec.observables_of(place[i]) for i in here) if spec.observables else ()
            name = f"holes {span(here)}"[:255]
            # the batch mode of the first plan was closed once its parts were sent
            specs.append((here, replace(spec, programs=chosen, observables=wanted, name=name, session_id=None)))
        specs = self._measured_alone() + specs
        keys = [part.job_key for part, _ in pairs]
        group = ambient.joined(self.record.run_key) or ledger_groups.open_group_of(self._ledger, keys)
        buyer = reads.buyer_of(self._ledger, pairs[0][1].key)
        known = choices.of_subject(self._ledger, pairs[0][1].key)
        mine: Any = {"group": group, "buyer": buyer, "choice": known.mark if known else None}
        self._add(self._provider, specs, generation=generation, attempt=attempt, **mine)
        new = [part.part for part in self.parts if part.generation == generation]
        self.submit_parts(new)
        return holes

    def _measured_alone(self) -> list[tuple[tuple[int, ...], JobSpec]]:
        """The jobs of reference circuits that a re-run needs where a job takes one circuit."""
        alone = [part for part in self.parts if not part.indices and part.generation == 0]
        first = alone[: next((k for k, one in enumerate(alone) if one.part != alone[0].part + k), len(alone))]
        return [((), replace(self._submitter.spec(part.job_key), session_id=None)) for part in first]

    def cancel(self, timeout: float = 60.0) -> dict[int, JobStatus]:
        """Cancel every live part and verify; return part number → how it ended (COMPLETED: too late)."""
        keys = {part.job_key: part.part for part in self.parts}
        self._refuse_imported([job for job in self.sub_jobs() if not job.is_terminal], "cancelled")
        outcomes.request_cancel(self._ledger, list(keys))
        handles = self._poller().wait(list(keys), timeout=timeout)
        return {keys[key]: job.status for key, job in handles.items()}

    def _refuse_imported(self, jobs: Sequence[Job], verb: str) -> None:
        if theirs := [job for job in jobs if job.is_imported]:
            raise ProgramRejected(
                f"job {theirs[0].key[:12]} of this batch was imported: it was bought elsewhere and is not {verb} here; "
                "nothing was done"
            )

    def update(self, *, name: str | None = None, tags: Mapping[str, str] | None = None) -> list[Tagged]:
        """Name the batch, or replace its tags; return the outcome for each job.

        Tags go to every job, in the ledger and, where possible, at the vendor; jobs keep their own names, which say
        what they hold. Raises ProgramRejected before anything is written or sent.
        """
        new, gone = dict(tags or {}), () if tags is None else sorted(set(self.tags) - set(tags))
        jobs = self.sub_jobs() if new or gone else []
        for job in jobs:
            tagging.check(self._provider, job, name=None, tags=new, remove=gone, at_vendor=True)
        for job in jobs:  # before the batch's own row: a repetition after a crash must still know which tags to remove
            labels.change(self._ledger, job.key, name=None, tags=new, remove=gone)
        ledger_batches.update(self._ledger, self.id, name=name, tags=tags)
        self.record = ledger_batches.find(self._ledger, self.id)
        return [tagging.copy_or_note(self._ledger, self._provider, job.key) for job in jobs]


def _ended(item: ItemResult | None, job: Job) -> JobStatus:
    if item is None:
        return job.status
    return JobStatus.COMPLETED if item.error is None else JobStatus.FAILED


def _compiled(
    pairs: Sequence[tuple[PartRecord, Job]],
    items: Mapping[int, Sequence[ItemResult]],
    about: Mapping[str, Mapping[str, Any]],
    n: int,
) -> tuple[Any, ...]:
    """By circuit; empty if several circuits make one result, as in a mitigated sweep."""
    owner = owner_of_circuits([part for part, _ in pairs])
    if len(owner) != n:
        return ()
    found: list[Any] = [None] * n
    for part, job in pairs:
        told = compiled_of(items.get(part.part, ()), about.get(job.key, {}))
        for index, one in zip(part.indices, told, strict=False):
            if owner[index].part == part.part:
                found[index] = one
    return tuple(found)


def content_of(planned: Planned) -> str:
    """Digest of everything that identifies a batch."""
    specs, n_circuits, sweep = [spec for at, spec in planned.specs if at], planned.n_circuits, planned.sweep
    # per circuit, not per part: a planner that splits differently must still find the batch
    first = specs[0]
    circuits = [[one.digest, spec.shots] for places, spec in planned.specs for one in spec.programs[: len(places)]]
    what: list[Any] = [first.provider, first.device_id, dict(first.options), first.label]
    wanted = [[o.to_json() for o in group] for spec in specs for group in spec.observables]
    if planned.references:
        what.append([one.to_json() | {"expected": None, "identity": one.program.digest} for one in planned.references])
    if wanted or sweep:
        what += [dict(sweep), wanted]
    return digest("batch-content/1", *what, n_circuits, circuits)
