"""An executor for mitiq, and for whatever else takes a function from circuits to expectation values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Unpack

from qiskit import QuantumCircuit

from qflows.core.mitigation import keeps_folding
from qflows.errors import ProgramRejected
from qflows.primitives.errors import also_qiskit
from qflows.primitives.estimator import EstimatorV2
from qflows.primitives.origin import Purchases


def mitiq_executor(
    device: str,
    observable: Any,
    *,
    shots: int | None = None,
    precision: float | None = None,
    **purchases: Unpack[Purchases],
) -> Callable[[Sequence[QuantumCircuit]], list[float]]:
    """A function from circuits to values of `observable`, for `mitiq.zne.execute_with_zne` and its like.

    `observable`: as in a PUB of `EstimatorV2`, whose other arguments these are. mitiq gives all circuits of a method at
    once, so they are one batch. Circuits carry no measurements. Gates are kept apart by barriers, so that no compiler
    undoes the folding; devices that compile without keeping them are refused. Raises ProgramRejected.
    """
    estimator = EstimatorV2(device, shots=shots, precision=precision, **{"label": "executor", **purchases})
    target = estimator._origin.target  # pyright: ignore[reportPrivateUsage]
    with also_qiskit():
        if not keeps_folding(target.provider, target.profile.device, target.limits):
            raise ProgramRejected(
                f"mitiq folds circuits, and {device} compiles without keeping barriers, which would undo it; choose a "
                "device that keeps barriers"
            )

    def run(circuits: Sequence[QuantumCircuit]) -> list[float]:
        found = estimator.run([(_fenced(circuit), observable) for circuit in circuits]).result()
        return [float(found[place].data.evs) for place in range(len(circuits))]

    run.__annotations__ = {"circuits": list, "return": list[float]}  # mitiq reads types, and batches by this one
    return run


def _fenced(circuit: QuantumCircuit) -> QuantumCircuit:
    """The circuit with a barrier after every gate, on the gate's own qubits."""
    made = circuit.copy_empty_like()
    for step in circuit.data:
        if step.operation.name == "measure":
            raise ProgramRejected(f"{circuit.name} has measurements; an expectation value needs a circuit without")
        made.append(step)
        if step.operation.name != "barrier":
            made.barrier(step.qubits)
    return made
