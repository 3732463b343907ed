"""Requests that watching qBraid jobs costs, counted at the sandbox."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qflows.core.devices import Sole
from qflows.core.poller import Poller
from qflows.core.submit import Submitter
from qflows.errors import ResultsHeld
from qflows.ledger import Ledger, reads
from qflows.ledger.intents import Intent, Want
from qflows.protocol import JobSpec, Phase, Provider
from qflows.sandbox import Sandbox
from qflows.states import JobStatus
from qflows.testing import bell, key_of, send_job

SIMULATOR, QPU = "qbraid:qbraid:sim:qir-sv", "aws:iqm:qpu:garnet"
N = 210
SPEC = JobSpec("qbraid", SIMULATOR, (bell(),), 20)


def submitted(provider: Provider, n: int) -> list[str]:
    return [send_job(provider, SPEC, key_of("poll", i)).vendor_id for i in range(n)]


def lists_refresh(sandbox: Sandbox) -> None:
    """A qBraid whose lists show the present status of every job, which nobody has established."""
    sandbox.admin.switches("qbraid", list_refreshes=True)


def requests_of(sandbox: Sandbox, act: Callable[[], Any]) -> tuple[Any, dict[str, int]]:
    """What `act` returned, and the requests it made, by route."""
    before = sandbox.admin.counts()["requests"]
    result = act()
    after = sandbox.admin.counts()["requests"]
    return result, {route: n - before.get(route, 0) for route, n in after.items() if n > before.get(route, 0)}


def test_pending_jobs_of_this_process_take_one_request_a_page(provider: Provider, sandbox: Sandbox) -> None:
    sandbox.admin.clock("frozen")
    ids = submitted(provider, N)
    looks, sent = requests_of(sandbox, lambda: provider.poll(ids))
    assert sent.pop("qbraid.list") == math.ceil(N / 100)
    assert sent == {"qbraid.get": (600 - math.ceil(N / 100) - N) // 10}  # a tenth of what may be spent on watching
    assert set(looks) == set(ids)


def test_jobs_that_finish_at_once_take_one_request_a_page(provider: Provider, sandbox: Sandbox) -> None:
    lists_refresh(sandbox)
    ids = submitted(provider, N)
    looks, sent = requests_of(sandbox, lambda: provider.poll(ids))
    assert sent == {"qbraid.list": math.ceil(N / 100)}
    assert {look.phase for look in looks.values()} == {Phase.DONE}


def test_jobs_of_another_process_take_one_request_a_page(
    provider: Provider, sandbox: Sandbox, connected_to: Callable[[str], Provider]
) -> None:
    sandbox.admin.clock("frozen")
    ids = submitted(provider, N)
    other = connected_to(sandbox.url)
    for _ in range(2):  # before and after it has learnt their lots
        looks, sent = requests_of(sandbox, lambda: other.poll(ids))
        assert sent["qbraid.list"] == math.ceil(N / 100)
        assert set(looks) == set(ids)


def test_few_stragglers_of_many_lots_take_one_request(provider: Provider, sandbox: Sandbox) -> None:
    lists_refresh(sandbox)
    sandbox.admin.clock("frozen")
    ids = submitted(provider, N)
    stragglers = ids[::40]
    sandbox.admin.release([vendor_id for vendor_id in ids if vendor_id not in stragglers])
    provider.poll(ids)
    looks, sent = requests_of(sandbox, lambda: provider.poll(stragglers))
    assert sent["qbraid.list"] == 1
    assert {look.phase for look in looks.values()} == {Phase.QUEUED}


def test_finished_jobs_of_another_process_are_read_lot_by_lot(
    provider: Provider, sandbox: Sandbox, connected_to: Callable[[str], Provider]
) -> None:
    lists_refresh(sandbox)
    ids = submitted(provider, N)
    looks, sent = requests_of(sandbox, lambda: connected_to(sandbox.url).poll(ids))
    assert {look.phase for look in looks.values()} == {Phase.DONE}
    # one empty page of pending jobs, then for each lot one job, which names the lot, and the lot
    assert sent == {"qbraid.list": 4, "qbraid.get": 3}


@pytest.mark.parametrize("rule", ["exact", "ignored"])
def test_polling_survives_a_tag_filter_that_matches_otherwise(provider: Provider, sandbox: Sandbox, rule: str) -> None:
    sandbox.admin.switches("qbraid", tag_match=rule)
    sandbox.admin.clock("frozen")
    ids = submitted(provider, 30)
    sandbox.admin.release(ids[:5])
    looks = provider.poll(ids)
    assert [looks[vendor_id].phase for vendor_id in ids] == [Phase.DONE] * 5 + [Phase.QUEUED] * 25


def test_filter_that_wants_all_tags_is_noticed_and_costs_pages_again(
    provider: Provider, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.admin.switches("qbraid", tag_match="exact")
    sandbox.admin.clock("frozen")
    ids = submitted(provider, 30)
    monkeypatch.setattr(type(provider), "capabilities", replace(provider.capabilities, settle_s=0.0))
    provider.poll(ids)
    _, sent = requests_of(sandbox, lambda: provider.poll(ids))
    assert sent["qbraid.list"] == 1


def test_flow_that_watches_many_jobs_sends_one_request_a_page_and_tick(
    provider: Provider, sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.admin.clock("frozen")
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    submitter = Submitter(ledger, workers=4)
    wanted = [Intent(SPEC, Want("run", "a", f"h{i}"), "qbraid-simulator", provider.account) for i in range(120)]
    jobs = submitter.submit(provider, wanted)
    poller = Poller(submitter, Sole(provider), poll_min_s=0.0)
    _, sent = requests_of(sandbox, lambda: poller.tick(jobs))
    assert sent["qbraid.list"] == 2
    sandbox.admin.release()
    done = poller.wait([job.key for job in jobs], timeout=20)
    assert {job.status for job in done.values()} == {JobStatus.COMPLETED}
    assert sandbox.admin.requests("qbraid.results") == len(jobs)
    ledger.close()


@pytest.mark.parametrize("group", ["returned", "pending", "neither"])
def test_withheld_job_is_kept_told_and_completed_when_the_account_is_in_order(
    provider: Provider, sandbox: Sandbox, tmp_path: Path, group: str
) -> None:
    sandbox.admin.switches("qbraid", finished_as="HOLD", hold_status_group=group)
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    submitter = Submitter(ledger)
    (job,) = submitter.submit(provider, [Intent(SPEC, Want("run", "a", "h"), "qbraid-simulator", provider.account)])
    poller = Poller(submitter, Sole(provider), poll_min_s=0.0)
    with pytest.raises(ResultsHeld, match="account"):
        poller.wait([job.key], timeout=10)
    held = reads.job(ledger, job.key)
    assert (held.status, held.word) == (JobStatus.RUNNING, "HOLD")
    assert "account" in (held.queue_note or "")
    sandbox.admin.switches("qbraid", finished_as="")
    assert poller.wait([job.key], timeout=10)[job.key].status is JobStatus.COMPLETED
    assert sandbox.admin.count_jobs("qbraid") == 1
    ledger.close()


@pytest.mark.parametrize("word", ["UNKNOWN", "PAUSED"])
def test_undetermined_status_is_recorded_and_never_guessed(provider: Provider, sandbox: Sandbox, word: str) -> None:
    sandbox.admin.switches("qbraid", finished_as=word)
    vendor_id = send_job(provider, SPEC, key_of("odd")).vendor_id
    look = provider.poll([vendor_id])[vendor_id]
    assert (look.phase, look.word) == (Phase.UNKNOWN, word)


def test_queue_position_is_told(provider: Provider, sandbox: Sandbox) -> None:
    sandbox.admin.clock("frozen")
    vendor_id = send_job(provider, JobSpec("qbraid", QPU, (bell(),), 20), key_of("queue")).vendor_id
    sandbox.admin.advance(5)
    assert provider.poll([vendor_id])[vendor_id].queue_position == 3


def test_job_on_its_way_to_be_cancelled_is_not_over(provider: Provider, sandbox: Sandbox) -> None:
    sandbox.admin.clock("frozen")
    vendor_id = send_job(provider, SPEC, key_of("cancel")).vendor_id
    sandbox.admin.advance(5)
    provider.cancel(vendor_id)
    looks = [provider.poll([vendor_id])[vendor_id] for _ in range(2)]
    assert [(look.phase, look.word) for look in looks] == [
        (Phase.RUNNING, "CANCELLING"),
        (Phase.CANCELLED, "CANCELLED"),
    ]
