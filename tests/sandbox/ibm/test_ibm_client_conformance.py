"""The unmodified qiskit-ibm-runtime client over HTTP, by environment alone: discovery and the four primitives."""

from __future__ import annotations

import numpy as np
import pytest
from ibm_client import SUBMIT, bell, bell_measured, estimator, flip, isa, sampler
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Parameter
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime import QiskitRuntimeService
from qiskit_ibm_runtime.exceptions import IBMInputValueError
from qiskit_ibm_runtime.executor_estimator import Estimator as ExecutorEstimator
from qiskit_ibm_runtime.executor_sampler import Sampler as ExecutorSampler

US_EAST = {
    "ibm_fez",
    "ibm_marrakesh",
    "ibm_kingston",
    "ibm_pittsburgh",
    "ibm_boston",
    "ibm_miami",
    "ibm_phoenix",
    "ibm_manila",
}

# -- connecting ------------------------------------------------------------------------------------------------------


def test_service_finds_its_instance_and_devices_by_environment_alone(service):
    assert {backend.name for backend in service.backends()} == US_EAST
    assert service.active_instance().startswith("crn:v1:bluemix:public:quantum-computing:us-east")
    assert [instance["plan"] for instance in service.instances()] == ["pay-as-you-go", "pay-as-you-go", "open"]
    assert service.usage()["usage_remaining_seconds"] > 0


@pytest.mark.parametrize("instance", ["sandbox", "sandbox-eu", "sandbox-open", "auto"])
def test_instance_by_name_or_automatically(ibm, instance):
    assert QiskitRuntimeService(instance=instance).backends()


def test_loopback_resolver_of_the_public_constructor_works_too(ibm):
    service = QiskitRuntimeService(
        channel="ibm_quantum_platform",
        token="t",
        instance=ibm.env["QISKIT_IBM_INSTANCE"],
        url_resolver=lambda url, instance, private, channel: f"{ibm.url}/api/v1",
    )
    assert service.backend("ibm_fez").num_qubits == 156


def test_search_in_pages_and_unknown_instance(ibm):
    with pytest.raises(IBMInputValueError):
        QiskitRuntimeService(instance="crn:v1:bluemix:public:quantum-computing:us-east:a/9:9::")


@pytest.mark.parametrize(
    ("name", "n_qubits", "entangler"),
    [("ibm_manila", 5, "cx"), ("ibm_kingston", 156, "cz"), ("ibm_phoenix", 120, "cz")],
)
def test_device_has_its_snapshot_as_target(service, name, n_qubits, entangler):
    backend = service.backend(name)
    assert backend.num_qubits == backend.target.num_qubits == n_qubits
    assert entangler in backend.target.operation_names
    assert 0 < backend.properties().readout_error(1) < 0.5
    assert backend.target.qubit_properties[0].t1 > 1e-6
    status = backend.status()
    assert (status.operational, status.status_msg, status.pending_jobs) == (True, "active", 0)


def test_least_busy_avoids_the_device_with_a_queue(ibm, service):
    ibm.admin.clock("frozen")
    for name in US_EAST - {"ibm_manila"}:
        backend = service.backend(name)
        sampler(backend).run([isa(flip(1), backend)], shots=1)
    assert QiskitRuntimeService().least_busy().name == "ibm_manila"


# -- sampler ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("flipped", "expected"), [((0,), "001"), ((1,), "010"), ((2,), "100"), ((0, 2), "101")])
def test_one_flipped_qubit_is_read_at_its_own_place(quiet, backend, flipped, expected):
    result = sampler(backend).run([isa(flip(3, *flipped), backend)], shots=20).result()
    assert result[0].data.meas.get_counts() == {expected: 20}


def test_registers_are_separate_fields_with_their_own_bits(quiet, backend):
    low, high = ClassicalRegister(1, "low"), ClassicalRegister(10, "high")
    circuit = QuantumCircuit(QuantumRegister(3, "q"), low, high)
    circuit.x([0, 1])
    circuit.measure([2, 0, 1], [low[0], high[0], high[9]])
    data = sampler(backend).run([isa(circuit, backend)], shots=8).result()[0].data
    assert data.low.get_counts() == {"0": 8}
    assert data.high.get_counts() == {"1000000001": 8}
    assert data.high.array.shape == (8, 2)


def test_sweep_keeps_its_shape_and_order(quiet, backend):
    angle = Parameter("a")
    circuit = QuantumCircuit(1)
    circuit.rx(angle, 0)
    circuit.measure_all()
    values = np.array([[0, np.pi], [np.pi, 0], [0, 0]])
    job = sampler(backend).run([(isa(circuit, backend), values[..., None])], shots=50)
    meas = job.result()[0].data.meas
    assert meas.shape == (3, 2)
    ones = np.array([[meas[i, j].get_counts().get("1", 0) for j in range(2)] for i in range(3)])
    assert (ones == np.where(values > 1, 50, 0)).all()


def test_several_pubs_with_own_shots(quiet, backend):
    pubs = [(isa(flip(1), backend), None, 10), (isa(flip(2, 1), backend), None, 20)]
    result = sampler(backend).run(pubs).result()
    assert [pub.data.meas.num_shots for pub in result] == [10, 20]
    assert result[1].data.meas.get_counts() == {"10": 20}
    assert len(result.metadata["execution"]["execution_spans"]) == 2


def test_noise_of_the_snapshot_shows_on_a_wide_device(service):
    backend = service.backend("ibm_fez")
    circuit = bell()
    circuit.measure_all()
    counts = sampler(backend).run([isa(circuit, backend)], shots=4000).result()[0].data.meas.get_counts()
    wrong = sum(counts.get(key, 0) for key in ("01", "10")) / 4000
    assert 0.001 < wrong < 0.2


def test_circuit_with_reset_and_condition_runs(quiet, backend):
    circuit = QuantumCircuit(2, 2)
    circuit.x(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    circuit.reset(0)
    circuit.measure(1, 1)
    counts = sampler(backend).run([isa(circuit, backend)], shots=9).result()[0].data.c.get_counts()
    assert counts == {"11": 9}


def test_circuit_that_is_not_isa_is_refused_by_the_client(ibm, backend):
    with pytest.raises(IBMInputValueError):
        sampler(backend).run([bell_measured()], shots=1)
    assert ibm.admin.requests(SUBMIT) == 0


# -- estimator and executor ------------------------------------------------------------------------------------------


def test_estimator_broadcasts_observables_over_parameters(quiet, backend):
    angle = Parameter("a")
    circuit = QuantumCircuit(2)
    circuit.ry(angle, 0)
    compiled = isa(circuit, backend)
    observables = [[SparsePauliOp(label).apply_layout(compiled.layout)] for label in ("IZ", "IX", "ZI")]
    values = np.array([0.0, np.pi / 2])[:, None]
    data = estimator(backend).run([(compiled, observables, values)], precision=0.02).result()[0].data
    assert data.evs.shape == data.stds.shape == (3, 2)
    expected = np.array([[1, 0], [0, 1], [1, 1]])
    assert np.all(np.abs(data.evs - expected) <= 5 * data.stds + 1e-9)
    assert np.all(data.stds <= 0.0201)


def test_executor_sampler_agrees_with_the_server_side_one(quiet, backend):
    result = ExecutorSampler(mode=backend).run([isa(flip(3, 2), backend)], shots=30).result()
    assert result[0].data.meas.get_counts() == {"100": 30}


def test_executor_sampler_with_twirling_undoes_the_flips(quiet, backend):
    twirled = ExecutorSampler(mode=backend)
    twirled.options.twirling.enable_gates = True
    twirled.options.twirling.enable_measure = True
    result = twirled.run([isa(flip(3, 0), backend)], shots=64).result()
    assert result[0].data.meas.get_counts() == {"001": 64}


def test_executor_sampler_takes_a_sweep(quiet, backend):
    angle = Parameter("a")
    circuit = QuantumCircuit(1)
    circuit.rx(angle, 0)
    circuit.measure_all()
    pub = (isa(circuit, backend), [[0.0], [np.pi], [0.0]])
    meas = ExecutorSampler(mode=backend).run([pub], shots=16).result()[0].data.meas
    assert [meas[i].get_counts() for i in range(3)] == [{"0": 16}, {"1": 16}, {"0": 16}]


def test_executor_estimator_gives_the_value_of_a_bell_pair(quiet, backend):
    compiled = isa(bell(), backend)
    zz = SparsePauliOp(["ZZ", "XX", "ZI"]).apply_layout(compiled.layout)
    result = ExecutorEstimator(mode=backend).run([(compiled, zz)], precision=0.03).result()
    assert float(result[0].data.evs) == pytest.approx(2.0, abs=0.15)


def test_dry_run_goes_to_the_mock_twin_and_costs_nothing(ibm, service, backend):
    job = sampler(backend).run([isa(flip(2), backend)], shots=100, dry_run=True)
    counts = job.result()[0].data.meas.get_counts()
    assert len(counts) == 4
    assert job.backend().name == "mock_manila"
