"""From a list of programs to the jobs that will carry them; data, shown by a dry run before anything is bought."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from qflows.observables import Observable
from qflows.partition import JobLimits, partition
from qflows.programs import Program
from qflows.protocol import JobSpec, Provider


def job_limits(
    provider: Provider, max_programs: int | None, *, as_batch: bool | None, max_circuits: int | None
) -> JobLimits:
    """What one job of this device may hold.

    `as_batch`: True wants composite jobs, False one circuit a job, None whatever the device can. Raises ValueError
    for `as_batch=True` on a device that takes one circuit a job.
    """
    can = provider.capabilities
    most = min(can.max_programs, max_programs if max_programs is not None else can.max_programs)
    if as_batch is False:
        most = 1
    if max_circuits is not None:
        if max_circuits < 1:
            raise ValueError(f"max_circuits must be at least 1, not {max_circuits}")
        most = min(most, max_circuits)
    return JobLimits(most, can.max_job_bytes, can.max_job_gates, can.max_job_shots)


def refuse_composite(device: str, provider: Provider, max_programs: int | None) -> None:
    """Raises ValueError naming device and reason when the device takes one circuit a job."""
    most = min(provider.capabilities.max_programs, max_programs or provider.capabilities.max_programs)
    if most <= 1:
        raise ValueError(
            f"device {device!r} ({provider.name}) takes one circuit a job, so as_batch=True cannot be; "
            "leave as_batch out to submit the circuits as parallel jobs"
        )


@dataclass(frozen=True, slots=True)
class Planned:
    """A batch before anything is bought: parts as (circuit indices, spec), and the limits that shaped them.

    `sweep`: the shape of its points, and how circuits become points, as JSON; empty for a plain list.
    """

    specs: tuple[tuple[tuple[int, ...], JobSpec], ...]
    n_circuits: int
    limits: JobLimits
    sweep: Mapping[str, Any] = field(default_factory=dict)

    def rows(self) -> list[dict[str, str]]:
        """The plan as a table, for a dry run."""
        return [
            {
                "part": str(part),
                "circuits": span(indices),
                "number": str(len(indices)),
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
) -> Planned:
    """Splits and packs `programs` into specs like `base`; `observables`: of each program, for the device to measure."""
    made = []
    for part in partition(programs, shots, limits):
        chosen = programs[part.start : part.stop]
        label = f"{chosen[0].name} … {chosen[-1].name}" if len(chosen) > 1 else chosen[0].name
        wanted = tuple(observables[part.start : part.stop])
        spec = replace(base, programs=tuple(chosen), shots=part.shots, name=label[:255], observables=wanted)
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
