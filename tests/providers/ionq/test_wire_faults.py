"""What a fault on the wire proves: pages of gateways, pauses, ids that are none, clocks, and large or slow bodies."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from qflows.bounded_http import MAX_RETRY_AFTER_S
from qflows.errors import Ambiguous, NotSent, ProgramRejected, Refused, Throttled, Unreadable
from qflows.protocol import JobSpec, Phase, Provider
from qflows.providers.ionq import failures, http, wire
from qflows.providers.ionq.adapter import IonQProvider
from qflows.sandbox import Sandbox
from qflows.testing import Target, bell, counts_of, key_of, read_result, run, send_job, spec_of, wait

QPU = Target("qpu.forte-1")


def spec(provider: Provider) -> JobSpec:
    return spec_of(provider, Target("simulator"), bell(), shots=10)


# -- submissions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_page", [True, False])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413])
def test_definite_no_to_a_submission_is_final_whoever_writes_it(
    provider: Provider, sandbox: Sandbox, status: int, is_page: bool
) -> None:
    sandbox.admin.fault("status", "ionq.submit", status=status, html=is_page)
    with pytest.raises(Refused) as caught:
        send_job(provider, spec(provider), key_of("no"))
    assert caught.value.http_status == status
    assert sandbox.admin.count_jobs("ionq") == 0


def test_unavailable_backend_leaves_a_doubt_that_says_what_ionq_said(provider: Provider, sandbox: Sandbox) -> None:
    """A 5xx may follow an accepted POST, so it is looked up; the text and the pause go with it."""
    sandbox.admin.switches("ionq", unavailable="qpu.forte-1", unavailable_submit="refuse")
    with pytest.raises(Ambiguous) as caught:
        send_job(provider, spec_of(provider, QPU, bell(), shots=10), key_of("away"))
    assert (caught.value.http_status, caught.value.vendor_message) == (503, "backend unavailable")
    sandbox.admin.fault("status", "ionq.submit", status=503, retry_after=40)
    with pytest.raises(Ambiguous) as asked:
        send_job(provider, spec(provider), key_of("asked"))
    assert asked.value.retry_after_s == 40


def test_nothing_that_fails_before_the_first_byte_leaves_a_doubt(provider: IonQProvider, closed_port: int) -> None:
    far = IonQProvider(base_url=f"http://127.0.0.1:{closed_port}/v0.4", api_key="k", timeout_s=2)
    with pytest.raises(NotSent):
        send_job(far, spec(provider), key_of("far"))
    infinite = spec_of(provider, Target("simulator", {"opt": float("inf")}), bell(), shots=10)
    with pytest.raises(ProgramRejected):
        provider.prepare(infinite, key_of("inf"))


def test_prepared_job_is_the_same_bytes_whenever_it_is_prepared(provider: IonQProvider) -> None:
    one, two = (provider.prepare(spec(provider), key_of("bytes")) for _ in range(2))
    assert one.body == two.body
    assert json.loads(one.body)["metadata"][wire.KEY] == key_of("bytes")


@pytest.mark.parametrize("answered", ["", "x" * 200])
def test_id_that_cannot_be_one_is_a_doubt(provider: Provider, sandbox: Sandbox, answered: str) -> None:
    sandbox.admin.fault("status", "ionq.submit", status=201, body=json.dumps({"id": answered}), accepted=True)
    with pytest.raises(Ambiguous):
        send_job(provider, spec(provider), key_of("id"))


# -- reads -----------------------------------------------------------------------------------------------------------


def test_job_is_gone_on_ionqs_own_word_only(provider: Provider, sandbox: Sandbox) -> None:
    assert not provider.exists("00000000-0000-4000-8000-000000000000")
    job = send_job(provider, spec(provider), key_of("there")).vendor_id
    assert provider.exists(job)
    words = ({"html": True}, {"body": "{}"}, {"body": '{"detail": "Not Found"}'}, {"body": '{"statusCode": 403}'})
    for word in words:
        sandbox.admin.fault("status", "ionq.get", status=404, **word)
        with pytest.raises((Ambiguous, Refused)):
            provider.exists(job)
    assert provider.exists(job)


@pytest.mark.parametrize("status", [404, 410, 502])
def test_page_of_a_gateway_is_no_refusal_of_a_result(provider: Provider, sandbox: Sandbox, status: int) -> None:
    job = send_job(provider, spec(provider), key_of("page")).vendor_id
    wait(provider, [job])
    sandbox.admin.fault("status", "ionq.results", status=status, html=True)
    with pytest.raises(Ambiguous):
        provider.fetch(job, spec(provider))
    assert counts_of(read_result(provider, job, spec(provider), key_of("page")).items[0]).shots == 10


@pytest.mark.parametrize("odd", ["", ".", "..", "x" * 100_000, "a\nb"], ids=["empty", "dot", "dots", "long", "line"])
def test_ids_that_ionq_cannot_have_given_spoil_nothing(provider: IonQProvider, sandbox: Sandbox, odd: str) -> None:
    job = send_job(provider, spec(provider), key_of("good")).vendor_id
    wait(provider, [job])
    assert set(provider.poll([odd, job, odd])) == {job}
    assert provider.poll([odd]) == {}
    for call in (provider.exists, provider.cancel, lambda it: provider.fetch(it, spec(provider)), provider.session):
        if odd != "a\nb":
            with pytest.raises(Refused, match="not an IonQ id"):
                call(odd)
    sandbox.admin.clear_faults()


@pytest.mark.parametrize("form", ["seconds", "fraction", "date", "huge", "infinite", "milliseconds"])
@pytest.mark.parametrize("skew_s", [0.0, -5000.0])
def test_pause_is_bounded_in_every_form_and_holds_for_all_requests(
    sandbox: Sandbox, provider: IonQProvider, form: str, skew_s: float
) -> None:
    sandbox.admin.switches("ionq", retry_after_form=form, clock_skew_s=skew_s)
    sandbox.admin.fault("status", "ionq.list", status=429, retry_after=30)
    with pytest.raises(Throttled) as caught:
        provider.poll(["x"])
    expected = {"seconds": 30.0, "fraction": 30.25, "date": 30.0}.get(form, MAX_RETRY_AFTER_S)
    assert caught.value.retry_after_s == pytest.approx(expected, abs=1)
    seen = len(sandbox.admin.journal(vendor="ionq"))
    with pytest.raises(Throttled) as again:
        send_job(provider, spec(provider), key_of("pause"))
    assert 0 < (again.value.retry_after_s or 0) <= expected
    assert len(sandbox.admin.journal(vendor="ionq")) == seen


@pytest.mark.parametrize("form", ["nan", "negative", "absent"])
def test_pause_that_says_nothing_stops_nothing(sandbox: Sandbox, provider: IonQProvider, form: str) -> None:
    sandbox.admin.switches("ionq", retry_after_form=form)
    sandbox.admin.fault("status", "ionq.list", status=429, retry_after=30)
    with pytest.raises(Throttled) as caught:
        provider.poll(["x"])
    assert not caught.value.retry_after_s
    assert provider.poll(["x"]) == {}


def test_clock_that_is_ahead_finds_a_job_whose_answer_was_lost(provider: IonQProvider, sandbox: Sandbox) -> None:
    """`since` is our clock's word; the list has IonQ's, here ten minutes behind, and more jobs came since."""
    sandbox.admin.switches("ionq", clock_skew_s=-600.0)
    key = key_of("skew")
    sandbox.admin.fault("drop_after", "ionq.submit")
    with pytest.raises(Ambiguous):
        send_job(provider, spec(provider), key)
    for place in range(26):
        send_job(provider, spec(provider), key_of("later", place))
    since = datetime.now(UTC) + timedelta(minutes=9, seconds=50)
    found = provider.find_submitted([key], since=since, device_ids={"simulator"})
    assert len(found[key]) == 1


def test_body_that_drips_holds_nobody(sandbox: Sandbox) -> None:
    quick = IonQProvider(base_url=f"{sandbox.url}/v0.4", api_key="a-key-of-some-length", timeout_s=0.5)
    sandbox.admin.switches("ionq", body_bytes_per_s=40.0)
    with pytest.raises(Ambiguous, match="no complete answer"):
        quick.devices()  # 2 kB: would take most of a minute
    with pytest.raises(Ambiguous):
        send_job(quick, spec(quick), key_of("drip"))
    assert sandbox.admin.count_jobs("ionq") == 1


def test_body_above_the_cap_of_its_route_is_not_read(
    provider: IonQProvider, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = send_job(provider, spec(provider), key_of("large")).vendor_id
    wait(provider, [job])
    sandbox.admin.switches("ionq", body_padding=300_000)
    monkeypatch.setattr(http, "LIST_BYTES", 200_000)
    with pytest.raises(Unreadable, match="more than 200000 bytes"):
        provider.poll([job])
    # a submission whose answer is too large may have been taken
    sandbox.admin.switches("ionq", body_padding=5_000_000)
    with pytest.raises(Ambiguous):
        send_job(provider, spec(provider), key_of("large answer"))
    assert sandbox.admin.count_jobs("ionq") == 2


@pytest.mark.parametrize("route", ["list", "results", "cost", "estimate", "session_list"])
def test_missing_right_is_refused_or_left_out(provider: IonQProvider, sandbox: Sandbox, route: str) -> None:
    sandbox.admin.switches("ionq", denied_routes=route)
    paid = spec_of(provider, QPU, bell(), shots=10)
    if route == "estimate":
        listed = provider.estimate(paid)
        assert listed is not None
        assert "rate card" in listed.source
    elif route == "cost":
        assert run(provider, paid, key_of("right")).cost is None
    elif route == "list":
        with pytest.raises(Refused, match="403"):
            provider.poll(["x"])
    elif route == "results":
        job = send_job(provider, paid, key_of("right")).vendor_id
        wait(provider, [job])
        with pytest.raises(Refused, match="403"):
            provider.fetch(job, paid)


def test_key_of_another_project_sees_nothing_of_ours(provider: IonQProvider, sandbox: Sandbox) -> None:
    job = send_job(provider, spec(provider), key_of("mine")).vendor_id
    other = IonQProvider(base_url=f"{sandbox.url}/v0.4", api_key="somebody-elses-key", timeout_s=5)
    assert other.account != provider.account
    assert (other.poll([job]), other.exists(job)) == ({}, False)
    with pytest.raises(Refused):
        other.cancel(job)
    assert wait(provider, [job])[job].phase is Phase.DONE


# -- will it help to buy again ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "helps"),
    [
        ("InvalidInput", False),
        ("PreflightError", False),
        ("QuotaExhaustedError", False),
        ("SystemCancel", True),
        ("QuantumComputerError", True),
        ("UnknownBillingError", None),
        ("CalibrationLost", None),
        ("", None),
        (None, None),
    ],
)
def test_three_answers_to_whether_it_helps_to_buy_again(code: str | None, helps: bool | None) -> None:
    assert failures.helps_to_buy_again(code) is helps
    failure = {"code": code, "message": "why"} if code is not None else None
    assert wire.observation({"id": "x", "status": "failed", "failure": failure}).is_retryable is helps
