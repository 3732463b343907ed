"""The circuit that runs is the one that was written: barriers, delays, resets, branches, named qubits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit, transpile

from qflows.errors import ProgramRejected
from qflows.programs import Feature, Program, to_program
from qflows.programs.observables import observable
from qflows.protocol import JobSpec, Provider
from qflows.sandbox import Sandbox
from qflows.testing import bell, counts_of, key_of, run, send_job, wait

WIDE = "ibm_kingston"


def job(*programs: Program, device: str = WIDE, shots: int = 200, **options: Any) -> JobSpec:
    return JobSpec("ibm", device, programs, shots, options=options)


def used(provider: Any, spec: JobSpec) -> tuple[dict[str, int], set[int]]:
    """Gates by name, and device qubits that something happens to, of the circuit that would run."""
    [(circuit, summary)] = provider.preview(spec)
    index = {qubit: i for i, qubit in enumerate(circuit.qubits)}
    return summary["gates"], {index[q] for one in circuit.data if one.operation.name != "barrier" for q in one.qubits}


def folded(n_gates: int, *, barriers: bool) -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    circuit.x(0)
    for _ in range(n_gates):
        circuit.cz(0, 1)
        if barriers:
            circuit.barrier()
    circuit.measure([0, 1], [0, 1])
    return circuit


@pytest.mark.parametrize(("barriers", "kept"), [(True, 21), (False, 1)])
def test_level_2_keeps_what_barriers_protect_and_sends_them(
    sandbox: Sandbox, provider: Provider, barriers: bool, kept: int
) -> None:
    wanted = job(to_program(folded(21, barriers=barriers)), compile=2)
    gates, _ = used(provider, wanted)
    assert gates.get("cz", 0) in ((kept,) if barriers else (0, 1))
    assert (gates.get("barrier", 0) >= 20) is barriers
    accepted = send_job(provider, wanted, key_of("folded", barriers))
    assert accepted.metadata["compiled"][0]["gates"] == gates


def test_circuit_compiled_for_the_device_runs_on_the_qubits_it_names(provider: Any) -> None:
    target = provider._runtime.backend(WIDE)
    isa = transpile(folded(3, barriers=True), target, initial_layout=[100, 101], optimization_level=0)
    gates, on = used(provider, job(to_program(isa)))
    assert on == {100, 101}
    assert gates["cz"] == 3
    assert provider.preview(job(to_program(isa)))[0][1]["as_written"] is True


def test_wide_circuit_in_native_gates_runs_as_it_is_and_a_level_recompiles_it(provider: Any) -> None:
    circuit = QuantumCircuit(156, 2)
    circuit.sx(40)
    circuit.cz(40, 41)
    circuit.cz(40, 41)
    circuit.measure([40, 41], [0, 1])
    gates, on = used(provider, job(to_program(circuit)))
    assert (gates["cz"], on) == (2, {40, 41})
    assert used(provider, job(to_program(circuit), compile=3))[0].get("cz", 0) < 2


def test_physical_qubits_are_the_last_word_and_uncoupled_ones_are_refused(provider: Any) -> None:
    gates, on = used(provider, job(bell(), physical_qubits=[101, 100]))
    assert on == {100, 101}
    assert provider.preview(job(bell(), physical_qubits=[101, 100]))[0][1]["layout"] == [101, 100]
    with pytest.raises(ProgramRejected, match="physical qubits"):
        provider.preview(job(bell(), physical_qubits=[0, 50]))
    assert gates["cz"] == 1


def test_compile_none_takes_native_gates_only(provider: Any) -> None:
    circuit = QuantumCircuit(2, 1)
    circuit.sx(0)
    circuit.cz(0, 1)
    circuit.measure(0, 0)
    assert used(provider, job(to_program(circuit), compile="none"))[1] == {0, 1}
    assert used(provider, job(to_program(circuit), compile="none", physical_qubits=[100, 101]))[1] == {100, 101}
    with pytest.raises(ProgramRejected, match="not in the gate set"):
        provider.preview(job(bell(), compile="none"))


def test_delay_off_the_grid_is_rounded_and_said(provider: Provider) -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    circuit.delay(101.3, 0, "ns")
    circuit.measure(0, 0)
    prepared = provider.prepare(job(to_program(circuit)), key_of("delay"))
    assert "100 ns" in prepared.note
    assert prepared.body.record["compiled"][0]["notes"] == [prepared.note]


def test_qubits_decay_during_delays(sandbox: Sandbox, connected_to: Callable[[str], Provider]) -> None:
    provider: Any = connected_to(sandbox.url)
    qubit, n_shots = 100, 4000
    circuits = []
    t1 = provider._runtime.backend(WIDE).target.qubit_properties[qubit].t1
    for time in (0.0, t1, 2 * t1):
        circuit = QuantumCircuit(1, 1)
        circuit.x(0)
        circuit.delay(time, 0, "s")
        circuit.measure(0, 0)
        circuits.append(to_program(circuit))
    items = run(provider, job(*circuits, shots=n_shots, physical_qubits=[qubit]), key_of("t1")).items
    ones = [counts_of(item).get("1", 0) / n_shots for item in items]
    assert ones[0] > 0.9
    assert ones[1] / ones[0] == pytest.approx(np.exp(-1), abs=0.05)
    assert ones[2] / ones[0] == pytest.approx(np.exp(-2), abs=0.05)


def test_leading_reset_is_kept_where_qubits_do_not_start_at_zero(provider: Any) -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.reset(0)
    circuit.sx(0)
    circuit.measure(0, 0)
    gates, _ = used(provider, job(to_program(circuit), execution={"init_qubits": False}))
    assert gates.get("reset") == 1


def test_branch_and_measurement_in_the_middle_reach_the_device(provider: Provider) -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.x(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    circuit.reset(0)
    circuit.measure(1, 1)
    (item,) = run(provider, job(to_program(circuit)), key_of("branch")).items
    assert counts_of(item) == {"11": 200}


@pytest.mark.parametrize(("inner", "word"), [("if", "another branch"), ("measure", "measurement"), ("reset", "reset")])
def test_what_a_branch_cannot_hold_is_refused_with_the_reason(provider: Provider, inner: str, word: str) -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.measure([0, 1], [0, 1])
    with circuit.if_test((circuit.clbits[0], 1)):
        if inner == "measure":
            circuit.measure(1, 1)
        elif inner == "reset":
            circuit.reset(1)
        else:  # and a gate: without one, both conditions are joined
            circuit.h(1)
            with circuit.if_test((circuit.clbits[1], 0)):
                circuit.x(1)
    circuit.measure(1, 1)
    with pytest.raises(ProgramRejected, match=rf"a branch holds (a )?{word}.*IBM\s+docs"):
        provider.check(job(to_program(circuit)))


def test_device_says_itself_what_it_takes(provider: Provider) -> None:
    heron, square = provider.limits(WIDE), provider.limits("ibm_miami")
    assert (heron.max_qubits, square.max_qubits) == (156, 120)
    assert heron.takes is not None
    assert square.takes is not None
    assert heron.takes - square.takes == {Feature.FEED_FORWARD, Feature.RESET, Feature.MID_CIRCUIT}
    assert (heron.mid_circuit, square.mid_circuit, heron.max_total_shots) == (True, False, 10_000_000)


def test_gateless_circuit_with_an_observable_has_its_value(provider: Provider) -> None:
    empty = JobSpec("ibm", WIDE, (to_program(QuantumCircuit(2)),), 1000, observables=((observable("ZZ"),),))
    (item,) = run(provider, empty, key_of("gateless")).items
    assert item.expectations is not None
    assert item.expectations[0].value == pytest.approx(1.0, abs=1e-9)


def test_fractional_gates_are_used_where_the_device_has_them(provider: Any) -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.rzz(0.7, 0, 1)
    circuit.rx(0.3, 0)
    circuit.measure([0, 1], [0, 1])
    wanted = job(to_program(circuit), use_fractional_gates=True)
    assert used(provider, wanted)[0]["rzz"] == 1
    assert counts_of(run(provider, wanted, key_of("fractional")).items[0]).shots == 200
    with pytest.raises(ProgramRejected, match="fractional"):
        provider.preview(job(to_program(circuit), device="ibm_miami", use_fractional_gates=True))


# -- what a result keeps -----------------------------------------------------------------------------------------------


def test_arrays_of_extrapolation_and_spans_are_kept(provider: Provider) -> None:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    spec = JobSpec(
        "ibm",
        WIDE,
        (to_program(circuit),),
        1000,
        observables=((observable("ZZ"), observable("XX")),),
        options={"resilience_level": 2, "resilience": {"zne": {"noise_factors": [1, 3, 5]}}},
    )
    (item,) = run(provider, spec, key_of("zne")).items
    assert np.shape(item.metadata["evs_noise_factors"]) == (2, 3)
    assert np.shape(item.metadata["evs_extrapolated"])[0] == 2
    plain = JobSpec("ibm", WIDE, (to_program(circuit),), 1000, observables=((observable("ZZ"),),))
    assert "ensemble_standard_error" in run(provider, plain, key_of("ensemble")).items[0].metadata
    for options in ({}, {"primitives": "executor"}):
        spans = run(provider, job(bell(), **options), key_of("spans", options)).metadata["execution_spans"]
        assert len(spans) == 1
        assert spans[0]["start"] < spans[0]["stop"]


def test_infinity_in_a_results_metadata_costs_no_counts(sandbox: Sandbox, provider: Provider) -> None:
    sandbox.admin.switches("ibm", results_infinity=True)
    assert counts_of(run(provider, job(bell()), key_of("infinity")).items[0]).shots == 200


def test_validation_comes_after_acceptance_and_is_charged(sandbox: Sandbox, provider: Provider) -> None:

    vendor_id = send_job(provider, job(bell(), max_execution_time=1), key_of("cut")).vendor_id
    look = wait(provider, [vendor_id])[vendor_id]
    assert (str(look.phase), look.error_code, look.is_retryable) == ("failed", "1305", False)
