"""The emulated Braket against its own service model, and every choice AWS leaves open, through plain boto3."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
import time_machine
from botocore.config import Config
from botocore.exceptions import ClientError

from qflows.sandbox import Sandbox
from qflows.sandbox.braket import contract

SV1 = "arn:aws:braket:::device/quantum-simulator/amazon/sv1"
FORTE = "arn:aws:braket:us-east-1::device/qpu/ionq/Forte-1"
CEPHEUS = "arn:aws:braket:us-west-1::device/qpu/rigetti/Cepheus-1-108Q"
IBEX = "arn:aws:braket:eu-north-1::device/qpu/aqt/Ibex-Q1"
GARNET = "arn:aws:braket:eu-north-1::device/qpu/iqm/Garnet"
RETIRED = "arn:aws:braket:us-west-1::device/qpu/rigetti/Ankaa-3"
BUCKET = "amazon-braket-sandbox"
ONCE = Config(retries={"total_max_attempts": 1})


@pytest.fixture(scope="module")
def braket_sandbox() -> Iterator[Sandbox]:
    """One server process for this file."""
    with Sandbox(vendors=("braket",)) as running:
        yield running


@pytest.fixture
def sandbox(braket_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Emptied before each test."""
    braket_sandbox.admin.reset()
    for name, value in braket_sandbox.env.items():
        monkeypatch.setenv(name, value)
    return braket_sandbox


@pytest.fixture(scope="module")
def clients(braket_sandbox: Sandbox) -> dict[tuple[str, str], Any]:
    """boto3 clients that send once."""
    session = boto3.session.Session(aws_access_key_id="test", aws_secret_access_key="test")
    made = (("braket", "us-east-1"), ("braket", "eu-north-1"), ("braket", "us-west-1"), ("s3", "us-east-1"))
    made += (("s3", "eu-north-1"),)
    return {
        (service, region): session.client(service, region_name=region, endpoint_url=braket_sandbox.url, config=ONCE)
        for service, region in made
    }


@pytest.fixture
def client(sandbox: Sandbox, clients: dict[tuple[str, str], Any]) -> Any:
    return clients["braket", "us-east-1"]


@pytest.fixture
def north(sandbox: Sandbox, clients: dict[tuple[str, str], Any]) -> Any:
    return clients["braket", "eu-north-1"]


def program(body: str = "x q[0];", qubits: int = 1) -> dict[str, Any]:
    measures = "".join(f"b[{k}] = measure q[{k}];\n" for k in range(qubits))
    source = f"OPENQASM 3.0;\nbit[{qubits}] b;\nqubit[{qubits}] q;\n{body}\n{measures}"
    return {"braketSchemaHeader": {"name": "braket.ir.openqasm.program", "version": "1"}, "source": source}


def task(**changes: Any) -> dict[str, Any]:
    """Parameters of a valid submission."""
    return {
        "deviceArn": SV1,
        "action": json.dumps(program()),
        "shots": 10,
        "outputS3Bucket": BUCKET,
        "outputS3KeyPrefix": "tests",
    } | changes


def refused(call: Any, code: str, status: int, **parameters: Any) -> str:
    """The message of a call that must be refused with this code and status."""
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    return caught.value.response["Error"]["Message"]


# -- the service model -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"clientToken": "k" * 65}, "clientToken"),
        ({"outputS3Bucket": "b" * 64}, "outputS3Bucket"),
        ({"outputS3KeyPrefix": "p" * 1025}, "outputS3KeyPrefix"),
        ({"deviceParameters": "1" * 48_001}, "deviceParameters"),
        ({"associations": [{"arn": "x", "type": "RESERVATION_TIME_WINDOW_ARN"}]}, "arn"),
        ({"associations": [{"arn": GARNET, "type": "RESERVATION_TIME_WINDOW_ARN"}] * 2}, "associations"),
        ({"jobToken": "j" * 129}, "jobToken"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_request_outside_the_service_model_is_refused(client, sandbox, changes, word):
    assert word in refused(client.create_quantum_task, "ValidationException", 400, **task(**changes))
    assert sandbox.admin.count_jobs("braket") == 0


@pytest.mark.parametrize(
    "filters",
    [
        [{"name": "quantumTaskArn", "operator": "EQUAL", "values": ["a"] * 11}],
        [{"name": "status", "operator": "EQUAL", "values": ["QUEUED"]}] * 11,
        [{"name": "tags", "operator": "EQUAL", "values": ["a"]}],
        [{"name": "status", "operator": "EQUAL", "values": ["DONE"]}],
        [{"name": "createdAt", "operator": "BETWEEN", "values": ["2026-01-01T00:00:00Z"]}],
        [{"name": "createdAt", "operator": "GTE", "values": ["yesterday"]}],
    ],
    ids=lambda filters: filters[0]["name"] + str(len(filters[0]["values"])),
)
def test_search_outside_the_service_model_is_refused(client, filters):
    refused(client.search_quantum_tasks, "ValidationException", 400, filters=filters)


def test_answers_are_held_against_the_service_model():
    good = {"quantumTaskArn": "arn:x"}
    assert contract.check_answer("CreateQuantumTask", good) == good
    with pytest.raises(AssertionError, match="CreateQuantumTask"):
        contract.check_answer("CreateQuantumTask", {"quantumTaskArn": 7})


def test_create_declares_no_conflict():
    declared = contract.error_shapes("CreateQuantumTask")
    assert "ConflictException" not in declared
    assert {"ValidationException", "DeviceOfflineException", "ServiceQuotaExceededException"} <= declared


# -- refusals ----------------------------------------------------------------------------------------------------


def test_unknown_device_and_foreign_region_are_refused(client):
    refused(client.create_quantum_task, "ValidationException", 400, **task(deviceArn=SV1 + "x"))
    refused(client.create_quantum_task, "ValidationException", 400, **task(deviceArn=GARNET))


def test_retired_and_offline_devices_are_refused(clients, north, sandbox):
    west = clients["braket", "us-west-1"]
    refused(west.create_quantum_task, "DeviceRetiredException", 410, **task(deviceArn=RETIRED))
    sandbox.admin.switches("braket", offline="Garnet")
    refused(north.create_quantum_task, "DeviceOfflineException", 424, **task(deviceArn=GARNET))
    assert north.get_device(deviceArn=GARNET)["deviceStatus"] == "OFFLINE"


@pytest.mark.parametrize(("windows", "step_h", "times"), [("weekdays", 5, 4), ("real", 13, 14)])
def test_closed_device_is_online_and_its_tasks_queue_until_it_opens(north, sandbox, windows, step_h, times):
    sandbox.admin.switches("braket", windows=windows)
    waited = set()
    for _ in range(times):  # through open and closed hours, whatever the day
        arn = north.create_quantum_task(**task(deviceArn=GARNET))["quantumTaskArn"]
        assert north.get_device(deviceArn=GARNET)["deviceStatus"] == "ONLINE"
        word, hours = north.get_quantum_task(quantumTaskArn=arn)["status"], 0
        while word == "QUEUED":
            sandbox.admin.advance(3600)
            hours += 1
            word = north.get_quantum_task(quantumTaskArn=arn)["status"]
        assert word == "COMPLETED"
        waited.add(min(hours, 1))
        sandbox.admin.advance(step_h * 3600 + 300)
    assert waited == {0, 1}
    windows = json.loads(north.get_device(deviceArn=GARNET)["deviceCapabilities"])["service"]["executionWindows"]
    assert windows[0]["executionDay"] == "Weekdays"


def test_spending_limit_refuses_a_task_over_budget(north, sandbox):
    limit = north.create_spending_limit(deviceArn=GARNET, spendingLimit="0.70")["spendingLimitArn"]
    north.create_quantum_task(**task(deviceArn=GARNET))  # 0.3145
    north.create_quantum_task(**task(deviceArn=GARNET))
    message = refused(north.create_quantum_task, "ValidationException", 400, **task(deviceArn=GARNET))
    assert limit in message
    assert north.search_spending_limits()["spendingLimits"][0]["totalSpend"] == "0.63"
    north.update_spending_limit(spendingLimitArn=limit, spendingLimit="1.00")
    north.create_quantum_task(**task(deviceArn=GARNET))
    north.delete_spending_limit(spendingLimitArn=limit)
    assert north.search_spending_limits()["spendingLimits"] == []


@pytest.mark.parametrize(
    ("choice", "code", "status"),
    [(None, "ValidationException", 400), ("access_denied", "AccessDeniedException", 403)],
)
def test_missing_bucket_refuses_the_submission(client, sandbox, choice, code, status):
    if choice:
        sandbox.admin.switches("braket", missing_bucket=choice)
    refused(client.create_quantum_task, code, status, **task(outputS3Bucket="nowhere"))


def test_gate_or_width_the_device_lacks_is_refused(north):
    def message(source: dict[str, Any]) -> str:
        parameters = task(deviceArn=GARNET, action=json.dumps(source))
        return refused(north.create_quantum_task, "ValidationException", 400, **parameters)

    assert "gpi" in message(program("gpi(0.1) q[0];"))
    assert "qubits" in message(program(qubits=21))


def test_barrier_is_taken_by_the_devices_that_list_it(north, client):
    action = json.dumps(program("barrier q;"))
    assert north.create_quantum_task(**task(deviceArn=GARNET, action=action))["quantumTaskArn"]
    for refusing, device in ((client, SV1), (client, FORTE), (north, IBEX)):
        said = refused(
            refusing.create_quantum_task, "ValidationException", 400, **task(deviceArn=device, shots=100, action=action)
        )
        assert "barrier" in said


BEYOND = {
    "ctrl @ x q[0], q[1];": "modifiers",
    "#pragma braket unitary([[0, 1], [1, 0]]) q[0]\n": "unitary",
    "#pragma braket result state_vector\n": "state_vector",
    "delay[500us] q[0];": "delay",
    "reset q[0];": "reset",
    "for int i in [0:1] { x q[i]; }": "array operations|for",
    "x q[0:1];": "array operations",
    "qubit[1] r; x r[0];": "one qubit array",
    "bit[1] c; c[0] = measure q[0]; x q[0];": "one qubit array",
    "b[0] = measure q[0]; x q[0];": "before the end|experimental",
}


@pytest.mark.parametrize("body", BEYOND)
def test_qpu_refuses_at_once_what_its_document_forbids(north, clients, body):
    for made, device in ((north, GARNET), (clients["braket", "us-west-1"], CEPHEUS)):
        parameters = task(deviceArn=device, action=json.dumps(program(body, qubits=2)))
        said = refused(made.create_quantum_task, "ValidationException", 400, **parameters)
        assert re.search(BEYOND[body], said), said


def test_measurement_in_the_middle_needs_experimental_capabilities(north):
    action = json.dumps(program("measure_ff(0) q[0];\ncc_prx(3.14159265, 0.0, 0) q[1];", qubits=2))
    refused(north.create_quantum_task, "ValidationException", 400, **task(deviceArn=GARNET, action=action))
    arn = north.create_quantum_task(
        **task(deviceArn=GARNET, action=action, experimentalCapabilities={"enabled": "ALL"})
    )["quantumTaskArn"]
    seen = north.get_quantum_task(quantumTaskArn=arn)
    assert seen["experimentalCapabilities"] == {"enabled": "ALL"}


TWO_SOURCES = {
    "b[0] = measure q[0]; b[1] = measure q[1]; if (b[0]) { x q[2]; } if (b[1]) { x q[2]; }": "q[0] and q[1]",
    "b[0] = measure q[0]; b[1] = measure q[1]; if (b == 3) { x q[2]; }": "q[0] and q[1]",
    "b[0] = measure q[0]; b[1] = measure q[1]; if (b[0]) { if (b[1]) { x q[2]; } }": "q[0] and q[1]",
    "b[0] = measure q[0]; b[1] = measure q[1]; if (b[0]) { x q[2]; } if (b[1]) { h q[0]; } else { x q[2]; }": "q[0]",
    "measure_ff(0) $1; measure_ff(1) $2; cc_prx(3.14, 0, 0) $3; cc_prx(3.14, 0, 1) $3;": "$1 and $2",
}
ONE_SOURCE = (
    "b[0] = measure q[0]; if (b[0]) { x q[1]; x q[2]; } else { h q[1]; }",
    "b[0] = measure q[0]; b[1] = measure q[1]; if (b[0]) { x q[2]; } if (b[1]) { x q[1]; }",
    "b[0] = measure q[0]; if (b[0]) { x q[2]; } h q[0]; b[1] = measure q[0]; if (b[1]) { x q[2]; }",
)


def experimental(body: str, **more: Any) -> dict[str, Any]:
    action = json.dumps(program(body, qubits=3))
    return task(deviceArn=GARNET, action=action, experimentalCapabilities={"enabled": "ALL"}, **more)


@pytest.mark.parametrize("body", TWO_SOURCES)
def test_qubit_that_listens_to_two_measured_ones_is_refused(north, sandbox, body):
    said = refused(north.create_quantum_task, "ValidationException", 400, **experimental(body))
    assert TWO_SOURCES[body] in said
    sandbox.admin.switches("braket", feedforward="any")
    north.create_quantum_task(**experimental(body))


@pytest.mark.parametrize("body", ONE_SOURCE)
def test_qubit_that_listens_to_one_measured_one_is_served(north, body):
    north.create_quantum_task(**experimental(body))


def test_program_with_branches_errs_on_a_qpu_as_a_flat_one_does(north, clients, sandbox):
    body = "x q[0]; b[0] = measure q[0]; if (b[0]) { x q[1]; } b[1] = measure q[1];"
    wrong = {}
    for noise in (True, False):
        sandbox.admin.switches("braket", qpu_noise=noise)
        arn = north.create_quantum_task(**experimental(body, shots=2000))["quantumTaskArn"]
        found = north.get_quantum_task(quantumTaskArn=arn)
        key = f"{found['outputS3Directory']}/results.json"
        rows = json.loads(clients["s3", "eu-north-1"].get_object(Bucket=BUCKET, Key=key)["Body"].read())
        wrong[noise] = sum(row[:2] != [1, 1] for row in rows["measurements"])
    assert wrong[False] == 0
    assert 40 <= wrong[True] <= 140  # readout errors of 2 % on each bit, and two gates of 0.1 %


@pytest.mark.parametrize(
    ("device", "region", "low", "high"),
    [
        ("ionq/Forte-1", "us-east-1", 100, 5_000),
        ("rigetti/Cepheus-1-108Q", "us-west-1", 10, 50_000),
        ("aqt/Ibex-Q1", "eu-north-1", 1, 2_000),
        ("iqm/Emerald", "eu-north-1", 1, 20_000),
    ],
)
def test_shots_have_the_bounds_of_the_device(clients, device, region, low, high):
    create = clients["braket", region].create_quantum_task
    arn = f"arn:aws:braket:{region}::device/qpu/{device}"
    for shots in (low, high):
        assert create(**task(deviceArn=arn, shots=shots))["quantumTaskArn"]
    for shots in (low - 1, high + 1):
        assert "shots must be in" in refused(create, "ValidationException", 400, **task(deviceArn=arn, shots=shots))


def test_simulators_are_not_in_stockholm_and_retired_devices_are_still_described(north, clients):
    refused(north.get_device, "ResourceNotFoundException", 404, deviceArn=SV1)
    refused(north.create_quantum_task, "ValidationException", 400, **task())
    assert clients["braket", "us-west-1"].get_device(deviceArn=RETIRED)["deviceStatus"] == "RETIRED"


def test_reservations_are_for_qpus_and_of_their_region(client, north):
    def with_reservation(arn: str, **more: Any) -> dict[str, Any]:
        return task(associations=[{"arn": arn, "type": "RESERVATION_TIME_WINDOW_ARN"}], **more)

    good = "arn:aws:braket:eu-north-1:123456789012:reservation/a1"
    said = refused(client.create_quantum_task, "ValidationException", 400, **with_reservation(good))
    assert "Braket Direct is not supported" in said
    wrong = with_reservation("arn:aws:braket:us-east-1:123456789012:reservation/a1", deviceArn=GARNET)
    assert refused(north.create_quantum_task, "ValidationException", 400, **wrong) == "Reservation arn is invalid"
    north.create_quantum_task(**with_reservation(good, deviceArn=GARNET))


@pytest.mark.parametrize("prefix", ["a/../b", "./a", "a{b}", "a#b", "a%20b", "prefix~1"])
def test_key_prefix_has_forbidden_characters(client, prefix):
    assert "outputS3KeyPrefix" in refused(
        client.create_quantum_task, "ValidationException", 400, **task(outputS3KeyPrefix=prefix)
    )


def test_quota_of_tasks_at_work_refuses_the_next_one(client, clients, sandbox):
    sandbox.admin.clock("frozen")
    sandbox.admin.switches("braket", concurrent_tasks=2)
    for _ in range(2):
        client.create_quantum_task(**task())
    refused(client.create_quantum_task, "ServiceQuotaExceededException", 402, **task())
    clients["braket", "us-west-1"].create_quantum_task(**task())  # by region
    sandbox.admin.release()
    client.create_quantum_task(**task())


def test_keys_of_several_accounts_do_not_see_each_other(sandbox):
    sandbox.admin.switches("braket", accounts="per_key")
    made = [
        boto3.session.Session(aws_access_key_id=key, aws_secret_access_key="x", region_name="us-east-1").client(
            "braket", endpoint_url=sandbox.url, config=ONCE
        )
        for key in ("AKIAONE", "AKIATWO")
    ]
    arns = [client.create_quantum_task(**task(clientToken="same"))["quantumTaskArn"] for client in made]
    assert len(set(arns)) == 2
    for client, own, other in zip(made, arns, arns[::-1], strict=True):
        assert [entry["quantumTaskArn"] for entry in client.search_quantum_tasks(filters=[])["quantumTasks"]] == [own]
        refused(client.get_quantum_task, "AccessDeniedException", 403, quantumTaskArn=other)
        refused(client.cancel_quantum_task, "AccessDeniedException", 403, quantumTaskArn=other)


def test_plain_task_names_no_numbers_of_programs_and_queue_says_why_there_is_no_place(client, sandbox):
    sandbox.admin.clock("frozen")
    arn = client.create_quantum_task(**task())["quantumTaskArn"]

    def seen() -> dict[str, Any]:
        return client.get_quantum_task(quantumTaskArn=arn, additionalAttributeNames=["QueueInfo"])

    assert set(seen()["actionMetadata"]) == {"actionType"}
    assert "numSuccessfulShots" not in seen()
    assert seen()["queueInfo"] == {"queue": "QUANTUM_TASKS_QUEUE", "queuePriority": "Normal", "position": "1"}
    sandbox.admin.release()
    assert seen()["numSuccessfulShots"] == 10
    assert (seen()["queueInfo"]["position"], "COMPLETED" in seen()["queueInfo"]["message"]) == ("None", True)


def test_bad_member_of_a_program_set_is_named(north):
    header = {"braketSchemaHeader": {"name": "braket.ir.openqasm.program_set", "version": "1"}}
    action = header | {"programs": [program(), program("gpi(0.1) q[0];")]}
    with pytest.raises(ClientError) as caught:
        north.create_quantum_task(**task(deviceArn=GARNET, action=json.dumps(action)))
    (failure,) = caught.value.response["programSetValidationFailures"]
    assert failure["programIndex"] == 1
    assert caught.value.response["reason"] == "ProgramSetValidationFailed"


def test_credentials_that_play_failures(sandbox):
    def device_with(key: str) -> Any:
        made = boto3.session.Session(aws_access_key_id=key, aws_secret_access_key="x", region_name="us-east-1")
        return made.client("braket", endpoint_url=sandbox.url, config=ONCE).get_device

    refused(device_with("invalid-1"), "UnrecognizedClientException", 403, deviceArn=SV1)
    refused(device_with("denied-1"), "AccessDeniedException", 403, deviceArn=SV1)


# -- client tokens -------------------------------------------------------------------------------------------------


def test_key_that_aws_does_not_know_is_refused_everywhere(clients, client, sandbox):
    sandbox.admin.switches("braket", known_keys="another,third")
    refused(client.create_quantum_task, "UnrecognizedClientException", 403, **task())
    refused(clients["s3", "us-east-1"].head_bucket, "403", 403, Bucket=BUCKET)
    sandbox.admin.switches("braket", known_keys="test")
    assert client.create_quantum_task(**task())["quantumTaskArn"]


def test_same_token_and_parameters_give_the_same_task(client, sandbox):
    first, second = (client.create_quantum_task(**task(clientToken="k1"))["quantumTaskArn"] for _ in range(2))
    assert first == second
    assert sandbox.admin.count_jobs("braket") == 1


def test_same_token_with_other_parameters_follows_the_switch(client, sandbox):
    arn = client.create_quantum_task(**task(clientToken="k1"))["quantumTaskArn"]
    other = task(clientToken="k1", shots=11)
    refused(client.create_quantum_task, "ValidationException", 400, **other)
    sandbox.admin.switches("braket", token_mismatch="conflict")
    refused(client.create_quantum_task, "ConflictException", 409, **other)
    sandbox.admin.switches("braket", token_mismatch="same_arn")
    assert client.create_quantum_task(**other)["quantumTaskArn"] == arn
    assert sandbox.admin.count_jobs("braket") == 1


def test_expired_or_ignored_token_buys_again(client, sandbox):
    sandbox.admin.switches("braket", token_ttl_s=60.0)
    client.create_quantum_task(**task(clientToken="k1"))
    sandbox.admin.advance(61)
    client.create_quantum_task(**task(clientToken="k1"))
    assert sandbox.admin.count_jobs("braket") == 2
    sandbox.admin.switches("braket", token="ignore")
    client.create_quantum_task(**task(clientToken="k1"))
    assert sandbox.admin.count_jobs("braket") == 3


# -- program sets --------------------------------------------------------------------------------------------------


def test_program_set_member_without_gates_keeps_every_shot_and_is_misread(north, clients, sandbox):
    members = [program(""), program("x q[0];"), program("x q[0];", qubits=2)]
    action = {"braketSchemaHeader": {"name": "braket.ir.openqasm.program_set", "version": "1"}, "programs": members}
    arn = north.create_quantum_task(**task(deviceArn=GARNET, shots=3000, action=json.dumps(action)))["quantumTaskArn"]
    place = north.get_quantum_task(quantumTaskArn=arn)["outputS3Directory"]
    keys = [f"{place}/programs/{k}/executables/0.json" for k in range(3)]
    bodies = [clients["s3", "us-east-1"].get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys]
    rows = [json.loads(body)["measurements"] for body in bodies]
    assert [len(each) for each in rows] == [1000, 1000, 1000]
    # two bits in a hundred are misread on this device; the last qubit of the last program has no gate
    assert 0 < sum(row[0] for row in rows[0]) < 60
    assert 0 < sum(row[1] for row in rows[2]) < 60


def test_program_set_with_more_shots_than_all_executables_may_have_is_refused(north):
    action = {"braketSchemaHeader": {"name": "braket.ir.openqasm.program_set", "version": "1"}}
    parameters = task(deviceArn=GARNET, shots=11 * 20_000, action=json.dumps(action | {"programs": [program()] * 11}))
    assert "200000" in refused(north.create_quantum_task, "ValidationException", 400, **parameters)


# -- search and tags -----------------------------------------------------------------------------------------------


def test_search_pages_through_everything_once(client, sandbox):
    made = [client.create_quantum_task(**task(clientToken=f"k{i}"))["quantumTaskArn"] for i in range(7)]
    seen: list[str] = []
    token: dict[str, str] = {}
    while True:
        page = client.search_quantum_tasks(filters=[], maxResults=3, **token)
        seen += [entry["quantumTaskArn"] for entry in page["quantumTasks"]]
        if "nextToken" not in page:
            break
        token = {"nextToken": page["nextToken"]}
    assert seen == made[::-1]
    assert sandbox.admin.requests("braket.search") == 3


def test_filters_are_joined_by_and_their_values_by_or(client, sandbox):
    sandbox.admin.clock("frozen")
    made = [client.create_quantum_task(**task(clientToken=f"k{i}"))["quantumTaskArn"] for i in range(3)]
    client.cancel_quantum_task(quantumTaskArn=made[0])

    def found(*filters: tuple[str, list[str]]) -> set[str]:
        asked = [{"name": name, "operator": "EQUAL", "values": values} for name, values in filters]
        return {entry["quantumTaskArn"] for entry in client.search_quantum_tasks(filters=asked)["quantumTasks"]}

    assert found(("quantumTaskArn", made[:2])) == set(made[:2])
    assert found(("quantumTaskArn", made), ("status", ["QUEUED"])) == set(made[1:])
    sandbox.admin.switches("braket", search_values="first")
    assert found(("quantumTaskArn", made)) == {made[0]}


def test_other_region_sees_nothing(client, north):
    client.create_quantum_task(**task())
    assert north.search_quantum_tasks(filters=[])["quantumTasks"] == []


def test_lagging_search_and_get_show_a_task_later(client, sandbox):
    sandbox.admin.switches("braket", search_lag_s=30.0, get_lag_s=10.0)
    arn = client.create_quantum_task(**task())["quantumTaskArn"]
    assert client.search_quantum_tasks(filters=[])["quantumTasks"] == []
    refused(client.get_quantum_task, "ResourceNotFoundException", 404, quantumTaskArn=arn)
    sandbox.admin.advance(31)
    assert client.get_quantum_task(quantumTaskArn=arn)["quantumTaskArn"] == arn
    assert len(client.search_quantum_tasks(filters=[])["quantumTasks"]) == 1


def test_forgotten_task_is_found_by_no_call(client, clients, sandbox):
    arn = client.create_quantum_task(**task())["quantumTaskArn"]
    place = client.get_quantum_task(quantumTaskArn=arn)["outputS3Directory"]
    sandbox.admin.forget([arn])
    refused(client.get_quantum_task, "ResourceNotFoundException", 404, quantumTaskArn=arn)
    for filters in ([], [{"name": "quantumTaskArn", "operator": "EQUAL", "values": [arn]}]):
        assert client.search_quantum_tasks(filters=filters)["quantumTasks"] == []
    s3 = clients["s3", "us-east-1"]
    refused(s3.get_object, "NoSuchKey", 404, Bucket=BUCKET, Key=f"{place}/results.json")


def test_tags_are_kept_shown_and_changed(client):
    arn = client.create_quantum_task(**task(tags={"a": "1"}))["quantumTaskArn"]
    client.tag_resource(resourceArn=arn, tags={"b": "2"})
    assert client.search_quantum_tasks(filters=[])["quantumTasks"][0]["tags"] == {"a": "1", "b": "2"}
    client.untag_resource(resourceArn=arn, tagKeys=["a"])
    assert client.list_tags_for_resource(resourceArn=arn)["tags"] == {"b": "2"}


def test_cancel_of_a_finished_task_is_a_conflict(client):
    arn = client.create_quantum_task(**task())["quantumTaskArn"]
    assert client.get_quantum_task(quantumTaskArn=arn)["status"] == "COMPLETED"
    said = refused(client.cancel_quantum_task, "ConflictException", 409, quantumTaskArn=arn)
    assert said == "Amazon Braket cannot cancel a quantum task in the COMPLETED status"


def test_status_words_follow_the_clock(client, sandbox):
    sandbox.admin.switches("braket", created_reads=1)
    sandbox.admin.clock("count:4")
    arn = client.create_quantum_task(**task())["quantumTaskArn"]
    words = [client.get_quantum_task(quantumTaskArn=arn)["status"] for _ in range(5)]
    assert words == ["CREATED", "QUEUED", "RUNNING", "COMPLETED", "COMPLETED"]


def test_documented_quota_throttles_when_switched_on(client, sandbox):
    sandbox.admin.switches("braket", quotas=True)

    def search_often() -> None:
        for _ in range(200):
            client.search_quantum_tasks(filters=[])

    refused(search_often, "ThrottlingException", 429)
    assert 50 <= sandbox.admin.counts()["statuses"]["braket.search 200"] < 100


# -- storage -------------------------------------------------------------------------------------------------------


def test_result_appears_in_the_bucket_after_its_lag(client, clients, sandbox):
    s3 = clients["s3", "us-east-1"]
    sandbox.admin.switches("braket", result_lag_s=5.0)
    arn = client.create_quantum_task(**task())["quantumTaskArn"]
    body = client.get_quantum_task(quantumTaskArn=arn)
    key = f"{body['outputS3Directory']}/results.json"
    refused(s3.get_object, "NoSuchKey", 404, Bucket=BUCKET, Key=key)
    sandbox.admin.advance(6)
    result = json.loads(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    assert result["measurements"] == [[1]] * 10
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=BUCKET)["Contents"]] == [key]


def test_object_is_stored_and_read_back(clients, sandbox):
    s3 = clients["s3", "us-east-1"]
    s3.create_bucket(Bucket="mine")
    s3.put_object(Bucket="mine", Key="a/b.txt", Body=b"text")
    assert s3.get_object(Bucket="mine", Key="a/b.txt")["Body"].read() == b"text"
    assert s3.head_object(Bucket="mine", Key="a/b.txt")["ContentLength"] == 4
    refused(s3.get_object, "NoSuchBucket", 404, Bucket="other", Key="a")
    s3.delete_object(Bucket="mine", Key="a/b.txt")
    refused(s3.get_object, "NoSuchKey", 404, Bucket="mine", Key="a/b.txt")


def test_bucket_lies_in_one_region_and_belongs_to_one_account(clients, client, north, sandbox):
    here, there = clients["s3", "us-east-1"], clients["s3", "eu-north-1"]
    here.create_bucket(Bucket="mine")
    assert here.head_bucket(Bucket="mine")["BucketRegion"] == "us-east-1"
    refused(there.create_bucket, "IllegalLocationConstraintException", 400, Bucket="other")
    refused(
        there.create_bucket, "BucketAlreadyOwnedByYou", 409,
        Bucket="mine", CreateBucketConfiguration={"LocationConstraint": "eu-north-1"},
    )  # fmt: skip
    sandbox.admin.switches("braket", qpu_noise=False)
    garnet = task(deviceArn=GARNET, outputS3Bucket="mine")
    assert "us-east-1" in refused(north.create_quantum_task, "ValidationException", 400, **garnet)
    refused(here.head_bucket, "403", 403, Bucket="mine", ExpectedBucketOwner="210987654321")
    sandbox.admin.switches("braket", foreign_buckets="theirs")
    refused(here.head_bucket, "403", 403, Bucket="theirs")
    refused(here.get_object, "AccessDenied", 403, Bucket="theirs", Key="a")
    refused(here.create_bucket, "BucketAlreadyExists", 409, Bucket="theirs")
    refused(client.create_quantum_task, "AccessDeniedException", 403, **task(outputS3Bucket="theirs"))
    assert sandbox.admin.count_jobs("braket") == 0


# -- signatures ------------------------------------------------------------------------------------------------------


def _signed(sandbox: Sandbox, service: str, key: str, secret: str) -> Any:
    session = boto3.session.Session(aws_access_key_id=key, aws_secret_access_key=secret, region_name="us-east-1")
    return session.client(service, endpoint_url=sandbox.url, config=ONCE)


def test_signature_made_with_another_secret_is_refused_in_the_words_of_each_service(sandbox: Sandbox) -> None:
    sandbox.admin.switches("braket", secret_keys="AKIALAB=right+/secret,test=test")
    good, bad = (_signed(sandbox, "braket", "AKIALAB", secret) for secret in ("right+/secret", "wrong"))
    assert good.create_quantum_task(**task(tags={"a b": "c/d+é"}))["quantumTaskArn"]
    assert good.get_device(deviceArn=SV1)["deviceStatus"] == "ONLINE"
    refused(bad.create_quantum_task, "InvalidSignatureException", 403, **task())
    refused(bad.get_device, "InvalidSignatureException", 403, deviceArn=SV1)
    refused(_signed(sandbox, "sts", "AKIALAB", "wrong").get_caller_identity, "SignatureDoesNotMatch", 403)
    assert _signed(sandbox, "sts", "AKIALAB", "right+/secret").get_caller_identity()["Account"]
    s3 = _signed(sandbox, "s3", "AKIALAB", "right+/secret")
    s3.put_object(Bucket=BUCKET, Key="a b/c+d=1/é", Body=b"x" * 100)
    assert s3.get_object(Bucket=BUCKET, Key="a b/c+d=1/é")["Body"].read() == b"x" * 100
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="a b/")["KeyCount"] == 1
    wrong = _signed(sandbox, "s3", "AKIALAB", "wrong")
    refused(wrong.get_object, "SignatureDoesNotMatch", 403, Bucket=BUCKET, Key="x")
    refused(wrong.head_bucket, "403", 403, Bucket=BUCKET)
    assert _signed(sandbox, "braket", "AKIAOTHER", "any").get_device(deviceArn=SV1)["deviceStatus"] == "ONLINE"
    assert sandbox.admin.count_jobs("braket") == 1


@pytest.mark.parametrize("part", ["body", "query", "header"])
def test_signature_does_not_fit_another_request(sandbox: Sandbox, part: str) -> None:
    """What was signed cannot be changed on the way."""
    client = _signed(sandbox, "braket", "sandbox", "sandbox")

    def change(request: Any, **_: Any) -> None:
        if part == "body":
            assert b'"shots": 10' in request.body
            request.body = request.body.replace(b'"shots": 10', b'"shots": 11')
        elif part == "query":
            request.url += "?more=1"
        else:
            request.headers["x-amz-date"] = "20200101T000000Z"

    client.meta.events.register("before-send", lambda request, **_: change(request))
    refused(client.create_quantum_task, "InvalidSignatureException", 403, **task())
    assert sandbox.admin.count_jobs("braket") == 0


def test_signature_of_another_hour_is_refused_and_the_clock_is_named(sandbox: Sandbox) -> None:
    client = _signed(sandbox, "braket", "sandbox", "sandbox")
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=10), tick=True):
        refused(client.get_device, "InvalidSignatureException", 403, deviceArn=SV1)
        sandbox.admin.switches("braket", signature_age_s=0.0)
        assert client.get_device(deviceArn=SV1)["deviceName"] == "SV1"
