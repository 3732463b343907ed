"""IBM's batch mode around the parts of a batch: closed when they were sent, and no trap for those that come late."""

from __future__ import annotations

import pytest
from qiskit import QuantumCircuit

from qflows.core.batches.batch import Batch
from qflows.core.client import Client
from qflows.core.scope import Scope
from qflows.sandbox import Sandbox
from qflows.states import JobStatus

DEVICE = "ibm-sandbox"


def prepares(value: int) -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    for bit in range(2):
        if value >> bit & 1:
            circuit.x(bit)
    circuit.measure(range(2), range(2))
    return circuit


def batch_of(core: Client, n: int) -> Batch:
    """One circuit a part."""
    planned = core.plan_batch([prepares(v) for v in range(n)], device=DEVICE, shots=20, max_circuits=1)
    return core.create_batch(planned, device=DEVICE, scope=Scope("r", "a", "f"), name="b")


@pytest.mark.parametrize("fault", ["drop_before", "drop_after"])
def test_part_whose_answer_was_lost_comes_to_its_end_after_the_batch_mode_was_closed(
    core: Client, ibm: Sandbox, fault: str
) -> None:
    batch = batch_of(core, 3)
    ibm.admin.fault(fault, "ibm.submit", skip=1)
    core.submit_batch(batch)
    assert sorted(job.status for job in batch.sub_jobs()).count(JobStatus.IN_DOUBT) == 1
    assert batch.wait(30) is JobStatus.COMPLETED
    assert batch.stored().data.get_counts() == [{format(v, "02b"): 20} for v in range(3)]
    assert ibm.admin.count_jobs("ibm") == 3


def test_hole_of_a_batch_is_bought_again_outside_the_closed_batch_mode(core: Client, ibm: Sandbox) -> None:
    batch = batch_of(core, 3)
    ibm.admin.fault("fail_job", "ibm.submit", skip=1, code="1234", message="broken")
    core.submit_batch(batch)
    assert batch.wait(30) is JobStatus.FAILED
    assert len(batch.rerun_failed()) == 1
    assert batch.wait(30) is JobStatus.COMPLETED
    assert ibm.admin.count_jobs("ibm") == 4
