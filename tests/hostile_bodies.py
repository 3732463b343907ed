"""What a server, or somebody between it and us, can do to a body after the vendor has acted: slow, cut, lied about,
packed. Each is written to a real socket in place of the answer of an emulator."""

from __future__ import annotations

import gzip
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

PACE_S = 0.01
_BOMB = 70_000_000  # bytes of white space, more than any answer but a result may have
_CHUNK = b" " * 65_536


@dataclass(frozen=True)
class Answer:
    """What the vendor really said."""

    status: int
    kind: str
    body: bytes


Write = Callable[[Any, Answer], int]
"""Writes a spoilt answer to a handler; returns the bytes of the body that were written."""


@dataclass(frozen=True)
class Kind:
    """`whole_at`: vendors whose transport gets the whole body all the same, so that nothing is to be told; `may_be_at`:
    those where it depends on what is installed."""

    write: Write
    whole_at: tuple[str, ...] = ()
    may_be_at: tuple[str, ...] = ()

    def is_whole(self, vendor: str) -> bool | None:
        """None: it depends."""
        return None if vendor in self.may_be_at else vendor in self.whole_at


def _head(handler: Any, answer: Answer, length: int | str | None = None, **more: str) -> None:
    handler.send_response(answer.status)
    handler.send_header("Content-Type", more.pop("kind", answer.kind))
    if length is not None:
        handler.send_header("Content-Length", str(length))
    for name, value in more.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()


def _until_gone(handler: Any, piece: bytes, most: int) -> int:
    sent = 0
    try:
        while sent < most:
            handler.wfile.write(piece)
            handler.wfile.flush()
            sent += len(piece)
            time.sleep(PACE_S)
    except OSError:
        pass  # whoever asked has left
    handler.close_connection = True
    return sent


def _drip(handler: Any, answer: Answer) -> int:
    _head(handler, answer, len(answer.body) + 100_000)
    return _until_gone(handler, b" ", 100_000)


def _with(body: Callable[[bytes], bytes], length: Callable[[bytes], int | str], **more: str) -> Write:
    def write(handler: Any, answer: Answer) -> int:
        sent = body(answer.body)
        _head(handler, answer, length(answer.body), Connection="close", **more)
        try:
            handler.wfile.write(sent)
            handler.wfile.flush()
        except OSError:
            pass
        handler.close_connection = True
        return len(sent)

    return write


def _bomb(handler: Any, answer: Answer) -> int:
    body = _packed_bomb(answer.body)
    _head(handler, answer, len(body), Content_Encoding="gzip")
    try:
        handler.wfile.write(body)
    except OSError:
        pass
    handler.close_connection = True
    return len(body)


_ALL = ("ionq", "ibm", "braket", "qbraid")
_SPACES: list[bytes] = []


def _packed_bomb(body: bytes) -> bytes:
    """One gzip member that begins with the body; its tail is the same for all, so it is made once."""
    if not _SPACES:
        tail = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        _SPACES.append(b"".join(tail.compress(_CHUNK * 16) for _ in range(_BOMB // len(_CHUNK) // 16)) + tail.flush())
    head = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = head.compress(body) + head.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff" + packed + _SPACES[0] + b"\x00" * 8


def _half(body: bytes) -> bytes:
    return body[: len(body) // 2]


def _thrice(body: bytes) -> bytes:
    return gzip.compress(gzip.compress(gzip.compress(body, mtime=0), mtime=0), mtime=0)


KINDS: dict[str, Kind] = {
    "drip-fed": Kind(_drip),
    "announced too short": Kind(_with(lambda body: body, lambda body: len(body) // 2)),
    "a page's type": Kind(_with(lambda body: body, len, kind="text/html; charset=utf-7"), whole_at=_ALL),
    "gzip bomb": Kind(_bomb),
    "gzip in gzip in gzip": Kind(_with(_thrice, lambda body: len(_thrice(body)), Content_Encoding="gzip, gzip, gzip"),
                                 may_be_at=("ibm",)),
}  # fmt: skip
