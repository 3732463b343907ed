"""Mitigated values: nearer to the truth, with bars that cover, from one batch that is bought once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import SparsePauliOp, Statevector

from qflows.core.client import Client
from qflows.core.mitigation import read
from qflows.core.mitigation.request import share
from qflows.core.scope import script_scope
from qflows.errors import ProgramRejected
from qflows.model import Result
from qflows.primitives import EstimatorV2, job
from qflows.sandbox import Sandbox

OPERATOR = SparsePauliOp.from_list([("ZZI", 0.5), ("IXX", 0.4), ("III", 0.3)])
READS_WRONG = {"readout_error": 0.08}


def trotter(steps: int = 3) -> QuantumCircuit:
    circuit = QuantumCircuit(3)
    for _ in range(steps):
        circuit.rx(0.3, range(3))
        for left in (0, 1):
            circuit.cx(left, left + 1)
            circuit.rz(0.4, left + 1)
            circuit.cx(left, left + 1)
    return circuit


def exact(circuit: QuantumCircuit, operator: SparsePauliOp = OPERATOR) -> float:
    return float(np.real(Statevector(circuit).expectation_value(operator)))


def run(core: Client, circuit: Any, run_key: str = "r", **wishes: Any) -> Result:
    return core.run(circuit, script_scope(run_key), **wishes)


def test_readout_errors_of_counts_are_taken_back_and_raw_counts_stay(core: Client) -> None:
    circuit = trotter().measure_all(inplace=False)
    found = run(core, circuit, device="local-aer", shots=20_000, options=READS_WRONG, mitigate="readout")
    true = Statevector(trotter()).probabilities_dict()
    raw, better = found.counts.probabilities(), found.probabilities
    assert found.counts.shots == 20_000
    assert abs(raw["000"] - true["000"]) > 0.1
    assert all(abs(better.get(key, 0) - chance) < 0.025 for key, chance in true.items())
    assert found.items[0].metadata["mitigation"] == {"by": {"readout": "qflows"}}


def test_bits_that_nothing_writes_and_other_registers_do_not_disturb(core: Client) -> None:
    from qiskit import ClassicalRegister, QuantumRegister

    circuit = QuantumCircuit(QuantumRegister(2), ClassicalRegister(2, "a"), ClassicalRegister(2, "b"))
    circuit.x(1)
    circuit.measure([0, 1], [3, 0])
    found = run(core, circuit, device="local-aer", shots=20_000, options=READS_WRONG, mitigate="readout")
    assert found.probabilities["00 01"] == pytest.approx(1, abs=0.02)


def test_all_circuits_of_a_value_are_one_job_with_one_price(core: Client) -> None:
    wishes: dict[str, Any] = {"observables": OPERATOR, "mitigate": ("readout", "zne", "twirling")}
    found = run(core, trotter(), device="local-noisy", shots=400, **wishes)
    batch = core.batch(found.provenance["batch"])
    assert len(batch.sub_jobs()) == 1
    assert batch.n_circuits == 8 * (2 + 2 * 3)  # randomizations, of calibrations, and of two bases at three factors
    assert {spec.shots for spec in (core.submitter.spec(one.key) for one in batch.sub_jobs())} == {50}
    assert core.price(trotter(), device="local-noisy", shots=400, **wishes).expected == 0
    sent = batch.result(partial=False)
    assert sent[0].expectations == found.items[0].expectations  # attached from anywhere, the same value
    assert found.items[0].metadata["mitigation"]["randomizations"] == 8
    assert [sum(one.values()) for one in found.items[0].metadata["raw_counts"]] == [400, 400]


def test_zne_halves_the_error_and_its_bars_cover(core: Client) -> None:
    circuit, n = trotter(), 8  # `make pulls` has 200
    # so many shots that what is left is the extrapolation's error, which Richardson's coefficients amplify
    wishes: dict[str, Any] = {"device": "local-noisy", "shots": 20_000, "observables": OPERATOR}
    raw, better = [], []
    for seed in range(n):
        found = run(core, circuit, run_key=str(seed), mitigate=("readout", "zne"), **wishes)
        raw.append(found.items[0].metadata["unmitigated"][0] - exact(circuit))
        one = found.expectation
        better.append(((one.value - exact(circuit)), one.std_error))
    assert np.sqrt(np.mean(np.square(raw))) > 2 * np.sqrt(np.mean([miss**2 for miss, _ in better]))
    covered = sum(abs(miss) <= error for miss, error in better)
    assert covered >= 2  # of 8; fewer happen in 2 of 1,000 cases at 68 %


def test_sweeps_and_observables_broadcast_as_without_mitigation(core: Client) -> None:
    angle = Parameter("a")
    circuit = QuantumCircuit(2)
    circuit.ry(angle, 0)
    circuit.cx(0, 1)
    values = np.linspace(0, 3, 4)
    batch = core.submit_list(
        (circuit, values[:, None, None]),
        script_scope("r"),
        device="local-aer",
        shots=4000,
        observables=["ZI", "ZZ", "II"],
        options=READS_WRONG,
        mitigate="readout",
    )
    found = batch.result()
    assert found.expectation_values.shape == (4, 3)
    np.testing.assert_allclose(
        found.expectation_values, np.stack([np.cos(values), np.ones(4), np.ones(4)], axis=1), atol=0.09
    )
    assert (found.standard_errors[:, :2] > 0).all()
    assert not found.standard_errors[:, 2].any()


def test_the_estimator_mitigates_in_one_job_that_another_process_reads(core: Client) -> None:
    estimator = EstimatorV2(
        "local-aer", shots=4000, run_key="r", client=core, options=READS_WRONG, mitigate=("readout", "twirling")
    )
    call = estimator.run([(trotter(), [OPERATOR, "ZII", {"III": 2.0}]), (trotter(1), "IIZ", None, 0.1)])
    found = call.result()
    assert len(call.batch.sub_jobs()) == 2  # of two numbers of shots
    np.testing.assert_allclose(
        found[0].data.evs, [exact(trotter()), exact(trotter(), SparsePauliOp("ZII")), 2.0], atol=0.12
    )
    assert found[0].metadata["mitigation"]["by"] == {"readout": "qflows", "twirling": "qflows"}
    assert found[0].metadata["shots"] == 4000
    again = job(call.job_id(), client=core).result()
    assert again[0].data.evs.tolist() == found[0].data.evs.tolist()
    assert again[1].data.stds.tolist() == found[1].data.stds.tolist()


def test_what_cannot_be_done_is_refused_with_the_reason(core: Client, sandbox: Sandbox, monkeypatch: Any) -> None:
    for name, value in sandbox.env.items():
        monkeypatch.setenv(name, value)
    measured, bare = (one.measure_all(inplace=False) for one in (trotter(), QuantumCircuit(1)))
    for device, circuit, wishes, match in [
        ("local-aer", measured, {"shots": 100, "mitigate": "zne"}, "pass observables="),
        ("local-exact", trotter(), {"observables": "ZZZ", "mitigate": "readout"}, "no errors to mitigate"),
        ("ionq-simulator", measured, {"shots": 100, "mitigate": "dd"}, "decoupling"),
        ("local-aer", measured, {"shots": 100, "mitigate": "dd"}, "gates have known durations"),
        ("local-aer", measured, {"shots": 100, "mitigate": "pec"}, "unknown technique 'pec'"),
        ("local-aer", bare, {"shots": 9, "mitigate": "twirling"}, "no circuit has"),
    ]:
        with pytest.raises(ProgramRejected, match=match):
            run(core, circuit, device=device, **wishes)
    assert sandbox.admin.count_jobs("ionq") == 0


def test_shares_of_the_shots_that_are_too_small_for_a_device_are_refused(
    core: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = trotter().measure_all(inplace=False)
    with Sandbox(vendors=("braket",)) as running:
        for name, value in running.env.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(ProgramRejected, match="among 8, .* at least 100 each; pass shots=800 or more"):
            run(core, measured, device="braket-forte-1", shots=700, mitigate="twirling")
        assert not core.jobs()
        assert running.admin.count_jobs("braket") == 0


def test_vendors_do_what_they_offer_and_it_is_said(core: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IONQ_API_KEY", "QISKIT_IBM_TOKEN"):
        monkeypatch.setenv(name, "k" * 32)
    monkeypatch.setenv("QISKIT_IBM_INSTANCE", "crn:v1:bluemix:public:quantum-computing:us-east:a/1:2::")
    ibm, ionq = core.provider("ibm"), core.provider("ionq")
    wanted = read({"readout": {}, "zne": {"factors": [1, 3], "extrapolation": "richardson"}, "twirling": {}, "dd": {}})
    theirs = share(ibm, "ibm_x", wanted, {"resilience": {"zne": {"amplifier": "pea"}}}, is_estimate=True)
    assert theirs.ours.asked == ()
    assert theirs.options == {
        "resilience": {
            "measure_mitigation": True,
            "zne_mitigation": True,
            "zne": {"noise_factors": [1, 3], "extrapolator": "polynomial_degree_1", "amplifier": "pea"},
        },
        "twirling": {"enable_gates": True},
        "dynamical_decoupling": {"enable": True},
    }
    assert theirs.said["dd"] == "ibm: dynamical_decoupling.enable=True"
    counts = share(ibm, "ibm_x", wanted, {}, is_estimate=False)
    assert counts.ours.asked == ("readout", "zne")
    debiased = share(ionq, "qpu.forte-1", wanted, {}, is_estimate=False)
    assert (debiased.options, debiased.said) == ({"debiasing": True}, {"twirling": "ionq: debiasing=True"})
    assert share(ionq, "simulator", wanted, {}, is_estimate=False).ours == wanted


def test_decoupling_fills_idle_time_with_pulses_that_undo_a_slow_phase(core: Client) -> None:
    # every delay of the planned circuits is turned into the phase that a detuned qubit would gather
    circuit = QuantumCircuit(3)  # qubit 0 idles in a superposition while the others work
    circuit.h(0)
    circuit.cx(0, 1)
    for _ in range(5):
        circuit.cx(1, 2)
        circuit.rx(0.3, 2)
        circuit.cx(1, 2)
        circuit.rx(-0.3, 2)
    circuit.cx(0, 1)
    circuit.h(0)
    planned, both, everything = {}, ("readout", "dd"), ("readout", "zne", "twirling", "dd")
    for names in (("readout",), both, everything):
        made = core.plan_batch([circuit], device="local-noisy", shots=2000, observables="IIZ", mitigate=names, seed="r")
        planned[names] = [one for _, spec in made.specs for one in spec.programs if not one.name.startswith("all ")]
    (plain,), (decoupled,) = planned["readout",], planned[both]
    before, after = plain.gate_counts(), decoupled.gate_counts()
    assert after["x"] - before.get("x", 0) >= 2
    assert all(one.gate_counts()["delay"] >= 2 for one in planned[everything])
    assert len(planned[everything]) == 8 * 3
    assert _phase_kept(decoupled, 0.0) == pytest.approx(1, abs=1e-3)
    idle = decoupled.rewritten([op for op in decoupled.ops() if op[0] != "x"])
    # radians per time step; what is left gathers where there is no room for pulses
    lost, lost_without = (1 - _phase_kept(one, 1e-4) for one in (decoupled, idle))
    assert lost_without > 0.1
    assert lost < lost_without / 4, (lost, lost_without)
    found = run(core, circuit, device="local-noisy", shots=500, observables="IIZ", mitigate=both)
    assert found.items[0].metadata["mitigation"]["by"] == {"readout": "qflows", "dd": "qflows"}


def _phase_kept(program: Any, detuning: float) -> float:
    """<Z> of the first measured qubit, with a phase for every step of every delay."""
    made = program.rewritten(
        [
            ["rz", [detuning * float(op[1][0])], op[2], []] if op[0] == "delay" else op
            for op in program.ops()
            if op[0] not in ("measure", "barrier")
        ],
        is_verbatim=False,
    ).circuit()
    made.remove_final_measurements()
    (qubit, _), *_ = program.measured
    return float(np.real(Statevector(made).expectation_value(SparsePauliOp("Z"), [qubit])))


KILLED = """
import os, signal, sys
import qflows
from qiskit import QuantumCircuit
circuit = QuantumCircuit(2)
circuit.h(0)
circuit.cx(0, 1)
found = qflows.batch(
    [circuit], device="ionq-simulator", shots=200, observables=["ZZ"], run_key="r", mitigate=("readout", "twirling")
)
print(found.id, found.n_circuits, *(part.job_key for part in found.parts), flush=True)
if sys.argv[1] == "dies":
    os.kill(os.getpid(), signal.SIGKILL)
print(found.result().expectation_values[0])
"""


def test_a_killed_request_is_adopted_with_the_twirls_that_were_bought(
    sandbox: Sandbox, core: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = os.environ | sandbox.env
    dead = subprocess.run([sys.executable, "-c", KILLED, "dies"], capture_output=True, env=environment, timeout=120)
    assert dead.returncode == -signal.SIGKILL
    lives = subprocess.run([sys.executable, "-c", KILLED, "lives"], capture_output=True, env=environment, timeout=120)
    first, value = lives.stdout.decode().splitlines()
    assert first == dead.stdout.decode().strip()
    assert float(value) == pytest.approx(1, abs=0.1)
    assert sandbox.admin.count_jobs("ionq") == 1
