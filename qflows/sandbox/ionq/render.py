"""IonQ's job objects, errors and result bodies. Shapes: IonQ API v0.4 description, 2026-09-02, and its clients."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse, Response

from qflows.sandbox.errors import Refusal
from qflows.sandbox.ionq import catalog
from qflows.sandbox.ionq.submission import MULTI, QASM3
from qflows.sandbox.jobs import Job
from qflows.sandbox.vendor import Call

# phase of the sandbox -> status on the wire; `submitted` is what the POST answers
STATUS = {
    "queued": "ready",
    "running": "started",
    "done": "completed",
    "failed": "failed",
    "cancelled": "canceled",
}
STATUSES = ("submitted", *STATUS.values())
ERROR_NAMES = {401: "Unauthorized Error", 404: "Not Found Error"}
PROBABILITIES, AGGREGATE = "ionq.result.probabilities.json.v1", "ionq.result.probabilities-aggregate.json.v1"
HISTOGRAM, SHOTS = "ionq.result.histogram.json.v1", "ionq.result.shots.json.v1"
PROBABILITIES_2, HISTOGRAM_2 = "ionq.result.probabilities.json.v2", "ionq.result.histogram.json.v2"
SHOTS_2 = "ionq.result.shots.json.v2"


def error(refusal: Refusal) -> Response:
    """`{"statusCode", "error", "message"}` and, for a bad body, `validation`."""
    status = refusal.status
    known = status in HTTPStatus._value2member_map_
    body: dict[str, Any] = {
        "statusCode": status,
        "error": ERROR_NAMES.get(status) or (HTTPStatus(status).phrase if known else "Error"),
        "message": refusal.message,
    }
    if refusal.keys:
        body["validation"] = {"source": "body", "keys": list(refusal.keys)}
    return JSONResponse(body, status, refusal.headers)


def moment(seconds: float | None) -> str | None:
    """Unix seconds as the API writes time: UTC, milliseconds, Z."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def status(call: Call, job: Job) -> str:
    """The status this request may see."""
    return STATUS[call.phase(job)]


def job(call: Call, job: Job) -> dict[str, Any]:
    """The full job object."""
    children = job.child_ids[::-1] if job.facts.get("children_reversed") else job.child_ids
    return base_job(call, job) | {"child_job_ids": children or None}


def base_job(call: Call, job: Job) -> dict[str, Any]:
    """The job object of lists: the full one without `child_job_ids`."""
    facts, phase = job.facts, call.phase(job)
    is_over = phase in ("done", "failed", "cancelled")
    started = job.started_at if phase not in ("queued",) else None
    duration_ms = round(((job.ended_at or 0) - (job.started_at or 0)) * 1000) if is_over and started else None
    backend = facts["backend"]
    body: dict[str, Any] = {
        "id": job.id,
        "status": STATUS[phase],
        "type": facts["type"],
        "backend": backend,
        "dry_run": facts["dry_run"],
        "submitter_id": facts["submitter_id"],
        "project_id": facts["project_id"],
        "parent_job_id": job.parent_id,
        "session_id": facts["session_id"],
        "metadata": facts["metadata"],
        "name": facts["name"],
        "shots": facts["shots"],
        "cost_model": "2QGE_operations" if backend != catalog.SIMULATOR else "QCT",
        "submitted_at": moment(job.created_at),
        "started_at": moment(started),
        "completed_at": moment(job.ended_at) if is_over else None,
        "predicted_wait_time_ms": 0 if backend == catalog.SIMULATOR else catalog.QUEUE_MS,
        "predicted_execution_duration_ms": facts["predicted_ms"],
        "execution_duration_ms": duration_ms,
        "failure": failure(job.failure) if phase == "failed" else None,
        "output": {},
        "settings": facts["settings"],
        "stats": {name: facts["stats"][name] for name in facts["stats"]},
        "results": results(call, job) if phase == "done" and not facts["dry_run"] else None,
    }
    if backend == catalog.SIMULATOR:
        body["noise"] = {"model": facts["noise_model"]}
        if not facts["is_sampled"]:
            del body["shots"]  # "no shots for the ideal simulator" (IonQ's provider contract, 2026-09-09)
    if phase == "done" and call.switch("sparse_completed"):
        empty: dict[str, Any] = dict.fromkeys(("started_at", "completed_at", "predicted_wait_time_ms"))
        empty |= {"predicted_execution_duration_ms": None, "execution_duration_ms": 0}
        body |= empty | {name: {} for name in ("stats", "output", "settings")}
    return body


def failure(cause: Mapping[str, Any] | None) -> dict[str, Any]:
    """`message` is in the description, `error` is what qiskit-ionq and qBraid read."""
    code, text = (cause or {}).get("code", "InternalError"), (cause or {}).get("message", "failed")
    return {"code": code, "message": text, "error": text}


def results(call: Call, job: Job) -> dict[str, Any]:
    """Result descriptors: by url (`legacy`, read by qiskit-ionq), by format (`spec`), or `both`."""
    profile, found = call.switch("result_profile"), {}
    url = f"/v0.4/jobs/{job.id}/results"
    formats = available(call, job)
    if profile in ("both", "legacy"):
        if AGGREGATE in formats:
            found["probabilities"] = {"url": f"{url}/probabilities/aggregated"}
        elif PROBABILITIES in formats:
            found["probabilities"] = {"url": f"{url}/probabilities"}
        if SHOTS in formats:
            found["shots"] = {"url": f"{url}/shots"}
    if profile in ("both", "spec", "v2"):
        if profile == "v2":
            formats = {name: artifact for name, artifact in formats.items() if name.endswith(".v2")}
        for name, artifact in formats.items():
            found[name] = {"id": artifact, "format": name, "media_type": "application/json"}
    elif SHOTS_2 in formats:
        # qiskit-ionq has no url form for it
        found[SHOTS_2] = {"id": formats[SHOTS_2], "format": SHOTS_2, "media_type": "application/json"}
    return found


def available(call: Call, job: Job) -> dict[str, str]:
    """Formats a completed job has, with the artifact id of each."""
    if job.facts["type"] == MULTI:
        return {AGGREGATE: "probabilities-aggregate"}
    formats = {PROBABILITIES: "probabilities", PROBABILITIES_2: "probabilities-v2"}
    if job.facts["type"] == QASM3:
        # "the ideal simulator returns only the aggregate distribution" (qiskit-ionq 1.1.1 source)
        if job.facts["is_sampled"] or call.switch("qasm3_ideal_shots"):
            formats |= {SHOTS_2: "shots-v2"}
    elif job.facts["is_sampled"]:
        formats |= {HISTOGRAM: "histogram", HISTOGRAM_2: "histogram-v2", SHOTS: "shots"}
    return formats


def rounded(call: Call, values: dict[str, float]) -> dict[str, float]:
    """Probabilities with the number of digits set by switch; values that round to zero are left out."""
    digits = int(call.switch("probability_digits"))
    if digits <= 0:
        return values
    short = {outcome: round(value, digits) for outcome, value in values.items()}
    return {outcome: value for outcome, value in short.items() if value}


def voted(job: Job) -> dict[str, float]:
    """The plurality vote over variants, as a sharper distribution of the same shots. Its exact rule is IonQ's own."""
    squares = {outcome: value**2 for outcome, value in probabilities(job).items()}
    total = sum(squares.values())
    return {outcome: value / total for outcome, value in squares.items()}


def probabilities(job: Job) -> dict[str, float]:
    """Decimal outcome to probability; exact on the ideal simulator, frequencies where shots were taken."""
    if exact := job.result.get("probabilities"):
        return exact
    histogram = job.result.get("histogram") or job.result.get("outcomes") or {}
    total = sum(histogram.values())
    return {outcome: count / total for outcome, count in histogram.items()}


def shots(job: Job) -> list[int]:
    """Outcomes in shot order. The order is drawn again from the job's number, so it is the same at each read."""
    histogram = job.result.get("histogram") or job.result.get("outcomes") or {}
    ordered = [int(outcome) for outcome, count in histogram.items() for _ in range(count)]
    random.Random(job.seq).shuffle(ordered)
    return ordered


def register_shots(job: Job) -> dict[str, Any]:
    """shots v2 of an OpenQASM 3 job: position i of a register is its bit i; `output_all` holds all classical bits.

    Without a compiler service that keeps names there is only `output_all`. On a QPU some shots beyond the requested
    number have leaked, and are marked.
    """
    registers = job.result["registers"]
    rows = []
    keeps_names = job.facts.get("keeps_registers", True)
    for outcome in shots(job):
        row: dict[str, list[int]] = {}
        start = 0
        for name, size in registers:
            if not keeps_names:
                start += size
                continue
            row[name] = [outcome >> (start + bit) & 1 for bit in range(size)]
            start += size
        row["output_all"] = [outcome >> bit & 1 for bit in range(start)]
        rows.append({"registers": row})
    if job.facts["backend"] != catalog.SIMULATOR and rows:
        for place in range(job.facts.get("leaked", 0)):
            # spread over the list, so that cutting off its end would keep some of them
            shot = {"registers": {name: [1] * len(bits) for name, bits in rows[0]["registers"].items()}}
            rows.insert((place * 7919) % (len(rows) + 1), shot | {"leakage_bits": [1]})
    return {"shots": rows}


def bitstrings(call: Call, job: Job, values: Mapping[str, Any]) -> dict[str, Any]:
    """v1 keys as the bitstrings of v2. Their order is not documented, hence a switch."""
    width = max(1, job.facts["stats"]["qubits"])
    if job.facts["type"] == QASM3:
        width = max(1, sum(size for _, size in job.result["registers"]))
    step = 1 if call.switch("v2_bitstring_order") == "qubit0_right" else -1
    return {f"{int(outcome):0{width}b}"[::step]: value for outcome, value in values.items()}


def artifact(call: Call, job: Job, artifact_id: str) -> Any:
    """The body of an artifact, or None if the job has none with that id."""
    by_id = {found: name for name, found in available(call, job).items()}
    match by_id.get(artifact_id):
        case "ionq.result.probabilities.json.v1":
            return rounded(call, probabilities(job))
        case "ionq.result.probabilities.json.v2":
            shown = rounded(call, probabilities(job))
            return {"probabilities": {"registers": {"output_all": bitstrings(call, job, shown)}}}
        case "ionq.result.histogram.json.v1":
            return job.result["histogram"]
        case "ionq.result.histogram.json.v2":
            return {"histogram": {"registers": {"output_all": bitstrings(call, job, job.result["histogram"])}}}
        case "ionq.result.shots.json.v1":
            return [str(outcome) for outcome in shots(job)]
        case "ionq.result.shots.json.v2":
            return register_shots(job)
        case "ionq.result.probabilities-aggregate.json.v1":
            return aggregated(call, job)
    return None


def aggregated(call: Call, parent: Job) -> dict[str, dict[str, float]]:
    """Probabilities of each completed child by its id, in input order; failed ones are missing."""
    children = call.world.jobs.children(parent)
    return {child.id: rounded(call, probabilities(child)) for child in children if child.outcome == "done"}
