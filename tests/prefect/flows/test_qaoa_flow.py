"""QAOA and the durable loop as users start them: in flows."""

from __future__ import annotations

import inspect
from functools import partial

import pytest
from prefect import flow
from prefect_records import artifacts, flow_run
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

import qflows
from qflows.algorithms.vqe import VqeStep
from qflows.errors import ProgramRejected
from qflows.flows import qaoa, vqe
from qflows.prefect.minimizing import minimize

RING = [[0, 1], [1, 2], [2, 3], [3, 0]]


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api", "own_ledger")
def test_ring_is_cut_in_a_flow_that_shows_the_cut() -> None:
    state = qaoa(RING, return_state=True)
    found = state.result()
    assert found.best == found.lowest == -4
    run_id = str(state.state_details.flow_run_id)
    page = next(str(one.data) for one in artifacts(run_id) if one.type == "markdown")
    assert "Cut: 0, 2; 1, 3" in page or "Cut: 1, 3; 0, 2" in page
    assert page.count("](data:image/png;base64,iVBOR") == 1
    assert flow_run(run_id).name == "QAOA MaxCut on local-exact, exact"


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api", "own_ledger")
@pytest.mark.parametrize("start", [partial(qaoa, RING), partial(vqe, "tfim-2")], ids=["qaoa", "vqe"])
def test_callback_sees_every_step_and_may_end_the_loop(start) -> None:
    seen: list[VqeStep] = []

    def third(step: VqeStep) -> None:
        seen.append(step)
        if step.index == 3:
            raise StopIteration

    found = start(device="local-aer", shots=50, callback=third, run_key="short")
    loop = getattr(found, "loop", found)
    assert [step.index for step in seen] == [1, 2, 3, 4]
    assert tuple(seen) == tuple(loop.trace)
    assert loop.trace[-1].kind == "end"
    if loop is not found:  # the state at the end is sampled all the same
        assert sum(one.share for one in found.outcomes) == pytest.approx(1)


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api", "own_ledger")
def test_loop_in_a_flow_is_named_by_it_and_a_retry_walks_the_same_way() -> None:
    theta = Parameter("t")
    circuit = QuantumCircuit(1)
    circuit.ry(theta, 0)
    walks: list[list[float]] = []

    @flow(retries=1, retry_delay_seconds=0)
    def search() -> float:
        walk: list[float] = []
        walks.append(walk)

        def cost(x):
            if len(walks) == 1 and len(walk) == 4:
                raise RuntimeError("crashed")
            found = qflows.run((circuit, list(x)), device="local-aer", shots=100, observables="Z")
            walk.append(found.expectation.value)
            return found

        return minimize(cost, [0.5], method="COBYLA", max_evaluations=8).fun

    search()
    assert len(walks) == 2
    assert walks[1][:4] == walks[0]
    assert len(walks[1]) == 8


@pytest.mark.parametrize("one", [qaoa, vqe])
def test_every_form_field_is_described(one) -> None:
    properties = one.parameters.properties
    assert set(properties) == set(inspect.signature(one.fn).parameters)
    assert [name for name, field in properties.items() if not field.get("description")] == []


def test_graph_and_operator_together_are_refused() -> None:
    from qflows.flows.combinatorial import _cost

    for graph, operator in ((None, None), ([(0, 1)], [("ZZ", 1.0)])):
        with pytest.raises(ProgramRejected, match="either graph"):
            _cost(graph, operator)
    assert _cost(None, [["ZZ", 0.5], ["IZ", 1]]).terms == (("IZ", 1.0), ("ZZ", 0.5))
