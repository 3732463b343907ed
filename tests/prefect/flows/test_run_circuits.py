"""The flow for many circuits: order, failures in part, what people see, and what it costs the server."""

from __future__ import annotations

import math

import pytest
from prefect import State
from prefect_records import artifacts, task_runs

from qflows.errors import JobFailed, ProgramRejected
from qflows.flows import run_circuits
from qflows.sandbox import Admin

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]

DEVICE = "ionq-simulator"


def prepares(value: int, width: int) -> str:
    """A circuit that measures the bits of `value` with certainty."""
    flips = "".join(f"x q[{bit}];" for bit in range(width) if value >> bit & 1)
    head = f'OPENQASM 2.0; include "qelib1.inc"; qreg q[{width}]; creg c[{width}];'
    return f"{head} id q[0]; {flips} measure q -> c;"


def run_id(state: State) -> str:
    """The flow run that ended in this state."""
    return str(state.state_details.flow_run_id)


def test_sixty_circuits_come_back_in_order_from_few_task_runs(ionq: Admin) -> None:
    n, width = 60, 6
    state = run_circuits([prepares(value, width) for value in range(n)], DEVICE, 20, return_state=True)
    results = state.result()
    assert [one.counts for one in results] == [{format(value, f"0{width}b"): 20} for value in range(n)]
    assert ionq.count_jobs("ionq") == n
    assert len(task_runs(run_id(state))) <= math.ceil(n / 50) + 2


def test_results_are_shown_as_a_table_and_as_plots(ionq: Admin) -> None:
    state = run_circuits([prepares(2, 2), prepares(1, 2)], DEVICE, 20, return_state=True)
    shown = {one.key: one for one in artifacts(run_id(state))}
    table = str(shown[f"jobs-{DEVICE}"].data)
    for job in ionq.jobs("ionq"):
        assert job["id"] in table
    page = str(shown[f"counts-{DEVICE}"].data)
    assert page.count("](data:image/png;base64,iVBOR") == 1


def test_failed_circuit_fails_the_flow_with_the_vendors_reason(ionq: Admin) -> None:
    ionq.fault("fail_job", "ionq.submit", skip=1, code="InvalidInput", message="the second is broken")
    state = run_circuits([prepares(0, 1), prepares(1, 1)], DEVICE, 20, return_state=True)
    error = state.result(raise_on_failure=False)
    assert isinstance(error, JobFailed)
    assert "the second is broken" in str(error)
    assert error.vendor_id == ionq.jobs("ionq")[1]["id"]
    # what there was is shown all the same
    assert {one.key for one in artifacts(run_id(state))} >= {f"jobs-{DEVICE}", f"counts-{DEVICE}"}


def test_partial_puts_the_error_in_the_place_of_the_failed_circuit(ionq: Admin) -> None:
    ionq.fault("fail_job", "ionq.submit", skip=1, code="InvalidInput", message="this one is broken")
    found = run_circuits([prepares(value, 2) for value in (1, 2, 3)], DEVICE, 20, partial=True)
    # submissions go out together: whichever came second is broken
    failed = {place: one for place, one in enumerate(found) if isinstance(one, JobFailed)}
    assert [one.vendor_id for one in failed.values()] == [ionq.jobs("ionq")[1]["id"]]
    right = [{"01": 20}, {"10": 20}, {"11": 20}]
    assert [None if isinstance(one, JobFailed) else one.counts for one in found] == [
        None if place in failed else counts for place, counts in enumerate(right)
    ]


def test_one_bad_circuit_in_the_list_is_refused_before_any_is_bought(ionq: Admin) -> None:
    state = run_circuits([prepares(0, 1), "OPENQASM 2.0; nonsense"], DEVICE, 20, return_state=True)
    assert isinstance(state.result(raise_on_failure=False), ProgramRejected)
    assert ionq.count_jobs("ionq") == 0
