"""qBraid's documents: envelopes, jobs, results. Shapes: what `qbraid-core` 0.6.37 parses; members as in REST v1."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.responses import JSONResponse, Response

from qflows.sandbox.errors import Refusal
from qflows.sandbox.jobs import Job
from qflows.sandbox.qbraid import catalog
from qflows.sandbox.vendor import Call

# phase of the sandbox -> status on the wire; INITIALIZING is what POST /jobs answers
STATUS = {
    "queued": "QUEUED",
    "running": "RUNNING",
    "done": "COMPLETED",
    "failed": "FAILED",
    "cancelled": "CANCELLED",
}
PENDING = ("INITIALIZING", "VALIDATING", "QUEUED", "RUNNING", "CANCELLING", "UNKNOWN")
RETURNED = ("COMPLETED", "FAILED", "CANCELLED")
STATUSES = (*PENDING, *RETURNED, "HOLD")
CODES = {401: "UNAUTHORIZED", 403: "FORBIDDEN", 404: "NOT_FOUND", 409: "CONFLICT", 429: "RATE_LIMITED"}


def ok(data: Any, status: int = 200, **more: Any) -> Response:
    """The envelope of a success."""
    return JSONResponse({"success": True, "data": data, **more}, status)


def error(refusal: Refusal, *, as_detail: bool, details: Mapping[str, Any] | None = None) -> Response:
    """The envelope of a refusal; or, for a body that fails validation, FastAPI's own `detail`."""
    if as_detail and refusal.status == 422 and refusal.keys:
        detail = [{"loc": list(refusal.keys), "msg": refusal.message, "type": "value_error"}]
        return JSONResponse({"detail": detail}, 422, refusal.headers)
    code = refusal.code or CODES.get(refusal.status) or ("INTERNAL_ERROR" if refusal.status >= 500 else "BAD_REQUEST")
    body = {
        "success": False,
        "message": refusal.message,
        "error": {"message": refusal.message, "code": code, **(details or {})},
    }
    return JSONResponse(body, refusal.status, refusal.headers)


def moment(seconds: float | None) -> str | None:
    """Unix seconds as the API writes time: UTC, milliseconds, Z."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def circuits(job: Job) -> list[dict[str, Any]]:
    """What each circuit of a batch gave: {"counts"} or {"error"}; scripted failures included."""
    found = list((job.result or {}).get("circuits", ()))
    scripted = job.injected or {}
    return [
        {"error": f"circuit {index}: {scripted['message']}"} if index in (scripted.get("children") or ()) else outcome
        for index, outcome in enumerate(found)
    ]


def word(call: Call, job: Job) -> str:
    """The status this request may see."""
    phase = call.phase(job)
    if phase == "cancelled" and job.facts.get("shows_cancelling"):
        return "CANCELLING"
    if phase == "done" and job.facts["is_batch"]:
        failed = ["error" in outcome for outcome in circuits(job)]
        if all(failed) or (any(failed) and call.switch("mixed_batch") == "FAILED"):
            return "FAILED"
    if phase == "done" and call.switch("finished_as"):
        return call.switch("finished_as")
    return STATUS[phase]


def message(call: Call, job: Job) -> str | None:
    """Why a job failed, else nothing."""
    status = word(call, job)
    if status == "HOLD":
        return "results are withheld: the account has a negative balance"
    if status != "FAILED":
        return None
    if job.failure is not None:
        return job.failure["message"]
    if job.facts["is_batch"]:
        errors = [outcome["error"] for outcome in circuits(job) if "error" in outcome]
        return f"{len(errors)} of {len(circuits(job))} circuits failed"
    return "failed"


def cost(call: Call, job: Job) -> float | None:
    """Credits billed: the estimate of a completed job, nothing for the others."""
    status = word(call, job)
    if status in ("COMPLETED", "HOLD"):
        return job.facts["estimate"]
    if status in RETURNED:
        return None if call.switch("final_costs") == "null" else 0.0
    return None


def times(call: Call, job: Job) -> dict[str, Any] | None:
    """Creation, end and duration (ms), as far as they are past."""
    found: dict[str, Any] = {"createdAt": moment(job.created_at)}
    status = word(call, job)
    if status not in RETURNED and status != "HOLD":
        return found
    if status != "COMPLETED" and call.switch("final_costs") == "null":
        return None
    ended = job.ended_at if job.ended_at is not None else job.created_at
    return found | {"endedAt": moment(ended), "executionDuration": max(0, round((ended - job.created_at) * 1000))}


def job(call: Call, job: Job) -> dict[str, Any]:
    """The RuntimeJob, with the members that platform listings ask for too."""
    device, facts = catalog.DEVICES[job.facts["device"]], job.facts
    status = word(call, job)
    return {
        "jobQrn": job.id,
        "groupJobQrn": facts["group"],
        "vendor": device.vendor,
        "provider": device.provider,
        "deviceQrn": device.qrn,
        "status": status,
        "statusMsg": message(call, job),
        "experimentType": device.paradigm,
        "queuePosition": facts["queue"] if status == "QUEUED" else None,
        "estimatedCost": facts["estimate"],
        "cost": cost(call, job),
        "metadata": {},
        "numCircuits": len(job.request["program"]) if facts["is_batch"] else 1,
        "name": facts["name"],
        "shots": facts["shots"],
        "tags": facts["tags"],
        "runtimeOptions": facts["options"],
        "timeStamps": times(call, job),
        "organizationUserId": "u-sandbox",
        "deviceId": f"d-{device.qrn}",
        "providerId": f"p-{device.provider}",
        "gcsDestination": {"bucket": "sandbox", "directory": job.id},
    }


def result(call: Call, job: Job) -> dict[str, Any]:
    """The Result of a single job, or the BatchResult."""
    status = word(call, job)
    stamps = times(call, job) or {"createdAt": moment(job.created_at)}
    common = {"status": status, "cost": cost(call, job) or 0.0, "timeStamps": stamps}
    if not job.facts["is_batch"]:
        if status == "FAILED":
            return common | {"resultData": {"statusMsg": message(call, job)}}
        return common | {"resultData": _data(call, job.result["counts"])}
    outcomes = circuits(job)
    if not outcomes:  # the job failed as a whole
        outcomes = [{"error": message(call, job)}] * len(job.request["program"])
    if len(outcomes) == 1 and call.switch("batch_of_one") == "plain":
        return common | {"resultData": _outcome_data(call, outcomes[0])}
    share = round((cost(call, job) or 0.0) / len(outcomes), 6)
    entries = [
        {
            "status": "FAILED" if "error" in outcome else "COMPLETED",
            "cost": 0.0 if "error" in outcome else share,
            "timeStamps": {"createdAt": moment(job.created_at)},
            "resultData": _outcome_data(call, outcome),
        }
        for outcome in outcomes
    ]
    return common | {"results": entries}


def _outcome_data(call: Call, outcome: Mapping[str, Any]) -> dict[str, Any]:
    return {"statusMsg": outcome["error"]} if "error" in outcome else _data(call, outcome["counts"])


def _data(call: Call, counts: Mapping[str, int]) -> dict[str, Any]:
    if call.switch("bit_order") == "c0_left":
        counts = {key[::-1]: count for key, count in counts.items()}
    total = sum(counts.values())
    shares = {key: count / total for key, count in counts.items()}
    form = call.switch("result_data")
    if form == "probabilities":
        return {"measurementProbabilities": shares}
    if form == "both":
        return {"measurementCounts": dict(counts), "measurementProbabilities": shares}
    return {"measurementCounts": dict(counts)}
