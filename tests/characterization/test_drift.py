"""Drift: synthetic series whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from qflows.characterization.characterize import proportion
from qflows.core.drift import MIN_HISTORY, SETTLED, Verdict, as_normal, calibration_changes, judge
from qflows.ledger.measurements import Measurement

FIRST = datetime(2026, 1, 1, 1, 30, tzinfo=UTC)


def night(place: int, value: float, error: float = 0.01, *, shots: int = 1000, setup: str = "s") -> Measurement:
    return Measurement(
        f"run {place}", "qpu", "readout error", "readout", setup, "benchmark", value, error, "1", 3, shots, True,
        FIRST + timedelta(days=place), (f"job {place}",), None,
    )  # fmt: skip


def nights(values: Sequence[float], error: float = 0.01) -> list[Measurement]:
    return [night(place, float(value), error) for place, value in enumerate(values)]


def calm(n: int, *, scatter: float = 0.0, error: float = 0.01, seed: int = 7) -> list[float]:
    """Values around 0.5 with shot noise and scatter."""
    return list(0.5 + np.random.default_rng(seed).normal(0.0, math.hypot(error, scatter), n))


def flags(values: Sequence[float]) -> list[int]:
    return [place for place, verdict in enumerate(judge(nights(values))) if verdict.is_flagged]


def last(values: Sequence[float], **extra: object) -> Verdict:
    return judge(nights(values))[-1]


@pytest.mark.parametrize("scatter", [0.0, 0.01, 0.03])
def test_stable_noise_is_flagged_about_three_times_in_a_thousand(scatter: float) -> None:
    values = calm(5000, scatter=scatter, seed=11)
    assert 3 <= len(flags(values)) <= 30  # 13.5 expected


@pytest.mark.parametrize("scatter", [0.0, 0.01, 0.03])
def test_short_history_flags_stable_noise_no_more_than_six_times_in_a_thousand(scatter: float) -> None:
    random = np.random.default_rng(3)
    nights_each = [random.normal(0.5, math.hypot(0.01, scatter), MIN_HISTORY + 1) for _ in range(2000)]
    assert sum(last([float(value) for value in values]).is_flagged for values in nights_each) <= 20


@pytest.mark.parametrize(("share", "shots"), [(0.01, 200), (0.01, 1000), (0.5, 1000), (0.97, 200)])
def test_counted_shares_near_the_edge_are_flagged_no_more_often(share: float, shots: int) -> None:
    random = np.random.default_rng(shots)
    hits = [int(random.binomial(shots, share)) for _ in range(2000)]
    series = [night(place, *proportion(k, shots), shots=shots) for place, k in enumerate(hits)]
    assert sum(verdict.is_flagged for verdict in judge(series)) <= 14


def test_nights_that_counted_few_errors_by_luck_do_not_pull_the_mean_down() -> None:
    random = np.random.default_rng(2)
    hits = [int(random.binomial(200, 0.02)) for _ in range(2000)]
    verdicts = judge([night(place, *proportion(k, 200), shots=200) for place, k in enumerate(hits)])
    means = [verdict.mean for verdict in verdicts[30:] if verdict.mean is not None]
    assert np.mean(means) == pytest.approx(0.02, rel=0.05)  # weighed by their own uncertainties: 0.017


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("scatter", [0.0, 0.03])
def test_jump_of_five_sigma_is_flagged_at_once(side: int, scatter: float) -> None:
    size = math.hypot(0.01, scatter)
    values = calm(30, scatter=scatter)
    assert flags(values) == []
    verdict = last([*values, float(np.mean(values)) + side * 5 * size])
    assert verdict.is_flagged
    assert verdict.sigmas == pytest.approx(side * 5, abs=1.6)
    assert verdict.n == 30


def test_too_few_values_flag_nothing_however_far_off() -> None:
    values = [0.5] * (MIN_HISTORY - 1) + [5.0]
    verdict = last(values)
    assert not verdict.is_flagged
    assert verdict.sigmas is None
    assert verdict.n == MIN_HISTORY - 1
    assert last([0.5, *values]).is_flagged


def test_jump_that_stays_is_flagged_until_it_is_the_new_level() -> None:
    before, after = calm(20), [value + 0.1 for value in calm(20, seed=8)]
    verdicts = judge(nights([*before, *after]))
    assert [place for place, one in enumerate(verdicts) if one.is_flagged] == list(range(20, 20 + SETTLED))
    assert verdicts[-1].level_since == FIRST + timedelta(days=20)
    assert verdicts[-1].mean == pytest.approx(0.6, abs=0.01)


def test_jump_back_is_flagged_as_well() -> None:
    values = [*calm(20), *(value + 0.1 for value in calm(20, seed=8)), *calm(3, seed=9)]
    assert flags(values)[-3:] == [40, 41, 42]


def test_one_bad_night_hides_nothing_of_the_nights_after_it() -> None:
    values = [*calm(20), 0.9, *calm(5, seed=8), 0.56]
    assert flags(values) == [20, 26]


def test_bad_nights_on_both_sides_make_no_new_level() -> None:
    values = [*calm(20), 0.9, 0.1, 0.9, 0.1, 0.9, 0.1]
    verdicts = judge(nights(values))
    assert all(one.is_flagged and one.level_since is None for one in verdicts[20:])


def test_history_is_the_last_thirty_values() -> None:
    slow = [0.5 + 0.0005 * place for place in range(200)]
    verdict = last(slow)
    assert verdict.n == 30
    assert verdict.mean == pytest.approx(np.mean(slow[-31:-1]), abs=1e-6)


def test_precise_values_weigh_more_than_imprecise_ones() -> None:
    series = [night(place, 0.50, 0.01, shots=10_000) for place in range(10)]
    series += [night(10 + place, 0.60, 0.1, shots=100) for place in range(10)]
    verdict = judge([*series, night(20, 0.5, 0.01, shots=10_000)])[-1]
    assert verdict.mean == pytest.approx(0.5 + 0.1 * 100 / 10_100, abs=1e-9)


def test_values_without_shots_use_the_uncertainty_they_came_with() -> None:
    series = [night(place, 0.5 + 0.001 * (place % 2), 0.01, shots=0) for place in range(10)]
    assert judge([*series, night(10, 0.56, 0.01, shots=0)])[-1].is_flagged
    assert not judge([*series, night(10, 0.56, 0.1, shots=0)])[-1].is_flagged


def test_order_of_the_values_given_does_not_matter() -> None:
    series = nights([*calm(20), 0.9])
    assert judge(series[::-1]) == judge(series)


def test_values_of_two_set_ups_are_not_compared() -> None:
    with pytest.raises(ValueError, match="setups"):
        judge([night(0, 0.5), night(1, 0.5, setup="other")])


def test_nothing_gives_nothing() -> None:
    assert judge([]) == []


@pytest.mark.parametrize(
    ("t", "degrees", "deviate"), [(0.0, 6, 0.0), (4.9, 6, 3.0), (3.277, 29, 3.0), (-3.277, 29, -3.0)]
)
def test_students_t_is_told_as_a_normal_deviate(t: float, degrees: int, deviate: float) -> None:
    assert as_normal(t, degrees) == pytest.approx(deviate, abs=0.01)


def test_deviate_grows_with_t_and_stays_finite() -> None:
    far = [as_normal(t, 29) for t in (10.0, 1e6, 1e30, 1e300)]
    assert far == sorted(far)
    assert far[-1] == -as_normal(-1e300, 29) == 37


def test_largest_change_of_the_calibration_comes_first() -> None:
    before = {"calibrated_at": "Mon", "qubits": {"0": {"t1": 100.0, "readout_error": 0.010}}, "basis": ["cz", "rz"]}
    after = {"calibrated_at": "Tue", "qubits": {"0": {"t1": 99.0, "readout_error": 0.080}}, "basis": ["cz", "rz"]}
    told: Callable[..., list[str]] = calibration_changes
    assert told(before, after) == [
        "calibrated_at Mon → Tue", "qubits.0.readout_error 0.01 → 0.08", "qubits.0.t1 100 → 99",
    ]  # fmt: skip
    assert told(before, after, most=1) == ["calibrated_at Mon → Tue", "and 2 more"]
    assert told(before, before) == told(None, after) == []


@pytest.mark.parametrize("error", [math.inf, 0.0, math.nan])
def test_value_without_an_error_bar_is_neither_judged_nor_compared_with(error: float) -> None:
    series = nights(calm(20))
    broken = [night(20, 0.9, error), *(night(21 + place, value) for place, value in enumerate(calm(3, seed=8)))]
    verdicts = judge([*series, *broken])
    assert verdicts[20].sigmas is None
    assert not verdicts[20].is_flagged
    assert [one.n for one in verdicts[21:]] == [20, 21, 22]


def test_equal_values_have_no_spread_and_one_count_more_is_no_drift() -> None:
    before = [night(place, *proportion(0, 1000)) for place in range(8)]
    assert not judge([*before, night(8, *proportion(1, 1000))])[-1].is_flagged
    assert judge([*before, night(8, *proportion(12, 1000))])[-1].is_flagged
