"""Splitting a long list of programs into jobs: contiguous runs, each below every limit of the device.

Contiguous, so that a part is named by its index range and a person can say which circuits it holds. Greedy, which is
optimal for contiguous runs under limits that only grow with the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from qflows.errors import ProgramRejected
from qflows.programs import Program

# a vendor's JSON spells a gate with two to three times the characters of our canonical text (measured on IonQ's)
_WIRE_FACTOR = 3


@dataclass(frozen=True, slots=True)
class JobLimits:
    """What one job may hold. None: no limit known. Bytes are of the request body, shots summed over programs."""

    circuits: int
    bytes: int | None = None
    gates: int | None = None
    shots: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, to be kept with the plan."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Part:
    """Programs `start` to `stop` (exclusive) of the list, with their common number of shots."""

    start: int
    stop: int
    shots: int | None

    def __len__(self) -> int:
        return self.stop - self.start


def partition(programs: Sequence[Program], shots: Sequence[int | None], limits: JobLimits) -> list[Part]:
    """The parts, in order, covering every program once. A part holds one number of shots.

    Raises ProgramRejected for a program that is too large for any job of its own.
    """
    parts: list[Part] = []
    start, used_bytes, used_gates = 0, 0, 0
    for index, program in enumerate(programs):
        size, gates = len(program.text) * _WIRE_FACTOR, _gates(program)
        _check_alone(program, index, size, gates, limits)
        count = index - start
        full = count > 0 and (
            shots[index] != shots[start]
            or count + 1 > limits.circuits
            or _over(used_bytes + size, limits.bytes)
            or _over(used_gates + gates, limits.gates)
            or _over((count + 1) * (shots[index] or 0), limits.shots)
        )
        if full:
            parts.append(Part(start, index, shots[start]))
            start, used_bytes, used_gates = index, 0, 0
        used_bytes += size
        used_gates += gates
    if programs:
        parts.append(Part(start, len(programs), shots[start]))
    return parts


def _gates(program: Program) -> int:
    # counting the opening of each step in the text is much cheaper than parsing it; registers open in the same way
    return program.text.count('["') - len(program.registers) - program.text.count('["measure"')


def _over(value: int, limit: int | None) -> bool:
    return limit is not None and value > limit


def _check_alone(program: Program, index: int, size: int, gates: int, limits: JobLimits) -> None:
    for what, value, limit in (("bytes", size, limits.bytes), ("gates", gates, limits.gates)):
        if _over(value, limit):
            raise ProgramRejected(
                f"circuit {index} ({program.name}) has about {value} {what}, one job takes {limit}; simplify it "
                "(qiskit.transpile with optimization_level=2) or cut it"
            )
