"""Jobs of the four unmodified vendor clients enter the ledger, and nothing is done to them."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from buyers import DEVICES, SHOTS, Sent, asymmetric

from qflows.core.client import Client
from qflows.core.scope import Scope
from qflows.errors import ProgramRejected
from qflows.ledger import reads, spending, summaries
from qflows.sandbox import Sandbox
from qflows.states import JobStatus

NUMBER = int(os.environ.get("QFLOWS_TEST_IMPORTS", "4"))
pytestmark = pytest.mark.filterwarnings("ignore:Transpiler default optimization_level")


def test_jobs_of_the_vendors_client_enter_with_counts_in_our_bit_order(
    core: Client, vendor: str, submit: Callable[[int], list[Sent]]
) -> None:
    sent = {one.vendor_id: one.key for one in submit(NUMBER)}
    found = core.import_jobs(vendor, since="1h")
    assert (len(found.jobs), found.known, found.left_out) == (NUMBER, (), {})
    counts = {job.vendor_id: dict(core.stored([job]).counts) for job in found.jobs}
    assert counts == {vendor_id: {key: SHOTS} for vendor_id, key in sent.items()}
    for job in found.jobs:
        assert (job.status, job.is_imported, job.shots) == (JobStatus.COMPLETED, True, SHOTS)
        assert job.timeline.finished is not None
        assert job.cost is not None
        assert reads.provenance(core.ledger, job.key)["submission"]["origin"]["client"]
    # they are on the bill of whoever bought them
    assert spending.spent(core.ledger, "vendor") == []
    now = datetime.now(UTC)
    assert summaries.spending(core.ledger, now - timedelta(days=1), now + timedelta(days=1)) == []


def test_importing_again_changes_nothing(core: Client, vendor: str, submit: Callable[[int], list[Sent]]) -> None:
    sent = submit(2)
    first = core.import_jobs(vendor, ids=[one.vendor_id for one in sent])
    again = core.import_jobs(vendor, since="1h")
    assert (len(first.jobs), again.jobs, len(again.known)) == (2, (), 2)
    assert len(reads.listing(core.ledger)) == 2


def test_tag_narrows_an_import(core: Client, vendor: str, submit: Callable[[int], list[Sent]]) -> None:
    submit(1)
    assert core.import_jobs(vendor, since="1h", tag="study=h3").jobs == ()
    [job] = core.import_jobs(vendor, since="1h", tag="study=h2").jobs
    assert job.tags["study"] == "h2"


def test_imported_job_that_still_runs_is_watched_and_never_cancelled(
    core: Client, sandbox: Sandbox, vendor: str, submit: Callable[[int], list[Sent]]
) -> None:
    sandbox.admin.clock("frozen")
    [sent] = submit(1)
    found = core.import_jobs(vendor, ids=[sent.vendor_id])
    if vendor == "braket":  # which tells the program of a task with its result only
        assert "import it when it is over" in found.left_out[sent.vendor_id]
        assert found.jobs == ()
        return
    [job] = found.jobs
    assert not job.is_terminal
    with pytest.raises(ProgramRejected, match="bought elsewhere"):
        core.cancel([job.key])
    sandbox.admin.clock("instant")
    ended = core.wait([job.key], timeout=20)[job.key]
    assert ended.status is JobStatus.COMPLETED
    assert dict(core.stored([ended]).counts) == {sent.key: SHOTS}
    assert sandbox.admin.count_jobs(vendor) == 1


def test_our_own_jobs_are_not_imported_as_foreign(core: Client, vendor: str) -> None:
    device = DEVICES[vendor]
    circuit, _ = asymmetric(0)
    [job] = core.submit(core.specs(circuit, device=device, shots=10), device=device, scope=Scope("r", "a", "t"))
    core.wait([job.key], timeout=20)
    assert core.import_jobs(vendor, since="1h").jobs == ()
    assert [one.key for one in core.import_jobs(vendor, ids=[str(job.vendor_id)]).known] == [job.key]


def test_unknown_id_is_left_out_and_spoils_no_other(
    core: Client, vendor: str, submit: Callable[[int], list[Sent]]
) -> None:
    [sent] = submit(1)
    wrong = sent.vendor_id[:-6] + "000000"
    found = core.import_jobs(vendor, ids=[wrong, sent.vendor_id])
    assert [job.vendor_id for job in found.jobs] == [sent.vendor_id]
    assert list(found.left_out) == [wrong]


def test_wishes_without_sense_are_refused(core: Client, vendor: str) -> None:
    for wishes in ({}, {"ids": ["a"], "since": "1h"}, {"since": "soon"}):
        with pytest.raises(ProgramRejected):
            core.import_jobs(vendor, **wishes)  # pyright: ignore[reportArgumentType]


def test_imported_jobs_make_a_batch_that_is_neither_bought_again_nor_cancelled(
    core: Client, sandbox: Sandbox, submit: Callable[[int], list[Sent]], vendor: str
) -> None:
    sent = submit(2)
    imported = core.import_jobs(vendor, ids=[one.vendor_id for one in sent]).jobs
    made = core.batch_from([str(job.vendor_id) for job in imported])
    keys = {one.vendor_id: one.key for one in sent}
    assert made.stored().data.get_counts() == [{keys[str(job.vendor_id)]: SHOTS} for job in imported]
    assert made.rerun_failed() == []
    assert sandbox.admin.count_jobs(vendor) == 2


def test_imported_jobs_of_a_batch_are_neither_bought_again_nor_cancelled_when_they_fail_or_wait(
    core: Client, sandbox: Sandbox, submit: Callable[[int], list[Sent]], vendor: str
) -> None:
    sandbox.admin.fault("fail_job", f"{vendor}.submit", message="ion lost", times=1)
    failed, done = submit(2)
    found = core.import_jobs(vendor, ids=[failed.vendor_id, done.vendor_id])
    assert {job.status for job in found.jobs} == {JobStatus.FAILED, JobStatus.COMPLETED}
    made = core.batch_from([failed.vendor_id, done.vendor_id])
    assert list(made.errors) == [0]
    with pytest.raises(ProgramRejected, match="bought elsewhere"):
        made.rerun_failed()
    assert sandbox.admin.count_jobs(vendor) == 2
    if vendor == "braket":  # which tells the program of a task with its result only: a waiting one cannot be imported
        return
    sandbox.admin.clock("frozen")
    [waiting] = submit(1)
    core.import_jobs(vendor, ids=[waiting.vendor_id])
    live = core.batch_from([waiting.vendor_id])
    with pytest.raises(ProgramRejected, match="bought elsewhere"):
        live.cancel()
    assert [job["phase"] for job in sandbox.admin.jobs(vendor)].count("cancelled") == 0
    assert sandbox.admin.count_jobs(vendor) == 3
