"""SearchQuantumTasks: filters and pages. Which filters exist: AWS reference of SearchQuantumTasks (stored copy, 2026).

How values and repeated filters combine, the order, and the lag of the index are not documented, hence switches.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from qflows.sandbox.braket import render
from qflows.sandbox.braket.account import account_of, region_of
from qflows.sandbox.braket.action import bad
from qflows.sandbox.braket.contract import check_request
from qflows.sandbox.jobs import Job
from qflows.sandbox.vendor import Call

MAX_RESULTS = 100
NAMES = ("quantumTaskArn", "deviceArn", "jobArn", "status", "createdAt")


async def search_tasks(call: Call) -> Response:
    """One page of tasks of the caller's region."""
    document = check_request("SearchQuantumTasks", call.document())
    filters = [_checked(entry) for entry in document["filters"]]
    if any(entry["name"] == "status" for entry in filters):
        await call.world.observe([job for job in call.world.jobs.all("braket") if not job.is_terminal])
    limit = document.get("maxResults") or MAX_RESULTS
    after = _position(document.get("nextToken"))
    oldest_first = call.switch("search_order") == "oldest_first"
    page: list[Job] = []
    more = False
    for job in call.listed(_candidates(call, filters, oldest_first=oldest_first)):
        if after is not None and (job.seq <= after if oldest_first else job.seq >= after):
            continue
        if not _matches(call, job, filters):
            continue
        if len(page) == limit:
            more = True
            break
        page.append(job)
    await call.observe(page)
    answer: dict[str, Any] = {"quantumTasks": [render.summary(call, job) for job in page]}
    for job in page:
        render.see_cancelling(job)
    if more:
        answer["nextToken"] = base64.urlsafe_b64encode(f"after:{page[-1].seq}".encode()).decode()
    return render.answer("SearchQuantumTasks", answer)


def _candidates(call: Call, filters: list[dict[str, Any]], *, oldest_first: bool) -> Iterator[Job]:
    """Tasks of the region that the index contains, in the order of the list."""
    region, account, now = region_of(call), account_of(call), call.world.clock.now()
    visible_before = now - call.switch("search_lag_s")
    named = next((entry for entry in filters if entry["name"] == "quantumTaskArn"), None)
    jobs = call.world.jobs
    if named is not None and call.switch("search_combine") == "and":
        found = [jobs.get(arn) for arn in dict.fromkeys(named["values"])]
        pool = iter(
            sorted((job for job in found if job is not None), key=lambda job: job.seq, reverse=not oldest_first)
        )
    else:
        pool = jobs.all("braket") if oldest_first else jobs.newest_first("braket")
    for job in pool:
        is_known = job.vendor == "braket" and not job.deleted
        is_known = is_known and (job.facts["region"], job.facts["account"]) == (region, account)
        if is_known and job.created_at <= visible_before:
            yield job


def _checked(entry: dict[str, Any]) -> dict[str, Any]:
    name, values, op = entry["name"], entry["values"], entry["operator"]
    if name not in NAMES:
        raise bad(f"filter {name} is none of {', '.join(NAMES)}")
    if name == "createdAt":
        if len(values) != (2 if op == "BETWEEN" else 1):
            raise bad("createdAt takes one value, or two with BETWEEN")
        return entry | {"moments": [_moment(value) for value in values]}
    if op != "EQUAL":
        raise bad(f"filter {name} takes EQUAL")
    if name == "status" and (unknown := set(values) - set(render.STATUSES)):
        raise bad(f"status {sorted(unknown)[0]} is none of {', '.join(render.STATUSES)}")
    return entry


def _moment(text: str) -> float:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise bad(f"{text!r} is not a timestamp") from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _matches(call: Call, job: Job, filters: list[dict[str, Any]]) -> bool:
    combine = all if call.switch("search_combine") == "and" or not filters else any
    return combine(_passes(call, job, entry) for entry in filters)


def _passes(call: Call, job: Job, entry: dict[str, Any]) -> bool:
    if entry["name"] == "createdAt":
        return _in_time(job.created_at, entry["operator"], entry["moments"])
    values = entry["values"] if call.switch("search_values") == "or" else entry["values"][:1]
    mine = {
        "quantumTaskArn": lambda: job.id,
        "deviceArn": lambda: job.facts["deviceArn"],
        "jobArn": lambda: None,
        "status": lambda: render.status(call, job),
    }[entry["name"]]()
    return mine in values


def _in_time(created: float, op: str, moments: list[float]) -> bool:
    at = round(created, 3)  # what the client can see, and so ask for
    first = moments[0]
    if op == "BETWEEN":
        return first <= at <= moments[1]
    return {"LT": at < first, "LTE": at <= first, "EQUAL": at == first, "GT": at > first, "GTE": at >= first}[op]


def _position(token: str | None) -> int | None:
    if not token:
        return None
    try:
        return int(base64.urlsafe_b64decode(token).decode().removeprefix("after:"))
    except (ValueError, binascii.Error):
        raise bad("nextToken is not of this search") from None
