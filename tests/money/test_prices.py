"""Prices before a purchase: amounts that were quoted, charged or published, the costly defaults, and the unknown."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from qiskit import QuantumCircuit

from qflows.core.client import Client
from qflows.core.money import Rates
from qflows.sandbox import Sandbox
from qflows.settings import Settings


@pytest.fixture
def core(sandbox: Sandbox, tmp_path: Path) -> Client:
    rates = {"credits": Decimal("0.01"), "qpu_s": Decimal("1.60")}
    return Client(Settings(home=tmp_path, rates=rates))


def gates(one: int, two: int, width: int = 8) -> QuantumCircuit:
    circuit = QuantumCircuit(width, width)
    for i in range(one):
        circuit.rx(0.1, i % width)
    for i in range(two):
        circuit.rzz(0.3, i % width, (i + 1) % width)
    circuit.measure(range(width), range(width))
    return circuit


# device, shots, options, what is charged: quotes and bills with their dates in docs/money.md
CHARGED = [
    ("braket-garnet", 100, {}, "0.445", "usd"),
    ("braket-ibex-q1", 1000, {}, "23.80", "usd"),
    ("braket-forte-1", 100, {}, "8.30", "usd"),
    ("ionq-forte-1", 400, {}, "25.79", "usd"),
    ("ionq-forte-1", 2000, {"debiasing": True}, "168.20", "usd"),
    ("ionq-simulator", 1000, {}, "0", "usd"),
    ("qbraid-ibex-q1", 1000, {}, "2380", "credits"),
    ("local-aer", 1000, {}, "0", "usd"),
]


@pytest.mark.parametrize(("device", "shots", "options", "amount", "unit"), CHARGED, ids=lambda v: str(v)[:24])
def test_price_is_what_was_charged(
    core: Client, device: str, shots: int, options: dict[str, Any], amount: str, unit: str
) -> None:
    price = core.price(gates(8, 4), device=device, shots=shots, options=options)
    assert (price.expected, price.bound, price.unit) == (Decimal(amount), Decimal(amount), unit)
    assert price.bound is not None
    assert price.bound_in == price.bound * (Decimal("0.01") if unit == "credits" else 1)
    assert price.sources


@pytest.mark.parametrize(
    ("one", "two", "shots", "usd"), [(128, 32, 5000, "284.32"), (128, 32, 10_000, "568.64"), (51, 11, 10_000, "206.95")]
)
def test_list_of_ionq_gives_the_quotes_that_it_gave(
    core: Client, sandbox: Sandbox, one: int, two: int, shots: int, usd: str
) -> None:
    sandbox.admin.switches("ionq", estimate_status=401)
    spec = core.specs(gates(0, 0), device="ionq-forte-1", shots=shots)[0]
    from qflows.providers.ionq import prices

    quote = prices.by_list(spec.device_id, one, two, shots, is_mitigated=False)
    assert quote is not None
    assert quote.bound == Decimal(usd)
    priced = core.price(gates(8, 4), device="ionq-forte-1", shots=400)
    assert priced.bound == Decimal("25.79")
    assert "2026-08" in priced.sources[0]


def test_batch_pays_one_task_fee_a_set_and_one_least_price_a_job(core: Client) -> None:
    circuits = [gates(i + 1, 1, width=2) for i in range(100)]
    as_set = core.price(circuits, device="braket-garnet", shots=100)
    alone = core.price(circuits, device="braket-garnet", shots=100, max_circuits=1)
    assert (as_set.bound, len(as_set.quotes)) == (Decimal("14.80"), 1)
    assert (alone.bound, len(alone.quotes)) == (Decimal("44.50"), 100)
    ionq = core.price(circuits[:10], device="ionq-forte-1", shots=100)
    assert (ionq.bound, len(ionq.quotes)) == (Decimal("25.79"), 1)


def test_ibm_is_told_in_seconds_and_bounded_by_its_time_limit(core: Client) -> None:
    wide = core.price(gates(8, 4), device="ibm-phoenix", shots=4096)
    assert (wide.unit, wide.bound, wide.bound_in) == ("qpu_s", 600, Decimal("960.00"))
    assert wide.expected is not None
    assert 3 <= wide.expected <= 8  # 2 circuits of as many shots were charged 3 s
    assert "third-party" in wide.hint
    capped = core.price(gates(8, 4), device="ibm-phoenix", shots=4096, options={"max_execution_time": 60})
    assert (capped.bound, capped.bound_in) == (60, Decimal("96.00"))


def test_no_bound_is_an_answer(core: Client) -> None:
    simulated = core.price(gates(8, 4), device="braket-sv1", shots=100)
    assert (simulated.expected, simulated.bound) == (None, None)
    assert "no bound known" in str(simulated)
    per_minute = core.price(gates(8, 4), device="qbraid-sv1", shots=100)
    assert per_minute.expected is not None
    assert per_minute.bound is None
    page = per_minute._repr_html_()
    assert "no bound known" in page
    assert "credits" in page


def test_without_a_rate_nothing_is_converted() -> None:
    rates = Rates("eur", {"usd": Decimal("0.9"), "credits": Decimal("0.009")})
    assert rates.convert(Decimal(10), "usd") == Decimal("9.0")
    assert rates.convert(Decimal(10), "eur") == 10
    assert rates.convert(Decimal(10), "qpu_s") is None
    assert rates.rate("credits", "usd") == Decimal("0.01")
    assert rates.rate("usd", "pounds") is None


def test_looking_at_a_price_buys_and_records_nothing(core: Client, sandbox: Sandbox) -> None:
    core.price([gates(1, 1), gates(2, 1)], device="ionq-forte-1", shots=100)
    assert sandbox.admin.count_jobs("ionq") == 0
    assert "ledger" not in vars(core.parts)  # not even opened
