"""HTTP exchanges that end: one deadline for everything, a size cap per answer, secrets taken out before anybody reads.

An exchange that fails says in its type what that proves: `NotSent` before the first byte of the request, `Unreadable`
for a body above its cap, `Ambiguous` for all else. Vendor-free; what an answer means is the adapter's business.
"""

from __future__ import annotations

import json
import os
import re
import ssl
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpcore
import httpx

from qflows.errors import Ambiguous, CredentialsMissing, NotSent, ProviderError, Unreadable
from qflows.privacy.redaction import holds_secret, protect, redact_bytes

MAX_RETRY_AFTER_S = 300.0
"""Longest pause a vendor can ask for: one wrong header must not stop an account's polling for hours."""
MAX_BYTES = 4_000_000
"""Size cap of an answer where the route needs no more."""
BODY_EXCERPT = 4_000
"""Characters of a body that errors carry."""

# float() takes more: digits of other scripts, underscores, "nan"
_NUMBER = re.compile(
    r"[+-]?([0-9]{1,400}(\.[0-9]{0,400})?|\.[0-9]{1,400}|inf(inity)?)(e[+-]?[0-9]{1,9})?", re.IGNORECASE
)
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
# provably before the first byte; ProxyError is raised while a tunnel is asked for
_NEVER_LEFT = (
    httpcore.ConnectError,
    httpcore.ConnectTimeout,
    httpcore.PoolTimeout,
    httpcore.UnsupportedProtocol,
    httpcore.LocalProtocolError,
    httpcore.ProxyError,
)
_NO_ANSWER = (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, httpx.DecodingError)
# a path that is written down as it is
_PLAIN_PATH = re.compile(r"/(?:[A-Za-z0-9/._~-]|%[0-9A-F]{2})*")
_LONGEST_TARGET = 65_536
_WRITE_CHUNK = 65_536
_READ_CHUNK = 65_536
_MOST_AT_ONCE = 16
# what is asked for; httpx would take more (brotli and zstd where they are installed, several around each other), and
# unpack a piece of an answer whole: 64 kB of three layers are terabytes
_ENCODINGS = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})
_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)

Headers = Mapping[str, str]
Params = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer. Header names are in lower case; a secret that the vendor quotes is already out of it."""

    status: int
    headers: Headers
    content: bytes = field(repr=False)

    @property
    def is_success(self) -> bool:
        """2xx."""
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The beginning of the body, for errors and messages."""
        return self.content[: 4 * BODY_EXCERPT].decode("utf-8", "replace")[:BODY_EXCERPT]

    def json(self) -> Any:
        """The body as JSON; None if it is not JSON, such as a gateway's page, plain text, or NaN."""
        try:
            return json.loads(self.content, parse_constant=_no_number)
        except (ValueError, RecursionError):
            return None

    @property
    def retry_after_s(self) -> float | None:
        """The pause the vendor asks for, 0 to MAX_RETRY_AFTER_S seconds; None where it asks for none."""
        return retry_after_s(self.headers)

    @property
    def skew_s(self) -> float | None:
        """Seconds by which the vendor's clock is ahead of ours, from its `Date` header; None without one."""
        there = http_date(self.headers.get("date"))
        return None if there is None else (there - datetime.now(UTC)).total_seconds()


def retry_after_s(headers: Headers) -> float | None:
    """Seconds of a `Retry-After` header, in any of its forms: seconds, decimals, or an HTTP date.

    A date is compared with the answer's own `Date`, so that a wrong clock here changes nothing. Where a proxy added
    one of its own, the header is a list, and the longest pause counts. At most MAX_RETRY_AFTER_S; None for a header
    that is absent or says no number.
    """
    text = headers.get("retry-after", "").strip()
    until = http_date(text)
    if until is not None:
        seconds = (until - (http_date(headers.get("date")) or datetime.now(UTC))).total_seconds()
    else:
        seconds = retry_after_number(text)
    return None if seconds is None else min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


def retry_after_number(text: str) -> float | None:
    """The number in a `Retry-After` header, the greatest of a list; None for a date or anything else."""
    numbers = [float(part) for part in text.split(",") if _NUMBER.fullmatch(part.strip())]
    return max(numbers, default=None)


def http_date(text: str | None) -> datetime | None:
    """One of the three forms of RFC 9110, section 5.6.7."""
    try:
        found = parsedate_to_datetime(text) if text else None
    except (ValueError, TypeError, OverflowError):
        return None
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


@cache
def _trusted(*, trust_env: bool, file: str | None, folder: str | None) -> ssl.SSLContext:
    """The authorities that httpx trusts by default, read once a process: it takes longer than a request.

    `file` and `folder` are what the environment chooses, which httpx looks up by itself.
    """
    return httpx.create_ssl_context(trust_env=trust_env)


class BoundedHttp:
    """Sends requests to one vendor, each once, each within bounds. Safe for several threads. Its repr is the address.

    `timeout_s` bounds a whole exchange: waiting for a connection, sending, and reading the last byte.
    """

    def __init__(self, *, name: str, base_url: str, headers: Headers, secrets: Iterable[str], timeout_s: float) -> None:
        parts = urlsplit(base_url)
        is_loopback = parts.hostname in _LOOPBACK
        if parts.scheme != "https" and not is_loopback:
            raise CredentialsMissing(
                f"the {name} address {base_url} is not https, and a key must not be sent unencrypted; "
                "correct the variable or the field that sets it"
            )
        self.name = name
        self.base_url = base_url
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self.timeout_s = timeout_s
        protect(*secrets)
        self._given = {"User-Agent": "qflows", "Accept-Encoding": "gzip", **headers}
        self._trusts_env = not is_loopback  # a proxy of the environment cannot reach our loopback
        self.client = self._made()
        self._headers = self.client.build_request("GET", base_url).headers.raw
        self._origin = httpx.URL(self.origin)
        self._timeouts = httpx.Timeout(timeout_s).as_dict()
        # one connection each, the last one used on top: a pool of many looks at all of them for each request
        self._idle = [self._pool_of(self.client)]
        # not a semaphore: it is Python code around a lock, and an interrupt in there leaves the lock taken for good
        self._places: SimpleQueue[bool] = SimpleQueue()
        for _ in range(_MOST_AT_ONCE):
            self._places.put(True)

    def _made(self) -> httpx.Client:
        client = httpx.Client(
            headers=self._given,
            timeout=self.timeout_s,
            follow_redirects=False,
            trust_env=self._trusts_env,
            verify=_trusted(
                trust_env=self._trusts_env,
                file=os.environ.get("SSL_CERT_FILE"),
                folder=os.environ.get("SSL_CERT_DIR"),
            ),
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
        )
        _bound(client)
        return client

    def _pool_of(self, client: httpx.Client) -> Any:
        """Where the client sends requests to the vendor: it chooses proxy and authorities. Its own exchanges cost twice
        as much, for cookies, redirects and hooks that are not wanted here."""
        transport: Any = client._transport_for_url(httpx.URL(self.base_url))
        return transport._pool

    def __repr__(self) -> str:
        return f"BoundedHttp({self.base_url})"

    def exchange(
        self,
        method: str,
        path: str,
        *,
        params: Params = (),
        json_body: Any = None,
        content: bytes | None = None,
        headers: Headers | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> Answer:
        """One request and its complete answer, whatever its status. `path` is below `base_url`, or a whole URL.

        Raises NotSent when no byte left, Unreadable for a body above `max_bytes`, Ambiguous when no complete answer
        came in time. A `path` or body that cannot be written down is NotSent too.
        """
        url = path if path.startswith(self.origin + "/") else self.base_url + path
        where = f"{method} {urlsplit(url).path[:200]}"
        try:
            if json_body is not None:
                content = json.dumps(json_body, separators=(",", ":"), allow_nan=False).encode()
                headers = {"Content-Type": "application/json", **(headers or {})}
            request = self._request(method, url, list(params), content, headers or {})
        # nothing that fails here has left; from None: frames of the transport hold the key in their locals
        except (httpx.InvalidURL, ValueError, TypeError, RecursionError) as error:
            raise NotSent(f"{where} to {self.name} cannot be written: {error!s:.300}", provider=self.name) from None
        token = _deadline.set(time.monotonic() + self.timeout_s)
        try:
            with self._connection() as pool:
                answer: httpcore.Response = pool.handle_request(request)
                try:
                    headers_in = _headers_of(answer)
                    content = self._body(answer, headers_in, where, max_bytes)
                finally:
                    answer.close()
        except _NEVER_LEFT as error:
            raise NotSent(f"{self.name} cannot be reached: {error!s:.300}", provider=self.name) from None
        except _NO_ANSWER as error:
            raise self._no_answer(where, type(error).__name__) from None
        finally:
            _deadline.reset(token)
        return Answer(answer.status, headers_in, redact_bytes(content))

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        """A pool of one connection for one exchange; after a failure it is not used again. Raises PoolTimeout."""
        is_mine = False
        try:
            try:
                is_mine = self._places.get(timeout=self.timeout_s)
            except Empty:
                raise httpcore.PoolTimeout(f"{_MOST_AT_ONCE} requests are already in progress") from None
            try:
                pool = self._idle.pop()
            except IndexError:
                pool = self._pool_of(self._made())
            yield pool
            self._idle.append(pool)
        finally:
            if is_mine:
                self._places.put(True)

    def _request(
        self, method: str, url: str, params: list[tuple[str, str]], content: bytes | None, headers: Headers
    ) -> httpcore.Request:
        """The request as bytes, with the headers that httpx gives one. Raises InvalidURL, ValueError, TypeError."""
        target = url[len(self.origin) :]
        if not _PLAIN_PATH.fullmatch(target) or len(target) > _LONGEST_TARGET:
            raw = httpx.URL(url).raw_path
        else:
            raw = target.encode("ascii")
        if params:  # what httpx.URL does with each character of a long query takes longer than the request
            raw = raw.partition(b"?")[0] + b"?" + urlencode(params).encode()
        own = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]
        if content is not None or method in ("POST", "PUT", "PATCH"):
            own.append((b"Content-Length", str(len(content or b"")).encode()))
        replaced = {name.lower() for name, _ in own}
        kept = [header for header in self._headers if header[0].lower() not in replaced]
        return httpcore.Request(
            method.encode("ascii"),
            httpcore.URL(
                scheme=self._origin.raw_scheme, host=self._origin.raw_host, port=self._origin.port, target=raw
            ),
            headers=[*kept, *own],
            content=content,
            extensions={"timeout": self._timeouts},
        )

    def _body(self, answer: httpcore.Response, headers: Headers, where: str, max_bytes: int) -> bytes:
        encoding = headers.get("content-encoding", "").strip().lower()
        if encoding not in _ENCODINGS:
            raise Unreadable(
                f"{self.name} answered {where} in an encoding that was not requested: {encoding[:60]!a}",
                provider=self.name,
                http_status=answer.status,
            )
        pieces = answer.iter_stream()
        chunks: list[bytes] = []
        size = 0
        for chunk in pieces if encoding in ("", "identity") else _unpacked(pieces):
            chunks.append(chunk)
            size += len(chunk)
            if size > max_bytes:
                raise Unreadable(
                    f"{self.name} answered {where} with more than {max_bytes} bytes, more than any valid answer has; "
                    "the rest was not read",
                    provider=self.name,
                    http_status=answer.status,
                )
        return b"".join(chunks)

    def _no_answer(self, where: str, reason: str) -> ProviderError:
        return Ambiguous(
            f"{self.name} gave no complete answer to {where} within {self.timeout_s:g} s ({reason})",
            provider=self.name,
        )


def _headers_of(answer: httpcore.Response) -> dict[str, str]:
    """Headers by name in lower case, without secrets; several of one name as a list, as RFC 9110 has it."""
    found: dict[str, str] = {}
    for name, value in answer.headers:
        known, text = name.decode("latin-1").lower(), value.decode("utf-8", "replace")
        found[known] = f"{found[known]}, {text}" if known in found else text
    whole = "\n".join(found.values())
    if not whole.isascii() or holds_secret(whole):
        return {name: redact_bytes(text.encode("utf-8", "replace")).decode() for name, text in found.items()}
    return found


def _unpacked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The content of a gzip or zlib body, never more than one chunk at once. Raises httpx.DecodingError."""
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # either header
    try:
        for piece in pieces:
            rest = piece
            while rest and not unpacker.eof:
                yield unpacker.decompress(rest, _READ_CHUNK)
                rest = unpacker.unconsumed_tail
    except zlib.error as error:
        raise httpx.DecodingError(str(error)) from None
    if not unpacker.eof:
        raise httpx.DecodingError("the compressed body is incomplete")


def _bound(client: httpx.Client) -> None:
    """Gives every connection of a client the deadline of the exchange that uses it.

    httpx's timeouts are for each read and write alone, so that one byte a second would never end. Its pools have no
    public place for a network backend; a test with slow headers and slow bodies fails if this one stops working.
    """
    for transport in [client._transport, *client._mounts.values()]:
        pool: Any = getattr(transport, "_pool", None)
        if pool is not None:
            pool._network_backend = _Backend(pool._network_backend)


def _remaining_s(timeout: float | None, error: type[Exception]) -> float | None:
    deadline = _deadline.get()
    if deadline is None:
        return timeout
    left = deadline - time.monotonic()
    if left <= 0:
        raise error("the deadline of the exchange has passed")
    return left if timeout is None else min(left, timeout)


class _Backend(httpcore.NetworkBackend):
    def __init__(self, inner: httpcore.NetworkBackend) -> None:
        self._inner = inner

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.NetworkStream:
        left = _remaining_s(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.connect_tcp(host, port, left, local_address, socket_options))

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Any = None
    ) -> httpcore.NetworkStream:
        left = _remaining_s(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.connect_unix_socket(path, left, socket_options))

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _remaining_s(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _WRITE_CHUNK):
            left = _remaining_s(timeout, httpcore.WriteTimeout)
            self._inner.write(buffer[start : start + _WRITE_CHUNK], left)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _remaining_s(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
