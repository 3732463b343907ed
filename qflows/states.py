"""The life cycle of a job as one table; every UPDATE in the ledger repeats it in its WHERE clause."""

from __future__ import annotations

from enum import StrEnum


class JobStatus(StrEnum):
    """Facts about a job. Requests, such as a cancellation, are columns, not statuses."""

    PREPARED = "PREPARED"  # the intent is durable; nothing was sent
    SUBMITTING = "SUBMITTING"  # one process holds a claim and may be on the wire
    IN_DOUBT = "IN_DOUBT"  # the vendor may or may not have it
    QUEUED = "QUEUED"  # the vendor gave it an id
    RUNNING = "RUNNING"  # the vendor works on it, or finished and the counts are not here yet
    COMPLETED = "COMPLETED"  # the counts are in the ledger
    FAILED = "FAILED"  # refused, or failed at the vendor
    CANCELLED = "CANCELLED"  # stopped before any counts


_S = JobStatus
TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    _S.PREPARED: frozenset({_S.SUBMITTING, _S.CANCELLED}),
    _S.SUBMITTING: frozenset({_S.QUEUED, _S.PREPARED, _S.FAILED, _S.IN_DOUBT}),
    _S.IN_DOUBT: frozenset({_S.QUEUED, _S.PREPARED, _S.FAILED, _S.CANCELLED}),
    _S.QUEUED: frozenset({_S.RUNNING, _S.COMPLETED, _S.FAILED, _S.CANCELLED}),
    _S.RUNNING: frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELLED}),
    _S.COMPLETED: frozenset(),
    _S.FAILED: frozenset(),
    _S.CANCELLED: frozenset(),
}
# an end that was only concluded, such as a job that vanished from the vendor's lists, may turn out to be none
REVOCATIONS: dict[JobStatus, frozenset[JobStatus]] = {_S.FAILED: frozenset({_S.QUEUED})}
TERMINAL = frozenset(status for status, after in TRANSITIONS.items() if not after)
AT_VENDOR = frozenset({_S.QUEUED, _S.RUNNING})  # has a vendor id and is worth a poll
LIVE = frozenset(TRANSITIONS) - TERMINAL


def sources(to: JobStatus) -> tuple[JobStatus, ...]:
    """The statuses from which `to` may be entered, in table order."""
    return tuple(status for status, after in TRANSITIONS.items() if to in after)


def revocable(to: JobStatus) -> tuple[JobStatus, ...]:
    """The final statuses from which `to` may be entered if they turn out not to be final."""
    return tuple(status for status, after in REVOCATIONS.items() if to in after)


class SessionState(StrEnum):
    """Facts about a vendor session that a run holds."""

    PREPARED = "PREPARED"  # wanted; nothing was sent
    OPENING = "OPENING"  # one process may be on the wire
    IN_DOUBT = "IN_DOUBT"  # the vendor may have opened it
    OPEN = "OPEN"  # the vendor gave it an id
    CLOSED = "CLOSED"  # no more jobs


_T = SessionState
SESSION_TRANSITIONS: dict[SessionState, frozenset[SessionState]] = {
    _T.PREPARED: frozenset({_T.OPENING, _T.CLOSED}),
    _T.OPENING: frozenset({_T.OPEN, _T.PREPARED, _T.CLOSED, _T.IN_DOUBT}),
    _T.IN_DOUBT: frozenset({_T.OPEN, _T.PREPARED, _T.CLOSED}),
    _T.OPEN: frozenset({_T.CLOSED}),
    _T.CLOSED: frozenset(),
}


def session_sources(to: SessionState) -> tuple[SessionState, ...]:
    """The states from which `to` may be entered."""
    return tuple(state for state, after in SESSION_TRANSITIONS.items() if to in after)


class GroupState(StrEnum):
    """Facts about a named set of jobs."""

    OPEN = "OPEN"  # takes jobs
    CLOSED = "CLOSED"  # takes no more; its jobs run on. An empty group stays so
    COMPLETED = "COMPLETED"  # every job completed
    FAILED = "FAILED"  # every job is over, and at least one has no counts: it failed, or was cancelled by itself
    CANCELLED = "CANCELLED"  # somebody cancelled the group


_G = GroupState
GROUP_TRANSITIONS: dict[GroupState, frozenset[GroupState]] = {
    _G.OPEN: frozenset({_G.CLOSED, _G.CANCELLED}),
    # back to OPEN: a replay of the run enters the group again, and may find work that the first attempt never reached
    _G.CLOSED: frozenset({_G.COMPLETED, _G.FAILED, _G.CANCELLED, _G.OPEN}),
    _G.COMPLETED: frozenset({_G.OPEN}),
    _G.FAILED: frozenset({_G.OPEN}),
    # only when an exception cancelled it: what a person cancelled stays cancelled
    _G.CANCELLED: frozenset({_G.OPEN}),
}


class CallbackState(StrEnum):
    """Facts about the function that is called once when all jobs of a group have ended."""

    PENDING = "PENDING"  # registered
    CLAIMED = "CLAIMED"  # one process runs it, or died while it did: it is never run a second time unasked
    DONE = "DONE"
    FAILED = "FAILED"  # it raised; the text is kept


_C = CallbackState
CALLBACK_TRANSITIONS: dict[CallbackState, frozenset[CallbackState]] = {
    _C.PENDING: frozenset({_C.CLAIMED}),
    _C.CLAIMED: frozenset({_C.DONE, _C.FAILED, _C.PENDING}),  # back to PENDING by a person's word only
    _C.DONE: frozenset(),
    _C.FAILED: frozenset({_C.PENDING}),  # by a person's word only
}


def group_sources(to: GroupState) -> tuple[GroupState, ...]:
    """The states from which `to` may be entered."""
    return tuple(state for state, after in GROUP_TRANSITIONS.items() if to in after)


def callback_sources(to: CallbackState) -> tuple[CallbackState, ...]:
    """The states from which `to` may be entered."""
    return tuple(state for state, after in CALLBACK_TRANSITIONS.items() if to in after)
