"""Prefect's server for one machine, behind a door: `python -m qflows.prefect.guarded_server PORT`.

Prefect checks no `Host` and accepts websockets from any origin (read in 3.8.8), so that a page of any site could talk
to a server on loopback under a host name of its own. Here a request must name this machine, and a page that sends it
must be the server's own. `/qflows-login` puts the password, which comes behind `#` and so is never sent, where
Prefect's two UIs keep it, and continues to the UI.
"""

from __future__ import annotations

import base64
import os
import sys
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

LOGIN_PATH = "/qflows-login"
PROCESS_PATH = "/qflows-process"
HOSTS = ("127.0.0.1", "localhost", "[::1]")

# the name under which both UIs of Prefect 3.8 and 3.9 keep it
_LOGIN = """<!doctype html><meta charset="utf-8"><title>qflows</title><script>
const word = decodeURIComponent(location.hash.slice(1));
if (word) localStorage.setItem("prefect-password", word);
location.replace("/");
</script><noscript>This page needs JavaScript.</noscript>"""
_NOT_KEPT = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; frame-ancestors 'none'",
}


def origins(port: int) -> list[str]:
    """The server's own origins."""
    return [f"http://{host}:{port}" for host in HOSTS]


def login_url(port: int, auth: str) -> str:
    """The address that logs a browser in. Holds the password: for the terminal of its owner only."""
    word = base64.b64encode(auth.encode()).decode()
    return f"http://127.0.0.1:{port}{LOGIN_PATH}#{quote(word, safe='')}"


def is_own(headers: Headers, port: int) -> bool:
    """True for a request that names this machine and comes from no foreign page."""
    hosts = headers.getlist("host")
    allowed = [urlsplit(origin).netloc for origin in origins(port)]
    return len(hosts) == 1 and hosts[0] in allowed and all(one in origins(port) for one in headers.getlist("origin"))


def guarded(app: ASGIApp, port: int) -> ASGIApp:
    """The application behind the door. Requests that are not for it get 403, websockets are not accepted."""

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await app(scope, receive, send)
        elif not is_own(Headers(scope=scope), port):
            if scope["type"] == "websocket":
                await WebSocketClose(code=1008)(scope, receive, send)
            else:
                await PlainTextResponse("this server answers only its own pages, on loopback", 403)(
                    scope, receive, send
                )
        elif scope["type"] == "http" and scope["path"] == LOGIN_PATH:
            await HTMLResponse(_LOGIN, headers=_NOT_KEPT)(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == PROCESS_PATH:
            # who listens here? `qflows up` must not take another's server for its own
            await PlainTextResponse(str(os.getpid()), headers=_NOT_KEPT)(scope, receive, send)
        else:
            await app(scope, receive, send)

    return guard


def main(port: int) -> None:
    """Serve on 127.0.0.1 until SIGINT or SIGTERM, with the settings of the environment."""
    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.settings import get_current_settings

    api = get_current_settings().server.api
    uvicorn.run(
        guarded(create_app(final=True), port),
        host="127.0.0.1",
        port=port,
        timeout_keep_alive=api.keepalive_timeout,
        log_level="warning",
        server_header=False,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
