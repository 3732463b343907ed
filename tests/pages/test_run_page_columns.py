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
