"""Changing labels: ledger always, vendor where it can be, the key never lost, whoever else changes or dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from qflows.core.client import Client
from qflows.core.scope import Scope
from qflows.errors import ProgramRejected, ProviderError, Refused
from qflows.ledger import intents
from qflows.model import Job
from qflows.sandbox import Sandbox

TAGGABLE = ("ibm", "braket")
PUT = {"ibm": "ibm.tags", "braket": "braket.tag"}
Buy = Callable[..., Job]


def held(core: Client, job: Job) -> set[str]:
    """Labels at the vendor, without ours, as `name=value`."""
    provider: Any = core.provider(job.provider)
    if job.provider == "ibm":
        tags = provider._tags_of(job.vendor_id)
        assert {"qflows", f"qflows:{job.key}"} <= set(tags)
        return set(tags) - {"qflows", f"qflows:{job.key}"}
    tags = provider._tags_of(job.vendor_id)
    assert tags["qflows:key"] == job.key
    return {f"{k.removeprefix('qflows:')}={v}" for k, v in tags.items() if k != "qflows:key"}


def found_by_key(core: Client, job: Job) -> list[str]:
    provider = core.provider(job.provider)
    since = datetime.now(UTC) - timedelta(minutes=5)
    hits = provider.find_submitted([job.key], since=since, device_ids={job.device_id})
    return [hit.vendor_id for hit in hits.get(job.key, ())]


@pytest.mark.parametrize("vendor", TAGGABLE)
def test_tags_and_name_change_in_the_ledger_and_at_the_vendor(core: Client, bought: Buy, vendor: str) -> None:
    job = bought(vendor)
    assert held(core, job) == {"name=first", "study=a", "shift=night"}
    changed = core.tag(job.key, {"study": "b", "beam": "2"}, title="second", remove=["shift"])
    assert (changed.job.name, dict(changed.job.tags)) == ("second", {"study": "b", "beam": "2"})
    assert held(core, job) == {"name=second", "study=b", "beam=2"}
    assert changed.vendor_tags is not None
    assert {"study=b", "beam=2"} <= set(changed.vendor_tags)
    assert found_by_key(core, job) == [job.vendor_id]
    assert core.find(job.key).tags == {"study": "b", "beam": "2"}


@pytest.mark.parametrize("vendor", ["ionq", "qbraid"])
def test_where_the_vendor_cannot_the_ledger_changes_and_the_answer_says_so(
    core: Client, sandbox: Sandbox, bought: Buy, vendor: str
) -> None:
    job = bought(vendor)
    before = sum(sandbox.admin.counts()["requests"].values())
    changed = core.tag(job.key, {"study": "b"})
    assert changed.job.tags == {"study": "b", "shift": "night"}
    assert changed.vendor_tags is None
    assert "as they were submitted" in changed.note
    assert sum(sandbox.admin.counts()["requests"].values()) == before


@pytest.mark.parametrize("vendor", TAGGABLE)
def test_a_second_equal_change_writes_nothing(core: Client, sandbox: Sandbox, bought: Buy, vendor: str) -> None:
    job = bought(vendor)
    core.tag(job.key, {"study": "b"})
    writes = sandbox.admin.requests(PUT[vendor])
    assert writes == 1
    core.tag(job.key, {"study": "b"})
    assert sandbox.admin.requests(PUT[vendor]) == writes


@pytest.mark.parametrize("vendor", TAGGABLE)
def test_tags_that_others_put_there_stay(core: Client, bought: Buy, vendor: str) -> None:
    job = bought(vendor)
    provider: Any = core.provider(vendor)
    if vendor == "ibm":
        theirs = [*provider._tags_of(job.vendor_id), "theirs", "studying=x"]
        provider._runtime.read("", lambda client: client.update_tags(job.vendor_id, theirs))
    else:
        provider._aws.call(
            "braket", "us-east-1", "TagResource", resourceArn=job.vendor_id, tags={"theirs": "", "studying": "x"}
        )
    core.tag(job.key, {"study": "b"}, remove=["shift"])
    assert {tag.rstrip("=") for tag in held(core, job)} == {"name=first", "study=b", "theirs", "studying=x"}


def test_a_key_tag_that_somebody_erased_is_put_back(core: Client, bought: Buy) -> None:
    job = bought("ibm")
    provider: Any = core.provider("ibm")
    provider._runtime.read("", lambda client: client.update_tags(job.vendor_id, ["theirs"]))
    assert found_by_key(core, job) == []
    core.tag(job.key, {"study": "b"})
    assert found_by_key(core, job) == [job.vendor_id]


TOO_MUCH = {
    "characters": ({"long": "x" * 82}, "86"),
    "number": ({f"t{i}": "1" for i in range(5)}, "Remove 2"),
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_beyond_ibms_limits_nothing_is_sent_or_written(core: Client, sandbox: Sandbox, bought: Buy, what: str) -> None:
    job = bought("ibm")
    tags, said = TOO_MUCH[what]
    before = sum(sandbox.admin.counts()["requests"].values())
    with pytest.raises(ProgramRejected, match=said):
        core.tag(job.key, tags)
    assert sum(sandbox.admin.counts()["requests"].values()) == before
    assert core.find(job.key).tags == job.tags
    alone = core.tag(job.key, tags, at_vendor=False)
    assert alone.job.tags == {**job.tags, **tags}


def test_exactly_ibms_limits_are_taken(core: Client, bought: Buy) -> None:
    job = bought("ibm")
    changed = core.tag(job.key, {"a": "x" * 84, "b": "1", "c": "2"})
    assert len(changed.vendor_tags or ()) == 8


def test_tags_of_others_that_leave_no_room_are_a_refusal_and_nothing_is_sent(
    core: Client, sandbox: Sandbox, bought: Buy
) -> None:
    job = bought("ibm")
    provider: Any = core.provider("ibm")
    theirs = [*provider._tags_of(job.vendor_id), "x", "y", "z"]
    provider._runtime.read("", lambda client: client.update_tags(job.vendor_id, theirs))
    writes = sandbox.admin.requests("ibm.tags")
    with pytest.raises(Refused, match="3 tags set by others"):
        core.tag(job.key, {"beam": "2"})
    assert sandbox.admin.requests("ibm.tags") == writes
    assert core.tag(job.key, remove=["shift"]).vendor_tags is not None


BAD = [
    {"a=b": "c"},
    {"name": "x"},
    {"qflows:key": "x"},
    {"": "x"},
    {"a": "two\nlines"},
    {"a": "x" * 257},
    {f"t{i}": "" for i in range(51)},
]


@pytest.mark.parametrize("tags", BAD, ids=lambda tags: repr(next(iter(tags)))[:12])
def test_tags_that_no_ledger_should_hold_are_refused(core: Client, bought: Buy, tags: dict[str, str]) -> None:
    job = bought("ionq")
    with pytest.raises(ProgramRejected):
        core.tag(job.key, tags)
    assert core.find(job.key).tags == job.tags


def test_two_at_once_end_with_both_changes_at_the_vendor(core: Client, sandbox: Sandbox, bought: Buy) -> None:
    job = bought("ibm")
    sandbox.admin.fault("hold", "ibm.tags", when="before")
    slow = threading.Thread(target=lambda: core.tag(job.key, {"one": "1"}))
    slow.start()
    sandbox.admin.wait_held()
    core.tag(job.key, {"two": "2"})
    assert "two=2" in held(core, job)
    sandbox.admin.release_held()  # the older list arrives last
    slow.join(20)
    assert held(core, job) == {"name=first", "study=a", "shift=night", "one=1", "two=2"}
    assert sandbox.admin.requests("ibm.tags") == 3
    assert core.find(job.key).tags == {"study": "a", "shift": "night", "one": "1", "two": "2"}


@pytest.mark.parametrize("vendor", TAGGABLE)
@pytest.mark.parametrize(
    ("kind", "members"),
    [("drop_before", {}), ("drop_after", {}), ("status", {"status": 502, "accepted": True}), ("truncate", {})],
)
def test_an_answer_that_is_lost_leaves_the_key_and_the_same_call_mends_it(
    core: Client, sandbox: Sandbox, bought: Buy, vendor: str, kind: str, members: dict[str, Any]
) -> None:
    job = bought(vendor)
    sandbox.admin.fault(kind, PUT[vendor], **members)
    try:
        core.tag(job.key, {"study": "b"}, remove=["shift"])
    except ProviderError:
        pass  # a body that nobody reads may be cut short without anybody noticing
    assert found_by_key(core, job) == [job.vendor_id]
    assert core.find(job.key).tags == {"study": "b"}
    assert core.tag(job.key, {"study": "b"}, remove=["shift"]).vendor_tags is not None
    assert held(core, job) == {"name=first", "study=b"}


_OWNER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from qflows.core.client import Client
    from qflows.settings import Settings
    Client(Settings(home=Path(sys.argv[1]))).tag(sys.argv[2], {"study": "b"}, remove=["shift"])
    """
)


@pytest.mark.slow(reason="a process is killed and another takes over")
@pytest.mark.parametrize(
    ("vendor", "when", "verdict"),
    [("ibm", "before", "drop"), ("ibm", "after", "proceed"), ("braket", "before", "proceed")],
)
def test_a_process_killed_while_it_changes_tags_leaves_the_key_and_the_next_call_mends_it(
    core: Client, sandbox: Sandbox, bought: Buy, tmp_path: Path, vendor: str, when: str, verdict: str
) -> None:
    job = bought(vendor)
    sandbox.admin.fault("hold", PUT[vendor], when=when)
    child = subprocess.Popen([sys.executable, "-c", _OWNER, str(tmp_path), job.key], env={**os.environ, **sandbox.env})
    try:
        sandbox.admin.wait_until(lambda: bool(sandbox.admin.held()) or child.poll() is not None, timeout_s=90)
        assert sandbox.admin.held(), "the child ended before its request was on the wire"
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    sandbox.admin.release_held(verdict=verdict)
    assert found_by_key(core, job) == [job.vendor_id]
    assert core.find(job.key).tags == {"study": "b"}
    core.tag(job.key, title="after the crash")  # another change, which does not name what went
    assert held(core, job) == {"name=after the crash", "study=b"}


def test_a_job_that_was_not_sent_yet_is_sent_with_its_new_labels(core: Client, specs: Callable[..., Any]) -> None:
    made = core.intents(specs("ibm"), device="ibm-sandbox", scope=Scope("r", "a", "t"))
    [job] = intents.prepare(core.ledger, made)
    core.submitter.remember(job.key, made[0].spec)  # as in a process that planned it
    changed = core.tag(job.key, {"study": "b"}, title="renamed")
    assert changed.vendor_tags is None
    assert "not at ibm yet" in changed.note
    core.submitter.send(core.provider("ibm"), [core.find(job.key)])
    assert held(core, core.find(job.key)) == {"name=renamed", "study=b", "shift=night"}


def test_tags_of_a_finished_job_change_too(core: Client, sandbox: Sandbox, bought: Buy) -> None:
    job = bought("ibm")
    sandbox.admin.release()
    core.wait([job.key], timeout=20)
    core.tag(job.key, {"study": "published"})
    assert "study=published" in held(core, job)
