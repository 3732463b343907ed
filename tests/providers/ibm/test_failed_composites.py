"""A job of several circuits that failed as a whole is FAILED, though IBM sends its error where results would be."""

from __future__ import annotations

from pathlib import Path

from qflows.core.devices import Sole
from qflows.core.poller import Poller
from qflows.core.submit import Submitter
from qflows.ledger import Ledger
from qflows.ledger.intents import Intent, Want
from qflows.protocol import JobSpec, Provider
from qflows.sandbox import Sandbox
from qflows.states import JobStatus
from qflows.testing import bell


def test_failed_job_of_several_circuits_ends_with_the_vendor_s_words(
    provider: Provider, sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.admin.fault("fail_job", "ibm.submit", code="InternalError", message="boom")
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    submitter = Submitter(ledger)
    spec = JobSpec("ibm", "ibm_kingston", (bell(), bell()), 10)
    (job,) = submitter.submit(provider, [Intent(spec, Want("run", "attempt", "holder"), "kingston", provider.account)])
    done = Poller(submitter, Sole(provider), poll_min_s=0.0).wait([job.key], timeout=30)[job.key]
    ledger.close()
    assert done.status is JobStatus.FAILED
    assert "boom" in (done.error_message or "")
