"""Dynamical decoupling: pulses on idle qubits that undo slow phase errors, by Qiskit's own pass.

Two X pulses in every idle time that has room for them (Viola, Knill, Lloyd, Phys. Rev. Lett. 82, 2417 (1999)). They
need a schedule, hence a device that says how long its gates take and that keeps delays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from qflows.errors import ProgramRejected
from qflows.programs import Feature, Program, to_program
from qflows.programs.panics import run_passes
from qflows.programs.placement import compact
from qflows.programs.rebuild import placed
from qflows.protocol import JobSpec, Limits, Provider


@runtime_checkable
class ScheduledProvider(Protocol):
    """A provider that knows how long the gates of its devices take."""

    def target(self, device_id: str, options: Mapping[str, Any]) -> Any:
        """The device as Qiskit describes it; None if it has no description of its own. May ask the vendor."""
        ...


def decoupler(provider: Provider, base: JobSpec, limits: Limits) -> Callable[[Program], Program]:
    """What adds the pulses to a compiled program. Raises ProgramRejected for devices where that cannot be done."""
    target = None
    if isinstance(provider, ScheduledProvider) and Feature.DELAY in (limits.takes or ()):
        target = provider.target(base.device_id, base.options)
    if target is None or not target.dt or not _lasts(target, "x"):
        raise ProgramRejected(
            "dd: this device has no dynamical decoupling of its own, and qflows can add it only where gates have known "
            "durations and delays are kept; leave dd out, or choose a device that offers it, such as local-noisy"
        )
    return lambda program: decoupled(program, target)


def _lasts(target: Any, gate: str) -> bool:
    """True if the gate's duration is known on every qubit that has it."""
    known = target[gate] if gate in target.operation_names else {}
    return bool(known) and all(one is not None and one.duration for one in known.values())


def decoupled(program: Program, target: Any) -> Program:
    """The compiled program with delays and X pulses in its idle times; same ideal outcome.

    Gates are scheduled as late as possible. Raises ProgramRejected for programs that name none of the device's qubits,
    and for those that cannot be scheduled.
    """
    from qiskit.circuit.library import XGate
    from qiskit.exceptions import QiskitError
    from qiskit.transpiler import PassManager
    from qiskit.transpiler.passes import ALAPScheduleAnalysis, PadDynamicalDecoupling

    if program.labels is None:
        raise ProgramRejected(f"{program.name}: dd needs a program on the device's own qubits; compile it first")
    passes = PassManager(
        [ALAPScheduleAnalysis(target=target), PadDynamicalDecoupling(target=target, dd_sequence=[XGate(), XGate()])]
    )
    try:
        made = run_passes(passes, placed(program, target.num_qubits), program.name)
    except (QiskitError, ValueError, KeyError) as error:
        raise ProgramRejected(f"{program.name}: dd cannot schedule it: {str(error)[:300]}") from error
    used = set(program.labels)  # the pass pads every qubit of the device
    found = to_program(made, name=f"{program.name} decoupled")
    kept = found.rewritten([op for op in found.ops() if op[0] == "barrier" or used & set(op[2])])
    return compact(kept.rewritten(_without_others(kept.ops(), used), metadata=program.metadata, is_verbatim=True))


def _without_others(ops: list[Any], used: set[int]) -> list[Any]:
    """Barriers on the program's own qubits only."""
    found = []
    for op in ops:
        if op[0] == "barrier":
            on = [qubit for qubit in op[2] if qubit in used]
            if on:
                found.append([op[0], op[1], on, *op[3:]])
            continue
        found.append(op)
    return found
