"""Makers of specs, intents and jobs in any status, for tests of the ledger on both databases."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from qflows.ledger import Ledger, claims, intents, outcomes, reads
from qflows.ledger.intents import Intent, Want
from qflows.ledger.tables import jobs
from qflows.model import Counts, ItemResult, Job
from qflows.programs import Program
from qflows.protocol import JobSpec, Observation, Phase, VendorResult
from qflows.states import JobStatus

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(1, str(Path(__file__).parents[1]))  # `interrupting`

from state_guards import moves_of  # noqa: E402

ACCOUNT, LEASE_S = "acct", 120.0

MakeIntent = Callable[..., Intent]
MakeJob = Callable[..., Job]


def flip(state: int, width: int = 3) -> Program:
    """A program that prepares a basis state and measures all of it."""
    ops: list[list[Any]] = [["x", [], [q], []] for q in range(width) if state >> q & 1]
    ops += [["measure", [], [q], [q]] for q in range(width)]
    body = {"schema": "qflows.program/1", "qubits": width, "clbits": width, "registers": [["c", list(range(width))]]}
    return Program.from_text(json.dumps(body | {"phase": 0.0, "ops": ops}, separators=(",", ":")), name=f"x{state}")


def result_of(state: int = 0, shots: int = 100) -> VendorResult:
    """What a vendor gives for `flip(state)`."""
    return VendorResult((ItemResult(counts=Counts({format(state, "03b"): shots})),))


@pytest.fixture
def make_intent() -> MakeIntent:
    """`make_intent(label, run_key=, attempt=, holder=, state=, resubmit=)`; equal arguments make equal intents."""

    def make(
        label: str = "",
        *,
        run_key: str = "run",
        attempt: str = "attempt-1",
        holder: str = "task:0",
        state: int = 1,
        resubmit: int = 0,
        **spec: Any,
    ) -> Intent:
        wanted = JobSpec("acme", "qpu", (flip(state),), 100, label=label, **spec)
        return Intent(wanted, Want(run_key, attempt, holder), "acme-qpu", ACCOUNT, resubmit)

    return make


def drive(ledger: Ledger, key: str, to: JobStatus) -> None:
    """Take a PREPARED job to `to` by the public steps."""
    if to is JobStatus.PREPARED:
        return
    if to is JobStatus.CANCELLED:
        outcomes.request_cancel(ledger, [key])
        return
    claim = claims.claim(ledger, key, lease_s=LEASE_S)
    assert claim is not None
    if to is JobStatus.IN_DOUBT:
        claims.doubted(ledger, claim, message="no answer")
    elif to is JobStatus.FAILED:
        claims.refused(ledger, claim, code="NoSuchGate", message="unknown gate")
    elif to is not JobStatus.SUBMITTING:
        claims.accepted(ledger, claim, f"vendor-{key[:12]}")
        job = reads.job(ledger, key)
        if to is JobStatus.RUNNING:
            outcomes.observe(ledger, [(job, Observation(Phase.RUNNING, "running"))])
        elif to is JobStatus.COMPLETED:
            outcomes.store(ledger, job, result_of(), provenance={})


@pytest.fixture
def make_job(ledger: Ledger, make_intent: MakeIntent) -> MakeJob:
    """`make_job(status)`: a new job that got there by the public steps."""
    numbers = itertools.count()

    def make(status: JobStatus = JobStatus.PREPARED, **intent: Any) -> Job:
        intent.setdefault("label", f"job {next(numbers)}")
        (job,) = intents.prepare(ledger, [make_intent(**intent)])
        drive(ledger, job.key, status)
        made = reads.job(ledger, job.key)
        assert made.status is status
        return made

    return make


@pytest.fixture
def alter(ledger: Ledger) -> Callable[..., None]:
    """`alter(key, column=value)`: what time, or another process, would have done to a row."""

    def change(key: str, **values: Any) -> None:
        with ledger.write() as connection:
            by_hand = sa.update(jobs).where(jobs.c.key == key).values(**values).execution_options(by_hand=True)
            connection.execute(by_hand)

    return change


@pytest.fixture
def make_walker(sqlite_ledger: Ledger, make_intent: MakeIntent) -> Callable[[], Job]:
    """Makes PREPARED jobs in the SQLite ledger, each a new one."""
    numbers = itertools.count()
    return lambda: intents.prepare(sqlite_ledger, [make_intent(f"walk {next(numbers)}")])[0]


@pytest.fixture(autouse=True)
def guarded_moves() -> Iterator[set[tuple[str, str]]]:
    """Every UPDATE that these tests run and that moves a state must come from where the state table lets it come from.

    Gives the moves seen, as column and new state.
    """
    seen: set[tuple[str, str]] = set()

    def look(_: Any, statement: Any, multiparams: Any, params: Any, __: Any) -> None:
        statement = getattr(statement, "statement", statement)  # some are compiled once and kept
        if not isinstance(statement, sa.Update) or statement.get_execution_options().get("by_hand"):
            return
        for values in multiparams or [params]:
            for move in moves_of(statement, values):
                seen.add((move.column, move.to))
                assert move.named, f"{move} names no state to come from"
                assert move.named <= move.allowed, move

    sa.event.listen(sa.Engine, "before_execute", look)
    yield seen
    sa.event.remove(sa.Engine, "before_execute", look)
