"""What a device makes of a program, seen before anything is bought, as a program that can be bought as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qflows.core import orders
from qflows.core.devices import Device
from qflows.errors import ProgramRejected
from qflows.programs import Program
from qflows.protocol import CompilingProvider

_KEPT = ("barrier", "delay", "reset", "measure", "if_else")


@dataclass(frozen=True)
class Compiled:
    """A compiled program beside the original.

    `layout`: the device's qubit on which each measured qubit of the asked program is read. `removed`: how many
    barriers, delays, resets, measurements, branches, and gates on two qubits, are gone.
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
        took = f", {self.duration_s * 1e6:.3g} us a shot" if self.duration_s is not None else ""
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
) -> Compiled:
    """The program as `target` would run it with these options; nothing is recorded or sent.

    Submitting `Compiled.program` to the same device runs exactly it. Raises ProgramRejected where the device does not
    take the program, and for a vendor that compiles on its own side and does not say what it makes of a program.
    """
    provider = target.provider
    if not isinstance(provider, CompilingProvider):
        raise ProgramRejected(
            f"{target.profile.name} is compiled for by the vendor, who shows nothing beforehand; choose a device "
            "that is compiled for here, or a verbatim program"
        )
    wanted = shots if shots is not None or target.limits.exact else target.limits.min_shots
    (spec,) = orders.job_specs(target, source, shots=wanted, values=values, options=options, name=name)
    (asked,) = spec.programs
    made = provider.compile(spec)
    return Compiled(
        program=made,
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
