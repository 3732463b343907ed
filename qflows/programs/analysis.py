"""What a program asks of a device beyond gates and final measurements, read from its steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from qflows.programs.features import Feature
from qflows.programs.gates import NATIVE, OPAQUE
from qflows.programs.steps import Instruction, walk

if TYPE_CHECKING:
    from qflows.programs.program import Program

DYNAMIC = frozenset({Feature.RESET, Feature.MID_CIRCUIT, Feature.FEED_FORWARD})


def leading_resets(ops: Iterable[Sequence[Any]]) -> list[int]:
    """Positions of resets of qubits that only barriers have touched; `ops` in the schema's form."""
    touched: set[int] = set()
    found = []
    for place, op in enumerate(ops):
        if op[0] == "reset" and op[2][0] not in touched:
            found.append(place)
        elif op[0] != "barrier":
            touched.update(op[2])
    return found


def features_of(steps: Sequence[Instruction], *, is_physical: bool, is_verbatim: bool) -> frozenset[Feature]:
    """See `Program.features`."""
    found = {Feature.PHYSICAL} if is_physical else set()
    found |= {Feature.VERBATIM} if is_verbatim else set()
    if _separates(steps):
        found.add(Feature.BARRIER)
    for step in walk(steps):
        if step.name == "delay":
            found.add(Feature.DELAY)
        elif step.name == "if_else":
            found |= {Feature.FEED_FORWARD, Feature.MID_CIRCUIT}
        elif step.name in NATIVE or step.name.startswith(OPAQUE):
            found.add(Feature.NATIVE)
    return frozenset(found | _dynamic(steps))


def _dynamic(steps: Sequence[Instruction]) -> set[Feature]:
    """Reset, and steps after measurements. An immediately repeated measurement reads the same value and does not
    count."""
    found: set[Feature] = set()
    touched: set[int] = set()
    measured: set[int] = set()
    written: set[int] = set()
    for step in steps:
        if step.name == "barrier":
            continue
        if step.name == "reset" and step.qubits[0] in touched:
            found.add(Feature.RESET)
        is_late = step.name != "measure" and not measured.isdisjoint(step.qubits)
        if is_late or not written.isdisjoint(step.clbits):
            found.add(Feature.MID_CIRCUIT)
        if step.name == "measure":
            measured.update(step.qubits)
            written.update(step.clbits)
        if step.name == "if_else" and any(inner.name == "reset" for inner in walk((step,))):
            found.add(Feature.RESET)
        if step.name != "reset" or step.qubits[0] in touched:
            touched.update(step.qubits)
    return found


def _separates(steps: Sequence[Instruction]) -> bool:
    """True if a barrier stands between two steps that could affect each other; one before measurements does not
    count."""
    touched: set[int] = set()
    barred: set[int] = set()
    for step in steps:
        if step.name == "barrier":
            if not touched.isdisjoint(step.qubits):
                barred.update(step.qubits)
            continue
        if step.name != "measure" and not barred.isdisjoint(step.qubits):
            return True
        if step.name == "if_else" and (_separates(step.then) or _separates(step.otherwise)):
            return True
        touched.update(step.qubits)
    return False


def plain(program: Program, *, keep: frozenset[Feature] = frozenset()) -> Program:
    """The program without what changes nothing on a device that starts in |0> and compiles nothing away.

    That is: without barriers, unless `keep` has BARRIER, and without resets of untouched qubits, unless it has RESET.
    A program without any is returned as it is.
    """
    ops = program.ops()
    dropped = set() if Feature.RESET in keep else set(leading_resets(ops))
    kept = [op for place, op in enumerate(ops) if place not in dropped]
    if Feature.BARRIER not in keep:
        kept = without_barriers(kept)
    return program if kept == ops else program.rewritten(kept)


def without_barriers(ops: Sequence[Any]) -> list[Any]:
    """Steps in the schema's form, without barriers, branches included."""
    return [
        [*op[:5], without_barriers(op[5]), without_barriers(op[6])] if op[0] == "if_else" else op
        for op in ops
        if op[0] != "barrier"
    ]
