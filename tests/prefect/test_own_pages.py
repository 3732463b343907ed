"""A user's own flow: its page, the vendor's reason in its state, the wall, and forms that explain every field."""

from __future__ import annotations

from typing import Any

import pytest
from prefect import State, flow, task
from prefect.client.orchestration import get_client
from prefect.utilities.callables import parameter_schema
from prefect_records import artifacts, flow_run

import qflows
from qflows import flows
from qflows.prefect import wall
from qflows.prefect.client import client
from qflows.prefect.housekeeper import Housekeeper
from qflows.sandbox import Admin

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]

ONE = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; creg c[1]; x q[0]; measure q -> c;'
WHY = "qubit 7 is being calibrated"


@task
def buy(n: int) -> qflows.Job:
    return qflows.submit(ONE, device="ionq-simulator", shots=20 + n, name=f"point {n}")


@flow
def mapped(n: int = 3) -> list[dict[str, int]]:
    jobs = buy.map(list(range(n)))
    return [dict(found.counts) for found in qflows.result.map(jobs).result()]


@flow
def returns_futures(n: int = 3) -> Any:
    return qflows.result.map(buy.map(list(range(n))))


def pages(state: State) -> list[str]:
    return [one.data for one in artifacts(str(state.state_details.flow_run_id)) if one.type == "markdown"]


def test_own_flow_that_bought_something_leaves_a_page(ionq: Admin) -> None:
    state = mapped(return_state=True)
    (page,) = pages(state)
    assert page.startswith("# mapped: ")
    assert "**3 jobs**: 3 completed" in page
    assert "point 0" in page
    assert page.count("](data:image/png;base64,iVBOR") == 1
    header = next(line for line in page.splitlines() if line.startswith("| name"))
    assert header.index("status") < header.index("cost") < header.index("queue, run") < header.index("vendor id")


@pytest.mark.parametrize("own", [mapped, returns_futures])
def test_a_failed_mapped_flow_names_the_vendors_reason_and_has_its_page(own: Any, ionq: Admin) -> None:
    ionq.fault("fail_job", "ionq.submit", skip=1, code="CalibrationRunning", message=WHY)
    state = own(return_state=True)
    assert state.is_failed()
    (page,) = pages(state)
    assert WHY in page
    said = flow_run(str(state.state_details.flow_run_id)).state
    assert said.is_failed()
    assert WHY in (said.message or "")


def test_own_title_and_note_take_the_place_of_the_page_at_the_end(ionq: Admin) -> None:
    @flow
    def titled() -> str:
        qflows.run(ONE, device="ionq-simulator", shots=20)
        return qflows.page("My title", note="*my note*")

    state = titled(return_state=True)
    (page,) = pages(state)
    assert page.startswith("# My title\n\n*my note*")
    assert state.result() == page


def test_a_flow_that_bought_nothing_leaves_none(ionq: Admin) -> None:
    @flow
    def looks() -> int:
        return len(qflows.Client().ledger.url) if False else 1

    assert pages(looks(return_state=True)) == []


def test_outside_a_flow_the_page_of_a_run_key_is_returned(ionq: Admin) -> None:
    qflows.run(ONE, device="ionq-simulator", shots=20, run_key="a-script")
    assert "**1 job**: 1 completed" in qflows.page(run_key="a-script")
    with pytest.raises(qflows.errors.RunKeyMissing):
        qflows.page()


def test_the_wall_tells_what_runs_and_the_reconciler_refreshes_it_in_place(ionq: Admin) -> None:
    assert "Nothing runs." in flows.wall()
    with get_client(sync_client=True) as api:
        before = [one.id for one in api.read_artifacts() if one.key == wall.KEY]
    ionq.clock("frozen")
    qflows.submit(ONE, device="ionq-simulator", shots=20, run_key="on-the-wall")
    Housekeeper(client()).tick()
    with get_client(sync_client=True) as api:
        after = [one for one in api.read_artifacts() if one.key == wall.KEY]
    assert [one.id for one in after] == before
    assert "**1 live jobs**" in after[0].data
    assert "| ionq-simulator |  | 1 |" in after[0].data


@pytest.mark.parametrize("name", flows.__all__)
def test_forms_explain_every_field_and_offer_devices(name: str) -> None:
    schema = parameter_schema(getattr(flows, name)).model_dump()
    fields = schema["properties"]
    assert [field for field, said in fields.items() if not said.get("description")] == []
    for field in {"device", "devices"} & set(fields):
        first = fields[field]["anyOf"][0]
        choice = first.get("items", first)
        assert "local-aer" in choice["enum"]
        assert "ionq-forte-1" in choice["enum"]
