"""Two ledgers in one account, without namespaces: the same run key and circuit are two purchases, and stay two."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from buyers import DEVICES, asymmetric
from typer.testing import CliRunner

from qflows.cli.app import app
from qflows.core.client import Client
from qflows.core.scope import Scope
from qflows.errors import InDoubt, ProgramRejected
from qflows.keys import mark_of, name_of
from qflows.ledger import marks, reads
from qflows.model import Job
from qflows.sandbox import Sandbox
from qflows.settings import Settings
from qflows.states import JobStatus

from .test_rebuild import want

Open = Callable[[str], Client]
POST = {"braket": "braket.submit", "ibm": "ibm.submit", "ionq": "ionq.submit", "qbraid": "qbraid.submit"}


@pytest.fixture
def open_core(tmp_path: Path, sandbox: Sandbox) -> Open:
    return lambda name: Client(Settings(home=tmp_path / name, settle_s=0.3, poll_min_s=0.01))


def buy(core: Client, vendor: str, attempt: str = "first") -> Job:
    device = DEVICES[vendor]
    specs = core.specs(asymmetric(0)[0], device=device, shots=20, tags={"study": "h2"})
    return core.submit(specs, device=device, scope=Scope("the-run", attempt, "call0"))[0]


def settled(core: Client, job: Job) -> Job:
    return core.wait([job.key], timeout=60)[job.key]


def phases(sandbox: Sandbox, vendor: str) -> list[str]:
    return [one["phase"] for one in sandbox.admin.jobs(vendor)]


def test_each_ledger_buys_its_own_job_and_touches_no_other(open_core: Open, sandbox: Sandbox, vendor: str) -> None:
    sandbox.admin.clock("frozen")  # the jobs stay queued, so that a cancel would show
    ann, bob = open_core("ann"), open_core("bob")
    first, second = buy(ann, vendor), buy(bob, vendor)
    assert name_of(first.key) == name_of(second.key)
    assert first.key != second.key
    assert first.vendor_id != second.vendor_id
    for core, job in ((ann, first), (bob, second)):
        provider = core.provider(vendor)
        core.submitter.cancel_extras_of(provider, job.device_id, job.key)
        found = provider.find_submitted([job.key], since=job.created_at, device_ids={job.device_id})
        assert [hit.vendor_id for hit in found[job.key]] == [job.vendor_id]
    assert sandbox.admin.count_jobs(vendor) == 2
    assert "cancelled" not in phases(sandbox, vendor)
    sandbox.admin.clock("instant")
    assert {settled(core, job).status for core, job in ((ann, first), (bob, second))} == {JobStatus.COMPLETED}


@pytest.mark.parametrize("fault", ["drop_before", "drop_after"])
def test_lost_answer_adopts_nothing_of_the_other_ledger(
    open_core: Open, sandbox: Sandbox, vendor: str, fault: str
) -> None:
    ann, bob = open_core("ann"), open_core("bob")
    first = settled(ann, buy(ann, vendor))
    sandbox.admin.fault(fault, POST[vendor])
    second = settled(bob, buy(bob, vendor))
    assert [one["fired"] for one in sandbox.admin.faults()] == [1]
    assert second.status is JobStatus.COMPLETED
    assert second.vendor_id != first.vendor_id
    assert sandbox.admin.count_jobs(vendor) == 2
    assert "cancelled" not in phases(sandbox, vendor)


def test_the_same_run_draws_the_same_shots_in_every_ledger(open_core: Open) -> None:
    plus = "OPENQASM 3.0; include 'stdgates.inc'; qubit[3] q; bit[3] c; h q; c = measure q;".replace("'", '"')
    drawn = []
    for name in ("ann", "bob"):
        core = open_core(name)
        specs = core.specs(plus, device="local-aer", shots=500)
        job = settled(core, core.submit(specs, device="local-aer", scope=Scope("the-run", "first", "call"))[0])
        drawn.append([dict(item.counts or {}) for item in reads.items(core.ledger, job.key)])
    assert drawn[0] == drawn[1]


# -- rebuilding


def test_rebuild_leaves_out_another_ledger_until_it_is_named(
    open_core: Open, sandbox: Sandbox, vendor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = open_core("ann"), open_core("bob")
    theirs, ours = settled(ann, buy(ann, vendor)), settled(bob, buy(bob, vendor))
    found = bob.rebuild([vendor], since="1h")
    assert (found.jobs, found.known, found.others) == ((), 1, {mark_of(theirs.key): 1})

    carol = open_core("carol")  # two marks: which of the two was hers, only she can say
    found = carol.rebuild([vendor], since="1h")
    assert found.jobs == ()
    assert found.others == {mark_of(theirs.key): 1, mark_of(ours.key): 1}
    for wrong in ("no mark", "00000000"):
        with pytest.raises(ProgramRejected, match="mark"):
            carol.rebuild([vendor], since="1h", mark=wrong)
    found = carol.rebuild([vendor], since="1h", mark=mark_of(theirs.key))
    assert [job.key for job in found.jobs] == [theirs.key]
    assert found.others == {mark_of(ours.key): 1}
    again = settled(carol, buy(carol, vendor, "second"))
    assert (again.key, again.vendor_id, again.origin) == (theirs.key, theirs.vendor_id, None)
    assert sandbox.admin.count_jobs(vendor) == 2
    other = carol.submit(
        carol.specs(asymmetric(1)[0], device=DEVICES[vendor], shots=20),
        device=DEVICES[vendor],
        scope=Scope("the-run", "second", "call1"),
    )[0]
    assert mark_of(other.key) == marks.of(carol.ledger).own != mark_of(theirs.key)
    for one in (ann, bob, carol):
        one.ledger.close()
    monkeypatch.setenv("QFLOWS_HOME", str(Path(str(bob.ledger.engine.url.database)).parent))
    said = CliRunner().invoke(app, ["ledger", "rebuild", vendor, "--since", "1h"])
    assert f"left out: 1 job of the ledger with the mark {mark_of(theirs.key)}" in said.output
    as_json = CliRunner().invoke(app, ["ledger", "rebuild", vendor, "--since", "1h", "--json"])
    assert json.loads(as_json.output)["others"] == {mark_of(theirs.key): 1, mark_of(other.key): 1}


def test_run_that_waited_unsent_takes_the_job_of_the_lost_ledger(
    open_core: Open, sandbox: Sandbox, vendor: str
) -> None:
    lost = open_core("lost")
    bought = buy(lost, vendor)
    lost.ledger.close()
    new = open_core("new")
    wanted = want(new, vendor, "second")  # recorded before anybody thought of rebuilding
    assert (wanted.status, name_of(wanted.key)) == (JobStatus.PREPARED, name_of(bought.key))
    assert new.rebuild([vendor], since="1h").attached == ()
    found = new.rebuild([vendor], since="1h", mark=mark_of(bought.key))
    assert [(job.key, job.vendor_id) for job in found.attached] == [(wanted.key, bought.vendor_id)]
    ended = settled(new, buy(new, vendor, "third"))
    assert (ended.key, ended.status) == (wanted.key, JobStatus.COMPLETED)
    assert dict(new.stored([ended]).counts) == {asymmetric(0)[1]: 20}
    assert sandbox.admin.count_jobs(vendor) == 1


# -- keys that are older than marks


def without_marks(core: Client, job: Job) -> str:
    """Makes of a job one that was recorded before ledgers had marks; returns its key."""
    from qflows.keys import job_key

    with core.ledger.write() as connection:
        sample, epoch = connection.exec_driver_sql("select sample, epoch from jobs").one()
        connection.exec_driver_sql("update jobs set key = ?", (job_key(sample, epoch),))
    marks.recognize(core.ledger, "")
    return job_key(sample, epoch)


def test_job_without_a_mark_goes_on_under_its_key(open_core: Open, sandbox: Sandbox, vendor: str) -> None:
    core = open_core("old")
    key = without_marks(core, want(core, vendor, "first"))
    bought = settled(core, buy(core, vendor, "second"))
    assert (bought.key, bought.status) == (key, JobStatus.COMPLETED)
    assert sandbox.admin.count_jobs(vendor) == 1


def test_without_a_mark_nothing_is_cancelled_as_an_extra(open_core: Open, sandbox: Sandbox, vendor: str) -> None:
    sandbox.admin.clock("frozen")
    ann, bob = open_core("ann"), open_core("bob")
    key = without_marks(ann, want(ann, vendor, "first"))
    assert without_marks(bob, want(bob, vendor, "first")) == key
    jobs = [buy(core, vendor, "second") for core in (ann, bob)]
    for core, job in zip((ann, bob), jobs, strict=True):
        assert job.key == key
        core.submitter.cancel_extras_of(core.provider(vendor), job.device_id, key)
    assert "cancelled" not in phases(sandbox, vendor)
    sold = sandbox.admin.count_jobs(vendor)
    assert sold == (1 if vendor == "braket" else 2)  # Braket gives the same task for the same client token
    outcomes = [event["detail"]["outcome"] for event in reads.history(ann.ledger, key) if event["kind"] == "extra"]
    assert outcomes == ["not cancelled: its key does not say which ledger bought it"] * (sold - 1)


@pytest.mark.parametrize("vendor", ["ibm", "ionq", "qbraid"])
def test_without_a_mark_a_colleagues_older_job_is_left_to_a_person(
    open_core: Open, sandbox: Sandbox, vendor: str
) -> None:
    ann = open_core("ann")
    key = without_marks(ann, want(ann, vendor, "first"))
    old = settled(ann, buy(ann, vendor, "second"))
    with time_machine.travel(datetime.now(UTC) + timedelta(days=3), tick=True):
        bob = open_core("bob")
        assert without_marks(bob, want(bob, vendor, "first")) == key
        sandbox.admin.fault("drop_before", POST[vendor])
        job = buy(bob, vendor, "second")
        with pytest.raises(InDoubt):
            bob.wait([job.key], timeout=20)
        now = reads.job(bob.ledger, job.key)
        assert (now.status, now.vendor_id, now.asks_person) == (JobStatus.IN_DOUBT, None, True)
        [asked] = [event for event in reads.history(bob.ledger, key) if event["kind"] == "asks-person"]
        assert str(old.vendor_id) in asked["detail"]["why"]
        assert "may be a colleague's" in asked["detail"]["why"]
        bob.ledger.close()
