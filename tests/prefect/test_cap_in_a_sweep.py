"""A budget that becomes full in the middle of a mapped sweep, under each policy, on a real Prefect server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from prefect import flow, unmapped
from prefect.states import State
from prefect.task_runners import ThreadPoolTaskRunner
from prefect_records import artifacts
from prefect_server import PrefectServer, answer_runs_of
from qiskit import QuantumCircuit

import qflows
from qflows.flows import sweep
from qflows.ledger import Ledger, budgets, reads, spending
from qflows.ledger.budgets import MICRO, Budget
from qflows.prefect.client import client
from qflows.sandbox import Admin

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]

DEVICE = "ionq-forte-1"  # 25.79 USD a small job
ONE_BY_ONE: Any = sweep.with_options(task_runner=ThreadPoolTaskRunner(max_workers=1))


def circuits(n: int = 4) -> list[QuantumCircuit]:
    made = []
    for number in range(n):
        circuit = QuantumCircuit(2, 2, name=f"angle {number}")
        circuit.rx(0.1 * number, 0)
        circuit.measure([0, 1], [0, 1])
        made.append(circuit)
    return made


@pytest.fixture
def ledger(ionq: Admin, own_ledger: dict[str, str]) -> Ledger:
    return Ledger.open(own_ledger["QFLOWS_LEDGER_URL"])


def put(ledger: Ledger, amount: int, policy: str = "refuse") -> None:
    budgets.put(ledger, Budget("cap", amount * MICRO, "usd", period="total", policy=policy, ask_timeout_s=60.0))


@contextmanager
def bills_come_in(ledger: Ledger) -> Iterator[None]:
    """Reads the bills of finished jobs while others are still being sent, as another process on the ledger does."""
    done = threading.Event()

    def work() -> None:
        while not done.wait(0.02):
            if live := [job.key for job in reads.all_live(ledger) if job.vendor_id]:
                client().refresh(live)

    reader = threading.Thread(target=work, daemon=True)
    reader.start()
    try:
        yield
    finally:
        done.set()
        reader.join(10)


def capped(ledger: Ledger, **more: Any) -> State:
    """Bills twice as large as the quotes eat the room of the parts that were not sent yet."""
    with bills_come_in(ledger):
        return ONE_BY_ONE(circuits(), DEVICE, 100, max_circuits=1, run_key="capped", return_state=True, **more)


def pages(state: State) -> str:
    return " ".join(str(one.data) for one in artifacts(state.state_details.flow_run_id) if one.type == "markdown")


@pytest.fixture
def dear(ionq: Admin) -> Admin:
    ionq.switches("ionq", bill_factor=2.0)
    ionq.fault("delay", "ionq.submit", seconds=0.25, times=None)
    return ionq


def settled(ledger: Ledger, bought: int) -> bool:
    (one,) = spending.standing(ledger)
    return (one.reserved, one.spent) == (0, bought * 51_580_000)


def test_cap_reached_in_the_middle_keeps_what_was_bought_and_tells_the_rest(dear: Admin, ledger: Ledger) -> None:
    put(ledger, 110)
    state = capped(ledger)
    bought = dear.count_jobs("ionq")
    assert 1 <= bought < 4
    assert state.is_failed()
    for told in (f"{4 - bought} of 4 circuits", "budget cap", "qflows budgets set cap --amount", "rerun_failed()"):
        assert told in str(state.message)
    page = pages(state)
    batch = client().batches()[0]
    assert f"**{bought} of 4 circuits have results**" in page
    assert f"qflows batches rerun {batch.id[:12]}" in page
    assert "OVER" in page
    assert settled(ledger, bought)
    put(ledger, 500)
    holes = batch.rerun_failed()
    assert len(holes) == 4 - bought
    assert not batch.result(timeout=30).errors
    assert dear.count_jobs("ionq") == 4
    assert settled(ledger, 4)
    assert capped(ledger).is_completed()  # the run again finds everything
    assert dear.count_jobs("ionq") == 4


def test_run_again_with_reruns_buys_only_the_holes(dear: Admin, ledger: Ledger) -> None:
    put(ledger, 110)
    state = capped(ledger, partial=True)
    assert state.is_completed()
    assert state.result().errors
    bought = dear.count_jobs("ionq")
    assert bought < 4
    put(ledger, 500)
    assert capped(ledger, rerun=1).is_completed()
    assert dear.count_jobs("ionq") == 4
    assert settled(ledger, 4)


def test_waiting_parts_say_so_and_are_sent_once_the_limit_is_raised(dear: Admin, ledger: Ledger) -> None:
    put(ledger, 110, "wait")
    state = capped(ledger, timeout=2)
    bought = dear.count_jobs("ionq")
    assert bought < 4
    assert state.is_failed()
    for told in (f"{4 - bought} not sent", "budget cap", "It is sent when there is room"):
        assert told in str(state.message)
    assert f"{4 - bought} job" in pages(state)
    assert "not sent yet" in pages(state)
    put(ledger, 500, "wait")
    assert capped(ledger).is_completed()
    assert dear.count_jobs("ionq") == 4
    assert settled(ledger, 4)


@pytest.mark.parametrize("verdict", ["approve", "deny"])
def test_person_is_asked_in_the_middle_of_the_sweep(
    dear: Admin, ledger: Ledger, prefect_server: PrefectServer, verdict: str
) -> None:
    put(ledger, 110, "ask")
    answer_runs_of(prefect_server, "sweep", verdict=verdict, who="eve", why="the curve", amount="200")
    state = capped(ledger)
    (decided,) = budgets.verdicts(ledger)
    assert (decided.verdict, decided.who, decided.run_key) == (verdict, "eve", "capped")
    bought = dear.count_jobs("ionq")
    assert settled(ledger, bought)
    if verdict == "approve":
        assert (state.is_completed(), bought) == (True, 4)
        return
    assert bought < 4
    assert "eve did not approve it (the curve)" in str(state.message)
    assert [job.error_code for job in client().jobs(status="FAILED")] == ["OVER_BUDGET"] * (4 - bought)


def test_mapped_purchases_beyond_the_cap_are_told_by_name_and_bought_by_the_next_attempt(
    ionq: Admin, ledger: Ledger
) -> None:
    @flow(name="maps-purchases")
    def mapped() -> int:
        jobs = qflows.submit.map(circuits(5), device=unmapped(DEVICE), shots=unmapped(100), run_key=unmapped("mapped"))
        jobs.wait()
        told = [future.state.message for future in jobs if future.state.is_failed()]
        assert all("budget cap" in str(one) and "budgets set cap" in str(one) for one in told)
        return len(told)

    put(ledger, 80)  # three quotes of 25.79
    assert mapped() == 2
    assert ionq.count_jobs("ionq") == 3
    put(ledger, 200)
    assert mapped() == 0
    assert ionq.count_jobs("ionq") == 5
    assert len({job.key for job in reads.listing(ledger)}) == 5
