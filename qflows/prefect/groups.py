"""`qflows.group` and `qflows.attach`: groups as a flow's author uses them, and any durable thing by its id."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.exceptions import Pause
from prefect.logging import get_logger

from qflows.core.batches.batch import Batch
from qflows.core.groups import ambient
from qflows.core.groups.callbacks import Callback, path_of, resolve
from qflows.core.groups.handle import DEFAULT_TTL_S, GroupHandle
from qflows.core.groups.results import GroupResult
from qflows.durations import seconds
from qflows.errors import CallbackFailed, GroupError, ProgramRejected, QflowsError
from qflows.ledger import callbacks as ledger_callbacks
from qflows.ledger.groups import ASKED, EXCEPTION
from qflows.model import Job, Result
from qflows.prefect import tasks
from qflows.states import CallbackState, GroupState

log = get_logger("qflows")

T = TypeVar("T")


class Group:
    """A named set of jobs on any devices; made by `qflows.group`, found again by `qflows.attach(id)`.

    Every purchase made inside the `with` block is a member: `qflows.submit`, `run`, `batch`, and tasks of the flow that
    are called or mapped there, in threads too. A task in another process (process pool, Dask) gets this handle as an
    argument and calls `submit` on it, or opens `inside()`; it can be pickled. Safe for use from several threads.
    """

    def __init__(
        self,
        name: str,
        *,
        max_ttl: str | float = DEFAULT_TTL_S,
        tags: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        on_exception: str = "close",
        run_key: str | None = None,
        ambient: bool = True,
        native: str | None = None,
    ) -> None:
        if on_exception not in ("close", "cancel"):
            raise ProgramRejected(f"on_exception is close or cancel, not {on_exception!r}")
        self._wanted: dict[str, Any] = {"max_ttl": max_ttl, "tags": tags, "metadata": metadata, "native": native}
        self._name = name
        self._on_exception = on_exception
        self._run_key = run_key
        self._ambient = ambient
        self._handle: GroupHandle | None = None
        self._callback: Callback | None = None
        self._callback_timeout: float | None = None
        self._lock = threading.RLock()

    # -- what it is

    @property
    def id(self) -> str | None:
        """The id, by which any process finds the group; None before it is opened."""
        return self._handle.id if self._handle else None

    @property
    def name(self) -> str:
        """The name given."""
        return self._name

    @property
    def jobs(self) -> list[Job]:
        """Handles of all members in the order they were enrolled; a copy. Empty before it is opened."""
        return self._handle.jobs if self._handle else []

    def status(self) -> GroupState:
        """OPEN, CLOSED, COMPLETED, FAILED or CANCELLED, as the ledger has it now."""
        return self._opened().status()

    def details(self) -> dict[str, Any]:
        """State, times, costs, the callback and one row per member, each with its own error."""
        return self._opened().details()

    def _opened(self) -> GroupHandle:
        if self._handle is None:
            raise GroupError(f"group {self._name!r} is not opened; use `with qflows.group(...)`, or call open()")
        return self._handle

    def __repr__(self) -> str:
        return f"<Group {self._name or '(no name)'} {self.id[:12] if self.id else 'not opened'}>"

    def __getstate__(self) -> dict[str, Any]:
        """For another process: the handle alone; a callback that only this process knows stays here."""
        left_out = ("_lock", "_handle", "_callback")
        return {k: v for k, v in self.__dict__.items() if k not in left_out} | {"id": self._opened().id}

    def __setstate__(self, state: dict[str, Any]) -> None:
        id_ = state.pop("id")
        self.__dict__.update(state)
        self._lock, self._callback = threading.RLock(), None
        self._handle = tasks.client().group(id_)

    # -- opening and closing

    def open(self) -> Group:
        """Opens the group and makes it the one of this context; returns itself.

        A replay of the run finds the same group again; opening once more after it was closed gives another one, with
        no jobs and no callback. Raises GroupError inside an open group: a job would belong to two.
        """
        with self._lock:
            if self._ambient:
                self._refuse_nesting()
            if self._handle is not None and self._handle.status() is GroupState.OPEN:
                raise GroupError(f"group {self._name!r} is open already", group_id=self._handle.id)
            where = tasks.scope(self._run_key)
            self._callback = None
            self._handle = tasks.client().open_group(
                self._name,
                where,
                max_ttl_s=seconds(self._wanted["max_ttl"]) or 0.0,
                tags=self._wanted["tags"],
                metadata=self._wanted["metadata"],
                is_ambient=self._ambient,
                native=self._wanted["native"],
            )
            self._run_key = self._run_key or where.run_key
            if self._ambient:
                ambient.enter(where.run_key, self._handle.id)
        return self

    def _refuse_nesting(self) -> None:
        other = ambient.ACTIVE.get()
        if other is None:
            return
        record = tasks.client().group(other).record
        if record.state is GroupState.OPEN:
            raise GroupError(
                f"group {self._name!r} cannot be opened inside group {record.title} of the same context: its jobs "
                "would belong to two. Close that one first, or pass ambient=False and submit by the handle",
                group_id=other,
                state=record.state.value,
            )

    def close(self) -> None:
        """No more jobs; those that are members run on. Harmless when it is over already, from any thread."""
        handle = self._opened()
        handle.close(ASKED)
        self._leave()

    def cancel(self, timeout: float = 60.0) -> list[Job]:
        """No more jobs; every live member is cancelled at its vendor and verified. Returns all members.

        Harmless when it is over already. A member that finished first stays COMPLETED. Raises WaitTimeout naming
        those that a vendor has not confirmed; the wish stands.
        """
        handle = self._opened()
        self._leave()
        return list(handle.cancel(timeout=timeout).values())

    def _leave(self) -> None:
        if self._handle is not None and self._run_key is not None:
            ambient.leave(self._run_key, self._handle.id)

    @contextmanager
    def inside(self) -> Iterator[Group]:
        """Makes purchases of this thread or task members, and closes nothing: for threads and other processes."""
        before = ambient.ACTIVE.set(self._opened().id)
        try:
            yield self
        finally:
            ambient.ACTIVE.reset(before)

    def __enter__(self) -> Group:
        if self._handle is None or not self._ambient:
            return self.open() if self._handle is None else self
        if ambient.ACTIVE.get() == self._handle.id:
            return self  # opened by hand, in this context
        if self._handle.status() is not GroupState.OPEN:
            return self.open()
        self._refuse_nesting()
        ambient.enter(self._handle.record.run_key, self._handle.id)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        handle = self._opened()
        self._leave()
        if isinstance(error, Pause):
            return  # the run leaves its process to wait; it comes back into the same group
        try:
            if error is None:
                handle.close(ASKED)
                self._call_back_at_exit(handle)
            elif self._on_exception == "cancel":
                handle.cancel(reason=EXCEPTION)
            else:
                handle.close(EXCEPTION)
        except QflowsError as problem:
            if error is None:
                raise
            log.error("leaving group %r after %s: %s", self._name, type(error).__name__, problem)

    # -- work

    def submit(self, program: Any, *, device: str, **arguments: Any) -> Job:
        """`qflows.submit` as a member, from any thread, task or process."""
        with self.inside():
            return tasks.submit(program, device=device, **self._under_run_key(arguments))

    def run(self, program: Any, *, device: str, **arguments: Any) -> Result:
        """`qflows.run` as a member."""
        with self.inside():
            return tasks.run(program, device=device, **self._under_run_key(arguments))

    def batch(self, programs: Sequence[Any], *, device: str, **arguments: Any) -> Batch:
        """`qflows.batch` as members: each of its jobs is one, so a batch that fits into one job is one member."""
        with self.inside():
            return tasks.batch(programs, device=device, **self._under_run_key(arguments))

    def _under_run_key(self, arguments: dict[str, Any]) -> dict[str, Any]:
        if FlowRunContext.get() is not None:
            return arguments
        return {"run_key": self._run_key or self._opened().record.run_key} | arguments

    def results(self, timeout: float | None = None) -> GroupResult:
        """Waits for all members under one deadline and returns what there is; see `GroupResult`.

        Never raises for a member, a vendor or the deadline: failures are in `.failed()`, the unfinished in
        `.pending()`, vendors that could not be asked in `.unreachable`. Calls the callback when it is due; if that
        raises, the text is in `.callback_error`.
        """
        handle = self._opened()
        found = handle.results(timeout)
        try:
            self._call_back(handle, found)
        except CallbackFailed as problem:
            log.error("%s", problem)
            found.callback_error = handle.record.callback_error
        return found

    def on_all_complete(self, function: Callback | str, *, timeout: float | None = None) -> None:
        """Calls `function(GroupResult)` exactly once, when the group is closed and all its jobs are over.

        `function` is a callable or `"module:function"`. Leaving the block then waits for the jobs, `timeout` seconds
        at most. What can be imported is called by the sweeper if this process is gone by then. In a flow it is a task
        run. Its error is raised at the end of the block, and stays in `details()`. It is not called after an
        exception in the block or a cancel. A replay of the run does not call again what was called.
        """
        handle = self._opened()
        if isinstance(function, str):
            path, importable, call = function, True, resolve(function)
        else:
            (path, importable), call = path_of(function), function
        with self._lock:
            self._callback, self._callback_timeout = call, timeout
        if not ledger_callbacks.register(handle.ledger, handle.id, path, importable=importable):
            log.info("the callback of group %r was called, or is being called; see details()", self._name)

    def _call_back_at_exit(self, handle: GroupHandle) -> None:
        if self._callback is None or handle.record.callback_state is not CallbackState.PENDING:
            return
        found = handle.results(self._callback_timeout)
        if not found.is_complete:
            log.warning(
                "group %r: %d job(s) are not over, so its callback waits for %s",
                self._name,
                len(found.pending()),
                "results() or the sweeper" if handle.record.callback_importable else "results()",
            )
        self._call_back(handle, found)

    def _call_back(self, handle: GroupHandle, found: GroupResult) -> None:
        record = handle.record
        if record.callback_state is not CallbackState.PENDING or record.callback is None:
            return
        call = self._callback
        if call is None:
            if not record.callback_importable:
                return
            call = resolve(record.callback)
        handle.call_back(_as_task(call, self._name) if FlowRunContext.get() is not None else call, found)


def _as_task(call: Callback, name: str) -> Callable[[GroupResult], Any]:
    """The callback as one task run of the flow; never retried, because it must not run twice."""

    def as_task(found: GroupResult) -> Any:
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

    `max_ttl`: seconds or text like "30m", 1 s to 24 h; afterwards the group takes no more jobs, although this process
    may be dead. `on_exception`: what leaving the block by an exception does: `close` (jobs run on) or `cancel`.
    `run_key` is needed outside a flow. `ambient=False`: only `g.submit(...)` enrols. `native`: a device whose vendor
    keeps groups itself (qBraid); jobs of that account are then in the vendor's group too.
    """
    return Group(
        name,
        max_ttl=max_ttl,
        tags=tags,
        metadata=metadata,
        on_exception=on_exception,
        run_key=run_key,
        ambient=ambient,
        native=native,
    )
