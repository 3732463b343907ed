"""The params of a job, built with the client's own option classes and Qiskit's PUB classes. Imports both."""

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


def inputs(spec: JobSpec, compiled: Sequence[Compiled], *, is_estimate: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """(params of the job, runtime options such as the time limit). Raises ValueError or TypeError for bad options.

    For expectation values, `shots` becomes the precision 1 / sqrt(shots), which is how IBM's estimator counts.
    """
    assert spec.shots is not None
    kind: Any = EstimatorOptions if is_estimate else SamplerOptions
    names = wire.ESTIMATOR_OPTIONS if is_estimate else wire.SAMPLER_OPTIONS
    options = asdict(kind(**wire.chosen(spec.options, names)))
    if is_estimate:
        precision = 1 / math.sqrt(spec.shots)
        pubs: list[Any] = [
            EstimatorPub.coerce((one.circuit, [on_device(o, one) for o in spec.observables_of(i)]), precision)
            for i, one in enumerate(compiled)
        ]
    else:
        pubs = [SamplerPub.coerce((one.circuit,), spec.shots) for one in compiled]
    return {"pubs": pubs} | kind._get_program_inputs(options), kind._get_runtime_options(options)
