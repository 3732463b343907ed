"""Whatever JSON comes back, an adapter's call ends in a typed error or in a sound value, never in a crash."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from qflows.errors import Ambiguous, ProviderError, Unreadable
from qflows.protocol import JobSpec, Phase
from qflows.providers.ionq import wire
from qflows.providers.ionq.adapter import IonQProvider
from qflows.sandbox import Sandbox
from qflows.testing import Target, bell, key_of, read_result, send_job, spec_of, wait

QPU = "qpu.forte-1"
ODD: list[Any] = [None, 0, -1, 1e308, True, "", "x" * 5000, [], [[]], [None], {}, {"id": None}, {"a": {"b": []}}]
BODIES = [
    *ODD,
    *({"jobs": odd} for odd in ODD),
    {"jobs": [{"id": 7, "status": 3, "failure": "x", "metadata": [], "results": "y", "submitted_at": 5}]},
    {"jobs": [{"id": "x", "status": ["completed"], "failure": ["x"], "predicted_wait_time_ms": "soon"}]},
    *({"id": "x", "status": "completed", "results": odd, "child_job_ids": odd} for odd in ODD),
    {"results": {"probabilities": {"url": 5}, "shots": [], "ionq.result.shots.json.v2": 3}},
    {"cost": {"value": "free"}, "estimated_cost": []},
    {"estimated_total_cost": "much", "estimated_unit": None},
    {"qubits": "many", "status": None, "average_queue_time": "long"},
    {"id": "x", "settings": [], "created_at": "yesterday", "status": {}},
    {"backends": [1, 2]},
]

Call = Callable[[IonQProvider, str, JobSpec], Any]
EARLY = datetime(2020, 1, 1, tzinfo=UTC)
CALLS: dict[str, tuple[str, Call]] = {
    "poll": ("ionq.list", lambda p, job, spec: p.poll([job])),
    "find": ("ionq.list", lambda p, job, spec: p.find_submitted(["k"], since=EARLY, device_ids={QPU})),
    "get": ("ionq.get", lambda p, job, spec: read_result(p, job, spec, key_of("garbled"))),
    "results": ("ionq.results", lambda p, job, spec: read_result(p, job, spec, key_of("garbled"))),
    "shots": ("ionq.shots", lambda p, job, spec: read_result(p, job, spec, key_of("garbled"))),
    "cost": ("ionq.cost", lambda p, job, spec: read_result(p, job, spec, key_of("garbled"))),
    "cancel": ("ionq.cancel", lambda p, job, spec: p.cancel(job)),
    "devices": ("ionq.backends", lambda p, job, spec: p.devices()),
    "limits": ("ionq.backend", lambda p, job, spec: p.limits(QPU)),
    "estimate": ("ionq.estimate", lambda p, job, spec: p.estimate(spec)),
    "exists": ("ionq.get", lambda p, job, spec: p.exists(job)),
    "session": ("ionq.session_get", lambda p, job, spec: p.session("s")),
    "sessions": ("ionq.session_list", lambda p, job, spec: p.recent_sessions(QPU, since=EARLY)),
    "session jobs": ("ionq.session_jobs", lambda p, job, spec: p.cancel_session("s")),
}


@pytest.mark.parametrize("name", CALLS)
def test_garbled_body_never_crashes_a_call(provider: IonQProvider, sandbox: Sandbox, name: str) -> None:
    route, call = CALLS[name]
    spec = spec_of(provider, Target(QPU, {"memory": True}), bell(), shots=10)
    job = send_job(provider, spec, key_of("garbled")).vendor_id
    wait(provider, [job])
    for body in BODIES:
        provider._recall(job)
        fault = sandbox.admin.fault("status", route, status=200, body=json.dumps(body), times=None)
        with contextlib.suppress(ProviderError):
            call(provider, job, spec)
        sandbox.admin.clear_faults(fault["id"])


@pytest.mark.parametrize("status", [200, 201])
def test_garbled_answer_to_a_submission_is_always_a_doubt(provider: IonQProvider, sandbox: Sandbox, status: int):
    spec = spec_of(provider, Target(QPU), bell(), shots=10)
    for place, body in enumerate(body for body in BODIES if not isinstance((wire.mapping(body)).get("id"), str)):
        sandbox.admin.fault("status", "ionq.submit", status=status, body=json.dumps(body), accepted=True)
        with pytest.raises(Ambiguous):
            send_job(provider, spec, key_of("doubt", place, status))


def test_composite_with_garbled_children_is_unreadable(provider: IonQProvider, sandbox: Sandbox) -> None:
    spec, key = spec_of(provider, Target("simulator"), bell("a"), bell("b"), shots=10), key_of("children")
    job = send_job(provider, spec, key).vendor_id
    wait(provider, [job])
    for odd in ODD:
        body = {"id": job, "status": "completed", "child_job_ids": odd}
        sandbox.admin.fault("status", "ionq.get", status=200, body=json.dumps(body))
        with pytest.raises(Unreadable):
            read_result(provider, job, spec, key)
    for odd in ODD:
        provider._recall(job)
        fault = sandbox.admin.fault("status", "ionq.results", status=200, body=json.dumps(odd), times=1)
        with contextlib.suppress(ProviderError):
            items = read_result(provider, job, spec, key).items
            assert all(item.counts is None or item.counts.shots == 10 for item in items)
        sandbox.admin.clear_faults(fault["id"])


def test_times_of_day_without_a_zone_do_not_break_the_search(provider: IonQProvider, sandbox: Sandbox) -> None:
    for moment in ("2026-09-01T10:00:00", "2026-09-01T10:00:00Z", "2026-09-01T10:00:00+02:00", "", "x", None):
        body = {"jobs": [{"id": "a", "submitted_at": moment, "metadata": {wire.KEY: "k"}}], "next": "more"}
        sandbox.admin.clear_faults()
        sandbox.admin.fault("status", "ionq.list", status=200, body=json.dumps(body))
        sandbox.admin.fault("status", "ionq.list", status=200, body='{"jobs": [], "next": null}', skip=1)
        since = datetime.now(UTC) - timedelta(minutes=5)
        found = provider.find_submitted(["k"], since=since, device_ids={QPU})
        assert [hit.vendor_id for hit in found["k"]] == ["a"]


def test_status_that_is_no_text_is_unknown() -> None:
    for odd in ODD:
        look = wire.observation({"id": "x", "status": odd, "failure": odd, "predicted_wait_time_ms": odd})
        assert look.phase is Phase.UNKNOWN
