"""What `qflows up` shows to whom: its own pages and clients with the password, and nobody else."""

from __future__ import annotations

import base64
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from starlette.testclient import TestClient

from qflows.cli import up
from qflows.cli.supervisor import DidNotStart, Supervisor
from qflows.prefect.guarded_server import guarded, login_url

FOREIGN_HOSTS = [
    "evil.example",
    "evil.example:{port}",
    "127.0.0.1.evil.example:{port}",
    "127.0.0.1:1",
    "192.168.1.7:{port}",
]
FOREIGN_ORIGINS = ["http://evil.example", "https://127.0.0.1:{port}", "http://127.0.0.1:1", "null", "http://localhost"]


async def _app(scope: dict, receive: object, send: object) -> None:  # type: ignore[type-arg]
    await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[operator]
    await send({"type": "http.response.body", "body": b"inside"})  # type: ignore[operator]


class _Friendly(BaseHTTPRequestHandler):
    """Says yes to every question, as another Prefect server does when asked for its health."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"true")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def door() -> TestClient:
    """The door alone, before an application that says yes to everybody."""
    return TestClient(guarded(_app, 4200), base_url="http://127.0.0.1:4200")


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_foreign_host_is_refused(door: TestClient, host: str) -> None:
    answer = door.get("/api/block_documents", headers={"Host": host.format(port=4200)})
    assert (answer.status_code, "inside" in answer.text) == (403, False)


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
def test_foreign_origin_is_refused(door: TestClient, origin: str) -> None:
    answer = door.post("/api/block_documents/filter", headers={"Origin": origin.format(port=4200)})
    assert (answer.status_code, "inside" in answer.text) == (403, False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_own_names_and_pages_are_let_in(door: TestClient, host: str) -> None:
    own = {"Host": f"{host}:4200", "Origin": "http://127.0.0.1:4200"}
    assert door.get("/api/health", headers=own).text == "inside"
    assert door.get("/api/health").text == "inside"


def test_login_page_keeps_the_password_out_of_requests(door: TestClient) -> None:
    url = login_url(4200, "qflows:pass/word+&")
    parts = urlsplit(url)
    assert base64.b64decode(unquote(parts.fragment)).decode() == "qflows:pass/word+&"
    page = door.get(parts.path)
    assert 'localStorage.setItem("prefect-password", word)' in page.text
    assert page.headers["cache-control"] == "no-store"


def test_another_server_on_the_port_is_not_taken_for_our_own(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), _Friendly) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        port = other.server_port
        server = up._server(tmp_path, port, os.environ | {}, None)
        server.command = [sys.executable, "-c", "raise SystemExit('cannot bind')"]
        with pytest.raises(DidNotStart, match=f"took port {port} .*--port 0"):
            up._start_server(Supervisor(tmp_path / "children.json", print), server, port)
        other.shutdown()
    with pytest.raises(DidNotStart, match="cannot bind"):  # the port is free now, so the log says why
        up._start_server(Supervisor(tmp_path / "children.json", print), server, port)


def test_password_is_kept_and_read_from_own_files_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_SERVER_API_AUTH_STRING", raising=False)
    first = up._password(tmp_path)
    assert first != up._password(tmp_path)
    assert len(first) >= 32
    (tmp_path / "up.env").write_text(f"export A=b\nexport PREFECT_API_AUTH_STRING='{first}'\n")
    assert up._password(tmp_path) == first
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "me:mine-1234567")
    assert up._password(tmp_path) == "me:mine-1234567"
