"""A flow of your own with `.map`: one task a circuit, results as they come in your own shape.

`python mapped_flow.py ionq-simulator`. A retry, a twin of the run or a run after a crash finds the jobs of the first.
"""

from __future__ import annotations

import sys

from prefect import flow, task, unmapped
from qiskit import QuantumCircuit

import qflows


@task
def flips(pairs: int, device: str, shots: int):
    """Buys one circuit: `pairs` pairs of X gates, which should do nothing."""
    circuit = QuantumCircuit(1, 1, name=f"{pairs} pairs of X")
    for _ in range(2 * pairs):
        circuit.x(0)
        circuit.barrier()
    circuit.measure(0, 0)
    return qflows.submit(circuit, device=device, shots=shots)


@flow
def error_per_pair(device: str = "ionq-simulator", shots: int = 1000) -> dict[int, float]:
    """How often the qubit is found flipped after pairs of X gates.

    Args:
        device: Name of a device, from `qflows devices`.
        shots: Of each of the five circuits.
    """
    lengths = [0, 1, 5, 10, 20]
    jobs = flips.map(lengths, device=unmapped(device), shots=unmapped(shots)).result()
    qflows.wait_or_suspend(jobs, detach_after=300)  # a long queue holds no process
    return {pairs: qflows.result(job).counts.get("1", 0) / shots for pairs, job in zip(lengths, jobs, strict=True)}


if __name__ == "__main__":
    print(error_per_pair(*sys.argv[1:2]))
