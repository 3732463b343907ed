"""The table of jobs on a run's page is as wide as what it has to say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import qflows
from qflows.pages.run_page import job_section
from qflows.states import JobStatus

ONE = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; creg c[1]; x q[0]; measure q -> c;'


def test_notes_take_a_column_only_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QFLOWS_HOME", str(tmp_path))
    job = qflows.run(ONE, device="local-aer", shots=10, run_key="columns").job
    assert "| note |" not in job_section([job])[0]
    failed = replace(job, status=JobStatus.FAILED, error_message="the mirror is dirty")
    table = job_section([job, failed])[0]
    assert "| note |" in table
    assert "the mirror is dirty" in table


def test_a_finished_job_keeps_no_predicted_wait_and_a_long_id_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QFLOWS_HOME", str(tmp_path))
    job = qflows.run(ONE, device="local-aer", shots=10, run_key="columns").job
    arn = "arn:aws:braket:us-east-1:123456789012:quantum-task/4f2a6c1e-8d7b-4b1a-9c3d-5e6f7a8b9c0d"
    done = replace(job, queue_note="predicted wait 0 s", vendor_id=arn)
    table = job_section([done])[0]
    assert "predicted" not in table
    assert "| 4f2a6c1e-8d7b…" in table
    waiting = replace(done, status=JobStatus.QUEUED)
    assert "predicted wait 0 s" in job_section([waiting])[0]
