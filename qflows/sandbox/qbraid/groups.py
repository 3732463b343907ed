"""qBraid's job groups: open, join, read, close, cancel, delete. A group's state changes only when it is read."""

from __future__ import annotations

import uuid
from typing import Any

from starlette.responses import Response

from qflows.sandbox.errors import Refusal
from qflows.sandbox.jobs import Job
from qflows.sandbox.qbraid import accounts, render, submission
from qflows.sandbox.vendor import Call, Route
from qflows.sandbox.world import Shelf

STATUSES = ("OPEN", "CLOSED", "COMPLETED", "FAILED", "CANCELLED")
OVER = ("COMPLETED", "FAILED", "CANCELLED")
PAGE, MAX_PAGE = 50, 100


class Groups:
    """Handlers of `/jobs/group`."""

    def routes(self) -> list[Route]:
        """All group calls."""
        base = "/api/v1/jobs/group"
        return [
            Route("group_create", "POST", base, self.create),
            Route("group_list", "GET", base, self.list),
            Route("group_get", "GET", f"{base}/{{qrn}}", self.get),
            Route("group_delete", "DELETE", f"{base}/{{qrn}}", self.delete),
            Route("group_jobs", "GET", f"{base}/{{qrn}}/jobs", self.jobs),
            Route("group_close", "POST", f"{base}/{{qrn}}/close", self.close),
            Route("group_cancel", "POST", f"{base}/{{qrn}}/cancel", self.cancel),
        ]

    def _shelf(self, call: Call) -> Shelf:
        return call.world.shelf("qbraid", "groups")

    def _find(self, call: Call, qrn: str) -> dict[str, Any]:
        group = self._shelf(call).get(qrn)
        if group is None or not accounts.is_visible(call, group.get("account")):
            raise Refusal(404, "group not found", code="NOT_FOUND")
        return group

    def _members(self, call: Call, group: dict[str, Any]) -> list[Job]:
        found = (call.world.jobs.get(job_id) for job_id in group["jobs"])
        return [job for job in found if job is not None and not job.deleted]

    async def _refresh(self, call: Call, group: dict[str, Any]) -> list[Job]:
        """Apply the time to live and the members' states. Returns the members."""
        members = self._members(call, group)
        if call.switch("list_refreshes"):
            await call.world.observe(members)
        before = group["status"]
        if before == "OPEN" and call.world.clock.now() >= group["created_at"] + group["maxTTL"]:
            group["status"] = "CLOSED"
        if group["status"] == "CLOSED" or (group["status"] == "OPEN" and call.switch("group_open_completes")):
            group["status"] = self._outcome(call, group["status"], members)
        if group["status"] != before:
            self._shelf(call).put(group["qrn"], group)
        return members

    def _outcome(self, call: Call, present: str, members: list[Job]) -> str:
        if not members:
            return call.switch("group_empty_closed") if present == "CLOSED" else present
        words = [render.word(call, job) for job in members]
        if not all(word in render.RETURNED for word in words):
            return present
        if "FAILED" in words:
            return "FAILED"
        return call.switch("group_some_cancelled") if set(words) - {"COMPLETED"} else "COMPLETED"

    def check_open(self, call: Call, qrn: str) -> None:
        """Refuse a job for a group that takes none."""
        group = self._find(call, qrn)
        has_expired = call.world.clock.now() >= group["created_at"] + group["maxTTL"]
        if group["status"] != "OPEN" or (has_expired and call.switch("ttl_on_submit")):
            status = call.switch("group_not_open_status")
            raise Refusal(status, f"group {qrn} is not open", code="GROUP_NOT_OPEN")

    def join(self, call: Call, qrn: str, job: Job) -> None:
        """Enroll an accepted job."""
        group = self._find(call, qrn)
        group["jobs"].append(job.id)
        self._shelf(call).put(qrn, group)

    def _document(self, call: Call, group: dict[str, Any], members: list[Job]) -> dict[str, Any]:
        words = [render.word(call, job) for job in members]
        return {
            "groupJobQrn": group["qrn"],
            "name": group["name"],
            "status": group["status"],
            "tags": group["tags"],
            "metadata": group["metadata"],
            "maxTTL": group["maxTTL"],
            "jobCount": len(members),
            "completedCount": words.count("COMPLETED"),
            "failedCount": words.count("FAILED"),
            "cancelledCount": words.count("CANCELLED"),
            "totalEstimatedCost": round(sum(job.facts["estimate"] for job in members), 6),
            "totalCost": round(sum(render.cost(call, job) or 0.0 for job in members), 6),
            "timeStamps": {"createdAt": render.moment(group["created_at"])},
        }

    # -- handlers ----------------------------------------------------------------------------------------------

    async def create(self, call: Call) -> Response:
        """201 with an OPEN group."""
        body = call.document()
        if not isinstance(body, dict):
            raise submission.bad("body", message="must be an object")
        if not isinstance(body.get("name"), str | None):
            raise submission.bad("body", "name", message="must be text")
        metadata = body.get("metadata") or {}
        if not isinstance(metadata, dict):
            raise submission.bad("body", "metadata", message="must be an object")
        group = {
            "qrn": f"qbraid:group:{uuid.uuid4().hex[:12]}",
            "name": body.get("name"),
            "status": "OPEN",
            "tags": submission.read_tags(body),
            "metadata": metadata,
            "maxTTL": submission.read_ttl(body),
            "created_at": call.world.clock.now(),
            "account": accounts.account_of(call),
            "jobs": [],
        }
        self._shelf(call).put(group["qrn"], group)
        return render.ok(self._document(call, group, []), 201)

    async def list(self, call: Call) -> Response:
        """Groups, newest first, filtered by status."""
        status = call.query.get("status")
        if status is not None and status not in STATUSES:
            raise submission.bad("query", "status", message=f"must be one of {', '.join(STATUSES)}")
        limit, number = submission.whole(call, "limit", PAGE, MAX_PAGE), submission.whole(call, "page", 1, 10**9)
        found = []
        for group in reversed(list(self._shelf(call).values())):
            if not accounts.is_visible(call, group.get("account")):
                continue
            members = await self._refresh(call, group)
            if status in (None, group["status"]):
                found.append(self._document(call, group, members))
        return render.ok(found[(number - 1) * limit : number * limit])

    async def get(self, call: Call) -> Response:
        """One group."""
        group = self._find(call, call.params["qrn"])
        members = await self._refresh(call, group)
        return render.ok(self._document(call, group, members))

    async def delete(self, call: Call) -> Response:
        """Delete the record; the jobs stay."""
        group = self._find(call, call.params["qrn"])
        self._shelf(call).drop(group["qrn"])
        return render.ok({})

    async def jobs(self, call: Call) -> Response:
        """The members, in order of enrollment."""
        group = self._find(call, call.params["qrn"])
        members = await self._refresh(call, group)
        if call.switch("list_refreshes"):
            await call.observe(members)
        shown = [render.job(call, job) for job in call.listed(members)]
        if not shown and call.switch("group_no_jobs") == "null":
            return render.ok(None)
        return render.ok(shown)

    async def close(self, call: Call) -> Response:
        """Take no more jobs."""
        group = self._find(call, call.params["qrn"])
        await self._refresh(call, group)
        if group["status"] in OVER or (group["status"] == "CLOSED" and call.switch("close_twice") == "refuse"):
            raise Refusal(409, f"group is {group['status']}", code="GROUP_ALREADY_CLOSED")
        group["status"] = "CLOSED"
        self._shelf(call).put(group["qrn"], group)
        return render.ok(self._document(call, group, await self._refresh(call, group)))

    async def cancel(self, call: Call) -> Response:
        """Cancel the unfinished members; the group is CANCELLED."""
        group = self._find(call, call.params["qrn"])
        members = await self._refresh(call, group)
        if group["status"] in OVER:
            raise Refusal(409, f"group is {group['status']}", code="GROUP_ALREADY_CLOSED")
        await call.world.observe(members)  # a job that is over at its device cannot be cancelled, seen or not
        for job in members:
            self.cancel_job(call, job)
        group["status"] = "CANCELLED"
        self._shelf(call).put(group["qrn"], group)
        return render.ok(self._document(call, group, members))

    def cancel_job(self, call: Call, job: Job) -> None:
        """Cancel a job; the first read after it may still see it under way."""
        if call.world.cancel(job) and call.switch("cancel_shows_cancelling"):
            job.facts["shows_cancelling"] = True
            call.world.remember(job)
