"""Jobs sent, waited for and read by an adapter alone, in the steps that the core takes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from qflows.errors import Throttled
from qflows.keys import digest, job_key
from qflows.model import Counts, ItemResult
from qflows.programs import Program
from qflows.protocol import Accepted, JobSpec, Observation, Phase, Provider, VendorResult
from qflows.testing.circuits import Target

TIMEOUT_S = 60.0
"""How long a job may take; against a real vendor, longer than its queue."""
PAUSE_S = 0.01
"""Between two looks at jobs."""
_MARK = "c04f0137"
RUN = ""
"""Part of every key: a vendor that remembers keys must see others in each run, so the live tests give a fresh one."""
_OVER = (Phase.DONE, Phase.FAILED, Phase.CANCELLED)


def key_of(*parts: Any) -> str:
    """A job key as a ledger makes them; equal parts give the same key in every run, so that seeds repeat."""
    return job_key(digest("conformance/1", *([RUN] if RUN else []), *map(str, parts)), 0, _MARK)


def spec_of(provider: Provider, target: Target, *programs: Program, shots: int | None, name: str = "probe") -> JobSpec:
    """A job of `programs` on a target, with its options."""
    return JobSpec(provider.name, target.device_id, programs, shots, options=dict(target.options), name=name)


def send_job(provider: Provider, spec: JobSpec, key: str) -> Accepted:
    """Prepares a job and sends it, once. Raises what the adapter raises."""
    return provider.send(provider.prepare(spec, key))


def read_result(provider: Provider, vendor_id: str, spec: JobSpec, key: str) -> VendorResult:
    """Downloads what a finished job gave, and decodes it. Raises what the adapter raises."""
    return provider.decode(provider.fetch(vendor_id, spec), spec, key)


def wait(provider: Provider, vendor_ids: Sequence[str]) -> Mapping[str, Observation]:
    """Polls until all jobs are over, and returns the last look at each. Fails after TIMEOUT_S."""
    deadline = time.monotonic() + TIMEOUT_S
    looks: Mapping[str, Observation] = {}
    while True:
        pause_s = PAUSE_S
        try:
            looks = provider.poll(vendor_ids)
        except Throttled as error:  # as the core does
            pause_s = max(error.retry_after_s or 0.0, pause_s)
        if all(vendor_id in looks and looks[vendor_id].phase in _OVER for vendor_id in vendor_ids):
            return looks
        assert time.monotonic() + pause_s < deadline, f"not over after {TIMEOUT_S:g} s: {looks}"
        time.sleep(pause_s)


def run(provider: Provider, spec: JobSpec, key: str) -> VendorResult:
    """Checks a job, sends it, waits and reads its result."""
    return run_all(provider, [(spec, key)])[0]


def run_all(provider: Provider, jobs: Sequence[tuple[JobSpec, str]]) -> list[VendorResult]:
    """The same for several jobs with their keys; all are sent before the first is waited for."""
    accepted: list[Accepted] = []
    for spec, key in jobs:
        provider.check(spec)
        accepted.append(send_job(provider, spec, key))
    looks = wait(provider, [job.vendor_id for job in accepted])
    for vendor_id, look in looks.items():
        assert look.phase is Phase.DONE, f"{vendor_id}: {look}"
    return [read_result(provider, job.vendor_id, spec, key) for job, (spec, key) in zip(accepted, jobs, strict=True)]


def counts_of(item: ItemResult) -> Counts:
    """The counts of an item that must have some."""
    assert item.error is None, item.error
    assert item.counts is not None
    return item.counts
