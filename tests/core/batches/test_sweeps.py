"""Sweeps with shapes: the same input gives the same shaped result on every vendor, whatever jobs it becomes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import SparsePauliOp, Statevector

from qflows.core.batches.batch import Batch
from qflows.core.client import Client
from qflows.core.scope import Scope
from qflows.errors import JobFailed, ProgramRejected
from qflows.sandbox import Sandbox
from qflows.settings import Settings

A, B = Parameter("a"), Parameter("b")
VALUES = np.array([[[a, b] for b in (0.0, 2.0, 3.0)] for a in (0.1, 1.2)])  # shape (2, 3, parameters)
VENDORS = ("ibm", "ionq", "braket")
DEVICES = ("local-exact", "local-aer", "ibm-sandbox", "ionq-simulator", "braket-sv1")


@pytest.fixture(scope="module")
def vendors() -> Iterator[Sandbox]:
    with Sandbox(vendors=VENDORS) as running:
        yield running


@pytest.fixture
def admin(vendors: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Any:
    vendors.admin.reset()
    vendors.admin.switches("ibm", noise=False)
    for name, value in vendors.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    return vendors.admin


@pytest.fixture
def core(admin: Any, tmp_path: Path) -> Iterator[Client]:
    made = Client(Settings(home=tmp_path, settle_s=0.3, poll_min_s=0.01))
    yield made
    made.ledger.close()


def ansatz(*, measured: bool) -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2) if measured else QuantumCircuit(2)
    circuit.ry(A, 0)
    circuit.cx(0, 1)
    circuit.rx(B, 1)
    if measured:
        circuit.measure([0, 1], [0, 1])
    return circuit


def state(a: float, b: float) -> Statevector:
    return Statevector(ansatz(measured=False).assign_parameters({A: a, B: b}))


def swept(core: Client, device: str, shots: int | None, **arguments: Any) -> Batch:
    sources = arguments.pop("sources", (ansatz(measured="observables" not in arguments), VALUES))
    planned = core.plan_batch(sources, device=device, shots=shots, **arguments)
    made = core.create_batch(planned, device=device, scope=Scope("sweep", "a", "t"))
    core.submit_batch(made)
    return made


def shots_on(device: str) -> int | None:
    return None if device == "local-exact" else 2000


@pytest.mark.parametrize("device", DEVICES)
def test_counts_come_in_the_shape_of_the_sweep(core: Client, device: str) -> None:
    result = swept(core, device, shots_on(device)).result(timeout=60)
    assert result.shape == result.grid.shape == (2, 3)
    assert result.num_circuits == 6
    for place in np.ndindex(2, 3):
        item = result.grid[place]
        assert item is result.results[np.ravel_multi_index(place, (2, 3))]
        exact = state(*VALUES[place]).probabilities_dict()
        found = item.probabilities or item.counts.probabilities()
        off = sum(abs(exact.get(key, 0) - found.get(key, 0)) for key in exact | found) / 2
        assert off < (1e-9 if device == "local-exact" else 0.06)


OBSERVABLES = ["ZI", SparsePauliOp(["XX", "IZ"], [0.5, -1.0])]


def exact_values() -> np.ndarray:
    """Shape (2, 3, 2): points by observables."""
    pairs = [SparsePauliOp("ZI"), OBSERVABLES[1]]
    return np.array([[[state(*point).expectation_value(o).real for o in pairs] for point in row] for row in VALUES])


@pytest.mark.parametrize("device", DEVICES)
def test_expectation_values_and_errors_come_in_the_shape_that_points_and_observables_broadcast_to(
    core: Client, device: str
) -> None:
    sources = (ansatz(measured=False), VALUES[:, :, None, :])
    result = swept(core, device, shots_on(device), sources=sources, observables=OBSERVABLES).result(timeout=60)
    assert result.expectation_values.shape == result.standard_errors.shape == (2, 3, 2)
    off = np.abs(result.expectation_values - exact_values())
    assert np.all(off <= 5 * result.standard_errors + (1e-9 if device == "local-exact" else 0.005))
    assert np.all(result.standard_errors < 0.05)
    if device != "local-exact":
        assert result.standard_errors.max() > 0.005


def test_one_observable_keeps_the_shape_of_the_points(core: Client) -> None:
    result = swept(core, "local-exact", None, observables="ZI").result()
    assert np.allclose(result.expectation_values, exact_values()[..., 0])


def test_points_and_observables_of_one_shape_are_paired(core: Client) -> None:
    sources = (ansatz(measured=False), VALUES[0, :2])
    result = swept(core, "local-exact", None, sources=sources, observables=OBSERVABLES).result()
    assert np.allclose(result.expectation_values, np.diag(exact_values()[0, :2]))


def test_a_list_of_circuits_may_have_observables_too(core: Client) -> None:
    circuits = [ansatz(measured=False).assign_parameters(dict(zip((A, B), point, strict=True))) for point in VALUES[0]]
    result = swept(core, "local-aer", 4000, sources=circuits, observables="ZI").result()
    assert result.expectation_values.shape == (3,)
    assert np.all(np.abs(result.expectation_values - exact_values()[0, :, 0]) < 0.1)


def test_values_by_parameter_and_a_single_parameter_are_taken(core: Client) -> None:
    by_name = swept(core, "local-exact", None, sources=(ansatz(measured=False), {A: VALUES[..., 0], B: VALUES[..., 1]}),
                    observables="ZI")  # fmt: skip
    assert np.allclose(by_name.result().expectation_values, exact_values()[..., 0])
    flip = QuantumCircuit(1)
    flip.rx(A, 0)
    angles = np.linspace(0, math.pi, 5)
    result = swept(core, "local-exact", None, sources=(flip, angles), observables="Z").result()
    assert np.allclose(result.expectation_values, np.cos(angles))


@pytest.mark.parametrize(
    ("device", "vendor", "jobs"),
    [("ibm-sandbox", "ibm", 1), ("ionq-simulator", "ionq", 1), ("braket-sv1", "braket", 6)],
)
def test_points_travel_in_as_few_jobs_as_the_vendor_can(
    core: Client, admin: Any, device: str, vendor: str, jobs: int
) -> None:
    swept(core, device, 100).result(timeout=60)
    assert admin.count_jobs(vendor) == jobs
    if vendor == "ibm":
        [job] = admin.jobs("ibm")
        assert len(admin.job(job["id"])["request"]["params"]["pubs"]) == 1


@pytest.mark.parametrize("observables", [None, "ZI"])
def test_a_replay_adopts_and_another_process_reads_the_shape(core: Client, admin: Any, observables: Any) -> None:
    arguments = {} if observables is None else {"observables": observables}
    first = swept(core, "ionq-simulator", 100, **arguments)
    mine = first.result(timeout=60)
    bought = admin.count_jobs("ionq")
    planned = core.plan_batch((ansatz(measured=observables is None), VALUES), device="ionq-simulator", shots=100,
                              **arguments)  # fmt: skip
    again = core.create_batch(planned, device="ionq-simulator", scope=Scope("sweep", "second attempt", "t"))
    assert again.id == first.id
    core.submit_batch(again)
    theirs = Client(core.settings).batch(first.id).result(timeout=5)
    assert theirs.shape == (2, 3)
    assert [item and item.counts for item in theirs.results] == [item and item.counts for item in mine.results]
    if observables is not None:
        assert np.array_equal(theirs.expectation_values, mine.expectation_values)
    assert admin.count_jobs("ionq") == bought


def test_other_observables_are_other_work_though_the_circuits_are_the_same(core: Client) -> None:
    one = swept(core, "local-exact", None, observables=SparsePauliOp("ZI", 1.0))
    two = swept(core, "local-exact", None, observables=SparsePauliOp("ZI", 2.0))
    assert one.id != two.id
    assert np.allclose(2 * one.result().expectation_values, two.result().expectation_values)


def test_a_hole_is_nan_and_is_bought_again_alone(core: Client, admin: Any) -> None:
    admin.fault("fail_job", "ionq.submit", code="InternalError", message="boom")
    batch = swept(core, "ionq-simulator", 500, observables="ZI", max_circuits=2)
    with pytest.raises(JobFailed):
        batch.result(timeout=60)
    partial = batch.result(timeout=60, partial=True)
    # the vendor fails the first job that reaches it; jobs are sent side by side
    missing = np.flatnonzero(np.isnan(partial.expectation_values)).tolist()
    assert missing in ([0, 1], [2, 3], [4, 5])
    assert sorted(partial.errors) == missing
    batch.rerun_failed()
    whole = batch.result(timeout=60)
    assert np.all(np.abs(whole.expectation_values - exact_values()[..., 0]) < 0.25)
    assert admin.count_jobs("ionq") == 4


BAD: list[tuple[Any, Any, str]] = [
    ((ansatz(measured=True), np.zeros((3, 5))), None, "last axis"),
    ((ansatz(measured=True), np.zeros((0, 2))), None, "1 to"),
    ((ansatz(measured=True), np.full((2, 2), np.nan)), None, "nan"),
    ((ansatz(measured=True), np.array([["x", "y"]])), None, "values"),
    ((ansatz(measured=True), np.full((2, 2), 1 + 1j)), None, "imaginary part"),
    ((ansatz(measured=False), np.zeros((3, 2))), ["ZI", "IZ"], "do not broadcast"),
    ((ansatz(measured=False), np.zeros((3, 2))), [["ZI", "IZ"], ["XX"]], "different lengths"),
    ((ansatz(measured=False), np.zeros((3, 2))), [], "empty"),
    ([], None, "at least one"),
    ("text", None, "where a list is expected"),
]


@pytest.mark.parametrize(("sources", "observables", "said"), BAD, ids=[said for _, _, said in BAD])
def test_what_is_no_sweep_is_refused_before_anything_is_recorded(
    core: Client, sources: Any, observables: Any, said: str
) -> None:
    with pytest.raises(ProgramRejected, match=said):
        core.plan_batch(sources, device="local-aer", shots=10, observables=observables)
