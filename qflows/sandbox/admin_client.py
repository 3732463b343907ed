"""The admin API of a running sandbox, from Python. Standard library only: it is used where nothing else is loaded."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable
from typing import Any

# requests to loopback must not go through a proxy from the environment
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class AdminError(RuntimeError):
    """The admin API refused; the text says why."""


class Admin:
    """Script faults, read the journal, count jobs, move the clock. Any thread may use it."""

    def __init__(self, url: str, *, timeout_s: float = 30.0) -> None:
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s

    def call(self, method: str, path: str, body: dict[str, Any] | None = None, **query: Any) -> Any:
        """Make one admin call. Raises AdminError for a refusal, OSError if nothing answers."""
        query_text = urllib.parse.urlencode({name: value for name, value in query.items() if value is not None})
        request = urllib.request.Request(
            f"{self.url}/_sandbox{path}" + (f"?{query_text}" if query_text else ""),
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with _opener.open(request, timeout=self._timeout_s) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AdminError(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}") from None

    def info(self) -> dict[str, Any]:
        """Vendors with url and environment."""
        return self.call("GET", "/info")

    def fault(self, kind: str, route: str, **members: Any) -> dict[str, Any]:
        """Script a fault: `fault("status", "ionq.submit", status=502, accepted=True, times=1)`. README lists kinds."""
        return self.call("POST", "/faults", {"kind": kind, "route": route, **members})

    def faults(self) -> list[dict[str, Any]]:
        """Scripted faults with `seen` and `fired`."""
        return self.call("GET", "/faults")["faults"]

    def clear_faults(self, fault_id: int | None = None) -> int:
        """Remove one fault, or all. Returns how many were removed."""
        return self.call("DELETE", "/faults", id=fault_id)["removed"]

    def held(self) -> list[dict[str, Any]]:
        """Requests parked by a hold fault."""
        return self.call("GET", "/held")["held"]

    def release_held(self, ids: Iterable[int] | None = None, *, verdict: str = "proceed") -> int:
        """Let parked requests continue, or close their connections (`drop`)."""
        body: dict[str, Any] = {"verdict": verdict}
        if ids is not None:
            body["ids"] = list(ids)
        return self.call("POST", "/held/release", body)["released"]

    def wait_held(self, count: int = 1, *, timeout_s: float = 60.0) -> list[dict[str, Any]]:
        """Wait until `count` requests are parked. Raises TimeoutError."""
        self.wait_until(lambda: len(self.held()) >= count, timeout_s=timeout_s)
        return self.held()

    def wait_until(self, condition: Callable[[], bool], *, timeout_s: float = 60.0) -> None:
        """Poll a condition every 10 ms. Raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not reached within {timeout_s:g} s")
            time.sleep(0.01)

    def jobs(
        self, vendor: str | None = None, *, key: str | None = None, children: bool = False
    ) -> list[dict[str, Any]]:
        """Accepted jobs in order, deleted ones included; those with a parent only on request."""
        return self.call("GET", "/jobs", vendor=vendor, key=key, children="true" if children else None)["jobs"]

    def job(self, job_id: str) -> dict[str, Any]:
        """One job with its request and result."""
        return self.call("GET", f"/jobs/{urllib.parse.quote(job_id, safe='')}")

    def forget(self, ids: Iterable[str]) -> int:
        """Make jobs disappear, as if the vendor had lost them; they stay counted. Returns how many."""
        return self.call("POST", "/jobs/forget", {"ids": list(ids)})["forgotten"]

    def count_jobs(self, vendor: str | None = None) -> int:
        """Number of accepted purchases; children of a composite do not count."""
        counts = self.counts()["jobs"]
        return counts[vendor] if vendor else sum(counts.values())

    def counts(self) -> dict[str, Any]:
        """`requests`, `statuses` and `faults` by route, `jobs` by vendor, `executed` by the simulator."""
        return self.call("GET", "/counts")

    def requests(self, route: str) -> int:
        """Number of requests that a route has seen, whatever their outcome."""
        return self.counts()["requests"].get(route, 0)

    def journal(
        self, *, vendor: str | None = None, route: str | None = None, after: int = 0, limit: int = 1000
    ) -> list[dict[str, Any]]:
        """Requests in order, those numbered above `after`."""
        return self.call("GET", "/journal", vendor=vendor, route=route, after=after, limit=limit)["entries"]

    def clock(self, pace: str | None = None) -> dict[str, Any]:
        """Show the clock, or set another pace for jobs."""
        return self.call("GET", "/clock") if pace is None else self.call("POST", "/clock", {"pace": pace})

    def advance(self, seconds: float) -> dict[str, Any]:
        """Move the time of day forward: TTLs, lags and jobs by time see it at once."""
        return self.call("POST", "/clock", {"advance_s": seconds})

    def release(self, jobs: int | list[str] | None = None) -> int:
        """Let waiting jobs finish: all, the oldest n, or those named. Returns how many."""
        return self.call("POST", "/clock", {"release": "all" if jobs is None else jobs})["released"]

    def switches(self, vendor: str | None = None, **values: Any) -> dict[str, Any]:
        """Show all switches, or set some of a vendor."""
        if vendor is None:
            return self.call("GET", "/switches")
        return self.call("POST", "/switches", {vendor: values})

    def reset(self) -> None:
        """Forget jobs, documents, journal and faults; clock and switches as at the start."""
        self.call("POST", "/reset", {})
