"""A purchase beyond a budget in a flow: the form, its answers, a retry, and nobody who answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import httpx
import pytest
from deployed_flows import BELL, GHZ
from prefect import flow, unmapped
from prefect_server import PrefectServer

import qflows
from qflows.errors import OverBudget
from qflows.ledger import Ledger, budgets
from qflows.ledger.budgets import MICRO, Budget
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
        def work() -> None:
            wanted = {"flows": {"name": {"any_": [flow_name]}}, "flow_runs": {"state": {"type": {"any_": ["PAUSED"]}}}}
            for _ in range(600):
                paused = httpx.post(f"{prefect_server.url}/flow_runs/filter", json=wanted).json()
                if paused:
                    said = httpx.post(
                        f"{prefect_server.url}/flow_runs/{paused[0]['id']}/resume", json={"run_input": form}
                    )
                    if said.json().get("status") == "ACCEPT":
                        return
                time.sleep(0.05)

        started = threading.Thread(target=work, daemon=True)
        started.start()
        return started

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
    with pytest.raises(OverBudget, match="qflows budgets approve cap"):
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

    with pytest.raises(OverBudget):
        buying()
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
