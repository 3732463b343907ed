"""Bounded exchanges with AWS: one deadline for each whole exchange, and a size cap for its answer.

botocore's timeouts apply to each read alone, so that one byte a second would never end, and it reads bodies whole. It
has no public hook for either bound: the connection classes and the session of a client are replaced here; a test with
slow heads, slow bodies and endless bodies fails if that stops working.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from functools import cache
from threading import Lock, Timer, local
from typing import Any

_CHUNK = 65_536
_current = local()


class TooLarge(Exception):
    """A body above the cap of its route; the rest was not read."""


class Exchange:
    """One request of this thread and its complete answer. Used with `with`; cuts the connection at its deadline."""

    def __init__(self, *, timeout_s: float, max_bytes: int) -> None:
        self.timeout_s = timeout_s
        self.max_bytes = max_bytes
        self.is_late = False
        self._socket: socket.socket | None = None
        self._lock = Lock()
        self._timer = Timer(timeout_s, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Exchange:
        _current.exchange = self
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        _current.exchange = None
        with self._lock:
            self._socket = None  # from here on it may belong to another exchange

    def uses(self, connected: Any) -> None:
        """Register the connection to cut."""
        with self._lock:
            self._socket = connected
            is_late = self.is_late
        if is_late:
            self._cut()

    def _cut(self) -> None:
        with self._lock:
            self.is_late = True
            if self._socket is not None:
                try:
                    # of the plain socket: a reader sees its end, through TLS or not
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
                except OSError:
                    pass  # closed already


class _Capped:
    """A body that ends in TooLarge."""

    def __init__(self, raw: Any, most: int) -> None:
        self._raw, self._most, self._size = raw, most, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def read(self, amount: int | None = None, *args: Any, **kwargs: Any) -> bytes:
        """At most `amount` bytes; all if None."""
        if amount is None:
            return b"".join(self.stream())
        chunk = self._raw.read(amount, *args, **kwargs)
        self._size += len(chunk)
        if self._size > self._most:
            self._raw.close()
            raise TooLarge(f"more than {self._most} bytes")
        return chunk

    def stream(self, amount: int = _CHUNK) -> Iterator[bytes]:
        """Chunk by chunk."""
        while chunk := self.read(amount):
            yield chunk


class Session:
    """A client's HTTP session, within the bounds of the thread's exchange."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        inner._pool_classes_by_scheme.update(_pool_classes())

    def send(self, request: Any) -> Any:
        """Like botocore's own."""
        exchange: Exchange | None = getattr(_current, "exchange", None)
        if exchange is None:
            return self._inner.send(request)
        is_streamed, request.stream_output = request.stream_output, True
        try:
            response = self._inner.send(request)
        finally:
            request.stream_output = is_streamed
        response.raw = _Capped(response.raw, exchange.max_bytes)
        if not is_streamed:
            response.content  # noqa: B018  (reads it)
        return response

    def close(self) -> None:
        """Release all connections."""
        self._inner.close()


@cache
def _pool_classes() -> dict[str, Any]:
    from botocore.awsrequest import (
        AWSHTTPConnection,
        AWSHTTPConnectionPool,
        AWSHTTPSConnection,
        AWSHTTPSConnectionPool,
    )

    class Watched:
        sock: Any

        def getresponse(self, *args: Any, **kwargs: Any) -> Any:
            exchange = getattr(_current, "exchange", None)
            if exchange is not None and self.sock is not None:
                exchange.uses(self.sock)
            return super().getresponse(*args, **kwargs)  # type: ignore[misc]

    class Http(Watched, AWSHTTPConnection):
        pass

    class Https(Watched, AWSHTTPSConnection):
        pass

    class HttpPool(AWSHTTPConnectionPool):
        ConnectionCls = Http

    class HttpsPool(AWSHTTPSConnectionPool):
        ConnectionCls = Https

    return {"http": HttpPool, "https": HttpsPool}
