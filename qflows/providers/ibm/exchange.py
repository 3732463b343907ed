"""One HTTP exchange of the client: sent once, to an allowed host, with one overall deadline and a size cap.

The timeouts of requests are per read, so a body of one byte a second would hold a caller for hours; and it reads bodies
of any size. A watch shuts the connection down if the whole exchange, headers and body included, takes too long.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import requests
from ibm_cloud_sdk_core import ApiException
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from qflows import bounded_http
from qflows.errors import NotSent, Unreadable
from qflows.providers.ibm.access import Access, is_loopback

_CONNECT_S = 5.0
_CHUNK = 1 << 16
_BODY_CAP = 4_000
# bytes by route: a result of 10 million shots of 156 bits, circuits read back, device descriptions and lists, all else
_CAPS = (
    (re.compile(r"/jobs/[^/]+/results$"), 600_000_000),
    (re.compile(r"/jobs/[^/]+$"), 200_000_000),
    (re.compile(r"/backends/[^/]+/(configuration|properties)$"), 50_000_000),
    (re.compile(r"/(jobs|backends|workloads)$"), 50_000_000),
)
_SMALL = 5_000_000
_SLOW_ROUTES = re.compile(r"/jobs/[^/]+(/results)?$")
_SLOW_FACTOR = 10.0  # a large download may take this many timeouts, but not forever
_here = threading.local()


class _Watched:
    """Mixin for a connection that registers it as the one of the thread's exchange."""

    def request(self, *args: Any, **options: Any) -> None:
        _here.connection = self
        super().request(*args, **options)  # pyright: ignore[reportAttributeAccessIssue]


class _WatchedHTTP(_Watched, HTTPConnection):
    pass


class _WatchedHTTPS(_Watched, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls: Any = _WatchedHTTP  # pyright: ignore[reportIncompatibleVariableOverride]


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls: Any = _WatchedHTTPS  # pyright: ignore[reportIncompatibleVariableOverride]


class _Watch:
    """Shuts the thread's connection down at the deadline, whatever it is waiting for."""

    def __init__(self, seconds: float) -> None:
        self.is_over = False
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> _Watch:
        _here.connection = None
        self._holder = _here.__dict__
        self._timer.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._timer.cancel()

    def close(self) -> None:
        """End the connection, so that a broken one is not reused."""
        connection = self._holder.get("connection")
        if connection is not None:
            connection.close()

    def _cut(self) -> None:
        self.is_over = True
        sock = getattr(self._holder.get("connection"), "sock", None)
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # closed meanwhile


class BoundedAdapter(HTTPAdapter):
    """Sends each request with our deadline instead of the caller's (the client asks for 900 s on POST /jobs), and reads
    no more than its route can need; once, unless `max_retries` says otherwise."""

    def __init__(self, access: Access, timeout_s: float, *, max_retries: Any = 0) -> None:
        self._access = access
        self._timeout_s = timeout_s
        super().__init__(max_retries=max_retries, pool_connections=4, pool_maxsize=4)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """As in requests, with connections that can be watched."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        """As in requests, with connections that can be watched."""
        manager = super().proxy_manager_for(*args, **options)
        manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
        return manager

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        """The complete answer. Raises Unreadable for a body over its cap, requests.Timeout after the deadline."""
        named = dict(zip(("stream", "timeout", "verify", "cert", "proxies"), args, strict=False)) | options
        named |= {"timeout": (min(_CONNECT_S, self._timeout_s), self._timeout_s), "stream": True}
        if self._access.is_sandbox:
            named["proxies"] = {}
        path = urlsplit(request.url or "").path
        is_slow = request.method == "GET" and _SLOW_ROUTES.search(path)
        with _Watch(self._timeout_s * (_SLOW_FACTOR if is_slow else 1.0)) as watch:
            try:
                answer = super().send(request, **named)
                answer._content = _body(answer, cap_of(request.method, path))
            except (requests.RequestException, OSError) as error:
                watch.close()
                if watch.is_over:
                    raise requests.exceptions.ReadTimeout("no complete answer within the deadline") from error
                raise
        if watch.is_over:  # a cut connection looks like the end of a body without a length
            raise requests.exceptions.ReadTimeout("no complete answer within the deadline")
        answer._content_consumed = True
        return answer


@contextmanager
def bounded_sessions(access: Access, timeout_s: float) -> Iterator[None]:
    """While open, sessions that libraries create and use in this thread send through a bounded adapter.

    The client makes the sessions of its discovery itself and reads bodies of any size (0.51.0, `GET /backends`).
    """
    _install()
    made: dict[int, BoundedAdapter] = {}

    def bounded(plain: Any) -> Any:
        if isinstance(plain, BoundedAdapter):
            return plain
        if id(plain) not in made:
            made[id(plain)] = BoundedAdapter(access, timeout_s, max_retries=getattr(plain, "max_retries", 0))
        return made[id(plain)]

    _here.bounded = bounded
    try:
        yield
    finally:
        del _here.bounded
        for adapter in made.values():
            adapter.close()


@cache
def _install() -> None:
    """Let threads choose adapters for sessions of requests; for every other thread nothing changes."""
    plain = requests.Session.get_adapter

    def get_adapter(self: requests.Session, url: str) -> Any:
        found = plain(self, url)
        choose = getattr(_here, "bounded", None)
        return found if choose is None else choose(found)

    requests.Session.get_adapter = get_adapter


class OnceAdapter(BoundedAdapter):
    """Sends only to allowed hosts. `see`: called with every answer, e.g. to compare clocks."""

    def __init__(self, access: Access, timeout_s: float, see: Callable[[requests.Response], None]) -> None:
        self._see = see
        super().__init__(access, timeout_s)

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        """As above. Raises NotSent for a host that is not allowed or without a bearer token."""
        self._check(request)
        answer = super().send(request, *args, **options)
        self._see(answer)
        return answer

    def _check(self, request: requests.PreparedRequest) -> None:
        url = request.url or ""
        if self._access.is_sandbox and not is_loopback(url):
            raise NotSent(f"a sandbox is configured, but {urlsplit(url).hostname} is not this machine", provider="ibm")
        if not self._access.is_sandbox and urlsplit(url).scheme != "https":
            raise NotSent("an IBM token must not be sent unencrypted", provider="ibm")
        if not str(request.headers.get("Authorization", "")).startswith("Bearer "):
            raise NotSent("no IAM token is available, and the API key itself is not sent to this host", provider="ibm")


def cap_of(method: str | None, path: str) -> int:
    """Maximum bytes of an answer of this route."""
    if method != "GET":
        return _SMALL
    return next((cap for pattern, cap in _CAPS if pattern.search(path)), _SMALL)


def _body(answer: requests.Response, cap: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    for chunk in answer.iter_content(_CHUNK):
        size += len(chunk)
        if size > cap:
            answer.close()
            raise Unreadable(
                f"ibm answered with more than {cap:,} bytes, more than a real answer has; the rest was not read",
                provider="ibm",
                http_status=answer.status_code,
                body=b"".join(chunks)[:_BODY_CAP].decode(errors="replace"),
            )
        chunks.append(chunk)
    return b"".join(chunks)


def retry_after_s(answer: requests.Response) -> float | None:
    """Seconds of a Retry-After header, 0 to 300, in all its forms; None without one."""
    return bounded_http.retry_after_s({name.lower(): value for name, value in answer.headers.items()})


def http_date(text: str | None) -> datetime | None:
    """A date from a header, UTC; None without one."""
    try:
        found = parsedate_to_datetime(text or "")
    except (ValueError, TypeError, OverflowError):
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


class ServerClock:
    """IBM's time of day, from the `Date` of its answers: users' machines may be minutes off."""

    def __init__(self) -> None:
        self.skew_s = 0.0  # how far IBM's clock is ahead of ours
        self.seen_at: float | None = None

    def see(self, answer: requests.Response) -> None:
        """Compare clocks, ignoring a second of rounding."""
        told = http_date(answer.headers.get("Date"))
        if told is not None:
            skew_s = (told - datetime.now(UTC)).total_seconds()
            self.skew_s = skew_s if abs(skew_s) > 2.0 else 0.0
            self.seen_at = time.monotonic()


def bound_tokens(manager: Any, access: Access, timeout_s: float) -> None:
    """Give requests for IAM tokens one deadline and a cap: the manager's own have a timeout only for each read."""
    session = requests.Session()
    session.trust_env = not access.is_sandbox
    for scheme in ("http://", "https://"):
        session.mount(scheme, BoundedAdapter(access, timeout_s))

    def request(
        method: str,
        url: str,
        *,
        headers: Any = None,
        params: Any = None,
        data: Any = None,
        auth_tuple: Any = None,
        proxies: Any = None,
        **_: Any,
    ) -> Any:
        answer = session.request(
            method,
            url,
            headers=headers,
            params=params,
            data=data,
            auth=auth_tuple,
            proxies=proxies,
            allow_redirects=False,  # they would carry the key elsewhere
        )
        if answer.ok:
            return answer.json()
        raise ApiException(answer.status_code, http_response=answer)

    manager._request = request
