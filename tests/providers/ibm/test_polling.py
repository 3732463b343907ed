"""Reading states in bulk from a list that knows no ids: requests per tick, strangers in between, lag, a new process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from qflows.core.devices import Sole
from qflows.core.poller import Poller
from qflows.core.submit import Submitter
from qflows.errors import Ambiguous, Throttled, Unreadable
from qflows.ledger import Ledger
from qflows.ledger.intents import Intent, Want
from qflows.protocol import JobSpec, Phase, Provider
from qflows.sandbox import Sandbox
from qflows.testing import bell, send_job, wait

LIST, GET = "ibm.list", "ibm.get"


def submit(provider: Provider, n: int, device: str = "ibm_manila") -> list[str]:
    spec = JobSpec("ibm", device, (bell(),), 10)
    return [send_job(provider, spec, f"{device}{i}".ljust(64, "x")).vendor_id for i in range(n)]


def requests(sandbox: Sandbox) -> tuple[int, int]:
    return sandbox.admin.requests(LIST), sandbox.admin.requests(GET)


def test_300_queued_jobs_take_two_requests_a_tick(sandbox: Sandbox, provider: Provider, tmp_path: Any) -> None:
    sandbox.admin.clock("frozen")
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    spec = JobSpec("ibm", "ibm_manila", (bell(),), 10)
    wanted = [Intent(spec, Want("run", "a", f"h{i}"), "ibm:ibm_manila", provider.account) for i in range(300)]
    submitter = Submitter(ledger)
    jobs = submitter.submit(provider, wanted)
    poller = Poller(submitter, Sole(provider), poll_min_s=0.0)
    for _ in range(3):
        before = requests(sandbox)
        poller.tick(jobs)
        after = requests(sandbox)
        assert (after[0] - before[0], after[1] - before[1]) == (2, 0)
    ledger.close()


def test_finished_and_foreign_jobs_outside_the_window_cost_nothing(sandbox: Sandbox, provider: Provider) -> None:
    old = submit(provider, 210)
    wait(provider, old)
    sandbox.admin.advance(10)
    sandbox.admin.clock("frozen")
    mine = submit(provider, 5)
    provider.poll(mine)
    before = requests(sandbox)
    assert set(provider.poll(mine)) == set(mine)
    after = requests(sandbox)
    assert (after[0] - before[0], after[1] - before[1]) == (1, 0)


def test_new_process_finds_old_jobs_and_learns_their_window(
    sandbox: Sandbox, provider: Provider, connected_to: Callable[[str], Provider]
) -> None:
    sandbox.admin.clock("frozen")
    ids = submit(provider, 205)
    newcomer = connected_to(sandbox.url)
    looks = newcomer.poll(ids[:100])
    assert {look.phase for look in looks.values()} == {Phase.QUEUED}
    assert set(looks) == set(ids[:100])
    before = requests(sandbox)
    newcomer.poll(ids[:100])
    after = requests(sandbox)
    assert (after[0] - before[0], after[1] - before[1]) == (1, 0)


def test_job_that_lists_do_not_show_yet_is_seen_by_its_id(sandbox: Sandbox, provider: Provider) -> None:
    sandbox.admin.fault("list_lag", LIST, seconds=60)
    (vendor_id,) = submit(provider, 1)
    assert wait(provider, [vendor_id])[vendor_id].phase is Phase.DONE


def test_job_that_lost_our_tags_is_still_seen(sandbox: Sandbox, provider: Any) -> None:
    (vendor_id,) = submit(provider, 1)
    provider._runtime.read("tags", lambda client: client.update_tags(vendor_id, []))
    assert wait(provider, [vendor_id])[vendor_id].phase is Phase.DONE


def test_mock_device_of_a_dry_run_is_polled_too(sandbox: Sandbox, provider: Provider) -> None:
    (vendor_id,) = submit(provider, 1, device="mock_manila")
    assert wait(provider, [vendor_id])[vendor_id].phase is Phase.DONE


def test_state_that_nobody_documented_is_unknown_with_its_word(sandbox: Sandbox, provider: Provider) -> None:
    (vendor_id,) = submit(provider, 1)
    sandbox.admin.switches("ibm", force_state="Reticulating")
    look = provider.poll([vendor_id])[vendor_id]
    assert (look.phase, look.word) == (Phase.UNKNOWN, "Reticulating")


def test_word_for_running_too_long_is_a_failure_with_its_code(sandbox: Sandbox, provider: Provider) -> None:
    (vendor_id,) = submit(provider, 1)
    sandbox.admin.switches("ibm", force_state="Cancelled - Ran too long")
    look = provider.poll([vendor_id])[vendor_id]
    assert (look.phase, look.error_code, look.is_retryable) == (Phase.FAILED, "1305", False)


def test_job_over_its_time_limit_has_failed_with_code_1305(sandbox: Sandbox, provider: Provider) -> None:
    sandbox.admin.fault("fail_job", "ibm.submit", code="1305", message="ran too long")
    (vendor_id,) = submit(provider, 1)
    look = wait(provider, [vendor_id])[vendor_id]
    assert (look.phase, look.word, look.error_code) == (Phase.FAILED, "Cancelled", "1305")


def test_queued_job_says_that_there_is_no_queue_position(sandbox: Sandbox, provider: Provider) -> None:
    sandbox.admin.clock("frozen")
    (vendor_id,) = submit(provider, 1)
    look = provider.poll([vendor_id])[vendor_id]
    assert look.queue_position is None
    assert "does not tell" in (look.queue_note or "")


def test_token_refused_in_a_long_wait_is_renewed_without_a_new_job(
    sandbox: Sandbox, provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.admin.clock("frozen")
    (vendor_id,) = submit(provider, 1)
    provider._runtime._auth._got_at -= 3600  # the token is an hour old
    tokens = sandbox.admin.requests("ibm.token")
    sandbox.admin.fault("status", LIST, status=401)
    assert provider.poll([vendor_id])[vendor_id].phase is Phase.QUEUED
    assert sandbox.admin.requests("ibm.token") == tokens + 1
    assert sandbox.admin.count_jobs("ibm") == 1


@pytest.mark.parametrize("fault", [{"status": 502}, {"status": 500}, {"status": 200, "html": True}], ids=str)
def test_failed_poll_is_one_request_and_typed(sandbox: Sandbox, provider: Provider, fault: dict[str, Any]) -> None:
    (vendor_id,) = submit(provider, 1)
    sandbox.admin.fault("status", LIST, **fault)
    with pytest.raises((Ambiguous, Unreadable)):
        provider.poll([vendor_id])
    assert requests(sandbox) == (1, 0)


def test_silent_server_does_not_hang_a_poll(sandbox: Sandbox) -> None:
    from qflows import providers

    fields = {"token": "t", "instance": sandbox.env["QISKIT_IBM_INSTANCE"], "url": sandbox.url}
    provider = providers.connect("ibm", fields, timeout_s=0.5)
    (vendor_id,) = submit(provider, 1)
    sandbox.admin.fault("hold", LIST)
    with pytest.raises(Ambiguous):
        provider.poll([vendor_id])
    sandbox.admin.release_held(verdict="drop")


def test_throttled_poll_is_not_repeated_by_the_client(sandbox: Sandbox, provider: Provider) -> None:
    (vendor_id,) = submit(provider, 1)
    sandbox.admin.fault("status", LIST, status=429, retry_after=30)
    with pytest.raises(Throttled):
        provider.poll([vendor_id])
    assert requests(sandbox) == (1, 0)
