"""What Qiskit's compiler may use on a device, for `transpile(circuit, backend)`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from qiskit import QuantumCircuit
from qiskit.circuit import Delay, IfElseOp, Measure, Parameter, Reset
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.transpiler import Target

from qflows.core.devices import Device
from qflows.programs import Feature

_EVERYWHERE = (
    "h", "x", "y", "z", "s", "sdg", "t", "tdg", "sx", "rx", "ry", "rz", "cx", "swap",
)  # fmt: skip
"""Gates that every vendor's wire format supports."""


@runtime_checkable
class TargetProvider(Protocol):
    """A provider that knows the gates, couplers and durations of its devices."""

    def target(self, device_id: str, options: Mapping[str, Any]) -> Target | None:
        """The device as Qiskit describes it; None if it has no description of its own. May ask the vendor."""
        ...


def target_of(device: Device, options: Mapping[str, Any]) -> Target:
    """The device's own target, otherwise its gates between any two qubits.

    `delay`, `reset` and `if_else` are included only if they are kept, so that a circuit that needs them is refused
    elsewhere.
    """
    provider = device.provider
    if isinstance(provider, TargetProvider):
        own = provider.target(device.profile.device, {**device.profile.options, **options})
        if own is not None:
            return own
    limits = device.limits
    known = get_standard_gate_name_mapping()
    made = Target(num_qubits=limits.max_qubits, description=device.profile.name)
    for name in sorted(limits.gates or _EVERYWHERE):
        if name in known and name not in ("delay", "reset", "measure"):
            made.add_instruction(known[name])
    made.add_instruction(Measure())
    takes = limits.takes or frozenset()
    if Feature.DELAY in takes:
        made.add_instruction(Delay(Parameter("t")))
    if Feature.RESET in takes and limits.mid_circuit:
        made.add_instruction(Reset())
    if Feature.FEED_FORWARD in takes and limits.mid_circuit:
        made.add_instruction(IfElseOp, name="if_else")
    return made


_NOT_GATES = frozenset({"barrier", "delay", "measure", "reset"})


def fits(circuit: QuantumCircuit, target: Target) -> bool:
    """Whether a circuit narrower than a device with couplings holds only its gates, on qubits that have them."""
    width = target.num_qubits
    if width is None or circuit.num_qubits >= width or target.build_coupling_map() is None:
        return False
    index = {bit: place for place, bit in enumerate(circuit.qubits)}
    return all(
        step.operation.name in _NOT_GATES
        or target.instruction_supported(step.operation.name, tuple(index[bit] for bit in step.qubits))
        for step in circuit.data
    )
