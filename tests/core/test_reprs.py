"""What a notebook shows: one readable line, and a table in which every text is escaped."""

from __future__ import annotations

from pathlib import Path

import pytest
from qiskit import QuantumCircuit

from qflows.algorithms.problems import problem
from qflows.algorithms.vqe import solve
from qflows.core.client import Client
from qflows.core.scope import Scope
from qflows.settings import Settings


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(Settings(home=tmp_path_factory.mktemp("home")))


def circuit(name: str) -> QuantumCircuit:
    made = QuantumCircuit(2, name=name)
    made.x(0)
    made.measure_all()
    return made


def everything(core: Client) -> list[object]:
    scope = Scope("reprs", "a", "t")
    result = core.run(circuit("<script>x</script>"), scope, device="local-aer", shots=100)
    batch = core.submit_list([circuit("a"), circuit("b")], scope, device="local-aer", shots=10)
    group = core.new_group("study", run_key="reprs")
    with group:
        group.run(circuit("in group"), device="local-exact", shots=10)
    vqe = solve(core, Scope("v", "a", "t"), problem("h2-0.735"), device="local-exact", shots=None, maxiter=2)
    session = core.open_session("local-exact", "reprs")
    return [result.job, result, batch, batch.result(timeout=20), group, group.results(), vqe, session]


def test_everything_a_notebook_shows_is_one_line_and_a_table(core: Client, tmp_path: Path) -> None:
    for one in everything(core):
        line, page = repr(one), one._repr_html_()  # type: ignore[attr-defined]
        assert "\n" not in line, type(one)
        assert len(line) < 200, line
        assert " at 0x" not in line, line
        assert type(one).__name__ in line
        assert "<table" in page
        assert "<script>" not in page
