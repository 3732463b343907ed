"""`results.json` of a finished task. Shapes: amazon-braket-schemas 1.32.1, task_result; read by the SDK without change.

Columns of `measurements` follow `measuredQubits`, in the order of the measure statements.
"""

from __future__ import annotations

import json
import random
from typing import Any

from qflows.sandbox.braket import render
from qflows.sandbox.braket.devices import DEVICES
from qflows.sandbox.jobs import Job

_PREFIX = "braket.task_result."


def body(job: Job, *, probabilities_only: bool) -> bytes:
    """The object's bytes."""
    document = _program_set(job) if job.facts["is_set"] else _single(job, probabilities_only=probabilities_only)
    return json.dumps(document, separators=(",", ":")).encode()


def _header(name: str) -> dict[str, str]:
    return {"name": _PREFIX + name, "version": "1"}


def _single(job: Job, *, probabilities_only: bool) -> dict[str, Any]:
    facts = job.facts
    outcome = job.result["executables"][0]
    document: dict[str, Any] = {"braketSchemaHeader": _header("gate_model_task_result")}
    if "document" in outcome:
        document |= {name: outcome["document"][name] for name in ("resultTypes",) if name in outcome["document"]}
    elif probabilities_only:
        document |= {"measurementProbabilities": _frequencies(outcome), "measuredQubits": outcome["measured"]}
    else:
        document |= {"measurements": _rows(outcome, job.seq), "measuredQubits": outcome["measured"]}
        if "result_types" in outcome:
            document["resultTypes"] = outcome["result_types"]
    document["taskMetadata"] = _task_metadata(job)
    document["additionalMetadata"] = {"action": json.loads(job.request["action"])}
    if not DEVICES[facts["deviceArn"]].is_qpu:
        duration = {"executionDuration": _duration_ms(job)}
        document["additionalMetadata"]["simulatorMetadata"] = {
            "braketSchemaHeader": _header("simulator_metadata"),
            **duration,
        }
    return document


def _duration_ms(job: Job) -> int:
    started, ended = job.started_at or 0.0, job.ended_at or 0.0
    return max(1, round((ended - started) * 1000))


def _task_metadata(job: Job) -> dict[str, Any]:
    facts = job.facts
    return {
        "braketSchemaHeader": _header("task_metadata"),
        "id": job.id,
        "shots": facts["shots"],
        "deviceId": facts["deviceArn"],
        "createdAt": render.moment(job.created_at),
        "endedAt": render.moment(job.ended_at or job.created_at),
        "status": "COMPLETED",
    }


def _rows(outcome: dict[str, Any], seed: int) -> list[list[int]]:
    rows: list[list[int]] = []
    for key, count in outcome["histogram"].items():
        value = int(key)
        rows += [[value >> qubit & 1 for qubit in outcome["measured"]]] * count
    random.Random(seed).shuffle(rows)  # a device does not sort its shots
    return rows


def _frequencies(outcome: dict[str, Any]) -> dict[str, float]:
    merged: dict[str, int] = {}
    for key, count in outcome["histogram"].items():
        text = "".join(str(int(key) >> qubit & 1) for qubit in outcome["measured"])
        merged[text] = merged.get(text, 0) + count
    total = sum(merged.values())
    return {text: count / total for text, count in sorted(merged.items())}


def _program_set(job: Job) -> dict[str, Any]:
    facts = job.facts
    failed = set(render.failed_executables(job))
    programs = json.loads(job.request["action"])["programs"]
    results: list[dict[str, Any]] = [
        {
            "braketSchemaHeader": _header("program_result"),
            "executableResults": [],
            "source": program,
            "additionalMetadata": {},
        }
        for program in programs
    ]
    for place, (outcome, (program, inputs)) in enumerate(zip(job.result["executables"], facts["place"], strict=True)):
        if place in failed:
            entry = _failed_executable(job, outcome)
        else:
            entry = {
                "braketSchemaHeader": _header("program_set_executable_result"),
                "measurements": _rows(outcome, job.seq + place),
                "measuredQubits": outcome["measured"],
            }
        results[program]["executableResults"].append(entry | {"inputsIndex": inputs})
    metadata = {
        "braketSchemaHeader": _header("program_set_task_metadata"),
        "id": job.id,
        "deviceId": facts["deviceArn"],
        "requestedShots": facts["shots"],
        "successfulShots": render.successful_shots(job),
        "programMetadata": [{"executables": [{} for _ in entry["executableResults"]]} for entry in results],
        "totalFailedExecutables": len(failed),
        "createdAt": render.moment(job.created_at),
        "endedAt": render.moment(job.ended_at or job.created_at),
        "status": "COMPLETED",
    }
    return {
        "braketSchemaHeader": _header("program_set_task_result"),
        "s3Location": None,
        "programResults": results,
        "taskMetadata": metadata,
    }


def _failed_executable(job: Job, outcome: dict[str, Any]) -> dict[str, Any]:
    error = outcome.get("error")
    scripted = job.injected or {}
    reason = error["message"] if error else scripted.get("message", "scripted failure")
    category = "COMPILATION" if error else "DEVICE"
    failure = {"failureReason": reason, "retryable": not error, "category": category}
    return {"braketSchemaHeader": _header("program_set_executable_failure"), "failureMetadata": failure}
