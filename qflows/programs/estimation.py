"""Expectation values on devices that only sample: measurement circuits, and one estimate from their counts.

The grouping is stored with the job, so that counts are combined as planned, even by a later version that would group
differently.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
_EARLIER = "earlier"


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

    Barriers that only stood before those measurements go with them. Earlier measurements stay, in a register before the
    one of the observables.
    """
    ops: list[Any] = program.ops()
    ops = _without_final(ops) if program.has_mid_circuit else [op for op in ops if op[0] != "measure"]
    while ops and ops[-1][0] == "barrier":
        ops.pop()
    n_earlier = program.n_clbits if any(op[0] in ("measure", "if_else") for op in ops) else 0
    ops += [[gate, [], [qubit], []] for gate, qubit in basis_rotations(basis)]
    ops += [["measure", [], [qubit], [n_earlier + qubit]] for qubit in range(program.n_qubits)]
    earlier = [(_EARLIER, list(range(n_earlier)))] if n_earlier else []
    return program.rewritten(
        ops,
        n_clbits=n_earlier + program.n_qubits,
        registers=[*earlier, (_REGISTER, list(range(n_earlier, n_earlier + program.n_qubits)))],
        name=f"{program.name}[{basis}]",
    )


def _without_final(ops: Sequence[Any]) -> list[Any]:
    """The steps without measurements after which nothing happens to the qubit and nothing depends on the bit."""
    kept: list[Any] = []
    used: set[int] = set()  # qubits on which something follows
    read: set[int] = set()  # clbits on which something that follows depends
    for op in reversed(ops):
        name, _, qubits, clbits = op[:4]
        if name == "measure" and used.isdisjoint(qubits) and read.isdisjoint(clbits):
            continue
        kept.append(op)
        if name != "barrier":
            used.update(qubits)
        if name == "if_else":
            read.update(clbits)
    return kept[::-1]


def combine(text: str, items: Sequence[ItemResult], shots: int | None) -> ItemResult:
    """One item with `expectations` from the counts (or exact probabilities) of all measurement programs."""
    from qflows.programs.expectations import estimate_each_from_counts

    exact = shots is None
    groups = read_plan(text)
    read = items if any(group.needs_measurement for group in groups) else ()
    histograms = [_of_observables((item.probabilities if exact else item.counts) or {}) for item in read]
    values = estimate_each_from_counts(groups, histograms, shots)
    return ItemResult(
        expectations=tuple(Expectation(value.value, value.std_error) for value in values),
        metadata={"groups": len(items), "shots_per_group": shots},
    )


def _of_observables(histogram: Mapping[str, float]) -> dict[str, float]:
    """Counts of the observables' register alone, which is the last and so the leftmost of a key."""
    if not any(" " in key for key in histogram):
        return dict(histogram)
    summed: dict[str, float] = {}
    for key, n in histogram.items():
        own = key.partition(" ")[0]
        summed[own] = summed.get(own, 0) + n
    return summed
