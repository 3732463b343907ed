"""The Prefect half of the reconciler: wakes runs that are done, ends jobs of ended runs, retries crashed runs.

Every tick compares the ledger with the Prefect server from scratch and remembers nothing, so that it may be killed at
any moment and run twice at a time. Requests to the server: one per 200 flow runs that have live jobs, one per 200 that
can be woken, one for the crashed ones, and every nine seconds some for runs that may be dead; a run that waits
suspended costs nothing else.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import PrefectException
from prefect.states import AwaitingRetry, Crashed

from qflows.core.client import Client
from qflows.core.reconciler import Tick
from qflows.core.sessions import end, has_sessions
from qflows.display import plural
from qflows.errors import QflowsError, WaitTimeout
from qflows.ledger import flow_runs, outcomes, reads
from qflows.ledger import groups as ledger_groups
from qflows.ledger import sessions as ledger_sessions
from qflows.ledger.flow_runs import Attempt
from qflows.prefect import cancelled_page, lifesigns, wall
from qflows.prefect.client import client
from qflows.prefect.server_runs import Runs, crashed_runs, has_moved, prefect_api, read_runs

log = logging.getLogger("qflows.housekeeper")

TAG = "qflows"  # on a deployment: its runs are retried after a crash even before they asked qflows for anything
CRASH_BUDGET = 3
CRASH_GRACE_S = 20.0  # a second, stale report of one crash comes up to 15 s after the first (Prefect 3.8.8)
DEAD_AFTER_S = 90.0  # three heartbeats of 30 s, Prefect's shortest
PENDING_AFTER_S = 300.0  # elsewhere a container may have to be fetched first; Pending gives no sign of life at all
CRASH_WINDOW = timedelta(days=1)  # older crashes are history: a server may have had them before qflows came


@dataclass
class Kept:
    """What one tick did."""

    woken: list[str] = field(default_factory=list)
    cancelled_jobs: list[str] = field(default_factory=list)
    ended: dict[str, set[str]] = field(default_factory=dict)  # run keys by flow run whose jobs are being cancelled
    found_dead: list[str] = field(default_factory=list)
    retried: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    trouble: str = ""

    def __str__(self) -> str:
        told = {
            "resumed {}": self.woken,
            "canceling {} of ended runs": self.cancelled_jobs,
            "found {} without a process": self.found_dead,
            "retried {} after a crash": self.retried,
            "{} crashed too often": self.given_up,
        }
        parts = [
            text.format(plural(len(items), "job" if items is self.cancelled_jobs else "run"))
            for text, items in told.items()
            if items
        ]
        return ", ".join([*parts, *([f"prefect: {self.trouble}"] if self.trouble else [])])


@dataclass
class Housekeeper:
    """Moves flow runs on. `crash_budget`: retries per flow run, 0 for none; `crash_grace_s`: rest before each.

    `dead_after_s`: a run in state Running counts as dead after this many seconds without a heartbeat; at least three
    heartbeats of the slowest worker. `pending_after_s`: the same for a run that never started.
    """

    core: Client
    crash_budget: int = CRASH_BUDGET
    crash_grace_s: float = CRASH_GRACE_S
    dead_after_s: float = DEAD_AFTER_S
    pending_after_s: float = PENDING_AFTER_S
    _look_at: float = field(default=0.0, init=False)
    _wall_at: float = field(default=0.0, init=False)

    def tick(self) -> tuple[Tick, Kept]:
        """One tick of everything: ends first, then vendors, then runs, so that one tick carries each all the way.

        A Prefect server that cannot be reached keeps the vendors' half from nothing; the next tick tries again.
        """
        kept = Kept()
        with _prefect_troubles(kept):
            self.end_jobs_of_ended_runs(kept)
        # a tick that brings in thousands of results must not keep the first run waiting for the last of them
        swept = self.core.reconciler(on_stored=lambda: self._wake_early(kept)).tick()
        with _prefect_troubles(kept):
            self.tell_what_was_paid(kept)
            self.wake(kept)
            self.end_dead(kept)
            self.retry_crashed(kept)
            self.show_wall()
        if kept.trouble:
            # heartbeats of its absence are lost; a live run is heard of again within a third of this
            self._look_at = max(self._look_at, time.monotonic() + self.dead_after_s / 2)
        return swept, kept

    def show_wall(self) -> None:
        """Refreshes the page for everybody's screen, once a minute."""
        if time.monotonic() >= self._wall_at:
            self._wall_at = time.monotonic() + wall.EVERY_S
            with prefect_api() as api:
                wall.show(api, self.core.ledger)

    # -- ended runs

    def end_jobs_of_ended_runs(self, kept: Kept) -> None:
        """Cancels jobs, sessions and groups of runs that were cancelled or deleted and that no other run shares."""
        ledger = self.core.ledger
        working = flow_runs.at_work(ledger)
        if not working:
            return
        with prefect_api() as api:
            seen = Runs(api, working)
            suspects = {one.run_key for one in working if seen.is_ended(one)}
            if not suspects:
                return
            everyone = flow_runs.sharing(ledger, suspects)
            seen.look_at(everyone)
        shared = {one.run_key for one in everyone if seen.is_alive(one)}
        ended = {one for one in everyone if one.run_key not in shared and seen.is_ended(one)}
        wished = self._end(ended)
        kept.cancelled_jobs += wished
        bought = {job.run_key for job in reads.by_keys(ledger, wished).values()}
        for one in ended:
            if one.run_key in bought and seen.is_there(one):
                kept.ended.setdefault(one.root_id, set()).add(one.run_key)
        newest = {one.run_key: one for one in sorted(everyone, key=lambda one: one.at)}
        self._let_go({key for key, one in newest.items() if one in ended})

    def tell_what_was_paid(self, kept: Kept) -> None:
        """A page for each run whose jobs were cancelled in this tick; after the vendors' half, which verifies that."""
        if not kept.ended:
            return
        with prefect_api() as api:
            for flow_run_id, run_keys in kept.ended.items():
                cancelled_page.publish(api, self.core.ledger, flow_run_id, run_keys)

    def _end(self, ended: Collection[Attempt]) -> list[str]:
        wished = outcomes.request_cancel(self.core.ledger, flow_runs.wanted_by(self.core.ledger, ended))
        for key in wished:
            log.info("canceling job %s: its flow run has ended", key[:12])
        return wished

    def _let_go(self, run_keys: Collection[str]) -> None:
        """Ends the sessions and groups of these runs; what a vendor refuses now is tried again on the next tick."""
        for record in ledger_sessions.listing(self.core.ledger, only_live=True, limit=1000):
            if record.run_key not in run_keys:
                continue
            try:
                provider = self.core.vendors.of_session(record)
                if has_sessions(provider, record.mode):
                    end(self.core.ledger, provider, record, verb="cancel", reason="its flow run was ended")
            except QflowsError as error:
                log.warning("session %s: %s", record.key[:12], error)
        for group in ledger_groups.listing(self.core.ledger, only_live=True, limit=1000):
            if group.run_key not in run_keys:
                continue
            try:
                self.core.group(group.id).cancel(timeout=0.0)
            except WaitTimeout:
                pass  # the wish is durable; the tick that follows passes it on
            except QflowsError as error:
                log.warning("group %s: %s", group.id[:12], error)

    # -- runs that wait

    def wake(self, kept: Kept) -> None:
        """Resumes each run that is suspended in a wait with nothing left to wait for.

        Prefect's own state decides: a run that is about to suspend is met again on the next tick, and one that a
        person suspended has another name and is left alone.
        """
        due = flow_runs.due_waits(self.core.ledger)
        if not due:
            return
        with prefect_api() as api:
            found = read_runs(api, {wait.flow_run_id for wait in due})
            over = []
            for wait in due:
                run = found.get(wait.flow_run_id)
                if run is None or run.state is None:
                    continue
                if run.state.is_final():
                    over.append(wait.flow_run_id)
                elif run.state.is_paused() and run.state.state_details.pause_key == wait.key:
                    with _prefect_troubles(kept):  # one that cannot be woken now keeps no other asleep
                        if api.resume_flow_run(run.id).status is SetStateStatus.ACCEPT:
                            kept.woken.append(str(run.id))
                            log.info("resumed flow run %s: its jobs are done", run.name)
        flow_runs.end_waits(self.core.ledger, over)

    def _wake_early(self, kept: Kept) -> None:
        if not kept.trouble:  # an unreachable Prefect must not hold up the vendors' half again and again
            with _prefect_troubles(kept):
                self.wake(kept)

    # -- runs whose processes all died

    def end_dead(self, kept: Kept) -> None:
        """Turns runs without a sign of life into Crashed: those of deployments, that used qflows or bear its tag.

        No other process does: where the worker died with the run, no process is left to tell.
        """
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + self.dead_after_s / 10
        with prefect_api() as api:
            now = lifesigns.server_now(api)
            suspected = lifesigns.suspects(api, now=now, running_s=self.dead_after_s, pending_s=self.pending_after_s)
            ours = flow_runs.known(self.core.ledger, {str(run.id) for run in suspected})
            suspected = [run for run in suspected if str(run.id) in ours or TAG in run.tags]
            running = [run for run in suspected if run.state and run.state.is_running()]
            heard = lifesigns.heard_of(api, running, now=now, within_s=self.dead_after_s, every_s=self.dead_after_s / 3)
            for run in suspected:
                if run.id not in heard:
                    with _prefect_troubles(kept):
                        self._crash(api, run, kept)

    def _crash(self, api: SyncPrefectClient, run: FlowRun, kept: Kept) -> None:
        assert run.state is not None
        if has_moved(api, run):
            return  # so it lives
        state = Crashed(message=f"no heartbeat since it was {run.state.name}: its process is gone")
        api.set_flow_run_state(run.id, state)
        kept.found_dead.append(str(run.id))
        log.warning("flow run %s no longer has a process", run.name)

    # -- crashed runs

    def retry_crashed(self, kept: Kept) -> None:
        """Schedules crashed runs again: those of deployments, that used qflows or bear its tag, within the budget.

        Never a subflow, whose parent does that. A twin that may arise is harmless: the ledger fences purchases.
        """
        if self.crash_budget <= 0:
            return
        now = datetime.now(UTC)
        calm_since = now - timedelta(seconds=self.crash_grace_s)
        with prefect_api() as api:
            crashed = [
                run
                for run in crashed_runs(api, after=now - CRASH_WINDOW)
                if run.parent_task_run_id is None and run.state and run.state.timestamp <= calm_since
            ]
            ours = flow_runs.known(self.core.ledger, {str(run.id) for run in crashed})
            for run in crashed:
                if str(run.id) in ours or TAG in run.tags:
                    with _prefect_troubles(kept):
                        self._retry(api, run, kept)

    def _retry(self, api: SyncPrefectClient, run: FlowRun, kept: Kept) -> None:
        assert run.state is not None
        mine, before = flow_runs.claim_retry(
            self.core.ledger,
            str(run.id),
            str(run.state.id),
            budget=self.crash_budget,
            redo_after_s=self.crash_grace_s,
        )
        if not mine:
            if before >= self.crash_budget:
                kept.given_up.append(str(run.id))
            return
        state = AwaitingRetry(
            message=f"crashed; retry {before + 1} of {self.crash_budget}", scheduled_time=datetime.now(UTC)
        )
        if has_moved(api, run):
            return  # somebody cancelled it, say: that must stand
        api.set_flow_run_state(run.id, state)
        kept.retried.append(str(run.id))
        log.info("flow run %s crashed; retry %d of %d", run.name, before + 1, self.crash_budget)


@contextmanager
def _prefect_troubles(kept: Kept) -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, PrefectException, RuntimeError) as error:  # RuntimeError: what Prefect makes of some
        kept.trouble = f"{type(error).__name__}: {error}"[:300]
        log.warning("the Prefect server did not answer as expected: %s", kept.trouble)


# -- hooks


def cancel_jobs(flow: Any, flow_run: FlowRun, state: Any) -> None:
    """An `on_cancellation` hook: the fast path of what the reconciler does anyway, for people who run none.

    Prefect calls it in a process that knows nothing of the run, so it asks the ledger.
    """
    core = client()
    wished = flow_runs.wanted_by(core.ledger, flow_runs.of_root(core.ledger, str(flow_run.id)))
    kept = Kept()
    housekeeper = Housekeeper(core)
    with _prefect_troubles(kept):
        housekeeper.end_jobs_of_ended_runs(kept)
    if wished:
        try:
            core.wait(wished, timeout=20.0)
        except QflowsError as error:
            log.warning("jobs of cancelled flow run %s: %s", flow_run.name, error)
    with _prefect_troubles(kept):
        housekeeper.tell_what_was_paid(kept)
