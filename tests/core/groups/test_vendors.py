"""One group over every vendor, killed and taken up by another process; and qBraid's own groups as mirrors."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest
from group_desk import BELL, RUN, buy, group
from typer.testing import CliRunner

import qflows
from qflows.cli.app import app
from qflows.core import ambient
from qflows.core.client import default_client
from qflows.errors import ProgramRejected, ProviderError
from qflows.sandbox import Sandbox
from qflows.states import GroupState

DEVICES = ("ionq-simulator", "braket-sv1", "ibm-sandbox", "qbraid-qir-sv", "local-aer")


def native(g: qflows.Group) -> Any:
    provider: Any = default_client().provider("qbraid")
    return provider.group(g.details()["native_id"])


@pytest.mark.slow(reason="a process is killed and another takes over, on five vendors")
def test_five_vendors_in_one_group_killed_and_taken_up_by_another_process(
    desk: Sandbox, in_another_process: Callable[..., Any]
) -> None:
    killed = in_another_process(
        f"""
        g = group("all vendors").open()
        for device in {DEVICES!r}:
            print(g.id, buy(device, 40).vendor_id, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    assert killed.returncode == -signal.SIGKILL
    id_ = killed.stdout.split()[0]
    g = qflows.attach(id_, qflows.Group)
    g.close()
    found = g.results(timeout=120)  # it loads five vendors
    assert found.unreachable == {}
    assert [job.device for job in found.jobs] == list(DEVICES)
    assert [one.counts.shots for one in found.values()] == [40] * 5
    assert found.state is GroupState.COMPLETED
    assert desk.admin.count_jobs() == 4  # and one here


def test_commands_show_read_and_end_a_group(desk: Sandbox) -> None:
    def call(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, ["groups", *words])
        assert done.exit_code == code, done.output
        return done.output

    desk.admin.clock("frozen")
    with group() as g:
        buy("ionq-simulator")
        buy("local-aer")
        g.on_all_complete("os.path:exists", timeout=0)
    id_ = str(g.id)
    assert json.loads(call("ls", "--json"))[0] | {"opened": ""} == {
        "group": id_[:12], "name": "sweep", "state": "CLOSED", "jobs": "2", "opened": "", "open until": "",
        "callback": "PENDING", "run key": RUN,
    }  # fmt: skip
    assert "sweep" in call("show", id_[:12])
    told = json.loads(call("results", id_[:12], "--timeout", "1", "--json", code=3))
    assert [row["status"] for row in told["members"]] == ["QUEUED", "COMPLETED"]
    assert sum(told["members"][1]["counts"].values()) == 20
    assert "already" in call("close", id_)
    assert "1 cancelled" in call("cancel", id_)
    assert json.loads(call("show", id_, "--json"))["state"] == "CANCELLED"
    assert "CANCELLED" in call("results", id_, code=1)
    assert "no group" in call("show", "f" * 64, code=2)
    assert "PENDING not called: the group was cancelled" in call("callback", id_)


def test_callback_that_failed_is_called_again_by_command(desk: Sandbox) -> None:
    with group() as g:
        pass
    g.on_all_complete("os.path:exists")  # raises: a result is no path
    g.results()
    assert g.details()["callback"]["state"] == "FAILED"
    done = CliRunner().invoke(app, ["groups", "callback", str(g.id), "--again"])
    assert done.exit_code == 2
    assert "failed: TypeError" in done.output


def test_native_group_holds_the_members_of_its_account(desk: Sandbox) -> None:
    with group(native="qbraid-qir-sv", tags={"study": "a"}, max_ttl=600) as g:
        mine = [buy("qbraid-qir-sv"), buy("qbraid-bell-1")]
        buy("ionq-simulator")
        assert (native(g).state, native(g).max_ttl_s, native(g).tags["study"]) == ("OPEN", 600.0, "a")
    provider: Any = default_client().provider("qbraid")
    assert [member.key for member in provider.group_jobs(native(g).group_id)] == [job.key for job in mine]
    assert g.results(timeout=20).state is GroupState.COMPLETED
    assert native(g).state == "COMPLETED"


def test_parts_of_a_batch_are_enrolled_in_the_native_group(desk: Sandbox) -> None:
    with group(native="qbraid-qir-sv") as g:
        qflows.batch([BELL, BELL, BELL], device="qbraid-qir-sv", shots=10, as_batch=False, run_key=RUN)
        assert native(g).n_jobs == 3
    assert g.results(timeout=20).state is GroupState.COMPLETED


@pytest.mark.parametrize(
    "fault", [{"kind": "drop_after"}, {"kind": "status", "status": 502, "accepted": True}], ids=lambda f: f["kind"]
)
def test_native_group_whose_answer_was_lost_is_found_not_created_twice(desk: Sandbox, fault: dict[str, Any]) -> None:
    desk.admin.fault(route="qbraid.group_create", **fault)
    with group(native="qbraid-qir-sv") as g:
        buy("qbraid-qir-sv")
    assert desk.admin.requests("qbraid.group_create") == 1
    assert g.results(timeout=20).state is GroupState.COMPLETED
    assert native(g).n_jobs == 1


def test_replay_goes_on_in_the_same_native_group(desk: Sandbox, next_attempt: Callable[[], None]) -> None:
    g = group(native="qbraid-qir-sv").open()
    buy("qbraid-qir-sv", 10)
    next_attempt()
    ambient.ACTIVE.set(None)  # as in a process of its own
    again = group(native="qbraid-qir-sv").open()
    buy("qbraid-qir-sv", 10)
    buy("qbraid-qir-sv", 20)
    assert again.details()["native_id"] == g.details()["native_id"]
    assert native(again).n_jobs == 2
    assert desk.admin.requests("qbraid.group_create") == 1
    again.close()


def test_cancel_reaches_the_native_group_once(desk: Sandbox) -> None:
    desk.admin.clock("frozen")
    with group(native="qbraid-qir-sv") as g:
        buy("qbraid-qir-sv")
        g.cancel()
        g.cancel()
    assert desk.admin.requests("qbraid.group_cancel") == 1
    assert native(g).state == "CANCELLED"


def test_vendor_without_groups_is_refused_before_anything_is_bought(desk: Sandbox) -> None:
    with pytest.raises(ProgramRejected, match="has no native groups"):
        group(native="ionq-simulator").open()
    assert ambient.ACTIVE.get() is None


def test_native_group_that_cannot_be_made_now_leaves_nothing_active(desk: Sandbox) -> None:
    desk.admin.fault("drop_before", "qbraid.*", times=None)
    with pytest.raises(ProviderError):
        group(native="qbraid-qir-sv").open()
    desk.admin.clear_faults()
    with group("another") as g:
        g.submit(BELL, device="local-aer", shots=10)
    assert len(g.jobs) == 1


@pytest.mark.parametrize("fault", [{"kind": "drop_before"}, {"kind": "status", "status": 500}])
@pytest.mark.parametrize("native", [None, "qbraid-qir-sv"])
def test_job_that_is_sent_after_its_mirror_closed_goes_without_it(
    desk: Sandbox, fault: dict[str, Any], native: str | None
) -> None:
    """The mirror at qBraid closes with our group; a member whose submission was in doubt is sent only afterwards."""
    desk.admin.fault(route="qbraid.submit", times=1, **fault)
    with group(native=native, ambient=False) as g, g.inside():
        jobs = [buy("qbraid-qir-sv", shots) for shots in (30, 40)]
    assert g.details()["native_id"] is not None
    found = g.results(timeout=30)
    assert [found[job.key].counts.shots for job in jobs] == [30, 40]
    assert desk.admin.count_jobs("qbraid") == 2
    assert desk.admin.requests("qbraid.group_create") == 1
