"""IonQ sessions: reservations of a QPU with limits on jobs, minutes and cost. Beta, selected customers.

Shapes: IonQ API v0.4 description, 2026-09-02.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from qflows.errors import ProgramRejected, Unreadable
from qflows.protocol import SessionInfo
from qflows.providers.ionq.wire import mapping, moment

OPEN = frozenset({"created", "started"})
MIN_BILLED_S = 3600.0
"""A session that ran a job is billed for at least an hour, whatever its limits (IonQ's statement to flux-quantum)."""


def request(device_id: str, *, mode: str, max_time_s: float | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """The body of POST /sessions. Options: `max_jobs`, `max_usd`. Raises ProgramRejected for others."""
    unknown = set(options) - {"max_jobs", "max_usd"}
    if mode != "dedicated" or unknown:
        raise ProgramRejected(
            f"IonQ sessions are dedicated and take max_jobs and max_usd, not {mode} {sorted(unknown)}"
        )
    settings: dict[str, Any] = {}
    if "max_jobs" in options:
        settings["job_count_limit"] = options["max_jobs"]
    if max_time_s is not None:
        # rounded down: the limit is a promise about money; IonQ counts in minutes, at least one
        settings["duration_limit_min"] = max(1, int(max_time_s // 60))
    if "max_usd" in options:
        settings["cost_limit"] = {"unit": "usd", "value": options["max_usd"]}
    return {"backend": device_id, "settings": settings}


def session_info(body: Any) -> SessionInfo:
    """One session as it is now. Raises Unreadable for a body without an id."""
    entry = mapping(body)
    if not isinstance(entry.get("id"), str):
        raise Unreadable("ionq: the session has no id", provider="ionq", body=str(body)[:4000])
    minutes = mapping(entry.get("settings")).get("duration_limit_min")
    return SessionInfo(
        session_id=entry["id"],
        device_id=str(entry.get("backend")),
        mode="dedicated",
        state=str(entry.get("status")),
        is_open=str(entry.get("status")) in OPEN,
        created_at=moment(entry.get("created_at")),
        started_at=moment(entry.get("started_at")),
        closed_at=moment(entry.get("ended_at")),
        max_time_s=minutes * 60 if isinstance(minutes, int | float) else None,
        usage_s=_billed_s(entry),
        details=dict(entry),
    )


def _billed_s(entry: Mapping[str, Any]) -> float | None:
    """What the session is billed for so far: time since its creation, at least an hour; None before a job ran."""
    created, started = moment(entry.get("created_at")), moment(entry.get("started_at"))
    if created is None or started is None:
        return None
    until = moment(entry.get("ended_at")) or datetime.now(UTC)
    return max(MIN_BILLED_S, (until - created).total_seconds())
