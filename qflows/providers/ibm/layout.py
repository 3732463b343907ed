"""Which programs of a job are sent together: points of a sweep become one PUB with an array of parameters.

Pure, and a function of the spec alone: a process that decodes the result, perhaps years later, gets the same layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qflows.keys import digest
from qflows.programs import Program
from qflows.programs.to_openqasm import angles_apart
from qflows.protocol import JobSpec

Angle = float | int  # a fixed value in radians, or the number of a parameter


@dataclass(frozen=True)
class Sheet:
    """Programs that differ in angles only, or a single program.

    `indices`: their positions in the job. `shape`: the circuit; `angles`: one entry for each angle of its named gates,
    in order: a float is fixed, an int is the parameter of that number. `values[i, k]`: parameter k of program
    `indices[i]`, radians. A single program has `angles` None: it contains its own.
    """

    indices: tuple[int, ...]
    shape: Program
    angles: tuple[Angle, ...] | None = None
    values: np.ndarray[tuple[int, int], np.dtype[np.float64]] | None = None

    @property
    def digest(self) -> str:
        """A name for what is compiled: the circuit with its fixed angles, not the values."""
        if self.angles is None:
            return self.shape.digest
        return digest("sheet/1", self.shape.digest, [repr(angle) for angle in self.angles])


def singles(spec: JobSpec) -> list[Sheet]:
    """Every program separately."""
    return [Sheet((index,), program) for index, program in enumerate(spec.programs)]


def sheets(spec: JobSpec) -> list[Sheet]:
    """Sheets in the order of their first programs. Programs with other observables go on other sheets.

    Fractional gates need angles between 0 and pi/2, which only fixed ones can be folded into, so each program then gets
    its own sheet; so it does with the option `literal_angles`.
    """
    if len(spec.programs) < 2 or spec.options.get("literal_angles") or spec.options.get("use_fractional_gates"):
        return singles(spec)
    groups: dict[str, list[int]] = {}
    for index, program in enumerate(spec.programs):
        shape, _ = angles_apart(program)
        wanted = [observable.to_json() for observable in spec.observables_of(index)]
        groups.setdefault(digest("group/1", shape.digest, wanted), []).append(index)
    return [sheet for group in groups.values() for sheet in _sheets_of(spec, group)]


def _sheets_of(spec: JobSpec, group: Sequence[int]) -> list[Sheet]:
    shape, _ = angles_apart(spec.programs[group[0]])
    table = np.array([angles_apart(spec.programs[index])[1] for index in group], dtype=float).reshape(len(group), -1)
    varying = [column for column in range(table.shape[1]) if np.ptp(table[:, column]) > 0]
    if not varying:
        return [Sheet((index,), spec.programs[index]) for index in group]
    # angles that move together are one parameter: the compiler may then merge their gates
    numbers: dict[bytes, int] = {}
    columns: list[int] = []
    angles: list[Angle] = [float(value) for value in table[0]]
    for column in varying:
        name = table[:, column].tobytes()
        if name not in numbers:
            numbers[name] = len(columns)
            columns.append(column)
        angles[column] = numbers[name]
    return [Sheet(tuple(group), shape, tuple(angles), np.ascontiguousarray(table[:, columns]))]
