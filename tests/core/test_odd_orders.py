"""Faults in orders that nobody planned, on every vendor: one purchase, and each waiter is told what it waits for."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qflows.core.client import Client
from qflows.core.scope import Scope
from qflows.errors import OtherAccount, QflowsError
from qflows.ledger import accounts, lanes, reads
from qflows.model import Job
from qflows.sandbox import Sandbox
from qflows.settings import Settings
from qflows.states import JobStatus

BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'
DEVICES = {"ionq": "ionq-simulator", "ibm": "ibm-sandbox", "braket": "braket-sv1", "qbraid": "qbraid-qir-sv"}
LISTS = {"ionq": "ionq.list", "ibm": "ibm.list", "braket": "braket.search", "qbraid": "qbraid.list"}
As = Callable[[str], Client]


@pytest.fixture(scope="module")
def vendors() -> Iterator[Sandbox]:
    with Sandbox(vendors=tuple(DEVICES)) as running:
        yield running


@pytest.fixture(params=DEVICES)
def vendor(request: pytest.FixtureRequest, vendors: Sandbox) -> str:
    vendors.admin.reset()
    vendors.admin.switches("ionq", accounts="per_key")
    vendors.admin.switches("ibm", accounts_per_key=True, noise=False)
    vendors.admin.switches("braket", accounts="per_key")
    return request.param


@pytest.fixture
def as_person(vendors: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[As]:
    made: list[Client] = []

    def connect(who: str) -> Client:
        account = hashlib.sha256(who.encode()).hexdigest()[:32]
        keys = {
            "IONQ_API_KEY": who,
            "QISKIT_IBM_TOKEN": who,
            "QISKIT_IBM_INSTANCE": vendors.env["QISKIT_IBM_INSTANCE"].replace("a/" + "0" * 32, f"a/{account}"),
            "AWS_ACCESS_KEY_ID": f"AKIA{who.upper():X<16}",
            "QBRAID_API_KEY": f"qbr_{who}",
        }
        for name, value in {**vendors.env, **keys}.items():
            monkeypatch.setenv(name, value)
        made.append(Client(Settings(home=tmp_path, settle_s=0.1, poll_min_s=0.01, http_timeout_s=2, lease_s=20)))
        for name in DEVICES:
            made[-1].provider(name)  # the environment is read now
        return made[-1]

    yield connect
    for one in made:
        one.ledger.close()


def buy(core: Client, vendor: str) -> Job:
    specs = core.specs(BELL, device=DEVICES[vendor], shots=20)
    return core.submit(specs, device=DEVICES[vendor], scope=Scope("run", uuid.uuid4().hex, "caller"))[0]


def finish(core: Client, vendors: Sandbox, vendor: str, job: Job) -> None:
    """All is well again: the job ends, and was bought once."""
    vendors.admin.clear_faults()
    vendors.admin.clock("instant")
    vendors.admin.release()
    done = core.wait([job.key], timeout=20)[job.key]
    assert (done.status, vendors.admin.count_jobs(vendor)) == (JobStatus.COMPLETED, 1)


def test_the_account_is_switched_between_submission_and_poll(vendors: Sandbox, vendor: str, as_person: As) -> None:
    vendors.admin.clock("frozen")
    ann = as_person("ann")
    job = buy(ann, vendor)
    bob = as_person("bob")
    for act in (lambda: bob.wait([job.key], timeout=20), lambda: bob.cancel([job.key]), lambda: buy(bob, vendor)):
        with pytest.raises(OtherAccount, match="another account of"):
            act()
    with ann.ledger.write() as connection:  # the wish to cancel was noted; here it is taken back
        connection.exec_driver_sql("update jobs set cancel_requested_at = null")
    finish(ann, vendors, vendor, job)


def test_a_key_is_changed_while_a_job_is_in_doubt(vendors: Sandbox, vendor: str, as_person: As) -> None:
    """Nothing proves that the new key has the same account: it is told, and a person's word settles it."""
    shared = {"ionq": {"accounts": "shared"}, "ibm": {"accounts_per_key": False}, "braket": {"accounts": "one"}}
    vendors.admin.switches(vendor, **shared.get(vendor, {"accounts": "shared"}))
    ann = as_person("ann")
    if vendor == "ibm":
        pytest.skip("an account of IBM is named by its instance, which a new key does not change")
    vendors.admin.fault("drop_after", f"{vendor}.submit")
    job = buy(ann, vendor)
    assert job.status is JobStatus.IN_DOUBT
    new = as_person("anew")
    with pytest.raises(OtherAccount, match=f"qflows accounts same {vendor}"):
        new.wait([job.key], timeout=20)
    with pytest.raises(OtherAccount, match="nothing was bought or read"):
        buy(new, vendor)
    accounts.note_same(new.ledger, vendor, job.account, new.provider(vendor).account, proof="a person")
    assert buy(new, vendor).key == job.key
    finish(new, vendors, vendor, job)


def test_credentials_are_refused_for_a_while_in_mid_run(vendors: Sandbox, vendor: str, as_person: As) -> None:
    vendors.admin.clock("frozen")
    ann = as_person("ann")
    job = buy(ann, vendor)
    for route in ("list", "search", "get"):
        vendors.admin.fault("status", f"{vendor}.{route}", status=401, times=None)
    with pytest.raises(QflowsError) as caught:
        ann.wait([job.key], timeout=6)
    assert not isinstance(caught.value, OtherAccount)
    assert reads.job(ann.ledger, job.key).vendor_id == job.vendor_id
    assert reads.job(ann.ledger, job.key).status in (JobStatus.QUEUED, JobStatus.RUNNING)
    vendors.admin.clear_faults()
    lanes.free(ann.ledger, vendor, None)
    finish(ann, vendors, vendor, job)


def test_no_answer_comes_before_the_deadline(vendors: Sandbox, vendor: str, as_person: As) -> None:
    ann = as_person("ann")
    ann.provider(vendor).limits(ann.device(DEVICES[vendor]).profile.device)  # what is read before a submission
    vendors.admin.fault("hold", f"{vendor}.submit", when="after")
    job = buy(ann, vendor)
    assert job.status is JobStatus.IN_DOUBT
    vendors.admin.release_held(verdict="drop")
    finish(ann, vendors, vendor, job)
