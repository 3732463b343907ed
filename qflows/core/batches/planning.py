"""The jobs that will carry a list of programs, as data that a dry run shows before anything is bought.

A long list of programs is split into contiguous runs, each below every limit of the device.

Runs are contiguous, so that an index range names a part and shows which circuits it holds. Splitting is greedy, which
is optimal for contiguous runs under limits that only grow with the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from qflows.core.references import Reference
from qflows.errors import ProgramRejected
from qflows.programs import Program
from qflows.programs.observables import Observable
from qflows.protocol import JobSpec, Provider

# a vendor's JSON needs two to three times the characters of our canonical text per gate (measured on IonQ's)
_WIRE_FACTOR = 3
REFERENCE_EVERY = 10  # jobs of one circuit for which one set of reference circuits speaks: a tenth more is bought


@dataclass(frozen=True, slots=True)
class JobLimits:
    """What one job may hold. None: no known limit. Bytes are of the request body; shots are summed over programs."""

    circuits: int
    bytes: int | None = None
    gates: int | None = None
    shots: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, stored with the plan."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Part:
    """Programs `start` to `stop` (exclusive) of the list, with their common number of shots."""

    start: int
    stop: int
    shots: int | None

    def __len__(self) -> int:
        return self.stop - self.start


def partition(
    programs: Sequence[Program], shots: Sequence[int | None], limits: JobLimits, beside: Sequence[Program] = ()
) -> list[Part]:
    """The parts, in order, covering every program once. A part has one number of shots.

    `beside`: programs that every part carries as well. Raises ProgramRejected for a program that is too large for a job
    of its own.
    """
    parts: list[Part] = []
    all_bytes, all_gates = sum(len(one.text) for one in beside) * _WIRE_FACTOR, sum(_gates(one) for one in beside)
    start, used_bytes, used_gates = 0, all_bytes, all_gates
    for index, program in enumerate(programs):
        size, gates = len(program.text) * _WIRE_FACTOR, _gates(program)
        _check_alone(program, index, size, gates, limits)
        count = index - start
        full = count > 0 and (
            shots[index] != shots[start]
            or count + 1 + len(beside) > limits.circuits
            or _over(used_bytes + size, limits.bytes)
            or _over(used_gates + gates, limits.gates)
            or _over((count + 1 + len(beside)) * (shots[index] or 0), limits.shots)
        )
        if full:
            parts.append(Part(start, index, shots[start]))
            start, used_bytes, used_gates = index, all_bytes, all_gates
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
                f"circuit {index} ({program.name}) has about {value} {what}, and one job takes "
                f"at most {limit}; simplify it "
                "(qiskit.transpile with optimization_level=2) or cut it"
            )


def job_limits(
    provider: Provider,
    max_programs: int | None,
    *,
    as_batch: bool | None,
    max_circuits: int | None,
    max_total_shots: int | None = None,
) -> JobLimits:
    """What one job on this device may hold.

    `as_batch`: True requires composite jobs, False one circuit per job, None takes what the device supports. Raises
    ValueError for `as_batch=True` on a device that takes one circuit per job.
    """
    can = provider.capabilities
    most = min(can.max_programs, max_programs if max_programs is not None else can.max_programs)
    if as_batch is False:
        most = 1
    if max_circuits is not None:
        if not isinstance(max_circuits, int) or max_circuits < 1:
            raise ProgramRejected(
                f"max_circuits must be a whole number of at least 1, not {max_circuits!r:.60}; leave it out to fill "
                "each job"
            )
        most = min(most, max_circuits)
    totals = [one for one in (can.max_job_shots, max_total_shots) if one is not None]
    return JobLimits(most, can.max_job_bytes, can.max_job_gates, min(totals, default=None))


def refuse_composite(device: str, provider: Provider, max_programs: int | None) -> None:
    """Raise ValueError naming device and reason if the device takes one circuit per job."""
    most = min(provider.capabilities.max_programs, max_programs or provider.capabilities.max_programs)
    if most <= 1:
        raise ValueError(
            f"device {device!r} ({provider.name}) takes one circuit per job, so as_batch=True is not possible; "
            "leave as_batch out to submit the circuits as parallel jobs"
        )


@dataclass(frozen=True, slots=True)
class Planned:
    """A batch before anything is bought: parts as (circuit indices, spec), and the limits that shaped them.

    `sweep`: the shape of its points and the mapping of circuits to points, as JSON; empty for a plain list.
    `references`: circuits that measure the health of the parts. Where a job takes several circuits they are the last
    ones of every job and have no index; elsewhere they are jobs of their own, without indices.
    """

    specs: tuple[tuple[tuple[int, ...], JobSpec], ...]
    n_circuits: int
    limits: JobLimits
    sweep: Mapping[str, Any] = field(default_factory=dict)
    references: tuple[Reference, ...] = ()

    def rows(self) -> list[dict[str, str]]:
        """The plan as a table, for a dry run."""
        return [
            {
                "part": str(part),
                "circuits": span(indices) or "reference",
                "number": str(len(spec.programs)) if self.references else str(len(indices)),
                "shots": "exact" if spec.shots is None else str(spec.shots),
                "bytes": str(sum(len(program.text) for program in spec.programs)),
            }
            for part, (indices, spec) in enumerate(self.specs)
        ]


def plan(
    base: JobSpec,
    programs: Sequence[Program],
    shots: Sequence[int | None],
    limits: JobLimits,
    observables: Sequence[tuple[Observable, ...]] = (),
    beside: Sequence[Program] = (),
) -> Planned:
    """Split and pack `programs` into specs like `base`; `observables`: those of each program for the device to
    measure. `beside`: reference circuits, in every job or in jobs of their own."""
    made = []
    shared = beside if len(beside) < limits.circuits else ()
    for place, part in enumerate(partition(programs, shots, limits, shared)):
        if beside and not shared and (place % REFERENCE_EVERY == 0 or part.shots != made[-1][1].shots):
            made += [((), spec) for _, spec in plan(base, beside, [part.shots] * len(beside), limits).specs]
        chosen = programs[part.start : part.stop]
        label = f"{chosen[0].name} … {chosen[-1].name}" if len(chosen) > 1 else chosen[0].name
        wanted = tuple(observables[part.start : part.stop])
        carried = (*chosen, *shared)
        spec = replace(base, programs=carried, shots=part.shots, name=label[:255], observables=wanted)
        made.append((tuple(range(part.start, part.stop)), spec))
    return Planned(tuple(made), len(programs), limits)


def span(indices: Sequence[int]) -> str:
    """`0-299`, `7`, `3-5, 9`."""
    ranges: list[list[int]] = []
    for index in indices:
        if ranges and ranges[-1][1] == index - 1:
            ranges[-1][1] = index
        else:
            ranges.append([index, index])
    shown = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges[:6])
    return shown + (", …" if len(ranges) > 6 else "")
