"""Compiled circuits as OpenQASM 3, for people: written here where a circuit is plain, otherwise by Qiskit's exporter.

The exporter declares all qubits of the device for each circuit, which takes longer than compiling a short one.
"""

from __future__ import annotations

from functools import lru_cache

from qiskit import QuantumCircuit
from qiskit.circuit.tools import pi_check

# of stdgates.inc; the exporter writes definitions in front for others
_PLAIN = frozenset({"x", "y", "z", "h", "s", "sdg", "t", "tdg", "sx", "id", "p", "rx", "ry", "rz", "cx", "cz", "swap"})


def as_openqasm3(circuit: QuantumCircuit) -> str | None:
    """The text, or None for a circuit that Qiskit cannot export. Qubits of a circuit that spans a device are `$i`."""
    text = _plain(circuit)
    if text is not None:
        return text
    from qiskit import qasm3

    try:
        return qasm3.dumps(circuit)
    except Exception:  # noqa: BLE001  (a record for people; no job may fail because of it)
        return None


def _plain(circuit: QuantumCircuit) -> str | None:
    """The exporter's text of a circuit with a layout, or of the same one without; None for a circuit with anything
    but gates of stdgates.inc with numbers as angles, barriers, and measurements into its only register."""
    if circuit.parameters or len(circuit.cregs) > 1 or circuit.num_vars or circuit.num_clbits != _in_registers(circuit):
        return None
    bit_names = {bit: f"{reg.name}[{i}]" for reg in circuit.cregs for i, bit in enumerate(reg)}
    names = {bit: f"${i}" for i, bit in enumerate(circuit.qubits)}
    lines = ["OPENQASM 3.0;", 'include "stdgates.inc";']
    lines += [f"bit[{reg.size}] {reg.name};" for reg in circuit.cregs]
    for step in circuit.data:
        name, on = step.name, ", ".join([names[qubit] for qubit in step.qubits])
        if name in _PLAIN and not step.clbits:
            angles = f"({', '.join(map(_angle, step.params))})" if step.params else ""
            lines.append(f"{name}{angles} {on};")
        elif name == "measure":
            lines.append(f"{bit_names[step.clbits[0]]} = measure {on};")
        elif name == "barrier":
            lines.append(f"barrier {on};")
        else:
            return None
    return "\n".join(lines) + "\n"


def _in_registers(circuit: QuantumCircuit) -> int:
    return sum(register.size for register in circuit.cregs)


@lru_cache(maxsize=4096)
def _angle(value: float) -> str:
    return str(pi_check(float(value), output="qasm"))
