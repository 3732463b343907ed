"""Delays on the clock of a device that Qiskit describes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "ps": 1e-12}


def rounded_delays(circuit: QuantumCircuit, target: Any) -> tuple[QuantumCircuit, tuple[str, ...]]:
    """Delays as multiples of the device's time step, rounded as IBM's scheduler does; and what was changed."""
    from qiskit.circuit import Delay

    dt, step = target.dt, max(int(target.granularity or 1), 1)
    if not dt or "delay" not in circuit.count_ops():
        return circuit, ()
    made, notes = circuit.copy_empty_like(), []
    for one in circuit.data:
        operation = one.operation
        if operation.name == "delay" and isinstance(operation.duration, int | float):
            scale = _SECONDS.get(operation.unit)
            wanted = operation.duration if scale is None else operation.duration * scale / dt
            kept = round(wanted / step) * step
            if abs(kept - wanted) > 1e-6 * max(1.0, abs(wanted)):
                notes.append(f"delay {operation.duration:g} {operation.unit} runs as {kept * dt * 1e9:g} ns")
            operation = Delay(kept, "dt")
        made.append(operation, one.qubits, one.clbits, copy=False)
    return made, tuple(dict.fromkeys(notes))
