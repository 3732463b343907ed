"""Jobs that others submitted under this qBraid account, read back: `GET /jobs/{qrn}` and its program.

Counts keys hold all classical bits of the program, bit 0 of the first register rightmost (cuda-quantum#5462,
2026-09-21); results of qir-sv, Rigetti and OQC from before that day are mirrored (qBraid#1327).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from qflows.errors import ProgramRejected
from qflows.programs import Program, to_program
from qflows.programs.unknown import unknown_program
from qflows.protocol import Foreign, JobSpec, Listed, Phase
from qflows.providers.qbraid import wire

_ONE_ORDER_SINCE = datetime(2026, 9, 21, tzinfo=UTC)
_MIRRORED = ("qir-sv", ":rigetti:", ":oqc:")
_OWN = frozenset({wire.KEY, wire.LOT, wire.MARK})
_NOT_READ = "the program of circuit {index} is not known ({why}); it shows how many bits were read"


def entry(job: Mapping[str, Any]) -> Listed:
    """One job as a list shows it."""
    tags = wire.tags_of(job)
    key = tags.get(wire.KEY)
    labels = tuple(f"{name}={value}" for name, value in tags.items() if name not in _OWN)
    return Listed(
        str(job["jobQrn"]),
        str(job.get("deviceQrn") or ""),
        wire.created_at(job),
        str(key) if key else None,
        labels,
        look=wire.observation(job),
        shots=_shots(job),
        n_programs=_n_programs(job),
    )


def foreign(job: Mapping[str, Any], read: Callable[[str], Any]) -> Foreign:
    """A job with its program. `read("program")`, `read("result")`: what qBraid has of it, None if nothing."""
    shown, look = entry(job), wire.observation(job)
    given = read("program")
    listed = given if isinstance(given, list) else [given]
    widths: list[int | None] = [None] * len(listed)
    notes: list[str] = []
    programs: list[Program] = []
    for index, one in enumerate(listed):
        try:
            programs.append(_program(one))
        except ProgramRejected as error:
            if widths[index] is None and look.phase is Phase.DONE:
                widths = _widths(read("result"), len(listed))
            width = widths[index] or 1
            notes.append(_NOT_READ.format(index=index, why=str(error)[:150]))
            programs.append(unknown_program(width, [(bit, bit) for bit in range(width)], name=f"circuit {index}"))
    mirrored = any(name in shown.device_id for name in _MIRRORED)
    is_old = mirrored and shown.created_at is not None and shown.created_at < _ONE_ORDER_SINCE
    if is_old:
        notes.append("older than qBraid's change of the bit order; its bit strings are reversed")
    spec = JobSpec(
        provider="qbraid",
        device_id=shown.device_id,
        programs=tuple(programs),
        shots=shown.shots,
        options={"imported": True, "bit_order": "c0_left" if is_old else "c0_right"},
        name=str(job.get("name") or programs[0].name)[:255],
        tags=shown.tags,
        session_id=str(job["groupJobQrn"]) if job.get("groupJobQrn") else None,
    )
    return Foreign(shown, spec, look, notes=tuple(notes))


def _shots(job: Mapping[str, Any]) -> int | None:
    shots = job.get("shots")
    return shots if isinstance(shots, int) and not isinstance(shots, bool) and shots > 0 else None


def _n_programs(job: Mapping[str, Any]) -> int:
    number = job.get("numCircuits")
    if isinstance(number, bool) or not isinstance(number, int):
        return 1
    return number if 0 < number <= wire.MOST_PROGRAMS else 1


def _program(given: Any) -> Program:
    if not isinstance(given, Mapping) or not isinstance(given.get("data"), str):
        raise ProgramRejected("qBraid gives none")
    if given.get("format") not in ("qasm2", "qasm3"):
        raise ProgramRejected(f"its format is {str(given.get('format'))[:40]}")
    program = to_program(given["data"])
    if not program.measured:
        raise ProgramRejected("it measures nothing")
    return program


def _widths(result: Any, n: int) -> list[int | None]:
    """Number of bits in each circuit's counts keys."""
    parts = result.get("results") if isinstance(result, Mapping) else None
    found: list[int | None] = []
    for part in parts if isinstance(parts, list) else [result]:
        data = part.get("resultData") if isinstance(part, Mapping) else None
        counts = data.get("measurementCounts") if isinstance(data, Mapping) else None
        keys = [str(key).replace(" ", "") for key in counts] if isinstance(counts, Mapping) else []
        found.append(max(map(len, keys), default=None))
    return (found + [None] * n)[:n]
