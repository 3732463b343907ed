"""Noise of local devices: an IBM snapshot's, a few strengths, or the caller's model. Imports simulators late."""

from __future__ import annotations

import json
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


def _complex(error: dict[str, Any]) -> dict[str, Any]:
    """An error whose matrices are complex: Aer writes entries as [real, imaginary], and cannot read them (0.18.2)."""
    import numpy as np

    def read(step: dict[str, Any]) -> dict[str, Any]:
        if step["name"] not in ("kraus", "unitary"):
            return step
        return {**step, "params": [np.asarray(matrix, dtype=float) @ (1, 1j) for matrix in step["params"]]}

    found = dict(error)
    if "instructions" in found:  # an error of readout has none
        found["instructions"] = [[read(step) for step in steps] for steps in found["instructions"]]
    return found


@lru_cache(maxsize=16)
def noise_of(text: str) -> Any:
    """The noise model of `noise_text`. Raises ProgramRejected for an invalid dictionary."""
    from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error

    body = json.loads(text)
    if isinstance(body, dict):
        try:
            return NoiseModel.from_dict({**body["model"], "errors": [_complex(one) for one in body["model"]["errors"]]})
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
