"""The VQE loop on local devices: what it reports, what it refuses, what it takes from the caller."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import SparsePauliOp, Statevector
from scipy import optimize

from qflows.algorithms.gradients import shift_rule
from qflows.algorithms.problems import ansatz, problem
from qflows.algorithms.vqe import VqeResult, solve, to_problem
from qflows.characterization.history import keep_energy
from qflows.core.client import Client
from qflows.core.scope import Scope
from qflows.errors import ProgramRejected
from qflows.ledger import measurements, points
from qflows.settings import Settings

OPERATOR = SparsePauliOp.from_list([("ZI", 0.5), ("XX", 0.4)])


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Client]:
    made = Client(Settings(home=tmp_path / "home", poll_min_s=0.001))
    yield made
    made.ledger.close()


def life(run_key: str, attempt: str = "1") -> Scope:
    return Scope(run_key, attempt, "test")


def jobs(core: Client) -> int:
    with core.ledger.read() as connection:
        return int(connection.execute(sa.text("select count(*) from jobs")).scalar_one())


def loop(core: Client, key: str = "r", source: Any = "h2-0.735", attempt: str = "1", **more: Any) -> VqeResult:
    arguments: dict[str, Any] = {"device": "local-aer", "shots": 200, "optimizer": "COBYLA", "max_evaluations": 8}
    return solve(core, life(key, attempt), to_problem(source), **(arguments | more))


@pytest.mark.parametrize("method", ["COBYLA", "SPSA", "Nelder-Mead", "Powell", "COBYQA"])
def test_energy_with_shots_is_a_sample_of_its_own_at_the_end_point(core: Client, method: str) -> None:
    found = loop(core, optimizer=method)
    last = found.trace[-1]
    assert (last.kind, last.energy, last.point, last.job) == ("end", found.energy, found.point, found.job)
    assert [step.kind for step in found.trace[:-1]] == ["loop"] * 7
    assert len({step.job for step in found.trace}) == 8 == found.n_evaluations  # the cap holds
    lowest = min(found.trace[:-1], key=lambda step: step.energy)
    assert last.point == lowest.point
    assert last.energy != lowest.energy


def test_single_evaluation_was_chosen_from_nothing_and_is_not_repeated(core: Client) -> None:
    found = loop(core, max_evaluations=1)
    assert [step.kind for step in found.trace] == ["loop"]
    assert found.energy == found.trace[0].energy


def test_exact_energy_is_not_bought_twice(core: Client) -> None:
    found = loop(core, device="local-exact", shots=None, optimizer="SLSQP", max_evaluations=None)
    assert {step.kind for step in found.trace} == {"loop"}
    assert found.energy == pytest.approx(-1.137306036, abs=1e-6)


@pytest.mark.parametrize("method", ["SLSQP", "L-BFGS-B", "BFGS", "CG", "trust-constr"])
def test_method_that_takes_differences_is_refused_with_shots_before_anything_is_bought(
    core: Client, method: str
) -> None:
    with pytest.raises(ProgramRejected, match="gradient='parameter-shift', or use COBYLA"):
        loop(core, optimizer=method)
    assert jobs(core) == 0


@pytest.mark.parametrize("method", ["TNC", "Newton-CG"])
def test_method_that_takes_differences_of_gradients_is_refused_even_with_them(core: Client, method: str) -> None:
    with pytest.raises(ProgramRejected, match="even of gradients, .* use COBYLA"):
        loop(core, optimizer=method, gradient="parameter-shift")
    exact = loop(
        core, optimizer=method, gradient="parameter-shift", device="local-exact", shots=None, max_evaluations=None
    )
    assert exact.energy == pytest.approx(-1.137306036, abs=1e-6)


@pytest.mark.parametrize(
    ("wishes", "reason"),
    [
        ({"gradient": "finite"}, "parameter-shift"),
        ({"gradient": "parameter-shift"}, "COBYLA uses no gradient"),
        ({"optimizer": "trust-exact"}, "second derivatives"),
        ({"start": [0.1, 0.2]}, "the start has 2 values, the ansatz 1"),
        ({"circuit": QuantumCircuit(3)}, "3 qubits"),
        ({"circuit": QuantumCircuit(2)}, "no parameters"),
        ({"circuit": "x"}, "QuantumCircuit"),
        ({"optimizer": "BFGS", "gradient": "parameter-shift", "bounds": [(0, 1)] * 3}, "takes no bounds"),
        ({"bounds": [(0, 1)] * 2}, "2 bounds for 1"),
    ],
)
def test_bad_wishes_are_refused_before_anything_is_bought(core: Client, wishes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ProgramRejected, match=reason):
        loop(core, **wishes)
    assert jobs(core) == 0


@pytest.mark.parametrize("method", ["SLSQP", "CG"])
def test_parameter_shifts_lead_through_shot_noise(core: Client, method: str) -> None:
    found = loop(
        core, optimizer=method, gradient="parameter-shift", shots=20_000, start=[0.6],
        max_evaluations=80, maxiter=4,
    )  # fmt: skip
    assert found.energy - -1.137306036 < 0.02
    kinds = [step.kind for step in found.trace]
    assert kinds.count("gradient") % (2 * len(shift_rule(ansatz(problem("h2-0.735"))).angles)) == 0
    assert kinds[-1] == "end"
    assert len(found.trace) <= 80
    bought = jobs(core)
    again = loop(
        core, optimizer=method, gradient="parameter-shift", shots=20_000, start=[0.6],
        max_evaluations=80, maxiter=4, attempt="2",
    )  # fmt: skip
    assert again.trace == found.trace
    assert jobs(core) == bought


def two_rotations() -> QuantumCircuit:
    a, b = Parameter("a"), Parameter("b")
    made = QuantumCircuit(2)
    made.ry(a, 0)
    made.crx(2 * b, 0, 1)
    made.rzz(a * b, 0, 1)
    made.p(b - 0.3, 1)
    made.ry(0.5 * a, 1)
    return made


def test_shift_rule_is_the_derivative_of_any_circuit_of_rotations() -> None:
    circuit, target, point = two_rotations(), SparsePauliOp.from_list([("ZX", 0.7), ("XI", 0.4)]), np.array([0.7, -0.4])
    rule = shift_rule(circuit)

    def energy(made: QuantumCircuit, values: Any) -> float:
        return float(np.real(Statevector(made.assign_parameters(list(values))).expectation_value(target)))

    found = rule.gradient(point, [energy(rule.circuit, row) for row in rule.shifted(point)])
    step = 1e-6
    for place in range(2):
        ahead, behind = point.copy(), point.copy()
        ahead[place] += step
        behind[place] -= step
        slope = (energy(circuit, ahead) - energy(circuit, behind)) / (2 * step)
        assert found[place] == pytest.approx(slope, abs=1e-8)


def test_own_ansatz_operator_and_optimizer_are_taken(core: Client) -> None:
    theta = Parameter("t")
    own = QuantumCircuit(2)
    own.h(0)
    own.cx(0, 1)
    own.ry(theta, 1)
    exact = {"device": "local-exact", "shots": None, "circuit": own, "start": [1.0], "max_evaluations": 200}
    lowest = min(
        float(np.real(Statevector(own.assign_parameters([t])).expectation_value(OPERATOR)))
        for t in np.linspace(-math.pi, math.pi, 4001)
    )

    class Qiskit:
        """The interface of qiskit-algorithms' optimizers."""

        def minimize(self, fun, x0, jac=None, bounds=None):
            return optimize.minimize(fun, x0, method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-9})

    def custom(fun, x0, args, **options):
        """scipy's interface of a custom method."""
        return optimize.minimize(fun, x0, args=args, method="Powell")

    methods = ["SLSQP", Qiskit(), custom, partial(optimize.minimize, method="COBYLA", tol=1e-7)]
    for place, method in enumerate(methods):
        found = loop(core, f"own {place}", OPERATOR, optimizer=method, **exact)
        assert found.energy == pytest.approx(lowest, abs=1e-5)
    assert found.optimizer == "minimize"


def test_callback_may_end_the_loop_and_the_end_is_measured_afresh(core: Client) -> None:
    seen = []

    def stop_at_four(step: Any) -> None:
        seen.append(step.index)
        if step.index == 4:
            raise StopIteration

    found = loop(core, on_step=stop_at_four, max_evaluations=None)
    assert seen == [1, 2, 3, 4, 5]
    assert found.trace[-1].kind == "end"
    assert "request" in found.message


def test_loop_asked_to_stop_stops_and_goes_on_when_started_again(core: Client) -> None:
    def ask(step: Any) -> None:
        if step.index == 3:
            points.ask_to_stop(core.ledger, "r")

    found = loop(core, on_step=ask)
    assert [step.kind for step in found.trace] == ["loop"] * 3 + ["end"]
    again = loop(core, attempt="2")
    assert again.trace[:3] == found.trace[:3]
    assert [step.kind for step in again.trace] == ["loop"] * 7 + ["end"]


def kept(core: Client, key: str) -> measurements.Measurement:
    (one,) = measurements.of_run(core.ledger, key)
    return one


def test_energies_of_different_experiments_are_different_series(core: Client) -> None:
    own = ansatz(to_problem(OPERATOR))
    own.rx(0.1, 0)
    variants: dict[str, dict[str, Any]] = {
        "plain": {"source": OPERATOR},
        "ten times": {"source": 10 * OPERATOR},
        "ansatz": {"circuit": own},
        "maxiter": {"maxiter": 12},
        "limit": {"max_evaluations": 4},
        "method": {"optimizer": "SPSA"},
        "start": {"start": [0.1] * 6},
        "shots": {"shots": 300},
        "options": {"device": "local-noisy"},
    }
    for key, wishes in variants.items():
        found = loop(core, key, **({"source": OPERATOR, "max_evaluations": 3, "seed": 1} | wishes))
        assert keep_energy(core, found, wishes.get("device", "local-aer")) == 1
    assert len({kept(core, key).setup for key in variants}) == len(variants)
    for attempt, seed in (("same", 1), ("other seed", 2)):
        again = loop(core, attempt, OPERATOR, max_evaluations=3, seed=seed)
        keep_energy(core, again, "local-aer")
        assert kept(core, attempt).series == kept(core, "plain").series


def test_digits_of_the_energy_follow_its_error(core: Client) -> None:
    found = loop(core)
    places = len(found.energy_text.split(" ± ")[0].partition(".")[2])
    assert places == 1 - math.floor(math.log10(float(f"{found.std_error:.1e}")))
    assert found.to_json()["energy_text"] == found.energy_text
