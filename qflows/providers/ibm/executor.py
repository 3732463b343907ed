"""IBM's newer interface: the client prepares a quantum program, `executor` runs it, the client reads the outcome.

Preparing and reading are the functions that `executor_sampler.Sampler` and `executor_estimator.Estimator` of
qiskit-ibm-runtime 0.51.0 call themselves; sending is ours. Imports the client.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from qiskit_ibm_runtime.decoders.executor.decoder import ExecutorResultDecoder
from qiskit_ibm_runtime.decoders.executor_estimator.decoder import ClientSideEstimatorDecoder
from qiskit_ibm_runtime.decoders.executor_sampler.decoder import ClientSideSamplerResultDecoder
from qiskit_ibm_runtime.exceptions import IBMError
from qiskit_ibm_runtime.executor import Executor
from qiskit_ibm_runtime.executor_estimator import prepare as estimating
from qiskit_ibm_runtime.executor_sampler import prepare as sampling
from qiskit_ibm_runtime.options_models.estimator import EstimatorOptions
from qiskit_ibm_runtime.options_models.sampler import SamplerOptions
from qiskit_ibm_runtime.quantum_program.params_converters import QUANTUM_PROGRAM_PARAMS_CONVERTERS

from qflows.errors import Unreadable
from qflows.protocol import JobSpec
from qflows.providers.ibm import pubs, wire
from qflows.providers.ibm.compile import Compiled
from qflows.providers.ibm.layout import Sheet

_MAX_UNPACKED = 400_000_000


def inputs(
    spec: JobSpec, sheets: Sequence[Sheet], compiled: Sequence[Compiled], backend: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Like `pubs.inputs`. Raises ValueError or TypeError for options that the client refuses."""
    is_estimate = any(spec.observables)
    names = wire.EXECUTOR_ESTIMATOR_OPTIONS if is_estimate else wire.SAMPLER_OPTIONS
    given = wire.chosen(spec.options, names)
    try:
        if is_estimate:
            wanted: Any = pubs.estimator_pubs(spec, sheets, compiled)
            program, options = estimating.prepare(wanted, EstimatorOptions(**given), backend=backend)
            program._semantic_role = ClientSideEstimatorDecoder.SEMANTIC_ROLE
        else:
            wanted = pubs.sampler_pubs(spec, sheets, compiled)
            program, options = sampling.prepare(wanted, SamplerOptions(**given), spec.shots, backend=backend)
            program._semantic_role = ClientSideSamplerResultDecoder.SEMANTIC_ROLE
        model = QUANTUM_PROGRAM_PARAMS_CONVERTERS[Executor._SCHEMA_VERSION].encoder(program, options)
    except IBMError as error:
        raise ValueError(str(error)) from None
    limit = options.max_execution_time or options.environment.max_execution_time
    environment = {"log_level": options.environment.log_level, "max_execution_time": limit}
    return model.model_dump(mode="json"), environment


def pub_results(text: str) -> tuple[list[Mapping[str, Any]], dict[str, Any]]:
    """`{field: value}` per PUB and what is said of the job, in the form of `wire.pub_results`.

    Raises Unreadable, keeping the text.
    """
    try:
        body = json.loads(text)
        for tensor in _tensors(body["data"]):
            _check_size(tensor)
        raw: Any = ExecutorResultDecoder.decode(text)
        by_role = (ClientSideSamplerResultDecoder, ClientSideEstimatorDecoder)
        decoder: Any = next((one for one in by_role if one.is_applicable(raw)), None)
        if decoder is None:
            raise ValueError("neither a sampler's nor an estimator's result")
        timing = (body.get("metadata") or {}).get("chunk_timing") or []
        return [_fields(pub) for pub in decoder.decode(raw)], {"execution_spans": wire.plain(timing)}
    except Exception as error:  # noqa: BLE001  (decoder edge: any body may come)
        raise Unreadable(
            f"ibm: an executor result that cannot be read ({type(error).__name__})",
            provider="ibm",
            body=text[: wire.BODY_CAP],
        ) from None


def _fields(pub: Any) -> Mapping[str, Any]:
    found: dict[str, Any] = {"metadata": pub.metadata or {}}
    for name, value in pub.data.items():
        has_bits = hasattr(value, "num_bits")
        found[name] = {"array": value.array, "num_bits": value.num_bits} if has_bits else np.asarray(value)
    return found


def _tensors(node: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(node, dict):
        if isinstance(node.get("data"), str) and "dtype" in node:
            yield node
        else:
            for value in node.values():
                yield from _tensors(value)
    elif isinstance(node, list):
        for value in node:
            yield from _tensors(value)


def _check_size(tensor: Mapping[str, Any]) -> None:
    """Raise ValueError for a tensor that unpacks to more than we take: the client's decoder has no bound."""
    stream = zlib.decompressobj()
    stream.decompress(base64.b64decode(tensor["data"]), _MAX_UNPACKED)
    if stream.unconsumed_tail:
        raise ValueError("a tensor is too large")
