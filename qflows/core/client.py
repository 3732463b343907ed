"""The verbs of purchase for one process: price, buy, wait for and cancel jobs, batches, sessions and groups."""

from __future__ import annotations

import getpass
import logging
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import cached_property, partial
from typing import Any, TypeVar, Unpack

from qflows.core import ambient, orders, rules, sessions
from qflows.core.batches.batch import Batch
from qflows.core.batches.planning import Planned
from qflows.core.choice import asking, history
from qflows.core.choice.deciding import Asked, Chooser
from qflows.core.devices import Device, Saved
from qflows.core.durations import seconds
from qflows.core.groups.handle import Group
from qflows.core.money import Price, Rates, price_of, quoted, with_approval
from qflows.core.native_groups import into_native
from qflows.core.parts import Parts
from qflows.core.poller import OnChange
from qflows.core.reconciler import Reconciler
from qflows.core.records import Records
from qflows.core.rereading import reread
from qflows.core.rules import Rule
from qflows.core.scope import Scope, script_scope
from qflows.core.sessions import OnException, Session
from qflows.core.stored import stored
from qflows.core.verbs import BatchWishes, RunWishes, Verbs, Wishes
from qflows.errors import InDoubt, LedgerError, OtherAccount, OverBudget, ProgramRejected, UnknownJob
from qflows.keys import in_namespace
from qflows.ledger import outcomes, reads
from qflows.ledger import sessions as ledger_sessions
from qflows.ledger.budgets import Buyer
from qflows.ledger.choices import Turn
from qflows.ledger.intents import Intent, give_back
from qflows.ledger.store import Ledger, utc_now
from qflows.model import Job, Result
from qflows.programs import to_program
from qflows.protocol import JobSpec, Provider
from qflows.settings import Settings
from qflows.states import JobStatus, SessionState

log = logging.getLogger("qflows.client")
T = TypeVar("T")


class Client(Records):
    """Everything that a task or a command needs: purchases here, look-ups in `Records`. Safe for threads.

    One per process and settings. `saved`, `on_open` and `asks`: see `Parts`. `verbs`: how sessions and groups make
    their calls; plain calls unless given.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        saved: Saved | None = None,
        on_open: Callable[[Ledger], None] | None = None,
        verbs: Verbs | None = None,
        asks: Callable[[OverBudget], bool] | None = None,
    ) -> None:
        super().__init__(Parts(settings or Settings(), saved, on_open, asks), verbs or ScriptVerbs(self))

    @cached_property
    def chooser(self) -> Chooser:
        """Chooses devices by rule."""
        rates = Rates.from_settings(self.settings)
        return Chooser(lambda: self.ledger, self.vendors, rates, lambda name: history.farthest(self.ledger, name))

    def rule(self, device: str) -> Rule | None:
        """The rule that a device's name is, or is the name of; None for a device. Raises ProgramRejected."""
        if rules.looks_like_one(device):
            return rules.read(device)
        kept = self.vendors.rule(device) if isinstance(device, str) else None
        return rules.read(kept, device) if kept is not None else None

    def through(
        self,
        device: str,
        scope: Scope,
        asked: Callable[[], Asked],
        use: Callable[[str, Scope], T],
        jobs: Callable[[T], Sequence[Job]],
    ) -> T:
        """`use(device, scope)`, with the device that a rule chooses where `device` is one; see `Chooser.through`."""
        rule = self.rule(device)
        if rule is None:
            return use(device, scope)
        return self.chooser.through(rule, scope, asked(), use, jobs)

    def device(self, name: str) -> Device:
        """The device of a name. Raises UnknownDevice, CredentialsMissing."""
        return self.vendors.device(name)

    def provider(self, vendor: str, credentials_block: str | None = None) -> Provider:
        """The provider of a vendor, with the fields of saved credentials or the vendor's environment."""
        return self.vendors.provider(vendor, credentials_block)

    def specs(self, source: Any, *, device: str, shots: int | None, **wishes: Any) -> list[JobSpec]:
        """The jobs that `source` makes on `device`, checked; nothing is sent or recorded. See `orders.job_specs`."""
        return orders.job_specs(self.device(device), source, shots=shots, **wishes)

    def plan_batch(
        self, sources: Sequence[Any], *, device: str, shots: int | Sequence[int] | None, **wishes: Any
    ) -> Planned:
        """How a list of programs, or a sweep, becomes jobs; nothing is recorded or sent. See `orders.batch_plan`."""
        return orders.batch_plan(self.device(device), sources, shots=shots, **wishes)

    def price(
        self,
        programs: Any,
        *,
        device: str,
        shots: int | Sequence[int] | None = None,
        **wishes: Any,
    ) -> Price:
        """What a program, or a list of them as a batch, would cost on `device`; buys and records nothing.

        See `qflows.price`.
        """
        rule = self.rule(device)
        if rule is not None:
            device = self.first_fitting(rule, asking.for_programs(programs, shots, wishes))
        specs = asking.layout(self.device(device), programs, shots, wishes)
        return self.price_of(specs, device=device)

    def first_fitting(self, rule: Rule, asked: Asked) -> str:
        """The device that a rule would choose now; decides and records nothing. Raises NoDeviceFits."""
        return self.chooser.first(rule, asked)

    def price_of(self, specs: Sequence[JobSpec], *, device: str) -> Price:
        """What jobs that are laid out already would cost."""
        return price_of(self.device(device), specs, Rates.from_settings(self.settings))

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

    def buyer(self, scope: Scope) -> Buyer:
        """Whom the purchases of a scope are counted for: as its caller says, else by the settings."""
        said, settings = scope.buyer, self.settings
        return Buyer(said.project or settings.project, said.user or settings.user or _login(), said.deployment)

    def buy(self, intents: Sequence[Intent]) -> list[Job]:
        """Submits what was not bought before; returns handles in order, at once."""
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
        """Whether the vendor shows a job of another account to these credentials: then the key was only renewed."""
        try:
            self.vendors.of(reads.job(self.ledger, key))
        except OtherAccount:
            return False
        return True

    def submit(self, specs: Sequence[JobSpec], *, device: str, scope: Scope, resubmit: int = 0) -> list[Job]:
        """Submits each spec once under the scope's run key and returns handles, at once."""
        wanted = self.intents(specs, device=device, scope=scope, resubmit=resubmit)
        with self._one_call(wanted):
            return self.buy(wanted)

    def submit_one(
        self, program: Any, scope: Scope, *, device: str, session: Session | None = None, **wishes: Unpack[Wishes]
    ) -> Job:
        """Buys one job under a scope. Raises ProgramRejected when several jobs are needed."""
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
        """Buys under a scope, waits, and reads the result."""
        asked = partial(asking.for_programs, program, wishes.get("shots"), wishes, label=wishes.get("label", ""))
        return self.through(
            device, scope, asked, lambda name, here: self._run(program, here, name, session, dict(wishes)), _none
        )

    def _run(self, program: Any, scope: Scope, device: str, session: Session | None, wishes: Any) -> Result:
        timeout = wishes.pop("timeout", None)
        if timeout is not None and not isinstance(timeout, int | float):
            raise ProgramRejected(
                f"timeout must be a number of seconds, not {timeout!r}; write for example timeout=600"
            )
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
        """All circuits of one value as one batch; the result has its first job, and the cost of all."""
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
        """A call that does not return gives its samples back: the next equal call of the attempt meets them."""
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
        for name, number in (("resubmit", resubmit), ("sample", sample)):
            if number is not None and (not isinstance(number, int) or number < 0):
                raise ProgramRejected(f"{name} must be a whole number of at least 0, not {number!r}")
        scope = _for_project(scope, given.pop("project", None))
        specs = self.specs(
            program, device=device, shots=given.pop("shots", None), session_id=session.id if session else None, **given
        )
        return specs, resubmit, replace(scope, sample=sample) if sample is not None else scope

    def submit_list(
        self, programs: Sequence[Any], scope: Scope, *, device: str, **wishes: Unpack[BatchWishes]
    ) -> Batch:
        """Buys a list of programs, or a sweep, as a batch."""
        # a tuple may be (circuit, values), and a circuit is iterable too: it would be taken apart
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

    def open_session(
        self,
        device: str,
        run_key: str,
        *,
        mode: str = "dedicated",
        max_time_s: float | None = None,
        options: Mapping[str, Any] | None = None,
        name: str = "",
        on_exception: OnException = "close",
        buyer: Buyer | None = None,
    ) -> Session:
        """The run's session on `device`; see `sessions.open_session`."""
        # a session is one of its run and parameters, however often it is asked for
        here = Scope(run_key, f"session {run_key}"[:64], "session", sample=0)
        given: dict[str, Any] = {
            "mode": mode,
            "max_time_s": max_time_s,
            "options": options,
            "name": name,
            "buyer": buyer,
        }
        given |= {"on_exception": on_exception}

        def asked() -> Asked:
            return asking.for_a_place("session", name, mode, max_time_s, dict(options or {}))

        def opened(chosen: str, at: Scope) -> Session:
            return self._open_session(chosen, run_key, choice=at.choice, **given)

        return self.through(device, here, asked, opened, _none)

    def _open_session(
        self,
        device: str,
        run_key: str,
        *,
        mode: str,
        max_time_s: float | None,
        options: Mapping[str, Any] | None,
        name: str,
        on_exception: OnException,
        buyer: Buyer | None,
        choice: Turn | None,
    ) -> Session:
        target = self.device(device)
        wanted: dict[str, Any] = {
            "device": device,
            "device_id": target.profile.device,
            "mode": mode,
            "max_time_s": max_time_s,
            "options": options,
            "name": name,
            "verbs": self.verbs,
            "on_exception": on_exception,
            "buyer": self.buyer(Scope(run_key, "", "", buyer=buyer or Buyer())),
            "choice": choice,
        }

        def opened() -> Session:
            return sessions.open_session(self.ledger, target.provider, run_key, **wanted)

        try:
            return with_approval(self.ledger, self.parts.asks, opened)
        except OtherAccount as error:
            try:
                self.vendors.of_account(target.provider.name, error.account or "", device)
            except OtherAccount:
                raise error from None
        return with_approval(self.ledger, self.parts.asks, opened)

    def session(self, name: str) -> Session:
        """A session by key, unique beginning of it, or vendor id. Raises UnknownJob, OtherAccount."""
        record = ledger_sessions.get(self.ledger, name)
        if record is None:
            raise UnknownJob(f"the ledger has no session {name!r}; `qflows sessions ls` lists what it has")
        provider = self.vendors.of_session(record)
        if record.state is SessionState.OPEN:
            ledger_sessions.hold(self.ledger, record.key, lease_s=sessions.LEASE_S)
        return Session(self.ledger, provider, record, device=record.device, verbs=self.verbs, run_key=record.run_key)

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
        """Makes the batch and all its jobs durable, or finds the one of an earlier attempt; sends nothing.

        `max_time_s`: how long the vendor's batch mode may last. Raises ProgramRejected where there is none.
        """
        first = planned.specs[0][1]
        provider = self.device(device).provider
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
    def batch_mode(self, batch: Batch) -> Iterator[str | None]:
        """The vendor's batch mode for the parts sent inside, where there is one and several parts go, or its time is
        limited.

        Leaving the block closes it for new jobs; those that are queued still run.
        """
        provider = self.device(batch.device).provider
        max_time_s = batch.record.details.get("max_time_s")
        few = len(batch.parts) < 2 and max_time_s is None
        if "batch" not in provider.capabilities.sessions or few:
            yield None
            return
        try:
            name = f"batch {batch.id[:16]}"
            hold = self.open_session(batch.device, batch.record.run_key, mode="batch", name=name, max_time_s=max_time_s)
        except InDoubt as error:
            # the mode only groups jobs for the vendor: they go without rather than wait for a person
            log.warning("batch %s is sent without the vendor's batch mode: %s", batch.id[:12], error)
            yield None
            return
        try:
            yield hold.id
        finally:
            hold.close()

    def submit_batch(self, batch: Batch) -> None:
        """Sends what was not sent; a batch whose parts are all at the vendor costs nothing."""
        if any(job.status is JobStatus.PREPARED for job in batch.sub_jobs()):
            with self.batch_mode(batch) as session_id:
                batch.submit(session_id=session_id)

    def new_group(self, name: str, **wanted: Any) -> Group:
        """A group that is not opened yet; arguments as for `qflows.group`."""
        return Group(self.parts, self.verbs, name, **wanted)

    def reconciler(self, on_stored: Callable[[], None] | None = None) -> Reconciler:
        """The reconciler of this client's ledger and credentials. `on_stored`: see `Poller`."""
        return Reconciler(self.parts, self.group, on_stored)

    def wait(
        self,
        keys: Collection[str],
        *,
        timeout: float | None = None,
        on_change: OnChange | None = None,
        every: float | None = None,
    ) -> dict[str, Job]:
        """Blocks until all are terminal, one deadline for all. See `Poller.wait`."""
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
        """Waits, then reads the counts. Several keys are the parts of one expectation value.

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
        """Cancels at the vendor and verifies: returns handles that are terminal.

        A job that finished first comes back COMPLETED: the cancel was too late. Raises WaitTimeout if the vendor
        has not confirmed in time; the request is recorded, and the next poll repeats it.
        """
        if imported := [job for job in reads.by_keys(self.ledger, keys).values() if job.is_imported]:
            raise ProgramRejected(
                f"job {imported[0].key[:12]} was imported: {imported[0].vendor_id} was bought "
                "elsewhere and must be cancelled there; nothing was cancelled"
            )
        outcomes.request_cancel(self.ledger, keys)
        return self.wait(keys, timeout=timeout)


def _one(job: Job) -> list[Job]:
    return [job]


def _none(_: object) -> list[Job]:
    """For calls that raise when everything was refused."""
    return []


def _parts_of(batch: Batch) -> list[Job]:
    return batch.sub_jobs()


def _say_what_was_adopted(jobs: Sequence[Job], started: datetime) -> None:
    """One line a call: whether an equal call was met again, or is one more sample of the same content."""
    adopted = [job for job in jobs if job.created_at < started]
    if adopted:
        first, live = adopted[0], sum(not job.is_terminal for job in adopted)
        log.info(
            "%d of %d job(s) adopted from an earlier equal call of run %s (first: %s, %d still live); nothing was "
            "bought for them. Pass sample= for another sample",
            len(adopted), len(jobs), first.run_key, first.key[:12], live,
        )  # fmt: skip
    for job in jobs:
        if job.ordinal and job.created_at >= started:
            log.info("job %s is sample %d of equal calls in run %s", job.key[:12], job.ordinal, job.run_key)
            break


def _for_project(scope: Scope, project: str | None) -> Scope:
    return scope if project is None else replace(scope, buyer=replace(scope.buyer, project=project[:128]))


def _of(buyer: Buyer, spec: JobSpec) -> Buyer:
    """A tag `project` names the project where nothing else does."""
    return replace(buyer, project=spec.tags["project"][:128]) if not buyer.project and "project" in spec.tags else buyer


def _login() -> str | None:
    try:
        return getpass.getuser()[:128]
    except (KeyError, OSError):  # a container without a name for its user
        return None


_clients: dict[str, Client] = {}
_clients_lock = threading.Lock()


def default_client(make: Callable[[Settings], Client] = Client) -> Client:
    """The client of this process for the settings in force; settings that change give another client."""
    settings = Settings()
    # a fork must not share database connections or sockets with its parent
    place = f"{os.getpid()}|{make.__qualname__}|{settings.model_dump_json()}|{_vendor_environment()}"
    with _clients_lock:
        if place not in _clients:
            _clients[place] = make(settings)
        return _clients[place]


def _vendor_environment() -> int:
    # credentials come from the vendors' own variables: new ones need new connections. Hashed, never kept.
    prefixes = ("IONQ_", "QISKIT_", "AWS_", "QBRAID_")
    return hash(tuple(sorted((k, v) for k, v in os.environ.items() if k.startswith(prefixes))))


class ScriptVerbs:
    """The verbs outside any flow: plain calls, under a run key that is given."""

    def __init__(self, core: Client) -> None:
        self._core = core

    def client_factory(self) -> Callable[[], Client]:
        """The default client."""
        return default_client

    def scope(self, run_key: str | None) -> Scope:
        """The scope of a script. Raises RunKeyMissing."""
        made = script_scope(in_namespace(run_key, self._core.settings.namespace) if run_key else None)
        return replace(made, group=ambient.joined(made.run_key))

    def in_flow(self) -> bool:
        """False."""
        return False

    def is_pause(self, error: BaseException | None) -> bool:
        """False: a script does not leave its process to wait."""
        return False

    def as_step(self, call: Callable[[Any], Any], name: str) -> Callable[[Any], Any]:
        """The function itself."""
        return call

    def submit(self, program: Any, *, device: str, session: Session | None = None, **wishes: Unpack[Wishes]) -> Job:
        """See `Client.submit_one`."""
        return self._core.submit_one(
            program, self.scope(wishes.get("run_key")), device=device, session=session, **wishes
        )

    def run(self, program: Any, *, device: str, session: Session | None = None, **wishes: Unpack[RunWishes]) -> Result:
        """See `Client.run`."""
        return self._core.run(program, self.scope(wishes.get("run_key")), device=device, session=session, **wishes)

    def batch(self, programs: Sequence[Any], *, device: str, **wishes: Unpack[BatchWishes]) -> Batch:
        """See `Client.run_batch`."""
        return self._core.submit_list(programs, self.scope(wishes.get("run_key")), device=device, **wishes)
