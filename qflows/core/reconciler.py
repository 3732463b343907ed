"""The level-triggered housekeeper: each sweep looks at the state of the world and moves it on.

It remembers nothing between sweeps, so killing it at any moment is harmless, and two may run: claims, leases and
guarded statements decide who acts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from qflows.core import sessions
from qflows.core.groups.callbacks import resolve
from qflows.core.groups.handle import GroupHandle
from qflows.core.poller import Poller
from qflows.errors import CredentialsMissing, InDoubt, ProviderError, QflowsError, UnknownDevice
from qflows.ledger import callbacks as ledger_callbacks
from qflows.ledger import groups as ledger_groups
from qflows.ledger import reads
from qflows.ledger.store import Ledger
from qflows.model import Job, SessionRecord
from qflows.protocol import Provider

log = logging.getLogger("qflows.reconciler")


@dataclass
class Swept:
    """What one sweep saw and did."""

    live: int = 0
    finished: int = 0
    in_doubt: int = 0
    sessions_closed: list[str] = field(default_factory=list)
    groups_closed: list[str] = field(default_factory=list)
    called_back: list[str] = field(default_factory=list)
    unreachable: dict[str, str] = field(default_factory=dict)
    pause_s: float = 0.0

    def __str__(self) -> str:
        parts = [f"{self.live} live job(s)", f"{self.finished} finished", f"{self.in_doubt} in doubt"]
        if self.sessions_closed:
            parts.append(f"closed {len(self.sessions_closed)} session(s) whose owner died")
        if self.groups_closed:
            parts.append(f"closed {len(self.groups_closed)} group(s) whose time to live ran out")
        if self.called_back:
            parts.append(f"called {len(self.called_back)} callback(s) of finished groups")
        parts += [f"{vendor}: {why}" for vendor, why in self.unreachable.items()]
        return ", ".join(parts)


@dataclass
class Sweeper:
    """`provider_of_session` connects for a session record, `group_of` gives a group by id; jobs are connected by the
    poller."""

    ledger: Ledger
    poller: Poller
    provider_of_session: Callable[[SessionRecord], Provider]
    group_of: Callable[[str], GroupHandle]

    def sweep(self) -> Swept:
        """One round: settle doubts, send what waits to be sent, pass cancels on, poll lanes, close dead sessions, end
        groups whose time is up or whose jobs are over, and call what is to be called then."""
        done = Swept()
        by_vendor: dict[str, list[Job]] = {}
        for job in reads.all_live(self.ledger):
            by_vendor.setdefault(job.provider, []).append(job)
            done.live += 1
        pauses = []
        for vendor, live in by_vendor.items():
            try:
                pauses.append(self.poller.tick(live))
            except (CredentialsMissing, UnknownDevice, ProviderError, InDoubt) as error:
                done.unreachable[vendor] = str(error)
                log.warning("%s: %s", vendor, error)
        for job in reads.by_keys(self.ledger, [job.key for jobs in by_vendor.values() for job in jobs]).values():
            done.finished += job.is_terminal
            done.in_doubt += job.status.value == "IN_DOUBT"
        try:
            settle_s = self.poller.submitter.settle_s
            reaped = sessions.reap(self.ledger, self.provider_of_session, settle_s=settle_s)
            done.sessions_closed = [record.vendor_id or record.key for record in reaped]
        except QflowsError as error:
            done.unreachable["sessions"] = str(error)
            log.warning("sessions: %s", error)
        tended = tend(self.ledger, self.group_of)
        done.groups_closed, done.called_back = tended.closed, tended.called_back
        done.unreachable |= tended.troubles
        done.pause_s = min(pauses, default=0.0)
        return done


@dataclass
class Tended:
    """What one round did for groups."""

    closed: list[str] = field(default_factory=list)
    called_back: list[str] = field(default_factory=list)
    troubles: dict[str, str] = field(default_factory=dict)


def tend(ledger: Ledger, handle_of: Callable[[str], GroupHandle]) -> Tended:
    """Applies every time to live and completion, and calls callbacks that are due and that this process can import."""
    done = Tended(closed=ledger_groups.refresh(ledger))
    for record in ledger_callbacks.due(ledger):
        handle = handle_of(record.id)
        try:
            assert record.callback is not None
            function = resolve(record.callback)
            if handle.call_back(function, handle.results(timeout=0)):
                done.called_back.append(record.id)
        except QflowsError as error:
            done.troubles[f"group {record.id[:12]}"] = str(error)
            log.warning("group %s: %s", record.id[:12], error)
    return done
