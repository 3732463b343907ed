"""The unmodified Braket SDK over HTTP, led by environment variables alone: what works, and how it buys twice."""

from __future__ import annotations

import contextlib
import json
import math
import warnings
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from qflows.sandbox import Sandbox

pytest.importorskip("braket.aws")

from braket.aws import AwsDevice, AwsQuantumTask, AwsSession  # noqa: E402
from braket.aws.queue_information import QueueType  # noqa: E402
from braket.circuits import Circuit, FreeParameter, observables  # noqa: E402
from braket.ir.openqasm import Program  # noqa: E402
from braket.tracking import Tracker  # noqa: E402

SV1 = "arn:aws:braket:::device/quantum-simulator/amazon/sv1"
DM1 = "arn:aws:braket:::device/quantum-simulator/amazon/dm1"
FORTE = "arn:aws:braket:us-east-1::device/qpu/ionq/Forte-1"
CEPHEUS = "arn:aws:braket:us-west-1::device/qpu/rigetti/Cepheus-1-108Q"
EMERALD = "arn:aws:braket:eu-north-1::device/qpu/iqm/Emerald"
IBEX = "arn:aws:braket:eu-north-1::device/qpu/aqt/Ibex-Q1"
GARNET = "arn:aws:braket:eu-north-1::device/qpu/iqm/Garnet"
MODIFIED = """OPENQASM 3.0;
bit[2] b;
qubit[2] q;
x q[0];
ctrl @ x q[0], q[1];
b[0] = measure q[0];
b[1] = measure q[1];
"""
RESERVATION = "arn:aws:braket:eu-north-1:123456789012:reservation/a1b2"


@pytest.fixture(scope="module")
def braket_sandbox() -> Iterator[Sandbox]:
    """One server process for this file, its interpreter warm: the first import takes seconds."""
    with Sandbox(vendors=("braket",)) as running:
        yield running


@pytest.fixture
def sandbox(braket_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Emptied before each test; the clients' whole configuration."""
    braket_sandbox.admin.reset()
    braket_sandbox.admin.switches("braket", qpu_noise=False)
    for name, value in braket_sandbox.env.items():
        monkeypatch.setenv(name, value)
    return braket_sandbox


@pytest.fixture(scope="module")
def devices(braket_sandbox: Sandbox) -> Iterator[dict[str, AwsDevice]]:
    """The SDK's devices; each takes a tenth of a second to make. Their results go to the bucket that is there.

    The environment stays for the whole module: the SDK makes a new S3 client for every result it reads.
    """
    with pytest.MonkeyPatch.context() as environment:
        for name, value in braket_sandbox.env.items():
            environment.setenv(name, value)
        environment.setenv("AMZN_BRAKET_OUT_S3_BUCKET", "amazon-braket-sandbox")
        made = {arn: AwsDevice(arn) for arn in (SV1, DM1, FORTE, CEPHEUS, GARNET)}
        environment.delenv("AMZN_BRAKET_OUT_S3_BUCKET")
        yield made


@pytest.fixture
def sv1(sandbox: Sandbox, devices: dict[str, AwsDevice]) -> AwsDevice:
    return devices[SV1]


@pytest.fixture
def raw(sandbox: Sandbox) -> Any:
    return boto3.session.Session().client("braket")


def bell() -> Circuit:
    return Circuit().h(0).cnot(0, 1)


# -- devices -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arn", "kind", "qubits"),
    [
        (SV1, "GateModelSimulatorDeviceCapabilities", 34),
        (DM1, "GateModelSimulatorDeviceCapabilities", 17),
        (FORTE, "IonqDeviceCapabilities", 36),
        (CEPHEUS, "RigettiDeviceCapabilities", 107),
        (GARNET, "IqmDeviceCapabilities", 20),
        (EMERALD, "IqmDeviceCapabilities", 54),
        (IBEX, "AqtDeviceCapabilities", 12),
    ],
)
def test_device_document_is_parsed_by_the_sdk_without_a_warning(sandbox, arn, kind, qubits):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ResourceWarning)  # of clients that earlier tests left to the garbage collector
        device = AwsDevice(arn)
    assert type(device.properties).__name__ == kind
    assert device.properties.paradigm.qubitCount == qubits
    assert device.status == "ONLINE"
    assert device.is_available
    assert device.queue_depth().quantum_tasks[QueueType.NORMAL] == "0"


def test_topology_and_native_gates_are_offered(sandbox):
    device = AwsDevice(GARNET)
    assert sorted(device.topology_graph.nodes) == list(range(1, 21))
    assert (device.topology_graph.has_edge(1, 4), device.topology_graph.has_edge(2, 3)) == (True, False)
    assert device.properties.paradigm.nativeGateSet == ["cz", "prx", "cc_prx", "measure_ff", "barrier"]
    cepheus = AwsDevice(CEPHEUS).properties
    assert "8" not in cepheus.paradigm.connectivity.connectivityGraph
    sets = cepheus.action["braket.ir.openqasm.program_set"]
    assert (sets.maximumExecutables, sets.maximumTotalShots) == (100, 200_000)
    program = cepheus.action["braket.ir.openqasm.program"]
    assert (program.maximumQubitArrays, program.supportedModifiers, program.supportsPartialVerbatimBox) == (1, [], True)


def test_devices_of_all_regions_are_found(sandbox):
    found = {device.arn for device in AwsDevice.get_devices(statuses=["ONLINE"])}
    assert {SV1, FORTE, GARNET} <= found


# -- results -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arn", [SV1, DM1, FORTE, CEPHEUS, GARNET])
def test_circuit_runs_on_every_device(sandbox, devices, arn):
    task = devices[arn].run(Circuit().x(0).cnot(0, 1).z(2), shots=100)
    assert task.result().measurement_counts == {"110": 100}
    assert task.state() == "COMPLETED"
    assert task.metadata()["numSuccessfulShots"] == 100


def test_columns_follow_the_measured_bits(sandbox, devices):
    circuit = Circuit().x(2).i(0).i(1).measure(2).measure(0)
    result = devices[GARNET].run(circuit, shots=10).result()
    assert result.measured_qubits == [2, 0]
    assert result.measurement_counts == {"10": 10}
    backwards = "OPENQASM 3.0;\nbit[2] b;\nqubit[3] q;\nx q[2];\nb[1] = measure q[2];\nb[0] = measure q[0];\n"
    result = devices[GARNET].run(Program(source=backwards), shots=10).result()
    assert result.measured_qubits == [0, 2]
    assert result.measurement_counts == {"01": 10}


def test_columns_of_physical_qubits_are_those_of_a_captured_task(sandbox, devices):
    # raw result of Garnet in amazon-braket-examples, 2025-08
    order = (3, 4, 5, 2, 1)
    measures = "".join(f"b[{k}] = measure ${qubit};\n" for k, qubit in enumerate(order))
    result = devices[GARNET].run(Program(source=f"OPENQASM 3.0;\nbit[5] b;\nx $3;\n{measures}"), shots=10).result()
    assert result.measured_qubits == list(order)
    assert result.measurement_counts == {"10000": 10}


@pytest.mark.parametrize("arn", [SV1, FORTE])
def test_partial_measurement_is_refused_where_the_service_refuses_it(sandbox, devices, arn):
    with pytest.raises(ClientError, match="Device requires all qubits in the program to be measured"):
        devices[arn].run(Circuit().h(0).cnot(0, 1).measure(0), shots=100)
    with pytest.raises(ClientError, match="declaring non-contiguous qubits"):
        devices[arn].run(Circuit().h(0).cnot(0, 3), shots=100)


def test_probabilities_only_device_is_sampled_by_the_client(sandbox, devices):
    result = devices[FORTE].run(bell(), shots=100).result()
    assert result.measurement_probabilities_copied_from_device
    assert set(result.measurement_counts) == {"00", "11"}


def test_free_parameter_travels_as_an_input(sv1):
    circuit = Circuit().rx(0, FreeParameter("theta"))
    assert sv1.run(circuit, shots=20, inputs={"theta": math.pi}).result().measurement_counts == {"1": 20}


def test_verbatim_box_runs_on_physical_qubits(sandbox, devices):
    native = Circuit().add_verbatim_box(Circuit().prx(1, math.pi, 0).prx(2, 0.0, 0.0).cz(1, 2))
    result = devices[GARNET].run(native, shots=20, disable_qubit_rewiring=True).result()
    assert result.measurement_counts == {"10": 20}


def test_gate_outside_the_native_set_is_refused_in_a_verbatim_box(sandbox, devices):
    for boxed, said in (
        (Circuit().h(1), "not native"),
        (Circuit().cz(2, 3), "not connected"),
        (Circuit().prx(0, 1.0, 0), r"no qubit \$0"),
    ):
        with pytest.raises(ClientError, match=said):
            devices[GARNET].run(Circuit().add_verbatim_box(boxed), shots=20, disable_qubit_rewiring=True)


@pytest.fixture(scope="module")
def interpreter(devices: dict[str, AwsDevice]) -> None:
    """Braket's own interpreter in the worker: its import takes seconds, before the clock of a single test runs."""
    devices[SV1].run(Program(source=MODIFIED), shots=1).result()


@pytest.mark.usefixtures("interpreter")
class TestInterpreter:
    """What the emulator's own reader of flat programs does not know."""

    def test_modifiers_are_understood(self, sv1):
        assert sv1.run(Program(source=MODIFIED), shots=10).result().measurement_counts == {"11": 10}

    def test_state_vector_without_shots(self, sv1):
        (state,) = sv1.run(bell().state_vector(), shots=0).result().values
        assert state == pytest.approx([math.sqrt(0.5), 0, 0, math.sqrt(0.5)])

    def test_expectation_value_with_shots(self, sv1):
        circuit = bell().expectation(observables.Z() @ observables.Z(), [0, 1])
        assert sv1.run(circuit, shots=50).result().values == [1.0]

    def test_noise_runs_on_the_density_matrix_simulator(self, sandbox, devices):
        circuit = Circuit().x(0).amplitude_damping(0, gamma=1.0)
        assert devices[DM1].run(circuit, shots=10).result().measurement_counts == {"0": 10}

    def test_nonsense_fails_the_task(self, sv1):
        task = sv1.run(Program(source="OPENQASM 3.0;\nqubit[1] q;\nnonsense q[0];\n"), shots=10)
        assert task.result() is None
        assert task.state() == "FAILED"


# -- life of a task ------------------------------------------------------------------------------------------------


def test_task_is_read_again_by_its_arn(sv1):
    task = sv1.run(bell(), shots=10, tags={"study": "a"})
    again = AwsQuantumTask(task.id)
    assert again.result().measurement_counts.total() == 10
    assert again.metadata()["tags"] == {"study": "a"}


def test_queue_position_counts_the_tasks_before(sv1, sandbox):
    sandbox.admin.clock("frozen")
    first, second = sv1.run(bell(), shots=10), sv1.run(bell(), shots=10)
    assert [t.queue_position().queue_position for t in (first, second)] == ["1", "2"]
    assert sv1.queue_depth().quantum_tasks[QueueType.NORMAL] == "2"


def test_cancelled_task_shows_cancelling_first_and_has_no_result(sv1, sandbox):
    sandbox.admin.clock("frozen")
    task = sv1.run(bell(), shots=10)
    task.cancel()
    assert AwsQuantumTask(task.id).state() == "CANCELLING"
    assert AwsQuantumTask(task.id).state() == "CANCELLED"
    assert AwsQuantumTask(task.id).result() is None


def test_failed_task_gives_none_and_a_reason(sv1, sandbox):
    sandbox.admin.fault("fail_job", "braket.submit", message="the laser went off")
    task = sv1.run(bell(), shots=10)
    assert task.result() is None
    assert "laser" in task.metadata()["failureReason"]


def test_reservation_is_recorded_on_the_task(sandbox, devices):
    task = devices[GARNET].run(bell(), shots=10, reservation_arn=RESERVATION)
    assert task.metadata()["associations"] == [{"arn": RESERVATION, "type": "RESERVATION_TIME_WINDOW_ARN"}]


def test_default_bucket_is_created_by_the_sdk(sandbox):
    task = AwsDevice(SV1).run(bell(), shots=10)
    assert task.metadata()["outputS3Bucket"] == "amazon-braket-us-east-1-123456789012"
    assert sandbox.admin.requests("braket.s3_create_bucket") > 0


def test_missing_bucket_refuses_the_submission(sandbox):
    with pytest.raises(ClientError, match="ValidationException.*no-such-bucket"):
        AwsDevice(SV1).run(bell(), ("no-such-bucket", "tasks"), shots=10)
    sandbox.admin.switches("braket", missing_bucket="fail_task")
    task = AwsDevice(SV1).run(bell(), ("no-such-bucket", "tasks"), shots=10)
    assert task.result() is None
    assert "no-such-bucket" in task.metadata()["failureReason"]


def test_tracker_counts_cost_with_the_sandbox_price_list(sandbox, devices):
    with Tracker() as tracker:
        devices[GARNET].run(bell(), shots=100).result()
    assert float(tracker.qpu_tasks_cost()) == pytest.approx(0.30 + 100 * 0.00145)


def test_session_copies_to_another_region_stay_on_the_sandbox(sandbox):
    session = AwsSession().copy_session(region="eu-north-1")
    assert session.braket_client.meta.endpoint_url == sandbox.url
    assert session.get_device(GARNET)["deviceName"] == "Garnet"


def test_program_set_of_the_schema_gives_one_result_per_executable(raw, sandbox):
    source = "OPENQASM 3.0;\ninput float theta;\nbit[1] b;\nqubit[1] q;\nrx(theta) q[0];\nb[0] = measure q[0];\n"
    program = {"braketSchemaHeader": {"name": "braket.ir.openqasm.program", "version": "1"}, "source": source}
    action = {
        "braketSchemaHeader": {"name": "braket.ir.openqasm.program_set", "version": "1"},
        "programs": [program | {"inputs": {"theta": [0.0, math.pi]}}],
    }
    session = boto3.session.Session(region_name="eu-north-1")
    where = {"outputS3Bucket": "amazon-braket-sandbox", "outputS3KeyPrefix": "sets"}
    arn = session.client("braket").create_quantum_task(deviceArn=GARNET, action=json.dumps(action), shots=20, **where)[
        "quantumTaskArn"
    ]
    task = session.client("braket").get_quantum_task(quantumTaskArn=arn)
    assert task["status"] == "COMPLETED"
    assert task["actionMetadata"]["executableCount"] == 2

    def read(path: str) -> str:
        where = {"Bucket": "amazon-braket-sandbox", "Key": f"{task['outputS3Directory']}/{path}"}
        return session.client("s3").get_object(**where)["Body"].read().decode()

    from braket.task_result import (
        ProgramResult,
        ProgramSetExecutableResult,
        ProgramSetTaskMetadata,
        ProgramSetTaskResult,
    )

    root = ProgramSetTaskResult.parse_raw(read("results.json"))
    assert root.programResults == ["programs/0/results.json"]
    assert root.s3Location == ("amazon-braket-sandbox", task["outputS3Directory"])
    assert ProgramSetTaskMetadata.parse_raw(read(str(root.taskMetadata))).successfulShots == 20
    member = ProgramResult.parse_raw(read("programs/0/results.json"))
    assert member.executableResults == ["executables/0.json", "executables/1.json"]
    assert json.loads(read(f"programs/0/{member.source}"))["inputs"] == {"theta": [0.0, math.pi]}
    found = [ProgramSetExecutableResult.parse_raw(read(f"programs/0/{path}")) for path in member.executableResults]
    assert [set(map(tuple, each.measurements)) for each in found] == [{(0,)}, {(1,)}]
    sandbox.admin.switches("braket", program_set_results="inline")
    (inlined,) = ProgramSetTaskResult.parse_raw(read("results.json")).programResults
    assert [set(map(tuple, each.measurements)) for each in inlined.executableResults] == [{(0,)}, {(1,)}]


def test_program_set_of_the_newest_sdk_is_read_by_it(sandbox, devices):
    program_sets = pytest.importorskip("braket.program_sets")
    wanted = program_sets.ProgramSet([Circuit().x(0).i(1), Circuit().x(1).i(0)], shots_per_executable=10)
    result = devices[GARNET].run(wanted).result()
    assert [dict(result[place][0].counts) for place in range(2)] == [{"10": 10}, {"01": 10}]


# -- how it buys twice ---------------------------------------------------------------------------------------------


def test_lost_answer_is_repeated_with_the_same_token_and_bought_once(sv1, sandbox):
    sandbox.admin.fault("drop_after", "braket.submit")
    assert sv1.run(bell(), shots=10).result().measurement_counts.total() == 10
    assert sandbox.admin.requests("braket.submit") == 2
    assert sandbox.admin.count_jobs("braket") == 1


def test_lost_answers_and_another_run_buy_twice(sv1, sandbox):
    sandbox.admin.fault("drop_after", "braket.submit", times=3)
    with pytest.raises(ConnectionClosedError):
        sv1.run(bell(), shots=10)
    sv1.run(bell(), shots=10)
    assert sandbox.admin.count_jobs("braket") == 2


def test_token_given_to_run_does_not_reach_the_wire(sv1, sandbox):
    # SDK 1.88.1 raises after the task was bought, 1.127.5 ignores the token with a warning
    for _ in range(2):
        with contextlib.suppress(TypeError):
            sv1.run(bell(), shots=10, clientToken="k" * 32)
    assert sandbox.admin.count_jobs("braket") == 2


def test_throttled_submission_is_repeated_by_the_client(sv1, sandbox):
    sandbox.admin.fault("status", "braket.submit", status=429)
    sv1.run(bell(), shots=10)
    assert sandbox.admin.requests("braket.submit") == 2
    assert sandbox.admin.count_jobs("braket") == 1


def test_outage_of_a_status_read_ends_the_wait(sv1, sandbox):
    sandbox.admin.clock("frozen")
    task = sv1.run(bell(), shots=10, poll_interval_seconds=0.05)
    sandbox.admin.fault("status", "braket.get", status=500, times=3)
    with pytest.raises(ClientError, match="InternalService"):
        task.result()


def test_batch_submits_failing_tasks_again_by_itself(sv1, sandbox):
    sandbox.admin.fault("fail_job", "braket.submit", times=None)
    batch = sv1.run_batch([bell(), bell()], shots=10, poll_interval_seconds=0.05)
    assert batch.results() == [None, None]
    assert sandbox.admin.count_jobs("braket") == 8


def test_batch_without_retries_buys_what_was_asked(sv1, sandbox):
    batch = sv1.run_batch([bell(), bell(), bell()], shots=10, poll_interval_seconds=0.05)
    assert [r.measurement_counts.total() for r in batch.results(max_retries=0)] == [10, 10, 10]
    assert sandbox.admin.count_jobs("braket") == 3
