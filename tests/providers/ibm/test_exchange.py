"""One deadline, one size, one pause: slow and huge bodies, Retry-After in all forms, wrong clocks, gateways' pages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from qflows import providers
from qflows.errors import Ambiguous, NotSent, ProviderError, Refused, Throttled, Unreadable
from qflows.protocol import JobSpec, Phase, Provider
from qflows.providers.ibm import exchange
from qflows.providers.ibm.failures import BUY_AGAIN, helps_to_buy_again
from qflows.sandbox import Sandbox
from qflows.testing import CANARY, bell, key_of, send_job, shown_by, wait

SPEC = JobSpec("ibm", "ibm_manila", (bell(),), 10)


@pytest.fixture
def hasty(sandbox: Sandbox) -> Provider:
    """A provider that is connected and waits a second."""
    fields = {"token": "t", "instance": sandbox.env["QISKIT_IBM_INSTANCE"], "url": sandbox.url}
    provider: Any = providers.connect("ibm", fields, timeout_s=1.0)
    provider.prepare(SPEC, key_of("warm"))
    return provider


@pytest.mark.parametrize("route", ["list", "get"])
def test_body_of_a_few_bytes_a_second_does_not_hold_a_read(sandbox: Sandbox, hasty: Provider, route: str) -> None:
    vendor_id = send_job(hasty, SPEC, key_of("slow", route)).vendor_id
    sandbox.admin.switches("ibm", body_bytes_per_s=20.0)
    with pytest.raises(Ambiguous, match="no answer"):
        hasty.exists(vendor_id) if route == "get" else hasty.devices()


def test_token_that_comes_byte_by_byte_does_not_hold_a_purchase(sandbox: Sandbox, hasty: Any) -> None:
    hasty._runtime._token()._manager.expire_time = 0
    sandbox.admin.switches("ibm", body_bytes_per_s=20.0)
    with pytest.raises(NotSent, match="no IAM token"):
        send_job(hasty, SPEC, key_of("slow token"))
    assert sandbox.admin.count_jobs("ibm") == 0


def test_slow_answer_to_a_purchase_is_a_doubt_and_the_key_finds_it(sandbox: Sandbox, hasty: Provider) -> None:
    sandbox.admin.switches("ibm", body_bytes_per_s=20.0)
    with pytest.raises(Ambiguous):
        send_job(hasty, SPEC, key_of("slow purchase"))
    sandbox.admin.switches("ibm", body_bytes_per_s=0.0)
    found = hasty.find_submitted([key_of("slow purchase")], since=datetime.now(UTC), device_ids={"ibm_manila"})
    assert [hit.vendor_id for hit in found[key_of("slow purchase")]] == [sandbox.admin.jobs("ibm")[0]["id"]]


def test_body_over_its_cap_is_not_read_whole(sandbox: Sandbox, provider: Provider) -> None:
    vendor_id = send_job(provider, SPEC, key_of("huge")).vendor_id
    wait(provider, [vendor_id])
    sandbox.admin.switches("ibm", body_padding=6_000_000)
    with pytest.raises(Unreadable, match="5,000,000"):
        provider.fetch(vendor_id, SPEC)
    with pytest.raises(Ambiguous):  # the answer to a purchase: it may have been accepted
        provider.send(provider.prepare(SPEC, key_of("huge purchase")))
    assert sandbox.admin.count_jobs("ibm") == 2


@pytest.mark.parametrize(
    ("path", "cap"),
    [("/api/v1/jobs/d1/results", 600_000_000), ("/api/v1/jobs", 50_000_000), ("/api/v1/jobs/d1/metrics", 5_000_000)],
)
def test_caps_are_by_route(path: str, cap: int) -> None:
    assert exchange.cap_of("GET", path) == cap


@pytest.mark.parametrize(
    ("form", "expected"),
    [("seconds", 7), ("date", 7), ("fraction", 7.25), ("huge", 300), ("nan", None), ("absent", None), ("negative", 0)],
)
def test_retry_after_is_understood_bounded_and_honoured(
    sandbox: Sandbox, provider: Provider, form: str, expected: float | None
) -> None:
    prepared = provider.prepare(SPEC, key_of("pace"))
    sandbox.admin.switches("ibm", retry_after_form=form)
    sandbox.admin.fault("status", "ibm.submit", status=429, accepted=False, retry_after=7)
    with pytest.raises(Ambiguous) as caught:
        provider.send(prepared)
    told = caught.value.retry_after_s
    assert told == expected if expected is None else told == pytest.approx(expected, abs=1.01)
    if expected == 0:
        assert provider.send(prepared).vendor_id
        return
    with pytest.raises(Throttled) as held:
        provider.send(prepared)
    assert 0 < (held.value.retry_after_s or 0) <= (expected or 12)
    assert sandbox.admin.requests("ibm.submit") == 1


def test_reads_pass_retry_after_on(sandbox: Sandbox, provider: Provider) -> None:
    vendor_id = send_job(provider, SPEC, key_of("read pace")).vendor_id
    wait(provider, [vendor_id])
    for status in (429, 503):
        sandbox.admin.fault("status", "ibm.results", status=status, retry_after=9)
        with pytest.raises(ProviderError) as caught:
            provider.fetch(vendor_id, SPEC)
        assert caught.value.retry_after_s == pytest.approx(9, abs=1.01)


# -- clocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("skew_s", [-3600.0, -600.0, 600.0, 3600.0])
@pytest.mark.parametrize("n_keys", [1, 6])
def test_lost_job_is_found_whatever_the_clocks_say(
    sandbox: Sandbox, provider: Provider, skew_s: float, n_keys: int
) -> None:
    sandbox.admin.switches("ibm", clock_skew_s=skew_s)
    keys = [key_of("skew", skew_s, i) for i in range(n_keys)]
    sandbox.admin.fault("drop_after", "ibm.submit", times=None)
    since = datetime.now(UTC) - timedelta(minutes=5)
    for key in keys:
        with pytest.raises(Ambiguous):
            send_job(provider, SPEC, key)
    found = provider.find_submitted(keys, since=since, device_ids={"ibm_manila"})
    assert sorted(found) == sorted(keys)
    assert [len(found[key]) for key in keys] == [1] * n_keys


def test_jobs_are_polled_in_bulk_whatever_the_clocks_say(sandbox: Sandbox, provider: Provider) -> None:
    sandbox.admin.clock("frozen")
    sandbox.admin.switches("ibm", clock_skew_s=-1800.0)
    ids = [send_job(provider, SPEC, key_of("bulk", i)).vendor_id for i in range(6)]
    before = sandbox.admin.requests("ibm.list")
    assert {look.phase for look in provider.poll(ids).values()} == {Phase.QUEUED}
    assert sandbox.admin.requests("ibm.list") - before == 1
    assert sandbox.admin.requests("ibm.get") == 0


def test_list_that_ignores_its_filter_gives_no_stranger(sandbox: Sandbox, provider: Provider) -> None:
    sandbox.admin.switches("ibm", tag_filter="ignored")
    mine = send_job(provider, SPEC, key_of("mine")).vendor_id
    for i in range(3):
        send_job(provider, SPEC, key_of("other", i))
    since = datetime.now(UTC) - timedelta(minutes=5)
    keys = [key_of("mine"), key_of("never sent")]
    found = provider.find_submitted(keys, since=since, device_ids={"ibm_manila"})
    assert {key: [hit.vendor_id for hit in hits] for key, hits in found.items()} == {key_of("mine"): [mine]}


# -- whose word ------------------------------------------------------------------------------------------------------


def test_page_of_a_gateway_is_not_the_vendors_word(sandbox: Sandbox, provider: Provider) -> None:
    vendor_id = send_job(provider, SPEC, key_of("gateway")).vendor_id
    for status in (404, 403, 410):
        sandbox.admin.fault("status", "ibm.get", status=status, html=True)
        with pytest.raises(Ambiguous):
            provider.exists(vendor_id)
    sandbox.admin.fault("list_lag", "ibm.list", seconds=600)
    sandbox.admin.fault("status", "ibm.get", status=404, html=True)
    with pytest.raises(Ambiguous):
        provider.poll([vendor_id])


def test_wrong_region_says_nothing_about_a_job(sandbox: Sandbox, provider: Provider) -> None:
    vendor_id = send_job(provider, SPEC, key_of("region")).vendor_id
    sandbox.admin.fault("status", "ibm.get", status=404, code="1279", message="wrong region")
    with pytest.raises(Refused, match="region"):
        provider.exists(vendor_id)


@pytest.mark.parametrize("vendor_id", ["", "x" * 100_000, "../backends", "a b"])
def test_text_that_is_no_id_sends_nothing(sandbox: Sandbox, provider: Any, vendor_id: str) -> None:
    for ask in (provider.exists, provider.cancel, lambda one: provider.fetch(one, SPEC)):
        with pytest.raises(Refused, match="not the id"):
            ask(vendor_id)
    assert sandbox.admin.requests("ibm.get") == 0


@pytest.mark.parametrize("fault", [{"status": 502}, {"status": 200, "html": True}, {"status": 404, "html": True}])
@pytest.mark.parametrize("route", ["ibm.configuration", "ibm.properties", "ibm.backends"])
def test_device_that_cannot_be_read_leaves_no_doubt(
    sandbox: Sandbox, connected_to: Callable[[str], Provider], route: str, fault: dict[str, Any]
) -> None:
    provider = connected_to(sandbox.url)
    sandbox.admin.fault("status", route, times=None, **fault)
    with pytest.raises((NotSent, Refused)):
        send_job(provider, SPEC, key_of("no description"))
    assert sandbox.admin.requests("ibm.submit") == 0


def test_server_that_quotes_the_key_puts_it_in_no_error(
    sandbox: Sandbox, connected_to: Callable[[str], Provider]
) -> None:
    provider = connected_to(sandbox.url)
    vendor_id = send_job(provider, SPEC, key_of("echo")).vendor_id
    for status in (400, 500):
        sandbox.admin.fault(
            "status", "ibm.get", status=status, body=f'{{"errors": [{{"code": "1", "message": "{CANARY}"}}]}}'
        )
        with pytest.raises(ProviderError) as caught:
            provider.exists(vendor_id)
        assert CANARY not in shown_by(caught.value)


# -- codes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "answer"),
    [("1217", True), ("1010", True), ("1517", False), ("1305", False), ("1352", False), ("8888", None)],
)
def test_whether_buying_again_helps_has_three_answers(
    sandbox: Sandbox, provider: Provider, code: str, answer: bool | None
) -> None:
    sandbox.admin.fault("fail_job", "ibm.submit", code=code, message="no")
    vendor_id = send_job(provider, SPEC, key_of("fails", code)).vendor_id
    look = wait(provider, [vendor_id])[vendor_id]
    assert (look.phase, look.error_code, look.is_retryable) == (Phase.FAILED, code, answer)
    assert helps_to_buy_again(None) is None
    assert set(BUY_AGAIN.values()) == {True, False}


def test_discovery_reads_no_more_than_it_can_need(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IAM_URL", "GLOBAL_SEARCH_URL", "GLOBAL_CATALOG_URL"):
        monkeypatch.setenv(name, sandbox.env[name])
    provider: Any = providers.connect("ibm", {"token": CANARY, "url": sandbox.url}, timeout_s=10)
    caps = exchange.cap_of
    monkeypatch.setattr(exchange, "cap_of", lambda method, path: 100 if "resources" in path else caps(method, path))
    with pytest.raises(Unreadable, match="more than 100 bytes"):
        _ = provider._runtime.crn
    monkeypatch.setattr(exchange, "cap_of", caps)
    with pytest.raises(Refused, match="several instances"):  # all is read at the next try
        _ = provider._runtime.crn
