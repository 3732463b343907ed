"""Sessions and batches: what holds a device, for how long, and at what cost.

The state is never stored: it follows from the session's document and the times of its jobs, so it is right at every
read. Active spans run from the start of a job to the interactive TTL after its end, merged where they meet.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from starlette.responses import JSONResponse, Response

from qflows.sandbox.errors import Refusal
from qflows.sandbox.ibm import catalog, render
from qflows.sandbox.jobs import Job
from qflows.sandbox.vendor import Call, Route

MODES = ("dedicated", "batch")
IDLE_S = 1800.0  # a dedicated session without a job for 30 minutes closes itself (IBM docs, 2026)
Span = tuple[float, float | None]  # end None: a job of it still runs


class Sessions:
    """Handlers of `/sessions`, and the rule whether a job may join."""

    def routes(self) -> list[Route]:
        """All session calls."""
        return [
            Route("session_create", "POST", "/sessions", self.create),
            Route("session_get", "GET", "/sessions/{session_id}", self.get),
            Route("session_close", "PATCH", "/sessions/{session_id}", self.close),
            Route("session_cancel", "DELETE", "/sessions/{session_id}/close", self.cancel),
        ]

    async def create(self, call: Call) -> Response:
        """Open a session or a batch."""
        body = call.document()
        if not isinstance(body, dict) or body.get("mode") not in MODES:
            raise Refusal(500, "internal error")  # seen: a wrong mode is answered with a bare 5xx
        crn = call.headers.get("service-crn", "")
        if body["mode"] == "dedicated" and catalog.is_open(crn):
            raise Refusal(403, "the Open plan has no dedicated sessions", code=catalog.NO_SESSIONS)
        backend = body.get("backend") or body.get("backend_name")
        if backend not in catalog.MODELS or catalog.model_of(backend, catalog.region(crn)) is None:
            raise Refusal(404, f"no backend {backend}", code=catalog.BACKEND_NOT_FOUND)
        longest = int(call.switch("max_session_ttl_s"))
        ttl = body.get("max_ttl", longest)
        if isinstance(ttl, bool) or not isinstance(ttl, int) or ttl < 1:
            raise Refusal(400, "max_ttl is a whole number of seconds, from 1")
        session = {
            "id": str(uuid.uuid4()),
            "crn": call.headers.get("service-crn"),
            "mode": body["mode"],
            "backend": backend,
            "max_ttl": min(ttl, longest),
            "interactive_ttl": int(call.switch("interactive_ttl_s")),
            "created_at": call.world.clock.now(),
            "closing_at": None,
            "closed_at": None,
            "reason": "session_created",
            "accepting_after": False,
            "jobs": [],
        }
        call.entry.accepted.append(session["id"])
        self._put(call, session)
        return JSONResponse(await self.render(call, session))

    async def get(self, call: Call) -> Response:
        """One session."""
        return JSONResponse(await self.render(call, self._find(call)))

    async def close(self, call: Call) -> Response:
        """`{"accepting_jobs": false}`: queued jobs still run. True reopens one that is not closed yet."""
        session = self._find(call)
        body = call.document()
        if not isinstance(body, dict) or not isinstance(body.get("accepting_jobs"), bool):
            raise Refusal(400, "accepting_jobs is true or false")
        await self.refresh(call, session)
        if session["closed_at"] is None:
            wants_close = not body["accepting_jobs"]
            session["closing_at"] = (session["closing_at"] or call.world.clock.now()) if wants_close else None
            self._put(call, session)
            await self.refresh(call, session)
        else:
            # seen: it says that it accepts jobs, and stays closed
            session["accepting_after"] = body["accepting_jobs"]
            self._put(call, session)
        return Response(status_code=204)

    async def cancel(self, call: Call) -> Response:
        """Accept no more jobs; queued ones fail with 1217, uncharged, and running ones finish (seen 2026)."""
        session = self._find(call)
        await self._expire(call, await self.refresh(call, session), "Session has been closed")
        session["closing_at"] = session["closing_at"] or call.world.clock.now()
        self._put(call, session)
        await self.refresh(call, session)
        return Response(status_code=204)

    async def check(self, call: Call, session_id: str, backend: str) -> None:
        """Raise Refusal unless a job on `backend` may join. The real service's answer is not known, hence a switch."""
        session = call.world.shelf("ibm", "sessions").get(session_id)
        if session is None or session["crn"] != call.headers.get("service-crn"):
            raise Refusal(404, f"no session {session_id}")
        if session["backend"] != backend:
            raise Refusal(400, f"the session is on {session['backend']}")
        await self.refresh(call, session)
        if session["closed_at"] is not None or session["closing_at"] is not None:
            raise Refusal(call.switch("session_closed_status"), "the session is closed", code=catalog.SESSION_CLOSED)

    def join(self, call: Call, session_id: str, job: Job) -> None:
        """Count an accepted job."""
        session = call.world.shelf("ibm", "sessions")[session_id]
        session["jobs"] = [*session["jobs"], job.id]
        self._put(call, session)

    async def refresh(self, call: Call, session: dict[str, Any]) -> list[Job]:
        """Bring a session up to date with the clock: TTLs end it, and so does the last job after a close."""
        world = call.world
        jobs = [job for job_id in session["jobs"] if (job := world.jobs.get(job_id)) is not None]
        if session["closed_at"] is not None:
            return jobs
        await world.observe(jobs)
        deadline = self._deadline(call, session, jobs)
        if world.clock.now() >= deadline:
            await self._expire(call, jobs, "Session has been closed: it reached its maximum time")
            session["closed_at"] = deadline
            self._put(call, session)
        elif session["closing_at"] is not None and self._is_empty(call, jobs):
            last = max((job.ended_at or 0.0 for job in jobs), default=0.0)
            session["closed_at"] = max(session["closing_at"], last)
            session["reason"] = session["reason"] if jobs else "session_closed_early"
            self._put(call, session)
        return jobs

    def _is_empty(self, call: Call, jobs: list[Job]) -> bool:
        """True if nothing is left to run. A session that never had a job may linger (qiskit-ibm-runtime issue 2188)."""
        return all(job.is_terminal for job in jobs) and (bool(jobs) or call.switch("close_empty") == "at_once")

    def _deadline(self, call: Call, session: dict[str, Any], jobs: list[Job]) -> float:
        """The end of `max_ttl`, which starts with the first job; a session without jobs lives as long from its
        creation."""
        starts = [job.started_at for job in jobs if job.started_at is not None]
        first = min(starts) if starts and call.switch("ttl_starts") == "first_job" else session["created_at"]
        limit = first + session["max_ttl"]
        if session["mode"] != "dedicated" or any(not job.is_terminal for job in jobs):
            return limit
        last = max((job.ended_at or 0.0 for job in jobs), default=session["created_at"])
        return min(limit, last + IDLE_S)

    async def _expire(self, call: Call, jobs: Iterable[Job], message: str) -> None:
        """Fail queued jobs; running ones finish ("Maximum execution time", IBM docs)."""
        waiting = [job for job in jobs if call.world.phase(job) == "queued"]
        for job in waiting:
            cause = {"code": catalog.SESSION_CLOSED, "message": message}
            job.injected = cause | {"children": None}
            job.released = True
            job.facts["never_ran"] = True
        await call.world.observe(waiting)

    async def render(self, call: Call, session: dict[str, Any]) -> dict[str, Any]:
        """The session object."""
        jobs = await self.refresh(call, session)
        now, closed = call.world.clock.now(), session["closed_at"]
        spans = active_spans(jobs, session["interactive_ttl"], until=closed if closed is not None else now)
        state = "closed" if closed is not None else _state(spans, now)
        ran = [job for job in jobs if job.started_at is not None and not job.facts.get("never_ran")]
        used_s = sum(render.charged_s(job) for job in jobs)
        if session["mode"] == "dedicated":
            used_s = sum((end if end is not None else now) - start for start, end in spans)
        is_named = call.switch("session_backend") == "named" or state != "open"
        created = {"created_at": render.moment(session["created_at"])} if call.switch("session_created_at") else {}
        reason = "session_inactivated_by_interactive_ttl" if state == "inactive" else session["reason"]
        starts = [job.started_at for job in ran if job.started_at is not None]
        ends = [job.ended_at for job in ran if job.ended_at is not None]
        return created | {
            "id": session["id"],
            "backend_name": session["backend"] if is_named else None,
            "state_reason": reason,
            "mode": session["mode"],
            "state": state,
            "accepting_jobs": session["accepting_after"] if closed is not None else session["closing_at"] is None,
            "interactive_ttl": session["interactive_ttl"],
            "max_ttl": session["max_ttl"],
            "active_ttl": session["max_ttl"],
            "started_at": render.moment(min(starts, default=None)),
            "activated_at": render.moment(spans[-1][0] if spans else None),
            "closed_at": render.moment(closed),
            "last_job_started": render.moment(max(starts, default=None)),
            "last_job_completed": render.moment(max(ends, default=None)),
            "elapsed_time": used_s,
            "user_id": "IBMid-sandbox",
            "timestamps": _history(session, spans, now),
        }

    def _find(self, call: Call) -> dict[str, Any]:
        session = call.world.shelf("ibm", "sessions").get(call.params["session_id"])
        if session is None or session["crn"] != call.headers.get("service-crn"):
            raise Refusal(404, f"no session {call.params['session_id']}")
        return session

    def _put(self, call: Call, session: dict[str, Any]) -> None:
        call.world.shelf("ibm", "sessions").put(session["id"], session)


def active_spans(jobs: Iterable[Job], idle_s: float, *, until: float) -> list[Span]:
    """When the device was held, as (start, end), oldest first, nothing after `until`; end None while a job runs."""
    marks: list[Span] = []
    for job in jobs:
        if job.started_at is not None and not job.facts.get("never_ran"):
            marks.append((job.started_at, job.ended_at + idle_s if job.ended_at is not None else None))
    spans: list[Span] = []
    for start, end in sorted(marks, key=lambda mark: mark[0]):
        if spans and (spans[-1][1] is None or start <= (spans[-1][1] or 0.0)):
            before = spans[-1]
            joined = None if before[1] is None or end is None else max(before[1], end)
            spans[-1] = (before[0], joined)
        else:
            spans.append((start, end))
    return [(start, min(end, until) if end is not None else None) for start, end in spans if start <= until]


def _state(spans: list[Span], now: float) -> str:
    if not spans:
        return "open"
    end = spans[-1][1]
    return "active" if end is None or end >= now else "inactive"


def _history(session: dict[str, Any], spans: list[Span], now: float) -> list[dict[str, Any]]:
    changes: list[tuple[float, str]] = [(session["created_at"], "open")]
    for start, end in spans:
        changes.append((start, "active"))
        if end is not None and end < now:
            changes.append((end, "inactive"))
    if session["closed_at"] is not None:
        changes = [change for change in changes if change[0] < session["closed_at"] or change[1] == "open"]
        changes.append((session["closed_at"], "closed"))
    return [{"status": status, "timestamp": render.moment(when)} for when, status in changes]
