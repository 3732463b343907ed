"""Sweeps with shapes and tags, as a user of flows meets them."""

from __future__ import annotations

import numpy as np
import pytest
from prefect import flow
from prefect.states import State
from prefect_records import task_runs
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

import qflows
from qflows.flows import sweep
from qflows.sandbox import Admin

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]

ANGLES = np.linspace(0, np.pi, 6).reshape(2, 3, 1)


def flip() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.rx(Parameter("angle"), 0)
    return circuit


def test_flow_of_a_sweep_gives_expectation_values_in_its_shape(ionq: Admin) -> None:
    state: State = sweep((flip(), ANGLES), "ionq-simulator", 2000, "Z", return_state=True)
    result = state.result()
    assert result.expectation_values.shape == (2, 3)
    assert np.all(np.abs(result.expectation_values - np.cos(ANGLES[..., 0])) <= 5 * result.standard_errors + 1e-6)
    assert ionq.count_jobs("ionq") == 1
    assert len(task_runs(str(state.state_details.flow_run_id))) == 1


def test_tags_are_changed_by_a_task_of_the_flow_and_a_replay_keeps_them(ionq: Admin) -> None:
    circuit = flip().assign_parameters([0.3])
    circuit.measure_all()

    @flow
    def tagging() -> qflows.Tagged:
        job = qflows.submit(circuit, device="ionq-simulator", shots=10, tags={"study": "a"}, run_key="tagging")
        return qflows.tag(job, {"study": "b"}, name="renamed")

    changed = tagging()
    assert (changed.job.name, changed.job.tags) == ("renamed", {"study": "b"})
    assert tagging().job.key == changed.job.key
    assert qflows.attach(changed.job.key).tags == {"study": "b"}
    assert ionq.count_jobs("ionq") == 1
