"""qBraid's job calls: submit, read, list, results, programs, cancel, delete, cost."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

from starlette.responses import Response

from qflows.sandbox.errors import Refusal
from qflows.sandbox.jobs import Job, Work
from qflows.sandbox.qbraid import accounts, catalog, render, submission
from qflows.sandbox.qbraid.groups import Groups
from qflows.sandbox.qbraid.submission import Submission, whole
from qflows.sandbox.vendor import Call, Route

PAGE, MAX_PAGE = 50, 100
MAX_SEARCH = 255
ONE = "qflows.sandbox.qbraid.execute:run"
BATCH = "qflows.sandbox.qbraid.execute:run_batch"


class Jobs:
    """Handlers of `/jobs`, except groups."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups

    def routes(self) -> list[Route]:
        """All job calls, the more specific paths first."""
        base = "/api/v1/jobs"
        return [
            Route("submit", "POST", base, self.submit),
            Route("list", "GET", base, self.list),
            Route("delete_many", "DELETE", base, self.delete_many),
            Route("statuses", "GET", f"{base}/statuses", self.statuses),
            Route("estimate", "GET", f"{base}/cost-estimate", self.estimate),
            *self._groups.routes(),
            Route("get", "GET", f"{base}/{{qrn}}", self.get),
            Route("delete", "DELETE", f"{base}/{{qrn}}", self.delete),
            Route("results", "GET", f"{base}/{{qrn}}/result", self.result),
            Route("program", "GET", f"{base}/{{qrn}}/program", self.program),
            Route("compiled", "GET", f"{base}/{{qrn}}/compiled-program", self.compiled),
            Route("cancel", "POST", f"{base}/{{qrn}}/cancel", self.cancel),
        ]

    # -- submission --------------------------------------------------------------------------------------------

    async def submit(self, call: Call) -> Response:
        """Accept a job: 201 with the RuntimeJob, or with `{jobQrn, status}` alone."""
        wanted = submission.read(call)
        if call.switch("refused_as_201"):
            return render.refused_as_201()
        if wanted.group is not None:
            self._groups.check_open(call, wanted.group)
        circuits = len(wanted.programs)
        seconds = float(call.switch("estimated_s")) * circuits
        estimate = catalog.price(wanted.device, wanted.shots, circuits, seconds)
        if refused := self._out_of_credits(call, estimate):
            return refused
        job = self._new(call, wanted, estimate)
        call.accept(job)
        if wanted.group is not None:
            self._groups.join(call, wanted.group, job)
        if call.switch("submit_body") == "lean":
            return render.ok({"jobQrn": job.id, "status": "INITIALIZING"}, 201)
        return render.ok(render.accepted(job), 201)

    def _new(self, call: Call, wanted: Submission, estimate: float) -> Job:
        account = accounts.account_of(call)
        if call.switch("job_context") == "personal":
            account = accounts.personal(account)
        # as recorded: the context, then an object id, which begins with the second in which it was made
        moment = f"{int(call.world.clock.now()):08x}"
        qrn = f"{wanted.device.qrn}-{account}-qjob-{moment}{secrets.token_hex(8)}"
        document = call.document()
        job = call.new_job(qrn, request=document, key=submission.client_key(document))
        job.facts = {
            "account": account,
            "device": wanted.device.qrn,
            "circuits": len(wanted.programs),
            "is_batch": wanted.is_batch,
            "shots": wanted.shots,
            "name": wanted.name,
            "tags": wanted.tags,
            "options": wanted.options,
            "group": wanted.group,
            "estimate": estimate,
            "queue": wanted.device.queue,
        }
        payload = {
            "programs": wanted.programs,
            "shots": wanted.shots,
            "seed": call.world.seed * 1_000_003 + job.seq,
            "qubits": wanted.device.qubits,
            "limit": call.switch("max_active_qubits"),
            "rates": wanted.rates,
            "refuses": _refuses(call, wanted),
        }
        job.work = Work(BATCH if wanted.is_batch else ONE, payload)
        return job

    def _out_of_credits(self, call: Call, estimate: float) -> Response | None:
        balance = self.balance(call)
        if estimate <= balance:
            return None
        refusal = Refusal(
            call.switch("insufficient_credits_status"), "insufficient credits", code="INSUFFICIENT_CREDITS"
        )
        details = {"needed": estimate, "minRequired": estimate, "balance": balance}
        return render.error(refusal, as_detail=False, details=details)

    def balance(self, call: Call) -> float:
        """Credits left: estimates of unfinished jobs are reserved, failed and cancelled ones cost nothing."""
        account = accounts.account_of(call)
        owners = {account, accounts.personal(account)}
        mine = (job for job in call.world.jobs.all("qbraid") if job.facts["account"] in owners)
        held = 0.0
        for job in mine:
            charged = render.cost(call, job)
            held += job.facts["estimate"] if charged is None else charged
        return round(float(call.switch("credits")) - held, 6)

    # -- reading -----------------------------------------------------------------------------------------------

    def _find(self, call: Call, qrn: str | None = None) -> Job:
        job = call.world.jobs.get(qrn or call.params["qrn"])
        if job is None or job.deleted or job.vendor != "qbraid":
            raise Refusal(404, "Job not found", code="NOT_FOUND")
        if not accounts.is_visible(call, job.facts["account"]):
            status = 403 if call.switch("job_context") == "personal" else int(call.switch("foreign_job_status"))
            if status == 404:
                raise Refusal(404, "Job not found", code="NOT_FOUND")
            raise Refusal(status, "You do not have access to this job", code="FORBIDDEN")
        return job

    async def get(self, call: Call) -> Response:
        """The RuntimeJob."""
        job = self._find(call)
        await call.observe([job])
        render.refresh(call, job)
        return render.ok(_shown(call, job))

    async def list(self, call: Call) -> Response:
        """A page of jobs with `pagination`. Filters as on the REST page; `status` overrides `statusGroup`."""
        limit, number = whole(call, "limit", PAGE, MAX_PAGE), whole(call, "page", 1, 10**9)
        statuses = self._statuses(call)
        if call.switch("list_refreshes") and statuses is not None:
            await call.world.observe([job for job in call.world.jobs.all("qbraid") if not job.is_terminal])
        chosen = [
            job for job in call.listed(self._candidates(call)) if statuses is None or render.word(call, job) in statuses
        ]
        page = chosen[(number - 1) * limit : number * limit]
        if call.switch("list_refreshes"):
            await call.observe(page)
        pages = -(-len(chosen) // limit)
        pagination = {
            "page": number,
            "limit": limit,
            "total": len(chosen),
            "totalPages": pages,
            "hasNext": number < pages,
            "hasPrev": number > 1,
        }
        return render.ok([_shown(call, job) for job in page], pagination=pagination)

    def _statuses(self, call: Call) -> frozenset[str] | None:
        status, group = call.query.get("status"), call.query.get("statusGroup")
        if status is not None:
            if status not in render.STATUSES:
                raise submission.bad("query", "status", message=f"must be one of {', '.join(render.STATUSES)}")
            return frozenset({status})
        if group not in (None, "pending", "returned", "all"):
            raise submission.bad("query", "statusGroup", message="must be pending, returned or all")
        if group in (None, "all"):
            return None
        words = set(render.PENDING if group == "pending" else render.RETURNED)
        return frozenset(words | ({"HOLD"} if call.switch("hold_status_group") == group else set()))

    def _candidates(self, call: Call) -> Iterator[Job]:
        """Jobs that pass the filters except status, in the order of the list."""
        query = call.query
        wanted = _tags(call)
        search = query.get("search")
        if search is not None and not 1 <= len(search) <= MAX_SEARCH:
            raise submission.bad("query", "search", message=f"must have 1 to {MAX_SEARCH} characters")
        pool = call.world.jobs.newest_first("qbraid")
        if call.switch("list_order") == "oldest_first":
            pool = (job for job in call.world.jobs.all("qbraid") if not job.deleted)
        for job in pool:
            device = catalog.DEVICES[job.facts["device"]]
            if (
                accounts.is_visible(call, job.facts["account"])
                and query.get("vendor") in (None, "all", device.vendor)
                and query.get("provider") in (None, "all", device.provider)
                and _bears(call, job.facts["tags"], wanted)
                and (search is None or search in f"{job.id} {job.facts['name'] or ''}")
            ):
                yield job

    async def statuses(self, call: Call) -> Response:
        """The status words."""
        return render.ok(list(render.STATUSES))

    # -- results -----------------------------------------------------------------------------------------------

    async def result(self, call: Call) -> Response:
        """Result or BatchResult of a finished job."""
        job = self._find(call)
        await call.world.observe([job])
        status = render.word(call, job)
        refuses_failed = status == "FAILED" and call.switch("failed_result") == "refuse"
        if status not in ("COMPLETED", "FAILED") or refuses_failed or call.switch("broken_result"):
            raise Refusal(call.switch("no_result_status"), f"job is {status}", code="RESULT_NOT_AVAILABLE")
        return render.ok(render.result(call, job))

    async def program(self, call: Call) -> Response:
        """What was submitted."""
        return render.ok(self._find(call).request["program"])

    async def compiled(self, call: Call) -> Response:
        """What ran: there is no compiler here, so a finished job on a QPU shows what was submitted."""
        job = self._find(call)
        await call.world.observe([job])
        if catalog.DEVICES[job.facts["device"]].is_simulator or not call.switch("compiled_text"):
            raise Refusal(404, "no compiled program", code="NOT_FOUND")
        if call.phase(job) != "done":
            raise Refusal(409, "not yet available", code="CONFLICT")
        return render.ok(job.request["program"])

    # -- changes -----------------------------------------------------------------------------------------------

    async def cancel(self, call: Call) -> Response:
        """202; 409 for a job that is initializing, 400 for a finished one."""
        job = self._find(call)
        if job.facts.get("word", "INITIALIZING") == "INITIALIZING" and render.is_initializing(call, job):
            text = f"Job {job.id} is still initializing and cannot be cancelled yet. Please try again in a few moments."
            raise Refusal(409, text, code="JOB_CANCEL_CONFLICT")
        await call.world.observe([job])
        if job.is_terminal:
            raise Refusal(400, f"Job is {render.present_word(call, job)}", code="BAD_REQUEST")
        self._groups.cancel_job(call, job)
        done = {"message": "Job cancellation initiated successfully", "jobQrn": job.id, "status": "CANCELLING"}
        return render.ok(done, 202)

    async def delete(self, call: Call) -> Response:
        """Delete a job's record."""
        self._delete(call, self._find(call))
        return render.ok({})

    async def delete_many(self, call: Call) -> Response:
        """Delete the jobs named in the query."""
        try:
            named = json.loads(call.query.get("qrns", ""))
        except ValueError:
            named = None
        if not isinstance(named, list) or not all(isinstance(qrn, str) for qrn in named):
            raise submission.bad("query", "qrns", message="must be a JSON list of job QRNs")
        for job in [self._find(call, qrn) for qrn in named]:
            self._delete(call, job)
        return render.ok({})

    def _delete(self, call: Call, job: Job) -> None:
        job.deleted = True
        call.world.remember(job)

    async def estimate(self, call: Call) -> Response:
        """A quote in credits; 1000 shots by default."""
        qrn = call.query.get("deviceQrn", "")
        device = catalog.DEVICES.get(qrn)
        if device is None:
            raise Refusal(404, f"Device not found: {qrn}", code="NOT_FOUND")
        if device.is_linked:  # the linked account pays, so qBraid itself charges nothing
            return render.ok({"pricingAvailable": True, "deviceQrn": qrn, "estimatedCost": 0, "shots": 1000})
        if not device.has_price:
            reason = {"pricingAvailable": False, "deviceQrn": qrn, "reason": "dynamic_pricing_unavailable"}
            return render.ok(reason)
        shots = whole(call, "shots", 1000, 10**9)
        quote = catalog.price(device, shots, 1, float(call.switch("estimated_s")))
        return render.ok({"pricingAvailable": True, "deviceQrn": qrn, "estimatedCost": quote, "shots": shots})


def _refuses(call: Call, wanted: submission.Submission) -> list[str]:
    """Words that the simulator fails on."""
    if not wanted.device.is_simulator:
        return []
    return [word for word in ("barrier", "delay") if call.switch(f"simulator_{word}") == "fail"]


def _shown(call: Call, job: Job) -> dict[str, Any]:
    body = render.job(call, job)
    if job.facts.pop("shows_cancelling", False):
        call.world.remember(job)  # one read has seen it under way
    return body


def _tags(call: Call) -> dict[str, Any]:
    text = call.query.get("tags")
    if text is None:
        return {}
    try:
        wanted = json.loads(text)
    except ValueError:
        wanted = None
    if not isinstance(wanted, dict):
        raise submission.bad("query", "tags", message="must be a JSON object")
    return wanted


def _bears(call: Call, tags: dict[str, Any], wanted: dict[str, Any]) -> bool:
    rule = call.switch("tag_match")
    if not wanted or rule == "ignored":
        return True
    return tags == wanted if rule == "exact" else wanted.items() <= tags.items()
