"""Commands run in this process, on a ledger of the test's own, with no Prefect API in sight."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from qflows.sandbox import Admin, Sandbox

BELL = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\ncreg c[2];\nh q[0];\ncx q[0],q[1];\nmeasure q -> c;\n'
GHZ3 = (
    'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[3] q;\nbit[3] c;\n'
    "h q[0];\ncx q[0], q[1];\ncx q[1], q[2];\nc = measure q;\n"
)


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output as one JSON document."""
        return json.loads(self.out)


@pytest.fixture
def qflows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """`qflows("jobs", "ls")` runs a command."""
    from qflows.cli.app import app

    for name in ("PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    monkeypatch.setenv("QFLOWS_LEDGER_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    monkeypatch.setenv("QFLOWS_SETTLE_S", "0.3")
    monkeypatch.setenv("QFLOWS_POLL_MIN_S", "0.02")
    monkeypatch.setenv("COLUMNS", "200")
    runner = CliRunner()

    def run(*words: str) -> Said:
        done = runner.invoke(app, list(words), prog_name="qflows")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Said(done.exit_code, done.stdout, done.stderr)

    return run


@pytest.fixture
def ionq(sandbox: Sandbox, qflows: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> Admin:
    """The emptied IonQ sandbox, reached through the vendor's own variables."""
    for name, value in sandbox.env.items():
        monkeypatch.setenv(name, value)
    return sandbox.admin


@pytest.fixture
def bell(tmp_path: Path) -> str:
    """Path of an OpenQASM 2 file."""
    (tmp_path / "bell.qasm").write_text(BELL)
    return str(tmp_path / "bell.qasm")


@pytest.fixture
def ghz(tmp_path: Path) -> str:
    """Path of an OpenQASM 3 file."""
    (tmp_path / "ghz.qasm").write_text(GHZ3)
    return str(tmp_path / "ghz.qasm")


@pytest.fixture
def closed_port() -> int:
    """A loopback port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
