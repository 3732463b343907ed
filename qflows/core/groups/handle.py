"""Groups: a named set of jobs on any devices of any vendors, with one deadline, one cancel and one end.

A group has no meaning for execution. Who is a member is in the ledger, written with the intent to buy, so a group
outlives its process and any process can go on with it from its id.

The ambient form (`with`) marks a context. Contexts are copied into threads by Prefect's runners and by asyncio; a
plain thread starts without one and then joins the group that is open in this process under its run key. Another
process gets the handle.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from qflows.core.groups.callbacks import Callback, callback_of
from qflows.core.groups.results import GroupResult, MemberResult, row_of, sums
from qflows.core.native_groups import end_native
from qflows.core.poller import Poller, wait_lanes
from qflows.errors import (
    CallbackFailed,
    JobFailed,
    ProgramRejected,
    WaitTimeout,
)
from qflows.ledger import callbacks as ledger_callbacks
from qflows.ledger import groups as ledger_groups
from qflows.ledger import outcomes, reads
from qflows.ledger.groups import ASKED, GroupRecord
from qflows.ledger.intents import Want, lease_ordinal
from qflows.ledger.store import Ledger
from qflows.model import Job, Result
from qflows.programs.estimation import read_plan
from qflows.protocol import Provider
from qflows.states import GroupState

log = logging.getLogger("qflows.groups")

_MAX_NAME = 255
MAX_TTL_S = 86_400.0  # as qBraid's, so that a native group can live as long
DEFAULT_TTL_S = 3_600.0


def new_group(
    ledger: Ledger,
    want: Want,
    name: str,
    *,
    max_ttl_s: float,
    tags: Mapping[str, str],
    metadata: Mapping[str, Any],
    caller: str | None,
) -> str:
    """Opens the group of this call and returns its id: on a replay the same again, for another equal call another.

    `caller` is who opened it as its ambient group. Raises ProgramRejected before anything is recorded.
    """
    if isinstance(max_ttl_s, bool) or not 1 <= max_ttl_s <= MAX_TTL_S:
        raise ProgramRejected(f"a group lives 1 to {MAX_TTL_S:.0f} seconds, not {max_ttl_s!r}; pass max_ttl=")
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


@dataclass
class GroupHandle:
    """A group by its id. `stored` reads a finished job's result, `connect` speaks to the vendor that mirrors it."""

    ledger: Ledger
    poller: Callable[[], Poller]
    stored: Callable[[Job], Result]
    connect: Callable[[GroupRecord], Provider]
    id: str
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def record(self) -> GroupRecord:
        """The group as it is now: time to live and completion are applied by looking."""
        return ledger_groups.get(self.ledger, self.id)

    @property
    def jobs(self) -> list[Job]:
        """Handles of all members, in the order they were enrolled; a fresh list each time."""
        return ledger_groups.members(self.ledger, self.id)

    def status(self) -> GroupState:
        """The state, from the ledger; waiting and sweeping are what bring it news from the vendors."""
        return self.record.state

    def details(self) -> dict[str, Any]:
        """Everything there is to know, as plain data."""
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

    def results(self, timeout: float | None = None) -> GroupResult:
        """Waits for all members, one deadline for all, and gives what there is; never raises for a member.

        `timeout` in seconds; 0 only looks, None waits for as long as it takes.
        """
        troubles = wait_lanes(self.ledger, self.poller, [job.key for job in self.jobs], timeout=timeout)
        record, jobs = self.record, self.jobs
        return GroupResult(
            group_id=record.id,
            name=record.name,
            state=record.state,
            jobs=tuple(jobs),
            finished={job.key: self._read(job) for job in jobs if job.is_terminal},
            unreachable=troubles,
            callback_error=record.callback_error,
        )

    def _read(self, job: Job) -> MemberResult:
        try:
            if self._is_part(job):
                return MemberResult(job, Result(job, reads.items(self.ledger, job.key)), None)
            return MemberResult(job, self.stored(job), None)
        except JobFailed as error:
            items = reads.items(self.ledger, job.key)
            return MemberResult(job, Result(job, items) if items else None, error)

    def _is_part(self, job: Job) -> bool:
        """One of several jobs whose counts make one expectation value together: here it has counts only."""
        plan = reads.estimate_plan(self.ledger, job.key)
        return plan is not None and len(read_plan(plan)) != job.n_programs and job.error_kind is None

    def close(self, reason: str = ASKED) -> bool:
        """No more jobs; those that are members run on. False when it was over already, which is no error."""
        with self._lock:
            ledger_groups.refresh(self.ledger, self.id)  # what time closed was closed by time
            done = ledger_groups.close(self.ledger, self.id, reason)
            if done:
                self._end_native("close")
            ledger_groups.refresh(self.ledger, self.id)
            return done

    def cancel(self, *, timeout: float = 60.0, reason: str = ASKED) -> dict[str, Job]:
        """No more jobs, and every live member is cancelled and verified. Returns all members as they ended.

        A member that finished first stays COMPLETED. Harmless when the group is over. Raises WaitTimeout naming
        members that a vendor has not confirmed in time; the wish stands, and the next poll repeats it.
        """
        with self._lock:
            if ledger_groups.cancel(self.ledger, self.id, reason):
                self._end_native("cancel")
        live = [job.key for job in self.jobs if not job.is_terminal]
        outcomes.request_cancel(self.ledger, live)
        troubles = wait_lanes(self.ledger, self.poller, live, timeout=timeout)
        after = {job.key: job for job in self.jobs}
        pending = [key for key in live if not after[key].is_terminal]
        if pending:
            why = "; ".join(f"{vendor}: {reason}" for vendor, reason in troubles.items())
            raise WaitTimeout(
                f"{len(pending)} of {len(live)} job(s) of group {self.id[:12]} are not confirmed as cancelled after "
                f"{timeout:g} s{' (' + why + ')' if why else ''}; the wish stands and `qflows sweep` repeats it",
                pending=tuple(pending),
            )
        return after

    def _end_native(self, verb: str) -> None:
        record = ledger_groups.find(self.ledger, self.id)
        if record.native_id is not None:
            end_native(self.connect(record), record, verb)

    # -- the callback

    def call_back(self, call: Callback, result: GroupResult) -> bool:
        """Runs the callback if nobody did and all is over. False if it is not due, or somebody else's.

        Raises CallbackFailed when it raised; the text is in the ledger by then.
        """
        if not result.is_complete or not ledger_callbacks.claim(self.ledger, self.id):
            return False
        try:
            call(result)
        except BaseException as error:  # the edge to other people's code; an interrupt ends it as well
            text = f"{type(error).__name__}: {error}"
            ledger_callbacks.ended(self.ledger, self.id, text)
            log.error("the callback of group %s failed: %s", self.id[:12], text)
            if not isinstance(error, Exception):
                raise
            raise CallbackFailed(
                f"the callback of group {self.id[:12]} failed: {text}; jobs and counts are unharmed. After a look: "
                f"qflows group callback {self.id[:12]} --again",
                group_id=self.id,
            ) from error
        ledger_callbacks.ended(self.ledger, self.id, None)
        return True
