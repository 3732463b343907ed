"""The Prefect tasks. Three verbs are three tasks with three retry policies: submit is never retried blindly, wait and
result always are. Repeating any of them is harmless, because each adopts what the ledger has.

Inside a flow, a call is a task run that the UI shows. Outside a flow, or inside another task, the same call goes
straight to the core and creates no task run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, ParamSpec, TypeVar, Unpack

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import Pause

from qflows.core.arguments import check_call, check_choice, fitting
from qflows.core.batches.batch import Batch
from qflows.core.choice import asking
from qflows.core.choice.deciding import content_of
from qflows.core.client import Client
from qflows.core.compiling import Compiled, compile_program
from qflows.core.durations import seconds
from qflows.core.groups.handle import DEFAULT_TTL_S, Group
from qflows.core.money import Price
from qflows.core.poller import OnChange
from qflows.core.scope import Scope
from qflows.core.sessions import Session
from qflows.core.tagging import Tagged
from qflows.core.verbs import BatchWishes, RunWishes, Wishes
from qflows.display import plural
from qflows.errors import LedgerUnavailable, NotSent, ProviderError, Refused
from qflows.model import Job, Result
from qflows.pages.text import shots_text
from qflows.prefect.client import client
from qflows.prefect.scope import scope
from qflows.prefect.suspend import listed

P = ParamSpec("P")
R = TypeVar("R")


class CoreTask(Task[P, R]):
    """A task that creates a task run only when called directly from a flow, where it is visible."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Runs as a task in a flow, as a plain call elsewhere. `wait_for` and `return_state` work as on any task."""
        own = {name: value for name, value in kwargs.items() if name not in ("wait_for", "return_state")}
        check_call(self.fn.__name__, self.fn, args, own)
        if FlowRunContext.get() is None or TaskRunContext.get() is not None:
            kwargs.pop("wait_for", None)
            kwargs.pop("return_state", None)
            return self.fn(*args, **kwargs)
        called: Any = super().__call__
        return called(*args, **kwargs)


def _core_task(
    *, name: str, run_name: Callable[..., str], retries: int, retry_if: Callable[[BaseException], bool]
) -> Callable[[Callable[P, R]], CoreTask[P, R]]:
    def condition(task: Any, task_run: Any, state: Any) -> bool:
        error = state.result(raise_on_failure=False)
        return isinstance(error, BaseException) and retry_if(error)

    def wrap(function: Callable[P, R]) -> CoreTask[P, R]:
        return CoreTask(
            fn=function,
            name=name,
            task_run_name=run_name,
            retries=retries,
            retry_delay_seconds=[2.0 * 2**n for n in range(retries)],
            retry_condition_fn=condition,
            # the ledger is the memory; a stored result would only add an artifact row and a lie
            persist_result=False,
            cache_policy=NO_CACHE,
        )

    return wrap


def _is_passing(error: BaseException) -> bool:
    """True for a temporary failure that is safe to retry: the vendor or the ledger cannot be reached."""
    if isinstance(error, LedgerUnavailable | NotSent):
        return True
    return isinstance(error, ProviderError) and not isinstance(error, Refused)


def _submit_name(parameters: Mapping[str, Any]) -> str:
    wishes: Mapping[str, Any] = {**(parameters.get("wishes") or {}), **parameters}
    shots = wishes.get("shots")
    name = wishes.get("name") or getattr(parameters.get("program"), "name", None) or "circuit"
    return f"{str(name)[:60]} on {parameters.get('device')}, {shots_text(shots)}"


def _keys_name(verb: str) -> Callable[[Mapping[str, Any]], str]:
    def named(parameters: Mapping[str, Any]) -> str:
        jobs = parameters.get("jobs", parameters.get("job"))
        if isinstance(jobs, Sequence) and not isinstance(jobs, str):
            return f"{verb} {plural(len(jobs), 'job')}"
        return f"{verb} {getattr(jobs, 'name', None) or str(jobs)[:12]}"

    return named


@_core_task(
    name="qflows-submit",
    run_name=lambda parameters: f"submit {_submit_name(parameters)}",
    retries=3,
    retry_if=lambda error: isinstance(error, LedgerUnavailable),
)
def submit(
    program: Any,
    *,
    device: str,
    shots: int | None = None,
    values: Any = None,
    observables: Any = None,
    options: Mapping[str, Any] | None = None,
    name: str | None = None,
    label: str = "",
    tags: Mapping[str, str] | None = None,
    run_key: str | None = None,
    resubmit: int = 0,
    sample: int | None = None,
    project: str | None = None,
    compile: Any = None,
    physical_qubits: Sequence[int] | None = None,
    session: Session | None = None,
) -> Job:
    """Buys one job exactly once and immediately returns its durable handle.

    `program`: QuantumCircuit, (circuit, values), OpenQASM 2 or 3 text or path, Braket Circuit, IonQ JSON, Program.
    `device`: a profile name, or vendor:device-id. `shots=None` evaluates exactly if the device supports it.
    `observables`: one or several Pauli sums; the result then has expectation values. `label` distinguishes equal
    programs of one run by their purpose. `run_key` is required outside a flow; the same key later continues the same
    run. `resubmit`: how many new purchases are allowed after the vendor reports failed or cancelled; never while in
    doubt.

    `sample`: the sample number, from 0, for callers that count samples themselves. `project`: the project that the
    purchase counts toward in budgets and `qflows spend`; default: the tag `project`, then `QFLOWS_PROJECT`. `compile`:
    "default"; "none" (every gate as written); 0 to 3 (Qiskit's levels, in the device's native gates); or a Qiskit pass
    manager, which runs locally. `physical_qubits[i]`: the device qubit for qubit i. Both are rejected with the reason
    if the device cannot honor them; `qflows.compile` shows the outcome.

    Equal calls within one attempt are different samples. The same call in a retry is the same sample, and so is the
    next equal call after one that did not return. The handle may be IN_DOUBT or PREPARED; `wait` continues from there.
    Raises ProgramRejected and OverBudget before anything is recorded, RunKeyMissing outside a flow without `run_key`,
    UnknownDevice and CredentialsMissing.

    Examples:
        >>> bell = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'
        >>> job = qflows.submit(bell, device="local-aer", shots=100, run_key="submit")
        >>> sorted(qflows.result(job).counts)
        ['00', '11']
    """
    return client().submit_one(
        program,
        scope(run_key),
        device=device,
        session=session,
        shots=shots,
        values=values,
        observables=observables,
        options=options,
        name=name,
        label=label,
        tags=tags,
        resubmit=resubmit,
        sample=sample,
        project=project,
        compile=compile,
        physical_qubits=physical_qubits,
    )


@_core_task(name="qflows-wait", run_name=_keys_name("wait for"), retries=8, retry_if=_is_passing)
def wait(
    jobs: Job | Batch | str | Sequence[Job | str],
    *,
    timeout: float | None = None,
    on_change: OnChange | None = None,
    every: float | None = None,
) -> list[Job]:
    """Blocks until every job, or every part of a batch, has ended, with one deadline for all; returns fresh handles in
    order.

    One bulk poll per vendor account serves all waiting flows. `timeout`: seconds; 0 checks once. `on_change(job)` is
    called with each job at the start, and whenever its status or the vendor's word for it changes; the handle has
    `job.queue_position` and `job.queue_note`. `every`: the minimum number of seconds between two polls; the vendor's
    own limit applies in any case. Raises WaitTimeout, which lists the pending jobs, InDoubt if a person must decide,
    ResultsHeld if the vendor withholds results, OtherAccount, and UnknownJob.
    """
    keys = [_key(job) for job in listed(jobs)]
    handles = client().wait(keys, timeout=timeout, on_change=on_change, every=every)
    return [handles[key] for key in keys]


@_core_task(name="qflows-result", run_name=_keys_name("result of"), retries=8, retry_if=_is_passing)
def result(
    job: Job | str, *, timeout: float | None = None, every: float | None = None, refresh: bool = False
) -> Result:
    """Waits for a job and reads its counts. A finished job is read from the ledger alone, at any time.

    `timeout`: seconds. `every`: as for `wait`. `refresh`: fetches the vendor's answer again, or decodes the stored one
    if the vendor cannot be asked; if the new answer differs, the ledger keeps its result, records an event, and
    `provenance["reread"]` says so. In `counts`, the rightmost bit is classical bit 0. Raises JobFailed or JobCancelled
    with the vendor's code and reason as fields, WaitTimeout at the deadline, InDoubt if a person must decide, and
    UnknownJob.
    """
    return client().result([_key(job)], timeout=timeout, every=every, refresh=refresh)


@_core_task(name="qflows-cancel", run_name=_keys_name("cancel"), retries=8, retry_if=_is_passing)
def cancel(job: Job | str | Sequence[Job | str], *, timeout: float = 60.0) -> list[Job]:
    """Cancels a job at the vendor and verifies that it ended.

    A job that had already finished is returned as COMPLETED: it was too late, and the vendor charges for it.
    """
    keys = [_key(one) for one in listed(job)]
    handles = client().cancel(keys, timeout=timeout)
    return [handles[key] for key in keys]


@_core_task(name="qflows-tag", run_name=_keys_name("tag"), retries=8, retry_if=_is_passing)
def tag(
    job: Job | str,
    tags: Mapping[str, str] | None = None,
    *,
    name: str | None = None,
    remove: Collection[str] = (),
    at_vendor: bool = True,
) -> Tagged:
    """Adds or overwrites tags of a job, renames it, or removes tags: in the ledger, and at the vendor if it allows
    that.

    Returns what both now hold. IBM allows 5 tags besides the name, each up to 86 characters including its value; Braket
    allows 48; IonQ and qBraid keep what was submitted. `at_vendor=False` changes only the ledger. Raises
    ProgramRejected before anything is written or sent.
    """
    return client().tag(_key(job), tags, title=name, remove=remove, at_vendor=at_vendor)


@_core_task(name="qflows-run", run_name=_submit_name, retries=8, retry_if=_is_passing)
def run(program: Any, *, device: str, session: Session | None = None, **wishes: Unpack[RunWishes]) -> Result:
    """Submits, waits and returns the result in one call. Arguments as for `submit` and `result`, `mitigate` as for
    `batch`.

    If a call does not return (timeout, interrupt, error), the next equal call adopts the same sample. Raises what
    `submit` and `result` raise.

    Examples:
        >>> flip = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; x q[1]; measure q -> c;'
        >>> result = qflows.run(flip, device="local-aer", shots=100, observables="ZI", run_key="run")
        >>> result.expectation.value  # of qubit 1, which the left letter names
        -1.0
    """
    return client().run(program, scope(wishes.get("run_key")), device=device, session=session, **wishes)


def _key(job: Job | str) -> str:
    return job.key if isinstance(job, Job) else client().find(job).key


@fitting
def batch(
    programs: Sequence[Any],
    *,
    device: str,
    shots: int | Sequence[int] | None,
    observables: Any = None,
    name: str = "",
    tags: Mapping[str, str] | None = None,
    label: str = "",
    options: Mapping[str, Any] | None = None,
    max_circuits: int | None = None,
    as_batch: bool | None = None,
    run_key: str | None = None,
    mitigate: Any = None,
    project: str | None = None,
    compile: Any = None,
    physical_qubits: Sequence[int] | None = None,
    reference: Any = None,
    max_time: str | float | None = None,
) -> Batch:
    """Buys a list of programs for one device, split and packed into jobs, and immediately returns a handle.

    Index i of its result is program i. Instead of a list, `(circuit, values)` with values of shape (..., parameters)
    is a sweep: index i is point i in C order, and the result has `.grid` in the sweep's shape. `observables`: one
    Pauli sum or an array of them, broadcast with the points as Qiskit does for PUBs; the result then has
    `.expectation_values` and `.standard_errors` in the common shape.

    `as_batch`: True requires composite jobs (an error if the device takes one circuit per job), False one circuit per
    job, None what the device supports. `compile` and `physical_qubits` as for `submit`, applied to all programs. To
    watch progress in the UI, use the flow `qflows.flows.sweep`.

    `mitigate`: any of "readout", "zne", "twirling" and "dd", or a mapping of these to settings such as
    `{"zne": {"factors": [1, 3, 5], "extrapolation": "linear"}}`. The vendor applies what it offers and qflows the rest;
    all circuits belong to this batch. Item metadata records what was done and by whom; raw counts are kept.

    `reference`: circuits that measure the health of each job: a circuit, `(circuit, {key: probability})`, a mapping
    with `circuit` and any of `expected`, `at_least` and `name`, or a list of these, as for `qflows.gate`. They run in
    every job, or as one set for every ten jobs where a job takes one circuit. They are part of the price and not of the
    results: `.health` of the result says how each came out, `.in_bad_health` which circuits are affected.

    `max_time`: how long IBM's batch mode may last, such as "25m"; `batch.mode_details()` shows it. Refused for a vendor
    that has no batch mode. Raises ProgramRejected and OverBudget before anything is recorded.

    Examples:
        >>> from qiskit import QuantumCircuit
        >>> from qiskit.circuit import Parameter
        >>> turned = QuantumCircuit(1)
        >>> _ = turned.ry(Parameter("angle"), 0)
        >>> angles = [[0.0], [3.14159265]]  # two points, one parameter each
        >>> sweep = qflows.batch((turned, angles), observables="Z", device="local-exact", shots=None, run_key="e")
        >>> sweep.result().expectation_values.round(3).tolist()
        [1.0, -1.0]
    """
    return client().submit_list(
        programs,
        scope(run_key),
        device=device,
        shots=shots,
        observables=observables,
        name=name,
        tags=tags,
        label=label,
        options=options,
        max_circuits=max_circuits,
        as_batch=as_batch,
        mitigate=mitigate,
        project=project,
        compile=compile,
        physical_qubits=physical_qubits,
        reference=reference,
        max_time=max_time,
    )


@fitting
def session(
    device: str,
    *,
    max_time: str | float | None = None,
    mode: Literal["dedicated", "batch"] = "dedicated",
    on_exception: Literal["close", "cancel", "keep"] = "close",
    name: str = "",
    options: Mapping[str, Any] | None = None,
    run_key: str | None = None,
) -> Session:
    """Holds `device` for this run: `with qflows.session("ibm-kingston", max_time="30m") as s: s.run(...)`.

    `max_time`: seconds, or text such as "30m". A retried run finds its session again as long as the vendor keeps it
    open. The reconciler closes a session whose process died. On devices without sessions, jobs run one after the other
    and `s.id` is None. Raises InDoubt if the answer to the opening was lost; a person must then find out whether it is
    open.

    Examples:
        >>> flip = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; creg c[1]; x q[0]; measure q -> c;'
        >>> with qflows.session("local-aer", run_key="session") as held:
        ...     held.run(flip, shots=10).counts
        {'1': 10}
    """
    here = scope(run_key)
    check_choice("mode", mode, ("dedicated", "batch"))
    check_choice("on_exception", on_exception, ("close", "cancel", "keep"))
    return client().open_session(
        device,
        here.run_key,
        mode=mode,
        max_time_s=seconds(max_time),
        options=options,
        name=name,
        on_exception=on_exception,
        buyer=here.buyer,
    )


@fitting
def group(
    name: str = "",
    *,
    max_ttl: str | float = DEFAULT_TTL_S,
    tags: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    on_exception: Literal["close", "cancel"] = "close",
    run_key: str | None = None,
    ambient: bool = True,
    native: str | None = None,
) -> Group:
    """A named set of jobs on any devices: `with qflows.group("sweep", max_ttl="1h") as g: ...`, then `g.results()`.

    `max_ttl`: seconds or text like "30m", 1 s to 24 h; after that the group accepts no more jobs, even if this process
    has died. `on_exception`: what happens if an exception leaves the block: `close` (jobs keep running) or `cancel`.
    `run_key` is required outside a flow. `ambient=False`: only `g.submit(...)` adds jobs. `native`: a device whose
    vendor has its own groups (qBraid); jobs of that account then also join the vendor's group.
    Without it, a group whose first job is at qBraid is created there automatically, unless QFLOWS_VENDOR_GROUPS is
    false.

    Examples:
        >>> flip = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; creg c[1]; x q[0]; measure q -> c;'
        >>> with qflows.group("both", run_key="group") as both:
        ...     for device in ("local-aer", "local-braket"):
        ...         job = both.submit(flip, device=device, shots=10)
        >>> [member.counts for member in both.results().values()]
        [{'1': 10}, {'1': 10}]
    """
    return client().new_group(
        name,
        max_ttl=max_ttl,
        tags=tags,
        metadata=metadata,
        on_exception=on_exception,
        run_key=run_key,
        ambient=ambient,
        native=native,
    )


@fitting
def compile(
    program: Any,
    *,
    device: str,
    shots: int | None = None,
    values: Any = None,
    options: Mapping[str, Any] | None = None,
    name: str | None = None,
    compile: Any = None,
    physical_qubits: Sequence[int] | None = None,
) -> Compiled:
    """Compiles a program for `device` without buying anything: depth, two-qubit gates, layout, what was removed.

    Submitting `compiled.program` to the same device runs exactly that program. `compile` and `physical_qubits` as for
    `submit`; without them, on a processor whose vendor compiles, the program is compiled at level 2 into native gates.
    Raises ProgramRejected if nothing can be compiled or shown locally.
    """
    return compile_program(
        client().device(device),
        program,
        values=values,
        shots=shots,
        options=options,
        name=name,
        compile=compile,
        physical_qubits=physical_qubits,
    )


@fitting
def price(
    programs: Any,
    *,
    device: str,
    shots: int | Sequence[int] | None = None,
    values: Any = None,
    observables: Any = None,
    options: Mapping[str, Any] | None = None,
    max_circuits: int | None = None,
    mitigate: Any = None,
    reference: Any = None,
) -> Price:
    """Returns what a program, or a list of them as one batch, would cost on `device`; buys and records nothing.

    The arguments are those of `qflows.run`, or for a list those of `qflows.batch`. Returns the expected and the maximum
    cost, as Decimal in the vendor's unit and in `QFLOWS_CURRENCY` at the rates in `QFLOWS_RATES`, and the source of the
    price; None for what is unknown. May ask the vendor for prices.
    """
    wishes: dict[str, Any] = {"observables": observables, "options": options}
    wishes |= {"max_circuits": max_circuits} if isinstance(programs, list) else {"values": values}
    wishes |= {"mitigate": mitigate} if mitigate else {}
    wishes |= {"reference": reference} if reference is not None else {}
    return client().price(programs, device=device, shots=shots, **wishes)


@fitting
def choose(
    rule: str,
    program: Any = None,
    *,
    shots: int | Sequence[int] | None = None,
    values: Any = None,
    observables: Any = None,
    options: Mapping[str, Any] | None = None,
    run_key: str | None = None,
) -> str:
    """Returns the device that a rule chooses for a program or a list of them; a retry or replay of the run gets the
    same one.

    For flows that make many calls on one device. `rule`: such as "cheapest(ibm-*, ionq-*; qubits>=20, queue<2h)", or
    the name of a saved rule; a device name is returned unchanged. Without a program, rules on price cannot be used.
    Buys nothing. Raises NoDeviceFits with the reason for every device, RunKeyMissing outside a flow without `run_key`.
    """
    core = client()
    read = core.rule(rule)
    if read is None:
        return core.device(rule).profile.name
    wishes = {"values": values, "observables": observables, "options": options}
    asked = asking.for_a_place("choose") if program is None else asking.for_programs(program, shots, wishes)
    return core.chooser.choose(read, scope(run_key).want(content_of(read, asked)), asked).device


class TaskVerbs:
    """The verbs of sessions and groups as Prefect tasks; plain calls outside a flow."""

    def client_factory(self) -> Callable[[], Client]:
        """The client of a process that knows Prefect."""
        return client

    def scope(self, run_key: str | None) -> Scope:
        """Where the call comes from, by Prefect's context."""
        return scope(run_key)

    def in_flow(self) -> bool:
        """True inside a flow run."""
        return FlowRunContext.get() is not None

    def is_pause(self, error: BaseException | None) -> bool:
        """True for Prefect's own signal that a run suspends."""
        return isinstance(error, Pause)

    def as_step(self, call: Callable[[Any], Any], name: str) -> Callable[[Any], Any]:
        """The function as one task run of the flow; never retried, because it must not run twice."""
        if FlowRunContext.get() is None:
            return call

        def as_task(found: Any) -> Any:
            # no parameter: Prefect would walk through the whole result to look for futures
            return Task(
                fn=lambda: call(found),
                name="qflows-callback",
                task_run_name=f"when all of {name[:60] or 'the group'} are over",
                retries=0,
                persist_result=False,
                cache_policy=NO_CACHE,
            )()

        return as_task

    def submit(self, program: Any, *, device: str, session: Session | None = None, **wishes: Unpack[Wishes]) -> Job:
        """`qflows.submit`."""
        return submit(program, device=device, session=session, **wishes)

    def run(self, program: Any, *, device: str, session: Session | None = None, **wishes: Unpack[RunWishes]) -> Result:
        """`qflows.run`."""
        return run(program, device=device, session=session, **wishes)

    def batch(self, programs: Sequence[Any], *, device: str, **wishes: Unpack[BatchWishes]) -> Batch:
        """`qflows.batch`."""
        wishes.setdefault("shots", None)
        return client().submit_list(programs, scope(wishes.get("run_key")), device=device, **wishes)
