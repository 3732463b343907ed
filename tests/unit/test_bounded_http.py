"""Exchanges end in time and in size, and say what their failure proves, against real sockets."""

from __future__ import annotations

import gzip
import socket
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from interrupting import InterruptAt  # noqa: E402

from qflows.bounded_http import MAX_RETRY_AFTER_S, BoundedHttp, retry_after_s  # noqa: E402
from qflows.errors import Ambiguous, CredentialsMissing, NotSent, Unreadable  # noqa: E402

KEY = "secret-key-0123456789"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """One connection at a time; `answer` writes what it likes after the request's headers were read."""
    listener = socket.create_server(("127.0.0.1", 0))
    is_over = threading.Event()

    def serve() -> None:
        while not is_over.is_set():
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer:
                try:
                    peer.recv(65_536)
                    answer(peer)
                except OSError:
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        is_over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def client(url: str, timeout_s: float = 5) -> BoundedHttp:
    return BoundedHttp(name="acme", base_url=url, headers={"X-Key": KEY}, secrets=[KEY], timeout_s=timeout_s)


def _say(text: bytes, peer: socket.socket) -> None:
    peer.sendall(text)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n"


@pytest.mark.parametrize("at_once", [0, len(HEAD), len(HEAD) + 1], ids=["headers", "body", "rest"])
def test_a_byte_now_and_then_does_not_hold_the_caller(at_once: int) -> None:
    whole = HEAD + b" " * 40

    def answer(peer: socket.socket) -> None:
        peer.sendall(whole[:at_once])
        for place in range(at_once, len(whole)):
            time.sleep(0.05)
            peer.sendall(whole[place : place + 1])

    with server(answer) as url, pytest.raises(Ambiguous, match="no complete answer"):
        client(url, timeout_s=0.3).exchange("GET", "/x")


@pytest.mark.parametrize("is_packed", [False, True])
def test_body_above_the_cap_is_unreadable_and_not_kept(is_packed: bool) -> None:
    body = b"[" + b"1," * 500_000 + b"1]"
    packed = gzip.compress(body)
    headers = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n".encode()
    whole = headers + packed if is_packed else OK % (len(body), body)
    with server(lambda peer: peer.sendall(whole)) as url:
        with pytest.raises(Unreadable, match="more than 1000 bytes"):
            client(url).exchange("GET", "/x", max_bytes=1000)
        assert len(client(url).exchange("GET", "/x", max_bytes=2_000_000).json()) == 500_001


def test_packed_answer_is_never_unpacked_beyond_its_cap() -> None:
    bomb = gzip.compress(b" " * 200_000_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: %d\r\n\r\n"
    with server(lambda peer: peer.sendall(head % (b"gzip", len(bomb)) + bomb)) as url:
        asking = client(url, timeout_s=60)
        tracemalloc.start()
        try:
            with pytest.raises(Unreadable, match="more than 1000000 bytes"):
                asking.exchange("GET", "/x", max_bytes=1_000_000)
            assert tracemalloc.get_traced_memory()[1] < 4_000_000
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "zstd", "gzip, br", "compress", "x" * 500])
def test_encoding_that_nobody_asked_for_is_not_unpacked(encoding: str) -> None:
    body = gzip.compress(gzip.compress(b"{}"))
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with server(lambda peer: peer.sendall(head + body)) as url, pytest.raises(Unreadable, match="not requested"):
        client(url).exchange("GET", "/x")


@pytest.mark.parametrize(
    "spoil", [lambda b: b[:-9], lambda b: b"{}" + b, lambda b: b[:20] + b"\xff" * 20], ids=["cut", "page", "bad"]
)
def test_packed_answer_that_cannot_be_unpacked_is_no_complete_answer(spoil: Callable[[bytes], bytes]) -> None:
    body = spoil(gzip.compress(b'{"id": "a"}' * 100))
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    with server(lambda peer: peer.sendall(head + body)) as url, pytest.raises(Ambiguous, match="no complete answer"):
        client(url).exchange("POST", "/x", json_body={})


def test_what_never_left_is_not_sent() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(NotSent):
        client(url).exchange("GET", "/x")
    with pytest.raises(NotSent):
        client(url).exchange("GET", "/" + "x" * 100_000)
    with pytest.raises(NotSent):
        client(url).exchange("POST", "/x", json_body={"angle": float("nan")})
    with pytest.raises(NotSent):
        client(url).exchange("GET", "/x", headers={"a": "b\r\nc: d"})


def test_dropped_answer_is_a_doubt() -> None:
    for beginning in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{"):
        with server(partial(_say, beginning)) as url, pytest.raises(Ambiguous):
            client(url).exchange("POST", "/x", json_body={})


def test_quoted_secret_is_taken_out_of_body_and_headers() -> None:
    body = f'{{"you sent": "{KEY}"}}'.encode()
    head = f"HTTP/1.1 403 No\r\nX-Echo: {KEY}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with server(lambda peer: peer.sendall(head + body)) as url:
        answer = client(url).exchange("GET", "/x")
    assert answer.json() == {"you sent": "[secret]"}
    assert KEY not in repr(answer) + str(answer.headers) + answer.text


@pytest.mark.parametrize(
    ("method", "path", "params", "content", "headers"),
    [
        ("GET", "/jobs", [("ids", "a b"), ("ids", "ü&%"), ("limit", "25")], None, {}),
        ("GET", "/jobs/a%20b/results", [], None, {"x-key": "another", "Accept": "text/plain"}),
        ("GET", "/a b/ü/%zz?x=1#y", [], None, {}),
        ("GET", "", [], None, {}),
        ("POST", "/jobs", [], b'{"a": 1}', {"Content-Type": "application/json"}),
        ("PUT", "/jobs/1", [], None, {}),
        ("DELETE", "/jobs/1", [], None, {}),
    ],
)
def test_request_is_the_one_that_httpx_writes(
    method: str, path: str, params: list[tuple[str, str]], content: bytes | None, headers: dict[str, str]
) -> None:
    seen: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10)

    def serve() -> None:
        for _ in range(2):
            peer, _ = listener.accept()
            with peer:
                seen.append(peer.recv(65_536))
                while content and content not in seen[-1]:
                    seen[-1] += peer.recv(65_536)
                peer.sendall(b"HTTP/1.1 204 No\r\nConnection: close\r\n\r\n")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with listener:
        asking = client(f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
        asking.exchange(method, path, params=params, content=content, headers=headers)
        asking.client.request(method, asking.base_url + path, params=params or None, content=content, headers=headers)
        thread.join(10)
    ours, theirs = (text.partition(b"\r\n\r\n") for text in seen)
    assert ours[2] == theirs[2] == (content or b"")
    assert ours[0].split(b"\r\n")[0] == theirs[0].split(b"\r\n")[0]
    lines = [sorted(line.lower() for line in text[0].split(b"\r\n")) for text in (ours, theirs)]
    assert lines[0] == lines[1]


def test_headers_of_one_name_are_one_list() -> None:
    head = b"HTTP/1.1 503 No\r\nRetry-After: 3\r\nretry-after: 7\r\nX-Who: \xc3\xbc\r\nContent-Length: 0\r\n\r\n"
    with server(partial(_say, head)) as url:
        answer = client(url).exchange("GET", "/x")
    assert (answer.headers["retry-after"], answer.headers["x-who"]) == ("3, 7", "ü")
    assert answer.retry_after_s == 7.0


def test_connection_is_used_again_and_replaced_when_the_vendor_has_closed_it() -> None:
    connections: list[int] = []
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10)

    def serve() -> None:
        for n_requests in (3, 1):
            peer, _ = listener.accept()
            connections.append(n_requests)
            with peer:
                for _ in range(n_requests):
                    peer.recv(65_536)
                    peer.sendall(OK % (2, b"{}"))
            closed.set()

    closed = threading.Event()
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with listener:
        asking = client(f"http://127.0.0.1:{listener.getsockname()[1]}")
        for _ in range(3):
            assert asking.exchange("GET", "/x").json() == {}
        assert closed.wait(10)
        assert asking.exchange("GET", "/x").json() == {}
        thread.join(10)
    assert connections == [3, 1]


def test_threads_have_a_connection_each_and_later_requests_use_them_again() -> None:
    n_threads, connections, meet = 4, [], threading.Barrier(4)
    listener = socket.create_server(("127.0.0.1", 0))

    def speak(peer: socket.socket) -> None:
        with peer:
            while peer.recv(65_536):
                peer.sendall(OK % (2, b"{}"))

    def serve() -> None:
        for _ in range(n_threads):
            connections.append(listener.accept()[0])
            threading.Thread(target=speak, args=(connections[-1],), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    with listener:
        asking = client(f"http://127.0.0.1:{listener.getsockname()[1]}")

        def ask() -> None:
            with asking._connection() as pool:  # all at once
                meet.wait(10)
                assert pool.request("GET", asking.base_url).status == 200
            assert asking.exchange("GET", "/x").json() == {}

        threads = [threading.Thread(target=ask) for _ in range(n_threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        for _ in range(3):
            asking.exchange("GET", "/x")
    assert len(connections) == n_threads == len(asking._idle)


def test_plain_http_is_for_loopback_only() -> None:
    with pytest.raises(CredentialsMissing, match="https"):
        client("http://acme.example")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", 7.0),
        (" 1.5 ", 1.5),
        ("0", 0.0),
        ("-3", 0.0),
        ("5000", MAX_RETRY_AFTER_S),
        ("1e400", MAX_RETRY_AFTER_S),
        ("inf", MAX_RETRY_AFTER_S),
        ("-inf", 0.0),
        ("nan", None),
        ("", None),
        ("soon", None),
        ("1;2", None),
        ("Thu, 99 Foo 2026 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_bounded(text: str, expected: float | None) -> None:
    assert retry_after_s({"retry-after": text}) == expected


def test_retry_after_date_is_read_by_the_vendors_clock() -> None:
    for skew in (timedelta(0), timedelta(hours=-3), timedelta(days=2)):
        there = datetime.now(UTC).replace(microsecond=0) + skew
        for later in (
            format_datetime(there + timedelta(seconds=40), usegmt=True),
            (there + timedelta(seconds=40)).strftime("%A, %d-%b-%y %H:%M:%S GMT"),
            (there + timedelta(seconds=40)).strftime("%a %b %d %H:%M:%S %Y"),
        ):
            headers = {"retry-after": later, "date": format_datetime(there, usegmt=True)}
            assert retry_after_s(headers) == 40.0, later
    past = format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)
    far = format_datetime(datetime.now(UTC) + timedelta(days=400), usegmt=True)
    assert (retry_after_s({"retry-after": past}), retry_after_s({"retry-after": far})) == (0.0, MAX_RETRY_AFTER_S)
    assert retry_after_s({}) is None


def test_clock_of_the_vendor_is_read_from_its_date() -> None:
    there = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
    with server(lambda peer: peer.sendall(f"HTTP/1.1 204 No\r\nDate: {there}\r\n\r\n".encode())) as url:
        skew = client(url).exchange("GET", "/x").skew_s
    assert skew is not None
    assert 590 <= skew <= 610
    with server(lambda peer: peer.sendall(OK % (2, b"{}"))) as url:
        assert client(url).exchange("GET", "/x").skew_s is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_exchange_after_an_interrupt_of_the_way_to_a_connection() -> None:
    """Before any line of ours or of Python's locks; the next exchange is not held up by what was interrupted."""
    answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
    with server(lambda peer: peer.sendall(answer)) as url:
        http = client(url, timeout_s=2)
        http.exchange("GET", "/x")
        answers: list[int] = []

        def ask() -> None:
            answers.append(http.exchange("GET", "/x").status)

        at, where = 0, "before the first"
        while where:
            at += 1
            interrupt = InterruptAt(at, ["/qflows/bounded_http.py", "/threading.py"])
            with suppress(KeyboardInterrupt, Ambiguous, NotSent), interrupt:
                http.exchange("GET", "/x")
            where = interrupt.where
            asking = threading.Thread(target=ask, daemon=True)
            asking.start()
            asking.join(30)
            assert answers == [200] * at, where
        assert at > 50  # lines that an exchange runs through
