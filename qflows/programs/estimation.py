"""Expectation values on devices that only sample: measurement circuits, and one estimate from their counts.

The grouping is stored with the job, so that counts are combined as planned, even by a later version that would group
differently.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from qflows.errors import ProgramRejected
from qflows.model import Expectation, ItemResult
from qflows.programs import Program
from qflows.programs.observables import (
    Group,
    Member,
    Observable,
    basis_rotations,
    group_qubitwise,
)
from qflows.programs.observables import observable as as_observable
from qflows.programs.placement import moved

_REGISTER = "m"


def plan(program: Program, observables: Sequence[Observable]) -> tuple[tuple[Program, ...], str]:
    """Measurement programs, one per qubit-wise commuting group, and the plan as canonical JSON.

    Every program measures all qubits into one register. Multiples of the identity need no measurement: among others
    they share a group; alone, one program represents them, because a job has at least one, and its counts are not read.
    Raises ProgramRejected if widths differ.
    """
    observables = fitted(program, observables)
    text = _plan_text(tuple(observables))
    bases = [group.basis for group in read_plan(text) if group.needs_measurement]
    return tuple(measured_in(program, basis) for basis in bases or ["I" * program.n_qubits]), text


def fitted(program: Program, observables: Sequence[Observable]) -> tuple[Observable, ...]:
    """The observables on the program's qubits; those of a placed program may be as wide as its device.

    Raises ProgramRejected for another width, and for letters on qubits that the program does not use.
    """
    return tuple(_fitted(program, observable) for observable in observables)


def reaching(program: Program, observables: Sequence[Observable]) -> Program:
    """A placed program, extended by unused device qubits on which observables as wide as the device act."""
    labels = program.labels
    if labels is None:
        return program
    acted = {
        one.n_qubits - 1 - at
        for one in observables
        if one.n_qubits != program.n_qubits
        for letters, _ in one
        for at, letter in enumerate(letters)
        if letter != "I"
    }
    wanted = sorted({*labels, *acted} or {0})
    if len(wanted) == len(labels):
        return program
    place = {qubit: wanted.index(label) for qubit, label in enumerate(labels)}
    return program.rewritten(moved(program.ops(), place), n_qubits=len(wanted), labels=wanted)


def _fitted(program: Program, observable: Observable) -> Observable:
    width, labels = observable.n_qubits, program.labels
    if width == program.n_qubits:
        return observable
    if labels is None or width <= max(labels, default=0):
        raise ProgramRejected(
            f"{program.name} has {program.n_qubits} qubits, an observable acts on {width}; pad with I"
        )
    places = [width - 1 - label for label in reversed(labels)]  # of the letters, the rightmost for qubit 0
    for letters, _ in observable:
        idle = [width - 1 - at for at, letter in enumerate(letters) if letter != "I" and at not in places]
        if idle:
            raise ProgramRejected(
                f"{program.name}: an observable acts on qubit {idle[-1]}, which the placed circuit does not use; give "
                "the circuit an identity gate there (circuit.id)"
            )
    return as_observable([("".join(letters[at] for at in places), coeff) for letters, coeff in observable])


@lru_cache(maxsize=64)
def _plan_text(observables: tuple[Observable, ...]) -> str:
    groups = [
        [group.basis, [[m.label, m.coeff.hex(), m.observable] for m in group.members]]
        for group in group_qubitwise(list(observables))
    ]
    return json.dumps(groups, separators=(",", ":"))


@lru_cache(maxsize=64)
def read_plan(text: str) -> tuple[Group, ...]:
    """The groups of a plan."""
    return tuple(
        Group(basis, tuple(Member(label, float.fromhex(coeff), place) for label, coeff, place in members))
        for basis, members in json.loads(text)
    )


def measured_in(program: Program, basis: str) -> Program:
    """`program` with its final measurements replaced by one of every qubit in `basis`, qubit i into bit i.

    Barriers that only stood before those measurements go with them.
    """
    if program.has_mid_circuit:
        raise ProgramRejected(f"{program.name}: observables need a circuit without mid-circuit measurement or reset")
    ops: list[Any] = [op for op in program.ops() if op[0] != "measure"]
    while ops and ops[-1][0] == "barrier":
        ops.pop()
    ops += [[gate, [], [qubit], []] for gate, qubit in basis_rotations(basis)]
    ops += [["measure", [], [qubit], [qubit]] for qubit in range(program.n_qubits)]
    return program.rewritten(
        ops,
        n_clbits=program.n_qubits,
        registers=[(_REGISTER, list(range(program.n_qubits)))],
        name=f"{program.name}[{basis}]",
    )


def combine(text: str, items: Sequence[ItemResult], shots: int | None) -> ItemResult:
    """One item with `expectations` from the counts (or exact probabilities) of all measurement programs."""
    from qflows.programs.expectations import estimate_each_from_counts

    exact = shots is None
    groups = read_plan(text)
    read = items if any(group.needs_measurement for group in groups) else ()
    histograms = [dict((item.probabilities if exact else item.counts) or {}) for item in read]
    values = estimate_each_from_counts(groups, histograms, shots)
    return ItemResult(
        expectations=tuple(Expectation(value.value, value.std_error) for value in values),
        metadata={"groups": len(items), "shots_per_group": shots},
    )
