"""A thousand Braket tasks at once: bought, watched and read below the documented request rates, in few requests.

The emulator answers 429 above AWS's quotas here, and its journal says when each request came: the table shows, per
operation, the busiest second and how much of the quota's burst was ever used.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from qiskit import QuantumCircuit

from qflows import providers
from qflows.core.devices import Sole
from qflows.core.poller import Poller
from qflows.core.submit import Submitter
from qflows.ledger import Ledger, reads
from qflows.ledger.intents import Intent, Want
from qflows.programs import Program, to_program
from qflows.protocol import JobSpec
from qflows.providers.braket.bulk import PAGE
from qflows.providers.braket.queue import ASKED, WINDOW_S
from qflows.sandbox import Sandbox
from qflows.states import JobStatus

SV1 = "arn:aws:braket:::device/quantum-simulator/amazon/sv1"
TASKS, TICKS, WIDTH = 1000, 8, 10
# Amazon Braket quotas page, per region (stored copy, 2026): (requests a second, burst); written out here again, so
# that neither the adapter nor the emulator is its own judge
QUOTAS = {
    "submit": ("CreateQuantumTask", 20, 40),
    "search": ("SearchQuantumTasks", 5, 50),
    "get": ("GetQuantumTask", 100, 500),
    "device": ("GetDevice", 5, 50),
}
ALL_OPERATIONS = (140, 600)


@dataclass(frozen=True)
class Load:
    """What a route saw. `burst_used`: the deepest its token bucket was ever drawn, in requests."""

    requests: int
    busiest_second: int
    burst_used: float


def load_of(moments: Sequence[float], rate_per_s: float) -> Load:
    """Replays requests through a token bucket."""
    drawn = deepest = 0.0
    last = moments[0] if moments else 0.0
    for moment in moments:
        drawn = max(0.0, drawn - (moment - last) * rate_per_s) + 1
        last, deepest = moment, max(deepest, drawn)
    busiest = [sum(0 <= other - moment < 1 for other in moments[i:]) for i, moment in enumerate(moments)]
    return Load(len(moments), max(busiest, default=0), deepest)


def numbered(index: int) -> Program:
    """A circuit whose only outcome is its number."""
    circuit = QuantumCircuit(WIDTH, WIDTH)
    for bit in range(WIDTH):
        if index >> bit & 1:
            circuit.x(bit)
    circuit.measure(range(WIDTH), range(WIDTH))
    return to_program(circuit)


@pytest.fixture
def emulator() -> Iterator[Sandbox]:
    """Braket with its documented request rates, any number of tasks, and jobs that wait until they are told."""
    with Sandbox(vendors=("braket",)) as running:
        running.admin.switches("braket", quotas=True, concurrent_tasks=0)
        running.admin.clock("frozen")
        yield running


@pytest.mark.slow(reason="a thousand submissions at 20 a second, the vendor's quota, take 50 s on any machine")
def test_thousand_tasks_are_bought_watched_and_read_below_every_quota(emulator: Sandbox, tmp_path: Path) -> None:
    keys = {"aws_access_key_id": "A", "aws_secret_access_key": "x", "region": "us-east-1"}
    given = keys | {"s3_bucket": "amazon-braket-sandbox", "endpoint_url": emulator.url, "keeps_quotas": True}
    provider = providers.connect("braket", given, timeout_s=30.0)
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    submitter = Submitter(ledger, workers=8)
    specs = [JobSpec("braket", SV1, (numbered(i),), 10, label=str(i)) for i in range(TASKS)]
    wanted = [Intent(spec, Want("run", "attempt", spec.label), "sv1", provider.account) for spec in specs]
    jobs = submitter.submit(provider, wanted)
    assert {job.status for job in jobs} == {JobStatus.QUEUED}

    poller = Poller(submitter, Sole(provider), poll_min_s=0.0)
    searches = []
    for _ in range(TICKS):
        before = emulator.admin.requests("braket.search")
        poller.tick(jobs)
        searches.append(emulator.admin.requests("braket.search") - before)
    assert searches == [math.ceil(TASKS / PAGE)] * TICKS

    emulator.admin.release()
    done = poller.wait([job.key for job in jobs], timeout=120)
    assert {job.status for job in done.values()} == {JobStatus.COMPLETED}
    found = [reads.items(ledger, job.key)[0].counts for job in jobs]
    assert found == [{f"{i:0{WIDTH}b}": 10} for i in range(TASKS)]
    assert emulator.admin.count_jobs("braket") == TASKS
    assert emulator.admin.requests("braket.s3_get") == TASKS
    assert emulator.admin.requests("braket.device") == 1

    entries = [entry for start in range(0, 10_000, 1000) for entry in emulator.admin.journal(after=start, limit=1000)]
    moments = {route: sorted(e["time"] for e in entries if e["route"] == f"braket.{route}") for route in QUOTAS}
    spent_s = max(map(max, moments.values())) - min(map(min, moments.values()))
    assert len(moments["get"]) <= ASKED * (1 + spent_s // WINDOW_S)
    assert not [entry for entry in entries if entry["status"] == 429]
    _show_and_check(moments)
    ledger.close()


def _show_and_check(moments: dict[str, list[float]]) -> None:
    print(f"\n{TASKS} tasks: bought, {TICKS} ticks while queued, read")
    print(f"{'operation':<20}{'requests':>9}{'busiest 1 s':>13}{'burst used':>12}{'quota':>20}")
    together = sorted(moment for times in moments.values() for moment in times)
    rows = [(name, moments[route], rate, burst) for route, (name, rate, burst) in QUOTAS.items()]
    for name, times, rate, burst in [*rows, ("all", together, *ALL_OPERATIONS)]:
        load = load_of(times, rate)
        quota = f"{rate}/s, burst {burst}"
        print(f"{name:<20}{load.requests:>9}{load.busiest_second:>13}{load.burst_used:>12.1f}{quota:>20}")
        assert load.burst_used <= burst
