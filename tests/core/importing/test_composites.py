"""Jobs of several programs, sweeps and expectation values by the vendors' own clients."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from buyers import SHOTS, SV1, asymmetric
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import Parameter
from qiskit.quantum_info import SparsePauliOp

from qflows.core.client import Client
from qflows.model import Result

pytestmark = pytest.mark.filterwarnings("ignore:Transpiler default optimization_level")


def imported(core: Client, vendor: str, vendor_id: str) -> Result:
    found = core.import_jobs(vendor, ids=[vendor_id])
    assert found.left_out == {}
    [job] = found.jobs
    return core.stored([job])


def primitive(kind: str, backend: Any) -> Any:
    import qiskit_ibm_runtime as runtime

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return getattr(runtime, kind)(mode=backend)


@pytest.fixture
def backend(core: Client) -> Any:
    import qiskit_ibm_runtime as runtime

    return runtime.QiskitRuntimeService().backend("ibm_manila")


def test_ibm_sweep_and_second_pub_become_programs_in_order(core: Client, backend: Any) -> None:
    theta, last = Parameter("a"), Parameter("b")
    sweep = QuantumCircuit(3, 3)
    sweep.rx(theta, 0)
    sweep.rx(last, 2)
    sweep.measure(range(3), range(3))
    isa = transpile(sweep, backend, optimization_level=1, seed_transpiler=1)
    other, key = asymmetric(1)
    pi = 3.141592653589793
    values = [[[0, 0], [pi, 0]], [[0, pi], [pi, pi]]]
    pubs = [(isa, values), transpile(other, backend, optimization_level=1, seed_transpiler=1)]
    result = imported(core, "ibm", primitive("SamplerV2", backend).run(pubs, shots=SHOTS).job_id())
    expected = [{"000": SHOTS}, {"001": SHOTS}, {"100": SHOTS}, {"101": SHOTS}, {key: SHOTS}]
    assert [dict(item.counts or {}) for item in result.items] == expected


def test_ibm_expectation_values_are_those_that_the_client_shows(core: Client, backend: Any) -> None:
    theta = Parameter("t")
    circuit = QuantumCircuit(2)
    circuit.ry(theta, 0)
    circuit.cx(0, 1)
    isa = transpile(circuit, backend, optimization_level=1, seed_transpiler=1)
    observables = [
        [SparsePauliOp("ZZ").apply_layout(isa.layout)],
        [SparsePauliOp.from_list([("ZI", 1.0), ("IX", 0.5)]).apply_layout(isa.layout)],
    ]
    job = primitive("EstimatorV2", backend).run([(isa, observables, [[0.1], [0.7], [1.9]])])
    shown = job.result()[0].data.evs  # 2 observables, 3 values
    result = imported(core, "ibm", job.job_id())
    read = [[one.value for one in item.expectations or ()] for item in result.items]
    assert read == [list(column) for column in shown.T]


def test_ibm_private_job_is_left_to_its_owner(core: Client, backend: Any) -> None:
    sampler = primitive("SamplerV2", backend)
    sampler.options.environment.private = True
    circuit, _ = asymmetric(0)
    job = sampler.run([transpile(circuit, backend, optimization_level=1)], shots=SHOTS)
    found = core.import_jobs("ibm", ids=[job.job_id()])
    assert "private" in found.left_out[job.job_id()]
    assert len(job.result()) == 1  # the one time that it can be read


def test_ionq_list_of_circuits_keeps_its_order(core: Client) -> None:
    from qiskit_ionq import IonQProvider

    circuits = [asymmetric(index) for index in range(4)]
    backend = IonQProvider().get_backend("ionq_simulator")
    job = backend.run([circuit for circuit, _ in circuits], shots=SHOTS)
    result = imported(core, "ionq", job.job_id())
    assert [dict(item.counts or {}) for item in result.items] == [{key: SHOTS} for _, key in circuits]


def test_ionq_counts_are_those_that_its_client_drew(core: Client) -> None:
    from qiskit_ionq import IonQProvider

    circuit = QuantumCircuit(2, 2)
    circuit.ry(0.8, 0)
    circuit.ry(1.7, 1)
    circuit.measure([0, 1], [1, 0])
    job = IonQProvider().get_backend("ionq_simulator").run(circuit, shots=SHOTS, sampler_seed=11)
    assert dict(imported(core, "ionq", job.job_id()).counts) == job.result().get_counts()


def test_qbraid_batch_keeps_its_order(core: Client) -> None:
    from qbraid.runtime import QbraidProvider

    circuits = [asymmetric(index) for index in range(3)]
    device: Any = QbraidProvider().get_device("qbraid:equal1:sim:bell-1")
    job = device.run([circuit for circuit, _ in circuits], shots=SHOTS, as_batch=True)
    result = imported(core, "qbraid", job.id)
    assert [dict(item.counts or {}) for item in result.items] == [{key: SHOTS} for _, key in circuits]


def test_braket_qubits_measured_in_any_order_are_read_in_place(core: Client) -> None:
    from braket.aws import AwsDevice
    from braket.circuits import Circuit

    circuit = Circuit().i(0).i(1).x(2).measure([2, 0, 1])
    result = imported(core, "braket", AwsDevice(SV1).run(circuit, shots=SHOTS).id)
    # qubit 2 is bit 0, 0 is bit 1, 1 is bit 2
    assert dict(result.counts) == {"001": SHOTS}
