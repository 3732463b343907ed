"""The devices of the emulated qBraid, their tariff and their errors. Profile shape: what `qbraid` 0.13.0 reads.

Names, widths and prices are those of autumn 2026: device documents recorded by qBraid's own connector (monid-ai/monid,
2026-09-22: `qir-sv`, `ibex-q1`, `aquila`), qBraid's test resources (`bell-1`) and published price lists (2026-09-25).
Queues and error rates are invented, and so is anything that no source says of a device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

UPDATED = "2026-09-01T10:00:00.000Z"


@dataclass(frozen=True)
class Device:
    """One device. Prices in credits; `rates` are error rates (one qubit, more qubits, readout), None: ideal."""

    qrn: str
    name: str
    qubits: int
    status: str = "ONLINE"
    formats: tuple[str, ...] = ("qasm3", "qasm2")
    has_batch: bool = False
    min_shots: int = 1
    max_shots: int = 100_000
    per_task: float = 0.0
    per_shot: float = 0.0
    per_minute: float = 0.0
    has_price: bool = True
    noise_models: tuple[str, ...] = ()
    rates: tuple[float, float, float] | None = None
    paradigm: str = "gate_model"
    modality: str | None = None
    queue: int = 0

    @property
    def vendor(self) -> str:
        """The vendor that sells the access."""
        return self.qrn.split(":")[0]

    @property
    def provider(self) -> str:
        """The maker of the device."""
        return self.qrn.split(":")[1]

    @property
    def is_simulator(self) -> bool:
        """True for a simulator, by the third part of the name."""
        return self.qrn.split(":")[2] == "sim"

    @property
    def is_linked(self) -> bool:
        """True if it charges a user's account at another seller: qBraid itself estimates and charges nothing."""
        return self.vendor == "openquantum"


NOISY = (0.002, 0.02, 0.02)
_AWS: dict[str, Any] = {"formats": ("braket", "qasm3"), "per_task": 30.0, "queue": 3}
_TRANSMON = {"modality": "superconducting", "rates": (0.001, 0.006, 0.02)}
_ION = {"modality": "trapped ion", "rates": (0.0003, 0.004, 0.005)}

DEVICES: dict[str, Device] = {
    device.qrn: device
    for device in (
        Device("qbraid:qbraid:sim:qir-sv", "QIR Simulator", 30, formats=("qasm3", "pyqir"), max_shots=2_000),
        Device("qbraid:equal1:sim:bell-1", "Bell-1", 6, has_batch=True, noise_models=("ideal", "bell-1")),
        Device("qbraid:quobly:sim:alloy-forge", "Alloy Forge", 10, formats=("qasm3",), rates=NOISY),
        Device("ionq:ionq:sim:simulator", "IonQ simulator", 29, noise_models=("ideal", "aria-1")),
        Device("aws:aws:sim:sv1", "SV1", 34, formats=("braket", "qasm3"), per_minute=7.5),
        Device("aws:aws:sim:dm1", "DM1", 17, formats=("braket", "qasm3"), per_minute=7.5),
        Device("aws:aws:sim:tn1", "TN1", 50, formats=("braket", "qasm3"), status="RETIRED"),
        Device(
            "rigetti:rigetti:qpu:cepheus-1-108q", "Cepheus-1-108Q", 107, per_minute=12_000.0, max_shots=50_000,
            queue=1, **_TRANSMON,
        ),
        Device(
            "aws:rigetti:qpu:cepheus-1-108q", "Cepheus-1-108Q", 107, per_shot=0.0425, min_shots=10,
            max_shots=50_000, **_AWS, **_TRANSMON,
        ),
        Device("aws:iqm:qpu:garnet", "Garnet", 20, per_shot=0.145, max_shots=20_000, **_AWS, **_TRANSMON),
        Device(
            "aws:iqm:qpu:emerald", "Emerald", 54, status="OFFLINE", per_shot=0.16, max_shots=20_000, **_AWS, **_TRANSMON
        ),
        Device(
            "aws:aqt:qpu:ibex-q1", "IBEX Q1", 12, status="UNAVAILABLE", per_shot=2.35, max_shots=2_000, **_AWS, **_ION
        ),
        Device(
            "aws:ionq:qpu:forte-1", "Forte-1", 36, status="OFFLINE", per_shot=8.0, min_shots=100, max_shots=5_000,
            **_AWS, **_ION,
        ),
        Device(
            "aws:ionq:qpu:forte-enterprise-1", "Forte-Enterprise-1", 36, per_shot=8.0, min_shots=100,
            max_shots=5_000, **_AWS, **_ION,
        ),
        Device("azure:rigetti:qpu:cepheus-1-36q", "Cepheus-1-36Q", 36, has_price=False, **_TRANSMON),
        Device("openquantum:ionq:qpu:forte-1", "Forte-1", 36, has_price=False, **_ION),
        Device(
            "aws:quera:qpu:aquila", "Aquila", 256, formats=("braket_ahs",), paradigm="analog", per_task=30.0,
            per_shot=1.0, max_shots=1_000, modality="neutral atom", queue=24,
        ),
        Device(
            "azure:pasqal:qpu:fresnel", "Fresnel", 100, formats=("pulser.sequence",), paradigm="analog",
            per_minute=500.0, modality="neutral atom",
        ),
        Device("aws:rigetti:qpu:ankaa-3", "Ankaa-3", 82, status="RETIRED", per_shot=0.09, **_AWS, **_TRANSMON),
        Device("aws:oqc:qpu:lucy", "Lucy", 8, status="RETIRED"),
    )
}  # fmt: skip


def profile(device: Device, *, has_access: bool = True) -> dict[str, Any]:
    """The device object of `GET /devices`."""
    found: dict[str, Any] = {
        "name": device.name,
        "qrn": device.qrn,
        "vrn": device.qrn.rpartition(":")[2],
        "vendor": device.vendor,
        "deviceType": "SIMULATOR" if device.is_simulator else "QPU",
        "runInputTypes": list(device.formats),
        "status": device.status,
        "statusMsg": None,
        "nextAvailable": None,
        "queueDepth": device.queue,
        "avgQueueTime": device.queue * 4 or None,  # minutes
        "numberQubits": device.qubits,
        "paradigm": device.paradigm,
        "modality": device.modality,
        "noiseModels": list(device.noise_models),
        "minShots": device.min_shots,
        "maxShots": device.max_shots,
        "pricingModel": "fixed" if device.has_price else "dynamic",
        "pricing": _pricing(device),
        "directAccess": has_access,
        "batchJobSupport": device.has_batch,
        "providerId": device.provider,
        "visibility": "public",
        "verified": "verified",
        "activeVersion": None,
        "notes": None,
        "statusLocked": False,
    }
    if device.modality == "trapped ion":
        found["topology"] = {"type": "fully-connected", "qubits": device.qubits}
    return found


def _pricing(device: Device) -> dict[str, float] | None:
    if not device.has_price:
        return None
    return {"perTask": device.per_task, "perShot": device.per_shot, "perMinute": device.per_minute}


def price(device: Device, shots: int, circuits: int, seconds: float) -> float:
    """Credits for a job with this many device seconds, to six decimals, as qBraid rounds them."""
    if device.is_linked:
        return 0.0
    return round(circuits * (device.per_task + shots * device.per_shot) + seconds / 60 * device.per_minute, 6)


def calibrations(device: Device) -> dict[str, Any] | None:
    """Calibration data of a QPU, consistent with the noise it runs with; None for a simulator."""
    if device.rates is None or device.is_simulator:
        return None
    one, more, readout = device.rates
    return {
        "deviceQRNs": [device.qrn],
        "provider": device.provider,
        "lastCalibrated": UPDATED,
        "fetchedAt": UPDATED,
        "qubits": {str(q): {"readoutError": readout, "gateError": {"rx": one}} for q in range(device.qubits)},
        "edges": {
            "cz": {
                f"{q}-{q + 1}": [{"source": q, "target": q + 1, "value": more, "calibrated": True}]
                for q in range(device.qubits - 1)
            }
        },
    }


def providers() -> list[dict[str, Any]]:
    """All makers with their devices."""
    found: dict[str, list[str]] = {}
    for device in DEVICES.values():
        found.setdefault(device.provider, []).append(device.qrn)
    return [{"_id": f"p-{name}", "provider": name, "devices": qrns} for name, qrns in sorted(found.items())]
