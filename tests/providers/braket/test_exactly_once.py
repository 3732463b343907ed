"""Every fault of a submission, for Braket's own client and for qflows, with client tokens honoured and not; SIGKILL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from braket_devices import BUCKET, GARNET, SV1
from submission_faults import SETTLE_S, WIRE, faults_of, finish, kill_while_submitting, status

from qflows import providers
from qflows.core.devices import Sole
from qflows.core.poller import Poller
from qflows.core.submit import Submitter
from qflows.ledger import Ledger, reads
from qflows.ledger.intents import Intent, Want
from qflows.protocol import JobSpec
from qflows.sandbox import Sandbox
from qflows.states import JobStatus
from qflows.testing import bell, send_job

SUBMIT, LIST = "braket.submit", "braket.search"
FAULTS = faults_of(SUBMIT, LIST) | {
    "drop after, always": [{"kind": "drop_after", "route": SUBMIT, "times": None}],
    "200 without a task": status(SUBMIT, 200, html=True),
}
TOKENS = ("dedupe", "ignore")
# tasks after one AwsDevice.run of SDK 1.88.1 on botocore 1.44.5, and after its user ran again because it had failed;
# first with tokens honoured, then with tokens ignored (AWS promises neither for long)
OWN_CLIENT: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {
    "none": ((1, 1), (1, 1)),
    "drop before": ((1, 1), (1, 1)),
    "drop after": ((1, 1), (2, 2)),
    "drop after, always": ((1, 2), (3, 6)),
    "500 before": ((1, 1), (1, 1)),
    "500 after": ((1, 1), (2, 2)),
    "502 after": ((1, 1), (2, 2)),
    "504 after": ((1, 1), (2, 2)),
    "500 always": ((1, 2), (3, 6)),
    "502 always": ((1, 2), (3, 6)),
    "429 after": ((1, 1), (2, 2)),
    "408 after": ((1, 2), (1, 2)),
    "200 without a task": ((1, 2), (1, 2)),
    "truncated": ((1, 2), (1, 2)),
}


def connect(sandbox: Sandbox) -> Any:
    keys = {"aws_access_key_id": "AKIATEST", "aws_secret_access_key": "x", "region": "us-east-1"}
    return providers.connect("braket", keys | {"endpoint_url": sandbox.url, "s3_bucket": BUCKET}, timeout_s=5)


def intent(provider: Any, *, n_programs: int = 1) -> Intent:
    device = SV1 if n_programs == 1 else GARNET
    spec = JobSpec("braket", device, tuple(bell(f"b{i}") for i in range(n_programs)), 50)
    return Intent(spec, Want("run", "attempt", "holder"), "braket", provider.account)


SETS = ("drop after", "502 after", "truncated")


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize(("fault", "n_programs"), [(fault, 1) for fault in FAULTS] + [(fault, 3) for fault in SETS])
def test_submission_under_a_fault_leaves_one_task_and_its_counts(
    sandbox: Sandbox, ledger: Ledger, fault: str, n_programs: int, token: str
) -> None:
    sandbox.admin.switches("braket", token=token)
    for scripted in FAULTS[fault]:
        sandbox.admin.fault(**scripted)
    provider = connect(sandbox)
    key = finish(ledger, provider, intent(provider, n_programs=n_programs))
    assert [job["key"] for job in sandbox.admin.jobs("braket")] == [key]
    assert sandbox.admin.count_jobs("braket") == 1


@pytest.fixture(scope="module")
def own_device(running_sandboxes: dict[str, Sandbox]) -> Iterator[Any]:
    """The vendor's client on the sandbox, by its environment alone."""
    aws = pytest.importorskip("braket.aws")
    sandbox = running_sandboxes.setdefault("braket", Sandbox(vendors=("braket",)).start())
    with pytest.MonkeyPatch.context() as environment:
        for name, value in sandbox.env.items():
            environment.setenv(name, value)
        environment.setenv("AMZN_BRAKET_OUT_S3_BUCKET", BUCKET)
        device = aws.AwsDevice(SV1)
        assert device.aws_session.braket_client.meta.endpoint_url == sandbox.url
        yield device


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("fault", OWN_CLIENT)
def test_vendor_client_alone_leaves_as_many_tasks_as_the_table_says(
    sandbox: Sandbox, own_device: Any, fault: str, token: str
) -> None:
    from botocore.exceptions import BotoCoreError, ClientError
    from braket.circuits import Circuit

    sandbox.admin.switches("braket", token=token)
    for scripted in FAULTS[fault]:
        sandbox.admin.fault(**scripted)
    seen: list[int] = []
    for _ in range(2):
        try:
            own_device.run(Circuit().h(0).cnot(0, 1), shots=5)
        except (BotoCoreError, ClientError, KeyError):  # KeyError: an answer without an ARN
            seen.append(sandbox.admin.count_jobs("braket"))
        else:
            seen.append(sandbox.admin.count_jobs("braket"))
            break
    assert (seen[0], seen[-1]) == OWN_CLIENT[fault][TOKENS.index(token)]


def test_batch_of_failing_tasks_is_bought_once(sandbox: Sandbox, ledger: Ledger) -> None:
    # AwsQuantumTaskBatch buys 8 for these 2 (tests of the emulator)
    sandbox.admin.fault("fail_job", SUBMIT, times=None)
    provider = connect(sandbox)
    submitter = Submitter(ledger)
    wanted = [
        Intent(intent(provider).spec, Want("run", "attempt", holder), "braket", provider.account) for holder in "ab"
    ]
    jobs = submitter.submit(provider, wanted)
    done = Poller(submitter, Sole(provider), poll_min_s=0.0).wait([job.key for job in jobs], timeout=20)
    assert [done[job.key].status for job in jobs] == [JobStatus.FAILED, JobStatus.FAILED]
    assert sandbox.admin.count_jobs("braket") == 2


# -- a process that dies ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["none", "drop after", "504 always", "listing lag"])
@pytest.mark.parametrize("moment", WIRE)
def test_process_killed_while_its_request_is_on_the_wire_leaves_one_task(
    sandbox: Sandbox, ledger_url: str, moment: str, fault: str
) -> None:
    sandbox.admin.switches("braket", token="ignore")

    def submit() -> None:
        provider = connect(sandbox)
        Submitter(Ledger.open(ledger_url)).submit(provider, [intent(provider)])

    kill_while_submitting(sandbox, SUBMIT, moment, submit, FAULTS[fault])
    provider, ledger = connect(sandbox), Ledger.open(ledger_url)
    key = finish(ledger, provider, intent(provider))
    ledger.close()
    assert [job["key"] for job in sandbox.admin.jobs("braket")] == [key]


# -- what only AWS's silences make possible --------------------------------------------------------------------------


@pytest.mark.parametrize("combine", ["and", "or"])
@pytest.mark.parametrize("order", ["newest_first", "oldest_first"])
@pytest.mark.parametrize("values", ["or", "first"])
def test_lost_task_is_found_however_filters_combine(
    sandbox: Sandbox, ledger: Ledger, combine: str, order: str, values: str
) -> None:
    sandbox.admin.switches("braket", token="ignore", search_combine=combine, search_order=order, search_values=values)
    sandbox.admin.fault("drop_after", SUBMIT)
    provider = connect(sandbox)
    finish(ledger, provider, intent(provider))
    assert sandbox.admin.count_jobs("braket") == 1


def test_token_that_aws_knows_with_other_parameters_is_a_doubt(sandbox: Sandbox, ledger: Ledger) -> None:
    sandbox.admin.clock("frozen")
    provider = connect(sandbox)
    submitter = Submitter(ledger, settle_s=SETTLE_S)
    sandbox.admin.fault("drop_before", SUBMIT)
    (job,) = submitter.submit(provider, [intent(provider)])
    # somebody (an older version of the exporter, say) bought the same job with another text
    other = JobSpec("braket", SV1, (bell(),), 49)
    send_job(provider, other, job.key)
    submitter.settle(provider, [job.key])
    assert reads.job(ledger, job.key).vendor_id == sandbox.admin.jobs("braket")[0]["id"]
    assert sandbox.admin.count_jobs("braket") == 1


def test_two_tasks_under_one_key_end_as_one_and_the_extra_is_cancelled(sandbox: Sandbox, ledger: Ledger) -> None:
    sandbox.admin.switches("braket", token="ignore")
    sandbox.admin.clock("frozen")
    sandbox.admin.fault("drop_after", SUBMIT)
    provider = connect(sandbox)
    submitter = Submitter(ledger, settle_s=SETTLE_S)
    (job,) = submitter.submit(provider, [intent(provider)])
    extra = send_job(provider, intent(provider).spec, job.key).vendor_id
    submitter.settle(provider, [job.key])
    first = sandbox.admin.jobs("braket")[0]["id"]
    assert reads.job(ledger, job.key).vendor_id == first != extra
    assert [entry["outcome"] for entry in sandbox.admin.jobs("braket")] == [None, "cancelled"]
