"""Every mistake of `mistakes.py` is answered with what happened, with which thing, and what to do next."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mistakes import MISTAKES, Mistake
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from typer.testing import CliRunner

import qflows
from qflows.primitives import EstimatorV2, SamplerV2
from qflows.sandbox import Admin, Sandbox

_LONGEST = 1200
_vanished: list[str] = []  # ids of jobs that a mistake needs: bought on purpose, then lost by the vendor


def _names() -> dict[str, Any]:
    bell = QuantumCircuit(2, 2, name="bell")
    bell.h(0)
    bell.cx(0, 1)
    bell.measure(range(2), range(2))
    wide = QuantumCircuit(40, 40, name="wide")
    wide.t(range(40))
    wide.measure(range(40), range(40))
    open_ = QuantumCircuit(1, 1, name="open")
    open_.rx(Parameter("theta"), 0)
    open_.measure(0, 0)
    mid = QuantumCircuit(1, 2, name="mid")
    mid.measure(0, 0)
    mid.h(0)
    mid.measure(0, 1)
    branch = QuantumCircuit(1, 2, name="branch")
    branch.measure(0, 0)
    with branch.if_test((0, 1)):
        branch.x(0)
    branch.measure(0, 1)
    circuits = {"bell": bell, "wide": wide, "open_": open_, "mid": mid, "branch": branch}

    def vanished() -> qflows.Job:
        """A job that its vendor took and then forgot."""
        job = qflows.submit(bell, device="ionq-simulator", shots=10, run_key="m")
        _vanished.append(str(job.vendor_id))
        assert Admin(os.environ["IONQ_API_URL"].removesuffix("/v0.4")).forget([str(job.vendor_id)]) == 1
        return job

    return circuits | {
        "qflows": qflows, "SamplerV2": SamplerV2, "EstimatorV2": EstimatorV2, "vanished": vanished,
    }  # fmt: skip


@pytest.fixture(scope="module")
def accounts() -> Any:
    """All vendors, of which IonQ's knows one key."""
    with Sandbox(vendors=("braket", "ibm", "ionq", "qbraid"), clock="instant") as running:
        running.admin.switches("ionq", known_keys=running.env["IONQ_API_KEY"])
        yield running


def _command(written: str, monkeypatch: pytest.MonkeyPatch) -> str:
    from qflows.cli.app import app

    words = shlex.split(written)
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    if "PREFECT_API_URL" in written:  # Prefect has read its settings in this process
        command = [sys.executable, "-m", "qflows.cli", *words[1:]]
        child = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert child.returncode != 0
        return child.stdout + child.stderr
    done = CliRunner().invoke(app, words[1:], prog_name="qflows")
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code != 0
    return done.output


def _python(written: str) -> str:
    with pytest.raises((qflows.QflowsError, AttributeError, ValueError, TypeError, IndexError)) as raised:
        exec(written, _names())
    return "\n".join([str(raised.value), *getattr(raised.value, "__notes__", [])])


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda one: f"{one.kind}-{one.written[:60]}")
def test_a_mistake_is_answered_with_what_which_and_next(
    mistake: Mistake, accounts: Sandbox, own_ledger: dict[str, str], request: pytest.FixtureRequest, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name, value in accounts.env.items():
        monkeypatch.setenv(name, value)
    if mistake.kind == "flows":
        request.getfixturevalue("prefect_api")
    else:
        monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
        monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.chdir(tmp_path)
    for name, text in mistake.files.items():
        (tmp_path / name).write_text(text)
    is_command = "qflows" in shlex.split(mistake.written) if "(" not in mistake.written.split(" ")[0] else False
    said = _command(mistake.written, monkeypatch) if is_command else _python(mistake.written)
    for name, value in {"kind": mistake.kind, "written": mistake.written, "said": " ".join(said.split())}.items():
        request.node.user_properties.append((name, value))
    request.node.user_properties.append(("ticks", mistake.ticks(said)))
    assert mistake.ticks(said) == (True, True, True), said
    assert len(said) < _LONGEST, said


def test_no_two_are_the_same_and_every_kind_has_some() -> None:
    assert len({(one.written, *one.files.values()) for one in MISTAKES}) == len(MISTAKES) >= 60
    kinds = Counter(one.kind for one in MISTAKES)
    assert len(kinds) >= 10
    assert min(kinds.values()) >= 4


def test_no_mistake_bought_a_job_at_a_vendor(accounts: Sandbox) -> None:
    bought = [job["id"] for vendor in accounts.vendors for job in accounts.admin.jobs(vendor)]
    assert bought == _vanished
