"""The short form of `race.py`, on both databases; and what bills do to a budget, end to end."""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path

import pytest
from qiskit import QuantumCircuit

from qflows.core.client import Client
from qflows.core.scope import Scope
from qflows.ledger import Ledger, budgets, reads, spending
from qflows.ledger.budgets import MICRO, Budget
from qflows.sandbox import Sandbox
from qflows.settings import Settings
from qflows.states import JobStatus

sys.path.insert(0, str(Path(__file__).parent))

from race import VENDORS, race  # noqa: E402


def test_killed_buyers_never_overspend_and_leave_nothing_reserved(sandbox: Sandbox, ledger_url: str) -> None:
    found = race(ledger_url, cap=150, processes=3, kills=8, seed=7, steps=2)
    assert found["jobs"] == sum(sandbox.admin.count_jobs(vendor) for vendor in VENDORS) > 0
    assert 0 < Decimal(found["spent"]) <= 150


def circuit(number: int) -> QuantumCircuit:
    made = QuantumCircuit(2, 2)
    made.rx(0.1 * number, 0)
    made.measure([0, 1], [0, 1])
    return made


@pytest.fixture
def core(sandbox: Sandbox, tmp_path: Path) -> Client:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    return Client(Settings(ledger_url=url, settle_s=0.3, poll_min_s=0.02))


def put(ledger: Ledger, amount: int) -> None:
    rates = {"credits": "0.01", "qpu_s": "1.60"}
    budgets.put(ledger, Budget("cap", amount * MICRO, "usd", period="total", rates=rates, tolerance=0.3))


BILLS = {  # device, shots, options: what the tariff says, USD
    "ionq-forte-1": (100, {}, "25.79"),
    "qbraid-garnet": (100, {}, "0.445"),
    "ibm-kingston": (100, {"max_execution_time": 60}, "4.80"),
}


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("device", BILLS)
def test_bill_settles_the_reservation_and_a_strange_one_is_told(
    core: Client, sandbox: Sandbox, device: str, factor: float
) -> None:
    shots, options, tariff = BILLS[device]
    sandbox.admin.switches(device.partition("-")[0], bill_factor=factor)
    put(core.ledger, 1000)
    result = core.run(circuit(1), Scope("bills", "a", "t"), device=device, shots=shots, options=options, timeout=30)
    (one,) = spending.standing(core.ledger)
    assert one.reserved == 0
    billed = Decimal(one.spent) / MICRO
    if device == "ibm-kingston":  # whole seconds; 3 by the tariff
        assert billed == Decimal("1.60") * Decimal({0.5: 2, 1.0: 3, 2.0: 6}[factor])
    else:
        assert abs(billed - Decimal(tariff) * Decimal(str(factor))) <= Decimal("0.00001")
        told = "bill-differs" in [event["kind"] for event in reads.history(core.ledger, result.job.key)]
        assert told == (factor != 1.0)


def test_cap_in_the_middle_of_a_batch_keeps_what_was_bought_and_the_holes_are_bought_later(
    core: Client, sandbox: Sandbox
) -> None:
    """Bills twice as large as the quotes eat the room of the parts that were not sent yet."""
    sandbox.admin.switches("ionq", bill_factor=2.0)
    put(core.ledger, 110)  # four quotes of 25.79; two bills of 51.58
    planned = core.plan_batch([circuit(i) for i in range(4)], device="ionq-forte-1", shots=100, max_circuits=1)
    batch = core.create_batch(planned, device="ionq-forte-1", scope=Scope("sweep", "a", "t"))
    for part in range(4):
        jobs = batch.submit_parts([part])
        core.wait([job.key for job in jobs], timeout=30)
    found = batch.result(timeout=30, partial=True)
    bought = sandbox.admin.count_jobs("ionq")
    assert 2 <= bought < 4
    assert len(found.errors) == 4 - bought
    assert all(error.code == "OVER_BUDGET" for error in found.errors.values())
    assert all("budget cap" in error.message for error in found.errors.values())
    (one,) = spending.standing(core.ledger)
    assert (one.reserved, one.spent) == (0, bought * 51_580_000)
    put(core.ledger, 400)
    holes = batch.rerun_failed()
    assert holes == sorted(found.errors)
    assert not batch.result(timeout=30).errors
    assert sandbox.admin.count_jobs("ionq") == 4
    assert sorted(job.status for job in batch.sub_jobs()).count(JobStatus.COMPLETED) >= bought


SWEPT = {  # device, options: one circuit a job
    "ionq-forte-1": {},
    "ibm-kingston": {"max_execution_time": 60},
    "braket-garnet": {},
    "qbraid-garnet": {},
}


@pytest.mark.parametrize("device", SWEPT)
def test_limit_lowered_in_the_middle_of_a_sweep_stops_the_rest_on_every_vendor(
    core: Client, sandbox: Sandbox, device: str
) -> None:
    put(core.ledger, 10_000)
    wishes = {"options": SWEPT[device], "max_circuits": 1}
    planned = core.plan_batch([circuit(i) for i in range(4)], device=device, shots=100, **wishes)
    batch = core.create_batch(planned, device=device, scope=Scope("lowered", "a", "t"))
    batch.submit_parts([0, 1])
    put(core.ledger, 0)
    batch.submit_parts([2, 3])
    found = batch.result(timeout=30, partial=True)
    assert sorted(found.errors) == [2, 3]
    assert all(one.code == "OVER_BUDGET" and "budgets set cap" in one.message for one in found.errors.values())
    vendor = device.partition("-")[0]
    assert sandbox.admin.count_jobs(vendor) == 2
    (before,) = spending.standing(core.ledger)
    assert before.reserved == 0
    put(core.ledger, 10_000)
    assert batch.rerun_failed() == [2, 3]
    assert not batch.result(timeout=30).errors
    assert sandbox.admin.count_jobs(vendor) == 4
    (after,) = spending.standing(core.ledger)
    assert (after.reserved, after.spent) == (0, 2 * before.spent)
