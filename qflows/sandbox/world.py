"""The state of a sandbox and the rules every vendor shares: acceptance, execution, cancellation, memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Protocol

from qflows.sandbox.clock import Clock, Pace
from qflows.sandbox.engine import Engine
from qflows.sandbox.errors import WorkError
from qflows.sandbox.faults import Fault, Faults, Holds
from qflows.sandbox.jobs import Job, JobStore, Outcome
from qflows.sandbox.journal import Journal
from qflows.sandbox.statelog import StateLog
from qflows.sandbox.switch import Switch, SwitchValue


class Plugged(Protocol):
    """What running a world requires of a vendor; `vendor.Vendor` is the class to derive from."""

    name: ClassVar[str]
    preload: ClassVar[tuple[str, ...]]

    def all_switches(self) -> tuple[Switch, ...]:
        """All choices this vendor has."""
        ...

    def env(self, url: str) -> dict[str, str]:
        """Environment that points the vendor's own client at `url`."""
        ...

    def parent_outcome(self, parent: Job, children: Sequence[Job]) -> Outcome:
        """How a parent ends once all its children have ended."""
        ...


class Shelf(Mapping[str, dict[str, Any]]):
    """A vendor's other documents (sessions, groups, buckets) by id, remembered like jobs. Order of creation."""

    def __init__(self, log: StateLog, name: str) -> None:
        self._log = log
        self._name = name
        self._docs: dict[str, dict[str, Any]] = {}

    def __getitem__(self, key: str) -> dict[str, Any]:
        return self._docs[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._docs)

    def __len__(self) -> int:
        return len(self._docs)

    def put(self, key: str, doc: dict[str, Any]) -> None:
        """Add or replace. A document changed in place is remembered only when put again."""
        self._docs[key] = doc
        self._log.append(f"shelf:{self._name}", key, doc)

    def drop(self, key: str) -> None:
        """Remove if there."""
        if self._docs.pop(key, None) is not None:
            self._log.append(f"shelf:{self._name}", key, None)

    def restore(self, key: str, doc: dict[str, Any] | None) -> None:
        """Restore a stored document."""
        if doc is None:
            self._docs.pop(key, None)
        else:
            self._docs[key] = doc

    def clear(self) -> None:
        """Forget everything."""
        self._docs.clear()


class World:
    """Everything one sandbox process knows."""

    def __init__(self, *, pace: Pace, state_dir: Path | None = None, seed: int = 1) -> None:
        self._first_pace = pace
        self._log = StateLog(state_dir)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._shelves: dict[str, Shelf] = {}
        self.seed = seed
        self.clock = Clock(pace)
        self.faults = Faults()
        self.holds = Holds()
        self.jobs = JobStore()
        self.journal = Journal(lambda entry: self._log.append("request", str(entry.n), entry.to_doc))
        self.vendors: dict[str, Plugged] = {}
        self.switches: dict[str, dict[str, SwitchValue]] = {}
        self.engine = Engine()

    def add(self, vendor: Plugged) -> None:
        """Plug in a vendor, with its switches at their defaults."""
        self.vendors[vendor.name] = vendor
        self.switches[vendor.name] = {switch.name: switch.default for switch in vendor.all_switches()}

    def shelf(self, vendor: str, kind: str) -> Shelf:
        """The vendor's documents of a kind."""
        name = f"{vendor}:{kind}"
        return self._shelves.setdefault(name, Shelf(self._log, name))

    # -- memory ------------------------------------------------------------------------------------------------

    def restore(self) -> None:
        """Restore what an earlier process stored in the same state directory. Reads of open jobs start at 0."""
        jobs: dict[str, dict[str, Any]] = {}
        for kind, key, doc in self._log.load():
            if kind == "job":
                jobs[key] = doc
            elif kind == "request":
                self.journal.restore(doc)
            elif kind.startswith("shelf:"):
                vendor, _, shelf = kind.removeprefix("shelf:").partition(":")
                self.shelf(vendor, shelf).restore(key, doc)
            elif kind == "clock":
                self.clock.pace, self.clock.offset_s = Pace.parse(doc["pace"]), doc["offset_s"]
            elif kind == "switches" and key in self.switches:
                known = self.switches[key]
                known.update({name: value for name, value in doc.items() if name in known})
        for doc in jobs.values():
            self.jobs.put(Job.from_doc(doc))

    def remember(self, job: Job) -> None:
        """Store a job; call this after changing one."""
        self._log.append("job", job.id, job.to_doc)

    def remember_clock(self) -> None:
        """Store the clock."""
        self._log.append("clock", "", {"pace": str(self.clock.pace), "offset_s": self.clock.offset_s})

    def set_switches(self, vendor: str, values: Mapping[str, Any]) -> None:
        """Change switches, all or none. Raises KeyError for an unknown vendor, ValueError for a bad name or value."""
        known = {switch.name: switch for switch in self.vendors[vendor].all_switches()}
        if unknown := set(values) - set(known):
            raise ValueError(f"{vendor} has no switch {sorted(unknown)[0]!r}; it has {', '.join(sorted(known))}")
        checked = {name: known[name].check(value) for name, value in values.items()}
        self.switches[vendor].update(checked)
        self._log.append("switches", vendor, self.switches[vendor])

    def reset(self) -> None:
        """Forget jobs, documents, journal and faults; switches and clock as at the start. Drops parked requests."""
        self.holds.release(verdict="drop")
        for task in self._running.values():
            task.cancel()
        self._running.clear()
        self.jobs.clear()
        self.journal.clear()
        self.faults.remove()
        for shelf in self._shelves.values():
            shelf.clear()
        self.clock = Clock(self._first_pace)
        for vendor in self.vendors.values():
            self.switches[vendor.name] = {switch.name: switch.default for switch in vendor.all_switches()}
        self._log.clear()

    # -- jobs --------------------------------------------------------------------------------------------------

    def accept(self, job: Job, *, route: str) -> Job:
        """Accept a job. Children are accepted before their parent, and scripted failures count only parents."""
        self.jobs.put(job)
        if job.parent_id is None:
            for fault in self.faults.take_at_acceptance(route):
                self._inject(job, fault)
            if self.clock.pace.mode == "instant" and job.not_before <= self.clock.now():
                self._start_early(job)
        self.remember(job)
        return job

    def _start_early(self, job: Job) -> None:
        # no client has asked yet, but at this pace all will: the simulator works while the client reads the answer
        for each in (job, *self.jobs.children(job)):
            if each.work is not None and not (each.injected and each.injected["children"] is None):
                self._start(each)

    def _inject(self, job: Job, fault: Fault) -> None:
        failure = {"code": fault.code or "InternalError", "message": fault.message or "scripted failure"}
        job.injected = failure | {"children": fault.children}
        for position, child in enumerate(self.jobs.children(job)):
            if fault.children is None or position in fault.children:
                child.injected = failure | {"children": None}
                self.remember(child)

    def phase(self, job: Job) -> str:
        """queued, running, done, failed or cancelled, as last observed."""
        if job.outcome is not None:
            return job.outcome
        children = self.jobs.children(job)
        if any(child.is_terminal for child in children):
            return "running"
        return "running" if self._due(job) != "queued" else "queued"

    def _due(self, job: Job) -> str:
        if self.clock.now() < job.not_before and not job.released:
            return "queued"
        root = self.jobs.get(job.parent_id) if job.parent_id else None
        mine = self.clock.phase(
            created_at=job.created_at, reads=max(job.reads, root.reads if root else 0), released=job.released
        )
        return "due" if root is not None and root.released else mine

    async def observe(self, jobs: Iterable[Job], *, is_read: bool = False) -> None:
        """Bring jobs up to date with the clock; wait for the simulator if the clock says done.

        `is_read`: count this as a read of the status, for a clock that goes by reads.
        """
        pending: list[asyncio.Task[None]] = []
        parents: list[Job] = []
        for job in jobs:
            if job.is_terminal:
                continue
            job.reads += is_read
            if job.child_ids:
                parents.append(job)
                pending += [task for child in self.jobs.children(job) if (task := self._advance(child))]
            elif task := self._advance(job):
                pending.append(task)
        if pending:
            await asyncio.gather(*pending, return_exceptions=True)
        for job in parents:
            self._close_parent(job)

    def _advance(self, job: Job) -> asyncio.Task[None] | None:
        if job.is_terminal:
            return None
        due = self._due(job)
        if due != "queued" and job.started_at is None:
            job.started_at = self._moment(job, self.clock.pace.queue_s)
        if due != "due":
            return None
        if job.injected is not None and job.injected["children"] is None:
            self._end(job, "failed", failure={name: job.injected[name] for name in ("code", "message")})
            return None
        if job.work is None:
            self._end(job, "done")
            return None
        return self._start(job)

    def _moment(self, job: Job, after_s: float) -> float:
        # By time, an event happened when it was due, not when it was read.
        return job.created_at + after_s if self.clock.pace.mode == "time" else self.clock.now()

    def _start(self, job: Job) -> asyncio.Task[None]:
        if job.id not in self._running:
            self._running[job.id] = asyncio.create_task(self._execute(job))
        return self._running[job.id]

    async def _execute(self, job: Job) -> None:
        assert job.work is not None
        try:
            result = await self.engine.execute(job.work)
        except WorkError as error:
            self._end(job, "failed", failure={"code": error.code, "message": error.message})
        else:
            self._end(job, "done", result=result)
        finally:
            self._running.pop(job.id, None)

    def _end(self, job: Job, outcome: Any, *, result: Any = None, failure: dict[str, Any] | None = None) -> None:
        if job.is_terminal or self.jobs.get(job.id) is not job:
            return  # cancelled or reset meanwhile
        pace = self.clock.pace
        job.started_at = job.started_at or self._moment(job, pace.queue_s)
        job.outcome, job.result, job.failure = outcome, result, failure
        job.ended_at = self._moment(job, pace.queue_s + pace.run_s)
        self.remember(job)
        parent = self.jobs.get(job.parent_id) if job.parent_id else None
        if parent is not None and parent.started_at is None:
            parent.started_at = job.started_at

    def _close_parent(self, parent: Job) -> None:
        children = self.jobs.children(parent)
        if parent.is_terminal or not all(child.is_terminal for child in children):
            return
        outcome = self.vendors[parent.vendor].parent_outcome(parent, children)
        failed = next((child.failure for child in children if child.outcome == "failed"), None)
        self._end(parent, outcome, failure=failed if outcome == "failed" else None)

    def cancel(self, job: Job) -> bool:
        """Cancel a job and its unfinished children. False if it had ended: observe it first."""
        if job.is_terminal:
            return False
        for child in self.jobs.children(job):
            self.cancel(child)
        job.outcome, job.ended_at = "cancelled", self.clock.now()
        self.remember(job)
        return True

    def release(self, *, ids: Iterable[str] | None = None, count: int | None = None) -> int:
        """Let waiting jobs finish at their next read: those named, or the `count` oldest, or all. Returns how many."""
        waiting = (job for job in self.jobs.all() if not job.is_terminal and not job.released)
        if ids is not None:
            wanted = set(ids)
            chosen = [job for job in waiting if job.id in wanted]
        else:
            roots = (job for job in waiting if job.parent_id is None)
            chosen = [job for _, job in zip(range(count), roots, strict=False)] if count is not None else list(roots)
        for job in chosen:
            job.released = True
            self.remember(job)
        return len(chosen)

    def forget(self, ids: Iterable[str]) -> int:
        """Make jobs disappear, as if the vendor had lost them: no list or read shows them. Returns how many.

        What was accepted stays counted. Unknown ids are left out.
        """
        gone = [job for job in map(self.jobs.get, dict.fromkeys(ids)) if job is not None and not job.deleted]
        for root in gone:
            for job in (root, *self.jobs.children(root)):
                job.deleted = True
                self.remember(job)
        return len(gone)

    def describe_switches(self) -> dict[str, dict[str, Any]]:
        """Switches by vendor: value, default, choices, note and source."""
        return {
            vendor.name: {
                switch.name: asdict(switch) | {"value": self.switches[vendor.name][switch.name]}
                for switch in vendor.all_switches()
            }
            for vendor in self.vendors.values()
        }
