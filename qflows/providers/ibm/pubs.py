"""PUBs and options of a job, built with Qiskit's PUB classes and the client's own option classes. Imports both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit_ibm_runtime.options import EstimatorOptions, SamplerOptions

from qflows.protocol import JobSpec
from qflows.providers.ibm import wire
from qflows.providers.ibm.compile import Compiled, on_device
from qflows.providers.ibm.layout import Sheet


def sampler_pubs(spec: JobSpec, sheets: Sequence[Sheet], compiled: Sequence[Compiled]) -> list[SamplerPub]:
    """One PUB per sheet, of shape (programs,), or () for a single program."""
    pairs = zip(sheets, compiled, strict=True)
    return [SamplerPub.coerce(_with_values(one.circuit, one.values_of(sheet)), spec.shots) for sheet, one in pairs]


def estimator_pubs(spec: JobSpec, sheets: Sequence[Sheet], compiled: Sequence[Compiled]) -> list[EstimatorPub]:
    """One PUB per sheet, of shape (programs, observables), or (observables,) for a single program.

    `shots` becomes the precision 1 / sqrt(shots), as IBM's estimators count.
    """
    assert spec.shots is not None
    precision = 1 / math.sqrt(spec.shots)
    made = []
    for sheet, one in zip(sheets, compiled, strict=True):
        observables = [on_device(observable, one) for observable in spec.observables_of(sheet.indices[0])]
        values = one.values_of(sheet)
        # every program with every observable
        pub: Any = (one.circuit, observables) if values is None else (one.circuit, observables, values[:, None, :])
        made.append(EstimatorPub.coerce(pub, precision))
    return made


def _with_values(circuit: Any, values: Any) -> Any:
    return (circuit,) if values is None else (circuit, values)


def inputs(
    spec: JobSpec, sheets: Sequence[Sheet], compiled: Sequence[Compiled]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(params of the job, runtime options such as the time limit). Raises ValueError or TypeError for bad options."""
    is_estimate = any(spec.observables)
    kind: Any = EstimatorOptions if is_estimate else SamplerOptions
    names = wire.ESTIMATOR_OPTIONS if is_estimate else wire.SAMPLER_OPTIONS
    options = asdict(kind(**wire.chosen(spec.options, names)))
    pubs: list[Any] = [*(estimator_pubs if is_estimate else sampler_pubs)(spec, sheets, compiled)]
    return {"pubs": pubs} | kind._get_program_inputs(options), kind._get_runtime_options(options)
