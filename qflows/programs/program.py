"""The canonical program: a JSON text that says exactly what runs, and the digest that names it.

Text, schema "qflows.program/1": one JSON object with the keys, in this order,
`schema`, `qubits`, `clbits` (counts), `registers` ([[name, [clbit of bit 0, bit 1, ...]], ...]), `phase` (global phase
in radians, 0 <= phase < 2 pi) and `ops`: [name, parameters, qubits, clbits] in circuit order, radians as JSON numbers
in the shortest form that reads back exactly, -0.0 written 0.0. Special names: `measure`, `reset`;
`delay` with a fifth item, its unit; `unitary` with the matrix row by row as re, im, re, im, ...,
qubits[0] least significant; `opaque:<name>` for a gate known by name only.
The text has no spaces and is ASCII, so equal content means equal bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from qflows.errors import ProgramRejected

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

SCHEMA = "qflows.program/1"
NOT_GATES = frozenset({"measure", "reset", "delay"})
TWO_PI = 2 * math.pi


@dataclass(frozen=True)
class Register:
    """A named classical register; `bits` are clbit indices, bit 0 (the rightmost character) first."""

    name: str
    bits: tuple[int, ...]


@dataclass(frozen=True)
class Instruction:
    """One step of a program. Angles in radians; `unit` is set for `delay` only.

    `name` is a qiskit standard gate name with all controls on 1, or `measure`, `reset`, `delay`, `unitary`,
    `opaque:<name>`. For `unitary` the parameters are the matrix, row by row, as re, im pairs.
    """

    name: str
    params: tuple[float, ...]
    qubits: tuple[int, ...]
    clbits: tuple[int, ...]
    unit: str | None = None


@dataclass(frozen=True)
class Program:
    """A circuit with its values, in canonical form. Two programs are equal when their texts are; the name is a label.

    `measured` holds, per clbit that is written at all, the last measurement into it as (qubit, clbit), ascending clbit;
    a clbit that is absent there is never measured and must not be invented in a result.
    Build one with `to_program` or `Program.from_text`.
    """

    text: str = field(repr=False)
    digest: str
    n_qubits: int = field(compare=False)
    n_clbits: int = field(compare=False)
    registers: tuple[Register, ...] = field(compare=False, repr=False)
    measured: tuple[tuple[int, int], ...] = field(compare=False, repr=False)
    name: str = field(default="program", compare=False)

    @staticmethod
    def from_text(text: str, name: str = "program") -> Program:
        """Program of a stored text. Raises ProgramRejected unless the text is exactly canonical."""
        from qflows.programs.validate import read_text

        return read_text(text, name)

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """The steps in circuit order."""
        return _instructions(self.text)

    @property
    def global_phase(self) -> float:
        """Global phase in radians, 0 <= phase < 2 pi."""
        return float(json.loads(self.text)["phase"])

    def gate_counts(self) -> dict[str, int]:
        """How often each name occurs, `measure`, `reset` and `delay` included, in alphabetical order."""
        return dict(sorted(Counter(step.name for step in self.instructions).items()))

    @property
    def n_two_qubit(self) -> int:
        """Number of gates on exactly two qubits."""
        return sum(len(step.qubits) == 2 for step in self.instructions)

    @property
    def depth(self) -> int:
        """Longest chain of gates, measurements and resets that share a qubit or clbit; delays do not count."""
        level: dict[tuple[str, int], int] = {}
        for step in self.instructions:
            if step.name == "delay":
                continue
            wires = [("q", q) for q in step.qubits] + [("c", c) for c in step.clbits]
            reached = 1 + max((level.get(wire, 0) for wire in wires), default=0)
            level.update(dict.fromkeys(wires, reached))
        return max(level.values(), default=0)

    @cached_property
    def has_mid_circuit(self) -> bool:
        """True if something happens to a qubit after its measurement, a clbit is written twice, or a reset occurs.

        Resets of untouched qubits are not in the text, so they do not count.
        """
        measured: set[int] = set()
        written: set[int] = set()
        for step in self.instructions:
            if step.name == "reset" or not measured.isdisjoint(step.qubits) or not written.isdisjoint(step.clbits):
                return True
            if step.name == "measure":
                measured.update(step.qubits)
                written.update(step.clbits)
        return False

    def circuit(self) -> QuantumCircuit:
        """A fresh qiskit circuit that does what the text says; the caller may change it.

        Always rebuilt from the text, never the user's object, so that a replay in another process compiles the same.
        """
        return _rebuilt(self).copy()

    def __reduce__(self) -> tuple[Any, ...]:
        # caches stay behind: a program crosses process borders with every task
        fields = (self.text, self.digest, self.n_qubits, self.n_clbits, self.registers, self.measured, self.name)
        return Program, fields


# kept for the latest programs only: kept with each of 20,000 programs, steps and circuits were 1 GB
@lru_cache(maxsize=32)
def _instructions(text: str) -> tuple[Instruction, ...]:
    return tuple(
        Instruction(op[0], tuple(op[1]), tuple(op[2]), tuple(op[3]), op[4] if len(op) > 4 else None)
        for op in json.loads(text)["ops"]
    )


@lru_cache(maxsize=32)
def _rebuilt(program: Program) -> QuantumCircuit:
    from qflows.programs.rebuild import build_circuit

    return build_circuit(program)


def seal(
    *,
    n_qubits: int,
    n_clbits: int,
    registers: Sequence[tuple[str, Sequence[int]]],
    phase: float,
    ops: Sequence[Sequence[Any]],
    name: str,
) -> Program:
    """Write the text and the digest. `ops` as in the schema, every parameter a float.

    Raises ProgramRejected for a parameter or phase that is not finite.
    """
    phase = phase % TWO_PI if math.isfinite(phase) else phase
    if phase >= TWO_PI:  # a tiny negative phase rounds up to 2 pi, which would not read back as itself
        phase = 0.0
    body = {
        "schema": SCHEMA,
        "qubits": n_qubits,
        "clbits": n_clbits,
        "registers": [[label, list(bits)] for label, bits in registers],
        "phase": phase + 0.0,
        "ops": ops,
    }
    try:
        text = json.dumps(body, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise ProgramRejected(_name_the_infinite(ops, name)) from error
    return Program(
        text=text,
        digest=hashlib.sha256(text.encode("ascii")).hexdigest(),
        n_qubits=n_qubits,
        n_clbits=n_clbits,
        registers=tuple(Register(label, tuple(bits)) for label, bits in registers),
        measured=last_measurements(ops),
        name=name,
    )


def last_measurements(ops: Iterable[Sequence[Any]]) -> tuple[tuple[int, int], ...]:
    """(qubit, clbit) of the last measurement into each written clbit, ascending clbit."""
    last = {op[3][0]: op[2][0] for op in ops if op[0] == "measure"}
    return tuple((last[clbit], clbit) for clbit in sorted(last))


def _name_the_infinite(ops: Sequence[Sequence[Any]], name: str) -> str:
    for place, op in enumerate(ops):
        if any(not math.isfinite(value) for value in op[1]):
            return f"program {name!r}: step {place} ({op[0]}) has a nan or infinite parameter; give finite values"
    return f"program {name!r}: the global phase is nan or infinite; give a finite value"
