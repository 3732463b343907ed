"""Start and stop a sandbox process: load vendors, bind loopback ports, serve until asked to stop."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import pkgutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path

import uvicorn

import qflows.sandbox
from qflows.sandbox.clock import Pace
from qflows.sandbox.doors import guarded
from qflows.sandbox.engine import Engine
from qflows.sandbox.server import build
from qflows.sandbox.transport import BreakableProtocol
from qflows.sandbox.vendor import Vendor
from qflows.sandbox.world import World

PARENT_CHECK_S = 1.0


GROUP = "qflows.sandbox"
"""Entry points by which other packages bring emulators: `acme = "acme_sandbox:Emulator"`."""


def _shipped() -> set[str]:
    return {module.name for module in pkgutil.iter_modules(qflows.sandbox.__path__) if module.ispkg}


def known_vendors() -> list[str]:
    """Names of the vendors that can be loaded: sub-packages of qflows.sandbox, and entry points with that name."""
    return sorted(_shipped() | {entry.name for entry in entry_points(group=GROUP)})


def load_vendor(name: str) -> type[Vendor]:
    """The vendor's class. Raises ValueError listing the known ones."""
    if name not in known_vendors():
        raise ValueError(f"no vendor {name!r} in the sandbox; known: {', '.join(known_vendors())}")
    if name in _shipped():
        return importlib.import_module(f"qflows.sandbox.{name}").Emulator
    return next(entry.load() for entry in entry_points(group=GROUP) if entry.name == name)


@dataclass(frozen=True)
class Options:
    """How to run. `ports` gives one port per vendor; 0 lets the system choose; missing ones are 0."""

    vendors: Sequence[str]
    ports: Sequence[int] = (0,)
    pace: Pace = field(default_factory=Pace)
    state_dir: Path | None = None
    seed: int = 1
    allowed_hosts: Sequence[str] = ()  # names besides those of loopback, as a tunnel or a container may need
    is_child: bool = False  # end when stdin closes or the parent dies


def bind(ports: Sequence[int], count: int) -> list[socket.socket]:
    """One listening socket per vendor, on 127.0.0.1 only. Raises OSError if a chosen port is taken."""
    sockets = []
    for position in range(count):
        # asyncio switches Nagle off only if the protocol is named; with it every answer takes 40 ms
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", ports[position] if position < len(ports) else 0))
        listener.listen(1024)
        listener.setblocking(False)
        sockets.append(listener)
    return sockets


@dataclass
class Running:
    """What is known once a sandbox is listening: its world and the url of each vendor."""

    world: World
    urls: dict[str, str]


class _Server(uvicorn.Server):
    """uvicorn that reports when it listens, and returns on a signal so that files and worker are cleaned up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, then report it."""
        await super().startup(sockets=sockets)
        self.is_up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT. uvicorn would raise the signal again and end the process immediately."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


@contextlib.asynccontextmanager
async def _engine(engine: Engine) -> AsyncIterator[None]:
    await engine.start()
    try:
        yield
    finally:
        await engine.stop()


async def serve(options: Options, on_up: Callable[[Running], None]) -> None:
    """Serve until SIGTERM, SIGINT or, as a child, the end of the parent. `on_up(Running)` is called when it listens."""
    world = World(pace=options.pace, state_dir=options.state_dir, seed=options.seed)
    for name in options.vendors:
        world.add(load_vendor(name)(world))
    world.restore()
    world.engine = Engine(preload=[module for vendor in world.vendors.values() for module in vendor.preload])
    sockets = bind(options.ports, len(options.vendors))
    ports = {sock.getsockname()[1]: name for sock, name in zip(sockets, options.vendors, strict=True)}
    config = uvicorn.Config(
        guarded(build(world, ports), options.allowed_hosts),
        http=BreakableProtocol,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        date_header=False,  # the sandbox has a clock of its own
        # longer than any client keeps a connection, or the close would look like an unscripted fault
        timeout_keep_alive=3600,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    async with _engine(world.engine):
        watcher = asyncio.create_task(_stop_with_parent(server)) if options.is_child else None
        serving = asyncio.create_task(server.serve(sockets=sockets))
        up = asyncio.create_task(server.is_up.wait())
        await asyncio.wait([serving, up], return_when=asyncio.FIRST_COMPLETED)
        if up.done():
            on_up(Running(world, {name: f"http://127.0.0.1:{port}" for port, name in ports.items()}))
        try:
            await serving
        finally:
            world.holds.release(verdict="drop")
            for task in (up, watcher):
                if task is not None:
                    task.cancel()


async def _stop_with_parent(server: uvicorn.Server) -> None:
    """Stop when stdin ends or the parent is another process than at the start, whichever comes first."""
    parent = os.getppid()
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while os.getppid() == parent and not reader.at_eof():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PARENT_CHECK_S):
                await reader.read(1024)
    server.should_exit = True


@contextlib.contextmanager
def written_while_up(path: Path | None, text: str) -> Iterator[None]:
    """A file that exists, complete, while the sandbox is up."""
    if path is not None:
        partial = path.with_name(path.name + ".part")
        partial.write_text(text)
        partial.replace(path)
    try:
        yield
    finally:
        if path is not None:
            path.unlink(missing_ok=True)
