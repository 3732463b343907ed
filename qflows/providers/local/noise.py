"""Noise of local devices: an IBM snapshot's, a few strengths, or the caller's model. Imports simulators late."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from qflows.errors import ProgramRejected, Refused
from qflows.programs.gates import STANDARD
from qflows.providers.local.options import AerOptions

_WIDEST_NOISY = 2  # wider gates are compiled to these, which carry the noise


@lru_cache(maxsize=8)
def snapshot(name: str) -> Any:
    """A frozen IBM device by its short name, e.g. `manila`. Raises Refused naming the available ones."""
    from qiskit_ibm_runtime import fake_provider

    classes = {
        c[4:].removesuffix("V2").lower(): c
        for c in dir(fake_provider)
        if c.startswith("Fake") and c[4:5].isupper() and "Provider" not in c
    }
    if name.lower() not in classes:
        raise Refused(
            f"no IBM device snapshot {name!r}; the snapshots are {', '.join(sorted(classes))}", provider="local"
        )
    return getattr(fake_provider, classes[name.lower()])()


@lru_cache(maxsize=8)
def snapshot_noise(name: str) -> Any:
    """Gate errors, relaxation and readout of a snapshot, as Aer's model.

    Aer reads readout errors from the compiler's target, which has only their mean; the calibration says how often a
    prepared 0 is read as 1 and a prepared 1 as 0, which on superconducting qubits is up to a few times as often.
    """
    from qiskit_aer.noise import NoiseModel, ReadoutError

    device = snapshot(name)
    target = device.target
    model = NoiseModel.from_backend(device, readout_error=False)
    told = device.properties()
    for qubit in range(target.num_qubits):
        measured = target["measure"].get((qubit,)) if "measure" in target else None
        either = (measured.error if measured is not None else None) or 0.0
        entries = told.qubit_property(qubit) if told is not None and qubit < len(told.qubits) else {}
        missed, invented = (
            float(entries[key][0]) if key in entries else either for key in ("prob_meas0_prep1", "prob_meas1_prep0")
        )
        if missed or invented:
            model.add_readout_error(ReadoutError([[1 - invented, invented], [missed, 1 - missed]]), [qubit])
    return model


def noise_text(options: AerOptions) -> str:
    """A name for the noise of a job beyond its device; empty for the device's own."""
    if options.noise_model is not None:
        return json.dumps({"model": options.noise_model}, sort_keys=True)
    if options.has_strengths:
        return json.dumps([options.depolarizing_1q, options.depolarizing_2q, options.readout_error])
    return ""


def _noise_model(body: dict[str, Any]) -> Any:
    """The model that `NoiseModel.to_dict(serializable=True)` wrote. Aer's own reader is deprecated (0.15) and cannot
    read the complex matrices that its writer makes (0.18.2)."""
    from qiskit_aer.noise import NoiseModel, QuantumError, ReadoutError

    model = NoiseModel()
    for error in body["errors"]:
        everywhere = [None]  # all qubits
        if error["type"] == "roerror":
            read = ReadoutError(error["probabilities"])
            for qubits in error.get("gate_qubits") or everywhere:
                if qubits:
                    model.add_readout_error(read, qubits, warnings=False)
                else:
                    model.add_all_qubit_readout_error(read, warnings=False)
        elif error["type"] == "qerror":
            steps = [_circuit(one) for one in error["instructions"]]
            noise, names = QuantumError(list(zip(steps, error["probabilities"], strict=True))), error["operations"]
            for qubits in error.get("gate_qubits") or everywhere:
                if qubits:
                    model.add_quantum_error(noise, names, qubits, warnings=False)
                else:
                    model.add_all_qubit_quantum_error(noise, names, warnings=False)
        else:
            raise ValueError(f"{error['type']!r} is not a type of error; qerror and roerror are")
    return model


def _circuit(steps: Sequence[dict[str, Any]]) -> Any:
    """One outcome of an error as a circuit. Matrices are lists of [real, imaginary]."""
    import numpy as np
    from qiskit import QuantumCircuit
    from qiskit.circuit.library import PauliGate, UnitaryGate, get_standard_gate_name_mapping
    from qiskit.quantum_info import Kraus

    circuit = QuantumCircuit(max(max(step["qubits"]) for step in steps) + 1)
    for step in steps:
        name, given = step["name"], step.get("params", [])
        if name in ("kraus", "unitary"):
            matrices: Any = [np.asarray(matrix, dtype=float) @ (1, 1j) for matrix in given]
            what = Kraus(matrices).to_instruction() if name == "kraus" else UnitaryGate(matrices[0])
        else:
            what = PauliGate(given[0]) if name == "pauli" else get_standard_gate_name_mapping()[name]
        circuit.append(what, step["qubits"])
    return circuit


@lru_cache(maxsize=16)
def noise_of(text: str) -> Any:
    """The noise model of `noise_text`. Raises ProgramRejected for an invalid dictionary."""
    from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error

    body = json.loads(text)
    if isinstance(body, dict):
        try:
            return _noise_model(body["model"])
        except Exception as error:
            raise ProgramRejected(
                f"noise_model is not an Aer noise model ({type(error).__name__}: {str(error)[:200]}); pass "
                "NoiseModel.to_dict(serializable=True)"
            ) from error
    one, two, read = body
    model = NoiseModel(basis_gates=[name for name, (width, _) in STANDARD.items() if width <= _WIDEST_NOISY])
    for width, strength in ((1, one), (2, two)):
        if strength:
            names = [name for name, (n_qubits, _) in STANDARD.items() if n_qubits == width]
            model.add_all_qubit_quantum_error(depolarizing_error(strength, width), names)
    if read:
        model.add_all_qubit_readout_error(ReadoutError([[1 - read, read], [read, 1 - read]]))
    return model
