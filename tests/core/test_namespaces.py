"""People who share a ledger and an account, each in a namespace: equal run keys are different runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import qflows
from qflows.core.client import default_client
from qflows.core.scope import script_scope
from qflows.errors import RunKeyMissing, SettingsInvalid
from qflows.keys import in_namespace
from qflows.ledger import reads
from qflows.ledger import sessions as ledger_sessions
from qflows.sandbox import Sandbox
from qflows.settings import Settings

BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'
DEVICE = "ionq-simulator"
As = Callable[[str], None]


@pytest.fixture
def person(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> As:
    for name, value in {**sandbox.env, "QFLOWS_HOME": str(tmp_path), "QFLOWS_POLL_MIN_S": "0.01"}.items():
        monkeypatch.setenv(name, value)
    return lambda name: monkeypatch.setenv("QFLOWS_NAMESPACE", name)


def test_equal_run_keys_of_two_people_are_two_runs(sandbox: Sandbox, person: As) -> None:
    person("alice")
    hers = qflows.run(BELL, device=DEVICE, shots=20, run_key="test", sample=0).job
    person("bob")
    his = qflows.run(BELL, device=DEVICE, shots=20, run_key="test", sample=0).job
    assert (hers.run_key, his.run_key) == ("alice/test", "bob/test")
    assert (hers.key != his.key, sandbox.admin.count_jobs("ionq")) == (True, 2)
    person("alice")
    again = qflows.run(BELL, device=DEVICE, shots=20, run_key="test", sample=0).job
    told = qflows.run(BELL, device=DEVICE, shots=20, run_key=hers.run_key, sample=0).job  # the key as it is shown
    assert (again.key, told.key, sandbox.admin.count_jobs("ionq")) == (hers.key, hers.key, 2)
    person("")
    nobody = qflows.run(BELL, device=DEVICE, shots=20, run_key="test", sample=0).job
    assert (nobody.run_key, sandbox.admin.count_jobs("ionq")) == ("test", 3)


def test_sessions_groups_and_batches_are_in_the_namespace_too(sandbox: Sandbox, person: As) -> None:
    found: dict[str, list[str]] = {}
    for name in ("alice", "bob"):
        person(name)
        with qflows.session("ionq-forte-1", max_time="10m", run_key="night") as held:
            inside = held.run(BELL, shots=20).job
        with qflows.group("pair", run_key="night") as group:
            member = qflows.submit(BELL, device=DEVICE, shots=20, run_key="night", label="member")
        batch = qflows.batch([BELL, BELL], device=DEVICE, shots=20, run_key="night")
        batch.wait(20)
        assert [job.key for job in group.jobs] == [member.key]
        found[name] = [str(held.id), str(group.id), batch.id, inside.key, member.key]
        ledger = default_client().ledger
        assert {job.run_key for job in reads.listing(ledger, run_key=f"{name}/night")} == {f"{name}/night"}
    assert not set(found["alice"]) & set(found["bob"])
    keys = {record.run_key for record in ledger_sessions.listing(default_client().ledger)}
    assert keys == {"alice/night", "bob/night"}


def test_a_namespace_is_a_plain_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert in_namespace("test", None) == in_namespace("test", "") == "test"
    assert in_namespace("a/test", "a") == "a/test"
    assert in_namespace("ab/test", "a") == "a/ab/test"
    monkeypatch.setenv("QFLOWS_NAMESPACE", "not one")
    with pytest.raises(SettingsInvalid, match="QFLOWS_NAMESPACE='not one'"):
        Settings()
    monkeypatch.setenv("QFLOWS_NAMESPACE", "x" * 64)
    with pytest.raises(RunKeyMissing, match="at most"):
        script_scope("k" * 500)
