"""Processes that are made quickly, to be killed: one that has everything imported forks them."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VICTIM = Path(__file__).with_name("victim.py")


@dataclass
class Victim:
    """A process at work. `pidfd` is None when it had ended before anybody could look."""

    pid: int
    report: Path
    pidfd: int | None

    def ended(self, timeout_s: float) -> bool:
        """True once the process is gone, however it went."""
        if self.pidfd is None:
            return True
        ready, _, _ = select.select([self.pidfd], [], [], timeout_s)
        if ready:
            os.close(self.pidfd)
            self.pidfd = None
        return bool(ready)

    def kill(self) -> None:
        """SIGKILL from outside, and wait until it is gone."""
        if self.pidfd is not None:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            assert self.ended(10)

    def outcome(self) -> dict[str, Any] | None:
        """What it reported, or None when it was killed before."""
        return json.loads(self.report.read_text()) if self.report.exists() else None


class Forge:
    """Makes victims quickly: one process that has everything imported forks them."""

    def __init__(
        self,
        folder: Path,
        api: str,
        *,
        env: Mapping[str, str] | None = None,
        imports: Sequence[str] = (),
        script: Path = VICTIM,
    ) -> None:
        self.api = api
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, str(script), *imports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(folder / "victims.log").open("wb"),
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "USAGE_DATA_OPT_OUT": "True"} | dict(env or {}),
            text=True,
        )
        self._say(None)

    def _say(self, order: dict[str, Any] | None) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if order is not None:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def start(self, *, kill: dict[str, Any] | None = None, **order: Any) -> Victim:
        """A new process for these jobs, with a lease and settle time that suit a test."""
        report = self._folder / f"{uuid.uuid4().hex}.json"
        base = {"api": self.api, "lease_s": 20.0, "settle_s": 0.15, "timeout_s": 60.0}
        pid = int(self._say(base | order | {"kill": kill, "report": str(report)}))
        try:
            return Victim(pid, report, os.pidfd_open(pid))
        except ProcessLookupError:
            return Victim(pid, report, None)

    def run(self, *, kill: dict[str, Any] | None = None, **order: Any) -> dict[str, Any] | None:
        """Start one and wait for its end; its report, or None when it was killed."""
        victim = self.start(kill=kill, **order)
        if not victim.ended(90):
            victim.kill()
            raise AssertionError(f"a process hangs; order {order}")
        return victim.outcome()

    def close(self) -> None:
        """No more orders."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
