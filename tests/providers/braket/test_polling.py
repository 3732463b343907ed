"""What waiting for Braket tasks costs in requests, and that it stays below the documented quotas."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from braket_devices import BUCKET, GARNET, SV1

from qflows import providers
from qflows.errors import Ambiguous
from qflows.protocol import JobSpec, Observation, Phase
from qflows.providers.braket import aws, queue
from qflows.providers.braket.adapter import BraketProvider
from qflows.providers.braket.aws import QUOTAS, Pacer
from qflows.providers.braket.bulk import BY_ARN, PAGE
from qflows.sandbox import Sandbox
from qflows.testing import bell, key_of, read_result, send_job

SEARCH = "braket.search"
Connected = Callable[[str], BraketProvider]


@pytest.fixture(autouse=True)
def no_quota(sandbox: Sandbox) -> None:
    """Hundreds of tasks wait here at once."""
    sandbox.admin.switches("braket", concurrent_tasks=0)


def spec(device: str = SV1) -> JobSpec:
    return JobSpec("braket", device, (bell(),), 10)


def bought(provider: BraketProvider, n: int, device: str = SV1, name: str = "poll") -> list[str]:
    """ARNs of fresh tasks, in order."""
    return [send_job(provider, spec(device), key_of(name, i)).vendor_id for i in range(n)]


class Requests:
    """Requests of a route since the last look."""

    def __init__(self, sandbox: Sandbox, route: str = SEARCH) -> None:
        self._sandbox, self._route, self._before = sandbox, route, sandbox.admin.requests(route)

    def new(self) -> int:
        now = self._sandbox.admin.requests(self._route)
        before, self._before = self._before, now
        return now - before


def test_thousand_pending_tasks_cost_ten_requests_a_tick(provider: BraketProvider, sandbox: Sandbox) -> None:
    sandbox.admin.clock("frozen")
    ids = bought(provider, 1000)
    requests = Requests(sandbox)
    for _ in range(3):
        looks = provider.poll(ids)
        assert requests.new() == 1000 // PAGE
        assert {look.phase for look in looks.values()} == {Phase.QUEUED}
        assert set(looks) == set(ids)


@pytest.mark.parametrize("order", ["newest_first", "oldest_first"])
def test_process_that_never_saw_the_tasks_needs_one_request_more(
    provider: BraketProvider, sandbox: Sandbox, connected_to: Connected, order: str
) -> None:
    sandbox.admin.switches("braket", search_order=order)
    sandbox.admin.clock("frozen")
    ids = bought(provider, 250)
    stranger = connected_to(sandbox.url)
    requests = Requests(sandbox)
    assert set(stranger.poll(ids)) == set(ids)
    assert requests.new() == 1 + 3
    assert set(stranger.poll(ids)) == set(ids)
    assert requests.new() == 3


def test_few_tasks_are_asked_for_by_name(provider: BraketProvider, sandbox: Sandbox) -> None:
    ids = bought(provider, BY_ARN)
    requests = Requests(sandbox)
    assert set(provider.poll(ids)) == set(ids)
    assert requests.new() == 1
    asked = sandbox.admin.journal(route=SEARCH)[-1]
    assert asked["status"] == 200


def test_tasks_of_other_people_in_between_cost_no_more_than_asking_by_name(
    provider: BraketProvider, sandbox: Sandbox
) -> None:
    sandbox.admin.clock("frozen")
    everything = bought(provider, 300)
    mine = everything[::15]  # 20 among 300
    requests = Requests(sandbox)
    assert set(provider.poll(mine)) == set(mine)
    assert requests.new() <= 1 + len(mine) // BY_ARN


def test_finished_tasks_in_between_are_left_out_from_the_second_tick_on(
    provider: BraketProvider, sandbox: Sandbox
) -> None:
    sandbox.admin.clock("frozen")
    everything = bought(provider, 500)
    pending = everything[::4]  # 125 live among 500
    sandbox.admin.release([arn for arn in everything if arn not in set(pending)])
    provider.poll(everything)
    requests = Requests(sandbox)
    provider.poll(pending)
    first = requests.new()
    assert set(provider.poll(pending)) == set(pending)
    assert requests.new() == 2 < first


def test_task_that_finishes_in_a_crowd_is_still_seen(provider: BraketProvider, sandbox: Sandbox) -> None:
    sandbox.admin.clock("frozen")
    everything = bought(provider, 300)
    pending = everything[::3]
    sandbox.admin.release([arn for arn in everything if arn not in set(pending)])
    for _ in range(2):
        provider.poll(pending)
    sandbox.admin.release(pending[:15])
    looks = provider.poll(pending)
    assert [arn for arn in pending if looks[arn].phase is Phase.DONE] == pending[:15]


@pytest.mark.parametrize("switches", [{"search_values": "first"}, {"search_combine": "or"}], ids=str)
def test_filters_that_mean_something_else_cost_requests_and_no_answers(
    provider: BraketProvider, sandbox: Sandbox, switches: dict[str, Any]
) -> None:
    sandbox.admin.clock("frozen")
    ids = bought(provider, 130)
    sandbox.admin.switches("braket", **switches)
    for asked in (ids, ids, ids[:5]):
        looks = provider.poll(asked)
        assert set(looks) == set(asked)
        assert {look.phase for look in looks.values()} == {Phase.QUEUED}


def test_task_the_index_does_not_show_yet_is_read_by_itself(provider: BraketProvider, sandbox: Sandbox) -> None:
    sandbox.admin.switches("braket", search_lag_s=60.0)
    ids = bought(provider, 3)
    reads = Requests(sandbox, "braket.get")
    assert {look.phase for look in provider.poll(ids).values()} == {Phase.DONE}
    assert reads.new() == 3


def test_clock_that_is_wrong_costs_requests_once(provider: BraketProvider, sandbox: Sandbox) -> None:
    sandbox.admin.clock("frozen")
    sandbox.admin.advance(3600)  # the vendor's clock is an hour ahead of ours
    ids = bought(provider, 150)
    requests = Requests(sandbox)
    assert set(provider.poll(ids)) == set(ids)
    assert requests.new() <= 1 + len(ids) // BY_ARN
    assert set(provider.poll(ids)) == set(ids)
    assert requests.new() == 2


def test_regions_are_read_side_by_side(provider: BraketProvider, sandbox: Sandbox) -> None:
    ids = bought(provider, 3) + bought(provider, 3, GARNET, "north")
    requests = Requests(sandbox)
    assert set(provider.poll(ids)) == set(ids)
    assert requests.new() == 2


def test_failed_task_costs_one_read_more_for_its_reason(provider: BraketProvider, sandbox: Sandbox) -> None:
    sandbox.admin.fault("fail_job", "braket.submit", message="the laser went off")
    first, second = bought(provider, 2)
    searches, reads = Requests(sandbox), Requests(sandbox, "braket.get")
    looks = provider.poll([first, second])
    assert "laser" in (looks[first].error_message or "")
    assert looks[second].phase is Phase.DONE
    assert (searches.new(), reads.new()) == (1, 1)


def test_cancelling_is_not_the_end(provider: BraketProvider, sandbox: Sandbox) -> None:
    sandbox.admin.switches("braket", cancelling_reads=2)
    sandbox.admin.clock("frozen")
    (arn,) = bought(provider, 1)
    provider.cancel(arn)
    looks = [provider.poll([arn])[arn] for _ in range(3)]
    assert [look.word for look in looks] == ["CANCELLING", "CANCELLING", "CANCELLED"]
    assert [look.phase for look in looks] == [Phase.RUNNING, Phase.RUNNING, Phase.CANCELLED]


def test_result_that_lags_behind_its_status_is_read_later(provider: BraketProvider, sandbox: Sandbox) -> None:
    sandbox.admin.switches("braket", result_lag_s=60.0)
    (arn,) = bought(provider, 1)
    assert provider.poll([arn])[arn].phase is Phase.DONE
    with pytest.raises(Ambiguous, match="not in S3 yet"):
        read_result(provider, arn, spec(), key_of("poll", 0))
    sandbox.admin.advance(61)
    assert read_result(provider, arn, spec(), key_of("poll", 0)).items[0].counts


def test_hard_polling_under_the_documented_quotas_is_never_throttled(sandbox: Sandbox) -> None:
    sandbox.admin.clock("frozen")
    keys = {"aws_access_key_id": "A", "aws_secret_access_key": "x", "region": "us-east-1", "s3_bucket": BUCKET}
    provider = providers.connect("braket", keys | {"endpoint_url": sandbox.url, "keeps_quotas": True}, timeout_s=5)
    sandbox.admin.switches("braket", quotas=True)
    ids = [send_job(provider, spec(), key_of("quota", i)).vendor_id for i in range(20)]
    began = time.monotonic()
    for _ in range(28):
        provider.poll(ids)
    spent_s = time.monotonic() - began
    counts = sandbox.admin.counts()["statuses"]
    assert not [name for name in counts if name.endswith(" 429")]
    rate, burst = QUOTAS["SearchQuantumTasks"]
    assert counts[f"{SEARCH} 200"] == 28 <= burst * 0.5 + rate * spent_s


def test_pacer_lets_a_burst_pass_and_then_keeps_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    pacer = Pacer(rate_per_s=4, burst=3)
    waits = [pacer.wait_s() for _ in range(7)]
    assert waits[:3] == [0.0, 0.0, 0.0]
    assert waits[3:] == [0.25, 0.5, 0.75, 1.0]


# -- places in the queue -------------------------------------------------------------------------------------------


def test_queued_task_has_its_place_and_the_time_it_was_heard(provider: BraketProvider, sandbox: Sandbox) -> None:
    sandbox.admin.clock("frozen")
    ids = bought(provider, 3)
    looks = provider.poll(ids)
    assert [looks[arn].queue_position for arn in ids] == [1, 2, 3]
    assert all(" UTC" in (looks[arn].queue_note or "") for arn in ids)


def test_places_of_a_thousand_tasks_cost_a_handful_of_requests(provider: BraketProvider, sandbox: Sandbox) -> None:
    sandbox.admin.clock("frozen")
    ids = bought(provider, 1000)
    searches, reads = Requests(sandbox), Requests(sandbox, "braket.get")
    for _ in range(3):
        looks = provider.poll(ids)
    assert (searches.new(), reads.new()) == (3 * 1000 // PAGE, queue.ASKED)
    placed = [look for look in looks.values() if look.queue_position is not None]
    assert len(placed) == queue.ASKED
    assert {look.queue_note for look in looks.values() if look.queue_position is None} == {queue.NOT_ASKED}


def test_place_is_asked_for_again_in_turn_and_never_more_often_than_the_window_allows() -> None:
    asked: list[str] = []
    now = [100.0]

    def get(arn: str) -> Observation:
        asked.append(arn)
        return Observation(Phase.QUEUED, "QUEUED", queue_position=len(asked))

    places = queue.Places(get, clock=lambda: now[0])
    looks = {f"task {i}": Observation(Phase.QUEUED, "QUEUED") for i in range(7)}
    for moment in (100.0, 110.0, 129.9):
        now[0] = moment
        places.added(looks)
    assert asked == [f"task {i}" for i in range(5)]
    now[0] = 130.0
    assert [look.queue_position for look in places.added(looks).values()] == [8, 9, 10, 4, 5, 6, 7]
    assert asked[5:] == ["task 5", "task 6", "task 0", "task 1", "task 2"]


def test_task_that_runs_has_no_place_and_costs_no_request(provider: BraketProvider, sandbox: Sandbox) -> None:
    ids = bought(provider, 3)
    reads = Requests(sandbox, "braket.get")
    looks = provider.poll(ids)
    assert reads.new() == 0
    assert {(look.queue_position, look.queue_note) for look in looks.values()} == {(None, None)}


def test_place_that_cannot_be_read_spoils_no_poll(provider: BraketProvider, sandbox: Sandbox) -> None:
    sandbox.admin.clock("frozen")
    ids = bought(provider, 2)
    sandbox.admin.fault("status", "braket.get", status=429, times=None)
    looks = provider.poll(ids)
    assert {(look.phase, look.queue_note) for look in looks.values()} == {(Phase.QUEUED, queue.NOT_ASKED)}
