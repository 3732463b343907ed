"""Devices by name, and the providers that speak for them."""

from __future__ import annotations

from dataclasses import dataclass

from qflows.core.profiles import DeviceProfile
from qflows.protocol import Limits, Provider


@dataclass(frozen=True, slots=True)
class Device:
    """A profile with the provider that speaks for it."""

    profile: DeviceProfile
    provider: Provider
    limits: Limits
