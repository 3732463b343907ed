"""The ASGI application: finds the vendor by the port, plays scripted faults around its handler, keeps the journal."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Mapping
from email.utils import formatdate
from typing import cast

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Mount
from starlette.routing import Route as Path
from starlette.types import ASGIApp, Receive, Scope, Send

from qflows.sandbox.admin import Admin
from qflows.sandbox.errors import Refusal
from qflows.sandbox.faults import Fault
from qflows.sandbox.transport import NoAnswer, Slow, Truncated
from qflows.sandbox.vendor import Call, Route, Vendor
from qflows.sandbox.world import World

logger = logging.getLogger("qflows.sandbox")


class VendorApp:
    """One vendor's API as an ASGI application."""

    def __init__(self, vendor: Vendor) -> None:
        self.vendor = vendor
        self.world = vendor.world
        self._paths = [
            (Path(route.path, lambda _: Response(), methods=[route.method]), route) for route in vendor.routes()
        ]

    def _find(self, scope: Scope) -> tuple[Route | None, Mapping[str, object], bool]:
        """The route, its path parameters, and whether the path exists for another method."""
        is_known_path = False
        for path, route in self._paths:
            match, found = path.matches(scope)
            # Starlette answers HEAD with GET routes; a vendor that wants HEAD declares it
            if match is Match.FULL and scope["method"] == route.method:
                return route, found["path_params"], True
            is_known_path = is_known_path or match is not Match.NONE
        return None, {}, is_known_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        began = time.perf_counter()
        request = Request(scope, receive)
        route, params, is_known_path = self._find(scope)
        name = f"{self.vendor.name}.{route.name if route else 'unknown'}"
        entry = self.world.journal.open(
            time=self.world.clock.now(),
            vendor=self.vendor.name,
            route=name,
            method=request.method,
            path=request.url.path,
        )
        try:
            body = await self._body(request)
            if route is None:
                refusal = Refusal(405, "method not allowed") if is_known_path else Refusal(404, "no such path")
                response = self.vendor.refuse(refusal)
            else:
                call = Call(
                    world=self.world,
                    vendor=self.vendor,
                    route=name,
                    method=request.method,
                    path=request.url.path,
                    params=params,
                    query=request.query_params,
                    headers=request.headers,
                    body=body,
                    entry=entry,
                    faults=self.world.faults.take(name),
                    raw_path=scope["raw_path"].decode("latin-1").partition("?")[0],
                )
                response = await self._serve(call, route)
        except Refusal as refusal:
            response = self.vendor.refuse(refusal)
        except ClientDisconnect:
            response = NoAnswer()
        except Exception:  # process boundary: a bug in an emulator must be visible as one
            logger.exception("%s %s", request.method, request.url.path)
            response = self.vendor.refuse(Refusal(500, "the sandbox failed; see its log"))
        response.headers.setdefault("x-request-id", str(uuid.uuid4()))
        response = self._as_switched(response)
        status = 0 if isinstance(response, NoAnswer) else response.status_code
        # closed before the answer is sent, so that a client with the answer finds it in the journal
        self.world.journal.close(entry, status=status, duration_ms=(time.perf_counter() - began) * 1000)
        await response(scope, receive, send)

    def _as_switched(self, response: Response) -> Response:
        """Date, Retry-After and body as set by the switches of every vendor."""
        switches = self.world.switches[self.vendor.name]
        now = self.world.clock.now() + float(switches["clock_skew_s"])
        response.headers["date"] = formatdate(now, usegmt=True)
        if wait_s := response.headers.get("retry-after"):
            del response.headers["retry-after"]
            if text := _retry_after(float(wait_s), str(switches["retry_after_form"]), now):
                response.headers["retry-after"] = text
        if isinstance(response, NoAnswer | Truncated):
            return response
        if padding := int(switches["body_padding"]):
            response.body = bytes(response.body) + b" " * padding
            response.headers["content-length"] = str(len(response.body))
        pace = float(switches["body_bytes_per_s"])
        return Slow(response, pace) if pace > 0 else response

    async def _body(self, request: Request) -> bytes:
        limit = self.vendor.max_body_bytes
        chunks: list[bytes] = []
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size <= limit:
                chunks.append(chunk)
        # the rest is read and discarded: a client that is still sending would see a reset, not the 413
        if size > limit:
            raise Refusal(413, f"the body is larger than {limit} bytes")
        return b"".join(chunks)

    async def _serve(self, call: Call, route: Route) -> Response:
        if call.method in ("POST", "PUT"):
            call.entry.key = self._key(call)
        call.entry.faults += [fault.kind for fault in call.faults if fault.kind != "rate_limit"]
        if response := await self._before(call):
            return response
        try:
            if not route.is_open:
                self.vendor.authorise(call)
            if route.name in str(call.switch("denied_routes")).split(","):
                raise Refusal(403, "these credentials may not do this")
            response = await route.endpoint(call)
        except Refusal as refusal:
            response = self.vendor.refuse(refusal)
        return await self._after(call, response)

    def _key(self, call: Call) -> str | None:
        try:
            return self.vendor.client_key(call.document())
        except Refusal:
            return None  # the handler will report it

    async def _before(self, call: Call) -> Response | None:
        for fault in call.faults:
            if fault.kind == "rate_limit":
                wait_s = fault.wait_for_token(self.world.clock.now())
                if wait_s:
                    call.entry.faults.append("rate_limit")
                    return self._answer(Fault("status", call.route, status=429, retry_after=wait_s))
            elif fault.kind == "drop_before":
                return NoAnswer()
            elif fault.kind == "status" and not fault.accepted:
                return self._answer(fault)
            elif fault.when == "before" and await self._wait(fault, call):
                return NoAnswer()
        return None

    async def _after(self, call: Call, response: Response) -> Response:
        for fault in call.faults:
            if fault.kind == "drop_after":
                return NoAnswer()
            if fault.kind == "status" and fault.accepted:
                return self._answer(fault)
            if fault.kind == "truncate":
                response = Truncated(response)
            elif fault.when == "after" and await self._wait(fault, call):
                return NoAnswer()
        return response

    async def _wait(self, fault: Fault, call: Call) -> bool:
        """Delay or park. True if the request is to be dropped."""
        if fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
        elif fault.kind == "hold":
            verdict = await self.world.holds.park(
                vendor=self.vendor.name,
                route=call.route,
                when=fault.when,
                entry_n=call.entry.n,
                accepted=call.entry.accepted,
            )
            return verdict == "drop"
        return False

    def _answer(self, fault: Fault) -> Response:
        headers = {}
        if fault.retry_after is not None:
            headers["Retry-After"] = str(max(1, -(-int(fault.retry_after * 1000) // 1000)))
        if fault.body is not None:
            return Response(fault.body, fault.status, headers, "application/json")
        if fault.html:
            page = f"<html><head><title>{fault.status}</title></head><body><h1>{fault.status}</h1></body></html>"
            return Response(page, fault.status, headers, "text/html")
        refusal = Refusal(fault.status, fault.message or "scripted fault", code=fault.code, headers=headers)
        return self.vendor.refuse(refusal)


def _retry_after(seconds: float, form: str, now: float) -> str | None:
    """`seconds` in one of `switch.RETRY_AFTER_FORMS`."""
    return {
        "seconds": f"{seconds:g}",
        "date": formatdate(now + seconds, usegmt=True),
        "milliseconds": f"{round(seconds * 1000)}",
        "fraction": f"{seconds + 0.25:.2f}",
        "huge": "5000000",
        "infinite": "inf",
        "nan": "nan",
        "negative": f"-{seconds:g}",
        "absent": None,
    }[form]


def build(world: World, ports: Mapping[int, str]) -> ASGIApp:
    """The application for all listeners: the admin API on every port, and on each port the vendor that owns it."""
    vendors = {port: VendorApp(cast(Vendor, world.vendors[name])) for port, name in ports.items()}
    admin = Starlette(routes=[Mount("/_sandbox", routes=Admin(world, ports).routes())])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        chosen: ASGIApp = admin if scope["path"].startswith("/_sandbox") else vendors[scope["server"][1]]
        await chosen(scope, receive, send)

    return app
