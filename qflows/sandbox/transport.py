"""HTTP connections that can be broken on purpose: closed without an answer, or in the middle of one."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

STATE_KEY = "sandbox.transport"


class BreakableProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol, handing its transport to the application through the request state."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Keep the transport where a request can find it."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, STATE_KEY: transport}


async def _gone(receive: Receive) -> None:
    # uvicorn sends a 500 of its own if the application returns while the connection still looks open
    while (await receive())["type"] != "http.disconnect":
        pass


class NoAnswer(Response):
    """Closes the connection; the client reads an end of file instead of a status line."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Close instead of sending."""
        scope["state"][STATE_KEY].close()
        await _gone(receive)


class Truncated(Response):
    """Sends a response's head and about half of its body, then closes."""

    def __init__(self, whole: Response) -> None:
        super().__init__(whole.body, whole.status_code)
        self.raw_headers = whole.raw_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the announced length in the head, less in the body."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        half: dict[str, Any] = {"type": "http.response.body", "body": bytes(self.body[: len(self.body) // 2])}
        await send(half | {"more_body": True})
        scope["state"][STATE_KEY].close()
        await _gone(receive)


class Slow(Response):
    """Sends a complete response, with its body at a given number of bytes per second."""

    def __init__(self, whole: Response, bytes_per_s: float) -> None:
        super().__init__(whole.body, whole.status_code)
        self.raw_headers = whole.raw_headers
        self._bytes_per_s = bytes_per_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head at once, then a piece every twentieth of a second, or a single byte if a piece is too much."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        body, size = bytes(self.body), max(1, round(self._bytes_per_s / 20))
        gone = asyncio.create_task(_gone(receive))
        for start in range(0, len(body), size):
            done, _ = await asyncio.wait([gone], timeout=size / self._bytes_per_s)
            if done:
                return  # the client is gone
            await send({"type": "http.response.body", "body": body[start : start + size], "more_body": True})
        gone.cancel()
        await send({"type": "http.response.body", "body": b""})
