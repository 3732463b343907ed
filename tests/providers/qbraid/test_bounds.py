"""Answers that are hostile or broken: pages of gateways, garbage, slow and huge bodies, every form of patience."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from qflows.bounded_http import MAX_RETRY_AFTER_S
from qflows.errors import Ambiguous, ProviderError, Refused, Throttled, Unreadable
from qflows.protocol import JobSpec, Phase, RawAnswer
from qflows.providers.qbraid.adapter import QbraidProvider
from qflows.providers.qbraid.pacing import Pacing, Purpose
from qflows.sandbox import Sandbox
from qflows.testing import CANARY, bell, counts_of, key_of, read_result, run, send_job, shown_by, wait

FREE = "qbraid:qbraid:sim:qir-sv"
SPEC = JobSpec("qbraid", FREE, (bell(),), 10)


def provider_of(sandbox: Sandbox, **more: Any) -> QbraidProvider:
    given: dict[str, Any] = {"timeout_s": 20.0} | more
    return QbraidProvider(base_url=f"{sandbox.url}/api/v1", headers={"X-API-Key": CANARY}, account="a", **given)


def page(sandbox: Sandbox, route: str, status: int, **more: Any) -> None:
    sandbox.admin.fault("status", route, status=status, html=True, times=None, **more)


# -- patience --------------------------------------------------------------------------------------------------------

FORMS = {
    "seconds": 7.0,
    "date": 7.0,
    "milliseconds": 7.0,
    "fraction": 7.25,
    "huge": MAX_RETRY_AFTER_S,
    "infinite": MAX_RETRY_AFTER_S,
    "nan": 1.0,
    "negative": 0.0,
    "absent": 1.0,
}


@pytest.mark.parametrize("form", FORMS)
def test_patience_is_read_in_every_form_bounded_and_kept(sandbox: Sandbox, form: str) -> None:
    provider = provider_of(sandbox)
    sandbox.admin.switches("qbraid", retry_after_form=form)
    sandbox.admin.fault("status", "qbraid.get", status=429, retry_after=7)
    with pytest.raises(Throttled) as caught:
        provider.poll(["x"])
    assert caught.value.retry_after_s == pytest.approx(FORMS[form], abs=1.0 if form == "date" else 1e-9)
    sent = len(sandbox.admin.journal())
    if FORMS[form] > 0:
        with pytest.raises(Throttled):
            provider.poll(["x"])
        assert len(sandbox.admin.journal()) == sent
    else:
        assert provider.poll(["x"]) == {}


@pytest.mark.parametrize(
    ("route", "act"),
    [
        ("list", lambda p: p.poll([f"id-{i}" for i in range(9)])),
        ("get", lambda p: p.exists("x")),
        ("results", lambda p: p.fetch("x", SPEC)),
        ("submit", lambda p: send_job(p, SPEC, "k")),
        ("cancel", lambda p: p.cancel("x")),
        ("devices", lambda p: p.devices()),
    ],
)
def test_patience_asked_for_on_one_route_is_kept_on_all(
    sandbox: Sandbox, route: str, act: Callable[[QbraidProvider], Any]
) -> None:
    provider = provider_of(sandbox)
    sandbox.admin.fault("status", f"qbraid.{route}", status=429, retry_after=9)
    with pytest.raises((Throttled, Ambiguous)) as caught:
        act(provider)
    assert caught.value.retry_after_s == 9
    sent = len(sandbox.admin.journal())
    for again in (
        lambda: provider.poll(["x"]),
        lambda: send_job(provider, SPEC, "k"),
        lambda: provider.fetch("x", SPEC),
    ):
        with pytest.raises(Throttled) as later:
            again()
        assert 8 < (later.value.retry_after_s or 0) <= 9
    assert len(sandbox.admin.journal()) == sent


def test_number_that_may_be_milliseconds_is_doubted_the_longer_the_more_often_it_was_wrong() -> None:
    pacing = Pacing()
    asked = [pacing.refused({"retry-after": "900"}) for _ in range(12)]
    assert asked[:6] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    assert max(asked) <= MAX_RETRY_AFTER_S
    pacing.answered()
    assert pacing.refused({"retry-after": "5000"}) == 5.0


def test_requests_are_counted_and_the_last_ones_are_kept_for_cancelling(sandbox: Sandbox) -> None:
    sandbox.admin.clock("frozen")
    provider = provider_of(sandbox, pacing=Pacing(requests=10))
    ids = [send_job(provider, SPEC, key_of("budget", i)).vendor_id for i in range(6)]
    sandbox.admin.advance(5)
    with pytest.raises(Throttled, match="10 requests in 15 minutes"):  # six of ten is what watching may use
        provider.poll(ids[:1])
    for _ in range(3):
        assert provider.exists(ids[0])
    with pytest.raises(Throttled) as caught:
        send_job(provider, SPEC, "one more")
    assert 0 < (caught.value.retry_after_s or 0) <= MAX_RETRY_AFTER_S
    provider.cancel(ids[0])
    assert len(sandbox.admin.journal()) == 10


def test_what_was_seen_before_the_requests_ran_out_is_kept(sandbox: Sandbox) -> None:
    buyer = provider_of(sandbox)
    ids = [send_job(buyer, SPEC, key_of("long", i)).vendor_id for i in range(30)]
    sandbox.admin.fault("list_lag", "qbraid.list", seconds=600)  # so that each job must be read by its id
    looks = provider_of(sandbox, pacing=Pacing(requests=20)).poll(ids)
    assert 0 < len(looks) < 12
    assert {look.phase for look in looks.values()} == {Phase.DONE}


def test_limit_that_other_processes_used_up_is_asked_for_patience(sandbox: Sandbox) -> None:
    sandbox.admin.switches("qbraid", requests_per_window=2)
    vendor_id = send_job(provider_of(sandbox), SPEC, key_of("limit")).vendor_id
    other = provider_of(sandbox)
    assert other.exists(vendor_id)
    with pytest.raises(Throttled):
        other.poll([vendor_id])


# -- pages of a gateway ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [403, 404, 410])
def test_page_of_a_gateway_never_says_that_a_job_is_gone(sandbox: Sandbox, status: int) -> None:
    provider = provider_of(sandbox)
    vendor_id = send_job(provider, SPEC, key_of("there")).vendor_id
    page(sandbox, "qbraid.get", status)
    with pytest.raises(ProviderError):
        provider.exists(vendor_id)
    if status == 404:
        assert provider.poll([vendor_id])[vendor_id].phase is Phase.UNKNOWN
    sandbox.admin.clear_faults()
    assert provider.exists(vendor_id)
    assert not provider.exists(vendor_id.replace("-qjob-", "-qjob-0"))


@pytest.mark.parametrize("body", ['{"detail":"Not Found"}', '{"error":"no such route"}', "{}", "[]", "null", '"x"'])
def test_json_404_of_something_else_is_not_qbraids_word(sandbox: Sandbox, body: str) -> None:
    provider = provider_of(sandbox)
    sandbox.admin.fault("status", "qbraid.get", status=404, body=body)
    with pytest.raises(Refused):
        provider.exists("x")
    assert not provider.exists("x")


@pytest.mark.parametrize("status", [403, 404, 413])
def test_submission_that_a_gateway_turned_away_is_refused_and_names_who_did(sandbox: Sandbox, status: int) -> None:
    page(sandbox, "qbraid.submit", status)
    with pytest.raises(Refused, match="not qbraid itself") as caught:
        send_job(provider_of(sandbox), SPEC, key_of("gateway", status))
    assert caught.value.http_status == status


@pytest.mark.parametrize("status", [402, 408, 409, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("accepted", [True, False])
def test_page_that_may_follow_an_accepted_submission_is_a_doubt(sandbox: Sandbox, status: int, accepted: bool) -> None:
    provider = provider_of(sandbox)
    page(sandbox, "qbraid.submit", status, accepted=accepted)
    with pytest.raises(Ambiguous):
        send_job(provider, SPEC, key_of("doubt"))
    assert sandbox.admin.count_jobs("qbraid") == accepted
    assert sandbox.admin.requests("qbraid.submit") == 1


# -- bodies ----------------------------------------------------------------------------------------------------------


def test_slow_bodies_end_with_the_deadline_and_a_job_bought_that_way_is_found(sandbox: Sandbox) -> None:
    sandbox.admin.switches("qbraid", body_bytes_per_s=20.0)
    hasty = provider_of(sandbox, timeout_s=0.5)
    with pytest.raises(Ambiguous):
        send_job(hasty, SPEC, key_of("slow"))
    with pytest.raises(Ambiguous):
        hasty.poll(["x"])
    sandbox.admin.switches("qbraid", body_bytes_per_s=0.0)
    found = provider_of(sandbox).find_submitted(
        [key_of("slow")], since=datetime.now(UTC) - timedelta(minutes=5), device_ids={FREE}
    )
    assert len(found[key_of("slow")]) == 1


def test_huge_bodies_are_not_read_to_their_end(sandbox: Sandbox) -> None:
    provider = provider_of(sandbox)
    vendor_id = send_job(provider, SPEC, key_of("huge")).vendor_id
    wait(provider, [vendor_id])
    sandbox.admin.switches("qbraid", body_padding=40_000_000)
    with pytest.raises(Unreadable, match="bytes"):
        read_result(provider, vendor_id, SPEC, "k")
    with pytest.raises(Ambiguous, match="may have accepted"):
        send_job(provider, SPEC, key_of("huge", 2))
    sandbox.admin.switches("qbraid", body_padding=0)
    assert counts_of(read_result(provider, vendor_id, SPEC, "k").items[0]).shots == 10


GARBAGE = (
    "", "x", "null", "[]", "7", '"text"', "{}", '{"data": null}', '{"data": 3}', '{"data": []}', '{"data": "x"}',
    '{"success": false, "data": {}}', '{"data": {"status": {"a": 1}}}', '{"data": {"status": null}}',
    '{"data": {"status": "QUEUED", "timeStamps": 3, "tags": [], "queuePosition": 1e400}}', "[" * 100_000,
    '{"data": {"status": "COMPLETED", "timeStamps": {"endedAt": {}}}}', '{"data": NaN}', "\x00", '{"data": {"data": 1}',
)  # fmt: skip


@pytest.mark.parametrize("body", GARBAGE, ids=range(len(GARBAGE)))
def test_job_answered_with_garbage_harms_no_other_and_heals(sandbox: Sandbox, body: str) -> None:
    provider = provider_of(sandbox)
    ids = [send_job(provider, SPEC, key_of("harm", i)).vendor_id for i in range(5)]
    sandbox.admin.fault("status", "qbraid.get", status=200, body=body, skip=2)
    looks = provider.poll(ids)
    assert [looks[v].phase for v in ids if v != ids[2]] == [Phase.DONE] * 4
    assert looks[ids[2]].phase is not Phase.FAILED
    assert wait(provider, ids)[ids[2]].phase is Phase.DONE


def test_one_job_that_qbraid_cannot_read_does_not_stop_the_others(sandbox: Sandbox) -> None:
    provider = provider_of(sandbox)
    ids = [send_job(provider, SPEC, key_of("broken", i)).vendor_id for i in range(4)]
    sandbox.admin.fault("status", "qbraid.get", status=500, skip=1)
    looks = provider.poll(ids)
    assert [looks[v].phase for v in ids] == [Phase.DONE, Phase.UNKNOWN, Phase.DONE, Phase.DONE]
    page(sandbox, "qbraid.get", 503)
    with pytest.raises(Ambiguous):  # all of them: that is the vendor's trouble
        provider.poll(ids)


BAD_RESULTS = (
    b"", b"null", b"[]", b"{}", b'{"data": 1}', b'{"data": {}}', b'{"data": {"resultData": 3}}', b"\xff\xfe",
    b"[" * 99_999,
    b'{"data": {"status": "COMPLETED", "resultData": {"measurementCounts": []}}}',
    b'{"data": {"status": "COMPLETED", "resultData": {"measurementCounts": {"00": 1e400}}}}',
    b'{"data": {"status": "COMPLETED", "resultData": {"measurementCounts": {"00": "10"}}}}',
    b'{"data": {"status": "COMPLETED", "resultData": {"measurementCounts": {"00": null}}}}',
    b'{"data": {"status": "COMPLETED", "resultData": {"measurementCounts": {"zz": 10}}}}',
    b'{"data": {"status": "COMPLETED", "resultData": {"measurementCounts": {"00": 11}}}}',
    b'{"data": {"status": "COMPLETED", "resultData": {"measurementProbabilities": {"00": -1, "11": 2}}}}',
    b'{"data": {"status": "COMPLETED", "resultData": {"measurementProbabilities": {"00": 1e308, "11": 1e308}}}}',
    b'{"data": {"results": [1]}}', b'{"data": {"results": {}}}', b'{"data": {"results": []}}',
    b'{"data": {"status": ["COMPLETED"], "resultData": {"measurementCounts": {"00": 10, "11": {}}}}}',
)  # fmt: skip


@pytest.mark.parametrize("body", BAD_RESULTS, ids=range(len(BAD_RESULTS)))
def test_result_that_is_none_is_unreadable_and_nothing_else(sandbox: Sandbox, body: bytes) -> None:
    with pytest.raises(Unreadable):
        provider_of(sandbox).decode(RawAnswer({"result": body}), SPEC, "k")


def test_probabilities_of_few_digits_are_normalized_with_a_note(sandbox: Sandbox) -> None:
    shares = {"00": 0.333333, "01": 0.333333, "10": 0.333333}
    body = {"data": {"status": "COMPLETED", "cost": "0", "resultData": {"measurementProbabilities": shares}}}
    found = provider_of(sandbox).decode(RawAnswer({"result": json.dumps(body).encode()}), SPEC, "k").items[0]
    assert sum((found.probabilities or {}).values()) == pytest.approx(1.0, abs=1e-12)
    assert found.metadata["probabilities_summed_to"] == pytest.approx(0.999999)


# -- the world around ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_proxy_of_the_environment_does_not_stand_before_loopback(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, closed_port: int, name: str
) -> None:
    monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port}")
    assert counts_of(run(provider_of(sandbox), SPEC, key_of("proxy", name)).items[0]).shots == 10


@pytest.mark.parametrize("route", ["submit", "get", "results", "list", "cancel"])
def test_key_that_an_answer_quotes_is_in_no_error(sandbox: Sandbox, route: str) -> None:
    provider = provider_of(sandbox)
    echo = json.dumps({"success": False, "message": f"X-API-Key: {CANARY}", "error": {"code": CANARY}})
    sandbox.admin.fault("status", f"qbraid.{route}", status=400 if route != "cancel" else 403, body=echo, times=None)
    acts: dict[str, Callable[[], Any]] = {
        "submit": lambda: send_job(provider, SPEC, "k"),
        "get": lambda: provider.exists("x"),
        "results": lambda: provider.fetch("x", SPEC),
        "list": lambda: provider.poll([f"id-{i}" for i in range(9)]),
        "cancel": lambda: provider.cancel("x"),
    }
    with pytest.raises(ProviderError) as caught:
        acts[route]()
    assert CANARY not in shown_by(caught.value)


@pytest.mark.parametrize("vendor_id", ["", ".", "..", "x" * 100_000, "a/../b", "a?b#c", "\x00", "\ud800"])
def test_odd_id_asks_for_nothing_else_and_raises_what_callers_know(sandbox: Sandbox, vendor_id: str) -> None:
    provider = provider_of(sandbox)
    for act in (provider.exists, lambda v: provider.fetch(v, SPEC), provider.cancel):
        try:
            assert act(vendor_id) is False
        except ProviderError:
            pass
    provider.poll([vendor_id])
    known = {"qbraid.get", "qbraid.results", "qbraid.cancel", "qbraid.unknown"}
    assert {entry["route"] for entry in sandbox.admin.journal()} <= known


def test_pacing_shares_are_what_they_say() -> None:
    pacing = Pacing(requests=100)
    for _ in range(60):
        pacing.take(Purpose.WATCH)
    assert [pacing.left(purpose) for purpose in Purpose] == [0, 30, 40]
