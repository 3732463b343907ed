"""IBM's validation of a job's circuits, after it was accepted: gates and qubit pairs that the device has.

Codes are those seen on real jobs; each costs 2 seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qflows.sandbox.errors import WorkError
from qflows.sandbox.ibm import catalog

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

ALWAYS = frozenset({"measure", "barrier", "delay"})


def check(circuit: QuantumCircuit, backend: str) -> None:
    """Raise WorkError for what the device does not have."""
    device = catalog.configuration(backend)
    if circuit.num_qubits > device["n_qubits"]:
        raise WorkError(catalog.NOT_ISA, f"{circuit.num_qubits} qubits; the device has {device['n_qubits']}")
    known = {*device["basis_gates"], *device["supported_instructions"], *ALWAYS}
    pairs = {tuple(pair) for pair in device["coupling_map"]}
    _walk(circuit, tuple(range(circuit.num_qubits)), known, pairs)


def _walk(circuit: QuantumCircuit, places: tuple[int, ...], known: set[str], pairs: set[tuple[int, ...]]) -> None:
    index = {qubit: places[i] for i, qubit in enumerate(circuit.qubits)}
    for step in circuit.data:
        name, on = step.operation.name, tuple(index[q] for q in step.qubits)
        is_pair = len(on) == 2 and name in ("cx", "cz", "ecr", "rzz")
        if name not in known or (is_pair and on not in pairs and on[::-1] not in pairs):
            raise WorkError(catalog.NOT_ISA, f"The instruction {name} on qubits {on} is not supported by the target")
        for block in getattr(step.operation, "blocks", ()):
            _walk(block, on, known, pairs)
