"""Expectation values as IBM's estimator gives them: sampling errors, readout mitigation, zero-noise extrapolation.

The mitigation is a stand-in: values at larger noise follow from the noisy and the noiseless one, and the arrays have
the names and shapes described in the guides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from qflows.sandbox.errors import WorkError
from qflows.sandbox.ibm.simulate import Device, paulis_of, readout_contrast

if TYPE_CHECKING:
    pass

# eigenstate projectors that an observable may contain besides Paulis: |0>, |1>, |+>, |->, |r>, |l>
PROJECTORS = {"0": ("Z", 1), "1": ("Z", -1), "+": ("X", 1), "-": ("X", -1), "r": ("Y", 1), "l": ("Y", -1)}
FACTORS = (1.0, 3.0, 5.0)
EXTRAPOLATORS = ("exponential", "linear")
SPREAD = 0.35  # standard deviation of a readout signal, in units of half the distance between 0 and 1
ZNE_WIDENS = 3.0  # extrapolated values have larger errors; the factor is the sandbox's choice
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Plan:
    """The requests in a job's options."""

    is_mitigated: bool  # readout
    factors: tuple[float, ...]  # empty without extrapolation
    extrapolators: tuple[str, ...]
    targets: tuple[float, ...]  # noise factors to extrapolate to
    is_cancelled: bool  # probabilistic error cancellation


def plan_of(params: dict[str, Any]) -> Plan:
    """The plan of a job: by resilience level, and by its explicit options."""
    level = params.get("resilience_level", 1)
    resilience = member(member(params, "options"), "resilience")
    zne = member(resilience, "zne")
    has_zne = bool(resilience.get("zne_mitigation", level == 2))
    factors = zne.get("noise_factors") or FACTORS
    kinds = zne.get("extrapolator") or EXTRAPOLATORS
    targets = zne.get("extrapolated_noise_factors") or (0.0, *factors)
    return Plan(
        is_mitigated=bool(resilience.get("measure_mitigation", level != 0)),
        factors=tuple(map(float, factors)) if has_zne else (),
        extrapolators=(kinds,) if isinstance(kinds, str) else tuple(kinds),
        targets=tuple(map(float, targets)),
        is_cancelled=bool(resilience.get("pec_mitigation")),
    )


def member(body: dict[str, Any], name: str) -> dict[str, Any]:
    """A member that is an object; empty for anything else."""
    found = body.get(name)
    return found if isinstance(found, dict) else {}


def estimate(
    circuits: Array, observables: Array, shots: int, device: Device, rng: np.random.Generator, plan: Plan
) -> dict[str, Array]:
    """`evs` and `stds` over the broadcast shape, and the further arrays of the plan."""
    shape = circuits.shape
    found: dict[str, Array] = {"evs": np.zeros(shape), "stds": np.zeros(shape)}
    if not plan.factors:
        found["ensemble_standard_error"] = np.zeros(shape)
    scales = plan.factors or (1.0,)
    at_factors, errors = np.zeros((*shape, len(scales))), np.zeros((*shape, len(scales)))
    ideal = np.zeros(shape)
    for place in np.ndindex(shape):
        terms, circuit = paulis_in(cast(Any, observables[place])), cast(Any, circuits[place])
        noisy = paulis_of(circuit, list(terms), device)
        clean = paulis_of(circuit, list(terms), Device(None, device.limit, device.seed))
        for k, scale in enumerate(scales):
            value = _value(terms, noisy, clean, scale, shots, device, rng, plan)
            at_factors[(*place, k)], errors[(*place, k)] = value
        ideal[place] = sum(coefficient * clean[label] for label, coefficient in terms.items())
    found["evs"], found["stds"] = at_factors[..., 0], errors[..., 0]
    if plan.factors:
        wide = ZNE_WIDENS * errors[..., 0]
        found["evs"], found["stds"] = ideal + rng.normal(0.0, 1.0, shape) * wide, wide
        lines = np.stack([ideal + (at_factors[..., 0] - ideal) * target for target in plan.targets], axis=-1)
        kinds = [lines] * len(plan.extrapolators)
        found |= {
            "evs_noise_factors": at_factors,
            "stds_noise_factors": errors,
            "ensemble_stds_noise_factors": errors,
            "evs_extrapolated": np.stack(kinds, axis=-2),
            "stds_extrapolated": np.stack([np.stack([wide] * len(plan.targets), axis=-1)] * len(kinds), axis=-2),
        }
    else:
        found["ensemble_standard_error"] = found["stds"]
    return found


def _value(
    terms: dict[str, float],
    noisy: dict[str, float],
    clean: dict[str, float],
    scale: float,
    shots: int,
    device: Device,
    rng: np.random.Generator,
    plan: Plan,
) -> tuple[float, float]:
    """Value and standard error, with each Pauli term sampled `shots` times separately."""
    value = variance = 0.0
    for label, coefficient in terms.items():
        kept = noisy[label] / clean[label] if abs(clean[label]) > 1e-6 else 0.0
        mean = clean[label] * kept**scale if 0 < kept < 1 else noisy[label]
        mean = clean[label] if plan.is_cancelled else mean
        mean = mean if plan.is_mitigated else mean * readout_contrast(device, label)
        value += coefficient * mean
        if set(label) != {"I"}:
            variance += coefficient**2 * max(1 - mean**2, 0.0) / shots
    error = math.sqrt(variance)
    return (float(value + rng.normal(0.0, error)) if error else value), error


def signals(bits: Array, level: str, seed: int) -> Array:
    """Kerneled readout: -1 for 0 and 1 for 1 with noise, complex; the mean over shots for `avg_kerneled`."""
    rng = np.random.default_rng(seed)
    spread = rng.normal(0.0, SPREAD, (2, *bits.shape))
    found = np.where(bits, 1.0, -1.0) + spread[0] + 1j * spread[1]
    return found if level == "kerneled" else found.mean(axis=-2)


def paulis_in(terms: dict[str, float]) -> dict[str, float]:
    """Pauli terms of an observable whose labels may hold projectors."""
    expanded: dict[str, float] = {}
    for label, coefficient in terms.items():
        parts = {"": float(np.real(complex(*coefficient) if isinstance(coefficient, list) else coefficient))}
        for letter in label:
            if letter in PROJECTORS:
                pauli, sign = PROJECTORS[letter]
                halves = {text + "I": value / 2 for text, value in parts.items()}
                parts = halves | {text + pauli: sign * value / 2 for text, value in parts.items()}
            else:
                parts = {text + letter: value for text, value in parts.items()}
            if len(parts) > 1024:
                raise WorkError("1501", "an observable with more than 10 projectors is not run here")
        for text, value in parts.items():
            expanded[text] = expanded.get(text, 0.0) + value
    return expanded
