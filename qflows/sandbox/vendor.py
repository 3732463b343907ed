"""What a vendor package provides, and what its handlers receive."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from starlette.datastructures import Headers, QueryParams
from starlette.responses import Response

from qflows.sandbox.errors import Refusal
from qflows.sandbox.faults import Fault
from qflows.sandbox.jobs import Job, Outcome, Work
from qflows.sandbox.journal import Entry
from qflows.sandbox.switch import COMMON, Switch
from qflows.sandbox.world import World

MAX_DEPTH = 64


@dataclass(frozen=True)
class Route:
    """One call of the vendor's API. `name` is what faults and journal show after the vendor: "ionq.<name>"."""

    name: str
    method: str
    path: str
    endpoint: Callable[[Call], Awaitable[Response]]
    is_open: bool = False  # answered without credentials


@dataclass
class Call:
    """One request as seen by a vendor's handler. The body is already bounded and complete."""

    world: World
    vendor: Vendor
    route: str
    method: str
    path: str
    params: Mapping[str, Any]
    query: QueryParams
    headers: Headers
    body: bytes
    entry: Entry
    faults: list[Fault] = field(default_factory=list)
    raw_path: str = ""  # as it was sent, without the query
    _document: Any = None

    def document(self) -> Any:
        """The body as JSON; an empty body is an empty object. Raises Refusal(400) if malformed or nested too deep."""
        if self._document is None:
            self._document = parse_json(self.body)
        return self._document

    def accept(self, job: Job) -> Job:
        """Accept a job: from here on it exists, whatever happens to the answer. Applies scripted failures."""
        self.entry.accepted.append(job.id)
        return self.world.accept(job, route=self.route)

    def new_job(self, job_id: str, *, work: Work | None = None, **fields: Any) -> Job:
        """A job of this vendor, numbered and dated now, not yet accepted. Further fields are Job's."""
        world = self.world
        return Job(job_id, self.vendor.name, world.jobs.next_seq(), world.clock.now(), work=work, **fields)

    async def observe(self, jobs: Iterable[Job]) -> None:
        """Bring jobs up to date, and count it as a read of their status: call it before showing a status."""
        await self.world.observe(jobs, is_read=True)

    def phase(self, job: Job) -> str:
        """queued, running, done, failed or cancelled: what this request may see. A stale fault shows the past."""
        if any(fault.kind == "stale" for fault in self.faults):
            return "queued"
        return self.world.phase(job)

    def listed(self, jobs: Iterable[Job]) -> Iterator[Job]:
        """The jobs a list may show now, without those that a list_lag fault still hides. Call it once per request."""
        lags = [fault for fault in self.faults if fault.kind == "list_lag"]
        now = self.world.clock.now()
        for job in jobs:
            if lags:
                job.lists += 1
            if any(job.lists <= lag.calls or now < job.created_at + lag.seconds for lag in lags):
                continue
            yield job

    def switch(self, name: str) -> Any:
        """The present value of one of the vendor's switches."""
        return self.world.switches[self.vendor.name][name]


class Vendor(ABC):
    """A vendor's API. Sub-packages of qflows.sandbox export their class as `Emulator`; see README.md."""

    name: ClassVar[str]
    switches: ClassVar[tuple[Switch, ...]] = ()
    max_body_bytes: ClassVar[int] = 10_000_000
    # modules the worker process imports at its start
    preload: ClassVar[tuple[str, ...]] = ()

    def __init__(self, world: World) -> None:
        self.world = world

    @classmethod
    def all_switches(cls) -> tuple[Switch, ...]:
        """The vendor's own switches, then those of every vendor."""
        return (*cls.switches, *COMMON)

    @abstractmethod
    def routes(self) -> Sequence[Route]:
        """All calls. The first match wins, so the more specific path comes first."""

    @abstractmethod
    def env(self, url: str) -> dict[str, str]:
        """Environment that points the vendor's own client at `url` (this vendor's listener, no trailing slash)."""

    @abstractmethod
    def refuse(self, refusal: Refusal) -> Response:
        """A refusal in the vendor's documented error shape. Also renders faults and unknown paths (404)."""

    def authorise(self, call: Call) -> None:
        """Raise Refusal(401) if credentials are missing. Not called for open routes."""
        return

    def client_key(self, document: Any) -> str | None:
        """The caller's own key in the body of a submission, for the journal. Must not raise on odd documents."""
        return None

    def parent_outcome(self, parent: Job, children: Sequence[Job]) -> Outcome:
        """How a parent ends once all its children have ended. Default: failed if any child failed."""
        outcomes = {child.outcome for child in children}
        if "failed" in outcomes:
            return "failed"
        return "cancelled" if "cancelled" in outcomes else "done"


def _finite(text: str) -> float:
    """A number that can be written back as JSON: neither NaN nor Infinity, nor too large to be represented."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def parse_json(body: bytes) -> Any:
    """Bounded JSON. Raises Refusal(400) for malformed text or more than MAX_DEPTH levels."""
    if not body:
        return {}
    try:
        document = json.loads(body, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError):
        raise Refusal(400, "the body is not valid JSON") from None
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        level = (
            [
                value
                for node in level
                for value in (node.values() if isinstance(node, dict) else node)
                if isinstance(value, dict | list)
            ]
            if isinstance(document, dict | list)
            else []
        )
        if not level:
            return document
    raise Refusal(400, f"the body is nested deeper than {MAX_DEPTH} levels")
