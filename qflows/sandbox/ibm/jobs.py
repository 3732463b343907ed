"""IBM's job calls: submit, read, list, results, metrics, logs, cancel, tags, delete; and the workloads collection."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable
from typing import Any

from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from qflows.sandbox.errors import Refusal
from qflows.sandbox.ibm import catalog, render
from qflows.sandbox.ibm.identity import user_of
from qflows.sandbox.ibm.sessions import Sessions
from qflows.sandbox.ibm.submission import Submission, read_submission, read_tags
from qflows.sandbox.jobs import Job, Work
from qflows.sandbox.vendor import Call, Route

PAGE = 200
WORKLOAD_PAGE = 50
OPEN_LIMIT_S = 600.0  # in 28 days (IBM's plans, 2026)


class Jobs:
    """Handlers of `/jobs` and `/workloads`."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._bodies: dict[str, tuple[float, str]] = {}  # digest of a submission -> when, job id
        self._posts: list[float] = []

    def routes(self) -> list[Route]:
        """All job calls."""
        return [
            Route("submit", "POST", "/jobs", self.submit),
            Route("list", "GET", "/jobs", self.list_jobs),
            Route("empty_id", "GET", "/jobs/", self.empty_id),
            Route("get", "GET", "/jobs/{job_id}", self.get),
            Route("delete", "DELETE", "/jobs/{job_id}", self.delete),
            Route("results", "GET", "/jobs/{job_id}/results", self.results),
            Route("logs", "GET", "/jobs/{job_id}/logs", self.logs),
            Route("metrics", "GET", "/jobs/{job_id}/metrics", self.metrics),
            Route("cancel", "POST", "/jobs/{job_id}/cancel", self.cancel),
            Route("tags", "PUT", "/jobs/{job_id}/tags", self.tags),
            Route("workloads", "GET", "/workloads", self.workloads),
        ]

    # -- submission --------------------------------------------------------------------------------------------

    async def submit(self, call: Call) -> Response:
        """Accept a job: 200 `{id, backend, session_id?, private?}`."""
        self._limit_rate(call)
        digest = hashlib.sha256(call.body).hexdigest()
        now = call.world.clock.now()
        seen = self._bodies.get(digest)
        if seen and now - seen[0] < float(call.switch("dedupe_s")) and (known := call.world.jobs.get(seen[1])):
            return self._answer(known)
        crn = call.headers.get("service-crn", "")
        wanted = read_submission(call.document(), call.switch, crn=crn)
        if wanted.session_id is not None:
            await self._sessions.check(call, wanted.session_id, wanted.backend)
        self._limit_usage(call, wanted)
        job = call.new_job("d" + secrets.token_hex(10)[:19])
        job.request, job.key = call.document(), client_key(call.document())
        job.facts = wanted.facts() | {"crn": crn, "user": user_of(call), "bad_qasm_s": call.switch("bad_qasm_charge_s")}
        job.work = self._work(call, wanted, job)
        if wanted.failure is not None:
            job.injected = {**wanted.failure, "children": None}
        call.accept(job)
        self._bodies[digest] = (now, job.id)
        if wanted.session_id is not None:
            self._sessions.join(call, wanted.session_id, job)
        return self._answer(job)

    def _answer(self, job: Job) -> Response:
        body: dict[str, Any] = {"id": job.id, "backend": job.facts["backend"]}
        if job.facts["session_id"]:
            body["session_id"] = job.facts["session_id"]
        if job.facts["private"]:
            body["private"] = True
        return JSONResponse(body)

    def _work(self, call: Call, wanted: Submission, job: Job) -> Work:
        payload = {
            "params": wanted.params,
            "backend": wanted.backend,
            "snapshot": wanted.model.snapshot,
            "is_mock": wanted.backend in catalog.MOCKS,
            "is_noisy": bool(call.switch("noise")),
            "has_infinity": bool(call.switch("results_infinity")),
            "limit": int(call.switch("max_active_qubits")),
            "keeps": [what for what in ("delays", "barriers") if call.switch(what) == "kept"],
            "seed": (call.world.seed * 1_000_003 + job.seq) % 2**31,
            "started": job.created_at,
        }
        return Work(f"qflows.sandbox.ibm.execute:run_{wanted.program_id}", payload)

    def _limit_rate(self, call: Call) -> None:
        allowed = int(call.switch("submits_per_minute"))
        if not allowed:
            return
        now = call.world.clock.now()
        self._posts = [when for when in self._posts if now - when < 60]
        if len(self._posts) >= allowed:
            wait_s = max(1, round(60 - (now - self._posts[0]) + 0.5))
            headers = {"Retry-After": str(wait_s)} if call.switch("rate_limit_retry_after") else {}
            raise Refusal(429, "Too many requests", code=catalog.TOO_MANY_REQUESTS, headers=headers)
        self._posts.append(now)

    def _limit_usage(self, call: Call, wanted: Submission) -> None:
        limit = self.usage_limit_s(call)
        if self.consumed_s(call) >= limit and wanted.backend not in catalog.MOCKS:
            raise Refusal(409, "The instance's usage exceeds its limit", code=catalog.USAGE_EXCEEDED)

    def usage_limit_s(self, call: Call) -> float:
        """QPU seconds that the instance may use."""
        limit = float(call.switch("usage_limit_s"))
        return min(limit, OPEN_LIMIT_S) if catalog.is_open(call.headers.get("service-crn", "")) else limit

    def consumed_s(self, call: Call) -> int:
        """QPU seconds charged to the instance of the request."""
        return sum(render.charged_s(job) for job in self._mine(call, call.world.jobs.all("ibm")))

    # -- reading -----------------------------------------------------------------------------------------------

    def _mine(self, call: Call, jobs: Iterable[Job]) -> Iterable[Job]:
        crn = call.headers.get("service-crn")
        return (job for job in jobs if job.facts["crn"] == crn)

    def _find(self, call: Call) -> Job:
        job = call.world.jobs.get(call.params["job_id"])
        if job is None or job.deleted or job.vendor != "ibm" or job.facts["crn"] != call.headers.get("service-crn"):
            raise Refusal(404, f"Job not found. Job ID: {call.params['job_id']}")
        return job

    async def _seen(self, call: Call, job: Job) -> Job:
        """A job as of now: its session may have ended it meanwhile."""
        if job.facts["session_id"]:
            await self._sessions.refresh(call, call.world.shelf("ibm", "sessions")[job.facts["session_id"]])
        self._end_cancelled(call, [job])
        await call.observe([job])
        return job

    def _end_cancelled(self, call: Call, jobs: Iterable[Job]) -> None:
        """End cancelled jobs: a cancel takes effect some time after the request."""
        now = call.world.clock.now()
        for job in jobs:
            if (due := job.facts.get("cancel_at")) is not None and now >= due:
                call.world.cancel(job)

    async def empty_id(self, call: Call) -> Response:
        """Answer an empty id with a page (seen 2026)."""
        return HTMLResponse("<html><body>IBM Quantum</body></html>")

    async def get(self, call: Call) -> Response:
        """One job, with its params unless `exclude_params=true`."""
        job = await self._seen(call, self._find(call))
        return JSONResponse(render.job(call, job, with_params=call.query.get("exclude_params") != "true"))

    async def list_jobs(self, call: Call) -> Response:
        """Jobs of the instance, newest first; all repeated `tags` must match. Odd limits mean the default."""
        if call.query.get("pending") is not None:
            await call.world.observe(self._mine(call, call.world.jobs.all("ibm")))
        chosen = self._filtered(call, call.listed(self._mine(call, call.world.jobs.newest_first("ibm"))))
        if call.query.get("sort") == "ASC":
            chosen.reverse()
        limit = _number(call.query.get("limit"), PAGE)
        limit = limit if 1 <= limit <= PAGE else PAGE
        offset = max(_number(call.query.get("offset"), 0), 0)
        page = chosen[offset : offset + limit]
        self._end_cancelled(call, page)
        for job in page:
            await self._refresh_session(call, job)
        await call.observe(page)
        shown = [render.job(call, job) for job in page]
        return JSONResponse({"jobs": shown, "count": len(chosen), "limit": limit, "offset": offset})

    async def _refresh_session(self, call: Call, job: Job) -> None:
        if job.facts["session_id"] and not job.is_terminal:
            await self._sessions.refresh(call, call.world.shelf("ibm", "sessions")[job.facts["session_id"]])

    def _filtered(self, call: Call, jobs: Iterable[Job]) -> list[Job]:
        query = call.query
        tests: list[Callable[[Job], bool]] = []
        if call.switch("tag_filter") == "works" and (
            tags := {tag for value in query.getlist("tags") for tag in value.split(",")}
        ):
            tests.append(lambda job: tags <= set(job.facts["tags"]))
        for parameter, fact in (("backend", "backend"), ("program", "program_id"), ("session_id", "session_id")):
            if wanted := query.get(parameter):
                tests.append(lambda job, fact=fact, wanted=wanted: job.facts[fact] == wanted)
        if (pending := query.get("pending")) is not None:
            tests.append(lambda job: (call.phase(job) in render.OPEN) == (pending == "true"))
        if after := query.get("created_after"):
            first = render.read_moment(after, "created_after")
            tests.append(lambda job: job.created_at >= first)
        if before := query.get("created_before"):
            last = render.read_moment(before, "created_before")
            tests.append(lambda job: job.created_at <= last)
        if call.switch("job_list") == "own":
            user = user_of(call)
            tests.append(lambda job: job.facts["user"] == user)
        if query.get("include_mocks", "false").lower() != "true":
            tests.append(lambda job: job.facts["backend"] not in catalog.MOCKS)
        return [job for job in jobs if all(test(job) for test in tests)]

    async def results(self, call: Call) -> Response:
        """The result as text; 204 while there is none. A failed job's text is its error. Private: only once."""
        job = await self._seen(call, self._find(call))
        phase = call.phase(job)
        if phase == "failed":
            return PlainTextResponse(str((job.failure or {}).get("message", "failed")))
        reads = job.facts["results_reads"] = job.facts.get("results_reads", 0) + 1
        if phase != "done" or reads <= int(call.switch("results_204_reads")) or job.facts.get("results_gone"):
            return Response(status_code=204)
        if job.facts["private"]:
            job.facts["results_gone"] = True
            call.world.remember(job)
        return Response(job.result["text"], media_type="application/json")

    async def logs(self, call: Call) -> Response:
        """The log of a finished job; empty before."""
        job = await self._seen(call, self._find(call))
        is_over = call.phase(job) not in render.OPEN
        return PlainTextResponse(f"qflows sandbox: job {job.id} ended\n" if is_over else "")

    async def metrics(self, call: Call) -> Response:
        """Times and usage."""
        return JSONResponse(render.metrics(call, await self._seen(call, self._find(call))))

    # -- changing ----------------------------------------------------------------------------------------------

    async def cancel(self, call: Call) -> Response:
        """204; 409 for a job that has ended."""
        job = self._find(call)
        await call.world.observe([job])
        if job.is_terminal:
            raise Refusal(409, f"Job {job.id} is in a state that cannot be cancelled", code=catalog.WRONG_STATE)
        job.facts["cancel_at"] = call.world.clock.now() + float(call.switch("cancel_lag_s"))
        call.world.remember(job)
        self._end_cancelled(call, [job])
        return Response(status_code=204)

    async def tags(self, call: Call) -> Response:
        """Replace all tags."""
        job = self._find(call)
        body = call.document()
        job.facts["tags"] = read_tags(body.get("tags") if isinstance(body, dict) else None, call.switch)
        call.world.remember(job)
        return Response(status_code=204)

    async def delete(self, call: Call) -> Response:
        """Forget a finished job."""
        job = self._find(call)
        await call.world.observe([job])
        if not job.is_terminal and not call.switch("delete_queued"):
            raise Refusal(400, f"Job {job.id} has not ended", code=catalog.WRONG_STATE)
        job.deleted = True
        call.world.remember(job)
        return Response(status_code=204)

    async def workloads(self, call: Call) -> Response:
        """Jobs outside sessions, sessions and batches in one list; 10 a page by default, at most 50."""
        query = call.query
        rows = [*(await self._job_rows(call)), *(await self._session_rows(call))]
        if (mode := query.get("mode")) is not None:
            rows = [row for row in rows if row["mode"] == mode]
        if backend := query.get("backend"):
            rows = [row for row in rows if row["backend"] == backend]
        if after := query.get("created_after"):
            first = render.moment(render.read_moment(after, "created_after")) or ""
            rows = [row for row in rows if row["created"] >= first]
        if before := query.get("created_before"):
            last = render.moment(render.read_moment(before, "created_before")) or ""
            rows = [row for row in rows if row["created"] <= last]
        if statuses := {status for value in query.getlist("status") for status in value.split(",")}:
            rows = [row for row in rows if row["status"] in statuses]
        # the page says `createdAt` is the default and `-` means descending
        rows.sort(key=lambda row: (row["created"], row["id"]), reverse=query.get("sort", "createdAt").startswith("-"))
        limit = _number(query.get("limit"), 10)
        if not 1 <= limit <= WORKLOAD_PAGE:
            raise Refusal(400, f"limit is in 1..{WORKLOAD_PAGE}")
        start = _number(query.get("next"), 0)
        body: dict[str, Any] = {"workloads": rows[start : start + limit], "total_count": len(rows), "limit": limit}
        if start + limit < len(rows):
            body["next"] = {"href": f"https://sandbox/api/v1/workloads?next={start + limit}"}
        return JSONResponse(body)

    async def _job_rows(self, call: Call) -> list[dict[str, Any]]:
        words = {"queued": "pending", "running": "in_progress", "done": "completed", "cancelled": "canceled"}
        jobs = [job for job in self._mine(call, call.world.jobs.all("ibm")) if not job.facts["session_id"]]
        return [
            self._row(call, job.id, job.created_at, job.facts["backend"])
            | {"mode": "job", "accepting_jobs": None, "status": words.get(call.phase(job), "failed")}
            | {"tags": job.facts["tags"]}
            for job in jobs
            if not job.deleted
        ]

    async def _session_rows(self, call: Call) -> list[dict[str, Any]]:
        rows = []
        lags = [fault for fault in call.faults if fault.kind == "list_lag"]
        for session in list(call.world.shelf("ibm", "sessions").values()):
            if session["crn"] != call.headers.get("service-crn"):
                continue
            lists = session["lists"] = session.get("lists", 0) + len(lags[:1])
            age_s = call.world.clock.now() - session["created_at"]
            if any(lists <= lag.calls or age_s < lag.seconds for lag in lags):
                continue
            shown = await self._sessions.render(call, session)
            status = {"open": "pending", "closed": "completed"}.get(shown["state"], "in_progress")
            rows.append(
                self._row(call, session["id"], session["created_at"], session["backend"])
                | {"mode": "session" if session["mode"] == "dedicated" else "batch", "status": status}
                | {"accepting_jobs": shown["accepting_jobs"], "ended": shown["closed_at"], "tags": []}
                | {"usage": {"qpu_charge_time_seconds": shown["elapsed_time"]}}
            )
        return rows

    def _row(self, call: Call, row_id: str, created: float, backend: str) -> dict[str, Any]:
        crn = call.headers.get("service-crn")
        return {
            "id": row_id,
            "created": render.moment(created),
            "backend": backend,
            "instance": crn,
            "user_id": user_of(call),
        }


def _number(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.lstrip("-").isdecimal() else default


def client_key(document: Any) -> str | None:
    """The tag `qflows:<key>` of a submission, without the prefix."""
    tags = document.get("tags") if isinstance(document, dict) else None
    found = (tag for tag in tags or [] if isinstance(tag, str)) if isinstance(tags, list) else iter(())
    return next((tag.removeprefix("qflows:") for tag in found if tag.startswith("qflows:")), None)
