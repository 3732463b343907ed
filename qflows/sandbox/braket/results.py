"""The result files of a finished task. Shapes: amazon-braket-schemas 1.32.1, task_result; read by the SDK unchanged.

A single program has one file, a program set a tree of files (raw results of Garnet in amazon-braket-examples, 2025-08,
and of Forte-1 in a public repository, 2026-08). Columns of `measurements` follow `measuredQubits`.
"""

from __future__ import annotations

import json
import random
from typing import Any

from qflows.sandbox.braket import render
from qflows.sandbox.braket.devices import DEVICES
from qflows.sandbox.jobs import Job

_PREFIX = "braket.task_result."


ROOT = "results.json"


def body(job: Job, path: str, *, probabilities_only: bool, inline: bool) -> bytes | None:
    """The bytes of one file, by its path below the task's directory; None if there is no such file."""
    if not job.facts["is_set"]:
        found = _single(job, probabilities_only=probabilities_only) if path == ROOT else None
    elif inline:
        found = _inline(job, probabilities_only=probabilities_only) if path == ROOT else None
    else:
        found = _file(job, path.split("/"), probabilities_only=probabilities_only)
    return None if found is None else json.dumps(found, separators=(",", ":")).encode()


def paths(job: Job, *, inline: bool) -> list[str]:
    """All files of a task, by their paths below its directory."""
    if inline or not job.facts["is_set"]:
        return [ROOT]
    found = [ROOT, "metadata.json"]
    for program, members in enumerate(_members(job)):
        found += [f"programs/{program}/results.json", f"programs/{program}/program.json"]
        found += [f"programs/{program}/executables/{place}.json" for place in range(len(members))]
    return found


def _header(name: str) -> dict[str, str]:
    return {"name": _PREFIX + name, "version": "1"}


def _single(job: Job, *, probabilities_only: bool) -> dict[str, Any]:
    facts = job.facts
    outcome = job.result["executables"][0]
    document: dict[str, Any] = {"braketSchemaHeader": _header("gate_model_task_result")}
    if "document" in outcome:
        document |= {name: outcome["document"][name] for name in ("resultTypes",) if name in outcome["document"]}
    else:
        document |= _outcomes(outcome, job.seq, probabilities_only=probabilities_only)
        document["resultTypes"] = outcome.get("result_types", [])
    document["taskMetadata"] = _task_metadata(job)
    document["additionalMetadata"] = {"action": json.loads(job.request["action"])}
    device = DEVICES[facts["deviceArn"]]
    if device.provider == "IQM":
        source = document["additionalMetadata"]["action"]["source"]
        compiled = {"braketSchemaHeader": _header("iqm_metadata"), "compiledProgram": source}
        document["additionalMetadata"]["iqmMetadata"] = compiled
    if not device.is_qpu:
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
        "deviceParameters": json.loads(facts["deviceParameters"]) or None,
        "createdAt": render.moment(job.created_at),
        "endedAt": render.moment(job.ended_at or job.created_at),
        "status": "COMPLETED",
    }


def _outcomes(outcome: dict[str, Any], seed: int, *, probabilities_only: bool) -> dict[str, Any]:
    if probabilities_only:
        return {"measurementProbabilities": _frequencies(outcome), "measuredQubits": outcome["measured"]}
    return {"measurements": _rows(outcome, seed), "measuredQubits": outcome["measured"]}


def _rows(outcome: dict[str, Any], seed: int) -> list[list[int]]:
    rows: list[list[int]] = []
    for key, count in outcome["histogram"].items():
        value = int(key)
        rows += [[value >> bit & 1 for bit in outcome["columns"]]] * count
    random.Random(seed).shuffle(rows)  # a device does not sort its shots
    return rows


def _frequencies(outcome: dict[str, Any]) -> dict[str, float]:
    merged: dict[str, int] = {}
    for key, count in outcome["histogram"].items():
        text = "".join(str(int(key) >> bit & 1) for bit in outcome["columns"])
        merged[text] = merged.get(text, 0) + count
    total = sum(merged.values())
    return {text: count / total for text, count in sorted(merged.items())}


def _members(job: Job) -> list[list[tuple[int, int]]]:
    """(position among all executables, inputs index) of each program's executables."""
    members: list[list[tuple[int, int]]] = []
    for place, (program, inputs) in enumerate(job.facts["place"]):
        while len(members) <= program:
            members.append([])
        members[program].append((place, inputs))
    return members


def _file(job: Job, path: list[str], *, probabilities_only: bool) -> dict[str, Any] | None:
    members = _members(job)
    match path:
        case ["results.json"]:
            return {
                "braketSchemaHeader": _header("program_set_task_result"),
                "s3Location": [job.facts["bucket"], job.facts["directory"]],
                "taskMetadata": "metadata.json",
                "programResults": [f"programs/{program}/results.json" for program in range(len(members))],
            }
        case ["metadata.json"]:
            return _set_metadata(job)
        case ["programs", program, *rest] if program.isdecimal() and int(program) < len(members):
            return _program_file(job, int(program), rest, members, probabilities_only=probabilities_only)
    return None


def _program_file(
    job: Job, program: int, path: list[str], members: list[list[tuple[int, int]]], *, probabilities_only: bool
) -> dict[str, Any] | None:
    match path:
        case ["program.json"]:
            return json.loads(job.request["action"])["programs"][program]
        case ["results.json"]:
            return {
                "braketSchemaHeader": _header("program_result"),
                "executableResults": [f"executables/{place}.json" for place in range(len(members[program]))],
                "source": "program.json",
                "additionalMetadata": {},
            }
        case ["executables", name]:
            number = name.removesuffix(".json")
            if number.isdecimal() and int(number) < len(members[program]):
                place, inputs = members[program][int(number)]
                return _executable(job, place, inputs, probabilities_only=probabilities_only)
    return None


def _inline(job: Job, *, probabilities_only: bool) -> dict[str, Any]:
    """All in one file, as the schemas allow; no captured result looks like this."""
    programs = json.loads(job.request["action"])["programs"]
    results = [
        {
            "braketSchemaHeader": _header("program_result"),
            "executableResults": [
                _executable(job, place, inputs, probabilities_only=probabilities_only) for place, inputs in members
            ],
            "source": program,
            "additionalMetadata": {},
        }
        for program, members in zip(programs, _members(job), strict=True)
    ]
    return {
        "braketSchemaHeader": _header("program_set_task_result"),
        "s3Location": None,
        "programResults": results,
        "taskMetadata": _set_metadata(job),
    }


def _executable(job: Job, place: int, inputs: int, *, probabilities_only: bool) -> dict[str, Any]:
    outcome = job.result["executables"][place]
    if place in render.failed_executables(job):
        return _failed_executable(job, outcome) | {"inputsIndex": inputs}
    header = {"braketSchemaHeader": _header("program_set_executable_result"), "inputsIndex": inputs}
    return header | _outcomes(outcome, job.seq + place, probabilities_only=probabilities_only)


def _set_metadata(job: Job) -> dict[str, Any]:
    facts = job.facts
    return {
        "braketSchemaHeader": _header("program_set_task_metadata"),
        "id": job.id,
        "deviceId": facts["deviceArn"],
        "requestedShots": facts["shots"],
        "successfulShots": render.successful_shots(job),
        "programMetadata": [{"executables": [{} for _ in members]} for members in _members(job)],
        "deviceParameters": None,
        "totalFailedExecutables": len(render.failed_executables(job)),
        "createdAt": render.moment(job.created_at),
        "endedAt": render.moment(job.ended_at or job.created_at),
        "status": "COMPLETED",
    }


def _failed_executable(job: Job, outcome: dict[str, Any]) -> dict[str, Any]:
    error = outcome.get("error")
    scripted = job.injected or {}
    reason = error["message"] if error else scripted.get("message", "scripted failure")
    category = "COMPILATION" if error else "DEVICE"
    failure = {"failureReason": reason, "retryable": not error, "category": category}
    return {"braketSchemaHeader": _header("program_set_executable_failure"), "failureMetadata": failure}
