"""The Prefect tasks. Three verbs, three tasks, three laws of repetition: submit never blindly, wait always, result
always. Repeating any of them is harmless, because each adopts what the ledger has; the laws keep them useful.

Inside a flow a call is a task run that the UI shows. Outside a flow, or inside another task, the same call goes
straight to the core and creates no task run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, ParamSpec, TypeVar

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import Pause

from qflows.core.batches.batch import Batch
from qflows.core.sessions import SessionHold
from qflows.core.tagging import Tagged
from qflows.durations import seconds
from qflows.errors import LedgerUnavailable, NotSent, ProgramRejected, ProviderError, Refused
from qflows.model import Job, Result
from qflows.prefect.scope import client, scope
from qflows.protocol import SessionInfo

P = ParamSpec("P")
R = TypeVar("R")


class CoreTask(Task[P, R]):
    """A task that costs a task run only where one is seen: called directly from a flow."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs as a task in a flow, as a plain call elsewhere."""
        if FlowRunContext.get() is None or TaskRunContext.get() is not None:
            kwargs.pop("wait_for", None)
            kwargs.pop("return_state", None)
            return self.fn(*args, **kwargs)
        return super().__call__(*args, **kwargs)


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
    """Worth another try without touching any purchase: vendor or ledger out of reach for now."""
    if isinstance(error, LedgerUnavailable | NotSent):
        return True
    return isinstance(error, ProviderError) and not isinstance(error, Refused)


def _submit_name(parameters: Mapping[str, Any]) -> str:
    shots = parameters.get("shots")
    name = parameters.get("name") or getattr(parameters.get("program"), "name", None) or "circuit"
    return f"{str(name)[:60]} on {parameters.get('device')} × {shots if shots is not None else 'exact'}"


def _keys_name(verb: str) -> Callable[[Mapping[str, Any]], str]:
    def named(parameters: Mapping[str, Any]) -> str:
        jobs = parameters.get("jobs", parameters.get("job"))
        if isinstance(jobs, Sequence) and not isinstance(jobs, str):
            return f"{verb} {len(jobs)} job{'s' if len(jobs) != 1 else ''}"
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
    session: Session | None = None,
) -> Job:
    """Buys one job, once, and returns its durable handle at once.

    `program`: QuantumCircuit, (circuit, values), OpenQASM 2 or 3 text or path, Braket Circuit, IonQ JSON, Program.
    `device`: a profile name, or vendor:device-id. `shots=None` evaluates exactly, where the device can.
    `observables`: one or several Pauli sums; the result then has expectation values. `label` sets equal programs of
    one run apart by meaning. `run_key` is needed outside a flow; the same one later continues the same run.
    `resubmit`: how many new purchases are allowed after the vendor said failed or cancelled; never after a doubt.

    Equal calls of one attempt are different samples; the same call in a retry is the same sample.
    Raises ProgramRejected before anything is recorded. A handle may come back IN_DOUBT or PREPARED; `wait` goes on.
    """
    core = client()
    specs = core.specs(
        program,
        device=device,
        shots=shots,
        values=values,
        observables=observables,
        options=options,
        name=name,
        label=label,
        tags=tags,
        session_id=session.id if session else None,
    )
    if len(specs) > 1:
        raise ProgramRejected(
            f"{device} takes one circuit a job and these observables need {len(specs)}; use qflows.run, which waits"
        )
    return core.submit(specs, device=device, scope=scope(run_key), resubmit=resubmit)[0]


@_core_task(name="qflows-wait", run_name=_keys_name("wait for"), retries=8, retry_if=_is_passing)
def wait(jobs: Sequence[Job | str], *, timeout: float | None = None) -> list[Job]:
    """Blocks until every job is terminal, one deadline for all; returns fresh handles in the order given.

    One bulk poll per vendor account serves all flows that wait. Raises WaitTimeout naming what is pending.
    """
    keys = [_key(job) for job in jobs]
    handles = client().wait(keys, timeout=timeout)
    return [handles[key] for key in keys]


@_core_task(name="qflows-result", run_name=_keys_name("result of"), retries=8, retry_if=_is_passing)
def result(job: Job | str, *, timeout: float | None = None) -> Result:
    """Waits for a job and reads its counts; a finished one is read from the ledger alone, for ever.

    Raises JobFailed or JobCancelled with the vendor's code and reason as fields, WaitTimeout at the deadline.
    """
    return client().result([_key(job)], timeout=timeout)


@_core_task(name="qflows-cancel", run_name=_keys_name("cancel"), retries=8, retry_if=_is_passing)
def cancel(job: Job | str | Sequence[Job | str], *, timeout: float = 60.0) -> list[Job]:
    """Cancels at the vendor and verifies. A job that had finished comes back COMPLETED: too late, and paid."""
    wanted = [job] if isinstance(job, Job | str) else list(job)
    keys = [_key(one) for one in wanted]
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
    """Adds or overwrites tags of a job, renames it, takes tags away: in the ledger, and at the vendor where it can be.

    Returns what both hold now. IBM takes 5 tags beside the name, of 86 characters with their value; Braket 48; IonQ
    and qBraid keep what was submitted. `at_vendor=False` changes the ledger alone.
    Raises ProgramRejected before anything is written or sent.
    """
    return client().tag(_key(job), tags, title=name, remove=remove, at_vendor=at_vendor)


@_core_task(name="qflows-run", run_name=_submit_name, retries=8, retry_if=_is_passing)
def run(
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
    session: Session | None = None,
    timeout: float | None = None,
) -> Result:
    """Submit, wait, result in one call; the arguments are those of `submit` and `result`."""
    core = client()
    specs = core.specs(
        program,
        device=device,
        shots=shots,
        values=values,
        observables=observables,
        options=options,
        name=name,
        label=label,
        tags=tags,
        session_id=session.id if session else None,
    )
    jobs = core.submit(specs, device=device, scope=scope(run_key), resubmit=resubmit)
    return core.result([job.key for job in jobs], timeout=timeout)


def _key(job: Job | str) -> str:
    return job.key if isinstance(job, Job) else client().find(job).key


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
) -> Batch:
    """Buys a list of programs for one device, split and packed into jobs, and returns a handle at once.

    Index i of its result is program i. Instead of a list, `(circuit, values)` with values of shape (..., parameters)
    is a sweep: index i is point i in C order, and the result has `.grid` in the sweep's shape. `observables`: one
    Pauli sum or an array of them, broadcast with the points as Qiskit does for PUBs; the result then has
    `.expectation_values` and `.standard_errors` in the common shape.

    `as_batch`: True wants composite jobs (ValueError where the device takes one circuit a job), False one circuit a
    job, None what the device can. To see it move in the UI, use the flow `qflows.flows.sweep`.
    """
    core = client()
    planned = core.plan_batch(
        programs if isinstance(programs, tuple | str) else list(programs),  # a tuple may be (circuit, values)
        device=device,
        shots=shots,
        observables=observables,
        options=options,
        label=label,
        tags=tags,
        max_circuits=max_circuits,
        as_batch=as_batch,
    )
    made = core.create_batch(planned, device=device, scope=scope(run_key), name=name, tags=tags)
    core.submit_batch(made)
    return made


class Session:
    """A device held for ordered jobs; made by `qflows.session`.

    Leaving the block closes the session, so that queued jobs still run; on an exception it follows the policy the
    caller picked. Where the vendor has no sessions, jobs run one after the other and `.id` is None.
    """

    def __init__(self, hold: SessionHold, device: str, run_key: str | None, on_exception: str) -> None:
        self._hold = hold
        self.device = device
        self._run_key = run_key
        self._on_exception = on_exception

    @property
    def id(self) -> str | None:
        """The vendor's id of the session."""
        return self._hold.vendor_id

    @property
    def key(self) -> str | None:
        """The ledger's key, for `qflows session show`."""
        return self._hold.record.key if self._hold.record else None

    def submit(self, program: Any, **arguments: Any) -> Job:
        """`qflows.submit` in this session, on its device."""
        return submit(program, device=self.device, session=self, **({"run_key": self._run_key} | arguments))

    def run(self, program: Any, **arguments: Any) -> Result:
        """`qflows.run` in this session, on its device."""
        return run(program, device=self.device, session=self, **({"run_key": self._run_key} | arguments))

    def details(self) -> SessionInfo | None:
        """State, accepting jobs, limits, times and usage as the vendor says now; None where there are no sessions."""
        return self._hold.info()

    def close(self) -> None:
        """No more jobs; those that are queued still run."""
        self._hold.close()

    def cancel(self) -> None:
        """No more jobs, and those that are queued do not run."""
        self._hold.cancel()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if (
            kind is None or self._on_exception == "close" or isinstance(error, Pause)
        ):  # it left to wait: queued jobs run
            self.close()
        elif self._on_exception == "cancel":
            self.cancel()
        else:  # keep: the next attempt of the run goes on in it, or the sweeper closes it
            self._hold.release()


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

    A retried run finds its session again while the vendor keeps it open. A session whose process died is closed by
    the sweeper. The limit that is sent may be up to a minute shorter than `max_time`: its seconds are the mark by
    which a session whose opening was never answered is found again.
    """
    hold = client().open_session(
        device, scope(run_key).run_key, mode=mode, max_time_s=seconds(max_time), options=options, name=name
    )
    return Session(hold, device, run_key, on_exception)
