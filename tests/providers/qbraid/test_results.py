"""From qBraid's result bodies to counts, and from its failures to typed errors."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister

from qflows.core.devices import Sole
from qflows.core.poller import Poller
from qflows.core.submit import Submitter
from qflows.errors import ProgramRejected, Refused, Unreadable
from qflows.ledger import Ledger, reads
from qflows.ledger.intents import Intent, Want
from qflows.model import Cost
from qflows.programs import Program, to_program
from qflows.protocol import JobSpec, Phase, Provider
from qflows.providers.qbraid import wire
from qflows.sandbox import Sandbox
from qflows.states import JobStatus
from qflows.testing import CANARY, PROBES, bell, counts_of, key_of, read_result, run, send_job, wait

# the only device of qBraid that takes batches, by its own device data
SIMULATOR, QPU, NO_BATCH = "qbraid:equal1:sim:bell-1", "aws:rigetti:qpu:cepheus-1-108q", "qbraid:qbraid:sim:qir-sv"
# bodies as recorded from a server that qbraid-core 0.6.37 accepted
SINGLE = {
    "status": "COMPLETED",
    "cost": 0.0,
    "timeStamps": {"createdAt": "2026-09-01T10:00:00.621Z", "executionDuration": 5093},
    "resultData": {"measurementCounts": {"00": 55, "11": 45}},
}


def spec(*programs: Program, shots: int = 100, device: str = SIMULATOR, **more: Any) -> JobSpec:
    return JobSpec("qbraid", device, programs or (bell(),), shots, **more)


def body(**data: Any) -> dict[str, Any]:
    return SINGLE | {"resultData": data}


def batch(n: int) -> tuple[Program, ...]:
    return tuple(bell(f"b{i}") for i in range(n))


# -- bodies ----------------------------------------------------------------------------------------------------------


def test_recorded_result_becomes_counts_cost_and_times() -> None:
    (item,) = wire.items_of(SINGLE, spec())
    assert item.counts == {"00": 55, "11": 45}
    assert wire.cost_of(SINGLE) == Cost(0.0, "credits", False)
    assert wire.execution_s(SINGLE) == 5.093


def test_short_keys_spaces_and_zero_counts_are_read_as_the_vendors_client_does() -> None:
    (item,) = wire.items_of(body(measurementCounts={"0": 40, "1 1": 60, "10": 0}), spec())
    assert item.counts == {"00": 40, "11": 60}


def test_snake_case_members_are_read() -> None:
    (item,) = wire.items_of(body(measurement_counts={"00": 100}), spec())
    assert item.counts == {"00": 100}


def test_probabilities_alone_become_counts_that_sum_to_the_shots() -> None:
    (item,) = wire.items_of(body(measurementProbabilities={"00": 1 / 3, "01": 1 / 3, "10": 1 / 3}), spec())
    assert item.counts is not None
    assert item.counts.shots == 100
    assert max(item.counts.values()) - min(item.counts.values()) == 1


def test_further_members_of_a_result_are_kept() -> None:
    (item,) = wire.items_of(body(measurementCounts={"00": 100}, fidelity=0.5), spec())
    assert item.metadata == {"details": {"fidelity": 0.5}}


@pytest.mark.parametrize(
    "data",
    [
        {"measurementCounts": {"00": 99}},
        {"measurementCounts": {"0": 50, "3": 50}},
        {"measurementCounts": {"000": 100}},
        {"measurementCounts": {"0x0": 100}},
        {"measurementCounts": {"00": 99.5}},
        {"measurementCounts": {"00": True}},
        {"measurementCounts": {"00": -1, "11": 101}},
        {"measurementCounts": ["00"]},
        {"measurementProbabilities": {"00": 0.6, "11": 0.5}},
    ],
    ids=str,
)
def test_histogram_that_cannot_be_is_unreadable(data: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        wire.items_of(body(**data), spec())


@pytest.mark.parametrize("wrong", [SINGLE, SINGLE | {"results": [SINGLE]}, {"results": "x"}, {}], ids=range(4))
def test_batch_body_of_another_length_is_unreadable(wrong: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        wire.items_of(wrong, spec(*batch(2)))


@pytest.mark.parametrize("text", [None, 1, "x", "2026-13-01"])
def test_moment_that_is_none_is_none(text: Any) -> None:
    assert wire.moment(text) is None
    assert wire.moment("2026-09-01T10:00:00") == wire.moment("2026-09-01T10:00:00Z")


# -- bit order -------------------------------------------------------------------------------------------------------


def test_device_with_the_other_bit_order_is_read_by_option(provider: Provider, sandbox: Sandbox) -> None:
    sandbox.admin.switches("qbraid", bit_order="c0_left")
    for probe in PROBES:
        wanted = spec(to_program(probe.circuit), options={"bit_order": "c0_left"})
        assert counts_of(run(provider, wanted, key_of(probe)).items[0]) == {probe.key: 100}


def test_mid_circuit_measurement_and_reset_keep_their_registers(provider: Provider) -> None:
    low, high = ClassicalRegister(1, "low"), ClassicalRegister(2, "high")
    circuit = QuantumCircuit(QuantumRegister(2, "q"), low, high)
    circuit.x(0)
    circuit.measure(0, high[1])
    circuit.reset(0)
    circuit.measure(0, low[0])
    assert counts_of(run(provider, spec(to_program(circuit)), key_of("mid")).items[0]) == {"10 0": 100}


@pytest.mark.parametrize("form", ["probabilities", "both"])
def test_probabilities_of_the_device_are_kept_beside_the_counts(provider: Provider, sandbox: Sandbox, form: str):
    sandbox.admin.switches("qbraid", result_data=form)
    (item,) = run(provider, spec(), key_of("shares", form)).items
    counts = counts_of(item)
    assert counts.shots == 100
    assert item.probabilities == pytest.approx(counts.probabilities())


@pytest.mark.parametrize("form", ["plain", "batch"])
def test_single_program_is_no_batch(provider: Provider, sandbox: Sandbox, form: str) -> None:
    sandbox.admin.switches("qbraid", batch_of_one=form)
    run(provider, spec(device=NO_BATCH), key_of("single"))
    assert isinstance(sandbox.admin.job(sandbox.admin.jobs("qbraid")[0]["id"])["request"]["program"], dict)


# -- failures --------------------------------------------------------------------------------------------------------


def finished(provider: Provider, ledger: Ledger, wanted: JobSpec) -> Any:
    """The job after a wait, through the ledger."""
    submitter = Submitter(ledger)
    (job,) = submitter.submit(provider, [Intent(wanted, Want("run", "a", "h"), "d", provider.account)])
    return Poller(submitter, Sole(provider), poll_min_s=0.0).wait([job.key], timeout=20)[job.key]


@pytest.mark.parametrize("mixed", ["COMPLETED", "FAILED"])
def test_batch_with_a_failed_circuit_keeps_the_others(
    provider: Provider, sandbox: Sandbox, ledger: Ledger, mixed: str
) -> None:
    sandbox.admin.switches("qbraid", mixed_batch=mixed)
    sandbox.admin.fault("fail_job", "qbraid.submit", children=[1], message="unsupported gate")
    job = finished(provider, ledger, spec(*batch(3)))
    assert job.status.value == mixed
    one, two, three = reads.items(ledger, job.key)
    assert counts_of(one).shots == counts_of(three).shots == 100
    assert two.error is not None
    assert two.error.message == "circuit 1: unsupported gate"


@pytest.mark.parametrize("failed_result", ["body", "refuse"])
def test_batch_that_failed_in_all_circuits_has_one_outcome_per_circuit(
    provider: Provider, sandbox: Sandbox, ledger: Ledger, failed_result: str
) -> None:
    sandbox.admin.switches("qbraid", failed_result=failed_result)
    sandbox.admin.fault("fail_job", "qbraid.submit", children=[0, 1], message="laser off")
    job = finished(provider, ledger, spec(*batch(2)))
    assert job.status is JobStatus.FAILED
    messages = [item.error.message for item in reads.items(ledger, job.key) if item.error]
    assert len(messages) == 2
    if failed_result == "body":
        assert messages == ["circuit 0: laser off", "circuit 1: laser off"]


@pytest.mark.parametrize("failed_result", ["body", "refuse"])
def test_result_of_a_failed_job_is_refused_with_its_own_reason(
    provider: Provider, sandbox: Sandbox, failed_result: str
) -> None:
    sandbox.admin.switches("qbraid", failed_result=failed_result, final_costs="null")
    sandbox.admin.fault("fail_job", "qbraid.submit", message="laser off")
    ids = [send_job(provider, spec(), key_of("fails", i)).vendor_id for i in range(2)]
    looks = wait(provider, ids)
    assert [looks[vendor_id].phase for vendor_id in ids] == [Phase.FAILED, Phase.DONE]
    assert (looks[ids[0]].error_message, looks[ids[1]].error_message) == ("laser off", None)
    with pytest.raises(Refused, match="laser off") as caught:
        read_result(provider, ids[0], spec(), key_of("fails", 0))
    assert caught.value.vendor_code == "FAILED"


@pytest.mark.parametrize(("state", "code"), [("cancelled", "CANCELLED"), ("queued", "QUEUED"), ("held", "HOLD")])
def test_result_that_is_not_there_is_refused_and_never_none(
    provider: Provider, sandbox: Sandbox, state: str, code: str
) -> None:
    if state == "held":
        sandbox.admin.switches("qbraid", finished_as="HOLD")
    else:
        sandbox.admin.clock("frozen")
    vendor_id = send_job(provider, spec(), key_of(state)).vendor_id
    sandbox.admin.advance(5)
    if state == "cancelled":
        provider.cancel(vendor_id)
        wait(provider, [vendor_id])
    with pytest.raises(Refused) as caught:
        read_result(provider, vendor_id, spec(), key_of(state))
    assert caught.value.vendor_code == code


@pytest.mark.parametrize("word", ["HOLD", "QUEUED"])
def test_missing_result_is_not_taken_for_a_missing_job(provider: Provider, sandbox: Sandbox, word: str) -> None:
    sandbox.admin.switches("qbraid", no_result_status=404, finished_as=word)
    vendor_id = send_job(provider, spec(), key_of("there", word)).vendor_id
    with pytest.raises(Refused) as caught:
        read_result(provider, vendor_id, spec(), key_of("there", word))
    assert caught.value.http_status is None  # 404 here would mean that the job is gone and may be bought again


def test_deleted_job_is_absent_and_its_result_is_a_404(provider: Provider, sandbox: Sandbox) -> None:
    vendor_id = send_job(provider, spec(), key_of("gone")).vendor_id
    url = f"{sandbox.url}/api/v1/jobs/{vendor_id}"
    assert httpx.delete(url, headers={"X-API-Key": CANARY}, trust_env=False).is_success
    assert provider.poll([vendor_id]) == {}
    with pytest.raises(Refused) as caught:
        read_result(provider, vendor_id, spec(), key_of("gone"))
    assert caught.value.http_status == 404


def test_cancelled_flow_job_ends_cancelled(provider: Provider, sandbox: Sandbox, ledger: Ledger) -> None:
    from qflows.ledger import outcomes

    sandbox.admin.clock("frozen")
    submitter = Submitter(ledger)
    (job,) = submitter.submit(provider, [Intent(spec(), Want("run", "a", "h"), "d", provider.account)])
    outcomes.request_cancel(ledger, [job.key])
    done = Poller(submitter, Sole(provider), poll_min_s=0.0).wait([job.key], timeout=10)
    assert done[job.key].status is JobStatus.CANCELLED


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "code", "says"),
    [
        ("qbraid:nobody:sim:none", "NOT_FOUND", "QRN"),
        ("aws:iqm:qpu:emerald", "DEVICE_UNAVAILABLE", "OFFLINE"),
        ("aws:iqm:qpu:garnet", "FORBIDDEN", "access"),
    ],
)
def test_device_that_takes_no_jobs_is_a_refusal_that_says_why(
    provider: Provider, sandbox: Sandbox, device: str, code: str, says: str
) -> None:
    sandbox.admin.switches("qbraid", closed_devices="aws:iqm:qpu:garnet")
    with pytest.raises(Refused, match=says) as caught:
        send_job(provider, spec(device=device), key_of("refused"))
    assert caught.value.vendor_code == code
    assert sandbox.admin.count_jobs("qbraid") == 0


@pytest.mark.parametrize("status", [400, 402, 403, 409])
def test_empty_account_is_a_refusal_whatever_its_status(provider: Provider, sandbox: Sandbox, status: int) -> None:
    sandbox.admin.switches("qbraid", credits=1.0, insufficient_credits_status=status)
    with pytest.raises(Refused, match=r"needed 34.25, minRequired 34.25, balance 1.0.*credits"):
        send_job(provider, spec(device=QPU), key_of("poor"))


@pytest.mark.parametrize("shape", ["envelope", "detail"])
def test_validation_error_is_a_refusal_in_both_shapes(provider: Provider, sandbox: Sandbox, shape: str) -> None:
    sandbox.admin.switches("qbraid", validation_shape=shape)
    with pytest.raises(Refused, match="shots") as caught:
        send_job(provider, spec(shots=-1), key_of("none"))
    assert caught.value.http_status == 422


def test_batch_for_a_device_without_support_is_refused(provider: Provider) -> None:
    assert provider.limits(NO_BATCH).max_programs == 1
    with pytest.raises(Refused, match="one by one"):
        send_job(provider, spec(*batch(2), device=NO_BATCH), key_of("batch"))


# -- devices, money, foreign forms -----------------------------------------------------------------------------------


def test_limits_are_the_devices_own(provider: Provider, sandbox: Sandbox) -> None:
    limits = [provider.limits(device) for device in (SIMULATOR, NO_BATCH, QPU)]
    assert [(found.max_qubits, found.min_shots, found.max_shots, found.max_programs) for found in limits] == [
        (6, 1, 100_000, 2_000),
        (30, 1, 2_000, 1),
        (107, 10, 50_000, 1),
    ]
    sandbox.admin.switches("qbraid", closed_devices="aws:iqm:qpu:garnet")
    refused = ("qbraid:nobody:sim:none", "aws:quera:qpu:aquila", "aws:aws:sim:tn1", "aws:iqm:qpu:garnet")
    for device in refused:
        with pytest.raises(Refused):
            provider.limits(device)


def test_devices_tell_queue_and_availability(provider: Provider) -> None:
    devices = {device.device_id: device for device in provider.devices()}
    assert "aws:oqc:qpu:lucy" not in devices
    garnet = devices["aws:iqm:qpu:garnet"]
    assert (garnet.is_simulator, garnet.is_available, garnet.queue_length, garnet.queue_s) == (False, True, 3, 720.0)
    assert not devices["aws:iqm:qpu:emerald"].is_available
    assert not devices["aws:ionq:qpu:forte-1"].is_available
    assert len(devices) == 17  # of 20, which is more than a page of qBraid's default


def test_cost_is_quoted_before_and_billed_after(provider: Provider, sandbox: Sandbox) -> None:
    sandbox.admin.switches("qbraid", qpu_noise=False)
    wanted = spec(device=QPU)
    quote = provider.estimate(wanted)
    assert quote is not None
    assert (quote.expected, quote.bound, quote.unit) == (Decimal("34.25"), Decimal("34.25"), "credits")
    assert provider.estimate(spec(device="azure:rigetti:qpu:cepheus-1-36q")) is None
    assert run(provider, wanted, key_of("paid")).cost == Cost(34.25, "credits", False)
    one, three = (provider.estimate(spec(*batch(n))) for n in (1, 3))
    assert one is not None
    assert three is not None
    assert three.expected == 3 * one.expected
    assert (one.bound, three.bound) == (one.expected, three.expected)


def test_qbraids_own_program_form_is_read(provider: Provider) -> None:
    text = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[1];\ncreg c[1];\nx q[0];\nmeasure q -> c;\n'
    program = provider.read({"format": "qasm2", "data": text})
    assert program is not None
    assert counts_of(run(provider, spec(program), key_of("read")).items[0]) == {"1": 100}
    assert provider.read(text) is None
    with pytest.raises(ProgramRejected):
        provider.read({"format": "qir.bc", "data": "AA=="})


def test_labels_and_options_travel_with_the_job(provider: Provider, sandbox: Sandbox) -> None:
    options = {"noise_model": "ideal", "runtime_options": {"seed": 7, "optimize": False, "layout": None}}
    wanted = spec(options=options, name="nm", tags={"study": "a", wire.KEY: "forged"})
    key = key_of("labels")
    vendor_id = send_job(provider, wanted, key).vendor_id
    request = sandbox.admin.job(vendor_id)["request"]
    assert request["name"] == "nm"
    assert (request["tags"]["study"], request["tags"][wire.KEY]) == ("a", key)
    assert request["runtimeOptions"] == {"seed": 7, "optimize": False, "layout": None, "noiseModel": "ideal"}
