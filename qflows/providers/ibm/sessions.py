"""Sessions and batches of one instance: opened once, found again, and closed without error if already closed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

from qflows.errors import Ambiguous, ProgramRejected, Refused, Unreadable
from qflows.model import Quote
from qflows.protocol import SessionInfo
from qflows.providers.ibm import wire
from qflows.providers.ibm.runtime import Runtime

_LONGEST_S = 28_800  # 8 h, the default of paid plans

MODES = ("dedicated", "batch")
_PAGE = 50  # OpenAPI 0.45.3, find_instance_workloads: the maximum
_MAX_PAGES = 40


class Sessions:
    """The session half of the provider."""

    _runtime: Runtime

    def session_quote(
        self, device_id: str, *, mode: str, max_time_s: float | None, options: Mapping[str, Any]
    ) -> Quote:
        """A dedicated session is charged by its wall time from its first job's start; a batch only by its jobs."""
        if mode == "batch":
            return Quote(Decimal(0), Decimal(0), "qpu_s", "in batch mode only the jobs are charged")
        most = Decimal(math.ceil(max_time_s)) if max_time_s is not None else Decimal(_LONGEST_S)
        told = "as asked for" if max_time_s is not None else "of paid plans; pass max_time="
        return Quote(most, most, "qpu_s", f"wall time, docs.quantum.ibm.com, 2026; the limit is the longest {told}")

    def open_session(self, device_id: str, *, mode: str, max_time_s: float | None, options: Mapping[str, Any]) -> str:
        """POST /sessions, once. IBM ends it `max_time_s` after its first job starts. There are no options.

        Sessions carry no tags: `recent_sessions` finds one whose answer was lost.
        """
        if mode not in MODES:
            raise ProgramRejected(f"ibm sessions are {' or '.join(MODES)}, not {mode!r}")
        if options:
            raise ProgramRejected(f"ibm sessions take no option {sorted(options)[0]!r}")
        if max_time_s is not None and max_time_s < 1:
            raise ProgramRejected("an ibm session lasts at least one second")
        max_ttl = None if max_time_s is None else int(max_time_s)
        crn = self._runtime.crn
        body = self._runtime.post_once(
            "the opening of a session", lambda client: client.create_session(device_id, crn, max_ttl, mode)
        )
        session_id = body.get("id") if isinstance(body, dict) else None
        if not isinstance(session_id, str) or not session_id:
            raise Ambiguous("ibm accepted the opening but named no session", provider="ibm", body=str(body)[:4000])
        return session_id

    def session(self, session_id: str) -> SessionInfo:
        """GET /sessions/{id}. Raises Refused for an unknown one."""
        body = self._runtime.read(f"session {session_id}", lambda client: client.session_details(session_id))
        if not isinstance(body, dict):
            raise Unreadable(f"ibm: session {session_id} is not an object", provider="ibm", body=str(body)[:4000])
        return wire.session(body)

    def recent_sessions(self, device_id: str, *, since: datetime) -> Sequence[SessionInfo]:
        """GET /workloads, sessions and batches of ours created since then, oldest first; `since` is by our clock.

        Rows of all devices are read, because a session that is not open yet may name none.
        """
        since += timedelta(seconds=min(self._runtime.skew_s, 0.0))  # a clock that runs ahead must not hide any session
        found: dict[str, SessionInfo] = {}
        for mode in wire.WORKLOAD_MODES:
            cursor: str | None = None
            for _ in range(_MAX_PAGES):
                body = self._workloads(mode, since, cursor)
                for row in body["workloads"]:
                    info = wire.workload(row)
                    if info.device_id in ("", device_id):
                        found[info.session_id] = info
                cursor = _next(body)
                if cursor is None:
                    break
        return sorted(found.values(), key=lambda info: (info.created_at is None, info.created_at or since))

    def _workloads(self, mode: str, since: datetime, cursor: str | None) -> Mapping[str, Any]:
        asked: dict[str, Any] = {"mode": mode, "created_after": since, "next": cursor}
        # the client's service has no call for this collection; its REST layer has one
        body = self._runtime.read(
            "the workloads",
            lambda client: client._api.workloads_get(user="me", sort="createdAt", limit=_PAGE, **asked),
        )
        rows = body.get("workloads") if isinstance(body, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) and "id" in row for row in rows):
            raise Unreadable("ibm: the workload list has no member workloads", provider="ibm", body=str(body)[:4000])
        return body

    def close_session(self, session_id: str) -> None:
        """PATCH accepting_jobs false: queued jobs still run. A closed or forgotten session is not an error."""
        self._quietly(f"the closing of session {session_id}", lambda client: client.close_session(session_id))

    def cancel_session(self, session_id: str) -> None:
        """DELETE .../close: queued jobs do not run, running ones finish. A closed session is not an error."""
        self._quietly(f"the cancellation of session {session_id}", lambda client: client.cancel_session(session_id))

    def _quietly(self, what: str, ask: Any) -> None:
        try:
            self._runtime.read(what, ask)
        except Refused as error:
            if error.http_status not in (404, 409):
                raise


def _next(body: Mapping[str, Any]) -> str | None:
    cursor = body.get("next")
    href = cursor.get("href") if isinstance(cursor, dict) else None
    values = parse_qs(urlsplit(str(href)).query).get("next") if href else None
    return values[0] if values else None
