"""What a user of Qiskit may write by mistake: answered by a QiskitError that says what to write, before a purchase."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister, transpile
from qiskit.exceptions import QiskitError

from qflows.core.client import Client
from qflows.errors import ProgramRejected, UnknownDevice, UnknownJob
from qflows.primitives import Backend, EstimatorV2, SamplerV2, job

GIVEN: dict[str, Any] = {"run_key": "r"}
ALL = (SamplerV2, EstimatorV2, Backend)


def one_in(register: str) -> QuantumCircuit:
    circuit = QuantumCircuit(QuantumRegister(1, "q"), ClassicalRegister(1, register))
    circuit.x(0)
    circuit.measure(0, 0)
    return circuit


@pytest.mark.parametrize("name", ["shape", "values", "keys", "items", "size", "ndim", "self", "_data"])
def test_register_that_results_cannot_show_is_refused_before_it_is_bought(
    core: Client, count_jobs: Callable[[], int], name: str
) -> None:
    sampler = SamplerV2("local-aer", client=core, **GIVEN)
    with pytest.raises(QiskitError, match=f"PUB 1: .* a register named '{name}'; rename it"):
        sampler.run([one_in("c"), one_in(name)])
    assert count_jobs() == 0
    counts = Backend("local-aer", client=core, **GIVEN).run(one_in(name), shots=5).result().get_counts()
    assert counts == {"1": 5}  # a backend's results name no registers


@pytest.mark.parametrize("name", ["class", "1x", "a b", "é", "data", "meas"])
def test_register_of_any_other_name_is_read_by_it(core: Client, name: str) -> None:
    found = SamplerV2("local-aer", shots=5, client=core, **GIVEN).run([one_in(name)]).result()[0]
    assert found.data[name].get_counts() == {"1": 5}


@pytest.mark.parametrize(
    ("make", "given", "said"),
    [
        (SamplerV2, {"shotz": 3}, "SamplerV2 has no argument 'shotz'; did you mean shots?"),
        (EstimatorV2, {"precission": 0.1}, "EstimatorV2 has no argument 'precission'; did you mean precision?"),
        (Backend, {"runkey": "a"}, "Backend has no argument 'runkey'; did you mean run_key?"),
        (SamplerV2, {"on_change": "explode"}, "on_change is one of 'warn', 'raise', 'ignore', not 'explode'"),
        *((make, {"shots": 0}, "shots must be a whole number of at least 1, not 0") for make in ALL),
        *((make, {"shots": 1.5}, "shots must be a whole number, not 1.5") for make in ALL),
        *((make, {"shots": "7"}, "shots must be a whole number, not '7'") for make in ALL),
        (SamplerV2, {"shots": None}, "shots must be a whole number of at least 1, not None"),
        (EstimatorV2, {"precision": -1}, "precision is a standard error, a finite number of at least 0, not -1"),
        (EstimatorV2, {"precision": float("nan")}, "precision is a standard error, .*, not nan"),
        (EstimatorV2, {"precision": "0.1"}, "precision is a standard error, .*, not '0.1'"),
        (EstimatorV2, {"precision": 0.1, "shots": 100}, "give precision or shots, not both"),
    ],
)
def test_constructors_refuse_what_they_cannot_use(core: Client, make: Any, given: dict[str, Any], said: str) -> None:
    for kind in (QiskitError, ProgramRejected):
        with pytest.raises(kind, match=said):
            make("local-aer", client=core, **GIVEN | given)


@pytest.mark.parametrize("make", ALL)
def test_misspelled_device_is_answered_by_the_constructor(core: Client, make: Any) -> None:
    with pytest.raises(UnknownDevice, match="did you mean local-aer"):
        make("local-aerr", client=core, **GIVEN)


@pytest.mark.parametrize("precision", [float("nan"), float("inf")])
def test_precision_of_a_pub_is_finite(core: Client, count_jobs: Callable[[], int], precision: float) -> None:
    estimator = EstimatorV2("local-aer", client=core, **GIVEN)
    with pytest.raises(QiskitError, match="PUB 1: precision is a standard error"):
        estimator.run([(QuantumCircuit(1), "Z"), (QuantumCircuit(1), "Z", None, precision)])
    assert count_jobs() == 0


@pytest.mark.parametrize(
    ("run_input", "shots", "said"),
    [
        (one_in("c"), 10.5, "shots must be a whole number, not 10.5"),
        (one_in("c"), "10", "shots must be a whole number, not '10'"),
        (one_in("c"), 0, "shots must be a whole number of at least 1, not 0"),
        (None, 10, "a backend runs a QuantumCircuit or a list of them, not NoneType None"),
        (3, 10, "a backend runs a QuantumCircuit or a list of them, not int 3"),
        ("bell", 10, "a backend runs a QuantumCircuit or a list of them, not str 'bell'"),
        ([one_in("c"), "OPENQASM 2.0;"], 10, "circuit 1 is str 'OPENQASM 2.0;'; a backend runs Qiskit's circuits"),
    ],
)
def test_backend_refuses_what_is_no_run(
    core: Client, count_jobs: Callable[[], int], run_input: Any, shots: Any, said: str
) -> None:
    with pytest.raises(QiskitError, match=said):
        Backend("local-aer", client=core, **GIVEN).run(run_input, shots=shots)
    assert count_jobs() == 0


def test_backend_takes_shots_from_numpy(core: Client) -> None:
    backend = Backend("local-aer", client=core, **GIVEN)
    assert backend.run(one_in("c"), shots=np.int64(7)).result().get_counts() == {"1": 7}


def test_compiler_may_use_feed_forward_where_the_device_takes_it(core: Client) -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.x(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    circuit.measure(1, 1)
    backend = Backend("local-aer", client=core, **GIVEN)
    assert backend.run(transpile(circuit, backend), shots=9).result().get_counts() == {"11": 9}
    with pytest.raises(QiskitError):
        transpile(circuit, Backend("local-exact", client=core, **GIVEN))


@pytest.mark.parametrize("wrong", [None, 3, ["a"]])
def test_id_of_a_job_is_text(core: Client, wrong: Any) -> None:
    with pytest.raises(UnknownJob, match=r"expected the id of a batch"):
        job(wrong, client=core)
