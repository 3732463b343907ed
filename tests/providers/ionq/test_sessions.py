"""IonQ sessions through the adapter: open, submit into, limits, end, cancel."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from qflows.errors import Ambiguous, NotSent, ProgramRejected, Refused
from qflows.protocol import JobSpec, Phase
from qflows.providers.ionq.adapter import IonQProvider
from qflows.sandbox import Sandbox
from qflows.testing import Target, bell, key_of, send_job, spec_of, wait

QPU = "qpu.forte-1"


def opened(provider: IonQProvider, *, max_time_s: float | None = None, **options: object) -> str:
    return provider.open_session(QPU, mode="dedicated", max_time_s=max_time_s, options=options)


def job_in(provider: IonQProvider, session_id: str, name: str = "s") -> tuple[JobSpec, str]:
    spec = spec_of(provider, Target(QPU), bell(), shots=10, name=name)
    return JobSpec(**{f: getattr(spec, f) for f in spec.__dataclass_fields__} | {"session_id": session_id}), key_of(
        name
    )


def test_open_session_shows_its_limits(provider: IonQProvider) -> None:
    info = provider.session(opened(provider, max_time_s=900, max_jobs=3, max_usd=50))
    assert (info.device_id, info.mode, info.state, info.is_open) == (QPU, "dedicated", "created", True)
    assert info.max_time_s == 900
    assert info.details["settings"]["job_count_limit"] == 3
    assert info.details["settings"]["cost_limit"] == {"unit": "usd", "value": 50}


def test_time_limit_is_never_rounded_up_beyond_what_was_allowed(provider: IonQProvider) -> None:
    assert provider.session(opened(provider, max_time_s=179)).max_time_s == 120


def test_job_joins_the_session(provider: IonQProvider, sandbox: Sandbox) -> None:
    session_id = opened(provider)
    spec, key = job_in(provider, session_id)
    vendor_id = send_job(provider, spec, key).vendor_id
    assert sandbox.admin.job(vendor_id)["facts"]["session_id"] == session_id
    assert wait(provider, [vendor_id])[vendor_id].phase is Phase.DONE
    assert provider.session(session_id).state == "started"


def test_job_count_limit_refuses_the_next_job(provider: IonQProvider, sandbox: Sandbox) -> None:
    session_id = opened(provider, max_jobs=2)
    for i in range(2):
        send_job(provider, *job_in(provider, session_id, f"job-{i}"))
    with pytest.raises(Refused):
        send_job(provider, *job_in(provider, session_id, "one too many"))
    assert sandbox.admin.count_jobs("ionq") == 2


def test_session_ends_when_its_time_is_over(provider: IonQProvider, sandbox: Sandbox) -> None:
    session_id = opened(provider, max_time_s=600)
    sandbox.admin.advance(601)
    assert not provider.session(session_id).is_open
    with pytest.raises(Refused):
        send_job(provider, *job_in(provider, session_id))


def test_session_is_ended_when_its_jobs_are_over_because_ending_cancels_queued_ones(
    provider: IonQProvider, sandbox: Sandbox
) -> None:
    sandbox.admin.clock("frozen")
    session_id = opened(provider)
    vendor_id = send_job(provider, *job_in(provider, session_id)).vendor_id
    with pytest.raises(NotSent, match=rf"left open: .* 1 unfinished job, the first is {vendor_id}"):
        provider.close_session(session_id)
    assert provider.session(session_id).is_open
    assert sandbox.admin.requests("ionq.session_end") == 0
    sandbox.admin.release()
    assert wait(provider, [vendor_id])[vendor_id].phase is Phase.DONE
    provider.close_session(session_id)
    provider.close_session(session_id)
    assert sandbox.admin.requests("ionq.session_end") == 1
    info = provider.session(session_id)
    assert (info.is_open, info.state) == (False, "ended")
    assert info.closed_at is not None
    with pytest.raises(Refused):
        send_job(provider, *job_in(provider, session_id, "late"))
    assert provider.poll([vendor_id])[vendor_id].phase is Phase.DONE


def test_session_says_that_it_is_billed_for_an_hour(provider: IonQProvider, caplog: pytest.LogCaptureFixture) -> None:
    session_id = opened(provider, max_time_s=600)
    assert "at least one hour" in caplog.text
    assert provider.session(session_id).usage_s is None  # nothing ran yet
    send_job(provider, *job_in(provider, session_id))
    assert provider.session(session_id).usage_s == 3600
    provider.cancel_session(session_id)
    assert provider.session(session_id).usage_s == 3600


def test_cancelled_session_cancels_its_queued_jobs_and_no_others(provider: IonQProvider, sandbox: Sandbox) -> None:
    sandbox.admin.clock("frozen")
    session_id = opened(provider)
    inside = [send_job(provider, *job_in(provider, session_id, f"in-{i}")).vendor_id for i in range(3)]
    outside = send_job(provider, spec_of(provider, Target(QPU), bell(), shots=10), key_of("outside")).vendor_id
    provider.cancel_session(session_id)
    provider.cancel_session(session_id)
    looks = provider.poll([*inside, outside])
    assert {looks[vendor_id].phase for vendor_id in inside} == {Phase.CANCELLED}
    assert looks[outside].phase is Phase.QUEUED
    assert not provider.session(session_id).is_open


def test_session_whose_answer_was_lost_is_among_the_recent_ones(provider: IonQProvider, sandbox: Sandbox) -> None:
    since = datetime.now(UTC) - timedelta(minutes=5)
    sandbox.admin.fault("drop_after", "ionq.session_create")
    with pytest.raises(Ambiguous):
        opened(provider)
    (found,) = provider.recent_sessions(QPU, since=since)
    assert found.is_open
    assert provider.recent_sessions("qpu.forte-enterprise-1", since=since) == []
    assert provider.recent_sessions(QPU, since=datetime.now(UTC) + timedelta(minutes=5)) == []


def test_unknown_session_is_refused(provider: IonQProvider) -> None:
    with pytest.raises(Refused):
        provider.session("nope")
    with pytest.raises(Refused):
        send_job(provider, *job_in(provider, "nope"))


def test_session_on_a_simulator_is_refused(provider: IonQProvider) -> None:
    with pytest.raises(Refused):
        provider.open_session("simulator", mode="dedicated", max_time_s=None, options={})


@pytest.mark.parametrize(("mode", "options"), [("batch", {}), ("dedicated", {"colour": "red"})])
def test_what_ionq_sessions_do_not_know_is_refused_before_sending(
    provider: IonQProvider, sandbox: Sandbox, mode: str, options: dict
) -> None:
    with pytest.raises(ProgramRejected):
        provider.open_session(QPU, mode=mode, max_time_s=None, options=options)
    assert sandbox.admin.requests("ionq.session_create") == 0
