"""Child processes kept alive: started in order, restarted with back-off when they die, stopped by their ids.

Children get a session of their own, so that what is typed at the terminal reaches the supervisor alone, who then stops
them in order. Their output goes to files: a pipe that is not read would block them in the end.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from qflows.ledger.owner import name_of, pid_if_running

_LOOK_EVERY_S = 0.2
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
_HEALTHY_AFTER_S = 60.0  # a process that lived this long starts its back-off from the beginning
_STOP_S = 20.0

Say = Callable[[str], None]


@dataclass
class Child:
    """One process. `is_ready` says whether it answers; without it a child that runs is ready."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    log: Path
    is_ready: Callable[[], bool] | None = None
    process: subprocess.Popen[bytes] | None = None
    pause_s: float = _FIRST_PAUSE_S
    started_at: float = 0.0
    due_at: float | None = None

    def start(self) -> None:
        """Starts the process; its output is added to its log."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                list(self.command),
                env=dict(self.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started_at = time.monotonic()
        self.due_at = None

    @property
    def is_running(self) -> bool:
        """True while the process exists."""
        return self.process is not None and self.process.poll() is None

    def tail(self, lines: int = 15) -> str:
        """The end of its log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""


class DidNotStart(RuntimeError):
    """A child ended, or did not answer in time; the text has the end of its log."""


@dataclass
class Supervisor:
    """Owns the children of one home. `record` remembers them, so that a successor can end those of a killed one."""

    record: Path
    say: Say
    children: list[Child] = field(default_factory=list)
    is_stopping: bool = False

    def take_signals(self) -> None:
        """SIGINT and SIGTERM ask to stop. With handlers here, children begin with default ones: Prefect needs that,
        it stops on SIGINT only, and a shell's background job would have it ignored."""

        def ask(number: int, frame: FrameType | None) -> None:
            self.is_stopping = True

        signal.signal(signal.SIGINT, ask)
        signal.signal(signal.SIGTERM, ask)

    def end_orphans(self) -> None:
        """Stops children of a supervisor that was killed: two of a kind would work on the same files."""
        try:
            left = json.loads(self.record.read_text())
        except (OSError, ValueError):
            return
        pids = [pid for pid in (pid_if_running(owner) for owner in left.values()) if pid is not None]
        if not pids:
            return
        self.say(f"stopping {len(pids)} process(es) left by an earlier `qflows up` that was killed")
        for with_signal in (signal.SIGINT, signal.SIGKILL):
            pids = [pid for pid in pids if _send(pid, with_signal)]
            deadline = time.monotonic() + _STOP_S / 2
            while pids and time.monotonic() < deadline:
                time.sleep(_LOOK_EVERY_S)
                pids = [pid for pid in pids if _send(pid, 0)]

    def start(self, child: Child, *, timeout_s: float = 180.0) -> None:
        """Starts a child and waits until it is ready. Raises DidNotStart."""
        child.start()
        self.children.append(child)
        self._remember()
        deadline = time.monotonic() + timeout_s
        while child.is_ready is not None and not child.is_ready() and not self.is_stopping:
            if not child.is_running or time.monotonic() > deadline:
                raise DidNotStart(f"{child.name} did not start; the last lines of {child.log}:\n{child.tail()}")
            time.sleep(_LOOK_EVERY_S)

    def run(self) -> None:
        """Keeps the children alive until somebody asks to stop."""
        while not self.is_stopping:
            for child in self.children:
                self._tend(child)
            time.sleep(_LOOK_EVERY_S)

    def _tend(self, child: Child) -> None:
        now = time.monotonic()
        if child.is_running:
            if now - child.started_at > _HEALTHY_AFTER_S:
                child.pause_s = _FIRST_PAUSE_S
        elif child.due_at is None:
            assert child.process is not None
            child.due_at = now + child.pause_s
            how = child.process.returncode
            self.say(f"{child.name} died ({_how(how)}); restarting it in {child.pause_s:g} s, its log is {child.log}")
            child.pause_s = min(child.pause_s * 2, _LONGEST_PAUSE_S)
        elif now >= child.due_at:
            child.start()
            self._remember()
            assert child.process is not None
            self.say(f"{child.name} is running again as pid {child.process.pid}")

    def stop(self) -> None:
        """Stops all, the last started first; a process that has not ended within 20 s is killed."""
        self.is_stopping = True
        for child in reversed(self.children):
            process = child.process
            if process is None or process.poll() is not None:
                continue
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self.say(f"{child.name} did not stop; killed")
                process.kill()
                process.wait()
        self.record.unlink(missing_ok=True)

    def _remember(self) -> None:
        alive = {child.name: name_of(child.process.pid) for child in self.children if child.process is not None}
        partial = self.record.with_suffix(".part")
        partial.write_text(json.dumps(alive))
        partial.replace(self.record)


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _send(pid: int, number: int) -> bool:
    """False when there is no such process any more."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
