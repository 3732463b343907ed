"""ARNs of the emulated Braket devices, written out and not imported from the emulator; and devices by their gates."""

from __future__ import annotations

import json
from typing import Any

SV1 = "arn:aws:braket:::device/quantum-simulator/amazon/sv1"
FORTE = "arn:aws:braket:us-east-1::device/qpu/ionq/Forte-1"
CEPHEUS = "arn:aws:braket:us-west-1::device/qpu/rigetti/Cepheus-1-108Q"
RETIRED = "arn:aws:braket:us-west-1::device/qpu/rigetti/Ankaa-3"
GARNET = "arn:aws:braket:eu-north-1::device/qpu/iqm/Garnet"
EMERALD = "arn:aws:braket:eu-north-1::device/qpu/iqm/Emerald"
IBEX = "arn:aws:braket:eu-north-1::device/qpu/aqt/Ibex-Q1"
ENTERPRISE = "arn:aws:braket:us-east-1::device/qpu/ionq/Forte-Enterprise-1"
BUCKET = "amazon-braket-sandbox"


def described(arn: str, *operations: str, native: tuple[str, ...] = (), **program: Any) -> dict[str, Any]:
    """An answer of GetDevice, as small as the schemas allow. `program`: further members of the OpenQASM action."""
    listed = {"supportedOperations": list(operations), "supportPhysicalQubits": True, "supportedPragmas": ["verbatim"]}
    document = {
        "service": {"shotsRange": [1, 20_000], "deviceCost": {"price": 0.00145, "unit": "shot"}},
        "action": {"braket.ir.openqasm.program": listed | program},
        "paradigm": {"qubitCount": 20, "nativeGateSet": list(native), "connectivity": {"fullyConnected": True}},
    }
    about = {"deviceArn": arn, "deviceName": arn.rsplit("/", 1)[1], "deviceStatus": "ONLINE", "deviceType": "QPU"}
    return about | {"deviceCapabilities": json.dumps(document)}
