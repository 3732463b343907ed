"""A vendor in memory: it accepts, refuses, loses answers and lists late, as a test tells it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from qflows.errors import Ambiguous, NotSent, Refused, Throttled
from qflows.model import Counts, ItemResult, Quote
from qflows.programs import Program
from qflows.protocol import (
    Accepted,
    Capabilities,
    DeviceInfo,
    Found,
    JobSpec,
    Limits,
    Lookup,
    Observation,
    Pace,
    Phase,
    Prepared,
    RawAnswer,
    VendorOptions,
    VendorResult,
)

SETTLE_S = 10.0


@dataclass
class Bought:
    """A job at the vendor. It is in listings from `listed_at` on, by the vendor's own clock."""

    vendor_id: str
    key: str
    listed_at: float
    is_cancelled: bool = False


@dataclass
class FakeVendor:
    """`script` holds what the next POSTs do: ok, lost, dropped, refused, unreachable, throttled; then all are ok.

    `before_accepting` and `before_answering` run inside a POST, at the moments their names say, once.
    """

    lookup: Lookup = Lookup.SCAN
    repeats_posts: bool = False
    script: list[str] = field(default_factory=list)
    lag_s: float = 0.0
    now: float = 0.0
    is_blind: bool = False  # listings fail
    is_slow: bool = False  # jobs stay queued
    cannot_prepare: Exception | None = None
    spoilt: dict[str, bytes] = field(default_factory=dict)  # what a job's answer is instead, by vendor id
    before_accepting: Callable[[], Any] | None = None
    before_answering: Callable[[], Any] | None = None
    posts: int = 0
    bought: list[Bought] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    name = "acme"
    account = "acct"
    job_page = None

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            self.lookup, SETTLE_S, 100, Pace(0.01, 0.01, 1000.0), max_programs=10, repeats_posts=self.repeats_posts
        )

    def accept(self, key: str) -> Bought:
        with self._lock:
            job = Bought(f"{self.name}-{len(self.bought) + 1:04}", key, self.now + self.lag_s)
            self.bought.append(job)
        return job

    def live(self, key: str) -> list[str]:
        """Ids of jobs with this key that nobody cancelled."""
        return [job.vendor_id for job in self.bought if job.key == key and not job.is_cancelled]

    def options_model(self, device_id: str) -> type[VendorOptions]:
        return VendorOptions

    def prepare(self, spec: JobSpec, key: str) -> Prepared:
        if self.cannot_prepare is not None:
            raise self.cannot_prepare
        return Prepared(spec, key, None)

    def send(self, prepared: Prepared) -> Accepted:
        key = prepared.key
        with self._lock:
            self.posts += 1
            word = self.script.pop(0) if self.script else "ok"
        hook, self.before_accepting = self.before_accepting, None
        if hook:
            hook()
        if word == "refused":
            raise Refused("no", provider=self.name, vendor_code="No")
        if word == "unreachable":
            raise NotSent("nobody there", provider=self.name, retry_after_s=0.0)
        if word == "throttled":
            raise Throttled("slower", provider=self.name, retry_after_s=0.0)
        if word == "dropped":
            raise Ambiguous("no answer", provider=self.name)
        job = self.accept(key)
        hook, self.before_answering = self.before_answering, None
        if hook:
            hook()
        if word == "lost":
            raise Ambiguous("no answer", provider=self.name)
        if word == "doubled":
            self.accept(key)
        return Accepted(job.vendor_id)

    def find_submitted(
        self, keys: Collection[str], *, since: datetime, device_ids: Collection[str]
    ) -> Mapping[str, Sequence[Found]]:
        if self.is_blind:
            raise Ambiguous("listing failed", provider=self.name)
        hits: dict[str, list[Found]] = {}
        for job in self.bought:
            if job.key in keys and job.listed_at <= self.now and not job.is_cancelled:
                hits.setdefault(job.key, []).append(Found(job.vendor_id, datetime.now(UTC)))
        return hits

    def poll(self, vendor_ids: Sequence[str]) -> Mapping[str, Observation]:
        cancelled = {job.vendor_id for job in self.bought if job.is_cancelled}
        waiting = Observation(Phase.QUEUED, "queued") if self.is_slow else Observation(Phase.DONE, "done")
        return {i: Observation(Phase.CANCELLED, "cancelled") if i in cancelled else waiting for i in vendor_ids}

    def exists(self, vendor_id: str) -> bool:
        return any(job.vendor_id == vendor_id for job in self.bought)

    def fetch(self, vendor_id: str, spec: JobSpec) -> RawAnswer:
        if vendor_id in self.spoilt:
            return RawAnswer({"answer": self.spoilt[vendor_id]})
        return RawAnswer({"answer": b'{"001": %d}' % (spec.shots or 0)})

    def decode(self, raw: RawAnswer, spec: JobSpec, key: str) -> VendorResult:
        """As a careless decoder would: whatever JSON and Python raise, it raises."""
        counts = json.loads(raw.documents["answer"])
        return VendorResult((ItemResult(counts=Counts({k: 0 + n for k, n in counts.items()})),))

    def cancel(self, vendor_id: str) -> None:
        for job in self.bought:
            job.is_cancelled = job.is_cancelled or job.vendor_id == vendor_id

    def read(self, source: Any) -> Program | None:
        return None

    def devices(self) -> Sequence[DeviceInfo]:
        return []

    def limits(self, device_id: str) -> Limits:
        return Limits()

    def check(self, spec: JobSpec) -> None:
        """Everything is fine."""

    def estimate(self, spec: JobSpec) -> Quote | None:
        return None
