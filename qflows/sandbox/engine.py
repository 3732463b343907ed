"""The server's side of the worker process: start it, feed it, replace it when it dies or hangs."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qflows.sandbox.errors import WorkError
from qflows.sandbox.jobs import Work
from qflows.sandbox.worker import HEADER

# BLAS threads in the worker would compete with the server for two cores; small states gain nothing from them
SINGLE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass
class _Pending:
    """Work that was sent and not answered."""

    frame: bytes
    future: asyncio.Future[Any]
    deaths: int = 0


class Engine:
    """Runs Work in one worker process, in order. Everything sent is pipelined: a burst costs no round trips.

    The worker answers in order, so when it dies the oldest unanswered work is the suspect: it is tried once more, and
    fails the second time. All other work is simply sent again.
    """

    def __init__(self, *, preload: Sequence[str] = (), timeout_s: float = 120.0) -> None:
        self._preload = tuple(preload)
        self._timeout_s = timeout_s
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._waiting: dict[int, _Pending] = {}
        self._ids = itertools.count(1)
        self._lock = asyncio.Lock()
        self._is_stopping = False
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
        """The JSON result of the work. Raises WorkError if it failed, hung, or took the worker down twice."""
        work_id = next(self._ids)
        document = {"id": work_id, "function": work.function, "payload": work.payload}
        frame = json.dumps(document, separators=(",", ":")).encode()
        pending = _Pending(HEADER.pack(len(frame)) + frame, asyncio.get_running_loop().create_future())
        try:
            async with self._lock:
                process = await self._ensure()
                self._waiting[work_id] = pending
                await _send(process, [pending])
            return await self._answer(work_id, pending)
        finally:
            self._waiting.pop(work_id, None)

    async def _answer(self, work_id: int, pending: _Pending) -> Any:
        # The limit applies to silence while this work is first in line; behind others it only waits its turn.
        while True:
            before = self.executed
            done, _ = await asyncio.wait([pending.future], timeout=self._timeout_s)
            if done:
                return pending.future.result()
            if self.executed == before and next(iter(self._waiting)) == work_id:
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
        if not self._is_stopping:
            await self._recover()

    async def _recover(self) -> None:
        async with self._lock:
            left = [pending for pending in self._waiting.values() if not pending.future.done()]
            if not left:
                return
            left[0].deaths += 1
            if left[0].deaths > 1:
                left.pop(0).future.set_exception(WorkError("SimulationError", "the simulator process ended"))
            await _send(await self._ensure(), left)

    def _settle(self, answer: dict[str, Any]) -> None:
        self.executed += 1
        pending = self._waiting.get(answer["id"])
        if pending is None or pending.future.done():
            return
        if error := answer.get("error"):
            pending.future.set_exception(WorkError(error["code"], error["message"]))
        else:
            pending.future.set_result(answer["result"])

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def stop(self) -> None:
        """End the worker and wait for it."""
        self._is_stopping = True
        self._kill()
        if self._process is not None:
            await self._process.wait()
        if self._reader is not None:
            await self._reader


async def _send(process: asyncio.subprocess.Process, work: Sequence[_Pending]) -> None:
    """Write frames. A worker that has just died is not an error here: its end sends them again."""
    assert process.stdin is not None
    try:
        for pending in work:
            process.stdin.write(pending.frame)
        await process.stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        pass
