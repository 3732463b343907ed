"""Beyond a limit a person decides: a budget with the policy `ask` pauses the run, whose page then shows a form.

`qflows budgets apply budget.yaml`, then `python approval.py ionq-forte-1`. Approve in the Prefect UI (Resume), or by
`qflows budgets approve a-careful-study --run-key careful --amount 60`.
"""

from __future__ import annotations

import sys

from prefect import flow, get_run_logger
from qiskit import QuantumCircuit

import qflows
from qflows.errors import OverBudget


@flow
def careful(device: str = "ionq-forte-1", run_key: str = "careful") -> list[dict[str, int]]:
    """Two circuits on a QPU; the second is beyond the budget.

    Args:
        device: Name of a device, from `qflows devices`.
        run_key: Names the run; an approval is for this run alone.
    """
    jobs = []
    for flipped in (0, 1):
        circuit = QuantumCircuit(2, 2, name=f"flip {flipped}")
        circuit.x(flipped)
        circuit.measure(range(2), range(2))
        try:
            jobs.append(qflows.submit(circuit, device=device, shots=100, run_key=run_key))
        except OverBudget as error:  # denied, or nobody answered in time
            get_run_logger().info(f"stopped after {len(jobs)} of 2 circuits: {error}")
            break
    qflows.wait(jobs)
    return [dict(qflows.result(job).counts) for job in jobs]


if __name__ == "__main__":
    print(careful(*sys.argv[1:2]))
