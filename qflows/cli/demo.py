"""`qflows demo`: the main features on real input, offline, in about a minute."""

from __future__ import annotations

import os
import shutil
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from qflows.cli.mode import prefect_api
from qflows.cli.screen import errors_as_exit_codes, print_counts, print_rows, say
from qflows.pages.text import JOB_COLUMNS, job_row

# GHZ-like but not symmetric: a wrong bit order would show
_QASM = """OPENQASM 2.0;
include "qelib1.inc";
qreg q[3];
creg c[3];
h q[0];
cx q[0],q[1];
x q[2];
measure q -> c;
"""


def demo(
    folder: Annotated[Path, typer.Option(help="Folder for the ledger, circuit and plot.")] = Path("demo-output"),
) -> None:
    """Take a tour; needs no account and no network.

    Computes the H2 ground state in a flow, then runs a small circuit on a noisy simulator and on an emulated IonQ.
    Takes about a minute, mostly to start a temporary Prefect server.
    """
    with errors_as_exit_codes():
        folder.mkdir(parents=True, exist_ok=True)
        key = f"demo-{uuid.uuid4().hex[:8]}"
        with _environment(folder.resolve()):
            _energy(folder, key)
            _circuit(folder, key)
            _look_next(folder, key)


@contextmanager
def _environment(folder: Path) -> Iterator[None]:
    """The demo's own ledger and, unless an API is configured, a Prefect home of its own."""
    mine = {"QFLOWS_HOME": str(folder / "home"), "QFLOWS_SETTLE_S": "1", "QFLOWS_POLL_MIN_S": "0.1"}
    if prefect_api() is None:
        mine |= {
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
            "PREFECT_LOGGING_LEVEL": "WARNING",
            "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
            "PREFECT_LOGGING_TO_API_ENABLED": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }
    before = {name: os.environ.get(name) for name in mine}
    os.environ.update(mine)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _energy(folder: Path, key: str) -> None:
    from qflows.cli import solving

    say("1. H2 at 0.735 Å, variational quantum eigensolver, exact simulator, as a Prefect flow")
    if prefect_api() is None:
        say("   (starting a temporary Prefect server, 10 to 20 s)")
    sys.stdout.flush()
    started = time.monotonic()
    arguments = solving.Arguments("h2-0.735", "local-exact", None, None, None, None, None, {})
    found = solving.as_flow(arguments, f"{key}-vqe")
    sys.stdout.write("".join(f"   {line}\n" for line in solving.summary(found, "local-exact").splitlines()))
    (folder / "vqe.png").write_bytes(solving.plot(found, "local-exact"))
    say(f"   plot       {folder / 'vqe.png'}   ({time.monotonic() - started:.0f} s)\n")


def _circuit(folder: Path, key: str) -> None:
    from qflows.core.client import Client
    from qflows.core.scope import script_scope
    from qflows.sandbox import Sandbox
    from qflows.settings import Settings

    path = folder / "probe.qasm"
    path.write_text(_QASM, encoding="utf-8")
    say(f"2. {path}: qubits 0 and 1 entangled, qubit 2 set; bit 0 is rightmost")
    with Sandbox(vendors=("ionq",), clock="time:0.5,0.2") as sandbox:
        kept = {name: os.environ.get(name) for name in sandbox.env}
        os.environ.update(sandbox.env)
        core = Client(Settings())
        jobs = []
        for device in ("local-noisy", "ionq-simulator"):
            specs = core.specs(path, device=device, shots=1000)
            jobs += core.submit(specs, device=device, scope=script_scope(key))
        finished = core.wait([job.key for job in jobs], timeout=120)
        for job in jobs:
            result = core.stored([finished[job.key]])
            where = "emulated IonQ on this machine" if job.provider == "ionq" else "noise of an IBM device snapshot"
            say(f"   {job.device} ({where})")
            print_counts(result.counts, total=result.counts.shots)
        say("")
        print_rows([job_row(finished[job.key]) for job in jobs], JOB_COLUMNS, as_json=False, empty="")
        bought = sandbox.admin.count_jobs("ionq")
        say(f"   jobs that the emulated vendor received: {bought}\n")
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _command() -> str:
    """How the command was reached: by its name where that is on the PATH, else by its path from here."""
    return "qflows" if shutil.which("qflows") else os.path.relpath(sys.argv[0])


def _look_next(folder: Path, key: str) -> None:
    qflows = _command()
    sys.stdout.write(
        "Next\n"
        f"   QFLOWS_HOME={folder / 'home'} {qflows} jobs ls      every job of this demo, from the ledger\n"
        f"   {qflows} devices                       where else to run\n"
        f"   {qflows} sandbox start                 an IonQ, without an account\n"
        f"   {qflows} vqe lih-1.5949                four qubits, 100 Pauli terms\n"
        f"   run keys {key}-vqe and {key}: the same key again continues a run and buys nothing twice\n"
    )
