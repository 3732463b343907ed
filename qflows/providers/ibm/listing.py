"""Reading statuses in bulk from a list that can be filtered by tag and time, but not by id.

The jobs of one poll are usually close in time, so the list is read as a window: from the creation of the oldest wanted
job, in ascending order, 200 at a time. That is ceil(n / 200) requests if no other jobs lie in between. A few jobs
that were just sent are first looked for among the newest, which is a short answer.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any

from qflows.errors import Refused, Unreadable
from qflows.protocol import Found, Observation
from qflows.providers.ibm import wire
from qflows.providers.ibm.runtime import JOB_ID, Runtime

PAGE = 200  # OpenAPI 0.45.3, list_jobs: the maximum; above it the server uses its default
_REMEMBERED = 50_000
_CLOCK_SLACK = timedelta(minutes=5)  # our clock against IBM's, for jobs whose creation time IBM has not given us yet
_MARGIN = timedelta(seconds=1)
_PENDING_PAGES = 20
_MAX_PAGES = 500  # 100,000 jobs: a list that never ends must not hang us
_NEWER = 16  # rows to read beyond the wanted ones, in case others have sent jobs meanwhile
_FEW = 4  # up to this many keys or ids are requested one by one

Page = Sequence[Mapping[str, Any]]


class Listing:
    """Bulk reads of one instance. Remembers when jobs were created, to ask for narrow windows."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._created: OrderedDict[str, tuple[datetime, datetime]] = OrderedDict()  # not before, not after
        self._lock = Lock()
        self.filter_works = True  # as documented; see `Doctor.learn`

    def submitted(self, vendor_id: str) -> None:
        """Note a job accepted just now."""
        now = datetime.now(UTC) + timedelta(seconds=self._runtime.skew_s)
        self._note(vendor_id, now - _CLOCK_SLACK, now + _CLOCK_SLACK)

    def states(self, vendor_ids: Collection[str]) -> dict[str, Observation]:
        """Statuses by id; ids that IBM does not know are absent."""
        missing, looks = set(vendor_ids), {}
        for page in self._plan(missing):
            for job in page:
                vendor_id = str(job.get("id"))
                if vendor_id in missing:
                    missing.discard(vendor_id)
                    looks[vendor_id] = wire.observation(job)
            if not missing:
                break
        return looks | {vendor_id: look for vendor_id in missing if (look := self._single(vendor_id))}

    def _plan(self, missing: set[str]) -> Iterator[Page]:
        """Pages worth reading while something is missing; `missing` shrinks while they are read."""
        with self._lock:
            known = [self._created[vendor_id] for vendor_id in missing if vendor_id in self._created]
        n_unknown = len(missing) - len(known)
        if known:
            # it is not documented whether the bounds are inclusive, and shown times are rounded
            first, last = min(k[0] for k in known) - _MARGIN, max(k[1] for k in known) + _MARGIN
            window = {"created_after": first, "created_before": last}
            limit, is_all = len(known) + _NEWER, False
            if limit < PAGE and all(k[0] != k[1] for k in known):  # just sent: the newest of a wide window
                newest = self._page(limit=limit, job_tags=[wire.MARK], descending=True, **window)
                yield newest
                is_all = len(newest) < limit
            if missing and not is_all:
                yield from self._pages(2 * math.ceil(len(known) / PAGE) + 2, descending=False, **window)
        if missing and n_unknown > _FEW:
            yield from self._pages(math.ceil(n_unknown / PAGE), descending=True)
        if len(missing) > _FEW:
            yield from self._pages(_PENDING_PAGES, descending=True, pending=True)

    def _pages(self, most: int, **filters: Any) -> Iterator[Page]:
        for number in range(most):
            page = self._page(limit=PAGE, skip=number * PAGE, job_tags=[wire.MARK], **filters)
            yield page
            if len(page) < PAGE:
                return

    def _page(self, **filters: Any) -> Page:
        body = self._runtime.read("the job list", lambda client: client.jobs_get(include_mocks=True, **filters))
        jobs = body.get("jobs") if isinstance(body, dict) else None
        if not isinstance(jobs, list) or not all(isinstance(job, dict) and "id" in job for job in jobs):
            raise Unreadable("ibm: the job list has no member jobs", provider="ibm", body=str(body)[:4000])
        for job in jobs:
            if created := wire.moment(job.get("created")):
                self._note(str(job["id"]), created, created)
        return jobs

    def _single(self, vendor_id: str) -> Observation | None:
        from qflows.providers.ibm.http import is_gone

        if not JOB_ID.fullmatch(vendor_id):
            return None
        try:
            job = self._runtime.read(f"job {vendor_id}", lambda client: client.job_get(vendor_id))
        except Refused as error:
            if is_gone(error):
                return None
            raise
        if not isinstance(job, dict):
            raise Unreadable(f"ibm: job {vendor_id} is not an object", provider="ibm", body=str(job)[:4000])
        if created := wire.moment(job.get("created")):
            self._note(vendor_id, created, created)
        return wire.observation(job)

    def _note(self, vendor_id: str, first: datetime, last: datetime) -> None:
        with self._lock:
            self._created[vendor_id] = (first, last)
            self._created.move_to_end(vendor_id)
            while len(self._created) > _REMEMBERED:
                self._created.popitem(last=False)

    def bearing(self, keys: Collection[str], *, since: datetime) -> dict[str, list[Found]]:
        """Jobs by key, oldest first. Each row's own tags are checked: a server that ignores a filter lists other jobs.

        A key is unique, so its tag is requested without a date: clocks differ, and a key that is not found is bought
        again. Many keys are first looked for in the list of our jobs since then, by IBM's clock.
        """
        hits: dict[str, list[Found]] = {}
        tag_of = {wire.key_tag(key): key for key in keys}
        if len(tag_of) > _FEW or not self.filter_works:
            first = since + timedelta(seconds=min(self._runtime.skew_s, 0.0))
            self._scan(wire.MARK, lambda job: _collect(hits, job, tag_of), created_after=first)
        for tag, key in tag_of.items():
            if key not in hits and self.filter_works:
                self._scan(tag, lambda job: _collect(hits, job, tag_of))
        for found in hits.values():
            found.sort(key=lambda hit: (hit.created_at or datetime.max.replace(tzinfo=UTC), hit.vendor_id))
        return hits

    def everything(self, *, since: datetime, until: datetime | None) -> Iterator[Mapping[str, Any]]:
        """All jobs of the instance created in this time, from any submitter, oldest first."""
        window: dict[str, Any] = {"created_after": since} | ({"created_before": until} if until else {})
        for number in range(_MAX_PAGES):
            page = self._page(limit=PAGE, skip=number * PAGE, descending=False, **window)
            yield from page
            if len(page) < PAGE:
                return

    def _scan(self, tag: str, see: Callable[[Mapping[str, Any]], None], **filters: Any) -> None:
        for number in range(_MAX_PAGES):
            page = self._page(limit=PAGE, skip=number * PAGE, job_tags=[tag], descending=False, **filters)
            for job in page:
                see(job)
            if len(page) < PAGE:
                return
        raise Unreadable(f"ibm: more than {_MAX_PAGES} pages of jobs with tag {tag}", provider="ibm")


def _collect(hits: dict[str, list[Found]], job: Mapping[str, Any], tag_of: Mapping[str, str]) -> None:
    for tag in job.get("tags") or []:
        key = tag_of.get(tag)
        found = Found(str(job["id"]), wire.moment(job.get("created")))
        if key is not None and found not in hits.setdefault(key, []):
            hits[key].append(found)
