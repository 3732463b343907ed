"""The server's side of the worker process: start it, feed it, replace it when it dies or hangs."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from qflows.sandbox.errors import WorkError
from qflows.sandbox.jobs import Work
from qflows.sandbox.worker import HEADER

# BLAS threads in the worker would fight the server for two cores; small states gain nothing from them
SINGLE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Engine:
    """Runs Work in one worker process, in order. Everything sent is pipelined: a burst costs no round trips."""

    def __init__(self, *, preload: Sequence[str] = (), timeout_s: float = 120.0) -> None:
        self._preload = tuple(preload)
        self._timeout_s = timeout_s
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._ids = itertools.count(1)
        self._lock = asyncio.Lock()
        self.executed = 0

    async def start(self) -> None:
        """Start and warm the worker, so that the first circuit is as quick as the next."""
        async with self._lock:
            await self._ensure()

    async def _ensure(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "qflows.sandbox.worker",
            *self._preload,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | SINGLE_THREAD,
            start_new_session=True,  # a Ctrl-C at the terminal is the server's to handle
        )
        self._reader = asyncio.create_task(self._read(self._process))
        return self._process

    async def execute(self, work: Work) -> Any:
        """The JSON result of the work. Raises WorkError when it failed, hung, or took the worker down."""
        work_id = next(self._ids)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[work_id] = future
        document = {"id": work_id, "function": work.function, "payload": work.payload}
        frame = json.dumps(document, separators=(",", ":")).encode()
        try:
            async with self._lock:
                process = await self._ensure()
                assert process.stdin is not None
                process.stdin.write(HEADER.pack(len(frame)) + frame)
                await process.stdin.drain()
            return await self._answer(future)
        except (BrokenPipeError, ConnectionResetError):
            raise WorkError("SimulationError", "the simulator process ended") from None
        finally:
            self._waiting.pop(work_id, None)

    async def _answer(self, future: asyncio.Future[Any]) -> Any:
        # The limit is on silence of the worker, not on this work: it may stand behind a long queue.
        while True:
            before = self.executed
            done, _ = await asyncio.wait([future], timeout=self._timeout_s)
            if done:
                return future.result()
            if self.executed == before:
                self._kill()
                raise WorkError("SimulationTimeout", f"no result within {self._timeout_s:g} s")

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        stream = process.stdout
        assert stream is not None
        try:
            while True:
                (length,) = HEADER.unpack(await stream.readexactly(HEADER.size))
                self._settle(json.loads(await stream.readexactly(length)))
        except asyncio.IncompleteReadError:
            pass
        await process.wait()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(WorkError("SimulationError", "the simulator process ended"))

    def _settle(self, answer: dict[str, Any]) -> None:
        self.executed += 1
        future = self._waiting.get(answer["id"])
        if future is None or future.done():
            return
        if error := answer.get("error"):
            future.set_exception(WorkError(error["code"], error["message"]))
        else:
            future.set_result(answer["result"])

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def stop(self) -> None:
        """End the worker and wait for it."""
        self._kill()
        if self._process is not None:
            await self._process.wait()
        if self._reader is not None:
            await self._reader
