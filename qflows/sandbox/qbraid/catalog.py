"""The devices of the emulated qBraid, their tariff and their errors. Profile shape: what `qbraid` 0.13.0 reads.

Names follow qBraid's pages; numbers (widths, prices, queues, error rates) are invented.
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
    has_access: bool = True
    max_shots: int = 100_000
    per_task: float = 0.0
    per_shot: float = 0.0
    per_minute: float = 0.0
    has_price: bool = True
    noise_models: tuple[str, ...] = ()
    rates: tuple[float, float, float] | None = None
    paradigm: str = "gate_model"
    queue: int = 0

    @property
    def vendor(self) -> str:
        """Who sells the access."""
        return self.qrn.split(":")[0]

    @property
    def provider(self) -> str:
        """Who makes the device."""
        return self.qrn.split(":")[1]

    @property
    def is_simulator(self) -> bool:
        """Third part of the name."""
        return self.qrn.split(":")[2] == "sim"


NOISY = (0.002, 0.02, 0.02)
_QPU: dict[str, Any] = {"per_task": 30.0, "max_shots": 20_000, "queue": 3}

DEVICES: dict[str, Device] = {
    device.qrn: device
    for device in (
        Device(
            "qbraid:qbraid:sim:qir-sv", "QIR sparse simulator", 30,
            has_batch=True, noise_models=("ideal", "depolarizing"), per_minute=7.5, per_task=0.005,
        ),
        Device("qbraid:equal1:sim:bell-1", "Bell-1", 24, has_batch=True, noise_models=("ideal",)),
        Device("aws:aws:sim:sv1", "SV1", 34, per_minute=7.5),
        Device("ionq:ionq:sim:simulator", "IonQ simulator", 29, noise_models=("ideal", "aria-1")),
        Device("aws:rigetti:qpu:ankaa-3", "Ankaa-3", 82, rates=(0.001, 0.01, 0.03), per_shot=0.09, **_QPU),
        Device("aws:iqm:qpu:garnet", "Garnet", 20, rates=(0.001, 0.006, 0.02), per_shot=0.145, **_QPU),
        Device("ionq:ionq:qpu:forte-1", "Forte-1", 36, rates=(0.0003, 0.004, 0.005), per_shot=8.0, **_QPU),
        Device("aws:iqm:qpu:emerald", "Emerald", 54, status="OFFLINE", per_shot=0.16, **_QPU),
        Device("azure:quantinuum:qpu:h2-1", "H2-1", 56, status="UNAVAILABLE", has_price=False),
        Device("aws:oqc:qpu:lucy", "Lucy", 8, status="RETIRED"),
        Device("aws:quera:qpu:aquila", "Aquila", 256, formats=("analog",), paradigm="analog", has_access=False),
    )
}  # fmt: skip


def profile(device: Device) -> dict[str, Any]:
    """The device object of `GET /devices`."""
    return {
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
        "avgQueueTime": device.queue * 4,  # minutes
        "numberQubits": device.qubits,
        "paradigm": device.paradigm,
        "modality": None,
        "noiseModels": list(device.noise_models),
        "minShots": 1,
        "maxShots": device.max_shots,
        "pricingModel": "fixed" if device.has_price else "dynamic",
        "pricing": _pricing(device),
        "directAccess": device.has_access,
        "batchJobSupport": device.has_batch,
        "topology": None,
        "providerId": device.provider,
        "visibility": "public",
        "verified": "verified",
    }


def _pricing(device: Device) -> dict[str, float] | None:
    if not device.has_price:
        return None
    return {"perTask": device.per_task, "perShot": device.per_shot, "perMinute": device.per_minute}


def price(device: Device, shots: int, circuits: int = 1) -> float:
    """Credits for a job, a simulator taken to run for a second a circuit."""
    minutes = circuits / 60
    return round(circuits * (device.per_task + shots * device.per_shot) + minutes * device.per_minute, 4)


def calibrations(device: Device) -> dict[str, Any] | None:
    """Calibration data of a QPU, consistent with the noise it runs with; nothing for a simulator."""
    if device.rates is None:
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
