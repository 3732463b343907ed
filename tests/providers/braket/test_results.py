"""Results and failures of Braket tasks: program sets with holes, verbatim, reservations, and every refusal by name."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from braket_devices import BUCKET, CEPHEUS, FORTE, GARNET, RETIRED, SV1
from qiskit import QuantumCircuit
from qiskit.circuit import Gate

from qflows.core.batches.planning import job_limits, plan
from qflows.core.devices import Sole
from qflows.core.poller import Poller
from qflows.core.submit import Submitter
from qflows.errors import Ambiguous, NotSent, ProgramRejected, ProviderError, Refused, Throttled, Unreadable
from qflows.ledger import Ledger, reads
from qflows.ledger.intents import Intent, Want
from qflows.programs import Program, to_program
from qflows.protocol import JobSpec, Phase, Prepared
from qflows.providers.braket import circuits, results, wire
from qflows.providers.braket.adapter import BraketProvider
from qflows.sandbox import Sandbox
from qflows.states import JobStatus
from qflows.testing import bell, key_of, read_result, run, send_job, wait

RESERVATION = "arn:aws:braket:eu-north-1:123456789012:reservation/a1b2"


def spec(*programs: Program, device: str = SV1, shots: int = 100, **options: Any) -> JobSpec:
    return JobSpec("braket", device, programs or (bell(),), shots, options=options)


def flipped(*qubits: int, n_qubits: int = 3) -> Program:
    circuit = QuantumCircuit(n_qubits, n_qubits)
    circuit.x(list(qubits))
    circuit.measure(range(n_qubits), range(n_qubits))
    return to_program(circuit)


def native(*gates: tuple[str, list[float], list[int]], n_qubits: int = 2) -> Program:
    circuit = QuantumCircuit(n_qubits, n_qubits)
    for name, params, qubits in gates:
        circuit.append(Gate(name, len(qubits), params), qubits)
    circuit.measure(range(n_qubits), range(n_qubits))
    return to_program(circuit)


# -- program sets ----------------------------------------------------------------------------------------------------


def test_program_set_is_one_task_and_shots_are_per_program(provider: BraketProvider, sandbox: Sandbox) -> None:
    wanted = spec(flipped(0), flipped(1), flipped(2), device=GARNET, shots=7)
    result = run(provider, wanted, key_of("set"))
    assert [item.counts for item in result.items] == [{"001": 7}, {"010": 7}, {"100": 7}]
    (job,) = sandbox.admin.jobs("braket")
    assert job["facts"]["shots"] == 21
    assert result.cost is not None
    assert result.cost.amount == pytest.approx(0.30 + 21 * 0.00145)


@pytest.mark.parametrize("partial", ["completed", "failed"])
def test_failed_executable_is_an_error_at_its_own_place(
    provider: BraketProvider, sandbox: Sandbox, partial: str, tmp_path: Path
) -> None:
    sandbox.admin.switches("braket", program_set_partial=partial)
    sandbox.admin.fault("fail_job", "braket.submit", message="ion lost", children=[1])
    wanted = spec(flipped(0), flipped(1), flipped(2), device=GARNET)
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    submitter = Submitter(ledger)
    intent = Intent(wanted, Want("run", "attempt", "holder"), "garnet", provider.account)
    (job,) = submitter.submit(provider, [intent])
    done = Poller(submitter, Sole(provider), poll_min_s=0.0).wait([job.key], timeout=20)[job.key]
    assert done.status is (JobStatus.COMPLETED if partial == "completed" else JobStatus.FAILED)
    first, second, third = reads.items(ledger, job.key)
    assert (first.counts, third.counts) == ({"001": 100}, {"100": 100})
    assert second.counts is None
    assert second.error is not None
    assert (second.error.code, second.error.message) == ("DEVICE", "ion lost")
    ledger.close()


def test_failed_program_set_without_results_is_refused_with_its_reason(
    provider: BraketProvider, sandbox: Sandbox
) -> None:
    sandbox.admin.switches("braket", program_set_partial="failed", failed_set_has_results=False)
    sandbox.admin.fault("fail_job", "braket.submit", children=[0])
    wanted = spec(flipped(0), flipped(1), device=GARNET)
    arn = send_job(provider, wanted, key_of("hole")).vendor_id
    assert wait(provider, [arn])[arn].phase is Phase.FAILED
    with pytest.raises(Refused, match="FAILED"):
        read_result(provider, arn, wanted, key_of("hole"))


def test_program_set_on_a_device_without_them_is_refused_before_it_is_sent(
    provider: BraketProvider, sandbox: Sandbox
) -> None:
    with pytest.raises(Refused, match="single jobs"):
        send_job(provider, spec(bell(), bell()), key_of("no set"))
    assert sandbox.admin.requests("braket.submit") == 0


def test_program_sets_are_split_below_a_device_s_shots_and_executables(
    provider: BraketProvider, sandbox: Sandbox
) -> None:
    limits = job_limits(provider, provider.limits(GARNET).max_programs, as_batch=None, max_circuits=None)
    base = spec(device=GARNET)
    planned = plan(base, [bell()] * 120, [20_000] * 120, limits)
    assert [len(indices) for indices, _ in planned.specs] == [10] * 12
    assert [len(indices) for indices, _ in plan(base, [bell()] * 120, [10] * 120, limits).specs] == [100, 20]
    assert send_job(provider, planned.specs[0][1], key_of("largest set")).vendor_id
    with pytest.raises(Refused, match="at most 10 programs"):
        send_job(provider, spec(*[bell()] * 11, device=GARNET, shots=20_000), key_of("too many shots"))
    assert sandbox.admin.requests("braket.submit") == 1


# -- gates and options -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", [FORTE, CEPHEUS, GARNET])
def test_gates_the_device_lacks_are_compiled_away(provider: BraketProvider, sandbox: Sandbox, device: str) -> None:
    circuit = QuantumCircuit(3, 3)
    circuit.h(range(3))
    circuit.cp(math.pi / 3, 0, 1)
    circuit.csx(1, 2)
    circuit.cp(-math.pi / 3, 0, 1)
    circuit.csx(1, 2)
    circuit.csx(1, 2)
    circuit.csx(1, 2)
    circuit.h(range(3))
    circuit.measure(range(3), range(3))
    assert run(provider, spec(to_program(circuit), device=device), key_of("gates", device)).items[0].counts == {
        "000": 100
    }


def test_native_gates_run_verbatim_on_physical_qubits(provider: BraketProvider, sandbox: Sandbox) -> None:
    # GPi(0) is X up to phase, radians as Braket takes them
    program = native(("gpi", [0.0], [0]), ("gpi2", [0.0], [1]), ("gpi2", [0.0], [1]), ("gpi", [0.0], [1]))
    (item,) = run(provider, spec(program, device=FORTE, verbatim=True), key_of("native")).items
    assert item.counts == {"01": 100}
    (job,) = sandbox.admin.jobs("braket")
    source = json.loads(sandbox.admin.job(job["id"])["request"]["action"])["source"]
    assert "#pragma braket verbatim\nbox{\ngpi(0.0) $0;" in source
    parameters = json.loads(job["facts"]["deviceParameters"])
    assert parameters["braketSchemaHeader"]["name"] == "braket.device_schema.ionq.ionq_device_parameters"
    assert parameters["paradigmParameters"]["disableQubitRewiring"] is True


def test_gate_that_is_not_native_is_refused_in_verbatim(provider: BraketProvider) -> None:
    circuit = QuantumCircuit(4, 2)
    circuit.h(1)
    circuit.measure([1, 2], [0, 1])
    with pytest.raises(ProgramRejected, match="not native"):
        send_job(provider, spec(to_program(circuit), device=GARNET, verbatim=True), key_of("foreign"))
    circuit = QuantumCircuit(4, 2)
    circuit.cz(2, 3)
    circuit.measure([2, 3], [0, 1])
    with pytest.raises(ProgramRejected, match="not connected"):
        send_job(provider, spec(to_program(circuit), device=GARNET, verbatim=True), key_of("apart"))
    with pytest.raises(ProgramRejected, match="no qubit 0; its qubits are 1-20"):
        send_job(provider, spec(bell(), device=GARNET, verbatim=True), key_of("hole"))
    circuit = QuantumCircuit(4, 1)
    circuit.rccx(1, 2, 3)
    circuit.measure(1, 0)
    foreign = spec(to_program(circuit), device=GARNET, verbatim=True)
    with pytest.raises(ProgramRejected, match="rccx"):
        provider.check(foreign)


def test_device_parameters_are_read_by_braket_s_own_schemas(provider: BraketProvider) -> None:
    from braket.device_schema.ionq import IonqDeviceParameters
    from braket.device_schema.rigetti import RigettiDeviceParameters
    from braket.device_schema.simulators import GateModelSimulatorDeviceParameters
    from braket.ir.openqasm import Program as Schema

    def request(device: str, **options: Any) -> dict[str, Any]:
        wanted = spec(device=device, shots=2500, **options)
        return wire.request(wanted, "k" * 64, device=provider._device(device), bucket=BUCKET, prefix="p")

    mitigated = IonqDeviceParameters.parse_raw(request(FORTE, error_mitigation="debias")["deviceParameters"])
    assert type((mitigated.errorMitigation or [None])[0]).__name__ == "Debias"
    RigettiDeviceParameters.parse_raw(request(CEPHEUS)["deviceParameters"])
    GateModelSimulatorDeviceParameters.parse_raw(request(GARNET)["deviceParameters"])
    assert "measure" in Schema.parse_raw(request(SV1)["action"]).source


def test_program_set_text_is_read_by_the_newer_schema(provider: BraketProvider) -> None:
    program_set = pytest.importorskip("braket.ir.openqasm.program_set_v1")
    wanted = spec(bell(), bell(), device=GARNET)
    sent = json.dumps(circuits.action(wanted, provider._device(GARNET)))
    assert program_set.ProgramSet.parse_raw(sent).num_executables == 2


def test_reservation_travels_with_the_task_and_costs_nothing_extra(provider: BraketProvider, sandbox: Sandbox) -> None:
    wanted = spec(device=GARNET, reservation_arn=RESERVATION)
    result = run(provider, wanted, key_of("reserved"))
    (job,) = sandbox.admin.jobs("braket")
    assert job["facts"]["associations"] == [{"arn": RESERVATION, "type": "RESERVATION_TIME_WINDOW_ARN"}]
    assert result.cost is not None
    assert result.cost.amount == 0


def test_probabilities_only_device_gives_whole_counts_that_add_up(provider: BraketProvider) -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.ry(1.0, [0, 1])
    circuit.measure([0, 1], [0, 1])
    (item,) = run(provider, spec(to_program(circuit), device=FORTE, shots=137), key_of("frequencies")).items
    assert item.counts is not None
    assert item.counts.shots == 137
    assert item.probabilities == pytest.approx(item.counts.probabilities())


def test_counts_of_frequencies_add_up_where_rounding_each_would_not() -> None:
    assert results.apportion({"00": 0.5, "11": 0.5}, 3) == {"00": 2, "11": 1}
    assert results.apportion({"0": 1 / 3, "1": 2 / 3}, 1000) == {"0": 333, "1": 667}


def test_memory_is_given_where_it_is_asked_for(provider: BraketProvider) -> None:
    (item,) = run(provider, spec(flipped(0), shots=5, memory=True), key_of("memory")).items
    assert item.memory == ("001",) * 5


def test_own_openqasm_object_is_read_as_a_program(provider: BraketProvider) -> None:
    openqasm = pytest.importorskip("braket.ir.openqasm")
    source = "OPENQASM 3.0;\ninput float a;\nbit[1] b;\nqubit[2] q;\nrx(a) q[1];\nx q[0];\nb[0] = measure q[1];\n"
    program = provider.read(openqasm.Program(source=source, inputs={"a": 0.5}))
    assert program is not None
    assert (program.n_clbits, program.measured) == (1, ((1, 0),))
    assert provider.read("OPENQASM 3.0;") is None


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"measurements": [[0, 1]], "measuredQubits": [0]},
        {"measurements": [[0, 1]] * 99, "measuredQubits": [0, 1]},
        {"measurements": [[0, 2]] * 100, "measuredQubits": [0, 1]},
        {"measurements": [[0, 1]] * 100, "measuredQubits": [0, 5]},
        {"measurements": [[0, 1]] * 100, "measuredQubits": [0, 0]},
        {"measurementProbabilities": {"00": 0.5}, "measuredQubits": [0, 1]},
        {"measurementProbabilities": [0.5], "measuredQubits": [0, 1]},
        [],
        None,
    ],
    ids=str,
)
def test_result_outside_the_documented_shape_is_unreadable(document: Any) -> None:
    with pytest.raises(Unreadable):
        results.items(spec(bell()), document)


def test_columns_are_placed_by_their_qubit_and_not_by_their_order() -> None:
    document = {"measurements": [[1, 0, 0]] * 4, "measuredQubits": [2, 0, 1]}
    (item,) = results.items(spec(flipped(2), shots=4), document)
    assert item.counts == {"100": 4}


def prepared_for(provider: BraketProvider, wanted: JobSpec, key: str, bucket: str) -> Prepared:
    """A job whose bucket is another one than was looked at: it was removed in between."""
    ready = provider.prepare(wanted, key)
    return replace(ready, body=replace(ready.body, parameters={**ready.body.parameters, "outputS3Bucket": bucket}))


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "switches", "bucket", "code", "hint"),
    [
        (RETIRED, {}, BUCKET, "DeviceRetiredException", "another device"),
        (GARNET, {"offline": "Garnet"}, BUCKET, "DeviceOfflineException", "execution window"),
        (SV1, {"missing_bucket": "validation"}, "nowhere", "ValidationException", "nowhere"),
        (SV1, {"missing_bucket": "access_denied"}, "nowhere", "AccessDeniedException", "s3:PutObject"),
    ],
    ids=lambda value: str(value)[-20:],
)
def test_refusal_names_what_is_wrong_and_what_to_do(
    provider: BraketProvider, sandbox: Sandbox, device: str, switches: dict[str, Any], bucket: str, code: str, hint: str
) -> None:
    ready = prepared_for(provider, spec(device=device), key_of("refused", code), bucket)
    sandbox.admin.switches("braket", **switches)
    with pytest.raises(Refused, match=hint) as caught:
        provider.send(ready)
    assert caught.value.vendor_code == code
    assert sandbox.admin.count_jobs("braket") == 0


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [(402, "ServiceQuotaExceededException", Throttled), (403, "AccessDeniedException", Refused)],
)
def test_full_quota_is_waited_for_and_missing_access_is_a_refusal(
    provider: BraketProvider, sandbox: Sandbox, status: int, code: str, kind: type[ProviderError]
) -> None:
    sandbox.admin.fault("status", "braket.submit", status=status)
    with pytest.raises(kind) as caught:
        send_job(provider, spec(), key_of("status", status))
    assert (caught.value.http_status, caught.value.vendor_code) == (status, code)


def test_missing_bucket_fails_the_task_with_its_name(provider: BraketProvider, sandbox: Sandbox) -> None:
    sandbox.admin.switches("braket", missing_bucket="fail_task")
    arn = provider.send(prepared_for(provider, spec(), key_of("bucket"), "no-such-bucket")).vendor_id
    look = wait(provider, [arn])[arn]
    assert look.phase is Phase.FAILED
    assert "no-such-bucket" in (look.error_message or "")


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 429}, {"status": 200, "html": True}], ids=str)
def test_trouble_before_the_submission_is_no_doubt(
    provider: BraketProvider, sandbox: Sandbox, fault: dict[str, Any]
) -> None:
    sandbox.admin.fault("status", "braket.device", **fault)
    with pytest.raises((NotSent, Refused)):
        send_job(provider, spec(), key_of("before"))
    assert sandbox.admin.requests("braket.submit") == 0
    assert send_job(provider, spec(), key_of("before")).vendor_id


def test_device_that_may_not_be_read_costs_no_counts(
    provider: BraketProvider, sandbox: Sandbox, connected_to: Callable[[str], BraketProvider]
) -> None:
    arn = send_job(provider, spec(), key_of("page")).vendor_id
    later = connected_to(sandbox.url)
    wait(later, [arn])
    sandbox.admin.fault("status", "braket.device", status=403, times=None)
    result = read_result(later, arn, spec(), key_of("page"))
    assert result.cost is None
    assert result.items[0].counts


def test_shots_beyond_the_device_are_refused_by_the_vendor(provider: BraketProvider) -> None:
    with pytest.raises(Refused, match="shots must be in"):
        send_job(provider, spec(shots=100_001), key_of("shots"))


def test_known_token_with_other_parameters_is_a_doubt(provider: BraketProvider, sandbox: Sandbox) -> None:
    send_job(provider, spec(), key_of("token"))
    for choice in ("refuse", "conflict"):
        sandbox.admin.switches("braket", token_mismatch=choice)
        with pytest.raises(Ambiguous):
            send_job(provider, spec(shots=101), key_of("token"))


def test_result_of_a_cancelled_or_unfinished_task_is_an_error_by_name(
    provider: BraketProvider, sandbox: Sandbox
) -> None:
    sandbox.admin.clock("frozen")
    arn = send_job(provider, spec(), key_of("none")).vendor_id
    with pytest.raises(Ambiguous, match="QUEUED"):
        read_result(provider, arn, spec(), key_of("none"))
    sandbox.admin.switches("braket", cancelling_reads=0)
    provider.cancel(arn)
    with pytest.raises(Refused, match="CANCELLED"):
        read_result(provider, arn, spec(), key_of("none"))


def test_mid_circuit_measurement_is_rejected_before_anything_is_sent(provider: BraketProvider) -> None:
    circuit = QuantumCircuit(1, 2)
    circuit.measure(0, 0)
    circuit.x(0)
    circuit.measure(0, 1)
    with pytest.raises(ProgramRejected):
        provider.check(spec(to_program(circuit)))
