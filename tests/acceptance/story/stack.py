"""`qflows up` on one home, from outside: started by its one command, and killed in parts or as a whole."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import httpx

T = TypeVar("T")
CHILDREN = ("server", "worker", "reconciler")


def until(look: Callable[[], T], *, timeout_s: float, what: str) -> T:
    """The first truthy answer of `look`. Raises TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s")
        time.sleep(0.2)
    return found


@dataclass
class Stack:
    """One home with its stack. With `second_worker`, another worker on the same pool, as on another machine."""

    home: Path
    env: Mapping[str, str]
    options: tuple[str, ...] = ()
    second_worker: bool = False
    python: str = sys.executable
    _up: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _worker: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """The same command every time; it does not wait until anything answers."""
        command = [self.python, "-m", "qflows.cli", "up", "--port", "0", "--every", "1", *self.options]
        self._up = self._popen(command, self._clean | self.env, "up.out")

    def tend(self) -> None:
        """What an init system does: starts again what is gone."""
        if self._up is None or self._up.poll() is not None:
            self.start()
        if self.second_worker and (self._worker is None or self._worker.poll() is not None) and self.exports:
            command = [self.python, "-m", "prefect", "worker", "start", "--pool", "qflows", "--type", "process"]
            paces = {"PREFECT_WORKER_QUERY_SECONDS": "2"}
            self._worker = self._popen(
                [*command, "--name", "second"], self._clean | self.env | self.exports | paces, "2nd"
            )

    @property
    def _clean(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "QFLOWS_"))}

    def _popen(self, command: list[str], env: Mapping[str, str], log: str) -> subprocess.Popen[bytes]:
        with (self.home / log).open("ab") as out:
            return subprocess.Popen(
                command,
                env=dict(env),
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

    @property
    def exports(self) -> dict[str, str]:
        """What `qflows up` tells others to export; empty before it ever answered."""
        try:
            lines = (self.home / "up.env").read_text().splitlines()
        except OSError:
            return {}
        words = (shlex.split(line.removeprefix("export "))[0] for line in lines)
        return dict(word.split("=", 1) for word in words)

    def api(self, timeout_s: float) -> httpx.Client:
        """A client of the Prefect server's API, logged in with the password that only this home knows."""
        exports = self.exports
        user, _, password = exports["PREFECT_API_AUTH_STRING"].partition(":")
        url = exports["PREFECT_API_URL"]
        return httpx.Client(base_url=url, auth=(user, password), timeout=timeout_s, trust_env=False)

    def await_answer(self) -> None:
        """Until `qflows up` says that all is there."""
        greeting = "Ctrl-C stops everything"
        until(lambda: greeting in (self.home / "up.out").read_text(errors="replace"), timeout_s=240, what="qflows up")

    def pids(self) -> dict[str, list[int]]:
        """Process ids by part, of those that run now."""
        found: dict[str, list[int]] = {"up": [self._up.pid] if self._up and self._up.poll() is None else []}
        try:
            recorded = json.loads((self.home / "up.children.json").read_text())
        except (OSError, ValueError):
            recorded = {}
        for name in CHILDREN:
            pid = int(recorded[name].split("/")[-2]) if name in recorded else 0
            found[name] = [pid] if pid and self._is_ours(pid) else []
        if self._worker and self._worker.poll() is None:
            found["worker 2"] = [self._worker.pid]
        found["flow"] = self.flow_processes()
        return {name: pids for name, pids in found.items() if pids}

    def flow_processes(self) -> list[int]:
        """Processes that execute flow runs of this home."""
        return [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and self._is_ours(int(entry.name), b"PREFECT__FLOW_RUN_ID=")
        ]

    def _is_ours(self, pid: int, mark: bytes = b"") -> bool:
        try:
            environ = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return False
        return f"QFLOWS_HOME={self.home}\0".encode() in environ + b"\0" and mark in environ

    def kill(self, parts: tuple[str, ...]) -> list[str]:
        """kill -9 of these parts; returns what was there to be killed."""
        running = self.pids()
        hit = [part for part in running if part in parts]
        for part in hit:
            for pid in running[part]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        return hit

    def stop(self) -> None:
        """Cleanly, as with Ctrl-C; what stays behind is killed."""
        for process in (self._worker, self._up):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self.kill((*CHILDREN, "flow"))
