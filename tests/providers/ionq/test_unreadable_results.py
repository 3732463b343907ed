"""A result that fits no document: looked at a few times, kept, told to the waiter; never a purchase, never a guess."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qflows.core.devices import Sole
from qflows.core.poller import Poller
from qflows.core.submit import Submitter
from qflows.errors import ResultsHeld
from qflows.ledger import Ledger, reads
from qflows.ledger.intents import Intent, Want
from qflows.providers.ionq.adapter import IonQProvider
from qflows.sandbox import Sandbox
from qflows.states import JobStatus
from qflows.testing import Target, bell, spec_of

NONSENSE = json.dumps({"0": "half", "3": ["half"]})


def test_result_that_fits_no_document_is_kept_and_told_and_can_be_asked_for_again(
    provider: IonQProvider, sandbox: Sandbox, tmp_path: Path
) -> None:
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    submitter = Submitter(ledger)
    spec = spec_of(provider, Target("simulator"), bell(), shots=10)
    (job,) = submitter.submit(provider, [Intent(spec, Want("run", "a", "h"), "ionq-simulator", provider.account)])
    poller = Poller(submitter, Sole(provider), poll_min_s=0.0)
    fault = sandbox.admin.fault("status", "ionq.results", status=200, body=NONSENSE, times=None)
    with pytest.raises(ResultsHeld, match="jobs show"):
        poller.wait([job.key], timeout=20)
    assert sandbox.admin.requests("ionq.results") == 3
    kept = [event for event in reads.history(ledger, job.key) if event["kind"] == "unreadable-result"]
    assert len(kept) == 3  # one a look
    assert "half" in str(kept[0]["detail"])
    assert reads.job(ledger, job.key).status is JobStatus.RUNNING
    sandbox.admin.clear_faults(fault["id"])
    assert poller.wait([job.key], timeout=20)[job.key].status is JobStatus.COMPLETED
    assert sandbox.admin.count_jobs("ionq") == 1
    ledger.close()


def test_good_counts_of_a_failed_job_are_not_given_up_because_they_cannot_be_read(
    provider: IonQProvider, sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.admin.switches("ionq", partial_failure="parent_failed")
    sandbox.admin.fault("fail_job", "ionq.submit", children=[0])
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    submitter = Submitter(ledger)
    spec = spec_of(provider, Target("simulator"), bell("a"), bell("b"), shots=10)
    (job,) = submitter.submit(provider, [Intent(spec, Want("run", "a", "h"), "ionq-simulator", provider.account)])
    poller = Poller(submitter, Sole(provider), poll_min_s=0.0)
    fault = sandbox.admin.fault("status", "ionq.results", status=200, body=NONSENSE, times=None)
    with pytest.raises(ResultsHeld):
        poller.wait([job.key], timeout=20)
    sandbox.admin.clear_faults(fault["id"])
    assert poller.wait([job.key], timeout=20)[job.key].status is JobStatus.FAILED
    first, second = reads.items(ledger, job.key)
    assert first.error
    assert second.counts is not None
    assert second.counts.shots == 10
    ledger.close()


def test_result_that_is_cut_off_once_is_simply_asked_for_again(
    provider: IonQProvider, sandbox: Sandbox, tmp_path: Path
) -> None:
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    submitter = Submitter(ledger)
    spec = spec_of(provider, Target("simulator"), bell(), shots=10)
    (job,) = submitter.submit(provider, [Intent(spec, Want("run", "a", "h"), "ionq-simulator", provider.account)])
    sandbox.admin.fault("status", "ionq.results", status=200, body=NONSENSE, times=2)
    done = Poller(submitter, Sole(provider), poll_min_s=0.0).wait([job.key], timeout=20)
    assert done[job.key].status is JobStatus.COMPLETED
    assert (done[job.key].is_held, done[job.key].bad_reads) == (False, 0)
    assert sum(event["kind"] == "unreadable-result" for event in reads.history(ledger, job.key)) == 2
    ledger.close()
