"""IonQ's job calls: submit, read, list, cancel, delete, clone, move, results and cost."""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Iterator
from typing import Any

from starlette.responses import JSONResponse, Response

from qflows.sandbox.errors import Refusal
from qflows.sandbox.ionq import account, catalog, render, submission
from qflows.sandbox.ionq.sessions import Sessions
from qflows.sandbox.ionq.submission import Circuit, Submission
from qflows.sandbox.jobs import Job, Work
from qflows.sandbox.vendor import Call, Route

PAGE = 25
JSON_GATES = "qflows.sandbox.ionq.execute:run_json"
OPENQASM = "qflows.sandbox.ionq.execute:run_qasm3"


class Jobs:
    """Handlers of `/jobs`."""

    def __init__(self, identity: dict[str, str], sessions: Sessions) -> None:
        self._identity = identity
        self._sessions = sessions

    def routes(self) -> list[Route]:
        """All job calls, the more specific paths first."""
        return [
            Route("submit", "POST", "/v0.4/jobs", self.submit),
            Route("list", "GET", "/v0.4/jobs", self.list),
            Route("delete_many", "DELETE", "/v0.4/jobs", self.delete_many),
            Route("cancel_many", "PUT", "/v0.4/jobs/status/cancel", self.cancel_many),
            Route("estimate", "GET", "/v0.4/jobs/estimate", self.estimate),
            Route("get", "GET", "/v0.4/jobs/{job_id}", self.get),
            Route("delete", "DELETE", "/v0.4/jobs/{job_id}", self.delete),
            Route("cancel", "PUT", "/v0.4/jobs/{job_id}/status/cancel", self.cancel),
            Route("results", "GET", "/v0.4/jobs/{job_id}/results/probabilities", self.probabilities),
            Route("results", "GET", "/v0.4/jobs/{job_id}/results/probabilities/aggregated", self.aggregated),
            Route("shots", "GET", "/v0.4/jobs/{job_id}/results/shots", self.shots),
            Route("artifact", "GET", "/v0.4/jobs/{job_id}/artifacts/{artifact_id}", self.artifact),
            Route("cost", "GET", "/v0.4/jobs/{job_id}/cost", self.cost),
            Route("clone", "POST", "/v0.4/jobs/{job_id}/clone", self.clone),
            Route("move", "POST", "/v0.4/jobs/{job_id}/move", self.move),
        ]

    # -- submission --------------------------------------------------------------------------------------------

    async def submit(self, call: Call) -> Response:
        """Accept a job: 201 `{id, status: "submitted", session_id}`."""
        return self._accept(call, call.document())

    async def clone(self, call: Call) -> Response:
        """Submit the same job again as a new one."""
        job = self._find(call)
        if job.parent_id is not None:
            raise Refusal(400, "a child cannot be cloned; clone its parent")
        return self._accept(call, job.request)

    def _accept(self, call: Call, document: Any) -> Response:
        wanted = submission.read(document, call.switch)
        if wanted.session_id is not None:
            self._sessions.check(call, wanted.session_id, wanted.backend)
        cost = catalog.price_usd(wanted.backend, wanted.gate_counts, wanted.shots, is_mitigated=wanted.is_mitigated)
        if (
            wanted.backend in str(call.switch("unavailable")).split(",")
            and call.switch("unavailable_submit") == "refuse"
        ):
            raise Refusal(503, "backend unavailable")
        key = client_key(document)
        failure = self._over_quota(call, wanted, cost)
        if wanted.type == submission.MULTI:
            job = self._accept_multi(call, wanted, document, cost, key, failure)
        else:
            circuit = wanted.circuits[0] if wanted.circuits else None
            new = self._new(call, wanted, circuit, cost)
            new.request, new.key, new.injected = document, key, failure
            job = call.accept(new)
        if wanted.session_id is not None:
            self._sessions.join(call, wanted.session_id, job, cost)
        return JSONResponse({"id": job.id, "status": "submitted", "session_id": wanted.session_id}, 201)

    def _over_quota(self, call: Call, wanted: Submission, cost: float) -> dict[str, Any] | None:
        """The failure of a job above the project's budget, as `Job.injected`; None for a job within it."""
        quota = float(call.switch("quota_usd"))
        if quota <= 0 or wanted.dry_run:
            return None
        mine = account.project_id(call)
        spent = sum(
            other.facts["cost_usd"]
            for other in call.world.jobs.all("ionq")
            if other.parent_id is None
            and other.facts["owner"] == mine
            and other.outcome not in ("failed", "cancelled")
            and not other.injected
        )
        if spent + cost <= quota:
            return None
        return {"code": "QuotaExhaustedError", "message": "the project's budget does not cover it", "children": None}

    def _accept_multi(
        self,
        call: Call,
        wanted: Submission,
        document: Any,
        cost: float,
        key: str | None,
        failure: dict[str, Any] | None,
    ) -> Job:
        parent_id = str(uuid.uuid4())
        children = [self._new(call, wanted, circuit, cost / len(wanted.circuits)) for circuit in wanted.circuits]
        for child in children:
            child.parent_id, child.injected = parent_id, failure
            child.facts["type"] = submission.SINGLE
            child.facts["metadata"] = wanted.metadata if call.switch("child_metadata") == "copy" else None
            call.world.accept(child, route=call.route)
        child_ids = [child.id for child in children]
        parent = call.new_job(parent_id, request=document, key=key, child_ids=child_ids, injected=failure)
        parent.facts = self._facts(call, wanted, wanted.circuits, cost) | {"name": wanted.name}
        if call.switch("children_order") == "reversed":
            parent.facts["children_reversed"] = True
        return call.accept(parent)

    def _new(self, call: Call, wanted: Submission, circuit: Circuit | None, cost: float) -> Job:
        job = call.new_job(str(uuid.uuid4()))
        job.facts = self._facts(call, wanted, [circuit] if circuit else [], cost)
        if circuit is not None and circuit.name is not None:
            job.facts["name"] = circuit.name
        job.work = self._work(call, wanted, circuit, job)
        return job

    def _facts(self, call: Call, wanted: Submission, circuits: list[Circuit], cost: float) -> dict[str, Any]:
        """What the API shows of a job, apart from its state."""
        counts = catalog.gate_counts([circuit.gates for circuit in circuits])
        qubits = max((circuit.qubits for circuit in circuits), default=wanted.qubits)
        return {
            "type": wanted.type,
            "backend": wanted.backend,
            "dry_run": wanted.dry_run,
            "submitter_id": self._identity["submitter_id"],
            "project_id": account.project_id(call),
            "owner": account.project_id(call),
            "session_id": wanted.session_id,
            "metadata": wanted.metadata,
            "name": wanted.name,
            "shots": wanted.shots,
            "noise_model": wanted.noise_model,
            "is_sampled": wanted.backend != catalog.SIMULATOR or wanted.noise_model != "ideal",
            "is_mitigated": wanted.is_mitigated,
            "keeps_registers": submission.is_pinned(wanted.settings) or call.switch("unpinned_service") == "named",
            "leaked": round(wanted.shots * float(call.switch("leaked_share"))),
            "settings": wanted.settings,
            "stats": {"qubits": qubits, "circuits": max(1, len(circuits)), "gate_counts": counts},
            "predicted_ms": 10 + sum(counts.values()),
            "cost_usd": cost,
        }

    def _work(self, call: Call, wanted: Submission, circuit: Circuit | None, job: Job) -> Work:
        rates = catalog.NOISE_RATES[wanted.noise_model]
        if wanted.backend != catalog.SIMULATOR:
            rates = catalog.qpu_rates(wanted.backend) if call.switch("qpu_noise") else None
        seed = call.world.seed * 1_000_003 + job.seq if wanted.noise_seed is None else wanted.noise_seed
        common = {
            "shots": wanted.shots,
            "seed": seed % 2**31,
            "rates": rates,
            "limit": call.switch("max_active_qubits"),
            "dry_run": wanted.dry_run,
        }
        if circuit is None:
            words = ("barrier", "delay")
            refuses = [word for word in words if call.switch(f"qasm3_{word}") == "fail"]
            takes_early = wanted.backend == catalog.SIMULATOR or call.switch("qpu_mid_circuit")
            return Work(OPENQASM, common | {"data": wanted.qasm3, "mid_circuit": takes_early, "refuses": refuses})
        dialect = {
            "z_rotation": call.switch("z_rotation"),
            "pauliexp_last_is_first_target": call.switch("pauliexp_last_is_first_target"),
            "native": None if wanted.backend == catalog.SIMULATOR else list(catalog.NATIVE_OF_QPUS),
        }
        return Work(
            JSON_GATES,
            common
            | {
                "circuit": circuit.gates,
                "gateset": circuit.gateset,
                "qubits": min(circuit.qubits, catalog.width(wanted.backend, call.switch("qpu_qubits"))),
                "is_exact": not job.facts["is_sampled"],
                "dialect": dialect,
            },
        )

    # -- reading -----------------------------------------------------------------------------------------------

    def _find(self, call: Call, job_id: str | None = None) -> Job:
        job = call.world.jobs.get(job_id or call.params["job_id"])
        is_there = job is not None and not job.deleted and job.vendor == "ionq"
        if job is None or not is_there or not self._is_mine(call, job):
            raise Refusal(404, "no such job")
        return job

    def _is_mine(self, call: Call, job: Job) -> bool:
        """True for jobs of the key's project, and those moved out of it: their target project is not emulated."""
        return call.switch("accounts") == "shared" or job.facts.get("owner") == account.project_id(call)

    async def get(self, call: Call) -> Response:
        """The full job."""
        job = self._find(call)
        await call.observe([job])
        return JSONResponse(render.job(call, job))

    async def list(self, call: Call) -> Response:
        """A page of jobs: `{jobs, next}`. Filters: ids, parent_job_id, status, target, session_id, submitter_id."""
        statuses = call.query.getlist("status")
        if unknown := set(statuses) - set(render.STATUSES):
            if call.switch("unknown_status_filter") == "refuse":
                raise Refusal(400, f"status {sorted(unknown)[0]!r} is none of {', '.join(render.STATUSES)}")
            return JSONResponse({"jobs": [], "next": None})
        limit = self._limit(call)
        after = _position(call.query.get("next"))
        if statuses:
            await call.world.observe([job for job in call.world.jobs.all("ionq") if not job.is_terminal])
        page: list[Job] = []
        more = False
        for job in call.listed(self._candidates(call, after)):
            if after is not None and not self._is_after(call, job.seq, after):
                continue
            if statuses and render.status(call, job) not in statuses:
                continue
            if len(page) == limit:
                more = True
                break
            page.append(job)
        await call.observe(page)
        following = _cursor(page[-1].seq) if more else None
        return JSONResponse({"jobs": [render.base_job(call, job) for job in page], "next": following})

    def _limit(self, call: Call) -> int:
        text = call.query.get("limit", str(PAGE))
        if not text.isdecimal() or int(text) < 1:
            raise Refusal(400, "limit must be a positive whole number")
        if int(text) > PAGE and call.switch("page_overflow") == "refuse":
            raise Refusal(400, f"limit is at most {PAGE}")
        return min(int(text), PAGE)

    def _is_after(self, call: Call, seq: int, position: int) -> bool:
        return seq > position if call.switch("list_order") == "oldest_first" else seq < position

    def _candidates(self, call: Call, after: int | None) -> Iterator[Job]:
        """Jobs that pass the filters except status, in the order of the list; may begin before the cursor."""
        query, store = call.query, call.world.jobs
        is_oldest_first = call.switch("list_order") == "oldest_first"
        targets = {name for text in query.getlist("target") for name in text.split(",")}
        parent = query.get("parent_job_id")
        if ids := set(query.getlist("ids")):
            named = [job for job in map(store.get, ids) if job is not None and not job.deleted]
            pool: Iterator[Job] = iter(sorted(named, key=lambda job: job.seq, reverse=not is_oldest_first))
        elif is_oldest_first:
            pool = (job for job in store.all("ionq") if not job.deleted)
        else:
            pool = store.newest_first("ionq", before=after)
        shows_children = bool(ids) or parent is not None or call.switch("list_children")
        for job in pool:
            facts = job.facts
            if (
                self._is_mine(call, job)
                and (shows_children or job.parent_id is None)
                and parent in (None, job.parent_id)
                and (not targets or facts["backend"] in targets)
                and query.get("session_id") in (None, facts["session_id"])
                and query.get("submitter_id") in (None, facts["submitter_id"])
            ):
                yield job

    # -- results -----------------------------------------------------------------------------------------------

    async def _completed(self, call: Call) -> Job:
        job = self._find(call)
        await call.world.observe([job])
        if call.phase(job) != "done" or job.facts["dry_run"]:
            raise Refusal(404, "the job has no results")
        return job

    async def probabilities(self, call: Call) -> Response:
        """Probabilities of a completed single-circuit job. `sharpen=true` and `aggregation=voting` show the plurality
        vote of a debiased job's variants."""
        job = await self._completed(call)
        if job.child_ids:
            raise Refusal(404, "a multi-circuit job has aggregated probabilities")
        is_vote = call.query.get("sharpen") == "true" or call.query.get("aggregation") == "voting"
        view = render.voted if is_vote and job.facts["is_mitigated"] else render.probabilities
        return JSONResponse(render.rounded(call, view(job)))

    async def aggregated(self, call: Call) -> Response:
        """Probabilities of a completed multi-circuit job, by child id."""
        job = await self._completed(call)
        if not job.child_ids:
            raise Refusal(404, "not a multi-circuit job")
        return JSONResponse(render.aggregated(call, job))

    async def shots(self, call: Call) -> Response:
        """Outcomes in shot order, if shots were taken."""
        job = await self._completed(call)
        if render.SHOTS not in render.available(call, job):
            raise Refusal(404, "no shots for this job")
        return JSONResponse(render.shots(job))

    async def artifact(self, call: Call) -> Response:
        """A result by its artifact id."""
        job = await self._completed(call)
        body = render.artifact(call, job, call.params["artifact_id"])
        if body is None:
            raise Refusal(404, "no such artifact")
        return JSONResponse(body)

    # -- changes -----------------------------------------------------------------------------------------------

    async def _cancel(self, call: Call, job: Job) -> None:
        await call.world.observe([job])
        if job.outcome == "done" and call.switch("cancel_finished") == "canceled":
            job.outcome, job.facts["is_charged"] = "cancelled", True
            call.world.remember(job)
            return
        if call.world.phase(job) == "running" and call.switch("cancel_running") == "ignore":
            return
        if call.switch("cancel_children") or not job.child_ids:
            call.world.cancel(job)

    async def cancel(self, call: Call) -> Response:
        """Cancel a job; a finished one stays as it is."""
        job = self._find(call)
        await self._cancel(call, job)
        return JSONResponse({"id": job.id, "status": "canceled"})

    async def cancel_many(self, call: Call) -> Response:
        """Cancel the jobs named in the body."""
        jobs = self._named(call)
        for job in jobs:
            await self._cancel(call, job)
        return JSONResponse({"ids": [job.id for job in jobs], "status": "canceled"})

    async def delete(self, call: Call) -> Response:
        """Delete a job and its data."""
        job = self._find(call)
        self._delete(call, job)
        return JSONResponse({"id": job.id, "status": "deleted"})

    async def delete_many(self, call: Call) -> Response:
        """Delete the jobs named in the body."""
        jobs = self._named(call)
        for job in jobs:
            self._delete(call, job)
        return JSONResponse({"ids": [job.id for job in jobs], "status": "deleted"})

    def _delete(self, call: Call, job: Job) -> None:
        for each in (job, *call.world.jobs.children(job)):
            each.deleted = True
            call.world.remember(each)

    def _named(self, call: Call) -> list[Job]:
        body = call.document()
        ids = body.get("ids") if isinstance(body, dict) else None
        if not isinstance(ids, list) or not all(isinstance(job_id, str) for job_id in ids):
            raise Refusal(400, "ids must be a list of job ids", keys=["ids"])
        return [self._find(call, job_id) for job_id in ids]

    async def move(self, call: Call) -> Response:
        """Move a job to another project."""
        job, body = self._find(call), call.document()
        project = body.get("project_id") if isinstance(body, dict) else None
        if not isinstance(project, str):
            raise Refusal(400, "project_id is required", keys=["project_id"])
        job.facts["project_id"] = project
        call.world.remember(job)
        return JSONResponse({"id": job.id, "project_id": project}, 201)

    # -- money -------------------------------------------------------------------------------------------------

    async def estimate(self, call: Call) -> Response:
        """A prediction of cost (USD) and times (ms). Defaults of the query: 25 qubits, 1000 shots."""
        if call.switch("estimate_status") == 401:
            raise Refusal(401, "your role may not do this")
        query = call.query
        backend = query.get("backend", "")
        if backend != catalog.SIMULATOR and backend not in catalog.QPUS:
            raise Refusal(400, f"unknown backend {backend!r}")
        numbers = {}
        for name, default in (("1q_gates", 0), ("2q_gates", 0), ("shots", 1000), ("qubits", 25)):
            text = query.get(name, str(default))
            if not text.isdecimal():
                raise Refusal(400, f"{name} must be a whole number")
            numbers[name] = int(text)
        counts = {"1q": numbers["1q_gates"], "2q": numbers["2q_gates"]}
        is_mitigated = query.get("error_mitigation") == "true"
        body = {
            "estimate_context": {"backend": backend, "organization": None, "project": None},
            "estimated_at": render.moment(call.world.clock.now()),
            "estimated_unit": "usd",
            **self._rates(call, is_mitigated=is_mitigated),
            "estimated_total_cost": catalog.price_usd(backend, counts, numbers["shots"], is_mitigated=is_mitigated),
            "estimated_execution_time": 10 + sum(counts.values()),
            "current_predicted_queue_time": 0 if backend == catalog.SIMULATOR else catalog.QUEUE_MS,
        }
        return JSONResponse(body)

    def _rates(self, call: Call, *, is_mitigated: bool) -> dict[str, Any]:
        minimum = catalog.MIN_USD_DEBIASED if is_mitigated else catalog.MIN_USD
        rates = {"cost_1q_gate": catalog.USD_PER_1Q_SHOT, "cost_2q_gate": catalog.USD_PER_2Q_SHOT}
        if call.switch("estimate_shape") == "rate_information":
            return {"rate_information": {**rates, "job_cost_minimum": minimum}}
        return {"rate_card": {"id": "sandbox", "rates": [{"unit": "gates", **rates, "job_cost_minimum": minimum}]}}

    async def cost(self, call: Call) -> Response:
        """The cost of a job. The simulator shows neither price; 404 while none exists."""
        job = self._find(call)
        await call.world.observe([job])
        if job.facts["backend"] == catalog.SIMULATOR:
            return JSONResponse({"dry_run": False})
        if not job.is_terminal:
            raise Refusal(404, "the job has no cost yet")
        price = {"value": job.facts["cost_usd"], "unit": "usd"}
        billed = {"value": round(job.facts["cost_usd"] * float(call.switch("bill_factor")), 6), "unit": "usd"}
        is_charged = (job.outcome == "done" and not job.facts["dry_run"]) or job.facts.get("is_charged", False)
        charged = billed if is_charged else price | {"value": 0.0}
        return JSONResponse({"dry_run": job.facts["dry_run"], "cost": charged, "estimated_cost": price})


def client_key(document: Any) -> str | None:
    """The caller's key in the metadata: `qflows_key`."""
    if not isinstance(document, dict):
        return None
    metadata = document.get("metadata")
    key = metadata.get("qflows_key") if isinstance(metadata, dict) else None
    return key if isinstance(key, str) else None


def _cursor(seq: int) -> str:
    return base64.urlsafe_b64encode(f"seq:{seq}".encode()).decode()


def _position(cursor: str | None) -> int | None:
    if not cursor:
        return None
    try:
        return int(base64.urlsafe_b64decode(cursor).decode().removeprefix("seq:"))
    except (ValueError, binascii.Error):
        raise Refusal(400, "next is not a cursor of this list") from None
