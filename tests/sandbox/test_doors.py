"""The sandbox answers this machine's own clients and no page of another site, on vendor routes and admin alike."""

from __future__ import annotations

import httpx
import pytest

from qflows.sandbox import Sandbox
from qflows.sandbox.doors import refusal

PATHS = ["/v0.4/jobs", "/_sandbox/info", "/_sandbox/reset", "/nowhere"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:80"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
    ],
    ids=str,
)
def test_foreign_host_or_origin_gets_nothing(sandbox: Sandbox, path: str, headers: dict[str, str]) -> None:
    before = sandbox.admin.call("GET", "/counts")["requests"]
    answer = httpx.post(sandbox.url + path, headers=headers, json={}, trust_env=False)
    assert answer.status_code == 403
    assert "loopback names" in answer.text or "another origin" in answer.text
    assert "access-control-allow-origin" not in answer.headers
    assert sandbox.admin.call("GET", "/counts")["requests"] == before


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_loopback_names_are_answered(sandbox: Sandbox, host: str) -> None:
    port = httpx.URL(sandbox.url).port
    own = {"Host": f"{host}:{port}"}
    assert httpx.get(sandbox.url + "/_sandbox/info", headers=own, trust_env=False).status_code == 200
    own["Origin"] = f"http://{own['Host']}"
    assert httpx.get(sandbox.url + "/_sandbox/info", headers=own, trust_env=False).status_code == 200


def test_another_name_is_answered_when_told() -> None:
    from starlette.datastructures import Headers

    asked = Headers({"host": "Sandbox.lab:8000", "origin": "http://Sandbox.lab:8000"})
    assert refusal(asked) is not None
    assert refusal(asked, ["sandbox.lab"]) is None
    assert refusal(asked, ["lab"]) is not None
