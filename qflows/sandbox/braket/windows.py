"""Execution windows: outside of them a device is ONLINE and its tasks queue (agent toolkit of AWS, 2026-08)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from qflows.sandbox.braket.devices import Device, Window
from qflows.sandbox.vendor import Call

_ALWAYS: tuple[Window, ...] = (("Everyday", "00:00:00", "23:59:59"),)
_OFFICE: tuple[Window, ...] = (("Weekdays", "08:00:00", "18:00:00"),)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_GROUPS = {"Everyday": _DAYS, "Weekdays": _DAYS[:5], "Weekend": _DAYS[5:]}


def windows_of(call: Call, device: Device) -> tuple[Window, ...]:
    """When the device runs tasks, in UTC, according to the switch."""
    choice = call.switch("windows")
    if choice == "always" or not device.is_qpu:
        return _ALWAYS
    return _OFFICE if choice == "weekdays" else device.windows


def opens_at(windows: tuple[Window, ...], now: float) -> float:
    """Unix seconds of the next time inside a window: now, if one is open."""
    today = datetime.fromtimestamp(now, UTC)
    starts: list[float] = []
    for ahead in range(8):
        day = (today + timedelta(days=ahead)).date()
        for name, start, end in windows:
            if _DAYS[day.weekday()] not in _GROUPS.get(name, (name,)):
                continue
            first, last = (datetime.fromisoformat(f"{day}T{at}+00:00").timestamp() for at in (start, end))
            if first <= now <= last + 1:
                return now
            if first > now:
                starts.append(first)
    return min(starts, default=now)
