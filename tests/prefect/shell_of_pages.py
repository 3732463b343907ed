"""A shell for the blocks of documentation pages: real bash, in which `qflows` starts in milliseconds.

`qflows` on its PATH is a small program that hands its arguments, folder, environment and open files to a process that
has loaded the command line already and forks for each call.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

_CALLER = """\
#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as there:
    there.connect({address!r})
    said = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(there, [len(said).to_bytes(4, "big")], [0, 1, 2])
    there.sendall(said)
    sys.exit(int(there.recv(8) or b"70"))
"""

_HOLDER = """\
import json, os, socket, sys
import qiskit, qiskit_aer, qflows.cli.app
from qflows.cli import main
here = socket.socket(socket.AF_UNIX)
here.bind(sys.argv[1])
here.listen()
while True:
    there, _ = here.accept()
    if os.fork():
        there.close()
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        continue
    head, fds, _, _ = socket.recv_fds(there, 4, 3)
    size, said = int.from_bytes(head, "big"), b""
    while len(said) < size:
        said += there.recv(65536)
    arguments, folder, environment = json.loads(said)
    for place, fd in enumerate(fds):
        os.dup2(fd, place)
        os.close(fd)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["qflows", *arguments]
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        import traceback
        traceback.print_exc()
        code = 70
    sys.stdout.flush()
    sys.stderr.flush()
    there.sendall(str(code).encode())
    os._exit(0)
"""


class Shell:
    """Runs blocks; `close` ends the process behind it."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        address = str(folder / "s")
        caller = self.bin / "qflows"
        caller.write_text(_CALLER.format(python=sys.executable, address=address))
        caller.chmod(0o755)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        self.holder = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(_HOLDER), address], env=clean, start_new_session=True
        )
        deadline = time.monotonic() + 120
        while True:
            try:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(address)
                    probe.shutdown(socket.SHUT_RDWR)
                return
            except OSError:
                if self.holder.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("the command line did not load") from None
                time.sleep(0.05)

    def run(self, block: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """The block in bash, ending at the first command that fails."""
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=folder,
            env=environment | {"PATH": path},
            capture_output=True,
            text=True,
            timeout=120,
        )

    def close(self) -> None:
        """Ends the process that holds the command line, and whatever a block left running."""
        os.killpg(self.holder.pid, signal.SIGTERM)
        self.holder.wait(10)
