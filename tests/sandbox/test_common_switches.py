"""Switches that every vendor has: clocks, Retry-After, bodies, rights."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import httpx
import pytest

from qflows.sandbox import AdminError, Sandbox
from qflows.sandbox.run import known_vendors, load_vendor


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ("seconds", "7"),
        ("milliseconds", "7000"),
        ("fraction", "7.25"),
        ("infinite", "inf"),
        ("nan", "nan"),
        ("negative", "-7"),
        ("absent", None),
    ],
)
def test_patience_is_asked_for_in_the_form_of_the_switch(
    sandbox: Sandbox, ionq: httpx.Client, form: str, shown: str | None
) -> None:
    sandbox.admin.switches("ionq", retry_after_form=form)
    sandbox.admin.fault("status", "ionq.list", status=429, retry_after=7)
    assert ionq.get("/jobs").headers.get("retry-after") == shown


def test_date_of_answers_follows_the_vendors_clock_and_so_does_a_date_to_wait_for(
    sandbox: Sandbox, ionq: httpx.Client
) -> None:
    sandbox.admin.switches("ionq", clock_skew_s=-3600.0, retry_after_form="date")
    sandbox.admin.fault("status", "ionq.list", status=429, retry_after=60)
    answer = ionq.get("/jobs")
    assert len(answer.headers.get_list("date")) == 1
    there = parsedate_to_datetime(answer.headers["date"])
    assert abs(time.time() - 3600 - there.timestamp()) < 30
    assert (parsedate_to_datetime(answer.headers["retry-after"]) - there).total_seconds() == 60


def test_bodies_can_be_padded_and_slow(sandbox: Sandbox, ionq: httpx.Client) -> None:
    plain = ionq.get("/jobs")
    sandbox.admin.switches("ionq", body_padding=100_000)
    padded = ionq.get("/jobs")
    assert (padded.json(), len(padded.content) - len(plain.content)) == (plain.json(), 100_000)
    sandbox.admin.switches("ionq", body_padding=0, body_bytes_per_s=10_000.0)
    assert ionq.get("/jobs").json() == plain.json()
    sandbox.admin.switches("ionq", body_bytes_per_s=1.0)
    with ionq.stream("GET", "/jobs") as answer:
        assert len(next(answer.iter_raw())) == 1


def test_route_without_the_right_to_it_is_403_in_the_vendors_shape(sandbox: Sandbox, ionq: httpx.Client, bell) -> None:
    sandbox.admin.switches("ionq", denied_routes="submit,cancel")
    assert (ionq.post("/jobs", json=bell).status_code, ionq.get("/jobs").status_code) == (403, 200)
    assert sandbox.admin.count_jobs("ionq") == 0


@pytest.mark.parametrize("vendor", known_vendors())
def test_every_switch_has_a_name_of_its_own_and_a_meaning(vendor: str) -> None:
    switches = load_vendor(vendor).all_switches()
    assert len({switch.name for switch in switches}) == len(switches)
    assert all(switch.note and switch.check(switch.default) == switch.default for switch in switches)


@pytest.mark.parametrize("vendor", known_vendors())
def test_every_switch_says_where_its_default_was_read(vendor: str) -> None:
    assert [switch.name for switch in load_vendor(vendor).all_switches() if not switch.source] == []


def test_reset_puts_switches_back(sandbox: Sandbox) -> None:
    sandbox.admin.switches("ionq", body_padding=1)
    sandbox.admin.reset()
    assert sandbox.admin.switches()["ionq"]["body_padding"]["value"] == 0
    with pytest.raises(AdminError, match="no switch"):
        sandbox.admin.switches("ionq", nothing=1)
