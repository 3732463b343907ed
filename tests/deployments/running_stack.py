"""The whole stack as people start it: `qflows up --sandbox` on a home, its children, and runs on it."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from qflows.sandbox import Admin

T = TypeVar("T")
PATIENCE_S = 180.0  # everything takes 20 s on a quiet machine


def until(look: Callable[[], T], *, timeout_s: float = PATIENCE_S, otherwise: Callable[[], str] = lambda: "") -> T:
    """The first truthy answer of `look`. Raises TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"still {found!r} after {timeout_s:g} s\n{otherwise()}")
        time.sleep(0.1)
    return found


@dataclass
class Stack:
    """`qflows up` on one home; started, stopped and started again by tests."""

    home: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def out(self) -> Path:
        """What it prints."""
        return self.home / "out"

    @property
    def said(self) -> str:
        """What it printed since its last start."""
        return self.out.read_text(errors="replace") if self.out.exists() else ""

    def command(self) -> subprocess.Popen[bytes]:
        """Starts the command; as from a shell's background job, where SIGINT is ignored."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "QFLOWS_"))}
        paces = {"QFLOWS_POLL_MIN_S": "0.1", "QFLOWS_SETTLE_S": "0.3"}
        with self.out.open("wb") as out:
            return subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "qflows.cli",
                    "up",
                    "--port",
                    "0",
                    "--sandbox",
                    "--clock",
                    "instant",
                    "--every",
                    "1",
                ],
                env=clean | paces | {"QFLOWS_HOME": str(self.home)},
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
            )

    def start(self) -> None:
        """Up, until it says how to stop it."""
        self.process = self.command()
        until(lambda: "Ctrl-C" in self.said or self.process.poll() is not None, otherwise=lambda: self.said)  # pyright: ignore
        assert self.process.poll() is None, self.said

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal and waits for the end."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def child(self, name: str) -> int:
        """A child's process id, as recorded for a successor."""
        return int(json.loads((self.home / "up.children.json").read_text())[name].split("/")[-2])

    @property
    def env(self) -> dict[str, str]:
        """What the user exports in another terminal."""
        lines = (self.home / "up.env").read_text().splitlines()
        words = (shlex.split(line.removeprefix("export "))[0] for line in lines)
        return dict(word.split("=", 1) for word in words)

    @property
    def admin(self) -> Admin:
        """The sandbox's own counts."""
        return Admin(self.env["IONQ_API_URL"].removesuffix("/v0.4"))


def deploy(api: Any, flow: Any, entrypoint: str) -> UUID:
    """A deployment of a shipped flow on the stack's work pool."""
    return api.create_deployment(
        flow_id=api.create_flow(flow),
        name="of-tests",
        work_pool_name="qflows",
        entrypoint=entrypoint,
        tags=["qflows"],
        enforce_parameter_schema=False,
    )


def processes_of(flow_run_id: UUID) -> list[int]:
    """Processes that execute a flow run, on this machine."""
    mark = f"PREFECT__FLOW_RUN_ID={flow_run_id}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def is_gone(pid: int) -> bool:
    """True when the process is no more, or only its exit code is left."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
