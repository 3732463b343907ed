"""A ledger that is lost in the middle of a run: rebuilt from the vendors, and the run ends with what was wanted."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from buyers import DEVICES, asymmetric

from qflows.core.client import Client
from qflows.core.scope import Scope
from qflows.ledger import reads
from qflows.ledger.backup import backup
from qflows.ledger.intents import prepare
from qflows.model import Job
from qflows.sandbox import Sandbox
from qflows.settings import Settings
from qflows.states import JobStatus

LISTS = {"ionq": "ionq.list", "ibm": "ibm.list", "braket": "braket.search", "qbraid": "qbraid.list"}
NUMBER = int(os.environ.get("QFLOWS_TEST_REBUILT", "10"))


def buy(core: Client, vendor: str, number: int, attempt: str) -> list[Job]:
    """The first jobs of a run; each of them twice, as two samples."""
    device, bought = DEVICES[vendor], []
    for index in range(number):
        circuit, _ = asymmetric(index // 2)
        specs = core.specs(circuit, device=device, shots=20, tags={"study": "h2"})
        bought += core.submit(specs, device=device, scope=Scope("the-run", attempt, f"call{index}"))
    return bought


@pytest.fixture
def open_core(tmp_path: Path, sandbox: Sandbox) -> Callable[[str], Client]:
    def of(name: str) -> Client:
        return Client(Settings(home=tmp_path / name, settle_s=0.3, poll_min_s=0.01))

    return of


def test_run_whose_ledger_was_lost_ends_with_what_was_wanted(
    open_core: Callable[[str], Client], sandbox: Sandbox, vendor: str
) -> None:
    core = open_core("lost")
    before = buy(core, vendor, NUMBER - NUMBER // 3, "first")
    core.wait([job.key for job in before[: NUMBER // 2]], timeout=120)
    core.ledger.close()

    core = open_core("new")
    found = core.rebuild([vendor], since="1h")
    assert {job.key: job.vendor_id for job in found.jobs} == {job.key: job.vendor_id for job in before}
    assert {job.origin for job in found.jobs} == {"rebuilt"}
    assert (found.extras, found.left_out) == ({}, {})
    assert found.unknown

    after = buy(core, vendor, NUMBER, "second")
    assert [job.key for job in after[: len(before)]] == [job.key for job in before]
    ended = core.wait([job.key for job in after], timeout=120)
    assert {job.status for job in ended.values()} == {JobStatus.COMPLETED}
    assert sandbox.admin.count_jobs(vendor) == NUMBER
    for index, job in enumerate(after):
        assert dict(core.stored([ended[job.key]]).counts) == {asymmetric(index // 2)[1]: 20}
        assert (ended[job.key].origin, ended[job.key].run_key) == (None, "the-run")
    core.ledger.close()


def want(core: Client, vendor: str, attempt: str) -> Job:
    """The first job of the run, wanted and not sent."""
    specs = core.specs(asymmetric(0)[0], device=DEVICES[vendor], shots=20, tags={"study": "h2"})
    [job] = prepare(core.ledger, core.intents(specs, device=DEVICES[vendor], scope=Scope("the-run", attempt, "call0")))
    return job


def test_older_ledger_learns_what_was_sent_since(
    open_core: Callable[[str], Client], sandbox: Sandbox, vendor: str, tmp_path: Path
) -> None:
    core = open_core("now")
    prepared = want(core, vendor, "before")
    (tmp_path / "older").mkdir()
    backup(core.ledger.engine, tmp_path / "older" / "ledger.db")  # it wants the job, which was not sent yet
    [bought] = buy(core, vendor, 1, "first")
    core.ledger.close()

    core = open_core("older")
    assert reads.job(core.ledger, prepared.key).status is JobStatus.PREPARED
    assert prepared.key == bought.key
    found = core.rebuild([vendor], since="1h")
    assert [(job.key, job.vendor_id) for job in found.attached] == [(bought.key, bought.vendor_id)]
    assert core.wait([bought.key], timeout=30)[bought.key].status is JobStatus.COMPLETED
    assert sandbox.admin.count_jobs(vendor) == 1
    core.ledger.close()


def test_job_that_still_runs_is_rebuilt_and_its_counts_wait_for_its_run(
    open_core: Callable[[str], Client], sandbox: Sandbox, vendor: str
) -> None:
    sandbox.admin.clock("frozen")
    core = open_core("lost")
    [bought] = buy(core, vendor, 1, "first")
    core.ledger.close()
    core = open_core("new")
    [rebuilt] = core.rebuild([vendor], since="1h").jobs
    assert (rebuilt.key, rebuilt.is_terminal) == (bought.key, False)
    sandbox.admin.clock("instant")
    [again] = buy(core, vendor, 1, "second")
    ended = core.wait([again.key], timeout=30)[again.key]
    assert dict(core.stored([ended]).counts) == {asymmetric(0)[1]: 20}
    assert sandbox.admin.count_jobs(vendor) == 1
    core.ledger.close()


def test_rebuilding_twice_changes_nothing(open_core: Callable[[str], Client], sandbox: Sandbox, vendor: str) -> None:
    core = open_core("lost")
    buy(core, vendor, 2, "first")
    core.ledger.close()
    core = open_core("new")
    first = core.rebuild([vendor], since="1h")
    again = core.rebuild([vendor], since="1h")
    assert (len(first.jobs), again.jobs, again.known) == (2, (), 2)
    assert len(reads.listing(core.ledger)) == 2
    core.ledger.close()


def requests(sandbox: Sandbox, vendor: str) -> int:
    return sum(n for route, n in sandbox.admin.counts()["requests"].items() if route.startswith(f"{vendor}."))


def test_qbraid_run_is_rebuilt_by_its_list_and_one_answer_a_job(
    open_core: Callable[[str], Client], sandbox: Sandbox
) -> None:
    core = open_core("lost")
    before = buy(core, "qbraid", 6, "first")
    core.wait([job.key for job in before], timeout=30)  # qBraid's lists show an end that somebody has read by id
    core.ledger.close()
    core = open_core("new")
    start = requests(sandbox, "qbraid")
    core.rebuild(["qbraid"], since="1h")
    assert requests(sandbox, "qbraid") - start == 1 + 6
    after = buy(core, "qbraid", 6, "second")
    core.wait([job.key for job in after], timeout=30)
    answers = sandbox.admin.counts()["requests"]["qbraid.results"]
    assert answers == 6 + 6  # before the loss and at the rebuild: at adoption none is downloaded again
    assert [job.key for job in after] == [job.key for job in before]
    for index, job in enumerate(after):
        assert dict(core.stored([reads.job(core.ledger, job.key)]).counts) == {asymmetric(index // 2)[1]: 20}
    core.ledger.close()


def test_rebuilt_qbraid_job_gives_its_counts_without_its_run(
    open_core: Callable[[str], Client], sandbox: Sandbox
) -> None:
    core = open_core("lost")
    jobs = buy(core, "qbraid", 2, "first")
    core.wait([job.key for job in jobs], timeout=30)
    core.ledger.close()
    core = open_core("new")
    rebuilt = core.rebuild(["qbraid"], since="1h").jobs
    assert [(job.has_answer, job.shots, job.is_terminal) for job in rebuilt] == [(True, 20, False)] * 2
    one, other = jobs[0].key, jobs[1].key
    ended = core.wait([one], timeout=30)[one]
    assert dict(core.stored([ended]).counts) == {asymmetric(0)[1]: 20}
    assert ended.tags["study"] == "h2"
    assert reads.job(core.ledger, other).has_answer  # nobody asked for it: it was not read
    [adopted, _] = buy(core, "qbraid", 2, "second")
    assert (adopted.key, adopted.origin) == (one, None)
    assert dict(core.stored([core.wait([one], timeout=30)[one]]).counts) == {asymmetric(0)[1]: 20}
    assert sandbox.admin.count_jobs("qbraid") == 2
    core.ledger.close()


def test_rebuild_waits_where_the_vendor_asks_for_patience(
    open_core: Callable[[str], Client], sandbox: Sandbox, vendor: str, caplog: pytest.LogCaptureFixture
) -> None:
    core = open_core("lost")
    buy(core, vendor, 1, "first")
    core.ledger.close()
    core = open_core("new")
    sandbox.admin.fault("status", LISTS[vendor], status=429, retry_after=1, times=1)
    paused: list[tuple[str, float]] = []
    found = core.rebuild([vendor], since="1h", on_pause=lambda name, pause_s: paused.append((name, pause_s)))
    assert len(found.jobs) == 1
    assert [name for name, _ in paused] == [vendor]
    assert "interrupted and repeated later" in caplog.text
    core.ledger.close()
