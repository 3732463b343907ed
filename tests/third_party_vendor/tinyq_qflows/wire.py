"""TinyQ's documents: bodies to send, answers to read. No I/O. Source: TinyQ API page, 2026-11-01."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from qflows.errors import ProgramRejected, Unreadable
from qflows.model import Cost, Counts, ItemResult
from qflows.programs.readout import check_total, merge, readout
from qflows.programs.to_openqasm import STDGATES, to_openqasm
from qflows.protocol import JobSpec, Observation, Phase, RawAnswer, VendorResult

MAX_PROGRAMS = 20
COUNTS = "counts"  # the document that `fetch` keeps

STATUS = {
    "waiting": Phase.QUEUED,
    "running": Phase.RUNNING,
    "finished": Phase.DONE,
    "failed": Phase.FAILED,
    "cancelled": Phase.CANCELLED,
}


def body(spec: JobSpec, key: str) -> bytes:
    """The body of a submission. Raises ProgramRejected for what OpenQASM 3 with stdgates.inc cannot say."""
    if spec.shots is None:
        raise ProgramRejected("tinyq samples; pass shots=")
    if len(spec.programs) > MAX_PROGRAMS:
        raise ProgramRejected(f"tinyq takes {MAX_PROGRAMS} programs a job, not {len(spec.programs)}; send more jobs")
    if any(spec.observables):
        raise ProgramRejected("tinyq measures bits, not observables")
    for program in spec.programs:
        if not program.measured:
            raise ProgramRejected(f"{program.name} measures nothing; add measurements")
    return json.dumps(
        {
            "device": spec.device_id,
            "shots": spec.shots,
            "programs": [to_openqasm(program, STDGATES) for program in spec.programs],
            "tag": key,
            "name": spec.name,
        }
    ).encode()


def observation(job: Mapping[str, Any]) -> Observation:
    """One look at one job; a status that the API page does not have is unknown."""
    word = str(job.get("status"))
    error = job.get("error")
    said = error if isinstance(error, dict) else {}
    return Observation(
        STATUS.get(word, Phase.UNKNOWN), word, error_code=said.get("code"), error_message=said.get("message")
    )


def created(job: Mapping[str, Any]) -> datetime | None:
    """When a job was accepted."""
    try:
        return datetime.fromisoformat(str(job.get("created")))
    except ValueError:
        return None


def decode(raw: RawAnswer, spec: JobSpec) -> VendorResult:
    """Counts a program. In TinyQ's words the left character is `b[0]`, as in `Readout.from_measured`."""
    try:
        said = json.loads(raw.documents[COUNTS])
        histograms, seconds = said["counts"], float(said["seconds"])
        pairs = [{str(word): int(n) for word, n in one.items()} for one in histograms]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Unreadable("tinyq: counts were expected", provider="tinyq") from None
    if len(pairs) != len(spec.programs):
        raise Unreadable(f"tinyq: {len(pairs)} histograms of {len(spec.programs)} programs", provider="tinyq")
    items = []
    for program, histogram in zip(spec.programs, pairs, strict=True):
        check_total(histogram, spec.shots, "tinyq")
        items.append(ItemResult(counts=Counts(merge(histogram, readout(program).from_measured))))
    return VendorResult(items=tuple(items), cost=Cost(0.0, "usd", False), qpu_s=seconds)
