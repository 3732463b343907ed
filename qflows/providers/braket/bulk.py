"""Statuses of many tasks in few requests.

SearchQuantumTasks reads ten tasks by ARN, or a hundred a page in a window of creation times (AWS reference of
SearchQuantumTasks, stored copy 2026), at five calls a second. So tasks are read by window if their creation times are
known: our own submissions from our clock, all others from the first poll. Tasks that a window does not show (different
clocks, other people's tasks in between) are requested by ARN. How filters combine, and the order of the list, are not
documented: here they only affect the number of requests, never an answer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any

from qflows.errors import Unreadable
from qflows.providers.braket import wire

PAGE = 100
BY_ARN = 10  # values a filter may hold
_MAX_PAGES = 2_000
_GAP = timedelta(hours=1)  # a longer gap between two tasks is not worth reading through
_REMEMBERED = 200_000
_TICK = timedelta(milliseconds=1)  # the precision of createdAt

Search = Callable[[str, list[dict[str, Any]], str | None], dict[str, Any]]
Span = tuple[datetime, datetime]


class Bulk:
    """Remembers when tasks were created and what a search last said of them. Thread-safe."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._spans: OrderedDict[str, Span] = OrderedDict()
        self._crowded: dict[str, bool] = {}
        self._lock = Lock()

    def made(self, arn: str, after: datetime, before: datetime) -> None:
        """Note that a task was created between these times of our clock."""
        self._remember(arn, (after - _TICK, before + _TICK))

    def _remember(self, arn: str, span: Span) -> None:
        with self._lock:
            self._spans[arn] = span
            self._spans.move_to_end(arn)
            while len(self._spans) > _REMEMBERED:
                self._spans.popitem(last=False)

    def _span(self, arn: str) -> Span | None:
        with self._lock:
            return self._spans.get(arn)

    def tasks(self, arns: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Summaries by ARN; a task that no search shows is absent. ceil(n / PAGE) requests if times are known."""
        found: dict[str, Mapping[str, Any]] = {}
        by_region: dict[str, list[str]] = {}
        for arn in dict.fromkeys(arns):
            if wire.is_task(arn):
                by_region.setdefault(str(wire.region_of(arn)), []).append(arn)
        for region, wanted in by_region.items():
            self._read_region(region, wanted, found)
        return found

    def _read_region(self, region: str, wanted: Sequence[str], found: dict[str, Mapping[str, Any]]) -> None:
        unseen = dict.fromkeys(wanted)
        if len(unseen) > BY_ARN and not any(self._span(arn) for arn in unseen):
            # tasks of an earlier process: a few of them show when all were created
            step = (len(wanted) - 1) / (BY_ARN - 1)
            sample = [wanted[round(k * step)] for k in range(BY_ARN)]
            self._by_arn(region, sample, unseen, found)
            spans = [span for arn in sample if (span := self._span(arn))]
            if spans and len(unseen) > BY_ARN:
                self._by_window(region, _around(spans), unseen, found)
        else:
            for spans in _clusters(span for arn in unseen if (span := self._span(arn))):
                if len(spans) > BY_ARN:
                    self._by_window(region, _around(spans), unseen, found)
        rest = list(unseen)
        for start in range(0, len(rest), BY_ARN):
            self._by_arn(region, rest[start : start + BY_ARN], unseen, found)

    def _by_arn(
        self, region: str, arns: Sequence[str], unseen: dict[str, None], found: dict[str, Mapping[str, Any]]
    ) -> None:
        filters = [{"name": "quantumTaskArn", "operator": "EQUAL", "values": list(arns)}]
        self._take(self._search(region, filters, None), unseen, found)
        for arn in arns:
            unseen.pop(arn, None)

    def _by_window(self, region: str, span: Span, unseen: dict[str, None], found: dict[str, Mapping[str, Any]]) -> None:
        """Read pages of a window while they show more of ours than a request by ARN could."""
        filters = [{"name": "createdAt", "operator": "BETWEEN", "values": [_text(span[0]), _text(span[1])]}]
        if self._crowded.get(region):
            # other tasks filled the pages last time: read only live ones; finished ones are requested by ARN
            filters.append({"name": "status", "operator": "EQUAL", "values": list(wire.LIVE)})
        token: str | None = None
        pages = taken = 0
        while pages < _MAX_PAGES:
            page = self._search(region, filters, token)
            new = self._take(page, unseen, found)
            pages, taken = pages + 1, taken + new
            token = page.get("nextToken")
            if not token or len(unseen) <= BY_ARN or new < BY_ARN:
                break
        self._crowded[region] = pages > -(-taken // PAGE)

    def _take(self, page: Mapping[str, Any], unseen: dict[str, None], found: dict[str, Mapping[str, Any]]) -> int:
        """Keep what a page says of ours. Returns how many were new."""
        before = len(unseen)
        for task in summaries(page):
            arn = str(task["quantumTaskArn"])
            if arn in unseen:
                del unseen[arn]
                found[arn] = task
                if created := wire.moment(task.get("createdAt")):
                    self._remember(arn, (created - _TICK, created + _TICK))
        return before - len(unseen)


def pages_of(search: Search, region: str, filters: list[dict[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """All tasks that pass the filters, to the end of the list."""
    token: str | None = None
    for _ in range(_MAX_PAGES):
        page = search(region, filters, token)
        yield from summaries(page)
        token = page.get("nextToken")
        if not token:
            return
    raise Unreadable(f"braket: the search in {region} does not end", provider="braket")


def created_since(since: datetime, devices: Collection[str]) -> list[list[dict[str, Any]]]:
    """Filters for tasks created since then on these devices; one search per ten devices."""
    names = sorted(devices)
    window = {"name": "createdAt", "operator": "GTE", "values": [_text(since)]}
    return [
        [window, {"name": "deviceArn", "operator": "EQUAL", "values": names[start : start + BY_ARN]}]
        for start in range(0, len(names), BY_ARN)
    ]


def created_in(since: datetime, until: datetime | None) -> list[dict[str, Any]]:
    """Filters for tasks created in this time, on any device."""
    if until is None:
        return [{"name": "createdAt", "operator": "GTE", "values": [_text(since)]}]
    return [{"name": "createdAt", "operator": "BETWEEN", "values": [_text(since), _text(until)]}]


def summaries(page: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The tasks of a page. Raises Unreadable for a page without a list of them."""
    tasks = page.get("quantumTasks")
    if not isinstance(tasks, list) or not all("quantumTaskArn" in task for task in tasks):
        raise Unreadable("braket: the search answer lists no tasks", provider="braket", body=str(page)[:4000])
    return tasks


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _around(spans: Sequence[Span]) -> Span:
    return min(start for start, _ in spans), max(end for _, end in spans)


def _clusters(spans: Iterator[Span]) -> Iterator[list[Span]]:
    """Spans in groups without a long gap inside."""
    group: list[Span] = []
    for span in sorted(spans):
        if group and span[0] - group[-1][1] > _GAP:
            yield group
            group = []
        group.append(span)
    if group:
        yield group
