"""Circuits whose only outcome tells every bit apart."""

from __future__ import annotations

from qiskit import QuantumCircuit


def flip(width: int, *ones: int) -> QuantumCircuit:
    """X on the qubits `ones`, all measured; the outcome has a 1 at these places, qubit 0 rightmost."""
    circuit = QuantumCircuit(width, width, name="flip" + "-".join(map(str, ones)))
    if ones:
        circuit.x(list(ones))
    circuit.measure(range(width), range(width))
    return circuit
