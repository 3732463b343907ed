"""Values: counts and their bit order, timelines, results of one program and of many."""

from __future__ import annotations

import math
import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qflows.errors import QflowsError
from qflows.model import Counts, Expectation, ItemError, ItemResult, Job, Result, Timeline, rounded, uncertain
from qflows.states import TERMINAL, JobStatus

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def job(**values: Any) -> Job:
    base: dict[str, Any] = {
        "key": "a" * 64, "run_key": "r", "label": "", "provider": "acme", "account": "x", "device": "d",
        "device_id": "i", "shots": 10, "status": JobStatus.COMPLETED, "vendor_id": "v", "fence": 1, "epoch": 0,
        "ordinal": 0, "name": "", "tags": {}, "n_programs": 1, "created_at": NOON,
    }  # fmt: skip
    return Job(**base | values)


def test_counts_know_their_shots_and_frequencies() -> None:
    counts = Counts({"00": 30, "11": 10})
    assert counts.shots == 40
    assert counts.probabilities() == {"00": 0.75, "11": 0.25}
    assert Counts().probabilities() == {}


def test_marginal_reads_bit_zero_from_the_right_across_registers() -> None:
    counts = Counts({"10 011": 7, "00 001": 3})  # clbits 4..0
    assert counts.marginal([0]) == {"1": 10}
    assert counts.marginal([1]) == {"1": 7, "0": 3}
    assert counts.marginal([4, 0]) == {"11": 7, "10": 3}
    assert counts.marginal([0, 4]) == {"11": 7, "01": 3}
    assert counts.marginal([]) == {"": 10}


@given(
    st.dictionaries(st.text("01", min_size=4, max_size=4), st.integers(1, 99), max_size=8), st.permutations(range(4))
)
def test_marginal_loses_no_shot(histogram: dict[str, int], order: list[int]) -> None:
    counts = Counts(histogram)
    assert counts.marginal(order[:2]).shots == counts.shots
    assert counts.marginal(range(4)) == counts


def test_counts_stay_counts_through_pickle() -> None:
    again = pickle.loads(pickle.dumps(Counts({"0": 1})))
    assert type(again) is Counts
    assert again == {"0": 1}


def test_timeline_spans_are_seconds_and_unknown_where_an_end_is() -> None:
    line = Timeline(NOON, NOON, NOON + timedelta(seconds=90), NOON + timedelta(seconds=100))
    assert (line.queue_s, line.execution_s) == (90, 10)
    assert (Timeline(NOON).queue_s, Timeline(NOON).execution_s) == (None, None)
    assert Timeline(NOON, NOON, NOON - timedelta(milliseconds=5)).queue_s == 0  # started before its answer arrived
    assert Timeline(NOON, NOON, NOON - timedelta(minutes=5)).queue_s is None  # adopted later


@pytest.mark.parametrize("status", JobStatus)
def test_job_is_terminal_exactly_where_the_table_ends(status: JobStatus) -> None:
    assert job(status=status).is_terminal == (status in TERMINAL)


def test_handle_and_result_cross_a_process_border() -> None:
    result = Result(job(), (ItemResult(counts=Counts({"0": 10}), error=ItemError(None, "m")),), {"a": 1})
    assert pickle.loads(pickle.dumps(result)) == result


def test_single_result_gives_its_parts_directly() -> None:
    item = ItemResult(counts=Counts({"0": 1, "1": 3}), memory=("0", "1", "1", "1"))
    result = Result(job(), (item,))
    assert result.counts == {"0": 1, "1": 3}
    assert result.probabilities == {"0": 0.25, "1": 0.75}
    assert result.memory == item.memory


def test_exact_probabilities_are_preferred_to_frequencies() -> None:
    item = ItemResult(counts=Counts({"0": 1}), probabilities={"0": 0.5, "1": 0.5})
    assert Result(job(), (item,)).probabilities == {"0": 0.5, "1": 0.5}


def test_result_says_what_to_read_where_a_part_is_missing() -> None:
    exact = Result(job(), (ItemResult(probabilities={"0": 1.0}),))
    with pytest.raises(QflowsError, match=r"\.probabilities"):
        _ = exact.counts
    with pytest.raises(QflowsError, match="observables="):
        _ = exact.expectations
    pair = Result(job(), (ItemResult(), ItemResult()))
    with pytest.raises(QflowsError, match=r"\.items\[i\]"):
        _ = pair.counts


def test_expectation_is_for_one_observable_and_expectations_for_all() -> None:
    one, two = Expectation(-1.1, 0.1), Expectation(0.5, 0.0)
    assert Result(job(), (ItemResult(expectations=(one,)),)).expectation == one
    several = Result(job(), (ItemResult(expectations=(one, two)),))
    assert several.expectations == (one, two)
    with pytest.raises(QflowsError, match="2 observables"):
        _ = several.expectation


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.98123, 0.0031, "0.9812 ± 0.0031"),
        (-1.1373, 0.02, "-1.137 ± 0.020"),
        (3.0, 12.0, "3 ± 12"),
        (1.0, 0.0996, "1.00 ± 0.10"),
        (0.5, 0.0, "0.5"),
        (-1.137306036, None, "-1.137306036"),
        (-1.0, math.inf, "-1 ± unknown"),
        (1.5234e-20, 1.31e-21, "(1.52 ± 0.13)e-20"),
        (2.34567e12, 1.2e10, "(2.346 ± 0.012)e+12"),
        (math.nan, 0.1, "nan"),
    ],
)
def test_digits_follow_the_uncertainty(value, error, text):
    assert uncertain(value, error) == text


def test_rounded_value_has_the_digits_of_its_uncertainty():
    assert rounded(0.98123, 0.0031) == "0.9812"
    assert uncertain(0.98123, 0.0031, sign=True) == "+0.9812 ± 0.0031"
