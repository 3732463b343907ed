"""The emulated devices: names, capabilities documents and prices.

Document shapes: amazon-braket-schemas 1.32.1, parsed by the SDK without a warning. Gate lists, native gates and widths
are those of the device pages as remembered, not read from an account: unverified. Prices: aws.amazon.com/braket/pricing
(stored copy, 2026), 0.30 USD per task on every QPU; SV1 and DM1 0.075 USD a minute, unverified.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from qflows.sandbox.braket.gates import GATES

ACCOUNT = "123456789012"
OPENQASM = "braket.ir.openqasm.program"
PROGRAM_SET = "braket.ir.openqasm.program_set"
TASK_FEE_USD = 0.30
MAX_EXECUTABLES = 100
MAX_SET_SHOTS = 1_000_000  # all executables together
SIMULATOR_REGIONS = ("us-east-1", "us-west-1", "us-west-2", "eu-west-2", "eu-north-1")

_CLIFFORD_AND_T = ("h", "i", "s", "si", "t", "ti", "x", "y", "z", "rx", "ry", "rz")
_IONQ = ("x", "y", "z", "rx", "ry", "rz", "h", "cnot", "s", "si", "t", "ti", "v", "vi", "xx", "yy", "zz", "swap")
_PHASES = ("cphaseshift", "cphaseshift00", "cphaseshift01", "cphaseshift10", "phaseshift")
_RIGETTI = ("cz", "xy", "ccnot", "cnot", "cswap", "iswap", "pswap", "swap", *_PHASES, *_CLIFFORD_AND_T)
_IQM = ("prx", "xx", "yy", "zz", "v", "vi", "ecr", "cy", *_RIGETTI)


@dataclass(frozen=True)
class Device:
    """One device. `native`: gates a verbatim box may hold. `edges`: pairs with a two-qubit gate, None: all.

    `rates`: chance of an error per gate on one qubit, on two, and at readout; invented.
    """

    arn: str
    name: str
    provider: str
    qubits: int
    shots: tuple[int, int]
    price: float
    schema: tuple[str, str]
    gates: tuple[str, ...]
    native: tuple[str, ...] = ()
    edges: tuple[tuple[int, int], ...] | None = None
    rates: tuple[float, float, float] | None = None
    location: str = ""
    retired: bool = False

    @property
    def is_qpu(self) -> bool:
        """False for a managed simulator."""
        return "/qpu/" in self.arn

    @property
    def region(self) -> str | None:
        """The region a QPU lives in; simulators run in the caller's."""
        return self.arn.split(":")[3] or None


def _lattice(rows: int, columns: int, count: int) -> tuple[tuple[int, int], ...]:
    pairs = [(r * columns + c, r * columns + c + 1) for r in range(rows) for c in range(columns - 1)]
    pairs += [(r * columns + c, (r + 1) * columns + c) for r in range(rows - 1) for c in range(columns)]
    return tuple((a, b) for a, b in pairs if a < count and b < count)


_SCHEMA = "braket.device_schema."
_SIMULATOR = (_SCHEMA + "simulators.gate_model_simulator_device_capabilities", "1")
_RIGETTI_SCHEMA = (_SCHEMA + "rigetti.rigetti_device_capabilities", "2")
_ALL = tuple(GATES)

DEVICES: dict[str, Device] = {
    device.arn: device
    for device in (
        Device("arn:aws:braket:::device/quantum-simulator/amazon/sv1", "SV1", "Amazon Braket", 34, (0, 100_000), 0.075,
               _SIMULATOR, _ALL, location="us-east-1"),
        Device("arn:aws:braket:::device/quantum-simulator/amazon/dm1", "dm1", "Amazon Braket", 17, (0, 100_000), 0.075,
               _SIMULATOR, _ALL, location="us-east-1"),
        Device("arn:aws:braket:us-east-1::device/qpu/ionq/Forte-1", "Forte 1", "IonQ", 36, (1, 5_000), 0.08,
               (_SCHEMA + "ionq.ionq_device_capabilities", "1"), _IONQ, ("gpi", "gpi2", "zz"), None,
               (0.0005, 0.007, 0.003), "Maryland, USA"),
        Device("arn:aws:braket:us-west-1::device/qpu/rigetti/Ankaa-3", "Ankaa-3", "Rigetti", 82, (1, 50_000), 0.0009,
               _RIGETTI_SCHEMA, _RIGETTI, ("rx", "rz", "iswap"), _lattice(7, 12, 82),
               (0.001, 0.01, 0.03), "California, USA"),
        Device("arn:aws:braket:us-west-1::device/qpu/rigetti/Aspen-M-3", "Aspen-M-3", "Rigetti", 79, (1, 50_000),
               0.00035, _RIGETTI_SCHEMA, _RIGETTI, ("rx", "rz", "cz", "xy"), _lattice(8, 10, 79), None,
               "California, USA", retired=True),
        Device("arn:aws:braket:eu-north-1::device/qpu/iqm/Garnet", "Garnet", "IQM", 20, (1, 20_000), 0.00145,
               (_SCHEMA + "iqm.iqm_device_capabilities", "1"), _IQM, ("cz", "prx"), _lattice(4, 5, 20),
               (0.001, 0.008, 0.02), "Espoo, Finland"),
    )
}  # fmt: skip


def unit(device: Device) -> str:
    """What `deviceCost.price` is counted in."""
    return "shot" if device.is_qpu else "minute"


def _header(name: str, version: str = "1") -> dict[str, str]:
    return {"name": name, "version": version}


@cache
def capabilities(device: Device, *, takes_sets: bool, weekdays_only: bool) -> str:
    """The `deviceCapabilities` string: a document of amazon-braket-schemas."""
    day, end = ("Weekdays", "18:00:00") if weekdays_only else ("Everyday", "23:59:59")
    start = "08:00:00" if weekdays_only else "00:00:00"
    program: dict[str, Any] = {
        "actionType": OPENQASM,
        "version": ["1"],
        "supportedOperations": [*device.gates, "barrier"],
        "supportedResultTypes": _result_types(device),
        "supportPhysicalQubits": device.is_qpu,
        "supportsPartialVerbatimBox": False,
        "supportedPragmas": ["verbatim"] if device.is_qpu else [],
    }
    action: dict[str, Any] = {OPENQASM: program}
    if takes_sets:
        sets = {"actionType": PROGRAM_SET, "version": ["1"], "maximumExecutables": MAX_EXECUTABLES}
        action[PROGRAM_SET] = sets | {"maximumTotalShots": MAX_SET_SHOTS}
    service = {
        "braketSchemaHeader": _header("braket.device_schema.device_service_properties"),
        "shotsRange": list(device.shots),
        "executionWindows": [{"executionDay": day, "windowStartHour": start, "windowEndHour": end}],
        "deviceCost": {"price": device.price, "unit": unit(device)},
        "deviceDocumentation": {"summary": "sandbox"},
        "deviceLocation": device.location,
        "updatedAt": "2026-01-01T00:00:00+00:00",
        "getTaskPollIntervalMillis": 200,
    }
    return json.dumps(
        {
            "braketSchemaHeader": _header(*device.schema),
            "deviceParameters": {},
            "service": service,
            "action": action,
            "paradigm": _paradigm(device),
        },
        separators=(",", ":"),
    )


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
        return {"braketSchemaHeader": _header(name), "qubitCount": device.qubits}
    graph: dict[str, list[str]] = {}
    for a, b in device.edges or ():
        graph.setdefault(str(a), []).append(str(b))
        graph.setdefault(str(b), []).append(str(a))
    return {
        "braketSchemaHeader": _header(_SCHEMA + "gate_model_qpu_paradigm_properties"),
        "qubitCount": device.qubits,
        "nativeGateSet": list(device.native),
        "connectivity": {"fullyConnected": device.edges is None, "connectivityGraph": graph},
    }


def price_list() -> str:
    """The offers CSV as `braket.tracking` reads it: five lines of metadata, then a header."""
    columns = ("Product Family", "Region Code", "DeviceName", "Device Name", "Version", "operation", "Currency", "Unit")
    lines = ['"FormatVersion","v1.0"', '"Disclaimer","sandbox"', '"Publication Date","2026-01-01T00:00:00Z"']
    lines += ['"Version","1"', '"OfferCode","AmazonBraket"', ",".join((*columns, "PricePerUnit"))]
    for device in DEVICES.values():
        name = device.arn.rsplit("/", 1)[1]
        if device.is_qpu:
            rows = [("Quantum Task-Shot", device.price, "Shot"), ("Quantum Task", TASK_FEE_USD, "Task")]
            lines += [f'"{f}","{device.region}","{name}","","","","USD","{u}","{p}"' for f, p, u in rows]
            continue
        version = name.upper()
        lines += [
            f'"Simulator Task","{region}","","","{version}","CompleteTask","USD","minutes","{device.price}"'
            for region in SIMULATOR_REGIONS
        ]
    return "\n".join(lines) + "\n"
