"""How good a device is and when it is open, from the document of GetDevice.

Shapes: amazon-braket-schemas 1.32.1, `standardized_gate_model_qpu_device_properties` and `device_service_properties`.
Hours are UTC (agent toolkit of AWS, 2026-08). A device whose document has no standardized part has no values here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

from qflows.protocol import Condition

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_GROUPS = {"Everyday": _DAYS, "Weekdays": _DAYS[:5], "Weekend": _DAYS[5:]}


def read(document: Mapping[str, Any], now: datetime) -> Condition:
    """Medians over the device, the best gate of each pair; None if the document has none."""
    standard = document.get("standardized") or {}
    service = document.get("service") or {}
    pairs = (_best(one.get("twoQubitGateFidelity")) for one in (standard.get("twoQubitProperties") or {}).values())
    readout = (
        _best(one.get("oneQubitFidelity"), of="READOUT") for one in (standard.get("oneQubitProperties") or {}).values()
    )
    updated = service.get("updatedAt")
    return Condition(
        _median_error(pairs),
        _median_error(readout),
        opens_s(service.get("executionWindows") or (), now),
        f"GetDevice, updated {updated}" if updated else "GetDevice",
    )


def _best(fidelities: Any, of: str | None = None) -> float | None:
    found = [
        float(one["fidelity"])
        for one in fidelities or ()
        if isinstance(one.get("fidelity"), int | float)
        and (of is None or (one.get("fidelityType") or {}).get("name") == of)
    ]
    return max(found, default=None)


def _median_error(fidelities: Iterable[float | None]) -> float | None:
    known = [1 - one for one in fidelities if one is not None]
    return float(median(known)) if known else None


def opens_s(windows: Iterable[Mapping[str, Any]], now: datetime) -> float | None:
    """Seconds until the next time inside a window: 0 if one is open, None without windows."""
    starts: list[float] = []
    listed = list(windows)
    for ahead in range(8):
        day = now.astimezone(UTC).date() + timedelta(days=ahead)
        for window in listed:
            named = str(window.get("executionDay"))
            if _DAYS[day.weekday()] not in _GROUPS.get(named, (named,)):
                continue
            first, last = (
                datetime.fromisoformat(f"{day}T{window.get(name)}").replace(tzinfo=UTC)
                for name in ("windowStartHour", "windowEndHour")
            )
            if first <= now <= last + timedelta(seconds=1):
                return 0.0
            if first > now:
                starts.append((first - now).total_seconds())
    return min(starts, default=None)
