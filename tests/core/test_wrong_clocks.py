"""A machine whose clock is wrong: a lost answer is found all the same, and one job is bought."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine

from qflows.core.client import Client
from qflows.core.scope import Scope
from qflows.errors import QflowsError
from qflows.ledger import reads
from qflows.sandbox import Sandbox
from qflows.settings import Settings
from qflows.states import JobStatus

BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'
DEVICES = {"ionq": "ionq-simulator", "ibm": "ibm-sandbox", "braket": "braket-sv1", "qbraid": "qbraid-qir-sv"}


@pytest.fixture(scope="module")
def vendors() -> Iterator[Sandbox]:
    with Sandbox(vendors=tuple(DEVICES)) as running:
        yield running


@pytest.mark.parametrize("minutes", [-60, -10, 10, 60])
@pytest.mark.parametrize("vendor", DEVICES)
def test_a_lost_answer_is_found_whatever_our_clock_says(
    vendors: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vendor: str, minutes: int
) -> None:
    for name, value in vendors.env.items():
        monkeypatch.setenv(name, value)
    admin = vendors.admin
    admin.reset()
    admin.switches("ibm", noise=False)
    admin.switches("braket", signature_age_s=0.0)  # AWS would refuse to talk; see the test below
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=minutes), tick=True):
        core = Client(Settings(home=tmp_path, settle_s=0.2, poll_min_s=0.01))
        admin.fault("drop_after", f"{vendor}.submit")
        found = core.run(BELL, Scope("run", "a", "caller"), device=DEVICES[vendor], shots=50, timeout=30)
        assert sum(found.counts.values()) == 50
        core.ledger.close()
    assert (admin.count_jobs(vendor), len(admin.faults()), admin.faults()[0]["fired"]) == (1, 1, 1)


@pytest.mark.parametrize("minutes", [-60, -10, 10, 60])
def test_aws_refuses_such_a_clock_which_is_told_and_leaves_no_doubt(
    vendors: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    for name, value in vendors.env.items():
        monkeypatch.setenv(name, value)
    vendors.admin.reset()
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=minutes), tick=True):
        core = Client(Settings(home=tmp_path, settle_s=0.2, poll_min_s=0.01))
        with pytest.raises(QflowsError, match="this machine's clock"):
            core.run(BELL, Scope("run", "a", "caller"), device="braket-sv1", shots=50, timeout=10)
        assert [job for job in reads.all_live(core.ledger) if job.status is JobStatus.IN_DOUBT] == []
        core.ledger.close()
    assert vendors.admin.count_jobs("braket") == 0
