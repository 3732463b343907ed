"""When to poll a job: soon after its submission, then less often the older it is.

A job is polled again when its age has grown by a tenth. The times lie on a grid of the ledger's clock: every step is
the longest one divided by a power of two, so that jobs of one account fall due together and share requests, and any
process derives the same times from the ledger. Nothing is stored per job.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from qflows.ledger.lanes import Lane
from qflows.ledger.pending import Polled, began_at
from qflows.ledger.store import utc_now
from qflows.protocol import Pace

_SHARE = 0.1  # of a job's age, until the next poll
_AFTER_NEWS_S = 0.9  # the shortest step for an old job whose device is moving, and for one that could not be read
_DURATIONS, _ENOUGH = 16, 3  # how many durations of a device are kept, and how many are enough to use
_COMPANY_S = 10.0  # for so long after another waiter polled a lane, it is expected to do so again
_TOKENS_A_JOB = 3  # polls that every new job adds to the allowance: short jobs in a row are never held up


def step_s(pace: Pace, age_s: float) -> float:
    """Seconds between two polls of a job of this age; 0 if there is no pace to keep."""
    if pace.first_s <= 0:
        return 0.0
    longest = max(pace.max_s, pace.first_s)
    wanted = min(max(_SHARE * age_s, pace.first_s), longest)
    halvings = min(math.ceil(math.log2(longest / wanted)), math.floor(math.log2(longest / pace.first_s)))
    return longest / 2**halvings


def next_look(pace: Pace, since: float, after: float) -> float:
    """The first time after `after` at which a job that began at `since` is due; unix seconds of one clock."""
    after = max(after, since)
    step = step_s(pace, after - since)
    return (math.floor(after / step) + 1) * step if step else after


def paced(pace: Pace, first_s: float | None) -> Pace:
    """The vendor's pace, or the one that a setting puts in its place: the setting's shortest step, without a rate
    limit."""
    return pace if first_s is None else replace(pace, first_s=first_s, rate=math.inf)


_Place = tuple[str, str, str]


def _place(job: Polled) -> _Place:
    return job.provider, job.account, job.device_id


@dataclass
class News:
    """What this process saw of each device: when something last happened there, and how long its last jobs took.

    While a device works through its queue, the next job in the queue is polled sooner than its age suggests. A new job
    is first polled when the shortest of the last jobs was done.
    """

    _at: dict[_Place, float] = field(default_factory=dict)
    _took: dict[_Place, deque[float]] = field(default_factory=dict)
    _looked: dict[str, float] = field(default_factory=dict)  # age at the last poll that found the job unfinished
    _company: dict[tuple[str, str], float] = field(default_factory=dict)

    def note(self, jobs: Collection[Polled]) -> None:
        """Note that something happened to these jobs just now."""
        now = time.monotonic()
        self._at.update({_place(job): now for job in jobs})

    def ago_s(self, job: Polled) -> float:
        """Seconds since the last news of the job's device; infinite without any."""
        at = self._at.get(_place(job))
        return math.inf if at is None else time.monotonic() - at

    def looked(self, job: Polled, age_s: float, *, over: bool) -> None:
        """Note whether a poll of a job of this age found it over.

        The end lies between the last poll that found the job unfinished and this one; the midpoint counts as the
        duration. At a first poll, half the age counts: a device that has become faster is followed within a few jobs.
        """
        if not over:
            self._looked[job.key] = age_s
            return
        before_s = self._looked.pop(job.key, 0.0)
        self._took.setdefault(_place(job), deque(maxlen=_DURATIONS)).append((before_s + age_s) / 2)

    def is_alone(self, lane: Lane) -> bool:
        """Whether the lane's holder also polled it last, and nobody else did lately."""
        place, now = (lane.provider, lane.account), time.monotonic()
        if lane.polled_by not in (None, lane.holder):
            self._company[place] = now
        return lane.polled_by == lane.holder and now - self._company.get(place, -math.inf) > _COMPANY_S

    def first_look_s(self, job: Polled) -> float | None:
        """The age at which to poll for the first time; None while too little is known of the device."""
        took = self._took.get(_place(job), ())
        return min(took) if len(took) >= _ENOUGH else None


@dataclass(frozen=True, slots=True)
class Agenda:
    """The jobs of one lane and when each is due; those with `urgent` keys at once. `now`: the ledger's clock, in unix
    seconds."""

    pace: Pace
    page: int
    news: News
    urgent: frozenset[str] = frozenset()
    wall: datetime = field(default_factory=utc_now)

    def soonest(self, jobs: Sequence[Polled], *, now: float, after: float) -> float | None:
        """The earliest time after `after` at which one of the jobs is due; None without jobs."""
        at_once = max(now, after + step_s(self.pace, 0.0))
        dues = self._dues(jobs, now, after)
        return min((min(due, at_once) if job.key in self.urgent else due for job, due in dues), default=None)

    def due(self, lane: Lane, jobs: Sequence[Polled]) -> list[Polled]:
        """The jobs to poll now: those due since the lane's last answered poll and, to fill the last page, those due
        soonest."""
        if lane.asked_at is None or lane.next_at == 0:  # never polled, or freed by a person
            return list(jobs)
        dues = self._dues(jobs, lane.now, lane.asked_at)
        ready = [job for job, due in dues if due <= lane.now or job.key in self.urgent]
        free = -len(ready) % self.page
        if not free:
            return ready
        taken = {job.key for job in ready}
        later = sorted(self._dues([j for j in jobs if j.key not in taken], lane.now, lane.now), key=lambda d: d[1])
        return ready + [job for job, _ in later[:free]]

    def _dues(self, jobs: Sequence[Polled], now: float, after: float) -> list[tuple[Polled, float]]:
        """Each job's next time after `after`: by its own age or, for the oldest page of a moving device, by the time
        since it last moved. `after`: when the lane was last asked; a younger job was never polled.
        """
        dues: list[tuple[Polled, float]] = []
        places: dict[str, int] = {}
        brisk = self.pace
        if self.pace.first_s > 0:
            brisk = replace(self.pace, first_s=max(self.pace.first_s, min(_AFTER_NEWS_S, self.pace.max_s)))
        aged = sorted(((self.age_s(job), job) for job in jobs), key=lambda pair: -pair[0])
        for age_s, job in aged:
            # an unreadable answer may be readable a second later, but not at once
            due = next_look(brisk if job.bad_reads else self.pace, now - age_s, after)
            since, soonest = now - age_s, after + step_s(self.pace, 0.0)
            first_s = min(self.news.first_look_s(job) or 0.0, self.pace.max_s)
            # a poll for the sake of others before that time changes nothing
            if since + first_s > after:
                due = since + first_s if since > after else max(since + first_s, soonest)
            else:
                due = max(due, soonest)
            place = places[job.device_id] = places.get(job.device_id, 0) + 1
            quiet_s = self.news.ago_s(job)
            if place <= self.page and quiet_s < age_s and age_s > first_s:
                due = min(due, max(next_look(brisk, now - quiet_s, after), soonest))
            dues.append((job, due))
        return dues

    def age_s(self, job: Polled) -> float:
        """Seconds since the submission."""
        return max((self.wall - began_at(job)).total_seconds(), 0.0)


def used_s(pace: Pace, lane: Lane, *, requests: int, new_jobs: int) -> float:
    """How far a lane is ahead of its rate after this poll, in seconds: the previous excess, and what this poll took."""
    left = max(lane.interval_s - lane.since_s, 0.0)
    return max(left + (requests - _TOKENS_A_JOB * new_jobs) / pace.rate, 0.0)


def held_up_s(pace: Pace, used: float) -> float:
    """Seconds until the rate allows another request, at most the longest step."""
    burst_s = 0.0 if math.isinf(pace.rate) else pace.burst / pace.rate
    return min(max(used - burst_s, 0.0), max(pace.max_s, pace.first_s))
