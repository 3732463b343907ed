"""The command as a process of its own: interrupts, the sandbox in the foreground, a run without Prefect."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qflows.sandbox import Admin, Sandbox
from qflows.sandbox.launch import is_alive


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
    while not {"IONQ_API_URL", "IONQ_API_KEY"} <= set(exports):
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


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_signal_to_the_command_takes_the_emulators_and_their_worker_down(
    foreground: subprocess.Popen[str], number: signal.Signals
) -> None:
    """SIGTERM is what containers and systemd send, SIGHUP what a closing terminal sends; to this one process alone."""
    assert foreground.stdout is not None
    line = ""
    while not line.startswith("export IONQ_API_URL"):
        line = foreground.stdout.readline()
        assert line, "it ended"
    url = line.strip().partition("=")[2].removesuffix("/v0.4")
    assert Admin(url).count_jobs("ionq") == 0
    family = [foreground.pid, *_children(foreground.pid)]
    assert len(family) == 2  # the emulators, and the worker that simulates for them
    foreground.send_signal(number)
    foreground.wait(30)
    deadline = time.monotonic() + 20
    while any(map(is_alive, family)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [pid for pid in family if is_alive(pid)] == []
    with pytest.raises(OSError):
        Admin(url).info()


def test_switches_are_listed_with_position_meaning_and_source(env: dict[str, str], sandbox: Sandbox) -> None:
    sandbox.admin.switches("ionq", clock_skew_s=-600.0)
    command = [sys.executable, "-m", "qflows.cli", "sandbox", "switches", "ionq", "--json", "--at", sandbox.url]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    rows = {row["switch"]: row for row in json.loads(done.stdout)}
    assert set(rows) == set(sandbox.admin.switches()["ionq"])
    assert (rows["clock_skew_s"]["position"], rows["clock_skew_s"]["default"]) == (-600.0, 0.0)
    assert all(row["meaning"] for row in rows.values())
    assert "RFC 9110" in rows["retry_after_form"]["source"]


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
