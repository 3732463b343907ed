"""What is known of one device now, as one object: limits, batches, price, queue and quality."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qflows import display
from qflows.core.devices import Device
from qflows.core.profiles import Price
from qflows.errors import ProviderError
from qflows.privacy.redaction import clean
from qflows.protocol import Condition, ConditionProvider, DeviceInfo, DeviceList, Limits, Lookup

log = logging.getLogger("qflows.devices")


@dataclass(frozen=True, slots=True)
class DeviceCard:
    """A device as its vendor describes it now, narrowed by its profile. None: the vendor does not say.

    `price`: per job, shot and minute, from the shipped profile, with unit, source and date; for a program use
    `qflows.price`. `queue_s`: the vendor's own estimate of the waiting time, seconds; `queue_length`: jobs.
    `two_qubit_error`, `readout_error`: medians from 0 to 1. `troubles`: what could not be asked, and why.
    """

    name: str
    vendor: str
    device_id: str
    description: str = ""
    is_simulator: bool | None = None
    is_available: bool | None = None
    state: str | None = None
    limits: Limits = field(default_factory=Limits)
    has_batch_mode: bool = False
    has_sessions: bool = False
    has_groups: bool = False
    price: Mapping[str, Any] | None = None
    queue_s: float | None = None
    queue_length: int | None = None
    two_qubit_error: float | None = None
    readout_error: float | None = None
    calibrated: str | None = None
    troubles: Mapping[str, str] = field(default_factory=dict)

    @property
    def n_qubits(self) -> int | None:
        """Width of the widest circuit that the device takes."""
        return self.limits.max_qubits

    @property
    def max_programs(self) -> int | None:
        """Most circuits in one job; None: no known limit."""
        return self.limits.max_programs

    @property
    def takes_batches(self) -> bool:
        """Whether one job may hold several circuits. `qflows.batch` works either way; without it, each circuit is a
        job."""
        return self.limits.max_programs is None or self.limits.max_programs > 1

    def to_dict(self) -> dict[str, Any]:
        """Plain data, without unknown values."""
        limits = self.limits
        found: dict[str, Any] = {
            "device": self.name,
            "vendor": self.vendor,
            "vendor_name": self.device_id,
            "description": self.description or None,
            "simulator": self.is_simulator,
            "available": self.is_available,
            "state": self.state,
            "qubits": limits.max_qubits,
            "min_shots": limits.min_shots,
            "max_shots": limits.max_shots,
            "max_total_shots": limits.max_total_shots,
            "max_unfinished": limits.max_unfinished,
            "exact": limits.exact,
            "takes_batches": self.takes_batches,
            "max_programs": limits.max_programs,
            "batch_mode": self.has_batch_mode,
            "sessions": self.has_sessions,
            "vendor_groups": self.has_groups,
            "price": dict(self.price) if self.price else None,
            "queue_s": self.queue_s,
            "queue_length": self.queue_length,
            "two_qubit_error": self.two_qubit_error,
            "readout_error": self.readout_error,
            "calibrated": self.calibrated,
            "troubles": dict(self.troubles) or None,
        }
        return {name: value for name, value in found.items() if value is not None}

    def __repr__(self) -> str:
        width = f"{self.n_qubits} qubits" if self.n_qubits else "any width"
        batches = f"batches of {self.max_programs or 'any number of'}" if self.takes_batches else "one circuit a job"
        queue = f", queue {self.queue_s:.0f} s" if self.queue_s is not None else ""
        state = clean(self.state or "state not known")
        return f"<Device {self.name} at {self.vendor}: {width}, {batches}{queue}, {state}>"

    def _repr_html_(self) -> str:
        return display.pairs(self.to_dict())


def card_of(target: Device) -> DeviceCard:
    """Ask the vendor for the device's limits, its entry in the list, and its calibration if one is published.

    Raises Refused for a device that the vendor does not have; other failures are in `troubles`.
    """
    profile, provider = target.profile, target.provider
    limits = target.limits
    troubles: dict[str, str] = {}
    is_local = provider.capabilities.lookup is Lookup.LOCAL
    info = None if is_local else _entry(target, troubles)
    condition = Condition() if is_local or profile.simulator else _condition(target, troubles)
    sessions = provider.capabilities.sessions
    is_simulator = profile.simulator if info is None else info.is_simulator
    return DeviceCard(
        name=profile.name,
        vendor=provider.name,
        device_id=profile.device,
        description=profile.description,
        is_simulator=True if is_local else is_simulator,
        is_available=True if is_local else info.is_available if info else None,
        state="available" if is_local else _state(info),
        limits=limits,
        has_batch_mode="batch" in sessions,
        has_sessions="dedicated" in sessions,
        has_groups=provider.capabilities.native_groups,
        price=_price(profile.price),
        queue_s=0.0 if is_local else info.queue_s if info else None,
        queue_length=0 if is_local else info.queue_length if info else None,
        two_qubit_error=condition.two_qubit_error,
        readout_error=condition.readout_error,
        calibrated=condition.source or None,
        troubles=troubles,
    )


def _entry(target: Device, troubles: dict[str, str]) -> DeviceInfo | None:
    try:
        listed = target.provider.devices()
    except ProviderError as error:
        troubles["queue"] = str(error)
        return None
    if isinstance(listed, DeviceList):
        troubles |= {f"queue, {place}": why for place, why in listed.troubles.items()}
    return next((one for one in listed if one.device_id == target.profile.device), None)


def _condition(target: Device, troubles: dict[str, str]) -> Condition:
    if not isinstance(target.provider, ConditionProvider):
        return Condition()
    try:
        return target.provider.condition(target.profile.device)
    except ProviderError as error:
        troubles["calibration"] = str(error)
        return Condition()


def _state(info: DeviceInfo | None) -> str | None:
    if info is None:
        return None
    return info.note or ("available" if info.is_available else "unavailable")


def _price(price: Price | None) -> dict[str, Any] | None:
    return price.model_dump(mode="json", exclude_none=True) if price is not None else None
