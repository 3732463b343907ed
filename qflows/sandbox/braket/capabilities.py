"""The `deviceCapabilities` text of GetDevice: a document of amazon-braket-schemas, parsed by the SDK without a warning.

Field names and flags are those of the captured documents (devices.py); the flags are the same on every gate QPU.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from qflows.sandbox.braket.devices import Device, Window, unit

OPENQASM = "braket.ir.openqasm.program"
PROGRAM_SET = "braket.ir.openqasm.program_set"
_SCHEMA = "braket.device_schema."
_RESULTS = ("sample", "expectation", "variance", "probability")
_FORBIDDEN = ("unitary_matrix", "result_type_state_vector", "result_type_density_matrix", "result_type_amplitude")
_ARRAYS = ("concatenation", "negativeIndex", "range", "rangeWithStep", "slicing", "selection")


def header(name: str, version: str = "1") -> dict[str, str]:
    """A braketSchemaHeader."""
    return {"name": name, "version": version}


@cache
def capabilities(device: Device, *, windows: tuple[Window, ...], fidelity: float | None = None) -> str:
    """The document of a device that is open in these windows, with a calibration if a fidelity is given."""
    action: dict[str, Any] = {OPENQASM: _program(device)}
    if device.sets:
        executables, shots = device.sets
        sets = {"actionType": PROGRAM_SET, "version": [device.set_version], "maximumExecutables": executables}
        action[PROGRAM_SET] = sets | {"maximumTotalShots": shots}
    service = {
        "braketSchemaHeader": header("braket.device_schema.device_service_properties"),
        "shotsRange": list(device.shots),
        "executionWindows": [
            {"executionDay": day, "windowStartHour": start, "windowEndHour": end} for day, start, end in windows
        ],
        "deviceCost": {"price": device.price, "unit": unit(device)},
        "deviceDocumentation": {"summary": "sandbox"},
        "deviceLocation": device.location,
        "updatedAt": "2026-09-23T00:00:00+00:00",
        "getTaskPollIntervalMillis": 200,
    }
    document = {
        "braketSchemaHeader": header(*device.schema),
        "deviceParameters": {},
        "service": service,
        "action": action,
        "paradigm": _paradigm(device),
    }
    if device.provider == "AQT":  # the only schema that requires them
        document |= {"provider": _aqt_provider(), "standardized": _aqt_standardized()}
    if fidelity is not None:
        document["standardized"] = _standardized(document["paradigm"], fidelity)
    return json.dumps(document, separators=(",", ":"))


def _standardized(paradigm: dict[str, Any], fidelity: float) -> dict[str, Any]:
    """One value for all couplers, and a readout with twice the error."""
    graph = (paradigm.get("connectivity") or {}).get("connectivityGraph") or {"0": ["1"]}
    pairs = sorted({tuple(sorted((int(a), int(b)))) for a, others in graph.items() for b in others})
    readout = {"fidelityType": {"name": "READOUT"}, "fidelity": 1 - 2 * (1 - fidelity)}
    time = {"value": 3e-5, "standardError": None, "unit": "S"}
    return {
        "braketSchemaHeader": header(_SCHEMA + "standardized_gate_model_qpu_device_properties", "1"),
        "oneQubitProperties": {
            str(qubit): {"T1": time, "T2": time, "oneQubitFidelity": [readout]}
            for qubit in sorted({qubit for pair in pairs for qubit in pair})
        },
        "twoQubitProperties": {
            f"{a}-{b}": {
                "twoQubitGateFidelity": [
                    {"gateName": "CZ", "fidelity": fidelity, "fidelityType": {"name": "RANDOMIZED_BENCHMARKING"}}
                ]
            }
            for a, b in pairs
        },
    }


def _program(device: Device) -> dict[str, Any]:
    program: dict[str, Any] = {
        "actionType": OPENQASM,
        "version": ["1.0"],
        "supportedOperations": list(device.gates),
        "supportedResultTypes": _result_types(device),
        "supportPhysicalQubits": device.is_qpu,
    }
    if not device.is_qpu:
        return program | {"requiresAllQubitsMeasurement": True, "supportedPragmas": ["braket_unitary_matrix"]}
    forbidden = [f"braket_{name}" for name in _FORBIDDEN]
    if device.provider in ("IonQ", "Rigetti"):
        forbidden.append("braket_result_type_adjoint_gradient")
    return program | {
        "supportedModifiers": [],
        "supportedPragmas": ["verbatim", *(f"braket_result_type_{name}" for name in _RESULTS)],
        "forbiddenPragmas": forbidden,
        "maximumQubitArrays": 1,
        "maximumClassicalArrays": 1,
        "forbiddenArrayOperations": list(_ARRAYS),
        "requiresAllQubitsMeasurement": False,
        "requiresContiguousQubitIndices": False,
        "supportsPartialVerbatimBox": device.takes_partial_box,
        "supportsUnassignedMeasurements": device.provider == "IonQ",
        "disabledQubitRewiringSupported": False,
    }


def _result_types(device: Device) -> list[dict[str, Any]]:
    low, high = device.shots
    observables = ["x", "y", "z", "h", "i"]
    kinds: list[dict[str, Any]] = [
        {"name": name, "observables": observables, "minShots": max(low, 1) if name == "Sample" else low,
         "maxShots": high}
        for name in ("Sample", "Expectation", "Variance")
    ]  # fmt: skip
    kinds.append({"name": "Probability", "minShots": low, "maxShots": high})
    if not device.is_qpu:
        kinds += [{"name": name, "minShots": 0, "maxShots": 0} for name in ("StateVector", "Amplitude")]
    return kinds


def _paradigm(device: Device) -> dict[str, Any]:
    if not device.is_qpu:
        name = _SCHEMA + "simulators.gate_model_simulator_paradigm_properties"
        return {"braketSchemaHeader": header(name), "qubitCount": device.qubits}
    return {
        "braketSchemaHeader": header(_SCHEMA + "gate_model_qpu_paradigm_properties"),
        "qubitCount": device.qubits,
        "nativeGateSet": list(device.native),
        "connectivity": {"fullyConnected": device.edges is None, "connectivityGraph": _graph(device)},
    }


def _graph(device: Device) -> dict[str, list[str]]:
    """IonQ's graph names every pair, AQT's is empty; both say fullyConnected."""
    if device.edges is None:
        if device.provider == "AQT":
            return {}
        return {str(a): [str(b) for b in device.labels if a != b] for a in device.labels}
    graph: dict[str, list[str]] = {}
    for a, b in device.edges:
        graph.setdefault(str(a), []).append(str(b))
        graph.setdefault(str(b), []).append(str(a))
    return graph


def _aqt_provider() -> dict[str, Any]:
    error = {"value": 99.9, "uncertainty": 0.1}
    return {
        "braketSchemaHeader": header(_SCHEMA + "aqt.aqt_provider_properties"),
        "properties": {
            "single_qubit_gate_fidelity": {str(qubit): error for qubit in range(12)},
            "mean_two_qubit_gate_fidelity": {"value": 98.16, "uncertainty": 0.2},
            "spam_fidelity_lower_bound": 99.6,
            "t2_coherence_time_s": {"value": 0.4, "uncertainty": 0.1},
            "t1_s": {"value": 1.1, "uncertainty": 0.1},
            "readout_time_micros": 2500.0,
            "single_qubit_gate_duration_micros": 45.0,
            "two_qubit_gate_duration_micros": 335.0,
            "updated_at": "2026-09-23T00:00:00+00:00",
        },
    }


def _aqt_standardized() -> dict[str, Any]:
    return {"braketSchemaHeader": header(_SCHEMA + "standardized_gate_model_qpu_device_properties", "3")}
