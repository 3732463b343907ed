"""Proof that an adapter keeps the contract of `qflows.protocol.Provider`: a pytest suite, and fixtures to run it with.

    # conftest.py of the vendor's tests
    pytest_plugins = ["qflows.testing.fixtures"]

    # test_conformance.py
    from qflows.testing import RemoteConformance, Target

    class TestAcme(RemoteConformance): ...

Needs pytest (`pip install 'qflows[testing]'`); nothing else of qflows imports this. docs/adding-a-vendor.md goes
through it step by step.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from qflows.testing.circuits import (
        PROBES,
        Probe,
        Target,
        bell,
        distribution,
        random_body,
        random_measured,
        total_variation,
        variation_bound,
    )
    from qflows.testing.conformance import ProviderConformance
    from qflows.testing.jobs import counts_of, key_of, read_result, run, run_all, send_job, spec_of, wait
    from qflows.testing.remote import CANARY, Emulator, EmulatorAdmin, RemoteConformance, shown_by

# before they are imported, or their assertions would fail without saying what was compared
pytest.register_assert_rewrite("qflows.testing.conformance", "qflows.testing.remote", "qflows.testing.jobs")

_HOME = {
    "PROBES": "circuits",
    "Probe": "circuits",
    "Target": "circuits",
    "bell": "circuits",
    "distribution": "circuits",
    "random_body": "circuits",
    "random_measured": "circuits",
    "total_variation": "circuits",
    "variation_bound": "circuits",
    "ProviderConformance": "conformance",
    "counts_of": "jobs",
    "key_of": "jobs",
    "read_result": "jobs",
    "run": "jobs",
    "run_all": "jobs",
    "send_job": "jobs",
    "spec_of": "jobs",
    "wait": "jobs",
    "CANARY": "remote",
    "Emulator": "remote",
    "EmulatorAdmin": "remote",
    "RemoteConformance": "remote",
    "shown_by": "remote",
}
__all__ = [
    "CANARY",
    "PROBES",
    "Emulator",
    "EmulatorAdmin",
    "Probe",
    "ProviderConformance",
    "RemoteConformance",
    "Target",
    "bell",
    "counts_of",
    "distribution",
    "key_of",
    "random_body",
    "random_measured",
    "read_result",
    "run",
    "run_all",
    "send_job",
    "shown_by",
    "spec_of",
    "total_variation",
    "variation_bound",
    "wait",
]


def __getattr__(name: str) -> object:
    """Loads a public name on first use: the fixtures alone must not import Qiskit."""
    if name in _HOME:
        return getattr(import_module(f"qflows.testing.{_HOME[name]}"), name)
    raise AttributeError(f"qflows.testing has no {name!r}; public names: {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
