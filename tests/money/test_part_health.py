"""Reference circuits inside a batch: every part says how healthy the device was, on every vendor."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from qiskit import QuantumCircuit

from qflows.core.client import Client
from qflows.core.scope import Scope
from qflows.errors import ProgramRejected
from qflows.ledger import measurements, reads
from qflows.sandbox import Sandbox
from qflows.settings import Settings

IBM = {"max_execution_time": 60}


@pytest.fixture
def core(sandbox: Sandbox, tmp_path: Path) -> Client:
    return Client(Settings(home=tmp_path, settle_s=0.3, poll_min_s=0.02))


def angle(number: int) -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2, name=f"angle {number}")
    circuit.rx(0.1 + 0.1 * number, 0)
    circuit.measure([0, 1], [0, 1])
    return circuit


def flipped() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2, name="flipped")
    circuit.x(0)
    circuit.measure([0, 1], [0, 1])
    return circuit


GOOD = {"circuit": flipped(), "expected": {"01": 1.0}, "at_least": 0.6}

# device, options, how many circuits a job takes at most here; sizes of the jobs that 5 circuits and a reference become
DEVICES: dict[str, tuple[dict[str, Any], int | None, list[int]]] = {
    "ionq-forte-1": ({}, 3, [3, 3, 2]),
    "ibm-kingston": (IBM, 4, [4, 3]),
    "braket-garnet": ({}, 3, [3, 3, 2]),
    "qbraid-garnet": ({}, 1, [1, 1, 1, 1, 1, 1]),
    "braket-sv1": ({}, None, [1, 1, 1, 1, 1, 1]),
    "local-aer": ({}, 4, [4, 3]),
}


@pytest.mark.parametrize("device", DEVICES)
def test_every_part_carries_its_health_and_the_results_are_the_users_own(core: Client, device: str) -> None:
    options, most, sizes = DEVICES[device]
    wishes: dict[str, Any] = {"shots": 100, "options": options, "max_circuits": most}
    circuits = [angle(i) for i in range(5)]
    scope = Scope("healthy", "a", "t")
    batch = core.submit_list(circuits, scope, device=device, reference=GOOD, **wishes)
    found = batch.result(timeout=60)
    jobs = batch.sub_jobs()
    assert [job.n_programs for job in jobs] == sizes
    assert (len(found), batch.n_circuits) == (5, 5)
    assert list(found.names) == [f"angle {i}" for i in range(5)]
    assert all(sum(histogram.values()) == 100 for histogram in found.data.get_counts())
    with_circuits = [part for part in batch.parts if part.indices]
    assert [one.part for one in found.health] == [part.part for part in with_circuits]
    assert sorted(i for one in found.health for i in one.circuits) == [0, 1, 2, 3, 4]
    for one in found.health:
        assert one.value is not None
        assert one.value > 0.8
        assert (one.reference, one.is_good, one.shots) == ("flipped", True, 100)
        assert "than at_least, 0.6" in one.why
    assert found.in_bad_health == ()
    assert found.health_of(4)[0].job_key in {job.key for job in jobs}
    assert found.details[0]["health"][0]["is_good"] is True
    rows = batch.report_table()
    assert all("flipped 0.9" in row["health"] or "flipped 1.0" in row["health"] for row in rows if row["health"])
    assert sum(bool(row["health"]) for row in rows) == len(with_circuits)
    (kept,) = measurements.of_run(core.ledger, f"batch {batch.id}")
    assert (kept.name, kept.family, kept.device) == ("reference flipped", "reference", device)
    assert set(kept.job_keys) == {one.job_key for one in found.health}
    again = core.submit_list(circuits, Scope("healthy", "b", "t"), device=device, reference=GOOD, **wishes)
    assert again.id == batch.id
    assert len(again.sub_jobs()) == len(sizes)
    assert len(measurements.of_run(core.ledger, f"batch {batch.id}")) == 1


def test_references_are_part_of_the_price(core: Client) -> None:
    circuits = [angle(i) for i in range(5)]
    wishes: dict[str, Any] = {"device": "braket-garnet", "shots": 100}
    assert core.price(circuits, **wishes).bound == Decimal("0.30") + 5 * Decimal("0.145")
    assert core.price(circuits, reference=GOOD, **wishes).bound == Decimal("0.30") + 6 * Decimal("0.145")
    alone = core.price(circuits, reference=GOOD, max_circuits=1, **wishes)
    assert alone.bound == 6 * Decimal("0.445")
    many = core.price([angle(i) for i in range(21)], reference=[GOOD, flipped()], max_circuits=1, **wishes)
    assert len(many.quotes) == 21 + 3 * 2


LONG = QuantumCircuit(2, 2, name="long")
LONG.x(0)
for _ in range(120):
    LONG.cx(0, 1)
LONG.measure([0, 1], [0, 1])


def test_bad_part_is_told_by_itself(core: Client, sandbox: Sandbox) -> None:
    sandbox.admin.switches("ionq", qpu_noise=False)
    reference = {"circuit": LONG, "expected": {"01": 1.0}, "at_least": 0.95}
    planned = core.plan_batch(
        [angle(i) for i in range(4)], device="ionq-forte-1", reference=reference, shots=100, max_circuits=3
    )
    batch = core.create_batch(planned, device="ionq-forte-1", scope=Scope("half", "a", "t"))
    jobs = batch.submit_parts([0])
    core.wait([job.key for job in jobs], timeout=30)
    sandbox.admin.switches("ionq", qpu_noise=True)
    batch.submit()
    found = batch.result(timeout=30)
    first, second = found.health
    assert (first.is_good, second.is_good) == (True, False)
    assert "worse than at_least, 0.95" in second.why
    assert found.in_bad_health == (2, 3)
    assert [row["health"].endswith("BAD") for row in batch.report_table()] == [False, True]
    assert "1 parts measured bad health; first: part 1" in batch.report()
    assert "bad health" in found._repr_html_()
    told = [event for event in reads.history(core.ledger, second.job_key) if event["kind"] == "bad-health"]
    assert len(told) == 1
    batch.result(timeout=30)
    assert [one["kind"] for one in reads.history(core.ledger, second.job_key)].count("bad-health") == 1
    assert all(event["kind"] != "bad-health" for event in reads.history(core.ledger, first.job_key))


def test_rerun_of_holes_carries_references_of_its_own(core: Client, sandbox: Sandbox) -> None:
    sandbox.admin.fault("fail_job", "ionq.submit", children=[1])
    batch = core.submit_list(
        [angle(i) for i in range(3)], Scope("holes", "a", "t"), device="ionq-forte-1", reference=GOOD, shots=100
    )
    assert sorted(batch.result(timeout=30, partial=True).errors) == [1]
    assert batch.rerun_failed() == [1]
    found = batch.result(timeout=30)
    assert not found.errors
    assert [one.circuits for one in found.health] == [(0, 1, 2), (1,)]
    assert [job.n_programs for job in batch.sub_jobs()] == [4, 2]


def test_earlier_values_judge_a_batch_without_at_least(core: Client) -> None:
    reference = {"circuit": flipped(), "expected": {"01": 1.0}}
    told = ""
    for night in range(8):
        batch = core.submit_list(
            [angle(0)], Scope(f"night {night}", "a", "t"), device="local-noisy", reference=reference, shots=200
        )
        (one,) = batch.result(timeout=30).health
        assert (one.is_good is None) == (night < 7)
        told = one.why
    assert "of 7 earlier values" in told


@pytest.mark.parametrize(
    ("wishes", "told"),
    [
        ({"shots": None, "device": "local-exact"}, "exact values have no health"),
        ({"mitigate": "readout", "observables": "ZZ"}, "cannot be combined with mitigate"),
        ({"reference": "not a circuit"}, "reference 1"),
        ({"reference": {"circuit": flipped(), "at_least": 7}}, "at_least is an overlap"),
        ({"device": "ibm-kingston", "observables": "ZZ", "options": IBM}, "measures observables itself"),
    ],
)
def test_reference_that_cannot_be_is_refused_before_anything_is_bought(
    core: Client, sandbox: Sandbox, wishes: dict[str, Any], told: str
) -> None:
    bare = QuantumCircuit(2)
    bare.rx(0.3, 0)
    circuits = [bare] if "observables" in wishes else [angle(0)]
    given = {"device": "ionq-forte-1", "shots": 100, "reference": GOOD} | wishes
    with pytest.raises(ProgramRejected, match=told):
        core.submit_list(circuits, Scope("refused", "a", "t"), **given)
    assert sandbox.admin.count_jobs() == 0
    assert reads.listing(core.ledger) == []


def test_expectation_values_of_a_sweep_are_measured_beside_references(core: Client) -> None:
    bare = QuantumCircuit(2)
    batch = core.submit_list(
        [bare, bare], Scope("values", "a", "t"), device="local-aer", reference=GOOD, shots=100, observables=["ZI", "XX"]
    )
    found = batch.result(timeout=30)
    assert found.expectation_values.shape == (2,)
    assert found.expectation_values[0] == 1.0
    assert found.health[0].is_good
