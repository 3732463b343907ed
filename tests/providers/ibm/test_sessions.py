"""Sessions and batches through the adapter: TTLs, idleness, close and cancel, jobs inside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from qflows.errors import ProgramRejected, Refused
from qflows.protocol import JobSpec, Phase
from qflows.sandbox import Sandbox
from qflows.testing import bell, key_of, send_job, wait


def opened(provider: Any, mode: str = "dedicated", max_time_s: float | None = 600) -> str:
    return provider.open_session("ibm_manila", mode=mode, max_time_s=max_time_s, options={})


def inside(session_id: str) -> JobSpec:
    return JobSpec("ibm", "ibm_manila", (bell(),), 50, session_id=session_id)


@pytest.mark.parametrize("mode", ["dedicated", "batch"])
def test_session_tells_its_limits_and_runs_jobs(sandbox: Sandbox, provider: Any, mode: str) -> None:
    session_id = opened(provider, mode)
    fresh = provider.session(session_id)
    assert (fresh.mode, fresh.state, fresh.is_open, fresh.device_id) == (mode, "open", True, "ibm_manila")
    assert (fresh.max_time_s, fresh.idle_limit_s, fresh.started_at) == (600, 60, None)
    vendor_id = send_job(provider, inside(session_id), key_of(mode)).vendor_id
    assert wait(provider, [vendor_id])[vendor_id].phase is Phase.DONE
    active = provider.session(session_id)
    assert (active.state, active.is_open) == ("active", True)
    assert active.started_at is not None
    assert (active.usage_s or 0) > 0


def test_idle_session_goes_inactive_and_a_job_wakes_it(sandbox: Sandbox, provider: Any) -> None:
    session_id = opened(provider)
    wait(provider, [send_job(provider, inside(session_id), key_of(1)).vendor_id])
    sandbox.admin.advance(61)
    idle = provider.session(session_id)
    assert (idle.state, idle.is_open) == ("inactive", True)
    assert 60 <= (idle.usage_s or 0) < 62
    wait(provider, [send_job(provider, inside(session_id), key_of(2)).vendor_id])
    assert provider.session(session_id).state == "active"


def test_at_its_maximum_time_queued_jobs_fail_and_new_ones_are_refused(sandbox: Sandbox, provider: Any) -> None:
    session_id = opened(provider)
    wait(provider, [send_job(provider, inside(session_id), key_of(1)).vendor_id])
    sandbox.admin.clock("frozen")
    queued = send_job(provider, inside(session_id), key_of(2)).vendor_id
    sandbox.admin.advance(601)
    assert provider.poll([queued])[queued].phase is Phase.FAILED
    over = provider.session(session_id)
    assert (over.state, over.is_open) == ("closed", False)
    with pytest.raises(Refused, match="session") as caught:
        send_job(provider, inside(session_id), key_of(3))
    assert (caught.value.http_status, caught.value.vendor_code) == (409, "1217")


def test_close_lets_queued_jobs_run(sandbox: Sandbox, provider: Any) -> None:
    sandbox.admin.clock("frozen")
    session_id = opened(provider)
    vendor_id = send_job(provider, inside(session_id), key_of(1)).vendor_id
    provider.close_session(session_id)
    assert not provider.session(session_id).is_open
    assert provider.session(session_id).state != "closed"
    sandbox.admin.release()
    assert wait(provider, [vendor_id])[vendor_id].phase is Phase.DONE
    assert provider.session(session_id).state == "closed"


def test_cancel_keeps_queued_jobs_from_running(sandbox: Sandbox, provider: Any) -> None:
    sandbox.admin.clock("frozen")
    session_id = opened(provider, "batch")
    vendor_id = send_job(provider, inside(session_id), key_of(1)).vendor_id
    provider.cancel_session(session_id)
    look = provider.poll([vendor_id])[vendor_id]
    assert (look.phase, look.error_code, look.is_retryable) == (Phase.FAILED, "1217", True)
    assert provider.session(session_id).state == "closed"


def test_closing_twice_or_a_stranger_is_no_error_but_reading_one_is(provider: Any) -> None:
    session_id = opened(provider)
    for _ in range(2):
        provider.close_session(session_id)
        provider.cancel_session(session_id)
    provider.close_session("00000000-0000-4000-8000-000000000000")
    with pytest.raises(Refused) as caught:
        provider.session("00000000-0000-4000-8000-000000000000")
    assert caught.value.http_status == 404


def test_recent_sessions_are_those_of_the_device_since_then_oldest_first(sandbox: Sandbox, provider: Any) -> None:
    before = opened(provider)
    sandbox.admin.advance(3600)
    since = datetime.now(UTC) + timedelta(minutes=59)
    ours = [opened(provider, mode) for mode in ("batch", "dedicated", "batch")]
    provider.open_session("ibm_kingston", mode="batch", max_time_s=None, options={})
    found = [info.session_id for info in provider.recent_sessions("ibm_manila", since=since)]
    assert found == ours
    assert before not in found


def test_many_sessions_are_read_page_by_page(sandbox: Sandbox, provider: Any) -> None:
    ours = {opened(provider, "batch") for _ in range(60)}
    since = datetime.now(UTC) - timedelta(minutes=5)
    assert {info.session_id for info in provider.recent_sessions("ibm_manila", since=since)} == ours


def test_closing_through_a_fault_is_repeatable(sandbox: Sandbox, provider: Any) -> None:
    session_id = opened(provider)
    sandbox.admin.fault("drop_after", "ibm.session_close")
    with pytest.raises(Exception, match="no answer"):
        provider.close_session(session_id)
    provider.close_session(session_id)
    assert provider.session(session_id).state == "closed"


def test_wrong_mode_options_and_times_are_refused_before_anything_is_sent(sandbox: Sandbox, provider: Any) -> None:
    for mode, max_time_s, options in (("sometimes", 10, {}), ("batch", 0.1, {}), ("batch", 10, {"x": 1})):
        with pytest.raises(ProgramRejected):
            provider.open_session("ibm_manila", mode=mode, max_time_s=max_time_s, options=options)
    assert sandbox.admin.journal() == []
