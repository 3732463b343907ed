"""Groups in the ledger, on both databases: nobody becomes a member after the end, whatever races."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from qflows.errors import GroupClosed, UnknownJob
from qflows.ledger import Ledger, callbacks, groups, outcomes, reads
from qflows.ledger.intents import Intent, Want, prepare
from qflows.programs import Program
from qflows.protocol import JobSpec
from qflows.states import GROUP_TRANSITIONS, GroupState

_BODY = {"schema": "qflows.program/1", "qubits": 1, "clbits": 1, "registers": [["c", [0]]], "phase": 0.0}
PROGRAM = Program.from_text(json.dumps(_BODY | {"ops": [["measure", [], [0], [0]]]}, separators=(",", ":")), name="one")


def opened(ledger: Ledger, id_: str = "g" * 64, **labels: object) -> str:
    values = {"run_key": "r", "name": "n", "tags": {}, "metadata": {}, "max_ttl_s": 3600.0, "caller": None} | labels
    return groups.open_group(ledger, id_, **values).id  # type: ignore[arg-type]


def wanted(n: int, group: str | None) -> list[Intent]:
    spec = JobSpec("ionq", "simulator", (PROGRAM,), 10)
    return [Intent(spec, Want("r", "attempt", f"{group}:{i}", group), "ionq-simulator", "account") for i in range(n)]


def test_members_keep_the_order_of_one_list(ledger: Ledger) -> None:
    id_ = opened(ledger)
    made = prepare(ledger, wanted(5, id_))
    assert [job.key for job in groups.members(ledger, id_)] == [job.key for job in made]


def test_refused_job_leaves_no_trace(ledger: Ledger) -> None:
    id_ = opened(ledger)
    groups.close(ledger, id_, groups.ASKED)
    with pytest.raises(GroupClosed) as caught:
        prepare(ledger, wanted(2, id_))
    assert (caught.value.group_id, caught.value.state) == (id_, "CLOSED")
    assert reads.all_live(ledger) == []
    (again, *_) = prepare(ledger, wanted(1, None))
    assert again.ordinal == 0  # the refused ones took no place among equals


def test_job_of_an_unknown_group_is_refused(ledger: Ledger) -> None:
    with pytest.raises(UnknownJob, match="no group"):
        prepare(ledger, wanted(1, "x" * 64))
    assert reads.all_live(ledger) == []


def test_member_is_found_again_in_a_closed_group(ledger: Ledger) -> None:
    id_ = opened(ledger)
    first = prepare(ledger, wanted(2, id_))
    groups.close(ledger, id_, groups.ASKED)
    assert [job.key for job in prepare(ledger, wanted(2, id_))] == [job.key for job in first]


@pytest.mark.parametrize("end", [groups.close, groups.cancel])
def test_racing_end_and_purchases_leave_no_job_outside(ledger: Ledger, end: Callable[..., bool]) -> None:
    id_ = opened(ledger)
    start = threading.Barrier(9)
    specs = wanted(64, id_)

    def buy(worker: int) -> int:
        start.wait(20)
        for n, intent in enumerate(specs[worker * 8 : worker * 8 + 8]):
            try:
                prepare(ledger, [intent])
            except GroupClosed:
                return n
        return 8

    with ThreadPoolExecutor(9) as pool:
        bought = [pool.submit(buy, worker) for worker in range(8)]
        start.wait(20)
        while len(groups.members(ledger, id_)) < 8:
            assert not all(one.done() for one in bought)
        assert end(ledger, id_, groups.ASKED)
        at_the_end = [job.key for job in groups.members(ledger, id_)]
        n_bought = sum(one.result(30) for one in bought)
    members = [job.key for job in groups.members(ledger, id_)]
    assert members == at_the_end  # nobody slipped in behind the end
    assert 8 <= len(members) == n_bought
    assert sorted(members) == sorted(job.key for job in reads.all_live(ledger))


def test_only_moves_of_the_table_happen(ledger: Ledger) -> None:
    moves = {GroupState.CLOSED: groups.close, GroupState.CANCELLED: groups.cancel}
    for n, before in enumerate((GroupState.OPEN, GroupState.CLOSED, GroupState.CANCELLED)):
        for to, move in moves.items():
            id_ = opened(ledger, f"{n}{to.value}".ljust(64, "0"))
            if before is not GroupState.OPEN:
                moves[before](ledger, id_, groups.ASKED)
            assert move(ledger, id_, groups.ASKED) == (to in GROUP_TRANSITIONS[before])


def test_group_completes_when_its_last_member_is_over_and_not_before(ledger: Ledger) -> None:
    id_ = opened(ledger)
    first, second = prepare(ledger, wanted(2, id_))
    outcomes.request_cancel(ledger, [first.key])
    groups.close(ledger, id_, groups.ASKED)
    assert groups.get(ledger, id_).state is GroupState.CLOSED
    outcomes.request_cancel(ledger, [second.key])
    assert groups.get(ledger, id_).state is GroupState.FAILED


def test_open_group_waits_for_its_closing_though_all_are_over(ledger: Ledger) -> None:
    id_ = opened(ledger)
    outcomes.request_cancel(ledger, [job.key for job in prepare(ledger, wanted(1, id_))])
    assert groups.get(ledger, id_).state is GroupState.OPEN


def test_of_many_claims_on_a_callback_one_wins(ledger: Ledger) -> None:
    id_ = opened(ledger)
    callbacks.register(ledger, id_, "module:function", importable=True)
    assert not callbacks.claim(ledger, id_)  # still open
    groups.close(ledger, id_, groups.ASKED)
    start = threading.Barrier(8)

    def claim() -> bool:
        start.wait(20)
        return callbacks.claim(ledger, id_)

    with ThreadPoolExecutor(8) as pool:
        won = [one.result(30) for one in [pool.submit(claim) for _ in range(8)]]
    assert won.count(True) == 1
    assert not callbacks.register(ledger, id_, "module:another", importable=True)
    callbacks.ended(ledger, id_, None)
    assert not callbacks.allow_again(ledger, id_)


def test_sweeping_refresh_moves_every_group_that_is_due(ledger: Ledger) -> None:
    over = opened(ledger, "0" * 64, max_ttl_s=-1.0)
    alive = opened(ledger, "1" * 64)
    assert groups.refresh(ledger) == [over]
    assert groups.refresh(ledger) == []
    assert [groups.get(ledger, id_).state for id_ in (over, alive)] == [GroupState.CLOSED, GroupState.OPEN]


def test_listing_shows_the_newest_first_and_the_live_ones_alone(ledger: Ledger) -> None:
    ids = [opened(ledger, str(n) * 64) for n in range(3)]
    groups.cancel(ledger, ids[1], groups.ASKED)
    assert [record.id for record in groups.listing(ledger)] == ids[::-1]
    assert [record.id for record in groups.listing(ledger, only_live=True)] == [ids[2], ids[0]]
    prepare(ledger, wanted(2, ids[2]))
    assert groups.sizes(ledger, ids) == {ids[2]: 2}
