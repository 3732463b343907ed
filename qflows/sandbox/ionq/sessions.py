"""IonQ sessions (beta): a reservation of a QPU with limits on jobs, minutes and cost."""

from __future__ import annotations

import math
import uuid
from typing import Any

from starlette.responses import JSONResponse, Response

from qflows.sandbox.errors import Refusal
from qflows.sandbox.ionq import account, catalog, render
from qflows.sandbox.jobs import Job
from qflows.sandbox.vendor import Call, Route

DEFAULT_DURATION_MIN = 60
MAX_LIMIT = 1_000_000
MIN_BILLED_MIN = 60  # "what IonQ has told us", converged-computing/flux-quantum; no limit of the session lowers it


class Sessions:
    """Handlers of `/sessions`, and the rule whether a job may join."""

    def __init__(self, identity: dict[str, str]) -> None:
        self._identity = identity

    def routes(self) -> list[Route]:
        """All session calls."""
        return [
            Route("session_create", "POST", "/v0.4/sessions", self.create),
            Route("session_list", "GET", "/v0.4/sessions", self.list),
            Route("session_get", "GET", "/v0.4/sessions/{session_id}", self.get),
            Route("session_end", "POST", "/v0.4/sessions/{session_id}/end", self.end),
            Route("session_jobs", "GET", "/v0.4/sessions/{session_id}/jobs", self.jobs),
        ]

    async def create(self, call: Call) -> Response:
        """Open a session on a QPU."""
        body = call.document()
        if not isinstance(body, dict) or body.get("backend") not in catalog.QPUS:
            raise Refusal(400, "backend must be a QPU", keys=["backend"])
        settings = _settings(body.get("settings"))
        now = call.world.clock.now()
        capacity = int(call.switch("session_capacity"))
        shelf = call.world.shelf("ionq", "sessions")
        if 0 < capacity <= sum(self._aged(call, shelf[key])["ended_at"] is None for key in list(shelf)):
            raise Refusal(409, "no capacity for another session")
        session = {
            "id": str(uuid.uuid4()),
            "created_at": now,
            "backend": body["backend"],
            "started_at": None,
            "ended_at": None,
            "ender_id": None,
            "settings": settings,
            "expires_at": now + 60 * settings.get("duration_limit_min", DEFAULT_DURATION_MIN),
            "jobs": 0,
            "cost_usd": 0.0,
            "billed_min": 0,
            "project_id": account.project_id(call),
        }
        call.entry.accepted.append(session["id"])
        self._put(call, session)
        return JSONResponse(self._render(session), 201)

    async def list(self, call: Call) -> Response:
        """Sessions of the project, newest first; `active=true|false` narrows."""
        mine = account.project_id(call)
        shelf = call.world.shelf("ionq", "sessions")
        every = [self._aged(call, shelf[key]) for key in reversed(list(shelf))]
        shown = [self._render(session) for session in every if session["project_id"] == mine]
        if wanted := call.query.get("active"):
            shown = [session for session in shown if session["active"] == (wanted == "true")]
        return JSONResponse({"sessions": shown, "next": None})

    async def get(self, call: Call) -> Response:
        """One session."""
        return JSONResponse(self._render(self._fresh(call, call.params["session_id"])))

    async def end(self, call: Call) -> Response:
        """End a session; ending an ended one changes nothing."""
        session = self._fresh(call, call.params["session_id"])
        self._end(call, session, at=call.world.clock.now())
        return JSONResponse(self._render(session))

    async def jobs(self, call: Call) -> Response:
        """Jobs of a session, newest first."""
        session = self._fresh(call, call.params["session_id"])
        newest = call.world.jobs.newest_first("ionq")
        found = [job for job in call.listed(newest) if job.facts["session_id"] == session["id"] and not job.parent_id]
        await call.observe(found)
        return JSONResponse({"jobs": [render.base_job(call, job) for job in found], "next": None})

    def check(self, call: Call, session_id: str, backend: str) -> None:
        """Raise Refusal unless a job on `backend` may join. The real service's answer is not known, hence switches."""
        try:
            session = self._fresh(call, session_id)
        except Refusal:
            raise Refusal(400, f"no session {session_id}", keys=["session_id"]) from None
        if session["backend"] != backend:
            raise Refusal(400, f"the session is on {session['backend']}", keys=["session_id", "backend"])
        if session["ended_at"] is not None:
            raise Refusal(call.switch("session_ended_status"), "the session has ended", keys=["session_id"])
        if reached := self._reached(session):
            raise Refusal(call.switch("session_ended_status"), f"the session's {reached} is reached")

    def join(self, call: Call, session_id: str, job: Job, cost_usd: float) -> None:
        """Count an accepted job; at a limit the switch `session_limit` may end the session."""
        session = self._fresh(call, session_id)
        session["jobs"] += 1
        session["cost_usd"] += cost_usd
        session["started_at"] = session["started_at"] or job.created_at
        self._put(call, session)
        if self._reached(session) and call.switch("session_limit") == "end":
            self._end(call, session, at=call.world.clock.now())

    def _reached(self, session: dict[str, Any]) -> str | None:
        settings = session["settings"]
        if session["jobs"] >= settings.get("job_count_limit", float("inf")):
            return "job_count_limit"
        if session["cost_usd"] >= settings.get("cost_limit", {}).get("value", float("inf")):
            return "cost_limit"
        return None

    def _fresh(self, call: Call, session_id: str) -> dict[str, Any]:
        session = call.world.shelf("ionq", "sessions").get(session_id)
        if session is None or session["project_id"] != account.project_id(call):
            raise Refusal(404, f"no session {session_id}")
        return self._aged(call, session)

    def _aged(self, call: Call, session: dict[str, Any]) -> dict[str, Any]:
        if session["ended_at"] is None and call.world.clock.now() >= session["expires_at"]:
            self._end(call, session, at=session["expires_at"])
        return session

    def _end(self, call: Call, session: dict[str, Any], *, at: float) -> None:
        if session["ended_at"] is None:
            session["ended_at"], session["ender_id"] = at, self._identity["submitter_id"]
            if session["started_at"] is not None:
                # minutes count from creation; a session that ran a job is billed for an hour at least
                session["billed_min"] = max(MIN_BILLED_MIN, math.ceil((at - session["created_at"]) / 60))
            self._put(call, session)
            if call.switch("session_end_jobs") == "cancel":
                for job in call.world.jobs.all("ionq"):
                    if job.facts["session_id"] == session["id"]:
                        call.world.cancel(job)

    def _put(self, call: Call, session: dict[str, Any]) -> None:
        call.world.shelf("ionq", "sessions").put(session["id"], session)

    def _render(self, session: dict[str, Any]) -> dict[str, Any]:
        is_over = session["ended_at"] is not None
        return {
            "id": session["id"],
            "created_at": render.moment(session["created_at"]),
            "organization_id": self._identity["organization_id"],
            "backend": session["backend"],
            "project_id": session["project_id"],
            "creator_id": self._identity["submitter_id"],
            "started_at": render.moment(session["started_at"]),
            "ended_at": render.moment(session["ended_at"]),
            "ender_id": session["ender_id"],
            "active": not is_over,
            "status": "ended" if is_over else "started" if session["started_at"] else "created",
            "settings": session["settings"] | {"expires_at": render.moment(session["expires_at"])},
        }


def _settings(value: Any) -> dict[str, Any]:
    settings = value or {}
    if not isinstance(settings, dict):
        raise Refusal(400, "settings must be an object", keys=["settings"])
    kept: dict[str, Any] = {}
    for name in ("job_count_limit", "duration_limit_min"):
        limit = settings.get(name)
        if limit is None:
            continue
        if not _is_limit(limit):
            raise Refusal(400, f"{name} must be a number in 0..{MAX_LIMIT}, above 0", keys=["settings"])
        kept[name] = limit
    cost = settings.get("cost_limit")
    if cost is not None:
        if not isinstance(cost, dict) or not _is_limit(cost.get("value")) or cost.get("unit", "usd") != "usd":
            raise Refusal(400, 'cost_limit is {"unit": "usd", "value": a positive number}', keys=["settings"])
        kept["cost_limit"] = {"unit": "usd", "value": cost["value"]}
    return kept


def _is_limit(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= MAX_LIMIT
