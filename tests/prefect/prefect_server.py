"""A real Prefect server as a child process.

A module with a name of its own: tests that imported it from a `conftest` got whichever folder's came first.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

SERVER_SETTINGS = {
    # one write per batch instead of one per event: 3.5 times less server time (Prefect 3.8.8)
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "500",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TRIGGERS_READ_BATCH_SIZE": "200",
    # batches are written every so often as well; tests wait for them
    # a whole number for the first: Prefect 3.8.8 cuts its fraction off, and a server that is told 0.2 spins at 0
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "0.5",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_ENABLED": "false",
}
START_S = 120.0  # it takes 10 s; more only when the machine is busy


@dataclass(frozen=True)
class PrefectServer:
    """A running server: its API, where it keeps things, and the environment that leads a child to it."""

    url: str
    home: Path
    log: Path

    @property
    def env(self) -> dict[str, str]:
        """For children: this API and a Prefect home of the suite's own."""
        return {"PREFECT_API_URL": self.url, "PREFECT_HOME": str(self.home)}

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.home / "prefect.db"


def answer_runs_of(server: PrefectServer, flow_name: str, **form: str) -> threading.Thread:
    """Somebody who fills in the form of the next paused run of a flow; returns the thread.

    Nobody else answers, so a busy server must not make this person give up.
    """

    def work() -> None:
        wanted = {"flows": {"name": {"any_": [flow_name]}}, "flow_runs": {"state": {"type": {"any_": ["PAUSED"]}}}}
        deadline = time.monotonic() + 600
        with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as api:
            while time.monotonic() < deadline:
                with suppress(httpx.HTTPError):
                    for one in api.post("/flow_runs/filter", json=wanted).json():
                        said = api.post(f"/flow_runs/{one['id']}/resume", json={"run_input": form})
                        if said.json().get("status") == "ACCEPT":
                            return
                time.sleep(0.05)

    started = threading.Thread(target=work, daemon=True)
    started.start()
    return started


def free_port() -> int:
    """A port that the system says is free; Prefect's server cannot choose one itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1  # prctl(2), Linux


def stop_with_parent() -> None:
    """For the child before exec: SIGINT stops it, as Prefect wants, and it comes by itself when this process dies.

    A shell's background job would have SIGINT ignored, and an orphaned server costs a third of a core for ever.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


@contextmanager
def running(home: Path) -> Iterator[PrefectServer]:
    """A server on an SQLite file in `home`, up and answering. Raises RuntimeError with the end of its log."""
    server, process = _start(home)
    try:
        yield server
        _send_what_is_queued()
    finally:
        _stop(process)


def _start(home: Path) -> tuple[PrefectServer, subprocess.Popen[bytes]]:
    """A port is free until somebody takes it, and a server needs seconds to: then another one is tried."""
    for is_last in (False, False, True):
        port = free_port()
        server = PrefectServer(f"http://127.0.0.1:{port}/api", home, home / "server.log")
        process = _launch(server, port)
        try:
            _await_health(server, process)
        except BaseException:
            is_taken = process.poll() is not None and "already in use" in server.log.read_text()
            _stop(process)
            if is_last or not is_taken:
                raise
        else:
            return server, process
    raise AssertionError("unreachable")


def _launch(server: PrefectServer, port: int) -> subprocess.Popen[bytes]:
    home = server.home
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    with server.log.open("wb") as log:  # a file, not a pipe: nobody reads while the tests run
        return subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env=env | SERVER_SETTINGS | {"PREFECT_HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=stop_with_parent,
        )


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _send_what_is_queued() -> None:
    """Logs and events leave in threads; without this they would meet a server that is gone."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all(timeout=10)
    EventsWorker.drain_all(timeout=10)


def _await_health(server: PrefectServer, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(f"{server.url}/health", timeout=5) as answer:
                assert answer.status == 200
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the Prefect server did not start:\n{server.log.read_text()[-3000:]}") from None
            time.sleep(0.1)
