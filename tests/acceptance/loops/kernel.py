"""A real notebook kernel: the interpreter that runs the tests, with cells, interrupts, restarts and kills."""

from __future__ import annotations

import ast
import os
import signal
import sys
import time
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import KernelManager


class _Ours(KernelSpecManager):
    """The kernel of the interpreter that runs the tests, whatever kernels this machine has."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="ours", language="python", interrupt_mode="signal")


class Notebook:
    """A kernel and a client of it; `setup` is a cell that runs after every start."""

    def __init__(self, env: dict[str, str], folder: Path, setup: str = "") -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        places = {"IPYTHONDIR": str(folder / "ipython"), "JUPYTER_RUNTIME_DIR": str(folder / "runtime")}
        self._setup = setup
        self.kernel = KernelManager(kernel_spec_manager=_Ours())
        self.kernel.start_kernel(env={**clean, **env, **places}, cwd=str(folder))
        self._connect()

    def _connect(self) -> None:
        self.client = self.kernel.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        if self._setup:
            self.cell(self._setup)

    @property
    def is_alive(self) -> bool:
        """Whether the kernel's process runs."""
        return self.kernel.is_alive()

    def send(self, code: str) -> str:
        """Starts a cell; the id by which its end is known."""
        return self.client.execute(code, store_history=True)

    def answer(self, cell: str, timeout: float = 60) -> dict[str, Any]:
        """What the cell came to: the shell's reply."""
        while True:
            reply = self.client.get_shell_msg(timeout=timeout)
            if reply["parent_header"].get("msg_id") == cell:
                return reply["content"]

    def answer_or_death(self, cell: str, timeout: float) -> dict[str, Any] | None:
        """What the cell came to; None if the kernel died over it."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            alive = self.is_alive
            try:
                return self.answer(cell, timeout=0.2)
            except Empty:
                if not alive:
                    return None
        raise TimeoutError(f"the cell has not ended after {timeout:g} s")

    def cell(self, code: str) -> Any:
        """A cell that must succeed, and what it left in `last`."""
        content = self.answer(self.client.execute(code, user_expressions={"last": "last"} if "last" in code else {}))
        assert content["status"] == "ok", content
        shown = content.get("user_expressions", {}).get("last")
        return ast.literal_eval(shown["data"]["text/plain"]) if shown else None

    def restart(self, *, now: bool) -> None:
        """As the menu does it; `now`: killed first."""
        self.client.stop_channels()
        if now and self.is_alive:
            os.kill(self.kernel.provisioner.pid, signal.SIGKILL)  # type: ignore[union-attr]
        self.kernel.restart_kernel(now=now)
        self._connect()

    def close(self) -> None:
        """Ends the kernel."""
        self.client.stop_channels()
        self.kernel.shutdown_kernel(now=True)
