"""Sessions: the device is held while ordered jobs run, and let go when the work ends, however it ends.

A session belongs to a run like a job does: a replay finds the one of the attempt before and goes on in it while the
vendor keeps it open. Its owner renews a lease in the ledger; the sweeper closes sessions whose owner died. An opening
whose answer was lost is found by its device, mode, moment and odd time limit, because sessions bear no tags.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeGuard

from qflows.errors import NotSent, ProgramRejected, ProviderError, Refused, StaleClaim
from qflows.ledger import sessions as ledger_sessions
from qflows.ledger.store import Ledger, utc_now
from qflows.model import SessionRecord
from qflows.protocol import Provider, SessionInfo, SessionProvider
from qflows.states import SessionState

log = logging.getLogger("qflows.sessions")

LEASE_S = 90.0
_SLACK = timedelta(minutes=2)
_OPENING_ELSEWHERE_S = 0.2


def has_sessions(provider: Provider, mode: str) -> TypeGuard[SessionProvider]:
    """True when the vendor offers sessions of this mode."""
    return mode in provider.capabilities.sessions


@dataclass
class SessionHold:
    """A session in use: renews its lease from a thread of its own until released.

    Without `record` the vendor has no sessions: jobs simply run one after the other, and `vendor_id` is None.
    """

    ledger: Ledger
    provider: Provider
    record: SessionRecord | None
    lease_s: float = LEASE_S
    _stop: threading.Event = field(default_factory=threading.Event, repr=False)
    _heart: threading.Thread | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.record is not None:
            self._heart = threading.Thread(target=self._beat, name="qflows-session", daemon=True)
            self._heart.start()

    @property
    def vendor_id(self) -> str | None:
        """The vendor's id, to be put into each job."""
        return self.record.vendor_id if self.record else None

    def _beat(self) -> None:
        assert self.record is not None
        while not self._stop.wait(self.lease_s / 3):
            try:
                if not ledger_sessions.hold(self.ledger, self.record.key, lease_s=self.lease_s):
                    return
            except Exception:  # a thread's edge: the next beat may find the ledger again
                log.warning("session %s: the lease could not be renewed", self.record.key[:12], exc_info=True)

    def info(self) -> SessionInfo | None:
        """The session as the vendor sees it now; None where there are none."""
        if self.record is None or self.record.vendor_id is None or not has_sessions(self.provider, self.record.mode):
            return None
        return self.provider.session(self.record.vendor_id)

    def is_open(self) -> bool:
        """True while the vendor takes jobs for it, or when the vendor has no sessions at all."""
        info = self.info()
        return info is None or info.is_open

    def release(self) -> None:
        """Stops the heartbeat and leaves the session as it is; the sweeper closes it when the lease runs out."""
        self._stop.set()
        if self._heart is not None and self._heart is not threading.current_thread():
            self._heart.join(timeout=5)

    def close(self) -> None:
        """No more jobs; queued ones still run. Harmless when it is closed already."""
        self._end("close", "closed by its owner")

    def cancel(self) -> None:
        """No more jobs, and queued ones do not run."""
        self._end("cancel", "cancelled by its owner")

    def _end(self, verb: str, reason: str) -> None:
        self.release()
        if self.record is not None:
            end(self.ledger, self.provider, self.record, verb=verb, reason=reason)


def end(ledger: Ledger, provider: Provider, record: SessionRecord, *, verb: str, reason: str) -> None:
    """Closes or cancels at the vendor, then in the ledger. Raises ProviderError when the vendor was not reached."""
    if record.vendor_id is not None and has_sessions(provider, record.mode):
        (provider.cancel_session if verb == "cancel" else provider.close_session)(record.vendor_id)
    ledger_sessions.closed(ledger, record, reason)


def open_session(
    ledger: Ledger,
    provider: Provider,
    run_key: str,
    *,
    device: str,
    device_id: str,
    mode: str = "dedicated",
    max_time_s: float | None = None,
    options: Mapping[str, Any] | None = None,
    name: str = "",
    lease_s: float = LEASE_S,
    settle_s: float | None = None,
) -> SessionHold:
    """The run's session: the one of an earlier attempt while it is alive, else a new one.

    `settle_s`: how long a list of sessions may lag before absence counts; the vendor's own unless given.
    Where the vendor has none of this mode, says so in the log and returns a hold without a session. Raises Refused
    when the vendor says no, NotSent or Ambiguous when it could not be settled now; calling again goes on.
    """
    if not has_sessions(provider, mode):
        log.info("%s has no %s sessions; the jobs run one after the other without one", provider.name, mode)
        if options:
            raise ProgramRejected(f"{provider.name} has no {mode} sessions, so options {sorted(options)} mean nothing")
        return SessionHold(ledger, provider, None, lease_s)
    while True:
        record = ledger_sessions.prepare(
            ledger,
            run_key,
            name=name,
            provider=provider.name,
            account=provider.account,
            device=device,
            device_id=device_id,
            mode=mode,
            max_time_s=max_time_s,
            options=options or {},
        )
        wait_s = provider.capabilities.settle_s if settle_s is None else settle_s
        ready = _advance(ledger, provider, record, lease_s, wait_s)
        if ready is not None:
            ledger_sessions.hold(ledger, ready.key, lease_s=lease_s)
            return SessionHold(ledger, provider, ready, lease_s)


def _advance(
    ledger: Ledger, provider: SessionProvider, record: SessionRecord, lease_s: float, settle_s: float
) -> SessionRecord | None:
    """Brings a record to OPEN at the vendor; None when it is over and a new one is due."""
    if record.state is SessionState.OPEN:
        assert record.vendor_id is not None
        if provider.session(record.vendor_id).is_open:
            log.info("going on in session %s", record.vendor_id)
            return record
        end(ledger, provider, record, verb="close", reason="the vendor had ended it")
        return None
    if record.state is SessionState.OPENING and ledger_sessions.is_held(ledger, record.key):
        time.sleep(_OPENING_ELSEWHERE_S)  # another process of this run opens it right now
        return None
    if record.state in (SessionState.OPENING, SessionState.IN_DOUBT):
        return _settle(ledger, provider, record, settle_s)
    claimed = ledger_sessions.claim(ledger, record, lease_s=lease_s)
    if claimed is None:
        return None  # another process was faster; look again
    return _send(ledger, provider, claimed, settle_s)


def _send(ledger: Ledger, provider: SessionProvider, claimed: SessionRecord, settle_s: float) -> SessionRecord | None:
    try:
        vendor_id = provider.open_session(
            claimed.device_id, mode=claimed.mode, max_time_s=claimed.max_time_s, options=claimed.options
        )
    except Refused:
        ledger_sessions.closed(ledger, claimed, "refused by the vendor")
        raise
    except ProviderError as error:
        if isinstance(error, NotSent):
            ledger_sessions.not_sent(ledger, claimed)
            raise
        ledger_sessions.doubted(ledger, claimed)
        log.warning("session %s is in doubt: %s", claimed.key[:12], error)
        return _settle(ledger, provider, claimed, settle_s)
    record = ledger_sessions.opened(ledger, claimed, vendor_id)
    _close_extras(ledger, provider, record)
    return record


def _settle(ledger: Ledger, provider: SessionProvider, record: SessionRecord, settle_s: float) -> SessionRecord | None:
    """Finds a session whose opening was never answered, by its mark; without one it is free to be opened.

    Absence takes two looks that are `settle_s` apart: lists may lag.
    """
    twins = _twins(ledger, provider, record)
    if not twins:
        time.sleep(settle_s)
        twins = _twins(ledger, provider, record)
    try:
        if not twins:
            ledger_sessions.not_sent(ledger, record)
            return None
        adopted = ledger_sessions.opened(ledger, record, twins[0].session_id)
    except StaleClaim:
        return None
    log.info("session %s was found at %s as %s", record.key[:12], provider.name, adopted.vendor_id)
    _close_extras(ledger, provider, adopted)
    return adopted


def _twins(ledger: Ledger, provider: SessionProvider, record: SessionRecord) -> list[SessionInfo]:
    """Open sessions at the vendor that bear this record's mark and that no record has, oldest first."""
    since: datetime = (record.claimed_at or record.created_at) - _SLACK
    known = ledger_sessions.known_vendor_ids(ledger, record.provider)
    candidates = [
        info
        for info in provider.recent_sessions(record.device_id, since=since)
        if info.is_open
        and info.session_id not in known
        and info.mode == record.mode
        and (info.created_at is None or info.created_at >= since)
    ]
    # a list may leave the time limit out; the session itself has it
    full = [provider.session(one.session_id) if one.max_time_s is None else one for one in candidates]
    found = [info for info in full if info.is_open and _bears_mark(info, record)]
    return sorted(found, key=lambda info: (info.created_at or since, info.session_id))


def _bears_mark(info: SessionInfo, record: SessionRecord) -> bool:
    """The same time limit; vendors that count in minutes keep only whole ones."""
    if info.max_time_s is None or record.max_time_s is None:
        return info.max_time_s == record.max_time_s
    in_minutes = info.max_time_s % 60 == 0
    return info.max_time_s == record.max_time_s or (in_minutes and 0 <= record.max_time_s - info.max_time_s < 60)


def _close_extras(ledger: Ledger, provider: SessionProvider, record: SessionRecord) -> None:
    """Closes sessions that a vendor's client opened behind an apparent success."""
    if record.max_time_s is None:
        return  # no mark to tell ours from other people's
    for info in _twins(ledger, provider, record):
        provider.cancel_session(info.session_id)
        log.warning("extra session %s of %s was closed", info.session_id, record.key[:12])
        with ledger.write() as connection:
            ledger.record_event(connection, "extra-session", record.key, vendor_id=info.session_id)


def reap(
    ledger: Ledger, connect: Callable[[SessionRecord], Provider], *, settle_s: float | None = None
) -> list[SessionRecord]:
    """Closes every session whose owner died or let its lease run out; returns those that were closed.

    One whose opening was never answered is looked for in the vendor's list; while that may lag, it is left to a later
    sweep. `settle_s` as for `open_session`.
    """
    reaped = []
    for record in ledger_sessions.abandoned(ledger):
        provider = connect(record)
        if not has_sessions(provider, record.mode):
            continue
        wait_s = provider.capabilities.settle_s if settle_s is None else settle_s
        try:
            if record.vendor_id is None:
                twins = _twins(ledger, provider, record)
                for info in twins:
                    provider.close_session(info.session_id)
                if not twins and _age_s(record) < wait_s:
                    continue
            end(ledger, provider, record, verb="close", reason="its owner died")
        except ProviderError as error:
            log.warning("session %s could not be closed: %s", record.key[:12], error)
            continue
        log.info("closed session %s, whose owner died", record.vendor_id or record.key[:12])
        reaped.append(record)
    return reaped


def _age_s(record: SessionRecord) -> float:
    """Seconds since the opening was sent, by this machine's clock."""
    return (utc_now() - (record.claimed_at or record.created_at)).total_seconds()
