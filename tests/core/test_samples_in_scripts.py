"""Which repeated calls of scripts and notebooks are one purchase: the rows of docs/samples.md that need no flow."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

import qflows
from qflows.errors import WaitTimeout
from qflows.sandbox import Admin, Sandbox

CIRCUIT = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; creg c[1]; h q[0]; measure q -> c;'
CALL: dict[str, Any] = {"device": "ionq-simulator", "shots": 10, "run_key": "script"}


@pytest.fixture
def ionq(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Admin:
    """The emulated IonQ behind `ionq-simulator`, an empty ledger and no Prefect API."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("QFLOWS_LEDGER_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    monkeypatch.setenv("QFLOWS_POLL_MIN_S", "0.02")
    for name, value in sandbox.env.items():
        monkeypatch.setenv(name, value)
    return sandbox.admin


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """An IPython shell that executes cell 1; set `execution_count` for the next."""
    shell = types.SimpleNamespace(execution_count=1)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    return shell


def submit(**given: Any) -> str:
    """The key of the job that a call stands for."""
    return qflows.submit(CIRCUIT, **(CALL | given)).key


def test_a_call_that_returned_and_its_equal_are_two_samples(ionq: Admin) -> None:
    assert submit() != submit()
    assert ionq.count_jobs("ionq") == 2


def test_a_call_that_timed_out_is_adopted_by_the_next_equal_call(ionq: Admin) -> None:
    ionq.clock("frozen")
    for _ in range(3):
        with pytest.raises(WaitTimeout):
            qflows.run(CIRCUIT, timeout=0.05, **CALL)
    ionq.clock("instant")
    assert sum(qflows.run(CIRCUIT, timeout=30, **CALL).counts.values()) == 10
    assert ionq.count_jobs("ionq") == 1


def test_after_a_call_that_returned_the_next_is_a_new_sample_again(ionq: Admin) -> None:
    ionq.clock("frozen")
    with pytest.raises(WaitTimeout):
        qflows.run(CIRCUIT, timeout=0.05, **CALL)
    ionq.clock("instant")
    assert submit() != submit()
    assert ionq.count_jobs("ionq") == 2  # the first of the two is the job of the call that timed out


def test_a_cell_that_is_run_again_adopts_in_order(ionq: Admin, shell: types.SimpleNamespace) -> None:
    first = [submit(), submit()]
    shell.execution_count = 2
    assert [submit(), submit()] == first
    assert len(set(first)) == ionq.count_jobs("ionq") == 2


def test_a_numbered_sample_is_the_same_job_wherever_it_is_asked_for(ionq: Admin, shell: types.SimpleNamespace) -> None:
    named = [submit(sample=n) for n in (0, 1, 0)]
    shell.execution_count = 2
    assert [submit(sample=n) for n in (1, 0)] == [named[1], named[0]]
    assert named[0] == named[2] != named[1]
    assert ionq.count_jobs("ionq") == 2


def test_labels_set_equal_calls_apart_and_names_do_not(ionq: Admin, shell: types.SimpleNamespace) -> None:
    first = submit(label="a"), submit(label="b"), submit(name="x")
    shell.execution_count = 2
    assert (submit(label="a"), submit(label="b"), submit(name="y")) == first
    assert len(set(first)) == ionq.count_jobs("ionq") == 3
