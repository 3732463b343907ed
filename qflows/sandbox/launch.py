"""A sandbox as a child process, for tests, benchmarks and notebooks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from qflows.sandbox.admin_client import Admin


class SandboxError(RuntimeError):
    """The sandbox process did not come up; the text holds what it printed."""


class Sandbox:
    """`with Sandbox(vendors=("ionq",)) as sb:` gives `sb.url`, `sb.env`, `sb.admin`; ends with block or process.

    `clock` is `instant`, `count:<reads>`, `time:<queue_s>,<run_s>` or `frozen`. With `state_dir` it remembers jobs,
    sessions and journal, so that `kill()` and `restart()` play a vendor that crashed.
    """

    def __init__(
        self,
        vendors: Sequence[str] = ("ionq",),
        *,
        clock: str = "instant",
        state_dir: str | Path | None = None,
        seed: int = 1,
        ports: Sequence[int] = (0,),
        start_timeout_s: float = 60.0,
    ) -> None:
        self.vendors = tuple(vendors)
        self.urls: dict[str, str] = {}
        self.env: dict[str, str] = {}
        self._clock = clock
        self._state_dir = state_dir
        self._seed = seed
        self._ports = list(ports)
        self._start_timeout_s = start_timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def url(self) -> str:
        """The url of the first vendor, without a path. `urls` has all; the admin API is on each."""
        return self.urls[self.vendors[0]]

    @property
    def admin(self) -> Admin:
        """The admin API."""
        return Admin(self.url)

    @property
    def pid(self) -> int:
        """The server's process id."""
        assert self._process is not None, "the sandbox is not running"
        return self._process.pid

    def start(self) -> Self:
        """Start the process and wait until it answers. Raises SandboxError with its output if it does not."""
        self._folder = tempfile.TemporaryDirectory(prefix="qflows-sandbox-")
        ready = Path(self._folder.name, "ready")
        with self._log_path().open("wb") as errors:
            self._process = subprocess.Popen(
                self._command(ready),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=os.environ | {"PYTHONPATH": _search_path()},
                # signals from a terminal are for the caller, who then stops the sandbox
                start_new_session=True,
            )
        try:
            self._await(ready)
        except BaseException:
            self.kill()
            raise
        return self

    def _log_path(self) -> Path:
        assert self._folder is not None, "the sandbox is not running"
        return Path(self._folder.name, "log")

    @property
    def log(self) -> str:
        """What the process has printed to stderr: a traceback for every answer that was an unintended 500."""
        return self._log_path().read_text(errors="replace")

    def _command(self, ready: Path) -> list[str]:
        command = [sys.executable, "-m", "qflows.sandbox", "--child", "--vendors", ",".join(self.vendors)]
        command += ["--port", ",".join(map(str, self._ports)), "--clock", self._clock, "--seed", str(self._seed)]
        command += ["--ready-file", str(ready)]
        return command + (["--state-dir", str(self._state_dir)] if self._state_dir else [])

    def _await(self, ready: Path) -> None:
        assert self._process is not None
        deadline = time.monotonic() + self._start_timeout_s
        while not ready.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise SandboxError(f"the sandbox did not come up: {self.log[-4000:]}")
            time.sleep(0.01)
        vendors = Admin(ready.read_text().strip()).info()["vendors"]
        self.urls = {name: vendor["url"] for name, vendor in vendors.items()}
        self.env = {name: value for vendor in vendors.values() for name, value in vendor["env"].items()}
        self._ports = [urlsplit(self.urls[name]).port or 0 for name in self.vendors]

    def stop(self) -> None:
        """Stop cleanly; kill after 10 seconds."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill at once, as a crash of the vendor would."""
        self._end(signal.SIGKILL)

    def _end(self, with_signal: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(with_signal)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def restart(self) -> Self:
        """Start again on the same ports; with a state directory nothing is lost."""
        self.kill()
        return self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _search_path() -> str:
    """PYTHONPATH that finds this very package, wherever the caller's working directory is."""
    root = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))


def is_alive(pid: int) -> bool:
    """True while a process of that id exists and is not a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return not Path("/proc").is_dir()
