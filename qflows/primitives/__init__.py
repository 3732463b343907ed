"""Qiskit's primitives and backend interface on the core: every call is durable jobs, bought once, adopted on replay.

Importing this loads no qiskit; the names load it on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qflows.primitives.backend import Backend, BackendJob
    from qflows.primitives.durable import DurableJob, job
    from qflows.primitives.errors import PubFailed, PubRejected
    from qflows.primitives.estimator import EstimatorV2
    from qflows.primitives.executor import mitiq_executor
    from qflows.primitives.sampler import SamplerV2

_HOME = {
    "Backend": "backend",
    "BackendJob": "backend",
    "SamplerV2": "sampler",
    "EstimatorV2": "estimator",
    "DurableJob": "durable",
    "job": "durable",
    "mitiq_executor": "executor",
    "PubRejected": "errors",
    "PubFailed": "errors",
}
__all__ = [
    "Backend",
    "BackendJob",
    "DurableJob",
    "EstimatorV2",
    "PubFailed",
    "PubRejected",
    "SamplerV2",
    "job",
    "mitiq_executor",
]


def __getattr__(name: str) -> object:
    """Load a public name on first use."""
    if name not in _HOME:
        raise AttributeError(f"qflows.primitives has no {name!r}; public names: {', '.join(__all__)}")
    return getattr(import_module(f"qflows.primitives.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
