"""Reads and checks the body of POST /jobs. The circuits stay encoded: the worker decodes them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qflows.sandbox.errors import Refusal
from qflows.sandbox.ibm import catalog, codec

MAX_COST_S = 10_800  # 3 h, service maximum per job (IBM docs, maximum execution time)
MAX_EXECUTIONS = 10_000_000  # circuits x shots per job (IBM docs, job limits)
OPEN_COST_S = 600  # stamped on jobs of the Open plan that name no limit (seen 2026)
# common to the bills of September 2026 (14 jobs on marrakesh and phoenix): whole seconds, a constant per job, and the
# time of each execution: pause, readout, and about 8 us; readout learning adds 32 executions per shot
JOB_S = 3.0
EXECUTION_S = 8e-6
LEARNING = 32
ZNE_FACTORS = 3
DEFAULT_SHOTS = 4096


@dataclass(frozen=True)
class Submission:
    """A checked request for a job."""

    program_id: str
    backend: str
    params: dict[str, Any]
    tags: list[str]
    session_id: str | None
    cost: int
    is_private: bool
    runtime: str
    executions: int
    charge_s: int
    model: catalog.Model
    failure: dict[str, str] | None  # the failure that validation after acceptance will report

    def facts(self) -> dict[str, Any]:
        """What the API shows of the job, apart from its state."""
        return {
            "program_id": self.program_id,
            "backend": self.backend,
            "tags": self.tags,
            "session_id": self.session_id,
            "cost": self.cost,
            "private": self.is_private,
            "runtime": self.runtime,
            "charge_s": self.charge_s,
            # IBM's quick formula, which is not the actual charge
            "estimated_s": 2 + 0.00035 * self.executions,
        }


def read_submission(document: Any, switch: Callable[[str], Any], *, crn: str) -> Submission:
    """Check a body as far as can be done without decoding circuits. Raises Refusal.

    What IBM validates after accepting a job is in `failure`: the POST succeeds and the job fails.
    """
    if not isinstance(document, dict):
        raise Refusal(400, "the body must be an object")
    program_id, backend = document.get("program_id"), document.get("backend")
    if program_id in catalog.NOT_PLAYED:
        raise Refusal(501, f"IBM runs {program_id}; this sandbox does not: it has no noise of a real device to learn")
    if program_id not in catalog.PROGRAMS:
        raise Refusal(404, f"no program {program_id}")
    if backend in catalog.RETIRED:
        raise Refusal(404, f"{backend} was retired on {catalog.RETIRED[backend]}", code=catalog.BACKEND_NOT_FOUND)
    model = catalog.model_of(backend, catalog.region(crn)) if isinstance(backend, str) else None
    if not isinstance(backend, str) or model is None:
        raise Refusal(404, f"no backend {backend}", code=catalog.BACKEND_NOT_FOUND)
    params = document.get("params")
    if not isinstance(params, dict):
        raise Refusal(400, "params must be an object")
    session_id = document.get("session_id")
    if session_id is not None and not isinstance(session_id, str):
        raise Refusal(400, "session_id must be text")
    cost = document.get("cost", OPEN_COST_S if catalog.is_open(crn) else MAX_COST_S)
    if isinstance(cost, bool) or not isinstance(cost, int) or cost < 1:
        raise Refusal(400, "cost is a whole number of seconds, from 1")
    shots = executor_shots(params) if program_id == "executor" else primitive_shots(params, program_id)
    executions = sum(each * points for each, points in zip(shots, _points(params, program_id), strict=True))
    charge_s = _charge_s(params, program_id, executions, model)
    cost = min(cost, MAX_COST_S)
    failure = _failure(params, program_id, executions)
    if failure is None and charge_s > cost:
        failure = {"code": catalog.RAN_TOO_LONG, "message": "Job ran longer than maximum execution time"}
    most = int(catalog.configuration(backend)["max_shots"])
    if program_id == "sampler" and any(each > most for each in shots) and switch("check_max_shots"):
        raise Refusal(400, f"at most {most} shots on {backend}")
    return Submission(
        program_id=program_id,
        backend=backend,
        params=params,
        tags=read_tags(document.get("tags", []), switch),
        session_id=session_id,
        cost=cost,
        is_private=document.get("private") is True,
        runtime=str(document.get("runtime", "")),
        executions=executions,
        charge_s=charge_s,
        model=model,
        failure=failure,
    )


def _failure(params: dict[str, Any], program_id: str, executions: int) -> dict[str, str] | None:
    """What IBM finds only after acceptance, without reading circuits."""
    if program_id == "sampler" and executions > MAX_EXECUTIONS:
        text = f"{executions} executions; a job has at most {MAX_EXECUTIONS}"
        return {"code": catalog.TOO_MANY_EXECUTIONS, "message": text}
    return None


def _member(body: dict[str, Any], name: str) -> dict[str, Any]:
    found = body.get(name)
    return found if isinstance(found, dict) else {}


def _charge_s(params: dict[str, Any], program_id: str, executions: int, model: catalog.Model) -> int:
    """IBM's charge in whole seconds, at least 3."""
    options = _member(params, "options")
    told = _member(options, "execution").get("rep_delay")
    pause_s = options.get("rep_delay") if told is None else told  # an executor's options have no groups
    pause_s = float(pause_s) if isinstance(pause_s, int | float) else model.rep_delay_us * 1e-6
    runs = executions
    if program_id == "estimator":
        level = params.get("resilience_level", 1)
        resilience = _member(options, "resilience")
        has_zne = resilience.get("zne_mitigation", level == 2)
        runs = executions * (ZNE_FACTORS if has_zne else 1)
        if resilience.get("measure_mitigation", level != 0):
            runs += LEARNING * max(primitive_shots(params, program_id))
    return max(3, round(JOB_S + runs * (pause_s + model.readout_s + EXECUTION_S)))


def read_tags(tags: Any, switch: Callable[[str], Any]) -> list[str]:
    """At most 8 tags of at most 86 characters (IBM docs; codes 1204, 1205). Raises Refusal."""
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise Refusal(400, "tags must be a list of texts")
    if switch("tag_limits"):
        if len(tags) > 8:
            raise Refusal(400, "at most 8 tags", code=catalog.TOO_MANY_TAGS)
        if any(len(tag) > 86 for tag in tags):
            raise Refusal(400, "a tag has at most 86 characters", code=catalog.TAG_TOO_LONG)
    return list(dict.fromkeys(tags))


def primitive_shots(params: dict[str, Any], program_id: str) -> list[int]:
    """Shots per PUB of a V2 primitive: from the PUB, the options, or the service's default."""
    pubs = params.get("pubs")
    if not isinstance(pubs, list) or not pubs or not all(isinstance(pub, list) and pub for pub in pubs):
        raise Refusal(400, "params.pubs must be a list of PUBs, at least one")
    options = params.get("options") or {}
    default = options.get("default_shots") if isinstance(options, dict) else None
    if program_id == "estimator":
        return [_precision_shots(pub[3] if len(pub) > 3 else None, options) for pub in pubs]
    return [int((pub[2] if len(pub) > 2 else None) or default or DEFAULT_SHOTS) for pub in pubs]


def _points(params: dict[str, Any], program_id: str) -> list[int]:
    """Number of circuits each PUB or item becomes when its parameters are broadcast (IBM docs, job limits)."""
    if program_id == "executor":
        items = params["quantum_program"]["items"]
        return [_n_rows((item if isinstance(item, dict) else {}).get("circuit_arguments") or {}) for item in items]
    place = 2 if program_id == "estimator" else 1
    return [_n_rows(pub[place] if len(pub) > place else None) for pub in params["pubs"]]


def _n_rows(values: Any) -> int:
    """Rows of an array of shape (..., parameters), from its header alone if it is packed; 1 without an array."""
    if isinstance(values, dict) and isinstance(values.get("shape"), list):
        shape: Any = values["shape"]
    else:
        try:
            shape = codec.array_shape(values)
        except Exception:  # noqa: BLE001  (parser boundary: an unreadable value fails in the worker)
            return 1
    return max(math.prod(int(length) for length in shape[:-1]), 1) if len(shape) and shape[-1] else 1


def _precision_shots(precision: Any, options: Any) -> int:
    chosen = precision or (options.get("default_precision") if isinstance(options, dict) else None)
    shots = options.get("default_shots") if isinstance(options, dict) else None
    if chosen is None and shots:
        return int(shots)
    return round(1 / float(chosen or 0.015625) ** 2)


def executor_shots(params: dict[str, Any]) -> list[int]:
    """Shots per item of a quantum program: shots of the program times the elements of the item."""
    program = params.get("quantum_program")
    if not isinstance(program, dict) or not isinstance(program.get("items"), list) or not program["items"]:
        raise Refusal(400, "params.quantum_program.items must be a list, not empty")
    shots = program.get("shots")
    if isinstance(shots, bool) or not isinstance(shots, int) or shots < 1:
        raise Refusal(400, "params.quantum_program.shots is a whole number, from 1")
    found = []
    for item in program["items"]:
        size = 1
        for length in (item.get("shape") if isinstance(item, dict) else None) or []:
            size *= int(length)
        found.append(shots * max(size, 1))
    return found
