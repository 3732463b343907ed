"""qBraid's native groups: a named set of jobs on any devices, with a time to live, kept by the vendor.

A group's state at qBraid changes only when it is read or listed (REST pages, read 2026-11).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from qflows.errors import ProgramRejected, Refused, Unreadable
from qflows.model import Cost
from qflows.protocol import Found, Observation
from qflows.providers.qbraid import wire
from qflows.providers.qbraid.http import QbraidHttp, path_of

MAX_TTL_S = 86_400  # qbraid 0.13.0, GroupJobSession; the server's default is 3600
_PAGE = 100
_SLACK = timedelta(hours=1)  # the list is read this far beyond the requested time
_MAX_PAGES = 1_000


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """A native group as it is now. Costs in credits; times UTC."""

    group_id: str
    name: str
    state: str  # OPEN, CLOSED, COMPLETED, FAILED, CANCELLED, or an undocumented word
    key: str | None
    created_at: datetime | None
    max_ttl_s: float | None
    n_jobs: int
    n_completed: int
    n_failed: int
    n_cancelled: int
    estimated_cost: Cost | None = None
    cost: Cost | None = None
    tags: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """True if it accepts jobs."""
        return self.state == "OPEN"


@dataclass(frozen=True, slots=True)
class GroupMember:
    """A job of a group, as the vendor lists it; `key` is set if the job is ours."""

    vendor_id: str
    key: str | None
    device_id: str
    look: Observation
    cost: Cost | None


class GroupCalls:
    """The group calls of the API."""

    def __init__(self, http: QbraidHttp) -> None:
        self._http = http

    def create(self, key: str, *, name: str, tags: Mapping[str, str], max_ttl_s: float | None) -> GroupInfo:
        """POST /jobs/group, once. Raises like a submission."""
        body: dict[str, Any] = {"tags": {**tags, wire.KEY: key, wire.MARK: "1"}, "metadata": {}}
        if name:
            body["name"] = name
        if max_ttl_s is not None:
            if not 1 <= max_ttl_s <= MAX_TTL_S:
                raise ProgramRejected(f"a qBraid group lives for 1 to {MAX_TTL_S} seconds, not {max_ttl_s:g}")
            body["maxTTL"] = int(max_ttl_s)
        return _info(self._http.post_once("/jobs/group", body, "groupJobQrn"))

    def find(self, keys: Collection[str], *, since: datetime) -> Mapping[str, Sequence[Found]]:
        """Read the group list (no tag filter exists) to its end, or to where it is older than `since`."""
        hits: dict[str, list[Found]] = {}
        for number in range(1, _MAX_PAGES + 1):
            page = self._http.get("/jobs/group", [("page", str(number)), ("limit", str(_PAGE))])
            entries = [_info(entry) for entry in _listed(page)]
            for info in entries:
                if info.key is not None and info.key in keys:
                    hits.setdefault(info.key, []).append(Found(info.group_id, info.created_at))
            oldest = since + timedelta(seconds=self._http.skew_s) - _SLACK
            if len(entries) < _PAGE or all(i.created_at is not None and i.created_at < oldest for i in entries):
                break
        for found in hits.values():
            found.sort(key=lambda hit: (hit.created_at is None, hit.created_at or since, hit.vendor_id))
        return hits

    def get(self, group_id: str) -> GroupInfo:
        """GET /jobs/group/{q}."""
        return _info(self._http.get(path_of("jobs", "group", group_id)))

    def jobs(self, group_id: str) -> Sequence[GroupMember]:
        """GET /jobs/group/{q}/jobs: the whole group in one request."""
        return [_member(job) for job in wire.jobs_of(self._http.get(path_of("jobs", "group", group_id, "jobs")))]

    def end(self, group_id: str, verb: str) -> None:
        """POST /jobs/group/{q}/close or /cancel. 409 means that it is already over."""
        try:
            self._http.post_repeatable(path_of("jobs", "group", group_id, verb))
        except Refused as error:
            if error.http_status != 409:
                raise


def _listed(page: Any) -> list[Any]:
    if not isinstance(page, list):
        raise Unreadable("qbraid: the group list is not a list", provider="qbraid", body=str(page)[:4000])
    return page


def _info(body: Any) -> GroupInfo:
    if not isinstance(body, dict) or not isinstance(body.get("groupJobQrn"), str):
        raise Unreadable("qbraid: the group has no groupJobQrn", provider="qbraid", body=str(body)[:4000])

    def count(name: str) -> int:
        value = body.get(name)
        return value if isinstance(value, int) else 0

    tags = wire.tags_of(body)
    ttl = body.get("maxTTL")
    return GroupInfo(
        group_id=body["groupJobQrn"],
        name=str(body.get("name") or ""),
        state=str(body.get("status")),
        key=str(tags[wire.KEY]) if wire.KEY in tags else None,
        created_at=wire.created_at(body),
        max_ttl_s=float(ttl) if isinstance(ttl, int | float) else None,
        n_jobs=count("jobCount"),
        n_completed=count("completedCount"),
        n_failed=count("failedCount"),
        n_cancelled=count("cancelledCount"),
        estimated_cost=wire.cost_of({"estimatedCost": body.get("totalEstimatedCost")}),
        cost=wire.cost_of({"cost": body.get("totalCost")}),
        tags=dict(tags),
    )


def _member(job: Mapping[str, Any]) -> GroupMember:
    key = wire.tags_of(job).get(wire.KEY)
    return GroupMember(
        vendor_id=str(job["jobQrn"]),
        key=str(key) if key is not None else None,
        device_id=str(job.get("deviceQrn")),
        look=wire.observation(job),
        cost=wire.cost_of(job),
    )
