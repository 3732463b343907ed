"""Hosts on one machine: network namespaces with addresses and homes of their own, on one bridge."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
PREFIX = f"qf{os.getpid() % 10_000}"  # a device's name has at most 15 characters


class NotPermitted(RuntimeError):
    """Namespaces cannot be made here; the text says why."""


def ip(*words: str) -> None:
    """One command of iproute2. Raises NotPermitted with what it said."""
    try:
        done = subprocess.run(["ip", *words], capture_output=True, text=True)
    except FileNotFoundError:
        raise NotPermitted("iproute2 is not installed") from None
    if done.returncode:
        raise NotPermitted(f"ip {' '.join(words)}: {done.stderr.strip()}")


def clock_library(folder: Path) -> Path | None:
    """clock.c, compiled into `folder`; None where there is no C compiler."""
    if (compiler := shutil.which("cc")) is None:
        return None
    made = folder / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(made), str(source), "-ldl"], check=True)
    return made


def until(look: Callable[[], T], *, timeout_s: float, what: str) -> T:
    """The first truthy answer of `look`. Raises TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s")
        time.sleep(0.3)
    return found


@dataclass
class Host:
    """A namespace, with processes that it starts again as an init system does."""

    name: str
    address: str
    home: Path
    services: dict[str, tuple[Sequence[str], Mapping[str, str], Sequence[str]]] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    clock_error_s: int = 0  # how far its clock is ahead
    clock_library: Path | None = None

    @property
    def clock(self) -> list[str]:
        """What starts a program with this host's clock. Only the time of day differs: waits last as long as they
        should."""
        if not self.clock_error_s or self.clock_library is None:
            return []
        return ["env", f"LD_PRELOAD={self.clock_library}", f"CLOCK_ERROR_S={self.clock_error_s}"]

    @property
    def space(self) -> str:
        """The namespace's name."""
        return f"{PREFIX}{self.name}"

    def serve(
        self, service: str, command: Sequence[str], env: Mapping[str, str], *, run_as: Sequence[str] = ()
    ) -> None:
        """Start a service of this host, and again whenever it is gone. `run_as`: what makes it another user's."""
        self.services[service] = (command, env, run_as)
        self.tend()

    def tend(self) -> None:
        """Start what is not running."""
        for service, (command, env, run_as) in self.services.items():
            process = self.running.get(service)
            if process is not None and process.poll() is None:
                continue
            with (self.home / f"{service}.log").open("ab") as log:
                self.running[service] = subprocess.Popen(
                    ["ip", "netns", "exec", self.space, *run_as, *self.clock, *command],
                    env=dict(env),
                    cwd=self.home,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
                )

    def pids(self) -> list[int]:
        """All processes of this host."""
        found = subprocess.run(["ip", "netns", "pids", self.space], capture_output=True, text=True)
        return [int(word) for word in found.stdout.split()]

    def kill(self) -> int:
        """SIGKILL for everything that runs here; returns how many processes that was."""
        pids = self.pids()
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for process in self.running.values():
            process.wait()
        self.running.clear()
        return len(pids)

    def stop(self, service: str) -> None:
        """End a service for good."""
        self.services.pop(service)
        process = self.running.pop(service)
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def link(self, state: str) -> None:
        """Plug the cable in (`up`) or pull it (`down`)."""
        ip("link", "set", f"{self.space}v", state)


@dataclass
class Network:
    """A bridge and its hosts."""

    folder: Path
    hosts: dict[str, Host] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    clock_library: Path | None = None

    def __enter__(self) -> Network:
        self.clock_library = clock_library(self.folder)
        ip("link", "add", f"{PREFIX}b", "type", "bridge")
        ip("addr", "add", "10.77.0.1/24", "dev", f"{PREFIX}b")
        ip("link", "set", f"{PREFIX}b", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for host in self.hosts.values():
            host.services.clear()
            host.kill()
            subprocess.run(["ip", "netns", "del", host.space], capture_output=True)
            shutil.rmtree(Path("/etc/netns", host.space), ignore_errors=True)
        subprocess.run(["ip", "link", "del", f"{PREFIX}b"], capture_output=True)

    def add(self, name: str, number: int, clock_error_s: int) -> Host:
        """Another host at 10.77.0.<number>, with an empty home and a clock that is so far ahead."""
        host = Host(
            name, f"10.77.0.{number}", self.folder / name, clock_error_s=clock_error_s, clock_library=self.clock_library
        )
        host.home.mkdir()
        space = host.space
        place = Path("/etc/netns", space)  # `ip netns exec` puts what is here over /etc
        place.mkdir(parents=True)
        (place / "hosts").write_text("127.0.0.1 localhost\n")
        ip("netns", "add", space)
        self.hosts[name] = host
        ip("link", "add", f"{space}v", "type", "veth", "peer", "name", "eth0", "netns", space)
        ip("link", "set", f"{space}v", "master", f"{PREFIX}b", "up")
        for words in (("addr", "add", f"{host.address}/24", "dev", "eth0"), ("link", "set", "eth0", "up"),
                      ("link", "set", "lo", "up")):  # fmt: skip
            ip("-n", space, *words)
        return host

    def call(self, name: str, address: str) -> None:
        """Give a name an address on every host, as DNS does; later ones replace earlier ones."""
        self.names[name] = address
        text = "127.0.0.1 localhost\n" + "".join(f"{where} {what}\n" for what, where in self.names.items())
        for host in self.hosts.values():
            Path("/etc/netns", host.space, "hosts").write_text(text)  # in place: running processes see it

    def tend(self) -> None:
        """Start what is not running, everywhere."""
        for host in self.hosts.values():
            host.tend()
