"""Groups: a named set of jobs on any devices of any vendors, with one deadline, one cancel and one end.

A group does not affect execution. Membership is in the ledger, written with the intent to buy, so a group outlives its
process and any process can continue it from its id.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Unpack

from qflows import display
from qflows.core import ambient as current
from qflows.core.arguments import check_choice, check_seconds, check_text, shown, tags_of
from qflows.core.batches.batch import Batch
from qflows.core.durations import seconds
from qflows.core.groups.callbacks import Callback, callback_of, path_of, resolve
from qflows.core.groups.results import GroupResult, MemberResult, row_of, sums
from qflows.core.native_groups import end_native, open_native
from qflows.core.parts import Parts
from qflows.core.stored import stored
from qflows.core.verbs import BatchWishes, RunWishes, Verbs, Wishes
from qflows.core.waiting import wait_lanes
from qflows.display import plural
from qflows.errors import CallbackFailed, GroupError, JobFailed, ProgramRejected, QflowsError, WaitTimeout
from qflows.ledger import callbacks as ledger_callbacks
from qflows.ledger import groups as ledger_groups
from qflows.ledger import outcomes, reads
from qflows.ledger.groups import ASKED, EXCEPTION, GroupRecord
from qflows.ledger.intents import Want, lease_ordinal
from qflows.ledger.store import Ledger
from qflows.model import Job, Result
from qflows.programs.estimation import read_plan
from qflows.protocol import Provider
from qflows.states import CallbackState, GroupState

log = logging.getLogger("qflows.groups")

_MAX_NAME = 255
MAX_TTL_S = 86_400.0  # as in qBraid, so that a native group can live as long
DEFAULT_TTL_S = 3_600.0
OnException = Literal["close", "cancel"]


def _open(
    ledger: Ledger,
    want: Want,
    name: str,
    *,
    max_ttl_s: float,
    tags: Mapping[str, str],
    metadata: Mapping[str, Any],
    caller: str | None,
) -> str:
    """Open the group of this call and return its id: the same for a replay, another for another equal call.

    `caller`: who opened it as its ambient group. Raises ProgramRejected before anything is recorded.
    """
    if isinstance(max_ttl_s, bool) or not 1 <= max_ttl_s <= MAX_TTL_S:
        raise ProgramRejected(
            f"a group's time to live is 1 to {MAX_TTL_S:.0f} seconds, not {max_ttl_s!r}; pass max_ttl="
        )
    if len(name) > _MAX_NAME:
        raise ProgramRejected(f"a group's name has at most {_MAX_NAME} characters")
    try:
        json.dumps([tags, metadata], allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ProgramRejected(f"tags and metadata of a group must be plain JSON values: {error}") from error
    place = ledger_groups.content(name)
    ordinal = ledger.transact(lambda connection: lease_ordinal(ledger, connection, want, place))
    record = ledger_groups.open_group(
        ledger,
        ledger_groups.group_id(want.run_key, name, ordinal),
        run_key=want.run_key,
        name=name,
        tags=tags,
        metadata=metadata,
        max_ttl_s=float(max_ttl_s),
        caller=caller,
    )
    return record.id


class Group:
    """A named set of jobs on any devices; made by `qflows.group`, found again by `qflows.attach(id)`.

    Every purchase made inside the `with` block is a member: `submit`, `run`, `batch`, and tasks of the flow that are
    called or mapped there, also in threads. A task in another process (process pool, Dask) takes this handle as an
    argument and calls `submit` on it, or opens `inside()`; it can be pickled. Thread-safe.
    """

    def __init__(
        self,
        core: Parts,
        verbs: Verbs,
        name: str = "",
        *,
        max_ttl: str | float = DEFAULT_TTL_S,
        tags: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        on_exception: OnException = "close",
        run_key: str | None = None,
        ambient: bool = True,
        native: str | None = None,
        record: GroupRecord | None = None,
    ) -> None:
        check_choice("on_exception", on_exception, ("close", "cancel"))
        check_text("name", name, required=True)
        tags_of(tags)
        self._core, self._verbs = core, verbs
        self._wanted: dict[str, Any] = {"max_ttl": max_ttl, "tags": tags, "metadata": metadata, "native": native}
        self._name = record.name if record else name
        self._on_exception = on_exception
        self._run_key = record.run_key if record else run_key
        self._ambient = ambient
        self._id: str | None = record.id if record else None
        self._callback: Callback | None = None
        self._callback_timeout: float | None = None
        self._is_entered = False
        self._lock = threading.RLock()

    # -- identity and state

    @property
    def id(self) -> str | None:
        """The id, by which any process finds the group; None before it is opened."""
        return self._id

    @property
    def group_id(self) -> str | None:
        """An alias of `id`, named as in qBraid."""
        return self._id

    @property
    def max_ttl(self) -> float:
        """Seconds for which the group takes jobs: `record.max_ttl_s`, named as in qBraid. Raises GroupError."""
        return self.record.max_ttl_s

    @property
    def name(self) -> str:
        """The name given."""
        return self._name

    @property
    def record(self) -> GroupRecord:
        """The group as it is now; reading it applies time to live and completion. Raises GroupError."""
        return ledger_groups.get(self._core.ledger, self._opened())

    @property
    def jobs(self) -> list[Job]:
        """Handles of all members in the order of enrollment; a copy. Empty before the group is open."""
        return ledger_groups.members(self._core.ledger, self._id) if self._id else []

    def status(self) -> GroupState:
        """OPEN, CLOSED, COMPLETED, FAILED or CANCELLED, as the ledger has it now."""
        return self.record.state

    def details(self) -> dict[str, Any]:
        """All details, as plain data."""
        record, jobs = self.record, self.jobs
        counts: dict[str, int] = {}
        for job in jobs:
            counts[job.status.value] = counts.get(job.status.value, 0) + 1
        return {
            "id": record.id,
            "name": record.name,
            "run_key": record.run_key,
            "state": record.state.value,
            "tags": dict(record.tags),
            "metadata": dict(record.metadata),
            "max_ttl_s": record.max_ttl_s,
            "created_at": record.created_at,
            "expires_at": record.expires_at,
            "closed_at": record.closed_at,
            "close_reason": record.close_reason,
            "native_id": record.native_id,
            "jobs": len(jobs),
            "jobs_by_status": counts,
            "costs": [[cost.amount, cost.unit, "estimate" if cost.is_estimate else "billed"] for cost in sums(jobs)],
            "callback": callback_of(record),
            "members": [row_of(place, job) for place, job in enumerate(jobs)],
        }

    def _opened(self) -> str:
        if self._id is None:
            raise GroupError(f"group {self._name!r} is not open yet; use `with qflows.group(...)`, or call open()")
        return self._id

    def __repr__(self) -> str:
        return f"<Group {self._name or '(no name)'} {self._id[:12] if self._id else 'not open yet'}>"

    def _repr_html_(self) -> str:
        if self._id is None:
            return display.pairs({"group": self._name, "state": "not open yet"})
        record = self.record
        head = {"group": record.id[:12], "name": record.name, "state": record.state.value}
        members = [row_of(place, job) for place, job in enumerate(self.jobs)]
        return display.pairs(head) + display.table(
            members, ("place", "name", "device", "status", "cost", "note", "job")
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process: the id and the arguments; a callback that only this process knows is left out."""
        kept = {"on_exception": self._on_exception, "ambient": self._ambient, **self._wanted}
        return _revive, (self._verbs.client_factory(), self._opened(), kept)

    # -- opening and closing

    def open(self) -> Group:
        """Open the group and make it current in this context; return the group.

        A replay of the run finds the same group; opening it again after it was closed creates another one, with no jobs
        and no callback. Raises GroupError inside an open group: a job would belong to two.
        """
        with self._lock:
            if self._ambient:
                self._refuse_nesting()
            if self._id is not None and self.status() is GroupState.OPEN:
                raise GroupError(f"group {self._name!r} is already open", group_id=self._id)
            where = self._verbs.scope(self._run_key)
            self._callback = None
            self._id = _open(
                self._core.ledger,
                where.want(ledger_groups.content(self._name)),
                self._name,
                max_ttl_s=seconds(self._wanted["max_ttl"]) or 0.0,
                tags=self._wanted["tags"] or {},
                metadata=self._wanted["metadata"] or {},
                caller=where.caller if self._ambient else None,
            )
            native = self._wanted["native"]
            if native is not None:
                open_native(self._core.ledger, self._mirroring(native), self.record, device=native)
            self._run_key = where.run_key
            if self._ambient:
                self._enter(where.run_key)
        return self

    def _mirroring(self, device: str) -> Provider:
        """The provider of the mirrored group. Raises OtherAccount if an earlier attempt mirrored it elsewhere."""
        record = self.record
        if record.native_id is not None:
            return self._core.vendors.of_account(record.native_provider or "", record.native_account or "", device)
        return self._core.vendors.device(device).provider

    def _refuse_nesting(self) -> None:
        other = current.ACTIVE.get()
        if other is None:
            return
        record = ledger_groups.get(self._core.ledger, other)
        if record.state is GroupState.OPEN:
            raise GroupError(
                f"group {self._name!r} cannot be opened inside group {record.title}, because "
                "its jobs would belong to both. Close that group first, or pass ambient=False "
                "and submit through the handle",
                group_id=other,
                state=record.state.value,
            )

    def close(self, reason: str = ASKED) -> bool:
        """Accept no more jobs; members keep running. Returns False if the group had already ended."""
        with self._lock:
            id_, ledger = self._opened(), self._core.ledger
            mirror = self._mirror()
            ledger_groups.refresh(ledger, id_)  # a group whose time was up counts as closed by time
            done = ledger_groups.close(ledger, id_, reason)
            if done:
                self._end_native(mirror, "close")
            ledger_groups.refresh(ledger, id_)
        self._leave()
        return done

    def cancel(self, timeout: float = 60.0, *, reason: str = ASKED) -> list[Job]:
        """Take no more jobs, cancel every live member at its vendor, and verify. Returns all members.

        A member that finished first stays COMPLETED. Harmless if the group is over. Raises WaitTimeout naming members
        that a vendor has not confirmed in time; the request is recorded, and the next poll repeats it.
        """
        self._leave()
        id_, ledger = self._opened(), self._core.ledger
        with self._lock:
            mirror = self._mirror()
            if ledger_groups.cancel(ledger, id_, reason):
                self._end_native(mirror, "cancel")
        live = [job.key for job in self.jobs if not job.is_terminal]
        outcomes.request_cancel(ledger, live)
        troubles = wait_lanes(ledger, self._core.poller, live, timeout=timeout)
        after = self.jobs
        ended = {job.key for job in after if job.is_terminal}
        pending = [key for key in live if key not in ended]
        if pending:
            why = "; ".join(f"{vendor}: {text}" for vendor, text in troubles.items())
            raise WaitTimeout(
                f"{len(pending)} of {plural(len(live), 'job')} of group {id_[:12]} not confirmed as cancelled within "
                f"{timeout:g} s{' (' + why + ')' if why else ''}; the request is recorded, and "
                "`qflows reconcile` repeats it",
                pending=tuple(pending),
            )
        return after

    def _mirror(self) -> Provider | None:
        """The provider that may end the vendor's own group, looked up before ours ends: nobody could end it
        afterwards."""
        record = ledger_groups.find(self._core.ledger, self._opened())
        if record.native_id is None:
            return None
        return self._core.vendors.of_account(
            record.native_provider or "", record.native_account or "", record.native_device or ""
        )

    def _end_native(self, mirror: Provider | None, verb: str) -> None:
        if mirror is not None:
            end_native(mirror, ledger_groups.find(self._core.ledger, self._opened()), verb)

    def _enter(self, run_key: str) -> None:
        current.enter(run_key, self._opened())
        self._is_entered = True

    def _leave(self) -> None:
        """End what this handle began; another handle on the same group leaves the context alone."""
        if self._is_entered and self._id is not None and self._run_key is not None:
            current.leave(self._run_key, self._id)

    @contextmanager
    def inside(self) -> Iterator[Group]:
        """Make purchases of this thread or task members, and close nothing; for threads and other processes."""
        before = current.ACTIVE.set(self._opened())
        try:
            yield self
        finally:
            current.ACTIVE.reset(before)

    def __enter__(self) -> Group:
        if self._id is None or not self._ambient:
            return self.open() if self._id is None else self
        if current.ACTIVE.get() == self._id:
            return self  # opened by hand, in this context
        if self.status() is not GroupState.OPEN:
            return self.open()
        self._refuse_nesting()
        self._enter(self.record.run_key)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._opened()
        self._leave()
        if self._verbs.is_pause(error):
            return  # the run leaves its process to wait, and comes back into the same group
        try:
            if error is None:
                self.close()
                self._call_back_at_exit()
            elif self._on_exception == "cancel":
                self.cancel(reason=EXCEPTION)
            else:
                self.close(EXCEPTION)
        except QflowsError as problem:
            if error is None:
                raise
            log.error("leaving group %r after %s: %s", self._name, type(error).__name__, problem)

    # -- work

    def submit(self, program: Any, *, device: str, **wishes: Unpack[Wishes]) -> Job:
        """`qflows.submit` as a member, from any thread, task or process."""
        with self.inside():
            return self._verbs.submit(program, device=device, **(self._key() | wishes))

    def run(self, program: Any, *, device: str, **wishes: Unpack[RunWishes]) -> Result:
        """`qflows.run` as a member."""
        with self.inside():
            return self._verbs.run(program, device=device, **(self._key() | wishes))

    def batch(self, programs: Sequence[Any], *, device: str, **wishes: Unpack[BatchWishes]) -> Batch:
        """`qflows.batch` as members: each of its jobs is one, so a batch that fits into one job is one member."""
        with self.inside():
            return self._verbs.batch(programs, device=device, **(self._key() | wishes))

    def _key(self) -> Any:
        if self._verbs.in_flow():
            return {}
        return {"run_key": self._run_key or self.record.run_key}

    def wait(self, timeout: float | None = None) -> dict[str, str]:
        """Wait for all members under one deadline; return vendor → why it could not be waited for."""
        check_seconds("timeout", timeout)
        keys = [job.key for job in self.jobs]
        return wait_lanes(self._core.ledger, self._core.poller, keys, timeout=timeout)

    def results(self, timeout: float | None = None) -> GroupResult:
        """Wait for all members under one deadline and return what there is; see `GroupResult`.

        Never raises for a member, a vendor or the deadline: failures are in `.failed()`, the unfinished in
        `.pending()`, vendors that could not be asked in `.unreachable`. Calls the callback when it is due; if it
        raises, the message is in `.callback_error`.
        """
        found = self.stored(self.wait(timeout))
        try:
            self._call_back(found)
        except CallbackFailed as problem:
            log.error("%s", problem)
            found.callback_error = self.record.callback_error
        return found

    def stored(self, unreachable: Mapping[str, str] | None = None) -> GroupResult:
        """What the ledger holds now, without waiting and without calling back."""
        record, jobs = self.record, self.jobs
        return GroupResult(
            group_id=record.id,
            name=record.name,
            state=record.state,
            jobs=tuple(jobs),
            finished={job.key: self._read(job) for job in jobs if job.is_terminal},
            unreachable=unreachable or {},
            callback_error=record.callback_error,
        )

    def _read(self, job: Job) -> MemberResult:
        try:
            if self._is_part(job):
                return MemberResult(job, Result(job, reads.items(self._core.ledger, job.key)), None)
            return MemberResult(job, stored(self._core.ledger, [job]), None)
        except JobFailed as error:
            items = reads.items(self._core.ledger, job.key)
            return MemberResult(job, Result(job, items) if items else None, error)

    def _is_part(self, job: Job) -> bool:
        """True for one of several jobs whose counts make one expectation value together; here it has counts only."""
        plan = reads.estimate_plan(self._core.ledger, job.key)
        return plan is not None and len(read_plan(plan)) != job.n_programs and job.error_kind is None

    # -- the callback

    def on_all_complete(self, function: Callback | str, *, timeout: float | None = None) -> None:
        """Call `function(GroupResult)` exactly once, when the group is closed and all its jobs are over.

        `function` is a callable or `"module:function"`. Leaving the block then waits for the jobs, at most `timeout`
        seconds. If this process is gone by then, the reconciler calls any function that can be imported. In a flow the
        call is a task run. Its error is raised at the end of the block, and kept in `details()`. It is not called after
        an exception in the block or a cancel. A replay of the run does not repeat a call that was made.
        """
        id_ = self._opened()
        if not isinstance(function, str) and not callable(function):
            raise ProgramRejected(
                f"give a function or 'module:function' to call with the result, not {shown(function)}"
            )
        if isinstance(function, str):
            path, importable, call = function, True, resolve(function)
        else:
            (path, importable), call = path_of(function), function
        with self._lock:
            self._callback, self._callback_timeout = call, timeout
        if not ledger_callbacks.register(self._core.ledger, id_, path, importable=importable):
            log.info("the callback of group %r was already called or is running; see details()", self._name)

    def _call_back_at_exit(self) -> None:
        record = self.record
        if self._callback is None or record.callback_state is not CallbackState.PENDING:
            return
        found = self.stored(self.wait(self._callback_timeout))
        if not found.is_complete:
            log.warning(
                "group %r has %s, so its callback waits for %s",
                self._name,
                plural(len(found.pending()), "unfinished job"),
                "results() or the reconciler" if record.callback_importable else "results()",
            )
        self._call_back(found)

    def _call_back(self, found: GroupResult) -> None:
        record = self.record
        if record.callback_state is not CallbackState.PENDING or record.callback is None:
            return
        call = self._callback
        if call is None:
            if not record.callback_importable:
                return
            call = resolve(record.callback)
        self.call_back(self._verbs.as_step(call, self._name), found)

    def call_back(self, call: Callback, result: GroupResult) -> bool:
        """Run the callback if all is over and it has not run. Returns False if it is not due, or another process has
        it.

        Raises CallbackFailed if it raised; the message is in the ledger by then.
        """
        if not result.is_complete or not ledger_callbacks.claim(self._core.ledger, self._opened()):
            return False
        try:
            call(result)
        except BaseException as error:  # other people's code; an interrupt ends it as well
            text = f"{type(error).__name__}: {error}"
            ledger_callbacks.ended(self._core.ledger, self._opened(), text)
            log.error("the callback of group %s failed: %s", self._opened()[:12], text)
            if not isinstance(error, Exception):
                raise
            raise CallbackFailed(
                f"the callback of group {self._opened()[:12]} failed: {text}; jobs and counts "
                f"are not affected. Once the cause is fixed, run: qflows groups callback {self._opened()[:12]} --again",
                group_id=self._opened(),
            ) from error
        ledger_callbacks.ended(self._core.ledger, self._opened(), None)
        return True


def _revive(make: Callable[[], Any], id_: str, kept: Mapping[str, Any]) -> Group:
    """The handle in another process, with the client that the process creates for itself."""
    core = make()
    return Group(core.parts, core.verbs, record=ledger_groups.find(core.ledger, id_), **kept)
