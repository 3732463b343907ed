"""Sessions: the device is held while ordered jobs run, and released when the work ends, however it ends.

Like a job, a session belongs to a run: a replay finds the session of the previous attempt and continues in it while the
vendor keeps it open. Its owner renews a lease in the ledger; the reconciler closes sessions whose owner died.

No vendor lets a session carry a mark of ours, so one is never adopted, closed or cancelled unless the vendor answered
our own opening with its id. An opening whose answer was lost waits for a person to look at the vendor's console; a
session that was opened and never used costs nothing and ends by its own limit.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Literal, TypeGuard, Unpack

from qflows import display
from qflows.core.arguments import shown
from qflows.core.submit import fits
from qflows.core.verbs import RunWishes, Verbs, Wishes
from qflows.errors import (
    IllegalTransition,
    InDoubt,
    KeyReused,
    LedgerError,
    NotSent,
    ProgramRejected,
    QflowsError,
    Refused,
    Unreadable,
)
from qflows.ledger import budgets, settlements
from qflows.ledger import sessions as ledger_sessions
from qflows.ledger.budgets import Buyer
from qflows.ledger.choices import Turn
from qflows.ledger.store import Ledger, utc_now
from qflows.model import Cost, Job, Result, SessionRecord
from qflows.protocol import Provider, SessionInfo, SessionProvider
from qflows.states import SessionState

log = logging.getLogger("qflows.sessions")

LEASE_S = 90.0
OnException = Literal["close", "cancel", "keep"]
_SLACK = timedelta(hours=26)  # no clock is off by more than a day
_LONGEST_SESSION_S = 86_400.0
_LONGEST_NAME = 255
_OPENING_ELSEWHERE_S = 0.2


def has_sessions(provider: Provider, mode: str) -> TypeGuard[SessionProvider]:
    """True if the vendor offers sessions of this mode."""
    return mode in provider.capabilities.sessions


class Session:
    """A device held for ordered jobs; made by `qflows.session`, found again by `qflows.attach(id)`.

    A thread renews its lease until the session is left. Leaving the block closes the session, so that queued jobs still
    run; on an exception it follows the policy the caller picked. If the vendor has no sessions, `id` is None and jobs
    simply run one after the other.
    """

    def __init__(
        self,
        ledger: Ledger,
        provider: Provider,
        record: SessionRecord | None,
        *,
        device: str,
        verbs: Verbs | None = None,
        run_key: str | None = None,
        on_exception: OnException = "close",
        lease_s: float = LEASE_S,
    ) -> None:
        self.ledger = ledger
        self.provider = provider
        self.record = record
        self.device = device
        self.lease_s = lease_s
        self._verbs = verbs
        self._run_key = run_key
        self._on_exception = on_exception
        self._stop = threading.Event()
        self._heart: threading.Thread | None = None
        if record is not None and record.state is SessionState.OPEN:
            self._heart = threading.Thread(target=self._beat, name="qflows-session", daemon=True)
            self._heart.start()

    @property
    def id(self) -> str | None:
        """The vendor's id, which each job of the session carries; None without sessions."""
        return self.record.vendor_id if self.record else None

    @property
    def key(self) -> str | None:
        """The ledger's key; None without sessions."""
        return self.record.key if self.record else None

    @property
    def name(self) -> str:
        """The name given."""
        return self.record.name if self.record else ""

    def __repr__(self) -> str:
        state = self.record.state.value.lower() if self.record else "the vendor has no sessions"
        return f"<Session {self.id or '-'} on {self.device}, {state}>"

    def _repr_html_(self) -> str:
        rows = {"session": self.id or "", "device": self.device, "name": self.name}
        if self.record:
            rows |= {"mode": self.record.mode, "state": self.record.state.value, "run key": self.record.run_key}
        return display.pairs(rows)

    def _beat(self) -> None:
        assert self.record is not None
        while not self._stop.wait(self.lease_s / 3) and not self.ledger.is_closed:
            try:
                if not ledger_sessions.hold(self.ledger, self.record.key, lease_s=self.lease_s):
                    return
            except Exception:  # thread boundary: the next beat may find the ledger again
                log.warning("session %s: the lease could not be renewed", self.record.key[:12], exc_info=True)

    # -- work

    def submit(self, program: Any, **wishes: Unpack[Wishes]) -> Job:
        """`qflows.submit` in this session, on its device."""
        return self._bound().submit(program, **self._given("submit", wishes))

    def run(self, program: Any, **wishes: Unpack[RunWishes]) -> Result:
        """`qflows.run` in this session, on its device."""
        return self._bound().run(program, **self._given("run", wishes))

    def _bound(self) -> Verbs:
        if self._verbs is None:
            raise QflowsError("this session was opened by a client; submit through the client that opened it")
        return self._verbs

    def _given(self, verb: str, wishes: Any) -> Any:
        """Arguments of a purchase in this session. Raises ProgramRejected for another device or session."""
        if fixed := {"device", "session"} & wishes.keys():
            name = min(fixed)
            raise ProgramRejected(
                f"session.{verb}: {name}={shown(wishes[name])} cannot be chosen here, everything in this session runs "
                f"on {self.device}; leave out {name}="
            )
        return {"device": self.device, "session": self, "run_key": self._run_key, **wishes}

    # -- state and end

    def details(self) -> SessionInfo | None:
        """State, accepting jobs, limits, times and usage as the vendor reports now; None without sessions."""
        if self.record is None or self.record.vendor_id is None or not has_sessions(self.provider, self.record.mode):
            return None
        return self.provider.session(self.record.vendor_id)

    def is_open(self) -> bool:
        """True while the vendor takes jobs for it, or if the vendor has no sessions at all."""
        info = self.details()
        return info is None or info.is_open

    def release(self) -> None:
        """Stop the heartbeat and leave the session as it is; the reconciler closes it when the lease expires."""
        self._stop.set()
        if self._heart is not None and self._heart is not threading.current_thread():
            self._heart.join(timeout=5)

    def close(self) -> None:
        """Take no more jobs; queued ones still run. Harmless if it is already closed."""
        self._end("close", "closed by its owner")

    def cancel(self) -> None:
        """Take no more jobs, and do not run queued ones."""
        self._end("cancel", "cancelled by its owner")

    def _end(self, verb: str, reason: str) -> None:
        self.release()
        if self.record is not None:
            end(self.ledger, self.provider, self.record, verb=verb, reason=reason)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        pauses = self._verbs is not None and self._verbs.is_pause(error)
        if error is None or self._on_exception == "close" or pauses:  # the run left to wait: queued jobs run
            self.close()
        elif self._on_exception == "cancel":
            self.cancel()
        else:  # keep: the next attempt of the run continues in it, or the reconciler closes it
            self.release()


def end(ledger: Ledger, provider: Provider, record: SessionRecord, *, verb: str, reason: str) -> None:
    """Close or cancel at the vendor, then in the ledger. Raises ProviderError if the vendor was not reached."""
    if record.vendor_id is not None and has_sessions(provider, record.mode):
        (provider.cancel_session if verb == "cancel" else provider.close_session)(record.vendor_id)
    ledger_sessions.closed(ledger, record, reason)
    if record.key in settlements.sessions_to_settle(ledger):
        _settle(ledger, provider, record)


def settle_closed(ledger: Ledger, connect: Callable[[SessionRecord], Provider]) -> int:
    """Count the cost of closed sessions that no longer have a job at work; return how many there were."""
    keys = settlements.sessions_to_settle(ledger)
    for key in keys:
        record = ledger_sessions.get(ledger, key)
        try:
            if record is not None:
                _settle(ledger, connect(record), record)
        except LedgerError:
            raise
        except Exception as error:
            log.warning("the cost of session %s is not known yet: %s", key[:12], error, exc_info=_is_strange(error))
    return len(keys)


def _settle(ledger: Ledger, provider: Provider, record: SessionRecord) -> None:
    """The vendor's count of the session's time; its reservation if the vendor does not say."""
    bill = None
    if record.vendor_id is not None and has_sessions(provider, record.mode):
        used_s = provider.session(record.vendor_id).usage_s
        bill = Cost(used_s, "qpu_s", True) if used_s is not None else None
    ledger_sessions.settle(ledger, record.key, bill=bill)


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
    verbs: Verbs | None = None,
    on_exception: OnException = "close",
    buyer: Buyer | None = None,
    choice: Turn | None = None,
) -> Session:
    """The run's session: that of an earlier attempt while it is alive, otherwise a new one.

    If the vendor has none of this mode, logs that and returns a handle without a session. Raises Refused if the vendor
    says no, NotSent if it could not be reached; call again to continue. Raises InDoubt if the answer was lost: only a
    person can tell whether the vendor opened it.
    """
    if len(name) > _LONGEST_NAME:
        raise ProgramRejected(f"a session's name has at most {_LONGEST_NAME} characters")
    bound: Any = {"verbs": verbs, "run_key": run_key, "on_exception": on_exception}
    if not has_sessions(provider, mode):
        log.info("%s has no %s sessions; the jobs run one after another without a session", provider.name, mode)
        if options:
            raise ProgramRejected(f"{provider.name} has no {mode} sessions, so options {sorted(options)} do not apply")
        return Session(ledger, provider, None, device=device, lease_s=lease_s, **bound)
    is_priced = bool(budgets.listing(ledger))
    wanted = {"mode": mode, "max_time_s": max_time_s, "options": options or {}}
    quote = provider.session_quote(device_id, **wanted) if is_priced else None
    while True:
        record = ledger_sessions.prepare(
            ledger,
            run_key,
            name=name,
            provider=provider.name,
            account=provider.account,
            device=device,
            device_id=device_id,
            **wanted,
            buyer=buyer,
            quote=quote,
            is_priced=is_priced,
            choice=choice,
        )
        ready = _advance(ledger, provider, record, lease_s)
        if ready is not None:
            ledger_sessions.hold(ledger, ready.key, lease_s=lease_s)
            return Session(ledger, provider, ready, device=device, lease_s=lease_s, **bound)


def _advance(ledger: Ledger, provider: SessionProvider, record: SessionRecord, lease_s: float) -> SessionRecord | None:
    """Bring a record to OPEN at the vendor; None if it is over and a new one is due."""
    if record.state is SessionState.OPEN:
        assert record.vendor_id is not None
        if provider.session(record.vendor_id).is_open:
            log.info("continuing in session %s", record.vendor_id)
            return record
        end(ledger, provider, record, verb="close", reason="the vendor ended it")
        return None
    if record.state is SessionState.OPENING and ledger_sessions.is_held(ledger, record.key):
        time.sleep(_OPENING_ELSEWHERE_S)  # another process of this run is opening it right now
        return None
    if record.state in (SessionState.OPENING, SessionState.IN_DOUBT):
        if record.state is SessionState.OPENING:
            ledger_sessions.doubted(ledger, record)
        raise _asks_person(provider, record)
    claimed = ledger_sessions.claim(ledger, record, lease_s=lease_s)
    if claimed is None:
        return None  # another process was faster; read again
    return _send(ledger, provider, claimed)


def _send(ledger: Ledger, provider: SessionProvider, claimed: SessionRecord) -> SessionRecord:
    try:
        vendor_id = provider.open_session(
            claimed.device_id, mode=claimed.mode, max_time_s=claimed.max_time_s, options=claimed.options
        )
        if not fits(vendor_id):
            raise Unreadable(f"{provider.name} answered without a usable session id: {vendor_id!a:.80}")
    except Refused:
        ledger_sessions.closed(ledger, claimed, "refused by the vendor")
        raise
    except NotSent:
        ledger_sessions.not_sent(ledger, claimed)
        raise
    except BaseException as error:
        # including an interrupt: the vendor may have opened it
        ledger_sessions.doubted(ledger, claimed)
        if not isinstance(error, Exception):
            raise
        log.warning("session %s is in doubt: %s", claimed.key[:12], error)
        raise _asks_person(provider, claimed) from error
    try:
        return ledger_sessions.opened(ledger, claimed, vendor_id)
    except KeyReused as error:
        ledger_sessions.doubted(ledger, claimed)
        raise _asks_person(provider, claimed) from error


def _asks_person(provider: SessionProvider, record: SessionRecord) -> InDoubt:
    """The error for a waiter; it names candidates, because only a person can tell ours from other people's."""
    try:
        since = (record.claimed_at or record.created_at) - _SLACK
        found = [info for info in provider.recent_sessions(record.device_id, since=since) if info.is_open]
        seen = (
            f"; open there now: {', '.join(info.session_id for info in found[:5])}" if found else "; none is open now"
        )
    except Exception as error:  # the list only helps a person
        log.info("the sessions of %s could not be listed: %s", provider.name, error)
        seen = ""
    return InDoubt(
        f"{provider.name} never answered the opening of a session on {record.device}, so it "
        f"may or may not hold one for this run{seen}. Sessions cannot be recognized by qflows, "
        "so check the vendor's console, then run "
        f"`qflows sessions resolve {record.key[:12]} --opened ID` or `--absent`. An unused "
        "session ends at its own time limit",
        key=record.key,
        provider=provider.name,
    )


def resolve(ledger: Ledger, provider: Provider, record: SessionRecord, *, vendor_id: str | None) -> None:
    """End the doubt about an opening on a person's decision: the vendor's id, or None if it is not there.

    `provider` is of the session's own account: in another account's console a person cannot see it. Raises
    IllegalTransition unless it is in doubt, ProgramRejected for an id that the vendor does not know or that belongs to
    the session of another record.
    """
    if record.state not in (SessionState.OPENING, SessionState.IN_DOUBT):
        raise IllegalTransition(f"session {record.key[:12]} is {record.state.value}; there is nothing to resolve")
    if vendor_id is None:
        ledger_sessions.not_sent(ledger, record)
        return
    other = ledger_sessions.get(ledger, vendor_id)
    if other is not None and other.key != record.key:
        raise ProgramRejected(
            f"{vendor_id[:80]!r} is session {other.key[:12]} of run {other.run_key[:80]!r}; nothing was changed"
        )
    if has_sessions(provider, record.mode):
        try:
            provider.session(vendor_id)
        except Refused as error:
            raise ProgramRejected(
                f"{provider.name} does not show a session {vendor_id[:80]!r} to this account ({error}); nothing was "
                "changed"
            ) from error
    ledger_sessions.opened(ledger, record, vendor_id)


def reap(ledger: Ledger, connect: Callable[[SessionRecord], Provider]) -> list[SessionRecord]:
    """Close every session whose owner died or let its lease expire; return those that were closed.

    A session whose opening was never answered is not looked up at the vendor: its record is closed once its own limit
    has passed. A failure with one session does not keep the others open.
    """
    reaped = []
    for record in ledger_sessions.abandoned(ledger):
        try:
            if record.vendor_id is None:
                if _is_past_its_limit(record):
                    ledger_sessions.closed(
                        ledger, record, "the vendor never answered its opening, and its time limit has passed"
                    )
                    reaped.append(record)
                continue
            provider = connect(record)
            if not has_sessions(provider, record.mode):
                continue
            end(ledger, provider, record, verb="close", reason="its owner died")
        except LedgerError:
            raise
        except Exception as error:
            log.warning("session %s could not be closed: %s", record.key[:12], error, exc_info=_is_strange(error))
            continue
        log.info("closed session %s, whose owner died", record.vendor_id or record.key[:12])
        reaped.append(record)
    return reaped


def _is_strange(error: Exception) -> bool:
    return not isinstance(error, QflowsError)


def _is_past_its_limit(record: SessionRecord) -> bool:
    opened = record.claimed_at or record.created_at
    return utc_now() - opened > timedelta(seconds=record.max_time_s or _LONGEST_SESSION_S) + _SLACK
