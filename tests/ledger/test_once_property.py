"""Random interleavings of submitters, crashes, lost answers, lagging lists and time: never two live jobs for one key.

The vendor lists an accepted job within the settle time, which is what the core relies on. Time moves only when a rule
moves it, for the ledger and the vendor alike.
"""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from qflows.core.submit import Submitter
from qflows.errors import StaleClaim
from qflows.ledger import Ledger, claims, intents, outcomes, reads
from qflows.ledger.intents import Intent, Want
from qflows.ledger.tables import jobs
from qflows.protocol import JobSpec
from qflows.states import JobStatus

from .conftest import flip
from .fake_vendor import SETTLE_S, FakeVendor

LEASE_S = 50.0
CLOCKS = ("lease_until", "doubt_since", "look_after", "send_after")
WORDS = st.sampled_from(["ok", "lost", "lost", "dropped", "refused", "unreachable", "throttled"])
LAGS = st.sampled_from([0.0, SETTLE_S * 0.5, SETTLE_S * 0.9])
LABELS = st.integers(0, 7)  # one key each, and a key that is queued has no more to tell


class World(RuleBasedStateMachine):
    """Several submitters on one ledger and one vendor."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.ledger = Ledger.open(f"sqlite:///{Path(self.folder.name) / 'ledger.db'}")
        self.vendor = FakeVendor()
        self.submitters = [Submitter(self.ledger, lease_s=LEASE_S) for _ in range(2)]
        self.attempts = itertools.count()
        self.keys: set[str] = set()

    def intent(self, label: int) -> Intent:
        want = Want("run", f"attempt-{next(self.attempts)}", "task:0")
        return Intent(JobSpec("acme", "qpu", (flip(1),), 10, label=str(label)), want, "acme-qpu", "acct")

    def pass_time(self, seconds: float) -> None:
        self.vendor.now += seconds
        with self.ledger.write() as connection:
            connection.execute(sa.update(jobs).values({name: jobs.c[name] - seconds for name in CLOCKS}))

    @rule(who=st.integers(0, 1), label=LABELS, word=WORDS, lag=LAGS, ticks=st.integers(0, 3))
    def submit(self, who: int, label: int, word: str, lag: float, ticks: int) -> None:
        self.vendor.script, self.vendor.lag_s = [word], lag
        self.keys |= {job.key for job in self.submitters[who].submit(self.vendor, [self.intent(label)])}
        self.vendor.script = []
        self.tick(1 - who, ticks)  # the other process does not wait until it is told

    @rule(label=LABELS, is_accepted=st.booleans(), lag=LAGS)
    def die_while_submitting(self, label: int, is_accepted: bool, lag: float) -> None:
        self.vendor.lag_s = lag
        (job,) = intents.prepare(self.ledger, [self.intent(label)])
        self.keys.add(job.key)
        if claims.claim(self.ledger, job.key, lease_s=LEASE_S) and is_accepted:
            self.vendor.accept(job.key)

    @rule(label=LABELS, seconds=st.sampled_from([1.0, LEASE_S + 1]), lag=LAGS, data=st.data())
    def answer_slowly(self, label: int, seconds: float, lag: float, data: Any) -> None:
        """The vendor has accepted; before the answer arrives time passes and others look, adopt and submit."""

        def meanwhile() -> None:
            self.pass_time(seconds)
            for who in data.draw(st.lists(st.integers(0, 1), max_size=2)):
                self.settle(who)
            if data.draw(st.booleans()):
                self.submit(1, label, data.draw(WORDS), lag, 1)

        self.vendor.lag_s = lag
        self.vendor.before_answering = meanwhile
        self.keys |= {job.key for job in self.submitters[0].submit(self.vendor, [self.intent(label)])}
        self.vendor.before_answering = None

    @rule(who=st.integers(0, 1))
    def settle(self, who: int) -> None:
        self.submitters[who].settle(self.vendor, self.keys)

    @rule(who=st.integers(0, 1), times=st.integers(1, 3))
    def tick(self, who: int, times: int) -> None:
        """What a waiting process does all the time: look, and send what is free."""
        for _ in range(times):
            self.settle(who)
            self.send_what_is_free(who)

    @rule(who=st.integers(0, 1))
    def settle_while_lists_fail(self, who: int) -> None:
        self.vendor.is_blind = True
        self.submitters[who].settle(self.vendor, self.keys)
        self.vendor.is_blind = False

    @rule(who=st.integers(0, 1))
    def send_what_is_free(self, who: int) -> None:
        free = [job for job in reads.by_keys(self.ledger, self.keys).values() if job.status is JobStatus.PREPARED]
        self.submitters[who].send_all(self.vendor, free)

    @rule(label=LABELS)
    def wish_to_cancel(self, label: int) -> None:
        outcomes.request_cancel(self.ledger, [job.key for job in reads.listing(self.ledger) if job.label == str(label)])

    @rule(seconds=st.sampled_from([0.5, SETTLE_S, LEASE_S + 1]))
    def wait(self, seconds: float) -> None:
        self.pass_time(seconds)

    @invariant()
    def no_key_has_two_live_jobs(self) -> None:
        assert all(len(self.vendor.live(key)) <= 1 for key in self.keys)

    @invariant()
    def known_ids_are_the_vendors(self) -> None:
        for job in reads.by_keys(self.ledger, self.keys).values():
            assert job.vendor_id is None or self.vendor.live(job.key) == [job.vendor_id]

    def teardown(self) -> None:
        """Whatever happened, settling ends every doubt, and the ledger knows all that the vendor has."""
        try:
            for _ in range(4):
                self.pass_time(LEASE_S + SETTLE_S)
                self.settle(0)
            for job in reads.by_keys(self.ledger, self.keys).values():
                assert job.status not in (JobStatus.SUBMITTING, JobStatus.IN_DOUBT)
                assert self.vendor.live(job.key) == ([job.vendor_id] if job.vendor_id else [])
        except StaleClaim as error:
            raise AssertionError("settle let a stale claim out") from error
        finally:
            self.ledger.close()
            self.folder.cleanup()


TestOnce = World.TestCase
TestOnce.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestOnce.pytestmark = [pytest.mark.slow(reason="hundreds of examples, each a ledger of its own")]  # type: ignore[attr-defined]
