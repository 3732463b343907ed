"""What a device's noise does to a program is what Qiskit Aer alone makes of the same noise: folds, decay, readout."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error
from scipy.optimize import curve_fit

sys.path.insert(0, str(Path(__file__).parents[2]))

from noise_models import SNAPSHOT, as_calibrated, by_aer_itself, calibrated, depolarised  # noqa: E402

from qflows.core.client import Client  # noqa: E402
from qflows.core.compiling import compile_program  # noqa: E402
from qflows.core.scope import script_scope  # noqa: E402
from qflows.errors import ProgramRejected  # noqa: E402
from qflows.programs import Program  # noqa: E402
from qflows.sandbox import Sandbox  # noqa: E402
from qflows.sandbox.braket.devices import DEVICES  # noqa: E402

FOLDS = (1, 3, 5, 9)
SHOTS = 20_000
KEEP_DELAYS = ("local-noisy", "ibm-sandbox")


def folded(n: int) -> QuantumCircuit:
    """An odd number of CNOTs that a compiler would make one of, if the barriers did not forbid it: outcome 11."""
    circuit = QuantumCircuit(2, 2)
    circuit.x(0)
    for _ in range(n):
        circuit.barrier()
        circuit.cx(0, 1)
    circuit.barrier()
    circuit.measure([0, 1], [0, 1])
    return circuit


def shares(core: Client, circuits: list[Any], device: str, wanted: str, shots: int, **wishes: Any) -> list[float]:
    """How often each circuit gave the outcome."""
    batch = core.submit_list(circuits, script_scope(wanted), device=device, shots=shots, **wishes)
    return [(item.counts or {}).get(wanted, 0) / shots for item in batch.result(120).results if item is not None]


def of_garnet(program: Program) -> NoiseModel:
    """The rates of the sandbox's catalog for superconducting QPUs, on every gate of the compiled program."""
    rates = next(one.rates for one in DEVICES.values() if one.name == "Garnet")
    assert rates is not None
    one, two, read = rates
    model = NoiseModel()
    for name in program.gate_counts():
        if name not in ("measure", "barrier"):
            width = 2 if name == "cz" else 1
            model.add_all_qubit_quantum_error(depolarizing_error(two if width == 2 else one, width), name)
    model.add_all_qubit_readout_error(ReadoutError([[1 - read, read], [read, 1 - read]]))
    return model


def alone(program: Program, model: NoiseModel, seed: int) -> float:
    """Share of 11 that Aer gives for the program as it is, without any of our compiling."""
    circuit: Any = program.circuit()
    if program.labels is not None and max(program.labels) < SNAPSHOT.num_qubits:
        wide = QuantumCircuit(SNAPSHOT.num_qubits, circuit.num_clbits)
        wide.compose(circuit, list(program.labels), wide.clbits, inplace=True)
        circuit = wide
    found = AerSimulator(noise_model=model).run(circuit, shots=SHOTS, seed_simulator=seed).result().get_counts()
    return {key.replace(" ", ""): n for key, n in found.items()}.get("11", 0) / SHOTS


@pytest.mark.parametrize("device", ["local-noisy", "ibm-sandbox", "braket-garnet"])
def test_error_grows_with_folds_as_with_aer_alone(core: Client, device: str) -> None:
    shown = [compile_program(core.device(device), folded(n), shots=SHOTS, compile=1).program for n in FOLDS]
    assert [one.n_two_qubit for one in shown] == list(FOLDS)
    found = 1 - np.array(shares(core, [folded(n) for n in FOLDS], device, "11", SHOTS, compile=1))
    models = {"local-noisy": lambda _: by_aer_itself(), "ibm-sandbox": lambda _: as_calibrated(depolarised)}
    model = models.get(device, of_garnet)
    expected = 1 - np.array([alone(one, model(one), seed) for seed, one in enumerate(shown)])
    print(device, "errors", found.round(4), "Aer alone", expected.round(4))
    spread = np.sqrt((found * (1 - found) + expected * (1 - expected)) / SHOTS)
    assert np.all(np.abs(found - expected) < 4 * spread)
    assert np.all(np.diff(found) > 0)
    growth, alike = found[-1] - found[0], expected[-1] - expected[0]
    assert growth > 10 * spread[-1]
    assert abs(growth - alike) < 4 * math.hypot(spread[0], spread[-1])


@pytest.mark.parametrize("device", KEEP_DELAYS)
def test_readout_errs_as_calibrated_after_0_and_after_1(core: Client, device: str) -> None:
    """Qubit 2 of the snapshot reads 12 % of prepared ones as 0 and 7 % of prepared zeros as 1; their mean is wrong."""
    circuits = []
    for prepared in (0, 1):
        circuit = QuantumCircuit(1, 1)
        if prepared:
            circuit.x(0)
        circuit.measure(0, 0)
        circuits.append(circuit)
    invented, kept = shares(core, circuits, device, "1", SHOTS, physical_qubits=[2])
    expected = calibrated("prob_meas1_prep0", 2), calibrated("prob_meas0_prep1", 2)
    assert expected[1] - expected[0] > 0.05
    assert abs(invented - expected[0]) < 4 * math.sqrt(expected[0] / SHOTS)
    assert abs(1 - kept - expected[1]) < 4 * math.sqrt(expected[1] / SHOTS) + 1e-3  # the x gate errs as well


def waiting(us: float) -> QuantumCircuit:
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    circuit.delay(us, 0, unit="us")
    circuit.measure(0, 0)
    return circuit


def turning(us: float, detuning: float) -> QuantumCircuit:
    """Ramsey: the phase that a frame off by `detuning` (rad/us) gathers is put in by hand."""
    circuit = QuantumCircuit(1, 1)
    circuit.sx(0)
    circuit.delay(us, 0, unit="us")
    circuit.rz(detuning * us, 0)
    circuit.sx(0)
    circuit.measure(0, 0)
    return circuit


@pytest.mark.parametrize("device", KEEP_DELAYS)
def test_lifetime_and_coherence_are_those_of_the_calibration_within_3_sigma(core: Client, device: str) -> None:
    shots, qubit, detuning = 4000, 0, 0.15
    times = np.linspace(1, 300, 13)
    t1, t2 = (1e6 * calibrated(entry, qubit) for entry in ("T1", "T2"))
    excited = shares(core, [waiting(float(t)) for t in times], device, "1", shots, physical_qubits=[qubit])
    fitted, error = fit(lambda t, life, a, b: a * np.exp(-t / life) + b, times, excited, [100, 0.9, 0.02], shots)
    print(device, f"T1 {fitted:.1f} +- {error:.1f} us, calibrated {t1:.1f}")
    assert abs(fitted - t1) < 3 * error
    assert error < 0.1 * t1

    times = np.linspace(1, 200, 27)
    circuits = [turning(float(t), detuning) for t in times]
    batch = core.submit_list(circuits, script_scope("r"), device=device, shots=shots, physical_qubits=[qubit])
    fringe = [(item.counts or {}).get("1", 0) / shots for item in batch.result(120).results if item is not None]
    fitted, error = fit(
        lambda t, life, a, b: a * np.exp(-t / life) * np.cos(detuning * t) + b, times, fringe, [80, 0.45, 0.5], shots
    )
    print(device, f"T2* {fitted:.1f} +- {error:.1f} us, calibrated {t2:.1f}")
    assert abs(fitted - t2) < 3 * error
    assert error < 0.1 * t2


def fit(
    model: Callable[..., Any], times: Any, values: list[float], start: list[float], shots: int
) -> tuple[float, float]:
    """First parameter and its standard error, by least squares with the shot noise of each value."""
    share = np.clip(values, 1 / shots, 1 - 1 / shots)
    found, spread = curve_fit(model, times, values, start, np.sqrt(share * (1 - share) / shots), absolute_sigma=True)
    return float(found[0]), float(np.sqrt(spread[0, 0]))


@pytest.mark.parametrize(
    "device", ["ionq-simulator", "ionq-forte-1", "braket-garnet", "braket-sv1", "qbraid-qir-sv", "qbraid-garnet"]
)
def test_wait_is_refused_where_the_vendor_keeps_none_and_nothing_is_bought(
    every_vendor: Sandbox, core: Client, device: str
) -> None:
    for circuit in (waiting(500), turning(20, 0.1)):
        with pytest.raises(ProgramRejected, match="delay") as told:
            core.run(circuit, script_scope("k"), device=device, shots=100, timeout=60)
        print(device, told.value)
    assert every_vendor.admin.jobs("ionq") == every_vendor.admin.jobs("braket") == []


@pytest.mark.parametrize("device", KEEP_DELAYS)
def test_wait_off_the_clock_of_the_device_is_rounded_and_said(core: Client, device: str) -> None:
    """The device keeps time in steps of 16 x 0.222 ns."""
    odd, even = waiting(1.0), QuantumCircuit(1, 1)
    even.delay(160, 0, unit="dt")
    even.measure(0, 0)
    rounded, exact = (core.run(one, script_scope("k"), device=device, shots=10, timeout=60) for one in (odd, even))
    (note,) = rounded.items[0].metadata["compiled"]["notes"]
    assert note.startswith("delay 1 us runs as 999.1")
    assert "notes" not in exact.items[0].metadata["compiled"]


def test_a_noise_model_itself_is_an_option_and_the_same_job_as_its_dictionary(core: Client) -> None:
    model = NoiseModel()
    model.add_all_qubit_readout_error(ReadoutError([[0.7, 0.3], [np.float64(0.1), 0.9]]))
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    written = model.to_dict(serializable=True)
    found = [
        core.run(circuit, script_scope("m"), device="local-aer", shots=np.int32(4000), options={"noise_model": one})
        for one in (model, written)
    ]
    specs = [core.submitter.spec(one.job.key) for one in found]
    assert specs[0].options == specs[1].options
    assert specs[0].options["noise_model"] == written
    assert all(abs(one.counts["1"] / 4000 - 0.3) < 0.04 for one in found)
