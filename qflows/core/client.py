"""The core put together for one process: settings, ledger, devices, submitter and poller. Knows no Prefect."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any

from qflows import providers
from qflows.core import orders, profiles, sessions, tagging
from qflows.core.batches.batch import Batch
from qflows.core.batches.planning import Planned
from qflows.core.batches.results import total_cost
from qflows.core.devices import Device
from qflows.core.groups import ambient
from qflows.core.groups.handle import DEFAULT_TTL_S, GroupHandle, new_group
from qflows.core.native_groups import into_native, open_native
from qflows.core.poller import OnChange, Poller
from qflows.core.profiles import DeviceProfile
from qflows.core.reconciler import Sweeper
from qflows.core.scope import Scope
from qflows.core.sessions import SessionHold
from qflows.core.submit import Submitter
from qflows.core.tagging import Tagged
from qflows.errors import JobCancelled, JobFailed, ProgramRejected
from qflows.ledger import batches as ledger_batches
from qflows.ledger import claims, outcomes, reads
from qflows.ledger import groups as ledger_groups
from qflows.ledger.groups import GroupRecord
from qflows.ledger.intents import Intent
from qflows.ledger.store import Ledger
from qflows.model import Job, Result
from qflows.programs import estimation
from qflows.protocol import JobSpec, Provider
from qflows.settings import Settings
from qflows.states import JobStatus


class Client:
    """Everything a task or a command needs. One per process and settings; safe for threads."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._devices: dict[str, Device] = {}
        self._providers: dict[tuple[str, str | None], Provider] = {}
        self._lock = threading.RLock()

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger, opened on first use."""
        if self.settings.ledger_url is None:
            self.settings.make_home()
        return Ledger.open(self.settings.resolved_ledger_url())

    @cached_property
    def submitter(self) -> Submitter:
        """The only door to `Provider.submit`."""
        return Submitter(self.ledger, lease_s=self.settings.lease_s, settle_s=self.settings.settle_s)

    def poller(self) -> Poller:
        """A poller of its own for each waiter; they share lanes through the ledger."""
        return Poller(self.submitter, self._provider_of, poll_min_s=self.settings.poll_min_s)

    def device(self, name: str) -> Device:
        """The device of a name. Raises UnknownDevice, CredentialsMissing."""
        with self._lock:
            profile = self.find_profile(name)
            if profile is None:
                raise profiles.unknown(name)
            known = self._devices.get(name)
            if known is None or known.profile != profile:
                provider = self.provider(profile.provider, profile.credentials)
                limits = provider.limits(profile.device) if profiles.is_bare(profile) else profile.limits()
                known = self._devices[name] = Device(profile, provider, limits)
            return known

    def find_profile(self, name: str) -> DeviceProfile | None:
        """What a device's name stands for; the tasks layer, which knows Prefect, looks for saved blocks first."""
        return profiles.find(name)

    def provider(self, vendor: str, credentials_block: str | None = None) -> Provider:
        """The provider of a vendor, with the fields of a saved credentials block or the vendor's environment."""
        with self._lock:
            place = (vendor, credentials_block)
            if place not in self._providers:
                fields = self.load_credentials(credentials_block) if credentials_block else None
                self._providers[place] = providers.connect(vendor, fields, timeout_s=self.settings.http_timeout_s)
            return self._providers[place]

    def load_credentials(self, block: str) -> Mapping[str, Any]:
        """Fields of a saved credentials block; the tasks layer, which knows Prefect, replaces this."""
        raise ProgramRejected(f"credentials block {block!r} can be read only where Prefect is at hand")

    def _provider_of(self, job: Job) -> Provider:
        return self.provider_named(job.device, job.provider)

    def provider_named(self, device: str, vendor: str) -> Provider:
        """The provider that speaks for a recorded job or session, though its profile may be gone by now."""
        profile = self.find_profile(device)
        return self.provider(vendor, profile.credentials if profile else None)

    def specs(self, source: Any, *, device: str, shots: int | None, **wishes: Any) -> list[JobSpec]:
        """The jobs that `source` makes on `device`, checked; nothing is sent or recorded. See `orders.job_specs`."""
        return orders.job_specs(self.device(device), source, shots=shots, **wishes)

    def plan_batch(
        self, sources: Sequence[Any], *, device: str, shots: int | Sequence[int] | None, **wishes: Any
    ) -> Planned:
        """How a list of programs, or a sweep, becomes jobs; nothing is recorded or sent. See `orders.batch_plan`."""
        return orders.batch_plan(self.device(device), sources, shots=shots, **wishes)

    def intents(self, specs: Sequence[JobSpec], *, device: str, scope: Scope, resubmit: int = 0) -> list[Intent]:
        """Each spec with the names it is bought under. Making an intent counts as one call of the scope's caller."""
        provider = self.device(device).provider
        if scope.group:
            specs = into_native(self.ledger, scope.group, provider, specs)
        return [Intent(spec, scope.want(spec.content), device, provider.account, resubmit=resubmit) for spec in specs]

    def buy(self, intents: Sequence[Intent]) -> list[Job]:
        """Submits what nobody bought before; returns handles in order, at once."""
        return self.submitter.submit(self.device(intents[0].device).provider, intents) if intents else []

    def submit(self, specs: Sequence[JobSpec], *, device: str, scope: Scope, resubmit: int = 0) -> list[Job]:
        """Submits each spec once under the scope's run key and returns handles, at once."""
        return self.buy(self.intents(specs, device=device, scope=scope, resubmit=resubmit))

    def open_session(
        self,
        device: str,
        run_key: str,
        *,
        mode: str = "dedicated",
        max_time_s: float | None = None,
        options: Mapping[str, Any] | None = None,
        name: str = "",
    ) -> SessionHold:
        """The run's session on `device`; see `sessions.open_session`."""
        target = self.device(device)
        return sessions.open_session(
            self.ledger,
            target.provider,
            run_key,
            device=device,
            device_id=target.profile.device,
            mode=mode,
            max_time_s=max_time_s,
            options=options,
            name=name,
            settle_s=self.settings.settle_s,
        )

    def create_batch(
        self, planned: Planned, *, device: str, scope: Scope, name: str = "", tags: Mapping[str, str] | None = None
    ) -> Batch:
        """Makes the batch and all its jobs durable, or finds the one of an earlier attempt; sends nothing."""
        first = planned.specs[0][1]
        return Batch.create(
            self.submitter,
            self.device(device).provider,
            self.poller,
            planned,
            scope.want,
            device=device,
            name=name or f"{planned.n_circuits} circuits from {first.programs[0].name}",
            tags=tags or {},
            joined=ambient.joined,
        )

    @contextmanager
    def batch_mode(self, batch: Batch) -> Iterator[str | None]:
        """The vendor's batch mode for the parts sent inside, where there is one and several parts go.

        Leaving the block closes it for new jobs; those that are queued still run.
        """
        provider = self.device(batch.device).provider
        if "batch" not in provider.capabilities.sessions or len(batch.parts) < 2:
            yield None
            return
        hold = self.open_session(batch.device, batch.record.run_key, mode="batch", name=f"batch {batch.id[:16]}")
        try:
            yield hold.vendor_id
        finally:
            hold.close()

    def submit_batch(self, batch: Batch) -> None:
        """Sends what was not sent; a batch whose parts are all at the vendor costs nothing."""
        if any(job.status is JobStatus.PREPARED for job in batch.sub_jobs()):
            with self.batch_mode(batch) as session_id:
                batch.submit(session_id=session_id)

    def batch(self, name: str) -> Batch:
        """A batch by id or a unique beginning of it. Raises UnknownJob."""
        record = ledger_batches.find(self.ledger, name)
        provider = self.provider_named(record.device, record.provider)
        return Batch(self.submitter, provider, self.poller, record, joined=ambient.joined)

    def group(self, name: str) -> GroupHandle:
        """A group by id, a unique beginning of it, or its vendor's id. Raises UnknownJob."""
        return self._group(ledger_groups.find(self.ledger, name).id)

    def _group(self, id_: str) -> GroupHandle:
        def connect(record: GroupRecord) -> Provider:
            return self.provider_named(record.native_device or "", record.native_provider or "")

        return GroupHandle(self.ledger, self.poller, lambda job: self.stored([job]), connect, id_)

    def open_group(
        self,
        name: str,
        scope: Scope,
        *,
        max_ttl_s: float = DEFAULT_TTL_S,
        tags: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        is_ambient: bool = False,
        native: str | None = None,
    ) -> GroupHandle:
        """The scope's next group of this name: a new one, or on a replay the same again.

        `native`: a device whose vendor keeps groups itself; its group then mirrors this one. Raises ProgramRejected.
        """
        id_ = new_group(
            self.ledger,
            scope.want(ledger_groups.content(name)),
            name,
            max_ttl_s=max_ttl_s,
            tags=tags or {},
            metadata=metadata or {},
            caller=scope.caller if is_ambient else None,
        )
        handle = self._group(id_)
        if native is not None:
            open_native(self.ledger, self.device(native).provider, handle.record, device=native)
        return handle

    def sweeper(self, on_stored: Callable[[], None] | None = None) -> Sweeper:
        """The housekeeper for this client's ledger and credentials. `on_stored`: see `Poller`."""
        return Sweeper(
            self.ledger,
            replace(self.poller(), on_stored=on_stored),
            lambda record: self.provider_named(record.device, record.provider),
            self._group,
        )

    def wait(
        self, keys: Collection[str], *, timeout: float | None = None, on_change: OnChange | None = None
    ) -> dict[str, Job]:
        """Blocks until all are terminal, one deadline for all. See `Poller.wait`."""
        return self.poller().wait(keys, timeout=timeout, on_change=on_change)

    def result(self, keys: Sequence[str], *, timeout: float | None = None, on_change: OnChange | None = None) -> Result:
        """Waits, then reads the counts. Several keys are the parts of one expectation value.

        Raises JobFailed or JobCancelled with the vendor's reason, WaitTimeout at the deadline.
        """
        handles = self.wait(keys, timeout=timeout, on_change=on_change)
        return self.stored([handles[key] for key in keys])

    def stored(self, jobs: Sequence[Job]) -> Result:
        """The result of finished jobs, from the ledger alone. Raises JobFailed, JobCancelled."""
        for job in jobs:
            raise_unless_completed(job)
        first = jobs[0]
        items = tuple(item for job in jobs for item in reads.items(self.ledger, job.key))
        provenance = dict(reads.provenance(self.ledger, first.key))
        provenance["programs"] = reads.program_digests(self.ledger, first.key)
        plan = reads.estimate_plan(self.ledger, first.key)
        if plan:
            items = (estimation.combine(plan, items, first.shots),)
        if len(jobs) > 1:
            first = replace(first, cost=total_cost(jobs))
        return Result(first, items, provenance)

    def cancel(self, keys: Collection[str], *, timeout: float = 60.0) -> dict[str, Job]:
        """Cancels at the vendor and verifies: returns handles that are terminal.

        A job that finished first comes back COMPLETED: the cancel was too late. Raises WaitTimeout if the vendor
        has not confirmed in time; the wish stands, and the next poll repeats it.
        """
        outcomes.request_cancel(self.ledger, keys)
        return self.wait(keys, timeout=timeout)

    def tag(
        self,
        name: str,
        tags: Mapping[str, str] | None = None,
        *,
        title: str | None = None,
        remove: Collection[str] = (),
        at_vendor: bool = True,
    ) -> Tagged:
        """Changes the labels of a job given as in `find`; `title` is its new name. See `tagging.change`."""
        job, chosen = self.find(name), {"name": title, "tags": tags, "remove": remove, "at_vendor": at_vendor}
        return tagging.change(self.ledger, self._provider_of(job), job.key, **chosen)

    def find(self, name: str) -> Job:
        """A job by key, unique beginning of it, or vendor id. Raises UnknownJob."""
        return reads.find(self.ledger, name)

    def resolve(self, name: str, *, vendor_id: str | None) -> Job:
        """Ends a doubt by a person's word: the vendor's id of the job, or None for «it is not there»."""
        job = self.find(name)
        if vendor_id is None:
            claims.resolve_absent(self.ledger, job.key)
        else:
            claims.resolve_submitted(self.ledger, job.key, vendor_id)
        return reads.job(self.ledger, job.key)


def raise_unless_completed(job: Job) -> None:
    """Raises the typed error of a job that ended without counts."""
    if job.status is JobStatus.COMPLETED:
        return
    fields = {
        "key": job.key,
        "vendor_id": job.vendor_id,
        "reason": job.error_message,
        "vendor_code": job.error_code,
        "provider": job.provider,
        "retryable": job.error_retryable,
    }
    what = f"job {job.key[:12]} ({job.name}) on {job.device}"
    if job.status is JobStatus.CANCELLED:
        raise JobCancelled(f"{what} was cancelled: {job.error_message or 'by request'}", **fields)
    reason = job.error_message or "no reason given"
    if job.error_kind == "refused":
        raise JobFailed(f"{what} was refused: {reason}", **fields)
    again = (
        "it may succeed if bought again: pass resubmit=1" if job.error_retryable else "buying it again will not help"
    )
    code = f" [{job.error_code}]" if job.error_code else ""
    raise JobFailed(f"{what} failed{code}: {reason}; {again}", **fields)


_clients: dict[str, Client] = {}
_clients_lock = threading.Lock()


def default_client(kind: type[Client] = Client) -> Client:
    """The client of this process for the settings in force; settings that change give another client."""
    settings = Settings()
    # a fork must not share database connections or sockets with its parent
    place = f"{os.getpid()}|{kind.__name__}|{settings.model_dump_json()}|{_vendor_environment()}"
    with _clients_lock:
        if place not in _clients:
            _clients[place] = kind(settings)
        return _clients[place]


def _vendor_environment() -> int:
    # credentials come from the vendors' own variables: new ones need new connections. Hashed, never kept.
    prefixes = ("IONQ_", "QISKIT_", "AWS_", "QBRAID_")
    return hash(tuple(sorted((k, v) for k, v in os.environ.items() if k.startswith(prefixes))))
