"""IBM's job objects, metrics and errors. Shapes: qiskit-ibm-runtime 0.51.0 and IBM's OpenAPI 0.45.3."""

from __future__ import annotations

import math
import uuid
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from starlette.responses import JSONResponse, Response

from qflows.sandbox.errors import Refusal
from qflows.sandbox.ibm import catalog
from qflows.sandbox.jobs import Job
from qflows.sandbox.vendor import Call

# phase of the sandbox -> `state.status` on the wire (OpenAPI 0.45.3, JobState)
STATUS = {
    "queued": "Queued",
    "running": "Running",
    "done": "Completed",
    "failed": "Failed",
    "cancelled": "Cancelled",
}
OPEN = ("queued", "running")
SKEW_S: ContextVar[float] = ContextVar("skew_s", default=0.0)  # of the request: how far IBM's clock is ahead of ours


def moment(seconds: float | None) -> str | None:
    """Unix seconds as the API writes time: UTC, microseconds, Z."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds + SKEW_S.get(), UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def read_moment(text: str, name: str) -> float:
    """Unix seconds of an ISO text. Raises Refusal(400)."""
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00").replace(" ", "+"))
    except ValueError:
        raise Refusal(400, f"{name} is not a date-time") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() - SKEW_S.get()


def error(refusal: Refusal, *, shape: str) -> Response:
    """`{errors: [{code, message, more_info}], trace}`; with shape `both` also the `error` the client looks for."""
    code = refusal.code or catalog.BY_STATUS.get(refusal.status, "1000")
    one = {"code": code, "message": refusal.message, "solution": "", "more_info": "https://docs.quantum.ibm.com/errors"}
    body: dict[str, Any] = {"errors": [one], "trace": str(uuid.uuid4())}
    if shape == "both":
        body["error"] = one
    return JSONResponse(body, refusal.status, refusal.headers)


def state(call: Call, job: Job) -> dict[str, Any]:
    """The state object this request may see. Running out of time shows as Cancelled with reason code 1305."""
    phase = call.phase(job)
    if forced := call.switch("force_state"):
        return {"status": forced}
    if phase != "failed":
        return {"status": STATUS[phase]}
    cause = job.failure or {}
    code = str(cause.get("code", ""))
    code = code if code.isdecimal() and 1000 <= int(code) <= 9999 else catalog.JOB_ERROR
    return {
        "status": STATUS["cancelled" if code == catalog.RAN_TOO_LONG else "failed"],
        "reason": str(cause.get("message", "failed")),
        "reason_code": int(code),
        "reason_solution": "",
    }


def usage(call: Call, job: Job) -> dict[str, Any]:
    """QPU seconds; nothing is charged before the end, or for a job that never ran."""
    if call.phase(job) in OPEN:
        return {"qpu_charge_time_seconds": 0, "status": "pending"}
    charged = math.ceil(charged_s(job) * float(call.switch("bill_factor")))
    return {"qpu_charge_time_seconds": charged, "status": "complete"}


def charged_s(job: Job) -> int:
    """Whole QPU seconds a job has cost so far. Failures by the user's fault cost 2, system failures nothing."""
    if job.outcome == "failed" and not job.facts.get("never_ran"):
        code = str((job.failure or {}).get("code", ""))
        return int(job.facts["bad_qasm_s"]) if code == catalog.BAD_QASM else catalog.CHARGED_FAILURES.get(code, 0)
    return int(job.facts["charge_s"]) if job.outcome == "done" else 0


def job(call: Call, job: Job, *, with_params: bool = False) -> dict[str, Any]:
    """The job object."""
    facts = job.facts
    shown = state(call, job)
    body: dict[str, Any] = {
        "id": job.id,
        "backend": facts["backend"],
        "status": shown["status"],
        "state": shown,
        "program": {"id": facts["program_id"]},
        "user_id": facts.get("user", "IBMid-sandbox"),
        "created": moment(job.created_at),
        "cost": facts["cost"],
        "runtime": facts["runtime"],
        "tags": facts["tags"],
        "private": facts["private"],
        "estimated_running_time_seconds": facts["estimated_s"],
        "usage": usage(call, job),
    }
    if facts["session_id"]:
        body["session_id"] = facts["session_id"]
    if call.phase(job) not in OPEN:
        body["ended"] = moment(job.ended_at)
    if with_params and not facts["private"]:
        body["params"] = job.request.get("params", {})
    return body


def metrics(call: Call, job: Job) -> dict[str, Any]:
    """Times and usage; position in queue and bss are left out, because no document says who gets them."""
    phase = call.phase(job)
    return {
        "timestamps": {
            "created": moment(job.created_at),
            "running": moment(job.started_at) if phase != "queued" else None,
            "finished": moment(job.ended_at) if phase not in OPEN else None,
        },
        "usage": usage(call, job),
        "qiskit_version": "2.6.2",
        "caller": "qflows-sandbox",
        "estimated_start_time": None,
        "estimated_completion_time": None,
        "circuits_execution_time_ns": 0,
    }
