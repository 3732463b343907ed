"""Groups, sessions and keys of other people: nobody adopts, ends or takes over what is not theirs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qflows.core.client import Client
from qflows.core.scope import Scope
from qflows.core.sessions import resolve
from qflows.errors import InDoubt, OtherAccount, ProgramRejected
from qflows.ledger import accounts, reads
from qflows.ledger import groups as ledger_groups
from qflows.ledger import sessions as ledger_sessions
from qflows.ledger.owner import me, name_of
from qflows.sandbox import Sandbox
from qflows.settings import Settings
from qflows.states import GroupState, JobStatus, SessionState

BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'
QBRAID, QPU = "qbraid-qir-sv", "ionq-forte-1"
As = Callable[..., Client]


@pytest.fixture(scope="module")
def vendors() -> Iterator[Sandbox]:
    with Sandbox(vendors=("ionq", "qbraid", "ibm")) as running:
        yield running


@pytest.fixture
def connect(vendors: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[As]:
    """A client with these variables, in the ledger of this name."""
    vendors.admin.reset()
    vendors.admin.switches("ibm", noise=False)
    made: list[Client] = []

    def make(vendor: str, home: str = "shared", **variables: str) -> Client:
        for name, value in {**vendors.env, **variables}.items():
            monkeypatch.setenv(name, value)
        made.append(Client(Settings(home=tmp_path / home, settle_s=0.1, poll_min_s=0.01)))
        made[-1].provider(vendor)
        return made[-1]

    yield make
    for one in made:
        one.ledger.close()


def buy(core: Client, device: str, run_key: str = "run") -> Any:
    return core.submit(core.specs(BELL, device=device, shots=20), device=device, scope=Scope(run_key, "a", "c"))[0]


# -- groups


def test_native_group_of_another_account_is_neither_joined_nor_ended(
    connect: As, vendors: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = connect("qbraid", QBRAID_API_KEY="qbr_ann")
    theirs = ann.new_group("sweep", run_key="run", native=QBRAID, ambient=False).open()
    native_id = str(theirs.details()["native_id"])
    bob = connect("qbraid", QBRAID_API_KEY="qbr_bob")
    monkeypatch.setattr("qflows.core.scope._PROCESS_ATTEMPT", "another process")  # the same run, started again
    with pytest.raises(OtherAccount, match="another account of qbraid"):
        bob.new_group("sweep", run_key="run", native=QBRAID, ambient=False).open()
    for end in (bob.group(native_id).close, bob.group(native_id).cancel):
        with pytest.raises(OtherAccount, match="another account of qbraid"):
            end()
    assert ledger_groups.find(bob.ledger, native_id).state is GroupState.OPEN  # or nobody would end it at qBraid
    assert vendors.admin.requests("qbraid.group_create") == 1
    assert vendors.admin.requests("qbraid.group_close") + vendors.admin.requests("qbraid.group_cancel") == 0
    theirs.close()
    provider: Any = ann.provider("qbraid")
    assert not provider.group(native_id).is_open


def test_groups_of_one_name_and_run_key_in_two_ledgers_of_one_account_are_two(connect: As, vendors: Sandbox) -> None:
    ann, bob = connect("qbraid", "ann"), connect("qbraid", "bob")
    theirs = ann.new_group("sweep", run_key="run", native=QBRAID, ambient=False).open()
    vendors.admin.fault("drop_after", "qbraid.group_create")  # the answer is lost: the group is looked for by its key
    ours = bob.new_group("sweep", run_key="run", native=QBRAID, ambient=False).open()
    assert vendors.admin.requests("qbraid.group_create") == 2
    assert ours.details()["native_id"] != theirs.details()["native_id"]
    again = bob.new_group("sweep", run_key="run", native=QBRAID, ambient=False, record=ours.record)
    assert again.details()["native_id"] == ours.details()["native_id"]
    ours.cancel()
    provider: Any = ann.provider("qbraid")
    assert provider.group(str(theirs.details()["native_id"])).is_open


# -- sessions


def test_sessions_of_one_run_key_in_two_ledgers_of_one_account_are_two(connect: As, vendors: Sandbox) -> None:
    ann, bob = connect("ionq", "ann"), connect("ionq", "bob")
    theirs = ann.open_session(QPU, "run", max_time_s=600, name="night")
    ours = bob.open_session(QPU, "run", max_time_s=600, name="night")
    assert ours.id != theirs.id
    ours.cancel()
    assert theirs.is_open()
    vendors.admin.fault("drop_after", "ionq.session_create")
    with pytest.raises(InDoubt):
        bob.open_session(QPU, "run", max_time_s=600, name="other")
    assert bob.reconciler().tick().sessions_closed == []
    assert theirs.is_open()
    theirs.close()


def test_looking_at_a_session_takes_it_from_nobody(connect: As, vendors: Sandbox) -> None:
    """A second process attaches and ends: the owner lives, so the reconciler lets the session be."""
    ann = connect("ionq", IONQ_API_KEY="alice.first")
    held = ann.open_session(QPU, "run", max_time_s=600)
    owner = "select owner from sessions"
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    other = name_of(child.pid)
    assert ledger_sessions.hold(ann.ledger, str(held.key), lease_s=90, owner=other)
    child.communicate(b"\n")
    with ann.ledger.read() as connection:
        assert connection.exec_driver_sql(owner).scalar() == me()
    assert ann.reconciler().tick().sessions_closed == []
    bob = connect("ionq", IONQ_API_KEY="bob.first")
    with pytest.raises(OtherAccount):
        bob.session(str(held.key))
    assert held.is_open()
    # of an owner who certainly died the lease is taken
    with ann.ledger.write() as connection:
        connection.exec_driver_sql(f"update sessions set owner = '{other}'")
    assert ledger_sessions.hold(ann.ledger, str(held.key), lease_s=90)
    with ann.ledger.read() as connection:
        assert connection.exec_driver_sql(owner).scalar() == me()
    held.close()


def test_a_person_cannot_name_a_session_that_is_another_record_s_or_unknown(connect: As, vendors: Sandbox) -> None:
    core = connect("ionq", IONQ_API_KEY="alice.first")
    held = core.open_session(QPU, "first", max_time_s=600)
    vendors.admin.fault("drop_before", "ionq.session_create")
    with pytest.raises(InDoubt):
        core.open_session(QPU, "second", max_time_s=600)
    (record,) = [one for one in ledger_sessions.listing(core.ledger) if one.state is SessionState.IN_DOUBT]
    provider = core.vendors.of_session(record)
    with pytest.raises(ProgramRejected, match="of run 'first'"):
        resolve(core.ledger, provider, record, vendor_id=str(held.id))
    with pytest.raises(ProgramRejected, match="does not show a session"):
        resolve(core.ledger, provider, record, vendor_id="no-such-session")
    bob = connect("ionq", IONQ_API_KEY="bob.first")
    with pytest.raises(OtherAccount):
        bob.vendors.of_session(record)
    held.close()


# -- IBM: the instance is the account


def test_new_key_of_an_ibm_instance_is_its_account_and_another_instance_is_not(connect: As, vendors: Sandbox) -> None:
    vendors.admin.clock("frozen")
    crn = vendors.env["QISKIT_IBM_INSTANCE"]
    ann = connect("ibm", QISKIT_IBM_TOKEN="ann-first-key")
    job = buy(ann, "ibm-sandbox")
    new = connect("ibm", QISKIT_IBM_TOKEN="ann-second-key")
    assert new.provider("ibm").account == job.account
    vendors.admin.switches("ibm", accounts_per_key=True)
    elsewhere = crn.replace("a/" + "0" * 32, "a/" + "1" * 32)
    bob = connect("ibm", QISKIT_IBM_TOKEN="bob-key", QISKIT_IBM_INSTANCE=elsewhere)
    assert bob.provider("ibm").account != job.account
    with pytest.raises(OtherAccount, match="another account of ibm"):
        bob.wait([job.key], timeout=30)
    assert reads.job(bob.ledger, job.key) == job
    vendors.admin.switches("ibm", accounts_per_key=False)
    vendors.admin.clock("instant")
    vendors.admin.release()
    assert new.wait([job.key], timeout=30)[job.key].status is JobStatus.COMPLETED


def test_an_ibm_instance_that_is_named_is_an_account_of_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """`open-instance` is the first instance's name in everybody's account."""
    from qflows import providers

    def account(token: str, instance: str) -> str:
        return providers.connect("ibm", {"token": token, "instance": instance}).account

    monkeypatch.delenv("QISKIT_IBM_URL", raising=False)
    for variable in ("IAM_URL", "GLOBAL_SEARCH_URL", "GLOBAL_CATALOG_URL"):
        monkeypatch.delenv(variable, raising=False)
    assert account("key-of-ann-0123456789", "open-instance") != account("key-of-bob-0123456789", "open-instance")
    assert account("key-of-ann-0123456789", "open-instance") == account("key-of-ann-0123456789", "open-instance")
    assert account("key-of-ann-0123456789", "crn:v1:x") == account("key-of-bob-0123456789", "crn:v1:x")


def test_renewed_key_of_a_named_ibm_instance_is_accepted_on_proof(connect: As, vendors: Sandbox) -> None:
    vendors.admin.clock("frozen")
    names = vendors.env["QISKIT_IBM_INSTANCE"]
    old = connect("ibm", QISKIT_IBM_TOKEN="ann-first-key")
    job = buy(old, "ibm-sandbox")
    with old.ledger.write() as connection:  # as it would be if the instance were named and the key an older one
        connection.exec_driver_sql("update jobs set account = 'sandbox:olderkey'")
    new = connect("ibm", QISKIT_IBM_TOKEN="ann-second-key", QISKIT_IBM_INSTANCE=names)
    vendors.admin.clock("instant")
    vendors.admin.release()
    assert new.wait([job.key], timeout=30)[job.key].status is JobStatus.COMPLETED
    assert accounts.are_same(new.ledger, "ibm", "sandbox:olderkey", new.provider("ibm").account)
