"""Two accounts, one ledger: nobody's job is touched, read or bought again by the other; renewed keys are accepted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qflows.core import health
from qflows.core.client import Client
from qflows.core.scope import Scope
from qflows.errors import OtherAccount
from qflows.ledger import accounts, reads, sessions
from qflows.model import Job
from qflows.sandbox import Sandbox
from qflows.settings import Settings
from qflows.states import JobStatus

BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'
DEVICE = "ionq-simulator"
As = Callable[[str], Client]


@pytest.fixture
def as_key(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[As]:
    """A client of a process with this key; the project is what stands before the first dot."""
    made: list[Client] = []

    def connect(key: str) -> Client:
        for name, value in sandbox.env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("IONQ_API_KEY", key)
        monkeypatch.setenv("QISKIT_IONQ_API_TOKEN", key)
        made.append(Client(Settings(home=tmp_path, settle_s=0.1, poll_min_s=0.01)))
        made[-1].provider("ionq")
        return made[-1]

    yield connect
    for one in made:
        one.ledger.close()


def buy(core: Client, run_key: str = "test", attempt: str = "a") -> Job:
    specs = core.specs(BELL, device=DEVICE, shots=20)
    return core.submit(specs, device=DEVICE, scope=Scope(run_key, attempt, "caller"))[0]


def test_another_accounts_reconciler_changes_nothing_and_says_why(sandbox: Sandbox, as_key: As) -> None:
    sandbox.admin.clock("frozen")
    ours = as_key("alice.first")
    job = buy(ours)
    theirs = as_key("bob.first")
    for _ in range(3):
        tick = theirs.reconciler().tick()
    assert (tick.live, tick.finished) == (1, 0)
    assert any("another account" in why for why in tick.unreachable.values())
    assert reads.job(theirs.ledger, job.key) == job
    seen = health.look(theirs.ledger, theirs.vendors)
    assert [one.job.key for one in seen.elsewhere] == [job.key]
    sandbox.admin.clock("instant")
    sandbox.admin.release()
    assert ours.wait([job.key], timeout=20)[job.key].status is JobStatus.COMPLETED


@pytest.mark.parametrize("verb", ["wait", "cancel", "resolve"])
def test_no_verb_of_another_account_acts_and_each_says_so_at_once(sandbox: Sandbox, as_key: As, verb: str) -> None:
    sandbox.admin.clock("frozen")
    ours = as_key("alice.first")
    job = buy(ours)
    before = sandbox.admin.counts()["requests"].get("ionq.cancel", 0)
    theirs = as_key("bob.first")
    act = {
        "wait": lambda: theirs.wait([job.key], timeout=60),
        "cancel": lambda: theirs.cancel([job.key], timeout=60),
        "resolve": lambda: theirs.resolve(job.key, vendor_id=None),
    }[verb]
    with pytest.raises(OtherAccount, match="another account of ionq"):
        act()
    assert sandbox.admin.counts()["requests"].get("ionq.cancel", 0) == before
    assert reads.job(ours.ledger, job.key).status is JobStatus.QUEUED
    if verb == "cancel":  # the wish is noted, and its own account carries it out
        assert ours.wait([job.key], timeout=20)[job.key].status is JobStatus.CANCELLED


def test_a_doubt_is_looked_up_by_its_own_account_only(sandbox: Sandbox, as_key: As) -> None:
    ours = as_key("alice.first")
    sandbox.admin.fault("drop_after", "ionq.submit")
    job = buy(ours)
    assert job.status is JobStatus.IN_DOUBT
    theirs = as_key("bob.first")
    for _ in range(4):
        theirs.reconciler().tick()
    assert sandbox.admin.count_jobs("ionq") == 1
    assert reads.job(theirs.ledger, job.key).status is JobStatus.IN_DOUBT
    assert ours.wait([job.key], timeout=20)[job.key].status is JobStatus.COMPLETED
    assert sandbox.admin.count_jobs("ionq") == 1


def test_a_renewed_key_of_the_same_project_is_accepted_on_proof(sandbox: Sandbox, as_key: As) -> None:
    sandbox.admin.clock("frozen")
    old = as_key("alice.first")
    job = buy(old)
    new = as_key("alice.second")
    assert new.provider("ionq").account != job.account
    sandbox.admin.clock("instant")
    sandbox.admin.release()
    assert new.wait([job.key], timeout=20)[job.key].status is JobStatus.COMPLETED
    assert accounts.are_same(new.ledger, "ionq", job.account, new.provider("ionq").account)
    assert buy(new, attempt="b").key == job.key  # the replay adopts
    assert sandbox.admin.count_jobs("ionq") == 1


def test_one_run_key_on_two_accounts_is_refused_by_name_and_buys_nothing(sandbox: Sandbox, as_key: As) -> None:
    ours = as_key("alice.first")
    done = buy(ours)
    ours.wait([done.key], timeout=20)
    theirs = as_key("bob.first")
    with pytest.raises(OtherAccount, match="Use another run key"):
        buy(theirs, attempt="b")
    assert sandbox.admin.count_jobs("ionq") == 1
    assert buy(theirs, run_key="bobs").key != done.key
    accounts.note_same(theirs.ledger, "ionq", done.account, theirs.provider("ionq").account, proof="a person")
    assert buy(theirs, attempt="c").key == done.key


def test_a_session_of_another_account_is_not_reaped(sandbox: Sandbox, as_key: As) -> None:
    ours = as_key("alice.first")
    hold = ours.open_session("ionq-forte-1", "run", max_time_s=600)
    hold.release()
    with ours.ledger.write() as connection:
        connection.exec_driver_sql("update sessions set lease_until = 0, owner = null")
    theirs = as_key("bob.first")
    assert theirs.reconciler().tick().sessions_closed == []
    provider = ours.provider("ionq")
    assert provider.session(hold.id).is_open  # pyright: ignore[reportAttributeAccessIssue]
    assert ours.reconciler().tick().sessions_closed == [hold.id]


@pytest.mark.parametrize("opened", [True, False], ids=["open", "not opened yet"])
def test_a_run_keys_session_of_another_account_is_neither_used_nor_opened(
    sandbox: Sandbox, as_key: As, opened: bool
) -> None:
    ours = as_key("alice.first")
    if opened:
        ours.open_session("ionq-forte-1", "run", max_time_s=600).release()
    else:  # as a process that died before it asked the vendor leaves it
        target = ours.device("ionq-forte-1")
        sessions.prepare(
            ours.ledger, "run", name="", provider="ionq", account=target.provider.account, device="ionq-forte-1",
            device_id=target.profile.device, mode="dedicated", max_time_s=600, options={},
        )  # fmt: skip
    before = sandbox.admin.requests("ionq.session_create")
    theirs = as_key("bob.first")
    with pytest.raises(OtherAccount, match=r"run 'run' has session .* Use another run key"):
        theirs.open_session("ionq-forte-1", "run", max_time_s=600)
    assert sandbox.admin.requests("ionq.session_create") == before
    hold = ours.open_session("ionq-forte-1", "run", max_time_s=600)
    assert hold.is_open()
    hold.close()


def test_a_renewed_key_continues_in_the_session_of_its_run(sandbox: Sandbox, as_key: As) -> None:
    ours = as_key("alice.first")
    buy(ours)
    hold = ours.open_session("ionq-forte-1", "run", max_time_s=600)
    hold.release()
    new = as_key("alice.second")
    again = new.open_session("ionq-forte-1", "run", max_time_s=600)
    assert (again.id, sandbox.admin.requests("ionq.session_create")) == (hold.id, 1)
    again.close()
