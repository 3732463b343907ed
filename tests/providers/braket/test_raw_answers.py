"""What AWS answered is fetched once, kept as bytes, and decoded without a socket; every shape that was captured."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from braket_devices import BUCKET, ENTERPRISE, FORTE, GARNET, SV1
from qiskit import QuantumCircuit

from qflows.errors import Ambiguous, ProviderError, Refused, Unreadable
from qflows.programs import Program, to_program
from qflows.protocol import JobSpec, RawAnswer
from qflows.providers.braket import failures
from qflows.providers.braket.adapter import BraketProvider
from qflows.sandbox import Sandbox
from qflows.testing import bell, key_of, read_result, run, send_job, wait

ARN = "arn:aws:braket:eu-north-1:123456789012:quantum-task/0a1b"
HEADER = {"braketSchemaHeader": {"name": "braket.task_result.program_set_task_result", "version": "1"}}
TASK = {"quantumTaskArn": ARN, "status": "COMPLETED", "outputS3Bucket": "b", "outputS3Directory": "p/uuid"}
# the shape of raw results of Garnet (amazon-braket-examples, 2025-08) and Forte-1 (a public repository, 2026-08)
TREE: dict[str, Any] = {
    "task": TASK,
    "device": {"price": 0.00145, "is_simulator": False},
    "results.json": {
        **HEADER,
        "taskMetadata": "metadata.json",
        "programResults": ["programs/0/results.json", "programs/1/results.json"],
        "s3Location": ["b", "p/uuid"],
    },
    "metadata.json": {"requestedShots": 8, "successfulShots": 8, "deviceParameters": None},
    "programs/0/results.json": {
        "executableResults": ["executables/0.json"],
        "source": "program.json",
        "additionalMetadata": {},
    },
    "programs/1/results.json": {
        "executableResults": ["executables/0.json"],
        "source": "program.json",
        "additionalMetadata": {},
    },
    "programs/0/executables/0.json": {
        "inputsIndex": 0,
        "measuredQubits": [0, 1],
        "measurements": [[1, 0], [1, 0], [1, 0], [0, 0]],
    },
    "programs/1/executables/0.json": {
        "inputsIndex": 0,
        "measuredQubits": [1, 0],
        "measurementProbabilities": {"00": 0.25, "10": 0.75},
    },
}


def raw(documents: dict[str, Any]) -> RawAnswer:
    return RawAnswer({name: json.dumps(body).encode() for name, body in documents.items()})


def flipped(*qubits: int, n_qubits: int = 2) -> Program:
    circuit = QuantumCircuit(n_qubits, n_qubits)
    circuit.x(list(qubits))
    circuit.measure(range(n_qubits), range(n_qubits))
    return to_program(circuit)


WANTED = JobSpec("braket", GARNET, (flipped(0), flipped(1)), 4)


def test_tree_of_files_as_captured_is_read(provider: BraketProvider) -> None:
    result = provider.decode(raw(TREE), WANTED, "k")
    assert [item.counts for item in result.items] == [{"01": 3, "00": 1}, {"10": 3, "00": 1}]
    assert result.metadata == {"bucket": "b", "directory": "p/uuid", "successful_shots": 8}
    assert result.cost is not None
    assert result.cost.amount == pytest.approx(0.30 + 8 * 0.00145)


def test_tree_with_everything_inline_is_the_same(provider: BraketProvider) -> None:
    inline = {name: TREE[name] for name in ("task", "device")}
    programs = [
        TREE[f"programs/{k}/results.json"] | {"executableResults": [TREE[f"programs/{k}/executables/0.json"]]}
        for k in range(2)
    ]
    inline["results.json"] = TREE["results.json"] | {"programResults": programs, "taskMetadata": TREE["metadata.json"]}
    assert provider.decode(raw(inline), WANTED, "k") == provider.decode(raw(TREE), WANTED, "k")


@pytest.mark.parametrize("device", [GARNET, FORTE, ENTERPRISE], ids=lambda arn: arn.rsplit("/", 1)[1])
@pytest.mark.parametrize("form", ["tree", "inline"])
def test_set_is_fetched_once_and_decoded_as_often_as_wanted(
    provider: BraketProvider, sandbox: Sandbox, device: str, form: str
) -> None:
    sandbox.admin.switches("braket", program_set_results=form)
    wanted = JobSpec("braket", device, (flipped(0), flipped(1), flipped(0, 1)), 100)
    arn = send_job(provider, wanted, key_of("fetch", device, form)).vendor_id
    wait(provider, [arn])
    kept = provider.fetch(arn, wanted)
    assert ("programs/2/executables/0.json" in kept.documents) == (form == "tree")
    before = len(sandbox.admin.journal())
    for _ in range(2):
        result = provider.decode(RawAnswer(dict(kept.documents)), wanted, "k")
        assert [item.counts for item in result.items] == [{"01": 100}, {"10": 100}, {"11": 100}]
        assert result.finished_at is not None
    assert len(sandbox.admin.journal()) == before


def test_file_of_a_tree_that_is_late_is_waited_for(provider: BraketProvider, sandbox: Sandbox) -> None:
    arn = send_job(provider, WANTED, key_of("late")).vendor_id
    wait(provider, [arn])
    sandbox.admin.fault("status", "braket.s3_get", status=404, code="NoSuchKey", skip=2, body=NO_SUCH_KEY)
    with pytest.raises(Ambiguous, match="not in S3 yet"):
        provider.fetch(arn, WANTED)
    assert read_result(provider, arn, WANTED, "k").items[1].counts == {"10": 4}


NO_SUCH_KEY = "<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"


def test_files_that_a_failed_task_left_out_are_errors_of_their_own(provider: BraketProvider) -> None:
    broken = {name: body for name, body in TREE.items() if not name.startswith("programs/1")}
    with pytest.raises(Unreadable):
        provider.decode(raw(broken), WANTED, "k")
    first, second = provider.decode(raw(broken | {"task": TASK | {"status": "FAILED"}}), WANTED, "k").items
    assert first.counts == {"01": 3, "00": 1}
    assert second.error is not None
    assert second.error.code == "MISSING"


def test_frequencies_that_miss_one_by_rounding_are_scaled_and_say_so(provider: BraketProvider) -> None:
    rounded = copy.deepcopy(TREE)
    member = rounded["programs/1/executables/0.json"]
    member["measurementProbabilities"] = {"00": 0.333333, "10": 0.333333, "11": 0.333333}
    item = provider.decode(raw(rounded), replace(WANTED, shots=4), "k").items[1]
    assert sum((item.counts or {}).values()) == 4
    assert sum((item.probabilities or {}).values()) == pytest.approx(1, abs=1e-12)
    assert "0.999999" in item.metadata["note"]
    member["measurementProbabilities"] = {"00": 0.3, "10": 0.3}
    with pytest.raises(Unreadable, match="sum to"):
        provider.decode(raw(rounded), WANTED, "k")


GARBAGE: dict[str, Any] = {
    "nothing": None,
    "list": [],
    "number": 7,
    "text": "x",
    "other file": {"programResults": ["../../secrets.json"]},
    "absolute": {"programResults": ["/etc/passwd.json"]},
    "url": {"programResults": ["https://example.com/a.json"]},
    "numbers for paths": {"programResults": [1, 2]},
    "missing programs": {"programResults": ["programs/9/results.json"]},
    "too few": {"programResults": ["programs/0/results.json"]},
    "no list": {"programResults": {"a": 1}},
    "nested": {"programResults": [{"executableResults": [{"inputsIndex": {}}]}] * 2},
    "nan": {"programResults": [{"executableResults": [{"inputsIndex": float("nan")}]}] * 2},
    "huge": {"programResults": [{"executableResults": [{"inputsIndex": 10**400}]}] * 2},
    "null index": {"programResults": [{"executableResults": [{"inputsIndex": None}]}] * 2},
    "wrong qubits": {
        "programResults": [{"executableResults": [{"inputsIndex": 0, "measurements": [[0]], "measuredQubits": ["a"]}]}]
        * 2
    },
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_unreadable_and_nothing_else(provider: BraketProvider, name: str) -> None:
    with pytest.raises(Unreadable):
        provider.decode(raw(TREE | {"results.json": GARBAGE[name]}), WANTED, "k")


def test_bytes_that_are_no_json_are_unreadable(provider: BraketProvider) -> None:
    for body in (b"", b"<html>", b"\xff\xfe", b"[" * 100_000, b'{"a": NaN'):
        documents = dict(raw(TREE).documents) | {"results.json": body}
        with pytest.raises(Unreadable):
            provider.decode(RawAnswer(documents), WANTED, "k")


# -- exchanges that end ----------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(sandbox: Sandbox) -> BraketProvider:
    from qflows.providers import connect

    given = {"aws_access_key_id": "AKIATEST", "aws_secret_access_key": "x", "region": "us-east-1"}
    made = connect("braket", given | {"endpoint_url": sandbox.url, "s3_bucket": BUCKET}, timeout_s=0.4)
    assert isinstance(made, BraketProvider)
    return made


SINGLE = JobSpec("braket", SV1, (bell(),), 10)


def test_body_of_a_few_bytes_a_second_ends_at_the_deadline(impatient: BraketProvider, sandbox: Sandbox) -> None:
    arn = send_job(impatient, SINGLE, key_of("slow")).vendor_id
    wait(impatient, [arn])
    sandbox.admin.switches("braket", body_bytes_per_s=20.0)
    for call in (lambda: impatient.exists(arn), lambda: impatient.poll([arn]), lambda: impatient.fetch(arn, SINGLE)):
        with pytest.raises(Ambiguous, match="no complete answer"):
            call()
    sandbox.admin.switches("braket", body_bytes_per_s=0.0)
    assert impatient.exists(arn)
    assert read_result(impatient, arn, SINGLE, "k").items[0].counts


def test_slow_answer_to_a_submission_is_a_doubt(impatient: BraketProvider, sandbox: Sandbox) -> None:
    prepared = impatient.prepare(SINGLE, key_of("slow submit"))
    sandbox.admin.switches("braket", body_bytes_per_s=20.0)
    with pytest.raises(Ambiguous):
        impatient.send(prepared)


def test_body_above_its_cap_is_not_read(provider: BraketProvider, sandbox: Sandbox) -> None:
    arn = send_job(provider, SINGLE, key_of("huge")).vendor_id
    sandbox.admin.switches("braket", body_padding=5_000_000)
    with pytest.raises(Unreadable, match="4000000 bytes"):
        provider.exists(arn)


@pytest.mark.parametrize(
    ("form", "seconds"),
    [("seconds", 7.0), ("date", 7.0), ("huge", 300.0), ("infinite", 300.0), ("negative", 0.0), ("nan", None)],
)
def test_retry_after_is_bounded_in_every_form(
    provider: BraketProvider, sandbox: Sandbox, form: str, seconds: float | None
) -> None:
    sandbox.admin.switches("braket", retry_after_form=form)
    sandbox.admin.fault("status", "braket.get", status=429, retry_after=7)
    with pytest.raises(ProviderError) as caught:
        provider.exists(ARN)
    assert caught.value.retry_after_s == (None if seconds is None else pytest.approx(seconds, abs=1.5))


# -- whose word it is ------------------------------------------------------------------------------------------------


def test_only_braket_says_that_a_task_does_not_exist(provider: BraketProvider, sandbox: Sandbox) -> None:
    assert provider.exists(ARN) is False
    for fault in ({"html": True}, {"body": "{}"}, {"body": '{"message": "Not Found"}'}):
        sandbox.admin.fault("status", "braket.get", status=404, **fault)
        with pytest.raises(Ambiguous):
            provider.exists(ARN)


def test_task_of_another_account_is_refused_and_not_gone(provider: BraketProvider, sandbox: Sandbox) -> None:
    arn = send_job(provider, SINGLE, key_of("theirs")).vendor_id
    sandbox.admin.switches("braket", accounts="per_key")
    with pytest.raises(Refused) as caught:
        provider.exists(arn)
    assert caught.value.vendor_code == "AccessDeniedException"


def test_page_of_a_gateway_in_front_of_a_submission_is_a_doubt(provider: BraketProvider, sandbox: Sandbox) -> None:
    sandbox.admin.fault("status", "braket.submit", status=403, html=True)
    with pytest.raises(Ambiguous):
        send_job(provider, SINGLE, key_of("gateway"))


def test_will_it_help_to_buy_again_has_three_answers_with_sources() -> None:
    answers = {code: answer for code, (answer, _) in failures.BUY_AGAIN.items()}
    assert (answers["ThrottlingException"], answers["ValidationException"], answers["FAILED"]) == (True, False, None)
    assert failures.helps("a word nobody documented") is None
    assert all(source for _, source in failures.BUY_AGAIN.values())


@pytest.mark.parametrize(("said", "helps"), [({"retryable": True}, True), ({"retryable": False}, False), ({}, None)])
def test_failed_executable_says_itself_whether_to_buy_again(
    provider: BraketProvider, said: dict[str, bool], helps: bool | None
) -> None:
    failed = copy.deepcopy(TREE)
    member = {"inputsIndex": 0, "failureMetadata": {"failureReason": "ion lost", "category": "DEVICE"} | said}
    failed["programs/1/executables/0.json"] = member
    item = provider.decode(raw(failed), WANTED, "k").items[1]
    assert item.error is not None
    assert (item.error.code, item.metadata["retryable"]) == ("DEVICE", helps)


def test_reason_of_a_failed_task_leaves_open_whether_to_buy_again(provider: BraketProvider, sandbox: Sandbox) -> None:
    sandbox.admin.fault("fail_job", "braket.submit", message="calibration lost")
    arn = send_job(provider, SINGLE, key_of("failed")).vendor_id
    look = wait(provider, [arn])[arn]
    assert look.error_message == "InternalError: calibration lost"
    assert look.is_retryable is None


def test_compiled_program_of_iqm_is_kept(provider: BraketProvider) -> None:
    wanted = JobSpec("braket", GARNET, (bell(),), 10)
    assert "cnot" in run(provider, wanted, key_of("iqm")).metadata["compiled_program"]
