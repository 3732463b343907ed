"""What a finished IBM job gives: counts, memory, expectation values, times, cost, what was compiled; typed failures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit

from qflows.core.devices import Sole
from qflows.core.poller import Poller
from qflows.core.submit import Submitter
from qflows.errors import ProgramRejected, Refused, Throttled, Unreadable
from qflows.ledger import Ledger
from qflows.ledger.intents import Intent, Want
from qflows.model import Counts
from qflows.programs import Program, to_program
from qflows.programs.observables import observable
from qflows.protocol import JobSpec, Phase, Provider
from qflows.providers.ibm import wire
from qflows.sandbox import Sandbox
from qflows.states import JobStatus
from qflows.testing import bell, counts_of, key_of, read_result, run, send_job, wait


def spec(*programs: Program, shots: int = 200, device: str = "ibm_manila", **options: Any) -> JobSpec:
    return JobSpec("ibm", device, programs or (bell(),), shots, options=options)


def done(provider: Provider, wanted: JobSpec, key: str = "k") -> str:
    vendor_id = send_job(provider, wanted, key_of(key)).vendor_id
    assert wait(provider, [vendor_id])[vendor_id].phase is Phase.DONE
    return vendor_id


def test_result_has_times_qpu_seconds_and_what_was_compiled(provider: Provider) -> None:
    result = run(provider, spec(), key_of("times"))
    assert result.started_at is not None
    assert result.finished_at is not None
    assert datetime.now(UTC) - timedelta(minutes=1) < result.started_at <= result.finished_at
    assert result.cost is not None
    assert (result.cost.unit, result.cost.is_estimate) == ("qpu_s", False)
    assert result.qpu_s == result.cost.amount == 3
    compiled = result.items[0].metadata["compiled"]
    assert compiled["gates"]["cx"] == 1
    assert compiled["openqasm3"].startswith("OPENQASM 3")
    target = result.metadata["target"]
    assert target["device"] == "ibm_manila"
    assert target["calibrated_at"]
    assert set(target["qubits"]) == {str(qubit) for qubit in compiled["layout"]}
    assert all(0 < qubit["readout_error"] < 0.2 for qubit in target["qubits"].values())


def test_another_process_reads_counts_and_the_compiled_circuit_weeks_later(
    sandbox: Sandbox, provider: Provider, connected_to: Callable[[str], Provider]
) -> None:
    vendor_id = done(provider, spec())
    mine = read_result(provider, vendor_id, spec(), key_of("k"))
    sandbox.admin.advance(21 * 86_400)
    theirs = read_result(connected_to(sandbox.url), vendor_id, spec(), key_of("k"))
    assert theirs.items[0].counts == mine.items[0].counts
    assert theirs.items[0].metadata["compiled"]["gates"] == mine.items[0].metadata["compiled"]["gates"]
    assert theirs.metadata["target"] is None


def test_memory_can_be_left_out(provider: Provider) -> None:
    (item,) = run(provider, spec(memory=False), key_of("memory")).items
    assert item.memory is None
    assert counts_of(item).shots == 200


def test_reset_and_measurement_in_the_middle_are_kept(provider: Provider) -> None:
    circuit = QuantumCircuit(1, 2)
    circuit.x(0)
    circuit.measure(0, 0)
    circuit.reset(0)
    circuit.measure(0, 1)
    (item,) = run(provider, spec(to_program(circuit)), key_of("middle")).items
    assert counts_of(item) == {"01": 200}


def test_more_than_64_bits_keep_their_places(provider: Provider) -> None:
    circuit = QuantumCircuit(3, 70)
    circuit.x([0, 2])
    circuit.measure([0, 1, 2], [69, 5, 0])
    (item,) = run(provider, spec(to_program(circuit), device="ibm_kingston"), key_of("wide")).items
    assert counts_of(item) == {"1" + "0" * 68 + "1": 200}


def test_device_errors_show_when_the_device_has_some(sandbox: Sandbox, connected_to: Callable[[str], Provider]) -> None:
    (item,) = run(connected_to(sandbox.url), spec(shots=4000), key_of("noise")).items
    wrong = 1 - sum(counts_of(item).probabilities().get(key, 0) for key in ("00", "11"))
    assert 0.005 < wrong < 0.15


def test_compiling_again_gives_the_same_circuit(sandbox: Sandbox, connected_to: Callable[[str], Provider]) -> None:
    texts = set()
    for _ in range(2):
        provider = connected_to(sandbox.url)
        texts.add(send_job(provider, spec(device="ibm_kingston"), key_of("again")).metadata["compiled"][0]["openqasm3"])
    assert len(texts) == 1


def test_layout_chosen_by_the_caller_is_used(provider: Provider) -> None:
    accepted = send_job(provider, spec(initial_layout=[3, 2], optimization_level=0), key_of("layout"))
    assert accepted.metadata["compiled"][0]["layout"] == [3, 2]


# -- expectation values ----------------------------------------------------------------------------------------------


def estimate_spec(*observables: Any, shots: int = 10_000, **options: Any) -> JobSpec:
    circuit = QuantumCircuit(3)
    circuit.ry(0.7, 0)
    circuit.cx(0, 2)
    circuit.x(1)
    wanted = tuple(observable(one) for one in observables)
    return JobSpec("ibm", "ibm_kingston", (to_program(circuit),), shots, observables=(wanted,), options=options)


def test_expectation_values_agree_with_theory_within_their_errors(provider: Provider) -> None:
    wanted = estimate_spec("IIZ", "ZIZ", "IZI", [("XIX", 1.0), ("IIZ", -0.5), ("III", 2.0)])
    (item,) = run(provider, wanted, key_of("estimate")).items
    exact = [np.cos(0.7), 1.0, -1.0, np.sin(0.7) - 0.5 * np.cos(0.7) + 2.0]
    assert item.expectations is not None
    for found, value in zip(item.expectations, exact, strict=True):
        assert abs(found.value - value) <= 5 * found.std_error + 1e-9
    assert 0.005 < item.expectations[0].std_error < 0.02


def test_resilience_level_reaches_the_device(sandbox: Sandbox, connected_to: Callable[[str], Provider]) -> None:
    provider = connected_to(sandbox.url)
    values = []
    for level in (0, 1):
        wanted = estimate_spec("IZI", shots=1_000_000, resilience_level=level)
        (item,) = run(provider, wanted, key_of("resilience", level)).items
        assert item.expectations is not None
        values.append(item.expectations[0].value)
    assert values[1] < values[0] - 0.003  # readout errors pull the bare value towards zero


def test_options_of_the_client_are_checked_by_the_client(sandbox: Sandbox, provider: Provider) -> None:
    with pytest.raises(ProgramRejected, match="sequence_type"):
        send_job(provider, spec(dynamical_decoupling={"sequence_type": "nonsense"}), key_of("bad option"))
    assert sandbox.admin.requests("ibm.submit") == 0
    send_job(provider, spec(dynamical_decoupling={"enable": True}, max_execution_time=60), key_of("good option"))
    (job,) = sandbox.admin.jobs("ibm")
    body = sandbox.admin.job(job["id"])["request"]
    assert body["cost"] == 60
    assert body["params"]["options"]["dynamical_decoupling"]["enable"] is True


def test_estimate_counts_bases_mitigation_and_the_devices_own_pause(provider: Provider) -> None:
    one, two = estimate_spec("IIZ", "ZIZ", shots=10_000), estimate_spec("IIZ", "XIX", shots=10_000)
    bare = estimate_spec("IIZ", shots=10_000, resilience_level=0)
    jobs = [spec(shots=1000, device="ibm_kingston"), bare, one, two, spec(shots=10_000, device="ibm_miami")]
    assert [provider.estimate(wanted).expected for wanted in jobs] == [7, 10, 117, 120, 55]
    assert provider.estimate(spec(shots=1000, device="ibm_phoenix", execution={"rep_delay": 0.001})).expected == 8
    assert [provider.estimate(wanted).bound for wanted in jobs] == [600] * 5
    capped = provider.estimate(spec(shots=10_000, device="ibm_miami", max_execution_time=40))
    assert (capped.expected, capped.bound, capped.unit) == (40, 40, "qpu_s")


# device, PUBs, shots, observables, level, charged: bills of September 2026 (SSIT-Q/gradvar-phoenix)
BILLS = [
    ("ibm_marrakesh", 10, 1024, True, 1, 14),
    ("ibm_phoenix", 2, 4096, False, None, 3),
    ("ibm_phoenix", 37, 2048, False, None, 4),
    ("ibm_phoenix", 3, 2048, False, None, 3),
]


@pytest.mark.parametrize("bill", BILLS, ids=str)
def test_known_bills_stay_below_the_estimate_and_the_sandbox_charges_the_same(provider: Provider, bill: Any) -> None:
    device, n_pubs, shots, is_estimate, level, charged = bill
    circuits = []
    for i in range(n_pubs):
        circuit = QuantumCircuit(2, 2)
        circuit.rx(0.1 * i, 0)
        circuit.cz(0, 1) if i % 2 else circuit.rx(0.2, 1)
        if not is_estimate:
            circuit.measure([0, 1], [0, 1])
        circuits.append(to_program(circuit))
    wanted = JobSpec(
        "ibm",
        device,
        tuple(circuits),
        shots,
        observables=((observable("ZZ"),),) * n_pubs if is_estimate else (),
        options={"resilience_level": level} if is_estimate else {},
    )
    vendor_id = done(provider, wanted, f"bill {device} {n_pubs}")
    result = read_result(provider, vendor_id, wanted, key_of("bill"))
    assert result.qpu_s == charged
    estimated = provider.estimate(wanted)
    assert estimated is not None
    assert charged < estimated.expected <= 3 * charged


def test_counts_and_expectations_do_not_mix(provider: Provider) -> None:
    mixed = JobSpec("ibm", "ibm_manila", (bell(), bell()), 10, observables=((observable("ZZ"),), ()))
    with pytest.raises(ProgramRejected, match="not both"):
        provider.check(mixed)


# -- failures --------------------------------------------------------------------------------------------------------


def test_empty_result_is_never_none_and_is_asked_again(sandbox: Sandbox, provider: Provider) -> None:
    sandbox.admin.switches("ibm", results_204_reads=1)
    vendor_id = done(provider, spec())
    with pytest.raises(Throttled, match="204"):
        read_result(provider, vendor_id, spec(), key_of("k"))
    assert counts_of(read_result(provider, vendor_id, spec(), key_of("k")).items[0]).shots == 200


def test_result_that_is_long_in_coming_is_waited_for(sandbox: Sandbox, provider: Provider, tmp_path: Path) -> None:
    sandbox.admin.switches("ibm", results_204_reads=9)
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    submitter = Submitter(ledger)
    (job,) = submitter.submit(provider, [Intent(spec(), Want("run", "a", "h"), "kingston", provider.account)])
    done = Poller(submitter, Sole(provider), poll_min_s=0.0).wait([job.key], timeout=30)
    ledger.close()
    assert done[job.key].status is JobStatus.COMPLETED


def test_private_result_is_read_last_and_once(sandbox: Sandbox, provider: Provider) -> None:
    wanted = spec(private=True)
    vendor_id = done(provider, wanted)
    sandbox.admin.fault("status", "ibm.metrics", status=502)
    with pytest.raises(Exception, match="502"):
        read_result(provider, vendor_id, wanted, key_of("k"))
    assert counts_of(read_result(provider, vendor_id, wanted, key_of("k")).items[0]).shots == 200


@pytest.mark.parametrize("shape", ["errors", "both"])
def test_usage_limit_is_a_refusal_with_its_code(sandbox: Sandbox, provider: Provider, shape: str) -> None:
    sandbox.admin.switches("ibm", usage_limit_s=0.01, error_body=shape)
    done(provider, spec())
    with pytest.raises(Refused, match="usage limit") as caught:
        send_job(provider, spec(), key_of("too much"))
    assert (caught.value.http_status, caught.value.vendor_code) == (409, "1266")


def test_unknown_device_is_refused(sandbox: Sandbox, provider: Provider) -> None:
    with pytest.raises(Refused, match="ibm_nowhere"):
        send_job(provider, spec(device="ibm_nowhere"), key_of("nowhere"))
    with pytest.raises(Refused, match="ibm_nowhere"):
        provider.limits("ibm_nowhere")
    assert sandbox.admin.requests("ibm.submit") == 0


def test_program_wider_than_the_device_is_refused_before_it_is_sent(sandbox: Sandbox, provider: Provider) -> None:
    circuit = QuantumCircuit(6, 6)
    circuit.h(range(6))
    circuit.measure(range(6), range(6))
    with pytest.raises(ProgramRejected, match="cannot be compiled"):
        send_job(provider, spec(to_program(circuit)), key_of("wide"))
    assert sandbox.admin.requests("ibm.submit") == 0


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', '{"pub_results": [{}]}', '{"pub_results": 7}'])
def test_text_that_is_no_result_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable) as caught:
        wire.pub_results(text)
    assert caught.value.body == text


def test_bits_of_a_recorded_array_are_read_from_the_last_byte() -> None:
    # 10 bits, only clbit 0 set: [0, 1] (qiskit-ibm-runtime 0.51.0, BitArray)
    circuit = QuantumCircuit(1, 10)
    circuit.measure(0, 0)
    fields = {"c": {"array": np.array([[0, 1], [2, 0]], dtype=np.uint8), "num_bits": 10}, "metadata": {}}
    [item] = wire.counts_items([to_program(circuit)], fields, shots=2, with_memory=True, is_twirled=False)
    assert item.counts == Counts({"0000000001": 1, "1000000000": 1})
    assert item.memory == ("0000000001", "1000000000")


def test_shots_that_do_not_add_up_are_unreadable() -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    fields = {"c": {"array": np.array([[0]], dtype=np.uint8), "num_bits": 1}, "metadata": {}}
    with pytest.raises(Unreadable):
        wire.counts_items([to_program(circuit)], fields, shots=2, with_memory=False, is_twirled=False)


def test_tags_bear_the_key_and_those_that_do_not_fit_are_refused(provider: Provider) -> None:
    labelled = replace(spec(), name="n", tags={"a": "b"})
    assert wire.tags(labelled, "f" * 64) == ["qflows", "qflows:" + "f" * 64, "name=n", "a=b"]
    provider.check(labelled)
    long = replace(spec(), name="n" * 250)  # the ledger has it whole
    assert wire.tags(long, "f" * 64)[2] == "name=" + "n" * 81
    provider.check(long)
    for tags in ({"long": "v" * 82}, {f"t{i}": "v" for i in range(6)}):
        with pytest.raises(ProgramRejected, match="IBM takes"):
            provider.check(replace(spec(), name="n", tags=tags))


def test_devices_say_their_queue_and_whether_they_are_up(sandbox: Sandbox, provider: Provider) -> None:
    sandbox.admin.clock("frozen")
    send_job(provider, spec(), key_of("queue"))
    found = {device.device_id: device for device in provider.devices()}
    assert set(found) == {
        "ibm_fez",
        "ibm_marrakesh",
        "ibm_kingston",
        "ibm_pittsburgh",
        "ibm_boston",
        "ibm_miami",
        "ibm_phoenix",
        "ibm_manila",
    }
    assert (found["ibm_manila"].queue_length, found["ibm_manila"].is_available) == (1, True)
    sandbox.admin.switches("ibm", backend_status="paused")
    assert not any(device.is_available for device in provider.devices())
