"""Switches of the sandbox that one account can tell apart, and the facts that must say which position they are in."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from qflows.core.client import Client
from qflows.core.doctor.bench import Amount
from qflows.core.doctor.measuring import Report, measure

LAG_S = 0.6
AMOUNTS = {"ionq": "0 usd", "qbraid": "0 credits", "braket": "1 usd", "ibm": "60 qpu_s"}
CLOCKS = {"ionq": "time:0.3,0.3", "qbraid": "time:1.2,0.4", "braket": "time:0.4,0.2", "ibm": "time:0.3,0.3"}
Positions = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """One switch: its positions, the fact that tells, and what that fact must be; `hidden`: other switches can hide
    it."""

    switch: str
    positions: tuple[Any, ...]
    fact: str = ""
    expected: Callable[[Any], Any] | None = None
    hidden: Callable[[Positions], bool] = lambda at: False

    def is_told(self, at: Positions, seen: Mapping[str, Any]) -> bool:
        """Whether the facts name the position."""
        fact = seen.get(self.fact or self.switch)
        wanted = at[self.switch]
        if self.expected is not None:
            wanted = self.expected(wanted)
        return wanted(fact) if callable(wanted) else fact == wanted


def _lags(position: float) -> Callable[[Any], bool]:
    return lambda seen: seen is not None and (seen >= LAG_S / 2 if position else seen == 0.0)


CASES: dict[str, tuple[Case, ...]] = {
    "ionq": (
        Case("page_overflow", ("clamp", "refuse")),
        Case("unknown_status_filter", ("refuse", "empty")),
        Case("no_characterizations", ("list", "null")),
        Case("estimate_status", (200, 401)),
        Case("estimate_shape", ("rate_card", "rate_information"), hidden=lambda at: at["estimate_status"] == 401),
        Case("qpu_qubits", (36, 30)),
        Case("unavailable", ("", "qpu.forte-1")),
        Case("result_profile", ("both", "spec", "legacy", "v2")),
        Case(
            "v2_bitstring_order", ("qubit0_left", "qubit0_right"), "bit_order",
            # the adapter reads what is documented: the other order shows as reversed bits
            lambda position: "qubit0_right" if position == "qubit0_left" else "qubit0_left",
            lambda at: at["result_profile"] != "v2",
        ),
        Case("sparse_completed", (False, True)),
        Case("probability_digits", (0, 6)),
        Case("children_order", ("input", "reversed")),
        Case("child_metadata", ("null", "copy")),
        Case("list_children", (False, True)),
        Case("list_order", ("newest_first", "oldest_first")),
        Case("cancel_finished", ("canceled", "keep")),
        Case("debiasing_default", ("on", "off")),
        Case("qpu_max_shots", (1_000_000, 10_000)),
        Case("qpu_mid_circuit", (False, True)),
        Case("qasm3_barrier", ("take", "fail")),
        Case("qasm3_delay", ("fail", "take")),
        Case("target_member", ("simulator", "refuse")),
    ),
    "braket": (
        Case("token", ("dedupe", "ignore")),
        Case("token_mismatch", ("refuse", "same_arn", "conflict"), hidden=lambda at: at["token"] == "ignore"),
        Case("search_values", ("or", "first")),
        Case("search_combine", ("and", "or")),
        Case("search_order", ("newest_first", "oldest_first")),
        Case("search_lag_s", (0.0, LAG_S), "listing_lag_s", _lags),
        Case("get_lag_s", (0.0, LAG_S), expected=_lags),
        Case("result_lag_s", (0.0, LAG_S), expected=_lags),
        Case("missing_bucket", ("validation", "access_denied", "fail_task")),
        Case("cancel_terminal", ("conflict", "ignore")),
        Case(
            "cancelling_reads", (1, 0), "cancelling_shown", bool,
            # a task that cannot be seen cannot be cancelled, and has ended when it is seen
            lambda at: at["get_lag_s"] > 0,
        ),
        Case("unlisted_barrier", ("refuse", "accept")),
        Case("unlisted_delay", ("refuse", "accept")),
        Case("program_set_results", ("tree", "inline")),
        Case("program_set_shots", ("refuse", "floor")),
        Case("probabilities_only", ("", "Cepheus-1-108Q"), expected=bool),
        Case("barriers", ("kept", "merged")),
    ),
    "ibm": (
        Case("error_body", ("errors", "both")),
        Case("tag_filter", ("works", "ignored")),
        Case("session_backend", ("named", "null")),
        Case("session_created_at", (False, True)),
        Case("close_empty", ("at_once", "pending")),
        Case("interactive_ttl_s", (60, 120)),
        Case("usage_limit_s", (360_000.0, 3_600.0)),
        Case("token_lifetime_s", (3_600, 1_800)),
        Case("dedupe_s", (0.0, 60.0), "dedupe", bool),
        Case("results_204_reads", (0, 2)),
        Case("cancel_lag_s", (0.0, LAG_S), expected=_lags),
        Case("session_closed_status", (409, 400)),
        Case("bad_qasm_charge_s", (2, 0)),
        Case("barriers", ("kept", "merged")),
        Case("delays", ("kept", "dropped")),
    ),
    "qbraid": (
        Case("group_no_jobs", ("list", "null")),
        Case("group_empty_closed", ("CLOSED", "COMPLETED")),
        Case("close_twice", ("harmless", "refuse"), hidden=lambda at: at["group_empty_closed"] == "COMPLETED"),
        Case("tag_match", ("subset", "exact", "ignored")),
        Case("list_refreshes", (False, True)),
        Case("moving_created_at", (True, False)),
        Case("result_cost_form", ("text", "exponent", "number")),
        Case("result_data", ("counts", "probabilities", "both")),
        Case("bit_order", ("c0_right", "c0_left")),
        Case("list_order", ("newest_first", "oldest_first")),
        Case("initializing_s", (0.4, 0.0), expected=lambda position: lambda seen: bool(seen) == bool(position)),
        Case("cancel_shows_cancelling", (True, False)),
        Case("final_costs", ("given", "null")),
        Case("unknown_device_status", (404, 400)),
        Case("shots_status", (400, 422)),
        Case("group_not_open_status", (409, 400)),
        Case("no_result_status", (409, 404)),
        Case("simulator_barrier", ("run", "fail")),
        Case("simulator_delay", ("run", "fail")),
    ),
}  # fmt: skip


def first_positions(vendor: str) -> dict[str, Any]:
    """Every switch in its first position."""
    return {case.switch: case.positions[0] for case in CASES[vendor]}


def last_positions(vendor: str) -> dict[str, Any]:
    """Every switch in its last position."""
    return {case.switch: case.positions[-1] for case in CASES[vendor]}


def pairwise(vendor: str) -> list[dict[str, Any]]:
    """Rows in which every two positions of every two switches meet; greedy, the same each time."""
    cases = CASES[vendor]
    open_pairs = {
        ((a.switch, repr(x)), (b.switch, repr(y)))
        for a, b in itertools.combinations(cases, 2)
        for x in a.positions
        for y in b.positions
    }
    rows: list[dict[str, Any]] = []
    while open_pairs:
        row: dict[str, Any] = {}
        (first, second) = min(open_pairs)
        for case in cases:
            forced = [text for name, text in (first, second) if name == case.switch]
            fitting = [p for p in case.positions if not forced or repr(p) in forced]
            row[case.switch] = max(fitting, key=lambda p, case=case: _gain(row, case.switch, p, open_pairs))
        rows.append(row)
        open_pairs -= set(itertools.combinations([(c.switch, repr(row[c.switch])) for c in cases], 2))
    return rows


def _gain(row: Mapping[str, Any], name: str, position: Any, open_pairs: set[Any]) -> int:
    here = (name, repr(position))
    return sum(((other, repr(value)), here) in open_pairs for other, value in row.items())


def run(core: Client, admin: Any, vendor: str, at: Positions) -> tuple[Report, Sequence[str], int]:
    """Measures a sandbox with switches in these positions. Returns the report, the switches whose position it did not
    tell, and the number of switches that it could tell."""
    admin.reset()
    admin.clock(CLOCKS[vendor])
    admin.switches(vendor, **at)
    report = measure(core, vendor, Amount.parse(AMOUNTS[vendor]), patience_s=15)
    seen = {fact.name: fact.seen for fact in report.facts}
    visible = [case for case in CASES[vendor] if not case.hidden(at)]
    return report, [case.switch for case in visible if not case.is_told(at, seen)], len(visible)


def left_running(admin: Any, vendor: str) -> list[str]:
    """Jobs at the emulated vendor that are not over."""
    return [job["id"] for job in admin.jobs(vendor) if job["outcome"] is None]


def open_sessions(admin: Any, vendor: str) -> list[str]:
    """Sessions and groups that were opened and not ended, by the requests that the emulated vendor has seen."""
    ends = {
        "ibm": ("session_create", ("session_close", "session_cancel")),
        "qbraid": ("group_create", ("group_close",)),
    }
    if vendor not in ends:
        return []
    opening, endings = ends[vendor]
    opened = admin.requests(f"{vendor}.{opening}")
    ended = sum(admin.requests(f"{vendor}.{name}") for name in endings)
    return ["a session or group"] * max(opened - ended, 0)


def within(report: Report) -> bool:
    """Whether the most that it can have cost is within the amount."""
    return Decimal(0) <= report.at_most <= report.allowed.value
