"""A purchase beyond a budget in a flow: the form, its answers, a retry, and nobody who answers."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from deployed_flows import BELL, GHZ
from prefect import flow, unmapped
from prefect.states import State
from prefect_records import flow_run
from prefect_server import PrefectServer, answer_runs_of
from pydantic import ValidationError

import qflows
from qflows.errors import OverBudget
from qflows.ledger import Ledger, budgets
from qflows.ledger.budgets import MICRO, Budget
from qflows.prefect.approvals import form_for
from qflows.sandbox import Admin

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]

DEVICE = "ionq-forte-1"  # 25.79 USD a small job
Answer = Callable[..., threading.Thread]


@pytest.fixture
def ledger(ionq: Admin, own_ledger: dict[str, str]) -> Ledger:
    found = Ledger.open(own_ledger["QFLOWS_LEDGER_URL"])
    budgets.put(found, Budget("cap", 30 * MICRO, "usd", period="total", policy="ask", ask_timeout_s=60.0))
    return found


@pytest.fixture
def person(prefect_server: PrefectServer) -> Answer:
    """`person(name_of_flow, **form)`: somebody who fills in the form of a paused run; returns the thread."""

    def answer(flow_name: str, **form: str) -> threading.Thread:
        return answer_runs_of(prefect_server, flow_name, **form)

    return answer


def test_person_approves_and_the_run_goes_on(ionq: Admin, ledger: Ledger, person: Answer) -> None:
    @flow(name="asks-and-goes-on")
    def buying() -> list[str]:
        jobs = [qflows.submit(program, device=DEVICE, shots=100, run_key="asks") for program in (BELL, GHZ)]
        return [job.status.value for job in jobs]

    person("asks-and-goes-on", verdict="approve", who="eve", why="the last point")
    assert buying() == ["QUEUED", "QUEUED"]
    (verdict,) = budgets.verdicts(ledger)
    assert (verdict.verdict, verdict.who, verdict.why, verdict.run_key) == ("approve", "eve", "the last point", "asks")
    assert ionq.count_jobs("ionq") == 2
    assert buying() == ["QUEUED", "QUEUED"]  # run again: nothing is bought, nobody is asked
    assert len(budgets.verdicts(ledger)) == 1


def test_denial_ends_the_run_and_stands_for_its_retry(ionq: Admin, ledger: Ledger, person: Answer) -> None:
    starts: list[int] = []

    @flow(name="is-denied", retries=2)  # before Prefect 3.9.3 a pause uses one up
    def buying() -> None:
        starts.append(1)
        for program in (BELL, GHZ):
            qflows.submit(program, device=DEVICE, shots=100, run_key="denied")

    person("is-denied", verdict="deny", who="bob", why="too dear")
    with pytest.raises(OverBudget, match=r"bob did not approve it \(too dear\).*qflows budgets approve cap"):
        buying()
    assert len(starts) >= 2
    assert [(one.verdict, one.who) for one in budgets.verdicts(ledger)] == [("deny", "bob")]
    assert ionq.count_jobs("ionq") == 1


def test_nobody_answers_in_time(ionq: Admin, ledger: Ledger) -> None:
    budgets.put(ledger, Budget("cap", 30 * MICRO, "usd", period="total", policy="ask", ask_timeout_s=1.0))

    @flow(name="is-not-answered")
    def buying() -> None:
        for program in (BELL, GHZ):
            qflows.submit(program, device=DEVICE, shots=100, run_key="silence")

    state: State = buying(return_state=True)
    with pytest.raises(OverBudget, match="Nobody approved it"):
        state.result()
    seen = flow_run(str(state.state_details.flow_run_id)).state  # the server's own word for it is "never resumed"
    assert seen is not None
    assert seen.is_failed()
    assert "budget cap" in str(seen.message)
    assert "no answer within 1 s" in str(seen.message)
    assert [(one.verdict, one.who) for one in budgets.verdicts(ledger)] == [("deny", "nobody")]
    assert ionq.count_jobs("ionq") == 1


def test_mapped_tasks_ask_once_for_what_one_answer_allows(ionq: Admin, ledger: Ledger, person: Answer) -> None:
    @flow(name="asks-mapped")
    def buying() -> int:
        jobs = qflows.submit.map([BELL, GHZ, BELL], device=unmapped(DEVICE), shots=unmapped(100))
        return len(jobs.result())

    person("asks-mapped", verdict="approve", who="eve", amount="100")
    assert buying() == 3
    assert [one.verdict for one in budgets.verdicts(ledger)] == ["approve"]
    assert ionq.count_jobs("ionq") == 3


def test_overdrawn_budget_asks_for_what_the_bills_took_as_well(ionq: Admin, ledger: Ledger, person: Answer) -> None:
    ionq.switches("ionq", bill_factor=4.0)

    @flow(name="asks-for-more")
    def buying() -> int:
        qflows.run(BELL, device=DEVICE, shots=100, run_key="overdrawn")  # billed 103.16 of 30
        return len([qflows.submit(GHZ, device=DEVICE, shots=100, run_key="overdrawn")])

    person("asks-for-more", verdict="approve", who="eve", why="")
    assert buying() == 1
    (verdict,) = budgets.verdicts(ledger)
    assert (verdict.amount, verdict.used) == (98_950_000, 98_950_000)  # 103.16 + 25.79 - 30
    assert ionq.count_jobs("ionq") == 2


def test_form_explains_every_field_and_takes_only_amounts() -> None:
    full = OverBudget(
        "full", budget="cap", period="total", currency="usd", limit="30", spent="0", reserved="25.79", asked="25.79"
    )
    form = form_for(full, timeout_s=60)
    fields = form.model_json_schema()["properties"]
    assert {name: bool(field.get("description")) for name, field in fields.items()} == dict.fromkeys(fields, True)
    assert form(verdict="approve", who="eve").amount == "25.79"
    with pytest.raises(ValidationError):
        form(verdict="approve", who="eve", amount="much")
