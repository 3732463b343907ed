"""The emulated TinyQ API. Source: TinyQ API page, 2026-11-01."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from starlette.responses import JSONResponse, Response

from qflows.sandbox.errors import Refusal
from qflows.sandbox.jobs import Job, Work
from qflows.sandbox.vendor import Call, Route, Vendor

_WORDS = {"queued": "waiting", "running": "running", "done": "finished", "failed": "failed", "cancelled": "cancelled"}
_PAGE = 50


class TinyQ(Vendor):
    """TinyQ's one device, on a simulator."""

    name = "tinyq"
    preload = ("tinyq_sandbox.execute",)

    def routes(self) -> Sequence[Route]:
        """All calls of the API page."""
        return [
            Route("submit", "POST", "/v1/jobs", self.submit),
            Route("list", "GET", "/v1/jobs", self.listed),
            Route("get", "GET", "/v1/jobs/{job_id}", self.get),
            Route("counts", "GET", "/v1/jobs/{job_id}/counts", self.counts),
            Route("cancel", "POST", "/v1/jobs/{job_id}/cancel", self.cancel),
            Route("devices", "GET", "/v1/devices", self.devices),
        ]

    def env(self, url: str) -> dict[str, str]:
        """What the adapter's users export."""
        return {"TINYQ_URL": url, "TINYQ_KEY": "sandbox-key"}

    def refuse(self, refusal: Refusal) -> Response:
        """Errors as on the API page."""
        error = {"code": refusal.code or "refused", "message": refusal.message}
        return JSONResponse({"error": error}, refusal.status, refusal.headers)

    def authorise(self, call: Call) -> None:
        """Any key will do."""
        if not call.headers.get("authorization", "").startswith("Bearer "):
            raise Refusal(401, "no key", code="unauthorized")

    def client_key(self, document: Any) -> str | None:
        """The tag."""
        return document.get("tag") if isinstance(document, dict) else None

    async def submit(self, call: Call) -> Response:
        """POST /v1/jobs."""
        body = call.document()
        programs = body.get("programs") if isinstance(body, dict) else None
        if not isinstance(programs, list) or not 1 <= len(programs) <= 20:
            raise Refusal(400, "1 to 20 programs", code="bad_request")
        if body.get("device") != "one" or not isinstance(body.get("shots"), int) or not 1 <= body["shots"] <= 100_000:
            raise Refusal(400, "the device is `one`, shots are 1 to 100000", code="bad_request")
        payload = {"programs": programs, "shots": body["shots"], "seed": self.world.jobs.next_seq()}
        work = Work("tinyq_sandbox.execute:run", payload)
        job = call.accept(call.new_job(uuid.uuid4().hex, work=work, request=body, key=body.get("tag")))
        return JSONResponse({"id": job.id}, 201)

    async def listed(self, call: Call) -> Response:
        """GET /v1/jobs by id or tag, oldest first."""
        ids, tags = set(call.query.getlist("id")), set(call.query.getlist("tag"))
        if not ids and not tags:
            raise Refusal(400, "give ids or a tag", code="bad_request")
        if len(ids) > _PAGE:
            raise Refusal(400, f"at most {_PAGE} ids", code="bad_request")
        known = reversed(list(call.listed(self.world.jobs.newest_first(self.name))))
        page = [job for job in known if job.id in ids or job.key in tags][:_PAGE]
        await call.observe(page)
        return JSONResponse({"jobs": [_shown(call, job) for job in page]})

    async def get(self, call: Call) -> Response:
        """GET /v1/jobs/{id}."""
        job = self._job(call)
        await call.observe([job])
        return JSONResponse(_shown(call, job))

    async def counts(self, call: Call) -> Response:
        """GET /v1/jobs/{id}/counts."""
        job = self._job(call)
        await call.observe([job])
        if call.phase(job) != "done":
            raise Refusal(409, "not finished", code="not_finished")
        return JSONResponse({"counts": job.result["counts"], "seconds": 0.2})

    async def cancel(self, call: Call) -> Response:
        """POST /v1/jobs/{id}/cancel."""
        job = self._job(call)
        await self.world.observe([job])
        self.world.cancel(job)
        return JSONResponse(_shown(call, job))

    async def devices(self, call: Call) -> Response:
        """GET /v1/devices."""
        return JSONResponse({"devices": [{"name": "one", "qubits": 12, "simulator": True, "online": True}]})

    def _job(self, call: Call) -> Job:
        job = self.world.jobs.get(call.params["job_id"])
        if job is None:
            raise Refusal(404, "no such job", code="no_such_job")
        return job


def _shown(call: Call, job: Job) -> dict[str, Any]:
    created = datetime.fromtimestamp(job.created_at, UTC).isoformat()
    shown = {"id": job.id, "status": _WORDS[call.phase(job)], "tag": job.key, "created": created}
    return shown | ({"error": job.failure} if job.failure else {})
