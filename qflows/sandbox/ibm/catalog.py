"""Backends, instances and error codes of the emulated IBM Quantum.

Configurations and properties are the device snapshots inside the wheel of qiskit-ibm-runtime (`fake_provider`), read
as files: the package itself takes seconds to import and is not needed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# wire name -> snapshot; a `mock_` twin of each serves dry runs (qiskit-ibm-runtime 0.51.0, `_run(dry_run=True)`)
DEVICES = {"ibm_torino": "torino", "ibm_fez": "fez", "ibm_manila": "manila"}
MOCKS = {"mock_" + name.removeprefix("ibm_"): snapshot for name, snapshot in DEVICES.items()}
PROGRAMS = ("sampler", "estimator", "executor")

# Codes as in the error registry where it documents them; the others are this sandbox's choice (marked).
BAD_REQUEST = "1230"  # chosen: the registry's meaning is not known
BACKEND_NOT_FOUND = "1007"
NOT_AUTHORIZED = "1200"
INVALID_CREDENTIALS = "1201"
TOO_MANY_REQUESTS = "1202"
TOO_MANY_TAGS = "1204"
TAG_TOO_LONG = "1205"
SESSION_CLOSED = "1217"  # chosen
NOT_FOUND = "1291"  # chosen
WRONG_STATE = "1232"  # chosen: job cannot be cancelled or deleted in its state
USAGE_EXCEEDED = "1266"  # chosen; the 409 itself is documented (OpenAPI 0.45.3, create_job)
RAN_TOO_LONG = "1305"  # qiskit-ibm-runtime 0.51.0, runtime_job_v2.py
NOT_ISA = "1517"  # chosen: the circuit uses what the device does not have
JOB_ERROR = "9999"  # chosen: any other failure of a job

BY_STATUS = {
    400: BAD_REQUEST,
    401: INVALID_CREDENTIALS,
    403: NOT_AUTHORIZED,
    404: NOT_FOUND,
    409: WRONG_STATE,
    429: TOO_MANY_REQUESTS,
}


@dataclass(frozen=True)
class Instance:
    """A deployment of a plan; jobs, sessions and usage belong to it."""

    crn: str
    name: str
    plan_id: str
    plan: str
    pricing: str
    tags: tuple[str, ...]


def _crn(region: str, number: int) -> str:
    account = "a/00000000000000000000000000000000"
    return f"crn:v1:bluemix:public:quantum-computing:{region}:{account}:{number:08d}-0000-4000-8000-000000000000::"


INSTANCES = (
    Instance(_crn("us-east", 1), "sandbox", "plan-open", "Open", "free", ("sandbox",)),
    Instance(_crn("eu-de", 2), "sandbox-paid", "plan-paygo", "Pay-As-You-Go", "paygo", ("sandbox", "paid")),
)


def instance(crn: str) -> Instance | None:
    """The instance with this CRN."""
    return next((found for found in INSTANCES if found.crn == crn), None)


def _snapshot_file(snapshot: str, kind: str) -> Path:
    spec = find_spec("qiskit_ibm_runtime")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the IBM sandbox reads its devices from qiskit-ibm-runtime, which is not installed")
    return Path(spec.submodule_search_locations[0], "fake_provider", "backends", snapshot, f"{kind}_{snapshot}.json")


def names() -> list[str]:
    """All backends, mocks last."""
    return [*DEVICES, *MOCKS]


def snapshot_of(name: str) -> str | None:
    """The snapshot behind a backend's name, or None for an unknown one."""
    return DEVICES.get(name) or MOCKS.get(name)


@cache
def snapshot_configuration(snapshot: str) -> Mapping[str, Any]:
    """The configuration document of a snapshot."""
    return json.loads(_snapshot_file(snapshot, "conf").read_text())


@cache
def snapshot_properties(snapshot: str) -> Mapping[str, Any]:
    """The calibration document of a snapshot."""
    return json.loads(_snapshot_file(snapshot, "props").read_text())


def configuration(name: str) -> dict[str, Any]:
    """A backend's configuration. `simulator` is false: the client treats simulators otherwise."""
    return {**snapshot_configuration((DEVICES | MOCKS)[name]), "backend_name": name, "simulator": False}


def properties(name: str) -> dict[str, Any]:
    """A backend's calibration."""
    return {**snapshot_properties((DEVICES | MOCKS)[name]), "backend_name": name}


def listing(name: str, *, queued: int, status: str) -> dict[str, Any]:
    """The backend's entry in GET /backends."""
    found = configuration(name)
    return {
        "name": name,
        "status": {"name": status, "reason": "available" if status == "online" else "maintenance"},
        "is_simulator": False,
        "qubits": found["n_qubits"],
        "physical_qubits": found["n_qubits"],
        "processor_type": found["processor_type"],
        "queue_length": queued,
        "clops": {"type": "hardware", "value": found.get("clops_h") or found.get("clops") or 0},
        "class": "mock" if name in MOCKS else "qpu",
    }
