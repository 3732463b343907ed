"""Backends, instances and error codes of the emulated IBM Quantum.

Configurations and properties are the device snapshots inside the wheel of qiskit-ibm-runtime (`fake_provider`), read
as files: the package itself takes seconds to import and is not needed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

US_EAST, EU_DE = "us-east", "eu-de"


@dataclass(frozen=True)
class Model:
    """A device: the snapshot behind it, its region, and what has changed since the snapshot.

    `readout_s`: length of a measurement; `rep_delay_us`: default pause between shots, microseconds.
    """

    snapshot: str
    region: str = US_EAST
    is_fractional: bool = False
    has_feed_forward: bool = True
    rep_delay_us: float = 250.0
    readout_s: float = 2.68e-6


# Devices of autumn 2026 (IBM's QPU table; configurations of marrakesh, kingston and phoenix captured 2026-09-19 to 23).
# ibm_manila was retired in 2023 and stays here as a small device.
MODELS = {
    "ibm_fez": Model("fez", is_fractional=True),
    "ibm_marrakesh": Model("marrakesh", is_fractional=True, readout_s=2.684e-6),
    "ibm_kingston": Model("kingston", is_fractional=True, readout_s=2.18e-6),
    "ibm_pittsburgh": Model("pittsburgh", is_fractional=True),
    "ibm_boston": Model("boston", is_fractional=True),
    "ibm_aachen": Model("aachen", EU_DE, is_fractional=True),
    "ibm_miami": Model("miami", has_feed_forward=False, rep_delay_us=4000.0),
    "ibm_berlin": Model("berlin", EU_DE, has_feed_forward=False, rep_delay_us=4000.0),
    "ibm_phoenix": Model("miami", rep_delay_us=1.0, readout_s=1.94e-6),
    "ibm_manila": Model("manila"),
}
# no new jobs; earlier jobs can still be read (IBM's table of retired QPUs)
RETIRED = {"ibm_torino": "2026-04-01", "ibm_brisbane": "2025-11-03", "ibm_sherbrooke": "2025-07-31"}
# a `mock_` twin of each device serves dry runs (qiskit-ibm-runtime 0.51.0, `_run(dry_run=True)`)
MOCKS = {"mock_" + name.removeprefix("ibm_"): name for name in MODELS}
PROGRAMS = ("sampler", "estimator", "executor")
# IBM runs these too (qiskit-ibm-runtime 0.51.0: NoiseLearner, NoiseLearnerV3, calibrator); the sandbox does not,
# because what they measure is the noise of a real device
NOT_PLAYED = ("noise-learner", "calibrate")

# Codes as in the error registry where it documents them; the others are this sandbox's choice (marked).
BAD_REQUEST = "1230"  # chosen: the registry's meaning is not known
BACKEND_NOT_FOUND = "1007"
NOT_AUTHORIZED = "1200"
INVALID_CREDENTIALS = "1201"
TOO_MANY_REQUESTS = "1202"
TOO_MANY_TAGS = "1204"
TAG_TOO_LONG = "1205"
SESSION_CLOSED = "1217"  # seen on queued jobs of a session that was closed; for POST it is chosen
WRONG_REGION = "1279"  # seen: 404
NO_SESSIONS = "1352"  # seen: the Open plan has no dedicated sessions
NOT_FOUND = "1291"  # chosen
WRONG_STATE = "1232"  # chosen: job cannot be cancelled or deleted in its state
USAGE_EXCEEDED = "1266"  # chosen; the 409 itself is documented (OpenAPI 0.45.3, create_job)
RAN_TOO_LONG = "1305"  # qiskit-ibm-runtime 0.51.0, runtime_job_v2.py
# failures after acceptance, and what they were charged, in seconds (269 jobs on the Open plan, June to September 2026)
BAD_OBSERVABLES = "1501"
NOT_READABLE = "1506"
NOT_ISA = "1517"
FRACTIONAL_AND_TWIRLED = "1519"
TOO_MANY_EXECUTIONS = "1520"
BAD_QASM = "1603"
CHARGED_FAILURES = {"1305": 2, "1503": 2, "1506": 2, "1515": 2, "1517": 2, "1519": 2, "1520": 2}
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
    account = "a/" + "0" * 32
    return f"crn:v1:bluemix:public:quantum-computing:{region}:{account}:{number:08d}-0000-4000-8000-000000000000::"


INSTANCES = (
    Instance(_crn(US_EAST, 1), "sandbox", "plan-paygo", "Pay-As-You-Go", "paygo", ("sandbox",)),
    Instance(_crn(EU_DE, 2), "sandbox-eu", "plan-paygo", "Pay-As-You-Go", "paygo", ("sandbox", "paid")),
    Instance(_crn(US_EAST, 3), "sandbox-open", "plan-open", "Open", "free", ("sandbox",)),
)
_NOBODY = "a/" + "0" * 32


def instances_of(account: str) -> list[Instance]:
    """The instances of an account; every account has the same three."""
    return [replace(one, crn=one.crn.replace(_NOBODY, f"a/{account}")) for one in INSTANCES]


def instance(crn: str) -> Instance | None:
    """The instance with this CRN, whoever owns it."""
    return next((one for one in instances_of(account_of(crn)) if one.crn == crn), None)


def account_of(crn: str) -> str:
    """The account in a CRN; empty if there is none."""
    parts = crn.split(":")
    return parts[6].removeprefix("a/") if len(parts) > 6 else ""


def is_open(crn: str) -> bool:
    """True for an instance of the Open plan."""
    found = instance(crn)
    return found is not None and found.plan == "Open"


def region(crn: str) -> str:
    """The region in a CRN."""
    parts = crn.split(":")
    return parts[5] if len(parts) > 5 else ""


def _snapshot_file(snapshot: str, kind: str) -> Path:
    spec = find_spec("qiskit_ibm_runtime")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the IBM sandbox reads its devices from qiskit-ibm-runtime, which is not installed")
    return Path(spec.submodule_search_locations[0], "fake_provider", "backends", snapshot, f"{kind}_{snapshot}.json")


def names(region: str, *, with_mocks: bool) -> list[str]:
    """Backends of a region, mocks last."""
    real = [name for name, model in MODELS.items() if model.region == region]
    return real + ([twin for twin, name in MOCKS.items() if name in real] if with_mocks else [])


def model_of(name: str, region: str = "") -> Model | None:
    """The device behind a backend's name, or None for an unknown one or one of another region."""
    model = MODELS.get(MOCKS.get(name, name))
    return model if model is not None and region in ("", model.region) else None


@cache
def snapshot_configuration(snapshot: str) -> Mapping[str, Any]:
    """The configuration document of a snapshot."""
    return json.loads(_snapshot_file(snapshot, "conf").read_text())


@cache
def snapshot_properties(snapshot: str) -> Mapping[str, Any]:
    """The calibration document of a snapshot."""
    return json.loads(_snapshot_file(snapshot, "props").read_text())


@cache
def configuration(name: str) -> Mapping[str, Any]:
    """A backend's configuration. `simulator` is false, because the client treats simulators differently."""
    model = MODELS[MOCKS.get(name, name)]
    found = {**snapshot_configuration(model.snapshot), "backend_name": name, "simulator": False}
    if MOCKS.get(name, name) == "ibm_manila":
        return found
    supported = [one for one in found["supported_instructions"] if one not in _DYNAMIC and one not in FRACTIONAL]
    if model.has_feed_forward:
        supported += ["reset", "if_else", "store"]
    if model.is_fractional:
        pairs = next(gate["coupling_map"] for gate in found["gates"] if gate["name"] == "cz")
        singles = next(gate["coupling_map"] for gate in found["gates"] if gate["name"] == "sx")
        theirs = [_gate("rx", "gate rx(theta) a {}", singles), _gate("rzz", "gate rzz(theta) a,b {}", pairs)]
        found |= {"gates": [*found["gates"], *theirs], "basis_gates": [*found["basis_gates"], *FRACTIONAL]}
        supported += FRACTIONAL
    has_reset = any(gate["name"] == "reset" for gate in found["gates"])
    if model.has_feed_forward and not has_reset:
        singles = next(gate["coupling_map"] for gate in found["gates"] if gate["name"] == "sx")
        found["gates"] = [*found["gates"], {"name": "reset", "parameters": [], "qasm_def": "gate reset q {}"}]
        found["gates"][-1]["coupling_map"] = singles
    features = ["qobj", "qasm3", "dynamic_circuits", "parameters"] if model.has_feed_forward else ["qobj"]
    return found | {
        "supported_instructions": supported,
        "supported_features": features,
        "default_rep_delay": model.rep_delay_us,
        "rep_delay_range": [1000.0, 4000.0] if model.rep_delay_us >= 1000 else [0.0, 2000.0],
    }


FRACTIONAL = ("rx", "rzz")
_DYNAMIC = frozenset({"reset", "if_else", "for_loop", "switch_case", "while_loop", "store"})


def _gate(name: str, qasm: str, places: Any) -> dict[str, Any]:
    return {"name": name, "parameters": ["theta"], "qasm_def": qasm, "coupling_map": places}


@cache
def properties(name: str) -> Mapping[str, Any]:
    """A backend's calibration. Fractional gates are as good as the gates they replace."""
    model = MODELS[MOCKS.get(name, name)]
    found = {**snapshot_properties(model.snapshot), "backend_name": name}
    if model.is_fractional:
        as_gate = {"cz": "rzz", "sx": "rx"}
        twins = [
            {**gate, "gate": as_gate[gate["gate"]], "name": gate["name"].replace(gate["gate"], as_gate[gate["gate"]])}
            for gate in found["gates"]
            if gate["gate"] in as_gate
        ]
        found["gates"] = [*found["gates"], *twins]
    return found


def listing(name: str, *, queued: int, status: str) -> dict[str, Any]:
    """The backend's entry in GET /backends."""
    found = configuration(name)
    return {
        "name": name,
        "status": {"name": status, "reason": "available" if status == "online" else "maintenance"},
        "is_simulator": False,
        "qubits": found["n_qubits"],
        "physical_qubits": found["n_qubits"],
        "processor_type": found.get("processor_type"),
        "queue_length": queued,
        "clops": {"type": "hardware", "value": found.get("clops_h") or found.get("clops") or 0},
        "class": "mock" if name in MOCKS else "qpu",
    }
