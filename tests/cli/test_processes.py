"""The command as a process of its own: interrupts, the sandbox in the foreground, a run without Prefect."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from qflows.sandbox import Admin, Sandbox


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Environment of a user who has configured nothing."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "QFLOWS_"))}
    return clean | {"QFLOWS_HOME": str(tmp_path / "home"), "PREFECT_HOME": str(tmp_path / "prefect")}


@pytest.fixture
def foreground(env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """`qflows sandbox start` as a terminal starts it: in a process group that Ctrl-C reaches as a whole."""
    process = subprocess.Popen(
        [sys.executable, "-m", "qflows.cli", "sandbox", "start", "--vendors", "ionq", "--clock", "instant"],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    overdue = threading.Timer(90, process.kill)
    overdue.start()
    yield process
    overdue.cancel()
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdout:
        process.stdout.close()


def test_sandbox_prints_what_to_export_serves_and_stops_on_interrupt(
    foreground: subprocess.Popen[str], env: dict[str, str], bell: str
) -> None:
    assert foreground.stdout is not None
    exports: dict[str, str] = {}
    while set(exports) < {"IONQ_API_URL", "IONQ_API_KEY"}:
        line = foreground.stdout.readline()
        assert line, "it ended"
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").strip().partition("=")
            exports[name] = value
    command = [sys.executable, "-m", "qflows.cli", "run", bell, "--device", "ionq-simulator", "--json"]
    done = subprocess.run(command, env=env | exports, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert sum(json.loads(done.stdout)["results"][0]["counts"].values()) == 1000
    assert Admin(exports["IONQ_API_URL"].removesuffix("/v0.4")).count_jobs("ionq") == 1
    os.killpg(foreground.pid, signal.SIGINT)
    assert foreground.wait(30) == 0


def test_interrupted_run_says_how_to_go_on_and_goes_on(env: dict[str, str], sandbox: Sandbox, bell: str) -> None:
    sandbox.admin.clock("frozen")
    command = [sys.executable, "-m", "qflows.cli", "run", bell, "--device", "ionq-simulator", "--run-key", "mine"]
    first = subprocess.Popen(
        command,
        env=env | sandbox.env,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    sandbox.admin.wait_until(lambda: sandbox.admin.count_jobs("ionq") == 1, timeout_s=90)
    sandbox.admin.wait_until(lambda: sandbox.admin.requests("ionq.list") > 0, timeout_s=90)
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=60)
    assert first.returncode == 130
    assert "qflows jobs ls" in err
    sandbox.admin.clock("instant")
    sandbox.admin.release()
    again = subprocess.run(command, env=env | sandbox.env, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    assert sandbox.admin.count_jobs("ionq") == 1
