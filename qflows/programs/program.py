"""The canonical program: a JSON text that says exactly what runs, and the digest that names it.

Text, schema "qflows.program/1": one JSON object with the keys, in this order,
`schema`, `qubits`, `clbits` (counts), `registers` ([[name, [clbit of bit 0, bit 1, ...]], ...]), `phase` (global phase
in radians, 0 <= phase < 2 pi) and `ops`: [name, parameters, qubits, clbits] in circuit order, radians as JSON numbers
in the shortest form that reads back exactly, -0.0 written 0.0. Special names: `measure`, `reset`;
`delay` with a fifth item, its unit; `unitary` with the matrix row by row as re, im, re, im, ...,
qubits[0] least significant; `opaque:<name>` for a gate known by name only.
The text has no spaces and is ASCII, so equal content means equal bytes.

Schema "qflows.program/2" is written for a program that needs any of the following, and for no other, so that digests
of all others are those of schema 1:
`barrier`, its qubits ascending; `reset` of a qubit that nothing has touched; a gate of `gates.NATIVE`;
`if_else` as [name, [], qubits, clbits, [[clbit, ...], value], steps, steps], where the first steps run while the
clbits (ascending, first least significant) hold the value, and the second otherwise;
a key `labels` before `ops`: program qubit i is the device's own qubit `labels[i]`, ascending;
a key `verbatim` (true) after `labels`: the program runs as it is written.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from qflows.errors import ProgramRejected
from qflows.programs import analysis
from qflows.programs.features import Feature
from qflows.programs.gates import NATIVE
from qflows.programs.steps import NOT_GATES, Instruction, Register, read_steps, walk, walk_ops

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

__all__ = ["NOT_GATES", "SCHEMA", "SCHEMA_2", "Instruction", "Program", "Register", "seal"]

SCHEMA = "qflows.program/1"
SCHEMA_2 = "qflows.program/2"
TWO_PI = 2 * math.pi
_V = TypeVar("_V")
_NEW = frozenset({"barrier", "if_else", *NATIVE})


@dataclass(frozen=True)
class Program:
    """A circuit with its values, in canonical form. Two programs are equal when their texts are; the name is a label.

    `measured` holds, per clbit that is written at all, the last measurement into it as (qubit, clbit), ascending clbit;
    a clbit that is absent there is never measured and must not be invented in a result.
    `labels`: where the program names the device's own qubits, the number of each of its qubits, ascending; else None.
    `is_verbatim`: it runs as it is written, without compiling. `metadata` are the caller's notes, plain JSON values;
    like the name they are no part of the identity.
    Build one with `to_program` or `Program.from_text`.
    """

    text: str = field(repr=False)
    digest: str
    n_qubits: int = field(compare=False)
    n_clbits: int = field(compare=False)
    registers: tuple[Register, ...] = field(compare=False, repr=False)
    measured: tuple[tuple[int, int], ...] = field(compare=False, repr=False)
    name: str = field(default="program", compare=False)
    labels: tuple[int, ...] | None = field(default=None, compare=False, repr=False)
    is_verbatim: bool = field(default=False, compare=False, repr=False)
    metadata: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @staticmethod
    def from_text(text: str, name: str = "program", metadata: Mapping[str, Any] | None = None) -> Program:
        """Program of a stored text. Raises ProgramRejected unless the text is exactly canonical."""
        from qflows.programs.validate import read_text

        return read_text(text, name, metadata or {})

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """The steps in circuit order."""
        return _instructions(self.text)

    @property
    def is_physical(self) -> bool:
        """True if the program names the device's own qubits, so that it is not placed again."""
        return self.labels is not None

    @cached_property
    def features(self) -> frozenset[Feature]:
        """What the program holds beyond gates and final measurements.

        A barrier counts if it stands between two steps, not in front of the measurements alone; a reset counts unless
        nothing has touched its qubit, which is |0> already; a second measurement of a qubit counts if something
        happened to it since the first.
        """
        return _shared(
            analysis.features_of(self.instructions, is_physical=self.is_physical, is_verbatim=self.is_verbatim)
        )

    @property
    def has_mid_circuit(self) -> bool:
        """True if the program resets a used qubit, continues after a measurement, or depends on measured bits."""
        return not self.features.isdisjoint(analysis.DYNAMIC)

    @property
    def measured_qubits(self) -> tuple[int, ...]:
        """The qubits of `measured`, each once, in the order of the first clbit they are read into."""
        return tuple(dict.fromkeys(qubit for qubit, _ in self.measured))

    @property
    def global_phase(self) -> float:
        """Global phase in radians, 0 <= phase < 2 pi."""
        return float(json.loads(self.text)["phase"])

    def ops(self) -> list[Any]:
        """The steps as fresh lists in the schema's form, for `rewritten`."""
        return json.loads(self.text)["ops"]

    def gate_counts(self) -> dict[str, int]:
        """How often each name occurs, steps that are no gates and those in branches included, in alphabetical order."""
        return dict(sorted(Counter(step.name for step in walk(self.instructions)).items()))

    @property
    def n_two_qubit(self) -> int:
        """Number of gates on exactly two qubits, those in branches included."""
        return sum(len(step.qubits) == 2 and step.name not in NOT_GATES for step in walk(self.instructions))

    @property
    def depth(self) -> int:
        """Longest chain of gates, measurements and resets that share a qubit or clbit.

        A barrier makes its qubits wait for each other; delays do not count; a branch counts as its longer side.
        """
        return _depth(self.instructions)

    def circuit(self) -> QuantumCircuit:
        """A fresh qiskit circuit that does what the text says; the caller may change it.

        Its qubits are the program's, also where they have labels; `rebuild.placed` puts them on a device.
        Always rebuilt from the text, never the user's object, so that a replay in another process compiles the same.
        """
        made = _rebuilt(self).copy(name=self.name)
        made.metadata = dict(self.metadata)  # the cached one may be of an equal program with other notes
        return made

    def rewritten(self, ops: Sequence[Sequence[Any]], **changes: Any) -> Program:
        """The program with other steps; `changes` as `seal` takes them, everything else stays."""
        kept: dict[str, Any] = {
            "n_qubits": self.n_qubits,
            "n_clbits": self.n_clbits,
            "registers": [(register.name, register.bits) for register in self.registers],
            "phase": self.global_phase,
            "name": self.name,
            "labels": self.labels,
            "is_verbatim": self.is_verbatim,
            "metadata": self.metadata,
        }
        return seal(ops=ops, **{**kept, **changes})

    def __reduce__(self) -> tuple[Any, ...]:
        # caches stay behind: a program crosses process borders with every task
        fields = (self.text, self.digest, self.n_qubits, self.n_clbits, self.registers, self.measured, self.name)
        return Program, (*fields, self.labels, self.is_verbatim, self.metadata)


@lru_cache(maxsize=256)
def _shared(value: _V) -> _V:
    """The same object for equal values: the circuits of a list measure alike, and 20,000 such tuples are 30 MB."""
    return value


# kept for the latest programs only: kept with each of 20,000 programs, steps and circuits were 1 GB
@lru_cache(maxsize=32)
def _instructions(text: str) -> tuple[Instruction, ...]:
    return read_steps(json.loads(text)["ops"])


@lru_cache(maxsize=32)
def _rebuilt(program: Program) -> QuantumCircuit:
    from qflows.programs.rebuild import build_circuit

    return build_circuit(program)


def _depth(steps: Iterable[Instruction]) -> int:
    level: dict[tuple[str, int], int] = {}
    for step in steps:
        if step.name == "delay":
            continue
        own = 0 if step.name == "barrier" else 1
        if step.name == "if_else":
            own = max(_depth(step.then), _depth(step.otherwise))
        wires = [("q", q) for q in step.qubits] + [("c", c) for c in step.clbits]
        reached = own + max((level.get(wire, 0) for wire in wires), default=0)
        level.update(dict.fromkeys(wires, reached))
    return max(level.values(), default=0)


def seal(
    *,
    n_qubits: int,
    n_clbits: int,
    registers: Sequence[tuple[str, Sequence[int]]],
    phase: float,
    ops: Sequence[Sequence[Any]],
    name: str,
    labels: Sequence[int] | None = None,
    is_verbatim: bool = False,
    metadata: Mapping[str, Any] | None = None,
) -> Program:
    """Write the text and the digest. `ops` as in the schema, every parameter a float.

    Raises ProgramRejected for a parameter or phase that is not finite.
    """
    phase = phase % TWO_PI if math.isfinite(phase) else phase
    if phase >= TWO_PI:  # a tiny negative phase rounds up to 2 pi, which would not read back as itself
        phase = 0.0
    needs_new = labels is not None or is_verbatim or _needs_new(ops)
    body = {
        "schema": SCHEMA_2 if needs_new else SCHEMA,
        "qubits": n_qubits,
        "clbits": n_clbits,
        "registers": [[label, list(bits)] for label, bits in registers],
        "phase": phase + 0.0,
    }
    body |= {"labels": list(labels)} if labels is not None else {}
    body |= {"verbatim": True} if is_verbatim else {}
    body["ops"] = ops
    try:
        text = json.dumps(body, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise ProgramRejected(_name_the_infinite(ops, name)) from error
    return Program(
        text=text,
        digest=hashlib.sha256(text.encode("ascii")).hexdigest(),
        n_qubits=n_qubits,
        n_clbits=n_clbits,
        registers=_shared(tuple(Register(label, tuple(bits)) for label, bits in registers)),
        measured=_shared(last_measurements(ops)),
        name=name,
        labels=tuple(labels) if labels is not None else None,
        is_verbatim=is_verbatim,
        metadata=metadata or {},
    )


def _needs_new(ops: Sequence[Sequence[Any]]) -> bool:
    names = {op[0] for op in ops}
    return not names.isdisjoint(_NEW) or ("reset" in names and bool(analysis.leading_resets(ops)))


def last_measurements(ops: Iterable[Sequence[Any]]) -> tuple[tuple[int, int], ...]:
    """(qubit, clbit) of the last measurement into each written clbit, ascending clbit."""
    last = {op[3][0]: op[2][0] for op in walk_ops(ops) if op[0] == "measure"}
    return tuple((last[clbit], clbit) for clbit in sorted(last))


def _name_the_infinite(ops: Sequence[Sequence[Any]], name: str) -> str:
    for place, op in enumerate(walk_ops(ops)):
        if any(not math.isfinite(value) for value in op[1]):
            return f"program {name!r}: step {place} ({op[0]}) has a nan or infinite parameter; give finite values"
    return f"program {name!r}: the global phase is nan or infinite; give a finite value"
