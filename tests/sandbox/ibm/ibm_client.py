"""What the tests of the real IBM client share: primitives without their deprecation warnings, and small circuits."""

from __future__ import annotations

import warnings
from typing import Any

import qiskit_ibm_runtime as runtime
from qiskit import QuantumCircuit, transpile

SUBMIT = "ibm.submit"


def sampler(mode: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return runtime.SamplerV2(mode=mode, options=options)


def estimator(mode: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return runtime.EstimatorV2(mode=mode, options=options)


def isa(circuit: QuantumCircuit, backend: Any) -> QuantumCircuit:
    return transpile(circuit, backend, optimization_level=1, seed_transpiler=1)


def flip(n_qubits: int, *flipped: int) -> QuantumCircuit:
    circuit = QuantumCircuit(n_qubits)
    for qubit in flipped:
        circuit.x(qubit)
    circuit.measure_all()
    return circuit


def bell() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    return circuit


def bell_measured() -> QuantumCircuit:
    circuit = bell()
    circuit.measure_all()
    return circuit
