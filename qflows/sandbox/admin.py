"""The admin API, `/_sandbox/...` on every port: script, inspect, count, move the clock. README.md lists the calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from qflows.sandbox.clock import Pace
from qflows.sandbox.errors import Refusal
from qflows.sandbox.faults import KINDS, Fault
from qflows.sandbox.vendor import parse_json
from qflows.sandbox.world import World

MAX_BODY_BYTES = 1_000_000
Handler = Callable[[Request, dict[str, Any]], Awaitable[Any]]


class Admin:
    """Handlers of the admin API."""

    def __init__(self, world: World, ports: Mapping[int, str]) -> None:
        self.world = world
        self.urls = {name: f"http://127.0.0.1:{port}" for port, name in ports.items()}

    def routes(self) -> list[Route]:
        """All admin calls, below /_sandbox."""
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/info", self.info),
            ("GET", "/jobs", self.list_jobs),
            ("GET", "/jobs/{job_id:path}", self.show_job),
            ("POST", "/jobs/forget", self.forget_jobs),
            ("GET", "/journal", self.show_journal),
            ("GET", "/counts", self.counts),
            ("GET", "/faults", self.list_faults),
            ("POST", "/faults", self.add_fault),
            ("DELETE", "/faults", self.remove_faults),
            ("GET", "/held", self.list_held),
            ("POST", "/held/release", self.release_held),
            ("GET", "/clock", self.show_clock),
            ("POST", "/clock", self.move_clock),
            ("GET", "/switches", self.show_switches),
            ("POST", "/switches", self.set_switches),
            ("POST", "/reset", self.reset),
        ]
        return [Route(path, _guarded(handler), methods=[method]) for method, path, handler in table]

    async def info(self, request: Request, body: dict[str, Any]) -> Any:
        """Vendors with their urls and the environment to export."""
        return {
            "vendors": {
                name: {"url": url, "env": self.world.vendors[name].env(url)} for name, url in self.urls.items()
            },
            "fault_kinds": KINDS,
        }

    async def list_jobs(self, request: Request, body: dict[str, Any]) -> Any:
        """Jobs in order of acceptance, and `count`: purchases (children are not counted)."""
        jobs = list(self.world.jobs.all(request.query_params.get("vendor")))
        if key := request.query_params.get("key"):
            jobs = [job for job in jobs if job.key == key]
        if request.query_params.get("children") != "true":
            jobs = [job for job in jobs if job.parent_id is None]
        shown = [job.summary() | {"phase": self.world.phase(job)} for job in jobs]
        return {"count": self.world.jobs.count(jobs=jobs), "jobs": shown}

    async def show_job(self, request: Request, body: dict[str, Any]) -> Any:
        """One job with its request and result."""
        job = self.world.jobs.get(request.path_params["job_id"])
        if job is None:
            raise Refusal(404, "no such job")
        return job.summary() | {"phase": self.world.phase(job), "request": job.request, "result": job.result}

    async def forget_jobs(self, request: Request, body: dict[str, Any]) -> Any:
        """Make the jobs in `ids` disappear at the vendor."""
        ids = body.get("ids")
        if not isinstance(ids, list) or not all(isinstance(job_id, str) for job_id in ids):
            raise ValueError("ids must be a list of job ids")
        return {"forgotten": self.world.forget(ids)}

    async def show_journal(self, request: Request, body: dict[str, Any]) -> Any:
        """Requests in order; `after` and `limit` page through them."""
        query = request.query_params
        entries = self.world.journal.entries(
            vendor=query.get("vendor"),
            route=query.get("route"),
            after=_whole(query.get("after", "0")),
            limit=_whole(query.get("limit", "1000")),
        )
        return {"entries": [entry.to_doc() for entry in entries]}

    async def counts(self, request: Request, body: dict[str, Any]) -> Any:
        """Requests by route, answers by route and status, faults by route and kind, jobs by vendor."""
        world = self.world
        return {
            "requests": dict(world.journal.requests),
            "statuses": dict(world.journal.statuses),
            "faults": dict(world.journal.faults),
            "jobs": {name: world.jobs.count(vendor=name) for name in world.vendors},
            "executed": world.engine.executed,
        }

    async def list_faults(self, request: Request, body: dict[str, Any]) -> Any:
        """Scripted faults with how often they were seen and fired."""
        return {"faults": [fault.to_doc() for fault in self.world.faults.listing()]}

    async def add_fault(self, request: Request, body: dict[str, Any]) -> Any:
        """Script a fault."""
        return self.world.faults.add(Fault.from_doc(body)).to_doc()

    async def remove_faults(self, request: Request, body: dict[str, Any]) -> Any:
        """Remove the fault `id` of the query, or all."""
        wanted = request.query_params.get("id")
        return {"removed": self.world.faults.remove(None if wanted is None else [_whole(wanted)])}

    async def list_held(self, request: Request, body: dict[str, Any]) -> Any:
        """Parked requests."""
        return {"held": [parked.to_doc() for parked in self.world.holds.listing()]}

    async def release_held(self, request: Request, body: dict[str, Any]) -> Any:
        """Release parked requests, `ids` or all; verdict `proceed` or `drop`."""
        verdict = body.get("verdict", "proceed")
        if verdict not in ("proceed", "drop"):
            raise ValueError("verdict is proceed or drop")
        return {"released": self.world.holds.release(ids=body.get("ids"), verdict=verdict)}

    async def show_clock(self, request: Request, body: dict[str, Any]) -> Any:
        """The pace, the time of day, and how far it was moved."""
        clock = self.world.clock
        return {"pace": str(clock.pace), "now": clock.now(), "offset_s": clock.offset_s}

    async def move_clock(self, request: Request, body: dict[str, Any]) -> Any:
        """Any of: `pace` (written form), `advance_s`, `release` ("all", a number of jobs, or ids)."""
        if unknown := set(body) - {"pace", "advance_s", "release"}:
            raise ValueError(f"unknown member {sorted(unknown)[0]!r}; known: pace, advance_s, release")
        pace = Pace.parse(str(body["pace"])) if "pace" in body else None
        advance_s = body.get("advance_s", 0)
        if isinstance(advance_s, bool) or not isinstance(advance_s, int | float) or not 0 <= advance_s < 1e10:
            raise ValueError("advance_s is a number of seconds from 0: the clock never goes back")
        released = self._release(body["release"]) if "release" in body else 0
        self.world.clock.pace = pace or self.world.clock.pace
        self.world.clock.advance(advance_s)
        self.world.remember_clock()
        return {**await self.show_clock(request, body), "released": released}

    def _release(self, wanted: Any) -> int:
        if wanted == "all":
            return self.world.release()
        if type(wanted) is int and wanted >= 0:
            return self.world.release(count=wanted)
        if isinstance(wanted, list) and all(isinstance(job_id, str) for job_id in wanted):
            return self.world.release(ids=wanted)
        raise ValueError('release is "all", a number of jobs or a list of job ids')

    async def show_switches(self, request: Request, body: dict[str, Any]) -> Any:
        """Switches by vendor, with value, default, choices and note."""
        return self.world.describe_switches()

    async def set_switches(self, request: Request, body: dict[str, Any]) -> Any:
        """Set switches: {vendor: {name: value}}."""
        for vendor, values in body.items():
            if vendor not in self.world.vendors or not isinstance(values, dict):
                raise ValueError(f"{vendor!r} is none of {', '.join(self.world.vendors)}, or has no object of values")
            self.world.set_switches(vendor, values)
        return self.world.describe_switches()

    async def reset(self, request: Request, body: dict[str, Any]) -> Any:
        """Forget everything except the listeners."""
        self.world.reset()
        return {}


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def _guarded(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        """Bound and parse the body, turn ValueError into 400."""
        try:
            raw = b""
            async for chunk in request.stream():
                raw += chunk
                if len(raw) > MAX_BODY_BYTES:
                    return JSONResponse({"error": f"the body is larger than {MAX_BODY_BYTES} bytes"}, 413)
            body = parse_json(raw)
            if not isinstance(body, dict):
                raise ValueError("the body must be a JSON object")
            return JSONResponse(await handler(request, body))
        except Refusal as refusal:
            return JSONResponse({"error": refusal.message}, refusal.status)
        except ValueError as error:
            return JSONResponse({"error": str(error)}, 400)

    return endpoint
