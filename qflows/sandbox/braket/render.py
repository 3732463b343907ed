"""Answers in Braket's format. Shapes: botocore 1.44.5, braket/2019-09-01; every one is checked before it is sent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from starlette.responses import JSONResponse, Response

from qflows.sandbox.braket.contract import check_answer
from qflows.sandbox.errors import Refusal
from qflows.sandbox.jobs import Job
from qflows.sandbox.vendor import Call

# error code by status; AWS sends the code in a header (botocore rest-json parser)
_CODES = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    402: "ServiceQuotaExceededException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    409: "ConflictException",
    410: "DeviceRetiredException",
    424: "DeviceOfflineException",
    429: "ThrottlingException",
}
_STATUS = {"queued": "QUEUED", "running": "RUNNING", "done": "COMPLETED", "failed": "FAILED", "cancelled": "CANCELLED"}
STATUSES = ("CREATED", "QUEUED", "RUNNING", "COMPLETED", "FAILED", "CANCELLING", "CANCELLED")


def error(refusal: Refusal) -> Response:
    """`x-amzn-ErrorType` and a message; validation of program sets adds its list."""
    code = refusal.code or _CODES.get(refusal.status, "InternalServiceException")
    body = {"message": refusal.message} | getattr(refusal, "details", {})
    return JSONResponse(body, refusal.status, {"x-amzn-ErrorType": code, **refusal.headers})


def answer(operation: str, document: dict[str, Any], status: int = 200) -> Response:
    """A checked answer."""
    return JSONResponse(check_answer(operation, document), status)


def moment(seconds: float) -> str:
    """ISO 8601 with milliseconds, as the service writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def status(call: Call, job: Job) -> str:
    """The status word this request may see."""
    phase = call.phase(job)
    if phase == "cancelled" and job.facts["cancelling_reads"] > 0:
        return "CANCELLING"
    if phase == "queued" and 0 < call.switch("created_reads") >= job.reads:
        return "CREATED"
    if phase == "done" and failed_executables(job) and call.switch("program_set_partial") == "failed":
        return "FAILED"
    return _STATUS[phase]


def see_cancelling(job: Job) -> None:
    """Count one sighting of CANCELLING."""
    if job.outcome == "cancelled" and job.facts["cancelling_reads"] > 0:
        job.facts["cancelling_reads"] -= 1


def failed_executables(job: Job) -> list[int]:
    """Positions of a program set's executables that failed, by script or in the simulator."""
    scripted = set((job.injected or {}).get("children") or ())
    outcomes = (job.result or {}).get("executables") or []
    return [place for place, outcome in enumerate(outcomes) if place in scripted or "error" in outcome]


def summary(call: Call, job: Job) -> dict[str, Any]:
    """A task in a search."""
    facts = job.facts
    word = status(call, job)
    shown = {
        "quantumTaskArn": job.id,
        "status": word,
        "deviceArn": facts["deviceArn"],
        "shots": facts["shots"],
        "outputS3Bucket": facts["bucket"],
        "outputS3Directory": facts["directory"],
        "createdAt": moment(job.created_at),
        "tags": facts["tags"],
    }
    if word in ("COMPLETED", "FAILED", "CANCELLED") and job.ended_at is not None:
        shown["endedAt"] = moment(job.ended_at)
    return shown


def task(call: Call, job: Job, *, position: int | None) -> dict[str, Any]:
    """A task in full. `position`: queue position, from 1; None once it runs."""
    facts = job.facts
    shown = summary(call, job) | {
        "deviceParameters": facts["deviceParameters"],
        "associations": facts["associations"],
        "actionMetadata": facts["actionMetadata"],
    }
    if shown["status"] == "FAILED":
        shown["failureReason"] = _failure(job)
    if shown["status"] == "COMPLETED" or (shown["status"] == "FAILED" and job.outcome == "done"):
        shown["numSuccessfulShots"] = successful_shots(job)
    shown["queueInfo"] = {"queue": "QUANTUM_TASKS_QUEUE", "queuePriority": "Normal"} | _place(shown["status"], position)
    if facts.get("experimental"):
        shown["experimentalCapabilities"] = facts["experimental"]
    return shown


def _place(word: str, position: int | None) -> dict[str, str]:
    """A number alone, or the word None with a message once the task has left the queue (amazon-braket-sdk)."""
    if position is not None:
        return {"position": str(position)}
    said = f"Task is in {word} status. AmazonBraket does not show queue position for this status."
    return {"position": "None", "message": said}


def successful_shots(job: Job) -> int:
    """Shots of the executables that did not fail."""
    facts = job.facts
    count = len(facts["place"])
    return facts["shots_each"] * (count - len(failed_executables(job)))


def _failure(job: Job) -> str:
    if job.failure:
        return f"{job.failure['code']}: {job.failure['message']}"
    return f"{len(failed_executables(job))} executables of the program set failed"
