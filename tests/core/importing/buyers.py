"""The unmodified clients of four vendors, submitting circuits whose only outcome tells every bit apart."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister, transpile

os.environ["QBRAID_CONFIG_FILE"] = os.devnull  # the client reads the name when it is imported; the file beats all else

VENDORS = ("ibm", "braket", "ionq", "qbraid")
DEVICES = {"ibm": "ibm-sandbox", "braket": "braket-sv1", "ionq": "ionq-simulator", "qbraid": "qbraid-qir-sv"}
SV1 = "arn:aws:braket:::device/quantum-simulator/amazon/sv1"
SHOTS = 100


@dataclass(frozen=True)
class Sent:
    """A job that a vendor's client has submitted, and what it must show: one key for all shots."""

    vendor_id: str
    key: str


def asymmetric(index: int) -> tuple[QuantumCircuit, str]:
    """A circuit whose only outcome tells every bit apart, and that outcome in our bit order.

    Odd ones read their qubits into two registers, crosswise.
    """
    width = 3 + index % 3
    flipped = [qubit for qubit in range(width) if ((index * 5 + 1) % (2**width - 1) + 1) >> qubit & 1]
    if index % 2 == 0:
        circuit = QuantumCircuit(width, width, name=f"even{index}")
        circuit.x(flipped)
        circuit.measure(range(width), range(width))
        return circuit, "".join("1" if qubit in flipped else "0" for qubit in reversed(range(width)))
    low, high = ClassicalRegister(1, "low"), ClassicalRegister(width - 1, "high")
    circuit = QuantumCircuit(QuantumRegister(width, "q"), low, high, name=f"odd{index}")
    circuit.x(flipped)
    circuit.measure(width - 1, low[0])
    for bit in range(width - 1):
        circuit.measure(bit, high[bit])
    upper = "".join("1" if bit in flipped else "0" for bit in reversed(range(width - 1)))
    return circuit, f"{upper} {'1' if width - 1 in flipped else '0'}"


def by_ibm(circuits: Sequence[tuple[QuantumCircuit, str]]) -> list[Sent]:
    import qiskit_ibm_runtime as runtime

    backend = runtime.QiskitRuntimeService().backend("ibm_manila")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        sampler = runtime.SamplerV2(mode=backend)
    sampler.options.environment.job_tags = ["study=h2", "plain"]
    sent = []
    for circuit, key in circuits:
        isa = transpile(circuit, backend, optimization_level=1, seed_transpiler=1)
        sent.append(Sent(sampler.run([isa], shots=SHOTS).job_id(), key))
    return sent


def by_braket(circuits: Sequence[tuple[QuantumCircuit, str]]) -> list[Sent]:
    from braket.aws import AwsDevice
    from braket.circuits import Circuit

    device = AwsDevice(SV1)
    sent = []
    for circuit, _ in circuits:
        made = Circuit()
        flipped = [circuit.find_bit(step.qubits[0]).index for step in circuit.data if step.operation.name == "x"]
        for qubit in range(circuit.num_qubits):
            (made.x if qubit in flipped else made.i)(qubit)
        key = "".join("1" if qubit in flipped else "0" for qubit in reversed(range(circuit.num_qubits)))
        sent.append(Sent(device.run(made, shots=SHOTS, tags={"study": "h2"}).id, key))
    return sent


def by_ionq(circuits: Sequence[tuple[QuantumCircuit, str]]) -> list[Sent]:
    from qiskit_ionq import IonQProvider

    backend = IonQProvider().get_backend("ionq_simulator")
    return [
        Sent(backend.run(circuit, shots=SHOTS, extra_metadata={"study": "h2"}).job_id(), key)
        for circuit, key in circuits
    ]


def by_qbraid(circuits: Sequence[tuple[QuantumCircuit, str]]) -> list[Sent]:
    from qbraid.runtime import QbraidProvider

    device: Any = QbraidProvider().get_device("qbraid:equal1:sim:bell-1")
    return [Sent(device.run(circuit, shots=SHOTS, tags={"study": "h2"}).id, key) for circuit, key in circuits]


CLIENTS: dict[str, Callable[[Sequence[tuple[QuantumCircuit, str]]], list[Sent]]] = {
    "ibm": by_ibm,
    "braket": by_braket,
    "ionq": by_ionq,
    "qbraid": by_qbraid,
}
