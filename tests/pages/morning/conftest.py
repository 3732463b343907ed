"""A ledger with a history of measurements, and what a report says about it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from qflows.ledger import Ledger, measurements
from qflows.ledger.measurements import Measurement
from qflows.pages.morning import Report, gather

UNTIL = datetime(2026, 6, 15, 6, tzinfo=UTC)
NIGHT = timedelta(hours=24)

Remember = Callable[..., None]


@pytest.fixture
def remember(sqlite_ledger: Ledger) -> Remember:
    """`remember(device, name, values, ...)`: one value a night, the last of them last night; the newest is last."""

    def write(
        device: str,
        name: str,
        values: list[float],
        *,
        calibrations: list[str] | None = None,
        error: float = 0.01,
        headline: bool = True,
        family: str = "ghz",
        unit: str = "1",
    ) -> None:
        found, snapshots = [], {}
        for place, value in enumerate(values):
            told = calibrations[place] if calibrations else None
            if told:
                snapshots[told] = {"qubits": {"0": {"readout_error": float(told)}}}
            at = UNTIL - timedelta(hours=3) - (len(values) - 1 - place) * NIGHT
            found.append(
                Measurement(
                    f"night {place}", device, name, family, "s", "benchmark", float(value), error, unit, 3, 1000,
                    headline, at, (f"job {place}",), told,
                )
            )  # fmt: skip
        measurements.record(sqlite_ledger, found, snapshots)

    return write


@pytest.fixture
def calm() -> list[float]:
    """Thirty-one nights of shot noise around 0.9."""
    return [float(value) for value in 0.9 + np.random.default_rng(5).normal(0.0, 0.01, 31)]


@pytest.fixture
def report(sqlite_ledger: Ledger) -> Callable[..., Report]:
    """`report()`: of the last night."""
    return lambda since=UNTIL - NIGHT, **more: gather(sqlite_ledger, since, UNTIL, **more)
