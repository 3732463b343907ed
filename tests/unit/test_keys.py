"""Keys: equal wants equal names, in any process and on any day; different wants different ones."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qflows.keys import (
    content_digest,
    digest,
    is_job_key,
    is_mark,
    job_key,
    mark_of,
    name_of,
    new_mark,
    sample_key,
    seed_of,
    slot_run_key,
    subflow_run_key,
)

CONTENT: dict[str, Any] = {
    "label": "bell",
    "provider": "ionq",
    "device_id": "simulator",
    "programs": ["a" * 64],
    "observables": [],
    "shots": 100,
    "options": {"noise_model": "aria-1", "a": 1},
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)

# written down on 2026-11-21: a change here orphans every job that is at a vendor today
FROZEN_CONTENT = "77e8ecdb8a24a0b374369ad1792dd5a1b53cdc7e1d3e03e297b2e35922c65e94"
FROZEN_KEY = "ed124a8ce37747f9ec91598b4d58c43a13f91d0bd2e7595ccdfad3eb5a1bb0d2"


def test_keys_are_what_they_always_were() -> None:
    assert content_digest(**CONTENT) == FROZEN_CONTENT
    assert job_key(sample_key("run", FROZEN_CONTENT, 0), 0) == FROZEN_KEY


def test_key_is_the_same_in_another_process() -> None:
    code = f"from qflows.keys import content_digest; print(content_digest(**{CONTENT!r}))"
    for seed in ("1", "2"):
        env = {"PYTHONHASHSEED": seed}
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
        assert said.stdout.strip() == FROZEN_CONTENT


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("label", "ghz"),
        ("provider", "braket"),
        ("device_id", "qpu.aria-1"),
        ("programs", ["b" * 64]),
        ("programs", ["a" * 64, "a" * 64]),
        ("observables", ["c" * 64]),
        ("shots", 101),
        ("shots", None),
        ("options", {"noise_model": "aria-1"}),
        ("options", {"noise_model": "aria-1", "a": 1.5}),
    ],
)
def test_every_part_of_the_work_is_part_of_its_name(name: str, other: Any) -> None:
    assert content_digest(**CONTENT | {name: other}) != FROZEN_CONTENT


def test_order_of_options_does_not_matter_and_order_of_programs_does() -> None:
    options = dict(reversed(CONTENT["options"].items()))
    assert content_digest(**CONTENT | {"options": options}) == FROZEN_CONTENT
    pair = [content_digest(**CONTENT | {"programs": programs}) for programs in (["x", "y"], ["y", "x"])]
    assert pair[0] != pair[1]


def test_run_ordinal_and_epoch_are_part_of_a_job_key() -> None:
    keys = {
        job_key(sample_key(run, FROZEN_CONTENT, ordinal), epoch)
        for run in ("r1", "r2")
        for ordinal in range(3)
        for epoch in range(3)
    }
    assert len(keys) == 18
    assert all(len(key) == 64 and set(key) <= set("0123456789abcdef") for key in keys)


def test_mark_of_a_ledger_ends_the_key_and_changes_nothing_else() -> None:
    keys = [job_key(sample_key("run", FROZEN_CONTENT, 0), 0, mark) for mark in ("1a2b3c4d", "ffffffff")]
    assert keys == [f"{FROZEN_KEY[:55]}-1a2b3c4d", f"{FROZEN_KEY[:55]}-ffffffff"]
    assert [mark_of(key) for key in [*keys, FROZEN_KEY]] == ["1a2b3c4d", "ffffffff", ""]
    assert {name_of(key) for key in [*keys, FROZEN_KEY]} == {FROZEN_KEY[:55]}
    assert seed_of(keys[0]) == seed_of(keys[1]) == seed_of(FROZEN_KEY)
    assert seed_of(keys[0], 3) == seed_of(keys[1], 3) != seed_of(keys[0], 4)
    assert all(is_job_key(key) and len(key) == 64 for key in [*keys, FROZEN_KEY])
    assert not any(map(is_job_key, ["", FROZEN_KEY[1:], FROZEN_KEY.upper(), f"{keys[0]}\n", keys[0][:-1] + "g"]))


def test_marks_are_random_and_of_one_form() -> None:
    made = {new_mark() for _ in range(100)}
    assert len(made) == 100
    assert all(map(is_mark, made))
    assert not any(map(is_mark, ["", "1a2b3c4", "1a2b3c4d5", "1A2B3C4D", "1a2b3c4d\n"]))


@given(JSON, JSON)
def test_digest_tells_values_apart_that_differ(one: Any, other: Any) -> None:
    assert digest(one) == digest(one)
    if repr(one) != repr(other) and one != other:
        assert digest(one) != digest(other)


def test_neighbouring_parts_are_not_run_together() -> None:
    assert len({digest("ab", "c"), digest("a", "bc"), digest("abc"), digest(["ab", "c"])}) == 4


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x"])
def test_what_has_no_exact_text_has_no_digest(value: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        digest(value)


def test_seed_fits_63_bits_and_follows_the_key() -> None:
    assert seed_of("f" * 64) == 2**63 - 1
    assert seed_of("0" * 64) == 0
    assert seed_of(FROZEN_KEY) == seed_of(FROZEN_KEY)


def test_twin_runs_of_a_slot_share_a_run_key_and_subflows_have_their_own() -> None:
    assert slot_run_key("d1", "2026-11-21T00:00:00Z") == slot_run_key("d1", "2026-11-21T00:00:00Z")
    names = {subflow_run_key("p", "f", "0"), subflow_run_key("p", "f", "1"), subflow_run_key("p", "g", "0"), "p"}
    assert len(names) == 4
