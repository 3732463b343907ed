"""What qBraid was recorded to do (its own connector, 2026-09-22 and 2026-09-28), through the adapter."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from qiskit import QuantumCircuit

from qflows.core.devices import Sole
from qflows.core.poller import Poller
from qflows.core.submit import Submitter
from qflows.errors import Ambiguous, ProgramRejected, Refused, Throttled, Unreadable
from qflows.ledger import Ledger, outcomes, reads
from qflows.ledger.intents import Intent, Want
from qflows.model import Cost
from qflows.programs import Feature, to_program
from qflows.protocol import JobSpec, Phase, RawAnswer
from qflows.providers.qbraid import adapter, wire
from qflows.sandbox import Sandbox
from qflows.states import JobStatus
from qflows.testing import bell, counts_of, key_of, read_result, run, send_job, wait

FREE, QPU, MINUTES = "qbraid:qbraid:sim:qir-sv", "aws:iqm:qpu:garnet", "aws:aws:sim:sv1"
JOB: dict[str, Any] = {
    "jobQrn": "qbraid:qbraid:sim:qir-sv-32de-qjob-6ab9dd929dd04f3afa0b8405",
    "name": "bell",
    "status": "INITIALIZING",
    "shots": 10,
    "numCircuits": 1,
    "estimatedCost": 0,
    "experimentType": "gate_model",
    "vendor": "qbraid",
    "deviceQrn": FREE,
    "tags": {},
    "runtimeOptions": {},
    "timeStamps": {"createdAt": "2026-09-28T03:22:58.867401Z"},
    "provider": "qbraid",
}
QUEUED = JOB | {
    "status": "QUEUED",
    "createdAt": "2026-09-28T03:22:58.867Z",
    "updatedAt": "2026-09-28T03:23:00.945Z",
    "timeStamps": {"createdAt": "2026-09-28T03:22:59.642Z"},
}
ENDED = {"createdAt": "2026-09-28T03:23:00.000Z", "endedAt": "2026-09-28T03:23:00.000Z", "executionDuration": 4}
COMPLETED = QUEUED | {"status": "COMPLETED", "cost": 0, "timeStamps": ENDED}
NO_REGISTER = (
    "400 Client Error: Bad Request: QASM->QIR conversion failed: Missing register declaration for 'c' in "
    "measurement operation"
)
RESULT = {
    "status": "COMPLETED",
    "cost": "0",
    "timeStamps": ENDED,
    "resultData": {"measurementCounts": {"11": 4, "00": 6}, "seed": None},
}


def spec(device: str = FREE, *, n: int = 1, shots: int = 10, **more: Any) -> JobSpec:
    return JobSpec("qbraid", device, tuple(bell(f"b{i}") for i in range(n)), shots, **more)


def raw(body: Any) -> RawAnswer:
    return RawAnswer({"result": json.dumps({"success": True, "data": body}).encode()})


# -- shapes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cost", "amount"), [("0", 0.0), ("0E-33", 0.0), ("2.350000", 2.35), (44.5, 44.5), ("2.35E+2", 235.0)]
)
def test_recorded_result_is_read_and_its_cost_may_be_text(provider: Any, cost: Any, amount: float) -> None:
    found = provider.decode(raw(RESULT | {"cost": cost}), spec(), "k")
    assert found.items[0].counts == {"00": 6, "11": 4}
    assert found.cost == Cost(amount, "credits", False)
    assert found.qpu_s == 0.004


@pytest.mark.parametrize("form", ["text", "exponent", "number"])
def test_cost_is_the_same_in_every_form(provider: Any, sandbox: Sandbox, form: str) -> None:
    sandbox.admin.switches("qbraid", result_cost_form=form)
    assert run(provider, spec(MINUTES), key_of("cost", form)).cost == Cost(0.00625, "credits", False)
    assert run(provider, spec(FREE), key_of("free", form)).cost == Cost(0.0, "credits", False)


def test_creation_time_of_a_job_stays_while_its_time_stamps_move() -> None:
    moments = [wire.created_at(job) for job in (QUEUED, COMPLETED)]
    assert moments[0] == moments[1] == datetime(2026, 9, 28, 3, 22, 58, 867_000, UTC)
    of_the_id = wire.created_at(JOB)
    assert of_the_id == datetime(2026, 9, 28, 3, 22, 58, tzinfo=UTC)
    assert wire.created_at({"jobQrn": "job:aaa-111", "timeStamps": JOB["timeStamps"]}) is not None


@pytest.mark.parametrize(
    ("text", "helps"), [(NO_REGISTER, False), ("calibration lost", None), (None, None), ("device error 17", None)]
)
def test_whether_buying_again_helps_is_no_or_unknown_by_the_failures_text(text: str | None, helps: bool | None) -> None:
    look = wire.observation(QUEUED | {"status": "FAILED", "statusMsg": text, "cost": 0})
    assert (look.phase, look.is_retryable) == (Phase.FAILED, helps)


def test_answer_once_fetched_is_decoded_again_without_the_vendor(provider: Any, sandbox: Sandbox) -> None:
    vendor_id = send_job(provider, spec(), key_of("raw")).vendor_id
    wait(provider, [vendor_id])
    answer = provider.fetch(vendor_id, spec())
    sandbox.admin.forget([vendor_id])
    n_requests = len(sandbox.admin.journal())
    first, second = (provider.decode(RawAnswer(dict(answer.documents)), spec(), "k") for _ in range(2))
    assert first == second
    assert counts_of(first.items[0]).shots == 10
    assert len(sandbox.admin.journal()) == n_requests


@pytest.mark.parametrize(("given", "kept"), [(True, True), (False, False), (None, False)])
def test_compiled_text_of_a_qpu_is_kept_and_its_absence_costs_no_counts(
    provider: Any, sandbox: Sandbox, given: bool | None, kept: bool
) -> None:
    if given is None:
        sandbox.admin.fault("status", "qbraid.compiled", status=500, times=None)
    else:
        sandbox.admin.switches("qbraid", compiled_text=given)
    found = run(provider, spec(QPU), key_of("compiled", given))
    assert counts_of(found.items[0]).shots == 10
    assert ("compiled" in found.metadata) is kept
    assert not kept or "OPENQASM 3" in found.metadata["compiled"][0]


def test_simulators_are_not_asked_for_a_compiled_text(provider: Any, sandbox: Sandbox) -> None:
    run(provider, spec(), key_of("simulator"))
    assert sandbox.admin.requests("qbraid.compiled") == 0


# -- cancelling ------------------------------------------------------------------------------------------------------


def test_cancel_right_after_the_submission_is_repeated_until_it_is_heard(provider: Any, sandbox: Sandbox) -> None:
    sandbox.admin.clock("frozen")
    vendor_id = send_job(provider, spec(QPU), key_of("early")).vendor_id
    provider.cancel(vendor_id)
    assert sandbox.admin.requests("qbraid.cancel") == 2  # 409, then 202
    assert wait(provider, [vendor_id])[vendor_id].phase is Phase.CANCELLED


def test_wish_to_cancel_outlives_a_job_that_initializes_for_long(
    provider: Any, sandbox: Sandbox, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "_CANCEL_PAUSES_S", (0.01,))
    sandbox.admin.switches("qbraid", initializing_s=600.0)
    sandbox.admin.clock("frozen")
    submitter = Submitter(ledger)
    (job,) = submitter.submit(provider, [Intent(spec(QPU), Want("run", "a", "h"), "d", provider.account)])
    with pytest.raises(Throttled, match="initializing"):
        provider.cancel(job.vendor_id)
    outcomes.request_cancel(ledger, [job.key])
    poller = Poller(submitter, Sole(provider), poll_min_s=0.0)
    poller.tick([reads.job(ledger, job.key)])
    assert reads.job(ledger, job.key).status is not JobStatus.CANCELLED
    sandbox.admin.advance(601)
    assert poller.wait([job.key], timeout=20)[job.key].status is JobStatus.CANCELLED


def test_cancel_of_a_finished_job_is_no_error_with_either_status(provider: Any, sandbox: Sandbox) -> None:
    vendor_id = send_job(provider, spec(), key_of("over")).vendor_id
    wait(provider, [vendor_id])
    sandbox.admin.fault("status", "qbraid.cancel", status=409, code="CONFLICT")
    for _ in range(2):  # the 409 of the fault, the 400 of the documents
        provider.cancel(vendor_id)
    assert sandbox.admin.requests("qbraid.cancel") == 2


# -- submission ------------------------------------------------------------------------------------------------------


def test_created_without_success_is_a_doubt_and_a_look_ends_it(provider: Any, sandbox: Sandbox) -> None:
    sandbox.admin.switches("qbraid", refused_as_201=True)
    with pytest.raises(Ambiguous, match="201"):
        send_job(provider, spec(), key_of("refused"))
    since = datetime.now(UTC) - timedelta(minutes=5)
    assert provider.find_submitted([key_of("refused")], since=since, device_ids={FREE}) == {}
    assert sandbox.admin.count_jobs("qbraid") == 0


@pytest.mark.parametrize("rule", ["subset", "exact"])
def test_lost_job_is_found_by_a_process_whose_clock_is_fast(provider: Any, sandbox: Sandbox, rule: str) -> None:
    sandbox.admin.switches("qbraid", tag_match=rule)
    vendor_id = send_job(provider, spec(), key_of("clock")).vendor_id
    since = datetime.now(UTC) + timedelta(minutes=30)  # ten minutes before the submission, by a clock 40 minutes fast
    found = provider.find_submitted([key_of("clock")], since=since, device_ids={FREE})
    assert [hit.vendor_id for hit in found[key_of("clock")]] == [vendor_id]


def test_job_of_another_context_is_neither_found_nor_declared_gone(provider: Any, sandbox: Sandbox) -> None:
    sandbox.admin.switches("qbraid", job_context="personal")
    vendor_id = send_job(provider, spec(), key_of("context")).vendor_id
    with pytest.raises(Refused) as caught:
        provider.exists(vendor_id)
    assert caught.value.http_status == 403


def test_credits_that_a_job_holds_are_told_when_it_is_accepted(provider: Any) -> None:
    assert send_job(provider, spec(QPU, shots=100), key_of("held")).metadata == {"held_credits": 44.5}


def test_linked_account_is_never_read_as_free(provider: Any, sandbox: Sandbox) -> None:
    sandbox.admin.switches("qbraid", qpu_noise=False)
    linked = spec("openquantum:ionq:qpu:forte-1")
    assert provider.estimate(linked) is None
    accepted = send_job(provider, linked, key_of("linked"))
    assert "held_credits" not in accepted.metadata
    wait(provider, [accepted.vendor_id])
    assert read_result(provider, accepted.vendor_id, linked, key_of("linked")).cost is None


# -- reading ---------------------------------------------------------------------------------------------------------


def test_jobs_come_to_their_end_although_lists_do_not_refresh_them(
    provider: Any, sandbox: Sandbox, connected_to: Callable[[str], Any]
) -> None:
    ids = [send_job(provider, spec(), key_of("many", i)).vendor_id for i in range(30)]
    assert {look.phase for look in wait(connected_to(sandbox.url), ids).values()} == {Phase.DONE}


def test_result_that_never_comes_is_given_up_after_a_time(
    provider: Any, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.admin.switches("qbraid", broken_result=True)
    vendor_id = send_job(provider, spec(), key_of("broken")).vendor_id
    wait(provider, [vendor_id])
    with pytest.raises(Ambiguous, match="no result yet"):
        read_result(provider, vendor_id, spec(), "k")
    monkeypatch.setattr(adapter, "_RESULT_MAY_LAG_S", 0.0)
    with pytest.raises(Unreadable):
        read_result(provider, vendor_id, spec(), "k")
    sandbox.admin.switches("qbraid", broken_result=False)
    assert counts_of(read_result(provider, vendor_id, spec(), "k").items[0]).shots == 10


# -- circuits and options --------------------------------------------------------------------------------------------


def test_delay_is_refused_because_devices_behind_qbraid_drop_it(provider: Any) -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    circuit.delay(500, 0, unit="us")
    circuit.measure(0, 0)
    with pytest.raises(ProgramRejected, match="delay"):
        provider.check(JobSpec("qbraid", FREE, (to_program(circuit),), 10))


def folded(n: int, *, apart: bool) -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    for _ in range(n):
        circuit.cx(0, 1)
        if apart:
            circuit.barrier()
    circuit.measure_all()
    return circuit


def test_barrier_that_matters_is_refused_on_a_qpu_which_would_cancel_across_it(provider: Any) -> None:
    apart, plain = (JobSpec("qbraid", QPU, (to_program(folded(2, apart=apart)),), 10) for apart in (True, False))
    with pytest.raises(ProgramRejected, match="barrier"):
        provider.check(apart)
    provider.check(plain)  # the barrier in front of the measurements keeps nothing apart
    found = run(provider, replace(apart, device_id=FREE), key_of("barrier"))
    assert counts_of(found.items[0]) == {"00": 10}
    assert provider.limits(QPU).takes == frozenset()
    assert Feature.BARRIER in provider.limits(FREE).takes


def test_program_on_physical_qubits_is_refused_on_a_qpu_which_would_place_it_again(provider: Any) -> None:
    text = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nbit[1] b;\nx $3;\nb[0] = measure $3;\n'
    program = to_program(text)
    assert program.labels == (3,)
    with pytest.raises(ProgramRejected, match="physical"):
        provider.check(JobSpec("qbraid", QPU, (program,), 10))
    assert counts_of(run(provider, JobSpec("qbraid", FREE, (program,), 10), key_of("physical")).items[0]) == {"1": 10}


def test_qubit_measured_into_two_bits_is_read_in_both(provider: Any) -> None:
    circuit = QuantumCircuit(2, 3)
    circuit.x(1)
    circuit.measure([0, 1], [0, 1])
    circuit.measure(1, 2)
    found = run(provider, JobSpec("qbraid", FREE, (to_program(circuit),), 10), key_of("twice"))
    assert counts_of(found.items[0]) == {"110": 10}


@pytest.mark.parametrize(
    ("device", "options", "says"),
    [
        (FREE, {"noise": "x"}, "no option 'noise'"),
        (FREE, {"noise_model": 3}, "noise_model"),
        (FREE, {"noise_model": ""}, "noise_model"),
        (QPU, {"noise_model": "ideal"}, "no option 'noise_model'"),
        (FREE, {"bit_order": "c0_middle"}, "bit_order"),
        (FREE, {"runtime_options": ["x"]}, "runtime_options"),
        (FREE, {"runtime_options": {"x": float("inf")}}, "must be JSON"),
        (FREE, {"runtime_options": {"x": "y" * 200_000}}, "longer"),
    ],
    ids=str,
)
def test_wrong_option_is_refused_by_name_before_anything_is_sent(
    provider: Any, sandbox: Sandbox, device: str, options: dict[str, Any], says: str
) -> None:
    wanted = spec(device, options=options)
    for act in (provider.check, lambda wanted: provider.prepare(wanted, "k")):
        with pytest.raises(ProgramRejected, match=says):
            act(wanted)
    assert sandbox.admin.journal() == []
    assert provider.options_model(device).model_fields.keys() >= {"runtime_options", "bit_order"}
