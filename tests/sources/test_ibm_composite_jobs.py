"""IBM, composite jobs (class IBMCompositeJob of qiskit-ibm-provider 0.x, archived 2024): a list split over many jobs.

The class is gone and its server too, so the functions named `theirs_…` show what it takes today, with the unmodified
qiskit-ibm-runtime: split, submit, collect by index, report, and run failed parts again.
"""

# the vendors' clients are not typed
# pyright: basic
from __future__ import annotations

import pytest

import qflows
from qflows.sandbox import Sandbox

from .circuits import flip

pytestmark = [pytest.mark.usefixtures("desk"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]

CIRCUITS = [flip(3, *(bit for bit in range(3) if n >> bit & 1)) for n in range(7)]
EXPECTED = [{f"{n:03b}": 50} for n in range(7)]


def theirs_long_list():
    from qiskit.transpiler import generate_preset_pass_manager
    from qiskit_ibm_runtime import QiskitRuntimeService, SamplerV2

    backend = QiskitRuntimeService().backend("ibm_manila")
    isa = generate_preset_pass_manager(optimization_level=1, backend=backend).run(CIRCUITS)
    sampler = SamplerV2(mode=backend)
    sampler.options.environment.job_tags = ["my list"]
    parts = [isa[start : start + 3] for start in range(0, len(isa), 3)]
    jobs = [sampler.run(part, shots=50) for part in parts]
    return [pub.data.c.get_counts() for job in jobs for pub in job.result()]


def ours_long_list():
    batch = qflows.batch(CIRCUITS, device="ibm-sandbox", shots=50, max_circuits=3, name="my list", run_key="long")
    return batch.result().data.get_counts()


def theirs_failed_part_again():
    from qiskit.transpiler import generate_preset_pass_manager
    from qiskit_ibm_runtime import QiskitRuntimeService, RuntimeJobFailureError, SamplerV2

    backend = QiskitRuntimeService().backend("ibm_manila")
    isa = generate_preset_pass_manager(optimization_level=1, backend=backend).run(CIRCUITS)
    sampler = SamplerV2(mode=backend)
    parts = [isa[start : start + 3] for start in range(0, len(isa), 3)]
    jobs = [sampler.run(part, shots=50) for part in parts]
    errors = {}
    for number, job in enumerate(jobs):
        try:
            job.result()
        except RuntimeJobFailureError as error:
            errors[number] = str(error)
    for number in errors:
        jobs[number] = sampler.run(parts[number], shots=50)
    counts = [pub.data.c.get_counts() for job in jobs for pub in job.result()]
    return counts, [index for number in errors for index in range(3 * number, 3 * number + len(parts[number]))]


def ours_failed_part_again():
    batch = qflows.batch(CIRCUITS, device="ibm-sandbox", shots=50, max_circuits=3, run_key="failed")
    batch.result(partial=True)
    errors = batch.errors
    batch.rerun_failed()
    return batch.result().data.get_counts(), list(errors)


def theirs_report_and_part_of_a_circuit():
    from qiskit.transpiler import generate_preset_pass_manager
    from qiskit_ibm_runtime import QiskitRuntimeService, SamplerV2

    backend = QiskitRuntimeService().backend("ibm_manila")
    isa = generate_preset_pass_manager(optimization_level=1, backend=backend).run(CIRCUITS)
    parts = [isa[start : start + 3] for start in range(0, len(isa), 3)]
    jobs = [SamplerV2(mode=backend).run(part, shots=50) for part in parts]
    for number, job in enumerate(jobs):
        job.wait_for_final_state()
        first = 3 * number
        print(number, first, first + len(parts[number]) - 1, job.job_id(), job.status())
    return jobs[4 // 3].status()


def ours_report_and_part_of_a_circuit():
    batch = qflows.batch(CIRCUITS, device="ibm-sandbox", shots=50, max_circuits=3, run_key="report")
    batch.result()
    print(batch.report())
    return batch.sub_job(4).status.value


def test_long_list(desk: Sandbox) -> None:
    assert ours_long_list() == theirs_long_list() == EXPECTED
    assert desk.admin.count_jobs() == 6


def test_failed_part_again(desk: Sandbox) -> None:
    desk.admin.fault("fail_job", "ibm.submit", skip=1)
    ours = ours_failed_part_again()
    assert desk.admin.count_jobs() == 4  # three parts, and the failed one again
    desk.admin.fault("fail_job", "ibm.submit", skip=1)
    assert ours == theirs_failed_part_again()
    assert ours == (EXPECTED, [3, 4, 5])


def test_report_and_part_of_a_circuit(capsys: pytest.CaptureFixture[str]) -> None:
    assert (ours_report_and_part_of_a_circuit(), theirs_report_and_part_of_a_circuit()) == ("COMPLETED", "DONE")
    told = capsys.readouterr().out
    assert "7 circuits in 3 parts" in told
    assert "3-5" in told or "3..5" in told or "3 to 5" in told, told
