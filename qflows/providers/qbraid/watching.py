"""Statuses of many jobs in few requests, although only a read by id brings a job up to date.

`GET /jobs/{qrn}` makes qBraid ask the device's vendor, keep the result and settle the credits; whether lists do so is
unknown (qBraid's connector, 2026-09). So lists show which jobs are over, and each unfinished job is read by its id from
time to time: soon at first, then less and less often, and only a few at each poll.
"""

from __future__ import annotations

import logging
import math
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any

from qflows.errors import Ambiguous, NotSent, Refused, Unreadable
from qflows.protocol import Observation, Phase
from qflows.providers.qbraid import wire
from qflows.providers.qbraid.http import QbraidHttp, is_absent, path_of
from qflows.providers.qbraid.pacing import Purpose

log = logging.getLogger("qflows.providers.qbraid")

PAGE = 100  # REST page, GET /jobs: limit at most 100
_MAX_PAGES = 1_000  # 100,000 jobs: a list that never ends must not hang us
_FEW = 5  # up to this many are read by id alone
_SHARE_A_LOOK = 10  # reads by id in addition to lists: this part of the remaining requests
_PATIENCE = 4.0  # a job is read again after a quarter of the time it has been watched
_LONGEST_S = 300.0
_REMEMBERED = 100_000
_SLACK = timedelta(hours=1)  # lists are read this far beyond the requested time
_UNREADABLE = "(unreadable)"

Job = Mapping[str, Any]
_Looks = dict[str, Observation | Ambiguous]  # a job that alone could not be read has the error


@dataclass
class _Watched:
    """One unfinished job. Times are monotonic seconds."""

    first_at: float
    read_at: float = -math.inf
    look: Observation | None = None

    def is_due(self, now: float) -> bool:
        return self.look is None or now - self.read_at >= min((now - self.first_at) / _PATIENCE, _LONGEST_S)


@dataclass
class Watch:
    """What is known of the jobs of one account. Thread-safe."""

    http: QbraidHttp
    settle_s: float
    filter_finds_subsets: bool = True
    _lots: OrderedDict[str, str] = field(default_factory=OrderedDict)  # vendor id -> lot
    _watched: OrderedDict[str, _Watched] = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)

    # -- one job -----------------------------------------------------------------------------------------------

    def read(self, vendor_id: str, purpose: Purpose = Purpose.WORK) -> Job:
        """GET /jobs/{qrn}."""
        job = self.http.get(path_of("jobs", vendor_id), purpose=purpose)
        if not isinstance(job, dict):
            raise Unreadable(f"qbraid: job {vendor_id[:200]} is not an object", provider="qbraid", body=str(job)[:4000])
        self.learn(vendor_id, job)
        return job

    def forget(self, vendor_id: str) -> None:
        """Forget what was seen of this job: it is out of date."""
        with self._lock:
            self._watched.pop(vendor_id, None)

    def learn(self, vendor_id: str, job: Job) -> None:
        """Keep the lot that a job carries."""
        if isinstance(lot := wire.tags_of(job).get(wire.LOT), str):
            self.remember_lot(vendor_id, lot)

    def remember_lot(self, vendor_id: str, lot: str) -> None:
        """Keep the lot of a job."""
        with self._lock:
            self._lots[vendor_id] = lot
            _shorten(self._lots)

    def _lot_of(self, vendor_id: str) -> str | None:
        with self._lock:
            return self._lots.get(vendor_id)

    def _look_by_id(self, vendor_id: str, looks: _Looks) -> Job | None:
        """Read one job; None and absent from `looks` if qBraid does not know it. An unreadable job does not affect the
        others."""
        try:
            job = self.read(vendor_id, Purpose.WATCH)
            looks[vendor_id] = look = wire.observation(job)
        except Refused as error:
            if is_absent(error):
                self.forget(vendor_id)
                return None
            if error.http_status != 404 and error.http_status is not None:
                raise
            looks[vendor_id] = _unreadable(error)
            return None
        except Unreadable as error:
            looks[vendor_id] = _unreadable(error)
            return None
        except Ambiguous as error:
            if error.http_status is None:
                raise  # unreachable: asking for the next one would take as long
            looks[vendor_id] = error
            return None
        with self._lock:
            watched = self._watched.setdefault(vendor_id, _Watched(time.monotonic()))
            watched.read_at, watched.look = time.monotonic(), look
            if not _is_unfinished(look):
                self._watched.pop(vendor_id)
            _shorten(self._watched)
        return job

    # -- many jobs ---------------------------------------------------------------------------------------------

    def look_at(self, vendor_ids: Sequence[str]) -> dict[str, Observation]:
        """Statuses; an id that qBraid does not know is absent."""
        looks: _Looks = {}
        try:
            (self._few if len(set(vendor_ids)) <= _FEW else self._many)(vendor_ids, looks)
        except (Ambiguous, NotSent, Unreadable) as error:
            if not looks:
                raise
            # what was seen is kept: a list too long for one window of requests must still complete
            log.warning("polling qBraid ended early, with %d of %d jobs seen: %s", len(looks), len(vendor_ids), error)
        troubles = [look for look in looks.values() if isinstance(look, Ambiguous)]
        if troubles and len(troubles) == len(looks):
            raise troubles[0]  # not one job's fault: the vendor has a temporary problem
        return {v: _unreadable(look) if isinstance(look, Ambiguous) else look for v, look in looks.items()}

    def _few(self, vendor_ids: Sequence[str], looks: _Looks) -> None:
        for vendor_id in dict.fromkeys(vendor_ids):
            if (known := self._fresh(vendor_id)) is not None:
                looks[vendor_id] = known
            else:
                self._look_by_id(vendor_id, looks)

    def _many(self, vendor_ids: Sequence[str], looks: _Looks) -> None:
        read = self._look_at_lists(dict.fromkeys(vendor_ids), looks)
        unfinished = [v for v, look in looks.items() if v not in read and _is_unfinished(look)]
        affordable = self.http.pacing.left(Purpose.WATCH) // _SHARE_A_LOOK
        for vendor_id in self._due(unfinished)[:affordable]:
            self._look_by_id(vendor_id, looks)

    def _fresh(self, vendor_id: str) -> Observation | None:
        """What the last read by id said, if the next one is not due."""
        with self._lock:
            watched = self._watched.get(vendor_id)
            return watched.look if watched is not None and not watched.is_due(time.monotonic()) else None

    def _due(self, vendor_ids: Sequence[str]) -> list[str]:
        """Those to be read by id again, the one that has waited longest first."""
        with self._lock:
            now = time.monotonic()
            for vendor_id in vendor_ids:
                self._watched.setdefault(vendor_id, _Watched(now))
            _shorten(self._watched)
            due = [v for v in vendor_ids if (w := self._watched.get(v)) is not None and w.is_due(now)]
            return sorted(due, key=lambda v: self._watched[v].read_at)

    def _look_at_lists(self, waiting: dict[str, None], looks: _Looks) -> set[str]:
        """Read lists by lot if the ids fill their lots, otherwise all pending jobs. An id that no list shows (just
        finished, or lagging) is read by itself; returns those."""
        lots = {self._lot_of(vendor_id) for vendor_id in waiting}
        is_scattered = None in lots or len(lots) > math.ceil(len(waiting) / PAGE)
        if is_scattered or not self.filter_finds_subsets:
            mark = [wire.tag_filter(qflows="1")] if self.filter_finds_subsets else []
            self._take_from(self.pages([("statusGroup", "pending"), *mark]), waiting, looks)
        by_id: set[str] = set()
        lots_read: set[str] = set()
        while waiting:
            vendor_id = next(iter(waiting))
            if self._lot_of(vendor_id) is None:  # it names its lot, which may hold others
                self._by_id(vendor_id, waiting, looks, by_id)
            lot = self._lot_of(vendor_id)
            if waiting and lot is not None and lot not in lots_read and self.filter_finds_subsets:
                lots_read.add(lot)
                self._take_from(self.pages([wire.tag_filter(qflows_lot=lot)]), waiting, looks)
            if vendor_id in waiting:
                job = self._by_id(vendor_id, waiting, looks, by_id)
                if lot in lots_read and job is not None:
                    self._doubt_the_filter(job)
        return by_id

    def _by_id(self, vendor_id: str, waiting: dict[str, None], looks: _Looks, by_id: set[str]) -> Job | None:
        waiting.pop(vendor_id)
        by_id.add(vendor_id)
        return self._look_by_id(vendor_id, looks)

    def _take_from(self, pages: Iterator[Sequence[Job]], waiting: dict[str, None], looks: _Looks) -> None:
        for page in pages:
            for job in page:
                vendor_id = str(job["jobQrn"])
                if vendor_id in waiting:
                    looks[vendor_id] = wire.observation(job)
                    waiting.pop(vendor_id)
            if not waiting:
                return

    def _doubt_the_filter(self, job: Job) -> None:
        """Distrust the filter: a job has the tag, is old enough to be listed, and was not, so the filter wants all tags
        given."""
        created = wire.created_at(job)
        there = datetime.now(UTC) + timedelta(seconds=self.http.skew_s)
        if self.filter_finds_subsets and created and (there - created).total_seconds() > self.settle_s:
            self.filter_finds_subsets = False
            log.warning("qBraid's tag filter did not find job %s; polling reads all pending jobs now", job["jobQrn"])

    def pages(
        self,
        params: Sequence[tuple[str, str]],
        *,
        since: datetime | None = None,
        purpose: Purpose = Purpose.WATCH,
    ) -> Iterator[Sequence[Job]]:
        """Pages of GET /jobs to the end of the list, or to where it is an hour older than `since`, a time of our clock;
        the vendor's own is taken from its answers."""
        newest_first, last = True, None
        for number in range(1, _MAX_PAGES + 1):
            body = self.http.get_envelope(
                "/jobs", [*params, ("limit", str(PAGE)), ("page", str(number))], purpose=purpose
            )
            page = wire.jobs_of(body["data"])
            for job in page:
                self.learn(str(job["jobQrn"]), job)
            yield page
            moments = [wire.created_at(job) for job in page]
            for moment in moments:
                # order is not documented: stopping early is allowed only while the list itself shows it
                newest_first = newest_first and moment is not None and (last is None or moment <= last)
                last = moment
            oldest = since + timedelta(seconds=self.http.skew_s) - _SLACK if since is not None else None
            is_past = oldest is not None and newest_first and all(m is not None and m < oldest for m in moments)
            if not page or is_past or not _goes_on(body.get("pagination"), len(page)):
                return


def _is_unfinished(look: Observation | Ambiguous) -> bool:
    return isinstance(look, Observation) and look.phase in (Phase.QUEUED, Phase.RUNNING)


def _goes_on(pagination: Any, size: int) -> bool:
    has_next = pagination.get("hasNext") if isinstance(pagination, dict) else None
    return has_next if isinstance(has_next, bool) else size >= PAGE


def _unreadable(error: Refused | Unreadable | Ambiguous) -> Observation:
    return Observation(Phase.UNKNOWN, _UNREADABLE, error_message=str(error)[:2000])


def _shorten(known: OrderedDict[str, Any]) -> None:
    while len(known) > _REMEMBERED:
        known.popitem(last=False)
