"""How often values of stable devices are flagged, over enough series to see an excess come back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special

from qflows.characterization.characterize import proportion
from qflows.core.drift import GRAIN, MIN_HISTORY, MISSING_CHANCE, SHOT_CAP, SIGMAS, judge
from qflows.ledger.measurements import Measurement

Table = NDArray[np.float64]  # series x nights
NIGHTS = 30  # no more than the window, so that only flagged values leave the history


def drawn(n: int, share: float, shots: int, scatter: float) -> tuple[Table, Table]:
    """Values and standard errors of n stable devices. `scatter`: between nights, in units of shot noise."""
    random = np.random.default_rng([n, shots])
    spread = scatter * np.sqrt(share * (1 - share) / shots)
    hits = random.binomial(shots, np.clip(share + spread * random.standard_normal((n, NIGHTS)), 0, 1))
    told = np.array([proportion(k, shots) for k in range(shots + 1)])
    return told[hits, 0], told[hits, 1]


def deviations(values: Table, errors: Table, shots: int) -> Table:
    """The statistic of `drift.judge` for all series at once; flagged values leave the history, no level is new."""
    kept = np.ones(values.shape, dtype=bool)
    found = np.zeros(values.shape)
    for night in range(MIN_HISTORY, values.shape[1]):
        old, own, u2 = values[:, :night], kept[:, :night], errors[:, :night] ** 2
        n = own.sum(axis=1)
        pooled = (own * u2).sum(axis=1) / n
        mean = (own * old).sum(axis=1) / n
        off2 = own * (old - mean[:, None]) ** 2
        tau2 = np.maximum(0, (off2.sum(axis=1) / pooled - (n - 1)) / (n / pooled - 1 / pooled))
        skews = np.cbrt(u2 / pooled[:, None])
        seen2 = (off2 / (pooled[:, None] * skews + tau2[:, None])).sum(axis=1) / (n - 1)
        seen2 *= np.where(n > MIN_HISTORY, MISSING_CHANCE, 1.0)
        latest2 = errors[:, night] ** 2
        scale = np.sqrt(seen2 * (pooled * np.cbrt(latest2 / pooled) + tau2 + (pooled + tau2) / n))
        off = values[:, night] - mean
        beyond = np.maximum(0, np.abs(off) - GRAIN / shots)
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.where(scale > 0, -special.ndtri(special.stdtr(n - 1, -beyond / scale)), np.inf)
        noise = np.sqrt(np.maximum(latest2, pooled) + pooled / n)
        found[:, night] = np.sign(off) * np.minimum(z, SHOT_CAP * np.abs(off) / noise)
        kept[:, night] = np.abs(found[:, night]) <= SIGMAS
    return found


@pytest.mark.parametrize(("share", "shots", "scatter"), [(0.5, 1000, 0.0), (0.5, 1000, 3.0), (0.02, 200, 1.0)])
def test_statistic_of_all_series_at_once_is_that_of_the_package(share: float, shots: int, scatter: float) -> None:
    values, errors = drawn(60, share, shots, scatter)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    for series, theirs, ours in zip(values, errors, deviations(values, errors, shots), strict=True):
        nights = [
            Measurement(
                "r", "d", "q", "ghz", "s", "benchmark", float(value), float(error), "1", 1, shots, True,
                at + timedelta(days=k), (), None,
            )
            for k, (value, error) in enumerate(zip(series, theirs, strict=True))
        ]  # fmt: skip
        told = [one.sigmas or 0.0 for one in judge(nights)]
        assert np.allclose(told, ours, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("share", "shots", "scatter", "most"),
    [
        (0.5, 1000, 0.0, 0.0030),
        (0.5, 1000, 1.0, 0.0030),
        (0.5, 1000, 3.0, 0.0030),
        (0.01, 1000, 0.0, 0.0030),
        (0.01, 1000, 1.0, 0.0036),
        (0.02, 200, 0.0, 0.0036),
    ],
)
def test_stable_devices_are_flagged_in_three_of_a_thousand(
    share: float, shots: int, scatter: float, most: float
) -> None:
    values, errors = drawn(30_000, share, shots, scatter)
    flagged = np.abs(deviations(values, errors, shots)) > SIGMAS
    rates = [float(flagged[:, first - 1 : last].mean()) for first, last in ((8, 10), (11, 20), (21, 30))]
    print(share, shots, scatter, *(f"{100 * rate:.3f} %" for rate in rates))
    assert all(0.0018 < rate < most for rate in rates)  # sampling errors 0.00017 to 0.0001


def test_without_the_allowance_for_missing_flags_long_series_have_an_excess(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bounds above are narrow enough to notice it."""
    monkeypatch.setitem(deviations.__globals__, "MISSING_CHANCE", 1.0)
    flagged = np.abs(deviations(*drawn(30_000, 0.5, 1000, 0.0), 1000)) > SIGMAS
    assert flagged[:, 20:].mean() > 0.0030
