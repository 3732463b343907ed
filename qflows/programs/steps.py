"""The steps of a program as plain values, read from the lists of its text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

# what stands between the gates; everything else in a program is a gate
NOT_GATES = frozenset({"measure", "reset", "delay", "barrier", "if_else"})


@dataclass(frozen=True)
class Register:
    """A named classical register; `bits` are clbit indices, bit 0 (the rightmost character) first."""

    name: str
    bits: tuple[int, ...]


@dataclass(frozen=True)
class Condition:
    """True while the classical bits `bits`, ascending, hold `value`; `bits[0]` is its least significant bit."""

    bits: tuple[int, ...]
    value: int


@dataclass(frozen=True)
class Instruction:
    """One step of a program. Angles in radians, in turns for the gates of `gates.IN_TURNS`; `unit` is set for `delay`.

    `name` is a qiskit standard gate name with all controls on 1, a name of `gates.NATIVE`, or `measure`, `reset`,
    `delay`, `barrier`, `unitary`, `if_else`, `opaque:<name>`. For `unitary` the parameters are the matrix, row by row,
    as re, im pairs. For `if_else`, `then` runs if `condition` holds and `otherwise` if not; its qubits and clbits are
    all those that it touches or reads.
    """

    name: str
    params: tuple[float, ...]
    qubits: tuple[int, ...]
    clbits: tuple[int, ...]
    unit: str | None = None
    condition: Condition | None = None
    then: tuple[Instruction, ...] = ()
    otherwise: tuple[Instruction, ...] = ()


def read_steps(ops: Iterable[Sequence[Any]]) -> tuple[Instruction, ...]:
    """Steps of a list in the schema's form."""
    return tuple(map(_read_step, ops))


def _read_step(op: Sequence[Any]) -> Instruction:
    name, params, qubits, clbits, *more = op
    plain = (name, tuple(params), tuple(qubits), tuple(clbits))
    if name == "delay":
        return Instruction(*plain, unit=more[0])
    if name == "if_else":
        (bits, value), then, otherwise = more
        return Instruction(
            *plain, condition=Condition(tuple(bits), value), then=read_steps(then), otherwise=read_steps(otherwise)
        )
    return Instruction(*plain)


def walk(steps: Iterable[Instruction]) -> Iterator[Instruction]:
    """Every step, those inside branches right after the `if_else` they belong to."""
    for step in steps:
        yield step
        if step.name == "if_else":
            yield from walk(step.then)
            yield from walk(step.otherwise)


def walk_ops(ops: Iterable[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    """As `walk`, over steps in the schema's form."""
    for op in ops:
        yield op
        if op[0] == "if_else":
            yield from walk_ops(op[5])
            yield from walk_ops(op[6])
