"""The first device that answers: a refusal or a queue that is too long leads to the next one, and never to a second bill.

`python fallback.py ionq-forte-1 ionq-simulator local-aer`. A device is given up only after its job was cancelled there,
and that was verified; a job that ended meanwhile is taken, because it is paid.
"""

from __future__ import annotations

import sys

from prefect import flow, get_run_logger
from qiskit import QuantumCircuit

import qflows
from qflows.errors import JobFailed, ProgramRejected, Refused, WaitTimeout


@flow
def first_of(devices: list[str], shots: int = 200, patience: float = 600) -> dict[str, int]:
    """Counts of a Bell pair from the first of `devices` that gives any.

    Args:
        devices: Names of devices, from `qflows devices`, the best one first.
        shots: How often to measure.
        patience: Seconds to wait for a device before the next one is asked.
    """
    bell = QuantumCircuit(2, 2, name="bell")
    bell.h(0)
    bell.cx(0, 1)
    bell.measure(range(2), range(2))
    for device in devices:
        try:
            job = qflows.submit(bell, device=device, shots=shots)
            return dict(qflows.result(job, timeout=patience).counts)
        except (ProgramRejected, Refused, JobFailed) as error:  # it does not take it, or it failed there
            get_run_logger().info(f"{device}: {error}")
        except WaitTimeout:
            [ended] = qflows.cancel([job])
            if ended.status is qflows.JobStatus.COMPLETED:
                return dict(qflows.result(ended).counts)
            get_run_logger().info(f"{device}: nothing after {patience} s; cancelled there")
    raise RuntimeError(f"none of {', '.join(devices)} gave counts; the log says why")


if __name__ == "__main__":
    print(first_of(sys.argv[1:] or ["ionq-simulator", "local-aer"]))
