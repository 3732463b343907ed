"""One deadline for a whole group; whatever happens to a member or a vendor, the others are whole."""

from __future__ import annotations

import time

import pytest
from group_desk import BELL, RUN, buy, group

import qflows
from qflows.errors import GroupClosed, JobCancelled, JobFailed, WaitTimeout
from qflows.ledger.groups import ASKED
from qflows.prefect.tasks import client
from qflows.sandbox import Sandbox
from qflows.states import GroupState


def test_results_wait_for_all_and_each_member_has_its_own(desk: Sandbox) -> None:
    with group() as g:
        ion, qbraid, local = buy("ionq-simulator", 30), buy("qbraid-qir-sv", 40), buy("local-aer", 50)
    found = g.results(timeout=30)
    assert [found[job.key].counts.shots for job in (ion, qbraid, local)] == [30, 40, 50]
    assert list(found) == [ion.key, qbraid.key, local.key]
    assert found.is_complete
    assert found.state is GroupState.COMPLETED


def test_empty_group_is_fine(desk: Sandbox) -> None:
    with group() as g:
        pass
    found = g.results()
    assert (len(found), found.results, found.group_id) == (0, {}, g.id)
    assert "0 successful" in repr(found)


def test_results_keyed_by_job(desk: Sandbox) -> None:
    with group() as g:
        first, second = buy("ionq-simulator", 10), buy("ionq-simulator", 30)
    found = g.results()
    vendor_id = found.jobs[1].vendor_id
    assert vendor_id is not None
    for name in (second.key, second, vendor_id, 1, -1):
        assert found[name].counts.shots == 30
    assert found[first.key].job.key == first.key


def test_result_container(desk: Sandbox) -> None:
    desk.admin.fault("fail_job", "ionq.submit", message="the first", skip=0)
    with group() as g:
        bad, good = buy("ionq-simulator", 10), buy("ionq-simulator", 30)
    found = g.results()
    assert list(found) == [bad.key, good.key]
    assert dict(found.items()) == found.results
    assert len(found) == 2
    assert good.key in found
    assert list(found.successful()) == [good.key]
    assert list(found.failed()) == [bad.key]
    assert found.pending() == {}
    assert [one.success for one in found.values()] == [False, True]
    assert repr(found) == "<GroupResult sweep FAILED: 1 successful, 1 failed, 0 pending>"
    with pytest.raises(KeyError, match="not a member"):
        found["0" * 64]


def test_each_members_own_failure_message(desk: Sandbox) -> None:
    for n, text in enumerate(("first reason", "second reason")):
        desk.admin.fault("fail_job", "ionq.submit", message=text, skip=n)
        desk.admin.fault("fail_job", "qbraid.submit", message=f"{text} there", skip=n)
    with group() as g:
        for device in ("ionq-simulator", "qbraid-qir-sv") * 2:
            buy(device)
    found = g.results()
    reasons = [str(found[i].error) for i in range(4)]
    assert ["first reason" in reasons[0], "first reason there" in reasons[1]] == [True, True]
    assert ["second reason" in reasons[2], "second reason there" in reasons[3]] == [True, True]
    with pytest.raises(JobFailed, match="second reason"):
        _ = found[2].counts
    assert "first reason" in g.details()["members"][0]["note"]


def test_all_failed_batch_has_one_outcome_per_circuit(desk: Sandbox) -> None:
    desk.admin.fault("fail_job", "qbraid.submit", message="nothing ran")
    with group() as g:
        made = qflows.batch([BELL] * 3, device="qbraid-bell-1", shots=20, run_key=RUN)
    found = g.results()
    assert len(found.failed()) == 1
    errors = made.stored().errors
    assert sorted(errors) == [0, 1, 2]
    assert all("nothing ran" in error.message for error in errors.values())


def failing_batch(desk: Sandbox) -> qflows.Batch:
    """Two jobs, of which the second failed."""
    client().submitter.workers = 1  # so that the second part is the one that is sent second
    desk.admin.fault("fail_job", "ionq.submit", skip=1, code="InternalError", message="boom")
    made = qflows.batch([BELL] * 4, device="ionq-simulator", shots=20, max_circuits=2, run_key=RUN)
    made.wait(30)
    return made


def test_re_run_of_a_batch_inside_its_group_is_a_member(desk: Sandbox) -> None:
    with group() as g:
        made = failing_batch(desk)
        assert made.rerun_failed() == [2, 3]
    assert [job.key for job in g.jobs] == [part.job_key for part in made.parts]
    found = g.results(timeout=30)
    assert [len(found.successful()), len(found.failed())] == [2, 1]
    assert found.state is GroupState.FAILED  # the job that failed stays a member


def test_re_run_from_elsewhere_joins_the_batch_s_group_while_it_is_open(desk: Sandbox) -> None:
    g = group(ambient=False)
    with g:
        with g.inside():
            made = failing_batch(desk)
        again = qflows.attach(made.id, qflows.Batch)
        assert again.rerun_failed() == [2, 3]
        assert [job.key for job in g.jobs] == [part.job_key for part in made.parts]


def test_re_run_inside_another_group_is_a_member_there(desk: Sandbox) -> None:
    made = failing_batch(desk)
    with group() as g:
        made.rerun_failed()
    assert [job.key for job in g.jobs] == [made.parts[-1].job_key]


def test_re_run_after_the_group_was_closed_is_bought_and_no_member(desk: Sandbox) -> None:
    with group() as g:
        made = failing_batch(desk)
    assert made.rerun_failed() == [2, 3]
    assert len(g.jobs) == 2
    assert made.result(timeout=30).success


def test_re_run_inside_a_group_that_was_closed_meanwhile_buys_nothing(desk: Sandbox) -> None:
    with group() as g:
        made = failing_batch(desk)
        client().group(g.id or "").close(ASKED)  # as its time to live or another process would
        with pytest.raises(GroupClosed):
            made.rerun_failed()
    assert desk.admin.count_jobs("ionq") == 2


def test_one_deadline_for_all_keeps_what_is_there_and_names_the_rest(desk: Sandbox) -> None:
    desk.admin.clock("frozen")
    with group() as g:
        waiting = [buy(device) for device in ("ionq-simulator", "qbraid-qir-sv") * 3]
        here = buy("local-aer", 50)
    started = time.monotonic()
    found = g.results(timeout=1.0)
    assert time.monotonic() - started < 6.0  # a second for all, not one for each of six
    assert found[here.key].counts.shots == 50
    assert sorted(found.pending()) == sorted(job.key for job in waiting)
    with pytest.raises(KeyError, match="pending"):
        _ = found[waiting[0].key]
    desk.admin.release()
    assert g.results(timeout=30).is_complete


def test_all_members_of_a_vendor_are_polled_together(desk: Sandbox) -> None:
    desk.admin.clock("frozen")
    with group() as g:
        for _ in range(20):
            buy("qbraid-qir-sv")
    before = desk.admin.counts()["requests"]
    g.results(timeout=0.3)
    after = desk.admin.counts()["requests"]
    assert after["qbraid.list"] > before.get("qbraid.list", 0)
    # by its id a job is read as well, because lists may show what was, but not at each look at the list
    rounds = after["qbraid.list"] - before.get("qbraid.list", 0)
    assert after.get("qbraid.get", 0) - before.get("qbraid.get", 0) <= 20 * max(rounds, 2)


def test_a_deadline_of_zero_looks_once(desk: Sandbox) -> None:
    desk.admin.clock("frozen")
    with group() as g:
        buy("ionq-simulator")
    before = sum(desk.admin.counts()["requests"].values())
    assert len(g.results(timeout=0).pending()) == 1
    assert sum(desk.admin.counts()["requests"].values()) == before + 1


@pytest.mark.parametrize("trouble", ["refuses", "hangs", "is_down"])
def test_one_vendor_in_trouble_leaves_the_others_whole(desk: Sandbox, trouble: str) -> None:
    with group() as g:
        lost = [buy("ionq-simulator") for _ in range(2)]
        fine = [buy("qbraid-qir-sv"), buy("local-aer")]
    how = {"refuses": {"kind": "status", "status": 401}, "hangs": {"kind": "hold"}, "is_down": {"kind": "drop_before"}}
    desk.admin.fault(route="ionq.*", times=None, **how[trouble])
    started = time.monotonic()
    found = g.results(timeout=3)
    assert time.monotonic() - started < client().settings.http_timeout_s  # a request that hangs is left to itself
    assert sorted(found.successful()) == sorted(job.key for job in fine)
    assert sorted(found.pending()) == sorted(job.key for job in lost)
    if trouble == "refuses":
        assert list(found.unreachable) == ["ionq"]
    desk.admin.clear_faults()
    desk.admin.release_held(verdict="drop")
    assert g.results(timeout=30).state is GroupState.COMPLETED


def test_missing_credentials_of_one_vendor_leave_the_others_whole(
    desk: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.admin.clock("frozen")
    with group() as g:
        buy("ionq-simulator")
        buy("qbraid-qir-sv")
    desk.admin.release()
    monkeypatch.delenv("IONQ_API_KEY")
    found = qflows.attach(str(g.id), qflows.Group).results(timeout=10)
    assert [job.provider for job in found.pending().values()] == ["ionq"]
    assert [one.job.provider for one in found.values()] == ["qbraid"]
    assert "ionq" in found.unreachable


def test_withheld_results_end_the_wait(desk: Sandbox) -> None:
    desk.admin.switches("qbraid", finished_as="HOLD")
    with group() as g:
        buy("local-aer")
        held = buy("qbraid-qir-sv")
    started = time.monotonic()
    found = g.results(timeout=30)
    assert time.monotonic() - started < 30  # the whole of its patience
    assert list(found.pending()) == [held.key]
    assert "withholds" in found.unreachable["qbraid"]


def test_cost_is_summed_by_unit_and_estimates_stay_apart(desk: Sandbox) -> None:
    with group() as g:
        for _ in range(2):
            buy("qbraid-qir-sv")
        buy("local-aer")
    found = g.results()
    units = [(cost.unit, cost.is_estimate) for cost in found.costs]
    assert len(units) == len(set(units))
    credits = [cost.amount for cost in found.costs if cost.unit == "credits" and not cost.is_estimate]
    assert credits == [
        pytest.approx(sum(job.cost.amount for job in found.jobs if job.provider == "qbraid" and job.cost))
    ]


def test_cancel_verifies_every_live_member_and_leaves_finished_ones(desk: Sandbox) -> None:
    with group() as g:
        done = buy("ionq-simulator")
        qflows.wait([done])
        desk.admin.clock("frozen")
        live = [buy("ionq-simulator"), buy("qbraid-qir-sv")]
        after = {job.key: job.status.value for job in g.cancel()}
    assert after == {done.key: "COMPLETED"} | {job.key: "CANCELLED" for job in live}
    found = g.results(timeout=0)
    assert {type(error) for error in found.failed().values()} == {JobCancelled}


def test_cancel_with_a_vendor_out_of_reach_cancels_the_others_and_names_what_is_left(desk: Sandbox) -> None:
    desk.admin.clock("frozen")
    with group() as g:
        ion, qbraid = buy("ionq-simulator"), buy("qbraid-qir-sv")
    desk.admin.fault("drop_before", "ionq.*", times=None)
    with pytest.raises(WaitTimeout, match="not confirmed as cancelled") as caught:
        g.cancel(timeout=1)
    assert caught.value.pending == (ion.key,)
    assert {job.key: job.status.value for job in g.jobs}[qbraid.key] == "CANCELLED"
    desk.admin.clear_faults()
    assert {job.status.value for job in g.cancel()} == {"CANCELLED"}
    assert g.status() is GroupState.CANCELLED


def test_member_with_observables_has_its_expectation_values(desk: Sandbox) -> None:
    circuit = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; h q[0]; cx q[0],q[1];'
    with group() as g:
        qflows.run(circuit, device="local-aer", shots=200, observables=["XX", "ZZ"], run_key=RUN)
    (member,) = g.results().successful().values()
    assert [one.value for one in member.expectations] == [1.0, 1.0]


def test_parts_of_an_expectation_value_are_members_with_counts(desk: Sandbox) -> None:
    circuit = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; h q[0]; cx q[0],q[1];'
    with group() as g:
        found = qflows.run(circuit, device="qbraid-sv1", shots=200, observables=["XX", "ZZ"], run_key=RUN)
    assert [one.value for one in found.expectations] == [1.0, 1.0]
    members = g.results()
    assert [one.counts.shots for one in members.values()] == [200, 200]
