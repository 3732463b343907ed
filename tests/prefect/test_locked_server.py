"""A Prefect server on SQLite answers 503 while another request writes: asked again at once, by every short look-up."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from uuid import uuid4

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from qflows.errors import NotSent
from qflows.prefect.blocks.device import saved_profile
from qflows.prefect.server_runs import prefect_api


class Locked(http.server.ThreadingHTTPServer):
    """Says 503 to the first `times` requests, then what a server without that block or run says."""

    times = 0
    asked = 0


class Answers(http.server.BaseHTTPRequestHandler):
    server: Locked  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        if self.path.startswith("/api/csrf-token"):  # the client asks before it posts, and takes 404 for "none needed"
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer()

    def _answer(self) -> None:
        self.server.asked += 1
        is_locked = self.server.asked <= self.server.times
        missing = 404 if self.command == "GET" else 201
        body = json.dumps({"status": "ACCEPT", "details": {"type": "accept_details"}, "state": None}).encode()
        self.send_response(503 if is_locked else missing)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Locked]:
    made = Locked(("127.0.0.1", 0), Answers)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{made.server_port}/api"}):
        yield made
    made.shutdown()
    made.server_close()


def look_up() -> object:
    return saved_profile("my-device")


def resume() -> object:
    with prefect_api() as api:
        return api.resume_flow_run(uuid4()).status.value


DOORS = [pytest.param(look_up, None, id="a saved device"), pytest.param(resume, "ACCEPT", id="a run to wake")]


@pytest.mark.parametrize(("ask", "found"), DOORS)
@pytest.mark.parametrize("times", [0, 1, 2])
def test_a_locked_database_is_asked_again(server: Locked, ask: Callable[[], object], found: object, times: int) -> None:
    server.times = times
    assert ask() == found
    assert server.asked == times + 1


@pytest.mark.parametrize(("ask", "found"), DOORS)
def test_a_server_that_stays_unavailable_is_given_up(server: Locked, ask: Callable[[], object], found: object) -> None:
    server.times = 100
    with pytest.raises((NotSent, httpx.HTTPStatusError)):
        ask()
    assert server.asked == 3
