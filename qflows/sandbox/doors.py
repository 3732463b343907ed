"""Which requests are answered: those for this machine by name, and none that another site's page makes in a browser.

A page on any site can have a browser send requests to loopback, under a host name of its own that resolves to 127.0.0.1
(DNS rebinding) or across sites. The first shows in `Host`, the second in `Origin`.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})


def _host(text: str) -> str:
    """The name in a `Host` header, without port; empty if it is invalid."""
    try:
        return (urlsplit(f"//{text}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def refusal(headers: Headers, allowed: Collection[str] = ()) -> str | None:
    """Why a request must not be answered; None if it may be. `allowed`: host names besides those of loopback."""
    names = {*LOOPBACK_NAMES, *(name.lower() for name in allowed)}
    hosts = headers.getlist("host")
    if len(hosts) != 1 or _host(hosts[0]) not in names:
        return "the sandbox answers on loopback names only; start it with --allow-host NAME for another"
    for origin in headers.getlist("origin"):
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or parts.netloc != hosts[0]:
            return "the sandbox answers no page of another origin"
    return None


def guarded(app: ASGIApp, allowed: Collection[str] = ()) -> ASGIApp:
    """The application behind this check: 403 before anything is read, counted or executed."""

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        reason = refusal(Headers(scope=scope), allowed) if scope["type"] == "http" else None
        if reason is None:
            await app(scope, receive, send)
        else:
            await JSONResponse({"error": reason}, 403)(scope, receive, send)

    return guard
