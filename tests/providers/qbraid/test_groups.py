"""qBraid's native groups through the adapter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from qflows.errors import NotSent, ProgramRejected, Refused
from qflows.model import Cost
from qflows.protocol import JobSpec, Phase
from qflows.sandbox import Sandbox
from qflows.testing import bell, key_of, send_job, wait

SIMULATOR, OTHER = "aws:aws:sim:sv1", "qbraid:equal1:sim:bell-1"
SPEC = JobSpec("qbraid", SIMULATOR, (bell(),), 20)


def enrolled(provider: Any, group_id: str, n: int = 2) -> list[str]:
    specs = [replace(SPEC, session_id=group_id, device_id=(SIMULATOR, OTHER)[i % 2]) for i in range(n)]
    return [send_job(provider, spec, key_of("member", i)).vendor_id for i, spec in enumerate(specs)]


def test_group_holds_jobs_of_several_devices_in_one_request(provider: Any, sandbox: Sandbox) -> None:
    group = provider.create_group(key_of("g"), name="sweep", tags={"study": "a"}, max_ttl_s=600)
    assert (group.is_open, group.name, group.max_ttl_s, group.key) == (True, "sweep", 600.0, key_of("g"))
    assert group.tags["study"] == "a"
    ids = enrolled(provider, group.group_id, 3)
    wait(provider, ids)
    before = sandbox.admin.requests("qbraid.group_jobs")
    members = provider.group_jobs(group.group_id)
    assert sandbox.admin.requests("qbraid.group_jobs") == before + 1
    assert [member.vendor_id for member in members] == ids
    assert [member.key for member in members] == [key_of("member", i) for i in range(3)]
    assert [member.device_id for member in members] == [SIMULATOR, OTHER, SIMULATOR]
    assert {member.look.phase for member in members} == {Phase.DONE}


def test_closed_group_runs_on_takes_no_more_and_sums_its_cost(provider: Any, sandbox: Sandbox) -> None:
    sandbox.admin.clock("frozen")
    group_id = provider.create_group(key_of("g")).group_id
    ids = enrolled(provider, group_id)
    provider.close_group(group_id)
    assert provider.group(group_id).state == "CLOSED"
    with pytest.raises(Refused, match="open a new one") as caught:
        enrolled(provider, group_id, 1)
    assert caught.value.vendor_code == "GROUP_NOT_OPEN"
    sandbox.admin.release()
    assert {look.phase for look in wait(provider, ids).values()} == {Phase.DONE}
    info = provider.group(group_id)
    assert (info.state, info.n_jobs, info.n_completed) == ("COMPLETED", 2, 2)
    assert (info.estimated_cost, info.cost) == (Cost(0.0125, "credits", True), Cost(0.00625, "credits", False))


@pytest.mark.parametrize("twice", ["harmless", "refuse"])
def test_closing_and_cancelling_what_is_over_is_no_error(provider: Any, sandbox: Sandbox, twice: str) -> None:
    sandbox.admin.switches("qbraid", close_twice=twice)
    group_id = provider.create_group(key_of("g")).group_id
    wait(provider, enrolled(provider, group_id))
    for _ in range(2):
        provider.close_group(group_id)
        provider.cancel_group(group_id)
    assert provider.group(group_id).state == "COMPLETED"


def test_cancelled_group_cancels_its_unfinished_jobs(provider: Any, sandbox: Sandbox) -> None:
    sandbox.admin.clock("frozen")
    group_id = provider.create_group(key_of("g")).group_id
    ids = enrolled(provider, group_id)
    provider.cancel_group(group_id)
    assert {look.phase for look in wait(provider, ids).values()} == {Phase.CANCELLED}
    info = provider.group(group_id)
    assert (info.state, info.n_cancelled, info.is_open) == ("CANCELLED", 2, False)


def test_each_member_has_its_own_failure_message(provider: Any, sandbox: Sandbox) -> None:
    group_id = provider.create_group(key_of("g")).group_id
    for text in ("first", "second"):
        sandbox.admin.fault("fail_job", "qbraid.submit", message=text)
        wait(provider, enrolled(provider, group_id, 1))
    assert [member.look.error_message for member in provider.group_jobs(group_id)] == ["first", "second"]
    provider.close_group(group_id)
    assert provider.group(group_id).state == "FAILED"


def test_group_past_its_time_to_live_refuses_jobs_and_is_seen_closed(provider: Any, sandbox: Sandbox) -> None:
    group_id = provider.create_group(key_of("g"), max_ttl_s=60).group_id
    sandbox.admin.advance(61)
    with pytest.raises(Refused, match="time to live"):
        enrolled(provider, group_id, 1)
    assert provider.group(group_id).state == "CLOSED"


@pytest.mark.parametrize("form", ["list", "null"])
def test_empty_group_has_no_jobs(provider: Any, sandbox: Sandbox, form: str) -> None:
    sandbox.admin.switches("qbraid", group_no_jobs=form)
    assert list(provider.group_jobs(provider.create_group(key_of("g")).group_id)) == []


@pytest.mark.parametrize("ttl_s", [0, -1, 86_401])
def test_time_to_live_out_of_bounds_is_refused_before_anything_is_sent(provider: Any, sandbox: Sandbox, ttl_s: int):
    with pytest.raises(ProgramRejected):
        provider.create_group(key_of("g"), max_ttl_s=ttl_s)
    assert sandbox.admin.journal() == []


def test_groups_are_found_by_key_oldest_first_beyond_a_page(provider: Any) -> None:
    from datetime import UTC, datetime, timedelta

    twins = [provider.create_group(key_of("twin")).group_id for _ in range(2)]
    for i in range(101):
        provider.create_group(key_of("other", i))
    since = datetime.now(UTC) - timedelta(minutes=5)
    found = provider.find_groups([key_of("twin"), key_of("stranger")], since=since)
    assert {key: [hit.vendor_id for hit in hits] for key, hits in found.items()} == {key_of("twin"): twins}


def test_unknown_group_is_refused_and_one_out_of_reach_not_sent(
    provider: Any, connected_to: Any, closed_port: int
) -> None:
    for call in (provider.group, provider.group_jobs, provider.close_group, provider.cancel_group):
        with pytest.raises(Refused):
            call("qbraid:group:none")
    with pytest.raises(NotSent):
        connected_to(f"http://127.0.0.1:{closed_port}").create_group(key_of("g"))
