"""The level-triggered reconciler: each tick compares ledger and vendors, and acts on the difference.

It keeps no state between sweeps, so killing it at any moment is harmless, and two may run: claims, leases and guarded
statements decide who acts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from qflows.core import sessions
from qflows.core.groups.callbacks import resolve
from qflows.core.groups.handle import Group
from qflows.core.parts import Parts
from qflows.display import plural
from qflows.errors import LedgerUnavailable, QflowsError
from qflows.ledger import callbacks as ledger_callbacks
from qflows.ledger import groups as ledger_groups
from qflows.ledger import pending, reads, settlements
from qflows.ledger.store import Ledger
from qflows.states import JobStatus

log = logging.getLogger("qflows.reconciler")

_LOOK_FOR_VANISHED_S = 7 * 86_400.0  # a job gone for longer is not looked up again automatically


@dataclass
class Tick:
    """What one tick saw and did."""

    live: int = 0
    finished: int = 0
    in_doubt: int = 0
    held: int = 0
    revived: list[str] = field(default_factory=list)
    sessions_closed: list[str] = field(default_factory=list)
    groups_closed: list[str] = field(default_factory=list)
    called_back: list[str] = field(default_factory=list)
    unreachable: dict[str, str] = field(default_factory=dict)
    pause_s: float = 0.0

    def __str__(self) -> str:
        parts = [plural(self.live, "live job"), f"{self.finished} finished", f"{self.in_doubt} in doubt"]
        if self.held:
            parts.append(f"{self.held} held")
        if self.revived:
            parts.append(f"{len(self.revived)} found again")
        if self.sessions_closed:
            parts.append(f"closed {plural(len(self.sessions_closed), 'session')} whose owner died")
        if self.groups_closed:
            parts.append(f"closed {plural(len(self.groups_closed), 'group')} whose time to live ran out")
        if self.called_back:
            parts.append(f"ran {plural(len(self.called_back), 'callback')} of finished groups")
        parts += [f"{vendor}: {why}" for vendor, why in self.unreachable.items()]
        return ", ".join(parts)


@dataclass
class Reconciler:
    """Brings what the vendors say and what the ledger says together. `group_of`: gives a group by id."""

    core: Parts
    group_of: Callable[[str], Group]
    on_stored: Callable[[], None] | None = None

    def tick(self) -> Tick:
        """Run one round: settle doubts, send waiting jobs, pass cancels on, poll lanes, close dead sessions, end groups
        whose time is up or whose jobs are over, and run the callbacks that are then due."""
        ledger, poller = self.core.ledger, self.core.poller(self.on_stored)
        done = Tick()
        live = pending.all_live(ledger)
        done.live = len(live)
        moved = poller.tick(live, is_all=True)
        done.pause_s = moved.pause_s
        for job in live:
            if job.key in moved.troubles:
                done.unreachable[f"{job.provider} account {job.account}"] = str(moved.troubles[job.key])
        done.revived = poller.revive(reads.vanished(ledger, within_s=_LOOK_FOR_VANISHED_S))
        standing = pending.standing(ledger)
        for job in live:
            status, is_held = standing.get(job.key, (None, False))
            done.finished += status is None
            done.in_doubt += status is JobStatus.IN_DOUBT
            done.held += is_held
        with contained(done, "sessions"):
            reaped = sessions.reap(ledger, self.core.vendors.of_session)
            done.sessions_closed = [record.vendor_id or record.key for record in reaped]
        with contained(done, "money"):
            settlements.heal(ledger)
            sessions.settle_closed(ledger, self.core.vendors.of_session)
        with contained(done, "groups"):
            self._tend(done)
        return done

    def _tend(self, done: Tick) -> None:
        tended = tend(self.core.ledger, self.group_of)
        done.groups_closed, done.called_back = tended.closed, tended.called_back
        done.unreachable |= tended.troubles


@contextmanager
def contained(done: Tick, what: str) -> Iterator[None]:
    """Keep the failure of one part of a tick from the others. A broken ledger affects them all."""
    try:
        yield
    except LedgerUnavailable:
        raise
    except Exception as error:
        done.unreachable[what] = f"{type(error).__name__}: {error}"
        log.warning("%s: %s", what, error, exc_info=not isinstance(error, QflowsError))


@dataclass
class Tended:
    """What one round did for groups."""

    closed: list[str] = field(default_factory=list)
    called_back: list[str] = field(default_factory=list)
    troubles: dict[str, str] = field(default_factory=dict)


def tend(ledger: Ledger, handle_of: Callable[[str], Group]) -> Tended:
    """Apply every time to live and completion, and run due callbacks that this process can import."""
    done = Tended(closed=ledger_groups.refresh(ledger))
    for record in ledger_callbacks.due(ledger):
        handle = handle_of(record.id)
        try:
            assert record.callback is not None
            function = resolve(record.callback)
            if handle.call_back(function, handle.stored(handle.wait(timeout=0))):
                done.called_back.append(record.id)
        except LedgerUnavailable:
            raise
        except Exception as error:  # other people's code and one group's vendors: the other groups go on
            done.troubles[f"group {record.id[:12]}"] = f"{type(error).__name__}: {error}"
            log.warning("group %s: %s", record.id[:12], error, exc_info=not isinstance(error, QflowsError))
    return done
