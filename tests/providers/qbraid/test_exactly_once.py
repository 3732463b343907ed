"""Every fault of a submission, for qBraid's own client and for qflows; and SIGKILL while the request is on the wire."""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from submission_faults import SETTLE_S, WIRE, faults_of, finish, kill_while_submitting

from qflows import providers
from qflows.core.submit import Submitter
from qflows.errors import Ambiguous
from qflows.ledger import Ledger, claims, reads
from qflows.ledger.intents import Intent, Want
from qflows.protocol import JobSpec
from qflows.sandbox import Sandbox
from qflows.states import JobStatus
from qflows.testing import bell, send_job

SIMULATOR, WITH_BATCHES = "qbraid:qbraid:sim:qir-sv", "qbraid:equal1:sim:bell-1"
SUBMIT, LIST = "qbraid.submit", "qbraid.list"
FAULTS = faults_of(SUBMIT, LIST)
# jobs at the vendor after one submission by qbraid-core 0.6.37 alone, and whether it had an id for its user
OWN_CLIENT: dict[str, tuple[int, bool]] = {
    "none": (1, True),
    "drop before": (0, False),
    "drop after": (1, False),
    "500 before": (1, True),
    "500 after": (2, True),
    "502 after": (2, True),
    "504 after": (2, True),
    "504 always": (4, False),
    "429 before": (0, False),
    "429 after": (1, False),
    "408 after": (1, False),
    "truncated": (1, False),
    "listing lag": (1, False),
}


def connect(sandbox: Sandbox) -> Any:
    return providers.connect("qbraid", {"api_key": "qbr_x", "api_url": f"{sandbox.url}/api/v1"}, timeout_s=5)


def intent(provider: Any, *, n_programs: int = 1) -> Intent:
    device = SIMULATOR if n_programs == 1 else WITH_BATCHES
    spec = JobSpec("qbraid", device, tuple(bell(f"b{i}") for i in range(n_programs)), 50)
    return Intent(spec, Want("run", "attempt", "holder"), "qbraid-simulator", provider.account)


BATCHED = ("drop after", "502 after", "truncated")


@pytest.mark.parametrize(("fault", "n_programs"), [(fault, 1) for fault in FAULTS] + [(fault, 3) for fault in BATCHED])
def test_submission_under_a_fault_leaves_one_job_and_its_counts(
    sandbox: Sandbox, ledger: Ledger, fault: str, n_programs: int
) -> None:
    for scripted in FAULTS[fault]:
        sandbox.admin.fault(**scripted)
    provider = connect(sandbox)
    key = finish(ledger, provider, intent(provider, n_programs=n_programs))
    assert [job["key"] for job in sandbox.admin.jobs("qbraid")] == [key]
    assert sandbox.admin.count_jobs("qbraid") == 1


@pytest.mark.parametrize("fault", OWN_CLIENT)
def test_vendor_client_alone_leaves_as_many_jobs_as_the_table_says(
    sandbox: Sandbox, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QBRAID_CONFIG_FILE", os.devnull)
    runtime = pytest.importorskip("qbraid_core.services.runtime")
    schemas = pytest.importorskip("qbraid_core.services.runtime.schemas")
    from qbraid_core.sessions import QbraidSessionV1

    session = QbraidSessionV1(api_key="qbr_x", base_url=f"{sandbox.url}/api/v1")
    client = runtime.QuantumRuntimeClient(session=session)
    for scripted in FAULTS[fault]:
        sandbox.admin.fault(**scripted)
    qasm = "OPENQASM 3.0;\nqubit[1] q;\nbit[1] c;\nc[0] = measure q[0];\n"
    program = schemas.Program(format="qasm3", data=qasm)
    try:
        has_id = bool(client.create_job(schemas.JobRequest(deviceQrn=SIMULATOR, shots=5, program=program)).jobQrn)
    except runtime.QuantumRuntimeServiceRequestError:
        has_id = False
    assert (sandbox.admin.count_jobs("qbraid"), has_id) == OWN_CLIENT[fault]


# -- a process that dies ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["none", "drop after", "504 always", "listing lag"])
@pytest.mark.parametrize("moment", WIRE)
def test_process_killed_while_its_request_is_on_the_wire_leaves_one_job(
    sandbox: Sandbox, ledger_url: str, moment: str, fault: str
) -> None:

    def submit() -> None:
        provider = connect(sandbox)
        Submitter(Ledger.open(ledger_url)).submit(provider, [intent(provider)])

    kill_while_submitting(sandbox, SUBMIT, moment, submit, FAULTS[fault])
    provider, ledger = connect(sandbox), Ledger.open(ledger_url)
    key = finish(ledger, provider, intent(provider))
    ledger.close()
    assert [job["key"] for job in sandbox.admin.jobs("qbraid")] == [key]


# -- what only qBraid's silences make possible -----------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["subset", "exact", "ignored"])
@pytest.mark.parametrize("order", ["newest_first", "oldest_first"])
def test_lost_job_is_found_however_the_tag_filter_matches(
    sandbox: Sandbox, ledger: Ledger, rule: str, order: str
) -> None:
    sandbox.admin.switches("qbraid", tag_match=rule, list_order=order)
    sandbox.admin.fault("drop_after", SUBMIT)
    provider = connect(sandbox)
    finish(ledger, provider, intent(provider))
    assert sandbox.admin.count_jobs("qbraid") == 1


@pytest.mark.parametrize(("order", "pages"), [("newest_first", 2), ("oldest_first", 3)])
def test_look_up_stops_at_older_jobs_only_where_the_list_shows_its_order(
    sandbox: Sandbox, order: str, pages: int
) -> None:
    sandbox.admin.switches("qbraid", tag_match="exact", list_order=order)
    provider = connect(sandbox)
    spec = intent(provider).spec
    for i in range(200):
        send_job(provider, spec, f"old-{i}")
    sandbox.admin.advance(3 * 3600)
    send_job(provider, spec, "new")
    since = datetime.now(UTC)
    found = provider.find_submitted(["new"], since=since, device_ids={SIMULATOR})
    assert len(found["new"]) == 1
    assert sandbox.admin.requests(LIST) == 1 + pages  # the first asked for the tag


def test_many_doubts_are_settled_by_reading_the_list_once(sandbox: Sandbox) -> None:
    provider = connect(sandbox)
    spec = intent(provider).spec
    keys = [f"key-{i}" for i in range(30)]
    ids = [send_job(provider, spec, key).vendor_id for key in keys]
    since = datetime.now(UTC) - timedelta(minutes=5)
    found = provider.find_submitted([*keys, "stranger"], since=since, device_ids={SIMULATOR})
    assert [found[key][0].vendor_id for key in keys] == ids
    assert set(found) == set(keys)
    assert sandbox.admin.requests(LIST) == 1


def test_doubts_that_became_due_at_different_times_are_looked_up_together(sandbox: Sandbox, ledger: Ledger) -> None:
    sandbox.admin.clock("frozen")
    provider = connect(sandbox)
    submitter = Submitter(ledger, settle_s=SETTLE_S)
    keys = []
    for number in range(10):
        sandbox.admin.fault("drop_after", SUBMIT)
        wanted = Intent(intent(provider).spec, Want(f"run {number}", "a", "h"), "qbraid", provider.account)
        keys += [job.key for job in submitter.submit(provider, [wanted])]
    assert {reads.job(ledger, key).status for key in keys} == {JobStatus.IN_DOUBT}
    doubts = sorted(claims.doubts_due(ledger, keys), key=lambda doubt: doubt.claimed_at)
    asked = sandbox.admin.requests(LIST)
    for doubt in doubts[1:]:
        claims.postpone(ledger, doubt.job, again_in_s=3600)
    submitter.settle(provider, keys)
    assert {reads.job(ledger, key).status for key in keys} == {JobStatus.QUEUED}
    assert sandbox.admin.requests(LIST) - asked == 1
    assert sandbox.admin.count_jobs("qbraid") == 10


def test_two_jobs_under_one_key_end_as_one_and_the_extra_is_cancelled(sandbox: Sandbox, ledger: Ledger) -> None:
    sandbox.admin.clock("frozen")
    sandbox.admin.fault("drop_after", SUBMIT)
    provider = connect(sandbox)
    submitter = Submitter(ledger, settle_s=SETTLE_S)
    (job,) = submitter.submit(provider, [intent(provider)])
    extra = send_job(provider, intent(provider).spec, job.key).vendor_id
    submitter.settle(provider, [job.key])
    first = sandbox.admin.jobs("qbraid")[0]["id"]
    assert reads.job(ledger, job.key).vendor_id == first != extra
    assert [entry["outcome"] for entry in sandbox.admin.jobs("qbraid")] == [None, "cancelled"]


def test_answer_as_documented_without_most_members_is_enough(sandbox: Sandbox, ledger: Ledger) -> None:
    sandbox.admin.switches("qbraid", submit_body="lean")
    provider = connect(sandbox)
    finish(ledger, provider, intent(provider))
    assert (sandbox.admin.count_jobs("qbraid"), sandbox.admin.requests(SUBMIT)) == (1, 1)


@pytest.mark.parametrize("kind", ["drop_after", "status"])
def test_group_whose_answer_was_lost_is_found_by_its_key(sandbox: Sandbox, kind: str) -> None:
    members = {"status": 502, "accepted": True} if kind == "status" else {}
    sandbox.admin.fault(kind, "qbraid.group_create", times=None, **members)
    provider, key = connect(sandbox), uuid.uuid4().hex
    with pytest.raises(Ambiguous):
        provider.create_group(key, name="sweep", max_ttl_s=60)
    since = datetime.now(UTC) - timedelta(minutes=5)
    (found,) = provider.find_groups([key, "stranger"], since=since)[key]
    assert provider.group(found.vendor_id).is_open
    assert sandbox.admin.requests("qbraid.group_create") == 1
