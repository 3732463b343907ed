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
CODES = {401: "NO_VALID_AUTHENTICATION", 403: "FORBIDDEN", 404: "NOT_FOUND", 409: "CONFLICT", 429: "RATE_LIMITED"}


def ok(data: Any, status: int = 200, **more: Any) -> Response:
    """The envelope of a success."""
    return JSONResponse({"success": True, "data": data, **more}, status)


def refused_as_201() -> Response:
    """The 201 of a submission that was not accepted."""
    return JSONResponse({"success": False, "data": {}}, 201)


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
    """The outcome of each circuit of a batch: {"counts"} or {"error"}, including scripted failures."""
    found = list((job.result or {}).get("circuits", ()))
    scripted = job.injected or {}
    return [
        {"error": f"circuit {index}: {scripted['message']}"} if index in (scripted.get("children") or ()) else outcome
        for index, outcome in enumerate(found)
    ]


def present_word(call: Call, job: Job) -> str:
    """The status as it is now, regardless of earlier reads."""
    phase = call.phase(job)
    if phase == "cancelled" and job.facts.get("shows_cancelling"):
        return "CANCELLING"
    if phase == "queued" and is_initializing(call, job):
        return "INITIALIZING"
    if phase == "done" and job.facts["is_batch"]:
        failed = ["error" in outcome for outcome in circuits(job)]
        if all(failed) or (any(failed) and call.switch("mixed_batch") == "FAILED"):
            return "FAILED"
    if phase == "done" and call.switch("finished_as"):
        return call.switch("finished_as")
    return STATUS[phase]


def is_initializing(call: Call, job: Job) -> bool:
    """True for the first moments of a job, during which it cannot be cancelled."""
    return call.world.clock.now() < job.created_at + float(call.switch("initializing_s"))


def refresh(call: Call, job: Job) -> None:
    """Refresh as a read by id does: the status is fetched from the device's vendor and kept."""
    found = present_word(call, job)
    if job.facts.get("word") != found:
        job.facts["word"] = found
        job.facts["updated_at"] = call.world.clock.now()
        call.world.remember(job)


def word(call: Call, job: Job) -> str:
    """The status this request may see: that of the last read by id, or the present one if lists refresh."""
    if call.switch("list_refreshes") or any(fault.kind == "stale" for fault in call.faults):
        return present_word(call, job)
    return job.facts.get("word", "INITIALIZING")


def message(call: Call, job: Job) -> str | None:
    """Why a job failed, otherwise None."""
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
    """Credits charged: its cost for a completed job, nothing for others. None before the end."""
    status = word(call, job)
    if status in ("COMPLETED", "HOLD"):
        facts = job.facts
        seconds = float(call.switch("billed_s")) * facts["circuits"]
        tariff = catalog.price(catalog.DEVICES[facts["device"]], facts["shots"], facts["circuits"], seconds)
        return round(tariff * float(call.switch("bill_factor")), 6)
    return 0.0 if status in RETURNED else None


def times(call: Call, job: Job) -> dict[str, Any]:
    """Creation, end and duration (ms), as far as they have passed. The creation moves, as recorded."""
    status, moves = word(call, job), call.switch("moving_created_at")
    if status not in RETURNED and status != "HOLD":
        shift = 0.775 if moves and status != "INITIALIZING" else 0.0
        return {"createdAt": moment(job.created_at + shift)}
    ended = job.ended_at if job.ended_at is not None else job.created_at
    started = float(int(ended)) if moves else job.created_at
    return {
        "createdAt": moment(started),
        "endedAt": moment(ended),
        "executionDuration": max(0, round((ended - job.created_at) * 1000)),
    }


def accepted(job: Job) -> dict[str, Any]:
    """The answer to POST /jobs: unset members are absent."""
    device, facts = catalog.DEVICES[job.facts["device"]], job.facts
    found = {
        "jobQrn": job.id,
        "name": facts["name"],
        "status": "INITIALIZING",
        "shots": facts["shots"],
        "numCircuits": facts["circuits"],
        "estimatedCost": facts["estimate"],
        "experimentType": device.paradigm,
        "vendor": device.vendor,
        "deviceQrn": device.qrn,
        "tags": facts["tags"],
        "runtimeOptions": facts["options"],
        "groupJobQrn": facts["group"],
        "timeStamps": {"createdAt": _microseconds(job.created_at)},
        "provider": device.provider,
    }
    return {name: value for name, value in found.items() if value is not None}


def _microseconds(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def job(call: Call, job: Job) -> dict[str, Any]:
    """The RuntimeJob, with the members that platform listings also request."""
    device, facts = catalog.DEVICES[job.facts["device"]], job.facts
    status = word(call, job)
    found = accepted(job) | {
        "status": status,
        "createdAt": moment(job.created_at),
        "updatedAt": moment(facts.get("updated_at", job.created_at)),
        "timeStamps": times(call, job),
        "device": {
            "qrn": device.qrn,
            "name": device.name,
            "deviceType": "SIMULATOR" if device.is_simulator else "QPU",
            "vendor": device.vendor,
            "status": device.status,
        },
        "organizationUserId": f"u-{facts['account']}",
        "deviceId": f"d-{device.qrn}",
        "providerId": f"p-{device.provider}",
        "gcsDestination": {"bucket": "sandbox", "directory": job.id},
    }
    more = {"statusMsg": message(call, job), "cost": cost(call, job)}
    if status == "QUEUED" and facts["queue"]:
        more["queuePosition"] = facts["queue"]
    found |= {name: value for name, value in more.items() if value is not None}
    if status in ("FAILED", "CANCELLED") and call.switch("final_costs") == "null":
        found |= {"cost": None, "timeStamps": None}
    return found


def result(call: Call, job: Job) -> dict[str, Any]:
    """The Result of a single job, or the BatchResult."""
    status = word(call, job)
    common = {"status": status, "cost": _amount(call, cost(call, job) or 0.0), "timeStamps": times(call, job)}
    if not job.facts["is_batch"]:
        if status == "FAILED":
            return common | {"resultData": {"statusMsg": message(call, job)}}
        return common | {"resultData": _data(call, job.result["counts"]) | _rows(call, job.result["counts"])}
    outcomes = circuits(job)
    if not outcomes:  # the job failed as a whole
        outcomes = [{"error": message(call, job)}] * len(job.request["program"])
    if len(outcomes) == 1 and call.switch("batch_of_one") == "plain":
        return common | {"resultData": _outcome_data(call, outcomes[0])}
    share = round((cost(call, job) or 0.0) / len(outcomes), 6)
    entries = [
        {
            "status": "FAILED" if "error" in outcome else "COMPLETED",
            "cost": _amount(call, 0.0 if "error" in outcome else share),
            "timeStamps": {"createdAt": moment(job.created_at)},
            "resultData": _outcome_data(call, outcome),
        }
        for outcome in outcomes
    ]
    return common | {"results": entries}


def _amount(call: Call, credits: float) -> str | float:
    """A cost as results write it: text, as recorded, also as 0E-33."""
    form = call.switch("result_cost_form")
    if form == "number":
        return credits
    if form == "exponent":
        return "0E-33" if not credits else f"{credits:.6E}"
    return f"{credits:.6f}".rstrip("0").rstrip(".")


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
        return {"measurementCounts": dict(counts), "measurementProbabilities": shares, "seed": None}
    return {"measurementCounts": dict(counts), "seed": None}


def _rows(call: Call, counts: Mapping[str, int]) -> dict[str, Any]:
    """Single shots, at most the first 100, if the query asks for them."""
    if call.query.get("includeMeasurements") != "true":
        return {}
    shots = [[int(bit) for bit in key.replace(" ", "")] for key, count in counts.items() for _ in range(count)]
    return {"measurements": shots[:100]}
