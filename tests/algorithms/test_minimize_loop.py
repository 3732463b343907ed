"""Loops over cost functions made of qflows calls: killed, replayed, stopped; and QAOA's known answers."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from qiskit.quantum_info import SparsePauliOp

from qflows.algorithms.minimize import minimize_durably
from qflows.algorithms.qaoa import ising, maxcut, solve_qaoa
from qflows.core.client import Client
from qflows.core.scope import Scope
from qflows.errors import ProgramRejected
from qflows.settings import Settings

LIFE = """
import json, os, signal, sys
import sqlalchemy as sa
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qflows.algorithms.minimize import minimize_durably
from qflows.core.client import Client
from qflows.core.scope import script_scope
core, scope = Client(), script_scope("loop")
a, b = Parameter("a"), Parameter("b")
circuit = QuantumCircuit(2)
circuit.ry(a, 0); circuit.cx(0, 1); circuit.ry(b, 1)
calls = 0
def cost(x):
    global calls
    calls += 1
    specs = core.specs((circuit, list(x)), device="local-aer", shots=100, observables=[("ZZ", 1.0), ("XI", 0.5)])
    jobs = core.submit(specs, device="local-aer", scope=scope)
    found = core.result([job.key for job in jobs])
    if calls == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    return found
found = minimize_durably(core.ledger, scope, cost, [0.3, -0.2], method=sys.argv[2], max_evaluations=14)
with core.ledger.read() as connection:
    jobs = connection.execute(sa.text("select count(*) from jobs")).scalar()
print(json.dumps([[e.point for e in found.evaluations], [e.value for e in found.evaluations], found.fun, calls, jobs]))
"""


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Client]:
    made = Client(Settings(home=tmp_path / "home", poll_min_s=0.001))
    yield made
    made.ledger.close()


def live(home: Path, die_at: int, method: str) -> Any:
    env = os.environ | {"QFLOWS_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", LIFE, str(die_at), method], env=env, capture_output=True, text=True, timeout=120
    )
    if done.returncode == -signal.SIGKILL:
        return None
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.slow(reason="two killed processes import SciPy and Qiskit")
def test_loop_killed_at_two_evaluations_walks_the_same_way_and_buys_nothing_again(tmp_path: Path) -> None:
    assert live(tmp_path / "k", 5, "COBYLA") is None
    assert live(tmp_path / "k", 9, "COBYLA") is None
    found = live(tmp_path / "k", 0, "COBYLA")
    *_, calls, jobs = found
    assert (calls, jobs) == (14, 14)


def bowl(x: Any) -> float:
    return float(np.sum((np.asarray(x) - 0.3) ** 2))


def life(attempt: str, run_key: str = "r") -> Scope:
    return Scope(run_key, attempt, "test")


def test_points_of_an_earlier_life_are_met_bit_for_bit(core: Client) -> None:
    first = minimize_durably(core.ledger, life("1", "bits"), bowl, [0.7, 0.1], method="COBYLA", noisy=False)
    asked: list[Any] = []

    def dusty(x: Any) -> float:
        asked.append(tuple(x))
        return bowl(x) * (1 + 1e-15)  # as another processor would round

    again = minimize_durably(
        core.ledger, life("2", "bits"), dusty, [0.7, 0.1], method="COBYLA", noisy=False, maxiter=10
    )
    assert len(asked) >= 10
    stored = {tuple(e.point) for e in first.evaluations}
    assert sum(point in stored for point in asked[:10]) == 10
    assert again.x == pytest.approx(first.x, abs=0.5)


def test_equal_loops_of_one_run_have_points_of_their_own(core: Client, caplog: pytest.LogCaptureFixture) -> None:
    noise = np.random.default_rng(1)

    def rough(x: Any) -> float:
        return bowl(x) + noise.normal(0, 0.1)

    for _ in range(2):
        minimize_durably(core.ledger, life("1", "equal"), rough, [0.7], method="COBYLA", maxiter=8)
    assert "differs from the earlier attempt" not in caplog.text


def test_walk_that_goes_elsewhere_is_told_once(core: Client, caplog: pytest.LogCaptureFixture) -> None:
    minimize_durably(core.ledger, life("1", "elsewhere"), bowl, [0.7], method="COBYLA", noisy=False, maxiter=8)
    minimize_durably(
        core.ledger, life("2", "elsewhere"), lambda x: -bowl(x), [0.7], method="COBYLA", noisy=False, maxiter=8
    )
    assert caplog.text.count("differs from the earlier attempt") == 1


def test_noisy_end_is_measured_afresh_and_differences_are_refused(core: Client) -> None:
    values: list[float] = []

    def counted(x: Any) -> float:
        values.append(bowl(x))
        return values[-1]

    found = minimize_durably(core.ledger, life("1", "noisy"), counted, [0.7], method="COBYLA", max_evaluations=9)
    assert len(values) == 9 == len(found.evaluations) + 1
    with pytest.raises(ProgramRejected, match="pass jac=, or noisy=False"):
        minimize_durably(core.ledger, life("1", "noisy"), counted, [0.7], method="BFGS")
    slope = minimize_durably(
        core.ledger, life("1", "noisy"), counted, [0.7], method="BFGS", jac=lambda x: 2 * (np.asarray(x) - 0.3)
    )
    assert slope.x == pytest.approx([0.3], abs=1e-6)


def test_bounds_are_kept(core: Client) -> None:
    for method in ("SPSA", "COBYLA", "Nelder-Mead", "Powell"):
        found = minimize_durably(
            core.ledger, life("1", "bounds"), bowl, [0.7], method=method, bounds=[(0.5, 1.0)], noisy=False, maxiter=60
        )
        assert method == "COBYLA" or all(0.5 - 1e-9 <= e.point[0] <= 1.0 + 1e-9 for e in found.evaluations)
        assert found.x == pytest.approx([0.5], abs=0.05)


# -- QAOA


def ring(n: int) -> list[tuple[int, int]]:
    return [(i, (i + 1) % n) for i in range(n)]


def solved(core: Client, cost: Any, **more: Any) -> Any:
    return solve_qaoa(core, life("1"), cost, **({"device": "local-exact", "shots": None} | more))


@pytest.mark.parametrize("n", [6, 8])
def test_ring_at_one_layer_reaches_three_quarters(core: Client, n: int) -> None:
    found = solved(core, maxcut(ring(n)))
    assert found.ratio == pytest.approx(0.75, abs=1e-6)
    at = solved(core, maxcut(ring(n)), start=[math.pi / 8, math.pi / 4], max_evaluations=1)
    assert at.ratio == pytest.approx(0.75, abs=1e-12)
    assert found.best == found.lowest == -n
    assert {tuple(sorted(part)) for part in found.parts} == {tuple(range(0, n, 2)), tuple(range(1, n, 2))}


def test_complete_bipartite_graph_at_one_layer(core: Client) -> None:
    found = solved(core, maxcut([(i, j) for i in "abc" for j in "xyz"]))
    assert found.ratio == pytest.approx(0.5 + 1 / (3 * math.sqrt(3)), abs=1e-6)


def test_more_layers_are_better_and_a_replay_buys_nothing(core: Client) -> None:
    found = solved(core, maxcut(ring(6)), layers=2)
    assert found.ratio == pytest.approx(5 / 6, abs=1e-5)  # (2p + 1) / (2p + 2) on long rings
    with core.ledger.read() as connection:
        before = connection.execute(sa.text("select count(*) from jobs")).scalar()
    again = solve_qaoa(core, life("2"), maxcut(ring(6)), layers=2, device="local-exact", shots=None)
    assert again == found
    with core.ledger.read() as connection:
        assert connection.execute(sa.text("select count(*) from jobs")).scalar() == before


def test_ising_operator_with_shots_gives_outcomes_with_their_cost(core: Client) -> None:
    cost = ising(SparsePauliOp.from_list([("ZZI", 1.0), ("IZZ", -0.5), ("IIZ", 0.25), ("III", 3.0)]))
    assert cost.lowest() == pytest.approx(1.25)
    assert min(cost.cost(f"{i:03b}") for i in range(8)) == pytest.approx(1.25)
    found = solved(core, cost, device="local-aer", shots=200, max_evaluations=12, optimizer="COBYLA")
    assert all(one.cost == cost.cost(one.bits) for one in found.outcomes)
    assert found.best == min(one.cost for one in found.outcomes)
    assert found.loop.trace[-1].kind == "end"
    assert 0 < found.std_error < 1
    assert json.loads(json.dumps(found.to_json()))["bits"] == found.bits


def test_weights_and_names_of_nodes_are_read() -> None:
    class Graph:
        """What networkx offers."""

        nodes = ("b", "a", "c")

        @staticmethod
        def edges(data: str, default: float) -> list[tuple[str, str, float]]:
            return [("a", "b", 2.0), ("b", "c", default)]

    cost = maxcut(Graph())
    assert cost.nodes == ("b", "a", "c")
    assert cost.cost("001") == -3.0  # b alone on its side
    assert cost.cost("100") == -1.0
    assert cost.lowest() == -3.0
    assert maxcut([("a", "b", 2.0), ("b", "c")]).nodes == ("a", "b", "c")


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: maxcut([]), "at least one edge"),
        (lambda: maxcut(5), "cannot read a graph"),
        (lambda: maxcut([(1, 1)]), "to itself"),
        (lambda: maxcut([(1, 2, float("inf"))]), "finite"),
        (lambda: maxcut([(1, 2, "x")]), "not a number"),
        (lambda: maxcut([(1,)]), "an edge is"),
        (lambda: ising("XZ"), "not diagonal"),
        (lambda: ising("II"), "constant"),
    ],
)
def test_what_is_no_problem_is_refused(call: Any, reason: str) -> None:
    with pytest.raises(ProgramRejected, match=reason):
        call()
