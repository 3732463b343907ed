"""Results of many jobs become durable portion by portion, and whoever wants to know is told after each."""

from __future__ import annotations

from pathlib import Path

import pytest

import qflows.core.fetching
from qflows.core.devices import Sole
from qflows.core.poller import Poller
from qflows.core.submit import Submitter
from qflows.ledger import Ledger, reads
from qflows.ledger.intents import Intent, Want
from qflows.providers.ionq.adapter import IonQProvider
from qflows.states import JobStatus
from qflows.testing import Target, bell, spec_of


def test_waiter_is_told_after_each_portion_and_not_only_at_the_end(
    provider: IonQProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qflows.core.fetching, "_STORED_AT_ONCE", 2)
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    submitter = Submitter(ledger)
    spec = spec_of(provider, Target("simulator"), bell(), shots=10)
    wanted = [Intent(spec, Want("run", "a", f"h{i}"), "ionq-simulator", provider.account) for i in range(5)]
    keys = [job.key for job in submitter.submit(provider, wanted)]
    told: list[int] = []

    def count() -> None:
        jobs = reads.by_keys(ledger, keys).values()
        told.append(sum(job.status is JobStatus.COMPLETED for job in jobs))

    Poller(submitter, Sole(provider), poll_min_s=0.0, on_stored=count).wait(keys, timeout=20)
    assert told[-1] == 5
    assert len(told) >= 3
    ledger.close()
