"""A vendor that sends back, in every place an answer has for text, all that it was sent: headers, body, and worse.

What it is not to echo goes to an emulator, so that clients get as far as the request that is. Tokens that the emulator
gives out are secrets, too.
"""

from __future__ import annotations

import base64
import html
import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote_plus

ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202egnp.exe\u2066"
_SECRET = frozenset({"authorization", "x-api-key", "x-amz-security-token"})
SHAPES = ("400 json", "401 json", "403 html", "500 html", "503 json", "200 text", "200 words", "200 wrong shape")


@dataclass
class Echo:
    """What to answer, and what was seen. `raw`: bytes to answer instead, with status 200."""

    shape: str = "400 json"
    raw: bytes | None = None
    only: str = ""  # paths to echo, a regular expression; empty: all
    behind: str = ""  # address of the emulator
    url: str = ""
    n_echoed: int = 0
    tokens: set[str] = field(default_factory=set)
    spoil: Callable[[Any, int, str, bytes], None] | None = None
    """Writes what the emulator answered in a way of its own, where `spoils` finds a request: `POST /v0.4/jobs`."""
    spoils: str = "(?!)"

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str, bytes]:
        """Status, content type and body."""
        self.n_echoed += 1
        if self.raw is not None:
            return 200, "application/json", self.raw
        status, _, kind = self.shape.partition(" ")
        said = _everything(headers, body)
        if kind == "html":
            page = f"<html><head><title>{html.escape(said)}</title></head><body><pre>{said}</pre></body></html>"
            return int(status), "text/html", page.encode("utf-8", "replace")
        if kind == "text":
            return int(status), "text/plain", said.encode("utf-8", "replace")
        return int(status), "application/json", json.dumps(_document(kind, said)).encode()


def _everything(headers: Mapping[str, str], body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    # credentials first: callers cut what they show, and clients send headers as long as the list of installed packages
    ordered = sorted(headers.items(), key=lambda item: item[0].lower() not in _SECRET)
    sent = "\n".join(f"{name}: {value}" for name, value in ordered)
    values = " ".join(headers.values())
    wrapped = [base64.b64encode(value.encode()).decode() for value in headers.values()]
    keys = [value.split()[-1] for value in headers.values() if value.split()]
    wrapped += [base64.b64encode(f"{before}{key}".encode()).decode() for key in keys for before in ("u:", "uu:", "u")]
    wrapped += [key.encode().hex() for key in keys]
    return (
        f"{ESCAPES}{values[:150]} {sent} {text[:3000]} {quote_plus(sent)} {json.dumps(text[:3000])} {' '.join(wrapped)}"
    )


def _document(kind: str, said: str) -> Any:
    if kind == "wrong shape":
        return {said[:2000]: said, "id": {"x": said}, "data": said, "jobs": said, "status": [said], "results": said}
    if kind == "words":
        job = {"id": f"id-{said[:400]}", "status": said, "message": said, "failure": {"error": said, "code": said}}
        job |= {"jobQrn": f"q-{said[:400]}", "quantumTaskArn": f"arn:{said[:400]}", "statusText": said, "state": said}
        return job | {"data": dict(job), "jobs": [dict(job)], "success": True, "quantumTasks": [dict(job)]}
    inner = {"message": said, "code": said[:3000], "type": said, "needed": said, "balance": said, "more_info": said}
    return {
        "success": False,
        "message": said,
        "Message": said,
        "__type": said[:200],
        "code": said[:300],
        "errorMessage": said,
        "errorCode": said,
        "error": inner,
        "errors": [inner],
        "detail": [{"loc": [said], "msg": said}],
        "programSetValidationFailures": [{"programIndex": 0, "errors": [said]}],
    }


@contextmanager
def running() -> Iterator[Echo]:
    """The server in threads of this process, on a port of its own."""
    echo = Echo()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            is_spoilt = echo.spoil is not None and re.search(echo.spoils, f"{self.command} {self.path}")
            if is_spoilt:
                echo.n_echoed += 1
            if not echo.only or re.search(echo.only, self.path):
                status, kind, answer = echo.answer(self.command, self.path, dict(self.headers), body)
            else:
                status, kind, answer = _passed_on(echo, self.command, self.path, dict(self.headers), body)
            if is_spoilt and echo.spoil is not None:
                echo.spoil(self, status, kind, answer)
                return
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer)

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = _serve

        def log_message(self, format: str, *args: Any) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    echo.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield echo
    finally:
        server.shutdown()
        server.server_close()


def _passed_on(echo: Echo, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str, bytes]:
    kept = {name: value for name, value in headers.items() if name.lower() != "accept-encoding"}  # Host is signed
    request = urllib.request.Request(echo.behind + path, data=body or None, method=method, headers=kept)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            status, kind, content = answer.status, answer.headers.get("Content-Type") or "", answer.read()
    except urllib.error.HTTPError as error:
        status, kind, content = error.code, error.headers.get("Content-Type") or "", error.read()
    for name in ("access_token", "refresh_token"):
        echo.tokens.update(
            found.decode() for found in re.findall(rb'"%b"\s*:\s*"([^"]{16,})"' % name.encode(), content)
        )
    return status, kind, content.replace(echo.behind.encode(), echo.url.encode())
