"""The estimator: exact values, error bars, shapes, and a loop that is bought once."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Parameter
from qiskit.circuit.library import efficient_su2
from qiskit.exceptions import QiskitError
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import Pauli, SparsePauliOp
from scipy import optimize

from qflows.core.client import Client
from qflows.core.scope import script_scope
from qflows.primitives import EstimatorV2, job
from qflows.primitives.estimator import shots_for
from qflows.sandbox import Sandbox

OPERATOR = SparsePauliOp.from_list([("ZI", 0.5), ("XX", 0.4), ("II", -0.25)])


def turned() -> QuantumCircuit:
    circuit = QuantumCircuit(2, metadata={"n": 2})
    circuit.rx(Parameter("x"), 0)
    circuit.ry(Parameter("y"), 1)
    circuit.cx(0, 1)
    return circuit


def pubs() -> list:
    values = np.linspace(0, 3, 8).reshape(4, 2)
    return [
        (turned(), [[OPERATOR], [Pauli("XY")], [{"ZZ": 1.0, "II": 2.0}]], values),
        (turned(), OPERATOR, values[0]),
        (turned(), ["ZZ", "II", "1+", "rl"], values[1]),
    ]


def test_exact_values_are_those_of_qiskit_s_own_estimator(core: Client) -> None:
    ours = EstimatorV2("local-exact", run_key="r", client=core).run(pubs()).result()
    theirs = StatevectorEstimator().run(pubs()[:2]).result()
    assert ours.metadata == theirs.metadata
    for mine, other in zip(list(ours)[:2], theirs, strict=True):
        assert mine.data.shape == other.data.shape
        np.testing.assert_allclose(mine.data.evs, other.data.evs, atol=1e-12)
        assert not mine.data.stds.any()
        assert mine.metadata == other.metadata
    assert ours[2].data.evs[1] == pytest.approx(1.0)


@pytest.mark.parametrize("device", ["local-aer", "local-exact"])
def test_with_a_precision_values_are_sampled_with_error_bars(core: Client, device: str) -> None:
    exact = EstimatorV2("local-exact", run_key="e", client=core).run(pubs()).result()
    found = EstimatorV2(device, precision=0.02, run_key="r", client=core).run(pubs()).result()
    for mine, other in zip(found, exact, strict=True):
        assert mine.data.evs.shape == other.data.evs.shape
        assert np.all(np.abs(mine.data.evs - other.data.evs) <= 6 * mine.data.stds + 1e-12)
        assert np.all(mine.data.stds < 0.03)
    assert found[0].data.stds.any()
    assert found[0].metadata == {"target_precision": 0.02, "shots": 2500, "circuit_metadata": {"n": 2}}


def test_shots_are_what_the_precision_asks_for_and_no_more() -> None:
    assert all(shots_for(1 / math.sqrt(n)) == n for n in [*range(1, 5000), 8192, 99_999, 100_000])
    assert (shots_for(0.03), shots_for(1.0), shots_for(2.0)) == (1112, 1, 1)


def test_precisions_of_pubs_and_calls_and_the_shots_of_the_estimator(core: Client) -> None:
    estimator = EstimatorV2("local-aer", shots=1000, run_key="r", client=core)
    circuit, values = turned(), [0.1, 0.2]
    assert estimator.default_precision == 1 / math.sqrt(1000)
    listed = [(circuit, "ZZ", values), (circuit, "ZZ", values, 0.1)]
    assert [pub.metadata["shots"] for pub in estimator.run(listed).result()] == [1000, 100]
    assert [pub.metadata["shots"] for pub in estimator.run(listed, precision=0.2).result()] == [25, 100]
    assert EstimatorV2("local-aer", run_key="r", client=core).default_precision == 1 / 64
    with pytest.raises(ValueError, match="not both"):
        EstimatorV2("local-aer", shots=3, precision=0.1, run_key="r", client=core)


def test_constants_and_empty_arrays_are_not_bought(core: Client, count_jobs: Callable[[], int]) -> None:
    estimator = EstimatorV2("local-aer", run_key="r", client=core)
    listed = [(turned(), {"II": 3.0}, [0, 0]), (turned(), "ZZ", np.zeros((0, 2)))]
    call = estimator.run(listed)
    found = call.result()
    assert (found[0].data.evs, found[0].data.stds) == (3.0, 0.0)
    assert found[0].data.evs.shape == ()
    assert found[1].data.evs.shape == (0,)
    assert len(estimator.run([]).result()) == 0
    assert call.done()
    assert pickle.loads(pickle.dumps(call)).result()[0].data.evs == 3.0
    assert count_jobs() == 0


def test_rejections_are_qiskit_errors(core: Client, count_jobs: Callable[[], int]) -> None:
    estimator = EstimatorV2("local-aer", run_key="r", client=core)
    with pytest.raises(QiskitError, match="PUB 0: precision 0 means exact values"):
        estimator.run([(turned(), "ZZ", [0, 0])], precision=0.0)
    wide = QuantumCircuit(13)
    with pytest.raises(QiskitError, match="8192 Pauli strings"):
        estimator.run([(wide, "0" * 13)])
    assert count_jobs() == 0


def test_all_circuits_of_a_call_are_one_job(core: Client, count_jobs: Callable[[], int]) -> None:
    call = EstimatorV2("local-aer", shots=100, run_key="r", client=core).run(pubs())
    mine = call.result()
    assert count_jobs() == 1
    again = job(call.job_id(), client=core).result()
    assert [pub.data.evs.tolist() for pub in again] == [pub.data.evs.tolist() for pub in mine]
    assert [pub.metadata["shots"] for pub in again] == [100] * 3


def test_calls_from_threads_buy_each_their_own(core: Client, count_jobs: Callable[[], int]) -> None:
    estimator = EstimatorV2("local-aer", shots=50, run_key="r", client=core)
    with ThreadPoolExecutor(4) as pool:
        calls = list(pool.map(lambda angle: estimator.run([(turned(), "ZZ", [angle, 0])]), [0.1, 0.1, 0.2, 0.3]))
    assert len({call.job_id() for call in calls}) == 4 == count_jobs()


def loop(client: Client, stop: int = 100) -> list[float]:
    """A variational loop as algorithm libraries write it; dies after `stop` evaluations."""
    ansatz = efficient_su2(2, reps=1)
    estimator = EstimatorV2("local-aer", shots=400, run_key="vqe", client=client)
    energies: list[float] = []

    def energy(point: np.ndarray) -> float:
        if len(energies) == stop:
            raise KeyboardInterrupt
        energies.append(float(estimator.run([(ansatz, OPERATOR, point)]).result()[0].data.evs))
        return energies[-1]

    start = np.random.default_rng(7).uniform(-1, 1, ansatz.num_parameters)
    optimize.minimize(energy, start, method="COBYLA", options={"maxiter": 12})
    return energies


def test_a_loop_that_died_goes_on_where_it_was(
    core: Client, new_client: Callable[[], Client], count_jobs: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        loop(core, stop=5)
    assert count_jobs() == 5
    monkeypatch.setattr("qflows.core.scope._PROCESS_ATTEMPT", "second")
    whole = loop(new_client())
    assert count_jobs() == len(whole) == 12
    monkeypatch.setattr("qflows.core.scope._PROCESS_ATTEMPT", "third")
    assert loop(new_client()) == whole
    assert count_jobs() == 12


def test_the_emulated_ionq_estimates_in_one_job(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, core: Client
) -> None:
    for name, value in sandbox.env.items():
        monkeypatch.setenv(name, value)
    call = EstimatorV2("ionq-simulator", shots=2000, run_key="r", client=core).run(
        [(turned(), [OPERATOR, "XY"], [1, 2])]
    )
    found, exact = call.result()[0].data, StatevectorEstimator().run([(turned(), [OPERATOR, "XY"], [1, 2])]).result()[0]
    assert np.all(np.abs(found.evs - exact.data.evs) <= 6 * found.stds)
    assert sandbox.admin.count_jobs("ionq") == 1


def reset_and_turned() -> QuantumCircuit:
    """Qubit 1 has Z = cos(0.7); qubit 0 was reset, and has Z = cos(0.4), X = sin(0.4)."""
    circuit = QuantumCircuit(2)
    circuit.ry(0.7, 0)
    circuit.cx(0, 1)
    circuit.reset(0)
    circuit.ry(0.4, 0)
    return circuit


def fed_forward() -> QuantumCircuit:
    """Qubit 1 is turned by 0.9 if qubit 0, turned by 0.7, was read as 1; then a Hadamard on qubit 0."""
    circuit = QuantumCircuit(QuantumRegister(2), ClassicalRegister(1, "m"), ClassicalRegister(1, "earlier"))
    circuit.ry(0.7, 0)
    circuit.measure(0, 1)
    with circuit.if_test((circuit.clbits[1], 1)):
        circuit.ry(0.9, 1)
    circuit.h(0)
    circuit.measure([0, 1], [0, 0])  # final ones are replaced, as in any other circuit
    return circuit


ONE = np.sin(0.35) ** 2
DYNAMIC = [
    (reset_and_turned, {"IZ": np.cos(0.4), "IX": np.sin(0.4), "ZI": np.cos(0.7), "ZZ": np.cos(0.4) * np.cos(0.7)}),
    (fed_forward, {"IX": np.cos(0.7), "IZ": 0, "ZI": 1 - ONE + ONE * np.cos(0.9), "XI": ONE * np.sin(0.9)}),
]


@pytest.mark.parametrize(("make", "known"), DYNAMIC)
def test_circuits_that_go_on_after_measuring_are_estimated_where_the_device_takes_them(
    core: Client, count_jobs: Callable[[], int], make: Callable[[], QuantumCircuit], known: dict[str, float]
) -> None:
    exact = EstimatorV2("local-exact", run_key="r", client=core)
    with pytest.raises(QiskitError, match="the device does not take .* local-aer can"):
        exact.run([(make(), list(known))])
    assert count_jobs() == 0
    found = EstimatorV2("local-aer", shots=20_000, run_key="r", client=core).run([(make(), list(known))]).result()
    np.testing.assert_array_less(np.abs(found[0].data.evs - list(known.values())), 5 * found[0].data.stds)
    assert np.all(found[0].data.stds < 0.01)
    run = core.run(make(), script_scope("r"), device="local-aer", shots=20_000, observables=list(known))
    np.testing.assert_allclose([one.value for one in run.expectations], list(known.values()), atol=0.04)
    assert count_jobs() == 2
