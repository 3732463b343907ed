"""How late a finished job is noticed, and for how many requests: by the policy alone, and against the sandbox."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from qiskit import QuantumCircuit

from qflows.core.client import Client
from qflows.core.pacing import Agenda, News, held_up_s, next_look, paced, step_s, used_s
from qflows.core.scope import Scope
from qflows.ledger import lanes, reads
from qflows.ledger.lanes import Lane
from qflows.ledger.tables import jobs as jobs_table
from qflows.ledger.tables import lanes as lanes_table
from qflows.model import Job, Timeline
from qflows.protocol import Pace
from qflows.providers.braket.adapter import BraketProvider
from qflows.providers.ibm.adapter import IBMProvider
from qflows.providers.ionq.adapter import IonQProvider
from qflows.providers.qbraid.adapter import QbraidProvider
from qflows.sandbox import Sandbox
from qflows.settings import Settings
from qflows.states import JobStatus

VENDORS = (IBMProvider, BraketProvider, IonQProvider, QbraidProvider)
PACES = {vendor.name: vendor.capabilities.pace for vendor in VENDORS}
START = 1_800_000_000.0
HOUR_S = 3600.0
DURATIONS_S = [0.1 * 1.35**i for i in range(43)]  # 0.1 s to 8 h


def looks_at(pace: Pace, since: float, duration_s: float) -> list[float]:
    """Ages at which one job is looked at, up to the first look that finds it done."""
    moments = [next_look(pace, since, since)]
    while moments[-1] < since + duration_s:
        moments.append(next_look(pace, since, moments[-1]))
    return [moment - since for moment in moments]


def submissions(n: int) -> Iterator[float]:
    """Moments that lie everywhere between two looks, whatever their distance."""
    return (START + i * 30 * 0.618034 for i in range(n))


def p95(values: list[float]) -> float:
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


@pytest.mark.parametrize("pace", [*PACES.values(), Pace(0.05)], ids=[*PACES, "shortest step 50 ms"])
def test_end_is_noticed_within_a_tenth_of_the_job_s_duration_and_30_seconds(pace: Pace) -> None:
    assert DURATIONS_S[-1] > 8 * HOUR_S
    for duration_s in DURATIONS_S:
        late = [looks_at(pace, since, duration_s)[-1] - duration_s for since in submissions(20)]
        assert p95(late) <= max(step_s(pace, 0.0), 0.1 * duration_s) + 1e-6
        assert max(late) <= 30


def test_shortest_steps_are_the_vendors_own() -> None:
    assert {name: round(step_s(pace, 0.0), 2) for name, pace in PACES.items()} == {
        "ibm": 0.12, "braket": 0.23, "ionq": 0.23, "qbraid": 0.47
    }  # fmt: skip
    assert all(step_s(pace, 0.0) >= pace.first_s for pace in PACES.values())


@pytest.mark.parametrize(
    ("vendor", "duration_s", "most"),
    [("ibm", 0.04, 2), ("ibm", 0.8, 8), ("ionq", 2.0, 10), ("ibm", 1200.0, 130), ("braket", 8 * HOUR_S, 1060)],
)
def test_requests_for_one_job_are_few(vendor: str, duration_s: float, most: int) -> None:
    assert max(len(looks_at(PACES[vendor], since, duration_s)) for since in submissions(40)) <= most


@pytest.mark.parametrize("pace", PACES.values(), ids=PACES)
def test_looks_grow_rarer_and_old_jobs_share_their_moments(pace: Pace) -> None:
    ages = looks_at(pace, START + 0.123, 2 * HOUR_S)
    gaps = [b - a for a, b in zip(ages, ages[1:], strict=False)]
    assert min(gaps) >= step_s(pace, 0.0) - 1e-6
    assert gaps[-1] == pytest.approx(30)
    for moment in (START + 30 * i for i in range(4)):
        assert next_look(pace, START - HOUR_S, moment - 0.01) == moment
        assert next_look(pace, START - 1, moment - 0.01) == moment


# -- a lane of many jobs, played through on a clock of its own


class Play:
    """A lane that is polled by the policy alone; jobs end at moments that are given with them."""

    def __init__(self, pace: Pace, page: int) -> None:
        self.pace, self.page, self.news = pace, page, News()
        self.open: dict[str, tuple[Job, float]] = {}
        self.late: dict[str, float] = {}
        self.polls: list[tuple[float, int]] = []  # when, requests
        self.lane = Lane("acme", "a", "w", 0.0)
        self.next_at = 0.0
        self.last_at = -math.inf

    def submit(self, key: str, at: float, duration_s: float) -> None:
        submitted = datetime.fromtimestamp(at, UTC)
        job = Job(
            key, "run", "", "acme", "a", "acme:x", "x", 10, JobStatus.QUEUED, f"v-{key}", 1, 0, 0, "", {}, 1, submitted,
            timeline=Timeline(submitted, submitted),
        )  # fmt: skip
        self.open[key] = (job, at + duration_s)

    def run(self, until: float, arrivals: list[tuple[float, str, float]]) -> None:
        now, arrivals = START, sorted(arrivals)
        while now < until:
            while arrivals and arrivals[0][0] <= now:
                at, key, duration_s = arrivals.pop(0)
                self.submit(key, at, duration_s)
            now = min(self.step(now), arrivals[0][0] if arrivals else until, until)

    def step(self, now: float) -> float:
        everyone = [job for job, _ in self.open.values()]
        agenda = Agenda(self.pace, self.page, self.news, wall=datetime.fromtimestamp(now, UTC))
        asked_at = None if math.isinf(self.last_at) else self.last_at
        since_s = now - self.last_at
        lane = Lane("acme", "a", "w", self.lane.interval_s, now, self.next_at, asked_at, since_s)
        soonest = agenda.soonest(everyone, now=now, after=asked_at or 0.0)
        earliest = now + max(
            held_up_s(self.pace, lane.interval_s) - since_s, step_s(self.pace, 0.0) - since_s
        )  # fmt: skip
        wanted = max(soonest if soonest is not None else math.inf, earliest)
        due_at = min(wanted, self.next_at or math.inf)
        if due_at > now:
            return due_at
        due = agenda.due(lane, everyone)
        requests = -(-len(due) // self.page)
        new = sum(agenda.age_s(job) <= since_s for job in everyone)
        used = used_s(self.pace, lane, requests=requests, new_jobs=new)
        self.polls.append((now, requests))
        for job in due:
            if self.open[job.key][1] <= now:
                self.late[job.key] = now - self.open.pop(job.key)[1]
        left = [job for job, _ in self.open.values()]
        following = agenda.soonest(left, now=now, after=now) or now + self.pace.max_s
        self.next_at = max(following, now + step_s(self.pace, 0.0), now + held_up_s(self.pace, used))
        self.lane, self.last_at = Lane("acme", "a", "w", used), now
        return self.next_at

    def requests(self, start: float, end: float) -> int:
        return sum(n for at, n in self.polls if start <= at < end)


def test_old_jobs_cost_one_round_each_30_seconds_however_they_were_spread() -> None:
    play = Play(PACES["ionq"], 25)
    for i in range(500):
        play.submit(f"old{i:03}", START - 2 * HOUR_S - 7.3 * i, 9 * HOUR_S)
    play.run(START + 300, [])
    assert play.requests(START + 1, START + 300) <= 20 * 10


def test_young_job_beside_old_ones_is_looked_at_on_its_own_schedule() -> None:
    play = Play(PACES["ionq"], 25)
    for i in range(100):
        play.submit(f"old{i:03}", START - 2 * HOUR_S - 7.3 * i, 9 * HOUR_S)
    arrivals = [(START + 11.7 * i, f"young{i:02}", 2.0) for i in range(1, 26)]
    play.run(START + 330, arrivals)
    late = [play.late[key] for _, key, _ in arrivals]
    assert p95(late) <= step_s(PACES["ionq"], 2.2) + 1e-6
    # the old ones cost 4 requests every 30 s; a young one no more than if it were alone
    assert play.requests(START + 1, START + 330) <= 4 * 11 + 25 * 11


@pytest.mark.parametrize("vendor", PACES)
def test_requests_stay_within_the_rate_of_the_vendor(vendor: str) -> None:
    pace = PACES[vendor]
    play = Play(pace, 25)
    n, gap_s = 60, 1.0
    play.run(START + 120, [(START + gap_s * i, f"j{i:02}", 4.0) for i in range(n)])
    asked = play.requests(START, START + 120)
    assert len(play.late) == n
    assert asked <= pace.burst + pace.rate * 120 + 3 * n
    for at, _ in play.polls:  # and in any ten seconds
        new = 10 / gap_s + 1
        assert play.requests(at, at + 10) <= pace.burst + pace.rate * 10 + 3 * new + 1


def job_of(key: str, at: float) -> Job:
    submitted = datetime.fromtimestamp(at, UTC)
    return Job(
        key, "run", "", "acme", "a", "acme:x", "x", 10, JobStatus.QUEUED, f"v-{key}", 1, 0, 0, "", {}, 1, submitted,
        timeline=Timeline(submitted, submitted),
    )  # fmt: skip


def first_look_s(news: News, pace: Pace) -> float:
    """Seconds after its submission at which a new job is looked at for the first time."""
    agenda = Agenda(pace, 25, news, wall=datetime.fromtimestamp(START, UTC))
    soonest = agenda.soonest([job_of("new", START)], now=START, after=START - 1)
    assert soonest is not None
    return soonest - START


def test_new_job_is_first_looked_at_when_the_shortest_of_the_last_ones_was_done() -> None:
    pace, news = PACES["ionq"], News()
    untaught = first_look_s(news, pace)
    for n, took_s in enumerate((0.8, 2.0, 0.7)):
        job = job_of(f"j{n}", START)
        assert first_look_s(news, pace) == untaught  # fewer than three say nothing
        news.looked(job, took_s, over=False)
        news.looked(job, took_s, over=True)
    assert first_look_s(news, pace) == pytest.approx(0.7)


def test_poll_for_the_sake_of_another_job_does_not_begin_the_steps_of_a_new_one() -> None:
    pace, news = PACES["ionq"], News()
    for n in range(3):
        news.looked(job_of(f"j{n}", START), 2.0, over=False)
        news.looked(job_of(f"j{n}", START), 2.2, over=True)
    agenda = Agenda(pace, 25, news, wall=datetime.fromtimestamp(START + 1, UTC))
    polled_at = START + 0.9  # because an older job was due
    soonest = agenda.soonest([job_of("new", START)], now=START + 1, after=polled_at)
    assert soonest == pytest.approx(START + 2.1)


def test_lane_is_not_polled_twice_within_the_shortest_step() -> None:
    pace = PACES["ionq"]
    for n in range(40):
        news = News()
        job = job_of("j", START)
        news.note([job])
        at = START + 3 + n * 0.031
        agenda = Agenda(pace, 25, news, wall=datetime.fromtimestamp(at, UTC))
        soonest = agenda.soonest([job], now=at, after=at)
        assert soonest is not None
        assert soonest - at >= step_s(pace, 0.0) - 1e-6


def test_device_that_becomes_faster_is_followed_and_a_slow_one_waited_for_no_longer_than_the_pace_allows() -> None:
    pace, news = PACES["ionq"], News()
    for n in range(3):
        news.looked(job_of(f"slow{n}", START), 2 * HOUR_S, over=True)
    assert first_look_s(news, pace) == pace.max_s
    looks: list[float] = []
    for n in range(20):  # every look finds the job over: each halves the estimate
        looks.append(first_look_s(news, pace))
        news.looked(job_of(f"fast{n}", START), looks[-1], over=True)
    assert looks == sorted(looks, reverse=True)
    assert looks[-1] < 0.01


def test_device_that_becomes_slower_is_forgotten_after_sixteen_jobs() -> None:
    news = News()
    for n in range(3):
        news.looked(job_of(f"fast{n}", START), 0.2, over=True)
    for n in range(16):
        job = job_of(f"slow{n}", START)
        news.looked(job, 9.0, over=False)
        news.looked(job, 11.0, over=True)
    assert first_look_s(news, PACES["ionq"]) == pytest.approx(10.0)


def test_setting_takes_the_place_of_the_vendor_s_pace() -> None:
    assert step_s(paced(PACES["ibm"], 0.0), 5.0) == 0
    assert 0.01 <= step_s(paced(PACES["ibm"], 0.01), 0.0) < 0.02
    assert held_up_s(paced(PACES["ibm"], 0.01), 1000.0) <= 30


# -- lanes in SQL


def test_younger_job_brings_the_lane_forward_but_not_a_pause_that_was_asked_for(client: Client) -> None:
    ledger = client.ledger

    def take(wanted_in_s: float) -> Lane | float:
        holder = lanes.holder_name("w")
        return lanes.acquire(ledger, "acme", "a", holder=holder, lease_s=60, wanted_at=lambda it: it.now + wanted_in_s)

    first = take(0.0)
    assert isinstance(first, Lane)
    lanes.release(ledger, first, next_in_s=30, interval_s=0)
    assert 4 < take(5.0) <= 5  # pyright: ignore[reportOperatorIssue]
    second = take(0.0)
    assert isinstance(second, Lane)
    assert second.asked_at == first.now
    lanes.release(ledger, second, next_in_s=30, interval_s=2, ok=False, error="429")
    assert 25 < take(0.0) <= 30  # pyright: ignore[reportOperatorIssue]


# -- against the sandbox

BELL = QuantumCircuit(2, 2)
BELL.h(0)
BELL.cx(0, 1)
BELL.measure([0, 1], [0, 1])


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    made = Client(Settings(home=tmp_path))  # at the vendors' own paces
    yield made
    made.ledger.close()


@pytest.fixture
def buy(client: Client) -> Callable[..., Job]:
    def one(name: str, device: str) -> Job:
        return client.submit_one(BELL, Scope(name, "a", "f"), device=device, shots=10)

    return one


def test_2_s_job_beside_one_of_hours_is_noticed_at_its_own_next_look(
    sandbox: Sandbox, client: Client, buy: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in sandbox.env.items():
        monkeypatch.setenv(name, value)
    sandbox.admin.clock("frozen")
    old = buy("old", "ionq-simulator")
    hours_ago = datetime.now(UTC) - timedelta(hours=3)
    with client.ledger.write() as connection:
        connection.execute(sa.update(jobs_table).values(submitted_at=hours_ago))
    client.poller().tick([reads.job(client.ledger, old.key)])
    with client.ledger.write() as connection:  # the old job alone would be looked at in half a minute
        connection.execute(sa.update(lanes_table).values(next_at=lanes_table.c.ok_at + 29))
    young = buy("young", "ionq-simulator")
    lists = sandbox.admin.requests("ionq.list")
    thread = threading.Thread(target=client.poller().wait, args=([young.key],), kwargs={"timeout": 20})
    thread.start()
    sandbox.admin.wait_until(lambda: sandbox.admin.requests("ionq.list") >= lists + 3)
    sandbox.admin.release([young.vendor_id or ""])
    ended_at = sandbox.admin.requests("ionq.list")
    thread.join(20)
    assert reads.job(client.ledger, young.key).status is JobStatus.COMPLETED
    assert reads.job(client.ledger, old.key).status is not JobStatus.COMPLETED
    assert sandbox.admin.requests("ionq.list") - ended_at <= 2  # one may have been under way


def test_jobs_one_after_the_other_take_four_requests_each_without_a_queue(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Sandbox(vendors=("ibm",)) as ibm:
        for name, value in ibm.env.items():
            monkeypatch.setenv(name, value)
        client.run(BELL, Scope("warm", "a", "f"), device="ibm:ibm_kingston", shots=10)
        before = ibm.admin.counts()["requests"]
        for i in range(10):
            client.run(BELL, Scope(f"r{i}", "a", "f"), device="ibm:ibm_kingston", shots=10)
        after = ibm.admin.counts()["requests"]
    made = {route: n - before.get(route, 0) for route, n in after.items() if n != before.get(route, 0)}
    assert made.pop("ibm.submit") == 10
    assert made.pop("ibm.list") <= 15  # a job that is sent just before a look may need a second one
    assert set(made.values()) == {10}  # metrics and results
    assert len(made) == 2


@pytest.mark.parametrize(("chosen", "expected"), [(None, IonQProvider.capabilities.posts_at_once), (3, 3)])
def test_list_is_sent_by_as_many_workers_as_vendor_or_setting_allow(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: int | None, expected: int
) -> None:
    for name, value in sandbox.env.items():
        monkeypatch.setenv(name, value)
    core = Client(Settings(home=tmp_path, posts_at_once=chosen))
    sandbox.admin.fault("hold", "ionq.submit", when="before", times=1000)
    # 2 circuits a job would be packed: a bound of one makes 12 jobs
    sender = threading.Thread(
        target=core.submit_list,
        args=([BELL] * 12, Scope("many", "a", "f")),
        kwargs={"device": "ionq-simulator", "max_circuits": 1, "shots": 10},
    )
    sender.start()
    most = 0
    try:
        while sandbox.admin.requests("ionq.submit") < 12 and sender.is_alive():
            sandbox.admin.wait_until(lambda: bool(sandbox.admin.held()) or not sender.is_alive())
            sandbox.admin.wait_until(
                lambda: len(sandbox.admin.held()) >= min(expected, 12 - sandbox.admin.count_jobs("ionq"))
            )
            held = sandbox.admin.held()
            most = max(most, len(held))
            sandbox.admin.release_held([held[0]["id"]])
    finally:
        sandbox.admin.clear_faults()
        sandbox.admin.release_held()
        sender.join(20)
        core.ledger.close()
    assert most == expected
    assert sandbox.admin.count_jobs("ionq") == 12
