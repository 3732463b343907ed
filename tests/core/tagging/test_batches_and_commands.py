"""Tags of batches, and the commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from qiskit import QuantumCircuit
from typer.testing import CliRunner

from qflows.cli.app import app
from qflows.core.batches.batch import Batch
from qflows.core.client import Client
from qflows.core.scope import Scope
from qflows.errors import ProgramRejected
from qflows.model import Job
from qflows.sandbox import Sandbox


@pytest.fixture
def batch(core: Client) -> Batch:
    """Five circuits in three jobs on the IBM device, tagged {"study": "a", "shift": "night"}."""
    circuits = []
    for index in range(5):
        circuit = QuantumCircuit(1, 1, name=f"c{index}")
        circuit.rx(0.1 * index, 0)
        circuit.measure(0, 0)
        circuits.append(circuit)
    tags = {"study": "a", "shift": "night"}
    planned = core.plan_batch(circuits, device="ibm-sandbox", shots=10, tags=tags, max_circuits=2)
    made = core.create_batch(planned, device="ibm-sandbox", scope=Scope("r", "a", "b"), name="sweep", tags=tags)
    core.submit_batch(made)
    return made


def labels_at_ibm(core: Client, job: Job) -> set[str]:
    provider: Any = core.provider("ibm")
    return {tag for tag in provider._tags_of(job.vendor_id) if not tag.startswith(("qflows", "name="))}


def test_tags_of_a_batch_go_to_every_job_and_its_vendor(core: Client, batch: Batch) -> None:
    changed = batch.update(name="night run", tags={"study": "b"})
    assert [one.job.tags for one in changed] == [{"study": "b"}] * 3
    assert [labels_at_ibm(core, job) for job in batch.sub_jobs()] == [{"study=b"}] * 3
    again = core.batch(batch.id)
    assert (again.name, again.tags) == ("night run", {"study": "b"})


def test_a_tag_that_one_job_has_alone_stays_with_it(core: Client, batch: Batch) -> None:
    second = batch.sub_job(2)
    core.tag(second.key, {"bad": "yes"})
    batch.update(tags={"study": "b"})
    assert [set(job.tags) for job in batch.sub_jobs()] == [{"study"}, {"study", "bad"}, {"study"}]


def test_a_job_whose_vendor_fails_does_not_keep_the_others_from_being_told(
    core: Client, sandbox: Sandbox, batch: Batch
) -> None:
    sandbox.admin.fault("status", "ibm.tags", status=503)
    changed = batch.update(tags={"study": "b"})
    assert [one.vendor_tags is None for one in changed] == [True, False, False]
    assert "ibm did not get the change" in changed[0].note
    assert [job.tags for job in batch.sub_jobs()] == [{"study": "b"}] * 3
    batch.update(tags={"study": "b"})
    assert [labels_at_ibm(core, job) for job in batch.sub_jobs()] == [{"study=b"}] * 3


def test_what_the_vendor_cannot_hold_changes_nothing(core: Client, sandbox: Sandbox, batch: Batch) -> None:
    with pytest.raises(ProgramRejected):
        batch.update(tags={f"t{i}": "1" for i in range(9)})
    assert sandbox.admin.requests("ibm.tags") == 0
    assert core.batch(batch.id).tags == {"study": "a", "shift": "night"}
    assert {frozenset(job.tags) for job in batch.sub_jobs()} == {frozenset({"study", "shift"})}


# -- commands ------------------------------------------------------------------------------------------------------


@pytest.fixture
def qflows(core: Client, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    for name in ("PREFECT_API_URL", "PREFECT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(core.settings.home / "prefect"))
    monkeypatch.setenv("QFLOWS_HOME", str(core.settings.home))
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *words: CliRunner().invoke(app, list(words), prog_name="qflows")


def test_command_changes_a_job_and_shows_what_both_hold(core: Client, qflows, bought: Callable[[str], Job]) -> None:
    job = bought("ibm")
    said = qflows("jobs", "tag", job.key[:10], "study=b", "name=night run", "--remove", "shift", "--json")
    assert said.exit_code == 0, said.output
    body = json.loads(said.stdout)
    assert (body["name"], body["ledger"]) == ("night run", {"study": "b"})
    assert set(body["vendor"]) == {"qflows", f"qflows:{job.key}", "name=night run", "study=b"}
    plain = qflows("jobs", "tag", job.key[:10], "study=c").stdout
    assert "study=c" in plain
    assert job.key in plain


@pytest.mark.parametrize("words", [["nonsense"], ["=x"], []])
def test_command_without_a_change_exits_2(qflows, bought: Callable[[str], Job], words: list[str]) -> None:
    assert qflows("jobs", "tag", bought("ionq").key[:10], *words).exit_code == 2


def test_command_leaves_the_vendor_alone_when_told(sandbox: Sandbox, qflows, bought: Callable[[str], Job]) -> None:
    job = bought("ibm")
    said = qflows("jobs", "tag", job.key[:10], "study=b", "--ledger-only", "--json")
    assert json.loads(said.stdout)["vendor"] is None
    assert sandbox.admin.requests("ibm.tags") == 0


def test_command_changes_a_batch(core: Client, qflows, batch: Batch) -> None:
    said = qflows("batches", "tag", batch.id[:10], "study=b", "name=night", "--remove", "shift", "--json")
    assert said.exit_code == 0, said.output
    body = json.loads(said.stdout)
    assert (body["name"], body["tags"], len(body["jobs"])) == ("night", {"study": "b"}, 3)
    assert [labels_at_ibm(core, job) for job in batch.sub_jobs()] == [{"study=b"}] * 3


def test_help_says_what_vendors_can_do_and_gives_an_example(qflows) -> None:
    said = " ".join(qflows("jobs", "tag", "--help").stdout.split())
    assert "IonQ and qBraid keep what was submitted" in said
    assert "qflows jobs tag 3f9c01ab study=h2" in said
