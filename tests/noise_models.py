"""Noise models made by Aer's own functions from an IBM snapshot, for comparison with what our devices do."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from qiskit.quantum_info import SuperOp, average_gate_fidelity
from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

SNAPSHOT = FakeManilaV2()  # of local-noisy and of ibm-sandbox


def calibrated(entry: str, qubit: int) -> float:
    found: Any = SNAPSHOT.properties()
    return float(found.qubit_property(qubit)[entry][0])


def as_calibrated(gates: Callable[[str, tuple[int, ...], float], Any]) -> NoiseModel:
    """The snapshot's readout errors, and on each gate what `gates` makes of its error."""
    model = NoiseModel()
    target: Any = SNAPSHOT.target
    for name in ("x", "sx", "cx"):
        for qubits, told in target[name].items():
            model.add_quantum_error(gates(name, qubits, told.error), name, list(qubits), warnings=False)
    for qubit in range(SNAPSHOT.num_qubits):
        missed, invented = calibrated("prob_meas0_prep1", qubit), calibrated("prob_meas1_prep0", qubit)
        model.add_readout_error(ReadoutError([[1 - invented, invented], [missed, 1 - missed]]), [qubit])
    return model


def depolarised(name: str, qubits: tuple[int, ...], error: float) -> Any:
    """What the sandbox says it does: a depolarizing channel whose average infidelity is the calibrated error."""
    size = 2 ** len(qubits)
    return depolarizing_error(error * size / (size - 1), len(qubits))


@cache
def by_aer_itself() -> NoiseModel:
    """Aer's own model of the snapshot, whose readout has the mean of both errors: replaced."""
    model = NoiseModel.from_backend(SNAPSHOT, readout_error=False)
    for qubit in range(SNAPSHOT.num_qubits):
        missed, invented = calibrated("prob_meas0_prep1", qubit), calibrated("prob_meas1_prep0", qubit)
        model.add_readout_error(ReadoutError([[1 - invented, invented], [missed, 1 - missed]]), [qubit])
    return model


def infidelity(model: NoiseModel, gate: str, qubit: int) -> float:
    """Average gate infidelity of the errors that a model puts after a gate of one qubit.

    In Aer's own models it is not the calibrated error: relaxation during the gate comes first, and where that alone is
    worse than the calibrated error (qubit 3: 2.51e-4 for 2.12e-4), it is the whole error.
    """
    found: Any = model
    return 1 - float(average_gate_fidelity(SuperOp(found._local_quantum_errors[gate][(qubit,)])))
