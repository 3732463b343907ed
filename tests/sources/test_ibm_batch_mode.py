"""IBM Quantum, "Run jobs in a batch" (quantum.cloud.ibm.com/docs/guides/run-jobs-batch, read 2026-11).

The functions named `theirs_…` use the unmodified qiskit-ibm-runtime.
"""

# the vendors' clients are not typed
# pyright: basic
from __future__ import annotations

import pytest

import qflows
from qflows.sandbox import Sandbox

from .circuits import flip

pytestmark = [pytest.mark.usefixtures("desk"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]

CIRCUITS = [flip(3, *(bit for bit in range(3) if n >> bit & 1)) for n in range(8)]
EXPECTED = [{f"{n:03b}": 50} for n in range(8)]


def theirs_partition_in_a_batch():
    from qiskit.transpiler import generate_preset_pass_manager
    from qiskit_ibm_runtime import Batch, QiskitRuntimeService, SamplerV2

    backend = QiskitRuntimeService().backend("ibm_manila")
    isa = generate_preset_pass_manager(optimization_level=1, backend=backend).run(CIRCUITS)
    parts = [isa[start : start + 4] for start in range(0, len(isa), 4)]
    with Batch(backend=backend, max_time="25m") as batch:
        sampler = SamplerV2(mode=batch)
        jobs = [sampler.run(part, shots=50) for part in parts]
    return [pub.data.c.get_counts() for job in jobs for pub in job.result()]


def ours_partition_in_a_batch():
    batch = qflows.batch(CIRCUITS, device="ibm-sandbox", shots=50, max_circuits=4, max_time="25m", run_key="partition")
    return batch.result().data.get_counts()


def theirs_details_of_a_batch():
    from qiskit.transpiler import generate_preset_pass_manager
    from qiskit_ibm_runtime import Batch, QiskitRuntimeService, SamplerV2

    backend = QiskitRuntimeService().backend("ibm_manila")
    isa = generate_preset_pass_manager(optimization_level=1, backend=backend).run(CIRCUITS[:2])
    batch = Batch(backend=backend, max_time="25m")
    job = SamplerV2(mode=batch).run(isa, shots=50)
    batch.close()
    job.result()
    details = batch.details()
    return details["mode"], details["max_time"], details["state"]


def ours_details_of_a_batch():
    batch = qflows.batch(CIRCUITS[:2], device="ibm-sandbox", shots=50, max_time="25m", run_key="details")
    batch.result()
    details = batch.mode_details()
    return details.mode, details.max_time_s, details.state


def theirs_least_busy_and_error_bars():
    from qiskit.quantum_info import SparsePauliOp
    from qiskit.transpiler import generate_preset_pass_manager
    from qiskit_ibm_runtime import Batch, EstimatorV2, QiskitRuntimeService

    backend = QiskitRuntimeService().least_busy(operational=True, min_num_qubits=2)
    circuit = flip(2, 0).remove_final_measurements(inplace=False)
    isa = generate_preset_pass_manager(optimization_level=1, backend=backend).run(circuit)
    with Batch(backend=backend) as batch:
        job = EstimatorV2(mode=batch).run([(isa, SparsePauliOp("ZZ").apply_layout(isa.layout))])
    data = job.result()[0].data
    return round(float(data.evs), 1), float(data.stds) >= 0


def ours_least_busy_and_error_bars():
    circuit = flip(2, 0).remove_final_measurements(inplace=False)
    found = qflows.run(circuit, device="least_busy(ibm-sandbox)", shots=1000, observables=[("ZZ", 1.0)], run_key="busy")
    return round(found.expectation.value, 1), found.expectation.std_error >= 0


def test_partition_in_a_batch(desk: Sandbox) -> None:
    assert ours_partition_in_a_batch() == theirs_partition_in_a_batch() == EXPECTED
    assert desk.admin.count_jobs() == 4


def test_details_of_a_batch() -> None:
    assert ours_details_of_a_batch() == theirs_details_of_a_batch() == ("batch", 1500, "closed")


def test_least_busy_and_error_bars() -> None:
    assert ours_least_busy_and_error_bars() == theirs_least_busy_and_error_bars() == (-1.0, True)
