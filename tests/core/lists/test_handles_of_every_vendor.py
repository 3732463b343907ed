"""The verbs of handles and lists on every vendor, with two equal circuits of different names in one run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from qiskit import QuantumCircuit

import qflows
from qflows.errors import WaitTimeout
from qflows.sandbox import Sandbox
from qflows.states import GroupState, JobStatus

VENDORS = ("ionq", "qbraid", "braket", "ibm")
DEVICES = ("ionq-simulator", "ibm-sandbox", "braket-sv1", "qbraid-qir-sv", "local-aer")


def circuit(name: str) -> QuantumCircuit:
    made = QuantumCircuit(3, 3, name=name, metadata={"who": name})
    made.x(1)
    made.measure(range(3), range(3))
    return made


@pytest.fixture(scope="module")
def vendors() -> Iterator[Sandbox]:
    with Sandbox(vendors=VENDORS) as running:
        yield running


@pytest.fixture
def desk(vendors: Sandbox, empty_ledger: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Sandbox:
    shutil.copy(empty_ledger, tmp_path / "ledger.db")
    vendors.admin.reset()
    vendors.admin.clock("instant")
    vendors.admin.switches("ibm", noise=False)
    own = {"QFLOWS_HOME": str(tmp_path), "QFLOWS_SETTLE_S": "0.2", "QFLOWS_POLL_MIN_S": "0.02"}
    for name, value in (vendors.env | own).items():
        monkeypatch.setenv(name, value)
    return vendors


@pytest.mark.parametrize("device", DEVICES)
def test_two_equal_circuits_stay_two_jobs_in_every_verb(desk: Sandbox, device: str) -> None:
    is_local = device == "local-aer"
    if not is_local:
        desk.admin.clock("frozen")
    one, other = (
        qflows.submit(circuit(name), device=device, shots=20, tags={"n": name}, name=name, run_key="r")
        for name in ("a", "b")
    )
    assert one.key != other.key
    if not is_local:
        assert {job.status for job in qflows.refresh([one, other, one])} <= {JobStatus.QUEUED, JobStatus.RUNNING}
        assert qflows.status(other) in (JobStatus.QUEUED, JobStatus.RUNNING)
        with pytest.raises(WaitTimeout) as late:
            qflows.wait([one, other], timeout=0)
        assert set(late.value.pending) == {one.key, other.key}
        assert qflows.jobs(status="live").total == 2
        assert one.progress() == {qflows.status(one): 1}
    desk.admin.clock("instant")
    seen: list[tuple[str, JobStatus]] = []
    qflows.wait([one, other], timeout=30, every=0.05, on_change=lambda job: seen.append((job.name, job.status)))
    assert {("a", JobStatus.COMPLETED), ("b", JobStatus.COMPLETED)} <= set(seen)
    assert qflows.status(one) is JobStatus.COMPLETED
    for job in (one, other):
        result = qflows.result(job, refresh=True)
        assert result.counts == result.data.get_counts() == {"010": 20}
        assert (result.success, result.provenance["reread"]["differs"]) == (True, False)
        assert {"qflows", "qiskit"} <= set(result.versions["decoded"])
        [program] = job.programs
        assert program.circuit().metadata == {"who": job.name}
        assert job.progress() == {JobStatus.COMPLETED: 1}
    ends = {job.name: job for job in qflows.jobs(tag="n", order="name")}
    assert list(ends) == ["a", "b"]
    assert [job.name for job in qflows.jobs(tag={"n": "b"}, device=device)] == ["b"]
    made = qflows.batch_from([other, one], name="both")
    assert made.result(timeout=5).data.get_counts() == [{"010": 20}, {"010": 20}]
    assert [program.circuit().name for program in made.programs] == ["b", "a"]
    if not is_local:
        assert desk.admin.count_jobs() == 2


def test_group_over_every_vendor_is_looked_at_and_waited_for_as_a_whole(desk: Sandbox) -> None:
    desk.admin.clock("frozen")
    with qflows.group("all", max_ttl=3600, run_key="r") as group:
        for device in DEVICES:
            group.submit(circuit(device), device=device, shots=20)
    assert (group.group_id, group.max_ttl) == (group.id, 3600)
    assert qflows.status(group) is GroupState.CLOSED
    assert len(qflows.refresh(group)) == len(DEVICES)
    assert qflows.jobs(group=group.id[:12]).total == len(DEVICES)
    desk.admin.clock("instant")
    results = group.results(timeout=60)
    assert results.total == len(DEVICES)
    assert {tuple(result.data.get_counts().items()) for _, result in results.items()} == {(("010", 20),)}
    assert qflows.status(group) is GroupState.COMPLETED
    assert [row["jobs"] for row in qflows.groups(status="completed").to_dicts()] == [len(DEVICES)]
