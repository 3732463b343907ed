"""Who holds a claim: a name from which others on the same machine can tell whether the holder is dead."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path


def me() -> str:
    """Name of this process: machine boot, process-id namespace, pid and start time. A fork has another name."""
    return name_of(os.getpid())


def name_of(pid: int) -> str:
    """The same kind of name for another process of this machine."""
    return f"{_machine()}/{pid}/{_start_ticks(pid)}"


def pid_if_running(owner: str) -> int | None:
    """The process id of `owner` if it certainly runs on this machine now; None otherwise."""
    machine, _, rest = owner.rpartition("/")
    pid = machine.rpartition("/")[2]
    same = pid.isdigit() and rest.isdigit() and owner == name_of(int(pid))
    return int(pid) if same else None


def is_dead(owner: str | None) -> bool:
    """True only if `owner` ran on this machine and certainly runs no more; False whenever in doubt."""
    machine, _, rest = (owner or "").rpartition("/")
    machine, _, pid = machine.rpartition("/")
    if machine != _machine() or not pid.isdigit() or not _boot_id():
        return False
    ticks = _start_ticks(int(pid))
    if ticks is None and _is_hidden(int(pid)):
        return False  # another user's process that /proc does not show (hidepid): hidden does not mean dead
    # a zombie can send nothing more; a reused pid has another start time
    return ticks is None or str(ticks) != rest


def _is_hidden(pid: int) -> bool:
    """True if the process exists and belongs to somebody else."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return False


@cache
def _machine() -> str:
    return f"{socket.gethostname()}/{_boot_id()}/{_pid_namespace()}"


@cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    except OSError:
        return ""  # no /proc: only the lease can tell


@cache
def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid").removeprefix("pid:[").removesuffix("]")
    except OSError:
        return ""


def _start_ticks(pid: int) -> int | None:
    """Field 22 of /proc/<pid>/stat (proc(5)); None for a process that is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])
