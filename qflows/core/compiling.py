"""What a device compiles a program to, shown before anything is bought, as a program that can be bought unchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from qflows.core import orders
from qflows.core.compile_choice import choose
from qflows.core.devices import Device
from qflows.errors import ProgramRejected
from qflows.ledger import reads
from qflows.ledger.store import Ledger
from qflows.model import Job
from qflows.programs import Program
from qflows.programs.gates import NATIVE, STANDARD
from qflows.programs.notes import ASKED, with_asked
from qflows.protocol import CompilingProvider
from qflows.states import JobStatus

_KEPT = ("barrier", "delay", "reset", "measure", "if_else")


@dataclass(frozen=True)
class Compiled:
    """A compiled program together with the original.

    `layout`: the device qubit on which each measured qubit of the original program is read. `removed`: the number of
    barriers, delays, resets, measurements, branches and two-qubit gates that were removed.
    """

    program: Program
    asked: Program
    device: str
    depth: int
    two_qubit_gates: int
    duration_s: float | None
    layout: Mapping[int, int]
    removed: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        took = f", {self.duration_s * 1e6:.3g} us per shot" if self.duration_s is not None else ""
        gone = ", ".join(f"{n} {name}" for name, n in self.removed.items())
        return (
            f"{self.asked.name} on {self.device}: depth {self.asked.depth} -> {self.depth}, two-qubit gates "
            f"{self.asked.n_two_qubit} -> {self.two_qubit_gates}{took}, qubits {dict(self.layout)}"
            + (f"; removed: {gone}" if gone else "")
        )


def compile_program(
    target: Device,
    source: Any,
    *,
    values: Any = None,
    shots: int | None = None,
    options: Mapping[str, Any] | None = None,
    name: str | None = None,
    compile: Any = None,
    physical_qubits: Sequence[int] | None = None,
) -> Compiled:
    """The program as `target` would run it with these options; nothing is recorded or sent.

    `compile` and `physical_qubits`: see `compile_choice.choose`. Where the vendor compiles by default, this is the
    output of Qiskit's level 2 in the device's native gates. Submitting `Compiled.program` to the same device runs
    exactly that. Raises ProgramRejected if the device does not take the program, and for a vendor that compiles on its
    own side without reporting the result.
    """
    provider = target.provider
    if not isinstance(provider, CompilingProvider):
        raise ProgramRejected(
            f"circuits for {target.profile.name} are compiled by the vendor, which shows "
            "nothing in advance; choose a device that qflows compiles for, or use a verbatim program"
        )
    wanted = shots if shots is not None or target.limits.exact else target.limits.min_shots
    spec = orders.asked_for(target, source, shots=wanted, values=values, options=options, name=name)
    (asked,) = spec.programs
    choice = choose(target, spec.options, compile=compile, physical_qubits=physical_qubits)
    made = choice.shown(asked, wanted)
    return Compiled(
        program=replace(made, name=asked.name, metadata=with_asked(asked.metadata, asked)),
        asked=asked,
        device=target.profile.name,
        depth=made.depth,
        two_qubit_gates=made.n_two_qubit,
        duration_s=provider.duration_s(spec.device_id, spec.options, made),
        layout=_layout(asked, made),
        removed=_removed(asked, made),
    )


def _layout(asked: Program, made: Program) -> dict[int, int]:
    places = made.labels or range(made.n_qubits)
    read_on = {clbit: places[qubit] for qubit, clbit in made.measured}
    return {qubit: read_on[clbit] for qubit, clbit in asked.measured if clbit in read_on}


def _removed(asked: Program, made: Program) -> dict[str, int]:
    before, after = asked.gate_counts(), made.gate_counts()
    lost = {name: before.get(name, 0) - after.get(name, 0) for name in _KEPT}
    lost["two-qubit gates"] = asked.n_two_qubit - made.n_two_qubit
    return {name: n for name, n in lost.items() if n > 0}


class Size(NamedTuple):
    """The size of a circuit. `qubits`: the device's own, as text, if known."""

    two_qubit_gates: int
    depth: int
    qubits: str = ""


CompiledRow = tuple[str, Size, Size]  # name, asked, ran


def compiled_rows(ledger: Ledger, jobs: Sequence[Job], *, most: int = 200) -> list[CompiledRow]:
    """What was asked for and what ran, for each circuit of finished jobs whose vendor reports it.

    At most `most` circuits, so that a page about a long sweep does not read them all.
    """
    rows: list[CompiledRow] = []
    for job in jobs:
        if len(rows) >= most:
            break
        if job.status is not JobStatus.COMPLETED:
            continue
        programs = reads.spec_of(ledger, job.key).programs
        for program, item in zip(programs, reads.items(ledger, job.key), strict=False):
            ran = _ran(program, item.metadata.get("compiled"))
            if ran is not None:
                rows.append((program.name, _asked(program), ran))
    return rows[:most]


def _asked(program: Program) -> Size:
    note = program.metadata.get(ASKED)
    if (
        isinstance(note, Mapping)
        and isinstance(note.get("two_qubit_gates"), int)
        and isinstance(note.get("depth"), int)
    ):
        return Size(note["two_qubit_gates"], note["depth"])
    return Size(program.n_two_qubit, program.depth)


def _ran(program: Program, told: Any) -> Size | None:
    """Size from the adapter's note of what it compiled, otherwise of the program itself if it ran as written."""
    if isinstance(told, Mapping) and isinstance(told.get("gates"), Mapping) and isinstance(told.get("depth"), int):
        two = sum(n for name, n in told["gates"].items() if (STANDARD.get(name) or NATIVE.get(name, (0,)))[0] == 2)
        return Size(two, told["depth"], _spelled(told.get("layout")))
    if program.is_verbatim or ASKED in program.metadata:
        return Size(program.n_two_qubit, program.depth, _spelled(program.labels))
    return None


def _spelled(qubits: Any) -> str:
    return ", ".join(str(one) for one in qubits[:12]) if isinstance(qubits, list | tuple) else ""
