"""Every named point of a job's life, every commit, and the wire, under every fault: always one job at the vendor.

A cell is one logical job: a process is killed by SIGKILL at the point, then processes are started until one reports
that every job is terminal. Points that a fault never reaches are shown as `.` and are no cells.
"""

from __future__ import annotations

import contextlib
import queue
import uuid
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from .conftest import WIDTH, Station, right_counts

pytestmark = [
    pytest.mark.slow(reason="346 cells, each two or three processes that open a ledger and wait for a doubt to settle"),
    pytest.mark.parametrize("module_database", ["sqlite", "postgresql"], indirect=True),
]

SUBMIT, LIST, RESULTS = "ionq.submit", "ionq.list", "ionq.results"
LAG_S = 0.06  # below the settle time of the processes: what the core is told it may rely on
Script = list[dict[str, Any]]

FAULTS: dict[str, Script] = {
    "none": [],
    "drop before": [{"kind": "drop_before", "route": SUBMIT}],
    "drop after": [{"kind": "drop_after", "route": SUBMIT}],
    "500 before": [{"kind": "status", "route": SUBMIT, "status": 500}],
    "500 after": [{"kind": "status", "route": SUBMIT, "status": 500, "accepted": True}],
    "502 after": [{"kind": "status", "route": SUBMIT, "status": 502, "accepted": True, "html": True}],
    "504 after": [{"kind": "status", "route": SUBMIT, "status": 504, "accepted": True}],
    "500 always": [{"kind": "status", "route": SUBMIT, "status": 500, "accepted": True, "times": None}],
    "502 always": [{"kind": "status", "route": SUBMIT, "status": 502, "accepted": True, "times": None}],
    "504 always": [{"kind": "status", "route": SUBMIT, "status": 504, "accepted": True, "times": None}],
    "429": [{"kind": "status", "route": SUBMIT, "status": 429}],
    "truncated": [{"kind": "truncate", "route": SUBMIT}],
    "listing lag": [
        {"kind": "list_lag", "route": LIST, "seconds": LAG_S},
        {"kind": "drop_after", "route": SUBMIT},
    ],
    "unreachable": [],  # the first process is given an address where nobody listens
    "result faults": [
        {"kind": "truncate", "route": RESULTS},
        {"kind": "status", "route": RESULTS, "status": 500},
    ],
}
NOBODY = "http://127.0.0.1:9/v0.4"

EVENTS = ("prepared", "claimed", "queued", "not-sent", "in-doubt", "absent", "running", "completed")
COMMITS = 8
KILLS: dict[str, dict[str, Any] | None] = {
    "no kill": None,
    **{kind: {"event": kind, "n": 1} for kind in EVENTS},
    **{f"commit {k}": {"commit": k, "when": "before"} for k in range(1, COMMITS + 1)},
}
# what becomes of the held request once its sender is dead: (when it is held, how it is released)
WIRE = {"wire in": ("before", "proceed"), "wire lost": ("before", "drop"), "wire out": ("after", "proceed")}
MAX_RESTARTS = 4
ALIKE = ("502 after", "504 after", "500 always", "502 always", "504 always")  # to 500 after: fewer points will do


@dataclass(frozen=True)
class Cell:
    """One kill of one process under one fault. `at_vendor` is None when the process was done before the point."""

    point: str
    at_vendor: int | None
    problem: str = ""


@pytest.mark.parametrize("fault", FAULTS)
def test_process_killed_anywhere_under_a_fault_leaves_one_job_and_its_counts(
    fault: str, module_database: str, stations: Sequence[Station], tables: dict[str, list[str]], request: Any
) -> None:
    points: queue.SimpleQueue[str] = queue.SimpleQueue()
    for point in points_under(fault):
        points.put(point)

    def work(station: Station) -> list[Cell]:
        cells: list[Cell] = []
        with contextlib.suppress(queue.Empty):
            while True:
                cells.append(_kill_and_restart(station, module_database, points.get_nowait(), fault))
        return cells

    with ThreadPoolExecutor(len(stations)) as pool:
        cells = {cell.point: cell for part in pool.map(work, stations) for cell in part}
    _tabulate(tables, request.node.callspec.params["module_database"], fault, cells)
    wrong = [cell for cell in cells.values() if cell.problem or cell.at_vendor not in (None, 1)]
    assert not wrong
    # sixty cells in all, whichever part of the matrix is run
    assert len(FAULTS) * sum(cell.at_vendor is not None for cell in cells.values()) >= 60


def points_under(fault: str) -> list[str]:
    """The points worth a try: commits are walked through where nothing, and where each kind of doubt, happens."""
    if fault == "unreachable":
        return ["no kill", "prepared", "claimed", "not-sent", "commit 2", "commit 3"]
    if fault in ALIKE:
        return ["no kill", "claimed", "queued", "in-doubt", "completed", "wire in", "wire out"]
    commits = fault in ("none", "drop before", "drop after")
    return [point for point in [*KILLS, *WIRE] if commits or not point.startswith("commit")]


def _kill_and_restart(station: Station, url: str, point: str, fault: str) -> Cell:
    admin, forge = station.sandbox.admin, station.forge
    state = zlib.crc32(f"{point}/{fault}".encode()) % 2**WIDTH
    order: dict[str, Any] = {"url": url, "run_key": f"run-{uuid.uuid4().hex}", "jobs": [(0, state)]}
    admin.reset()
    admin.clock("count:3")  # queued, running, done: every point is passed
    if point in WIRE:
        _kill_on_the_wire(station, point, fault, order)
    else:
        for scripted in FAULTS[fault]:
            admin.fault(**scripted)
        first = order | ({"api": NOBODY, "account_of": forge.api, "timeout_s": 0.3} if fault == "unreachable" else {})
        if forge.run(kill=KILLS[point], **first) is not None and point != "no kill":
            return Cell(point, None)
    outcome = None
    for _ in range(MAX_RESTARTS):
        outcome = forge.run(**order)
        if outcome is not None and "jobs" in outcome:
            break
    return Cell(point, admin.count_jobs("ionq"), _problem(outcome, state))


def _kill_on_the_wire(station: Station, point: str, fault: str, order: Mapping[str, Any]) -> None:
    """Kill the sender while the vendor holds its request; faults act on what is sent after that."""
    admin = station.sandbox.admin
    when, verdict = WIRE[point]
    admin.fault("hold", SUBMIT, when=when)
    victim = station.forge.start(**order)
    admin.wait_held(1)
    victim.kill()
    for scripted in FAULTS[fault]:
        admin.fault(**scripted)
    admin.release_held(verdict=verdict)


def _problem(outcome: dict[str, Any] | None, state: int) -> str:
    if outcome is None or "jobs" not in outcome:
        return str((outcome or {}).get("error", "killed"))[-2000:]
    found = [job["counts"] for job in outcome["jobs"]]
    return "" if found == [right_counts(state)] else f"counts {found} for state {state}"


def _tabulate(tables: dict[str, list[str]], database: str, fault: str, cells: Mapping[str, Cell]) -> None:
    names = [*KILLS, *WIRE]
    lines = tables.setdefault(f"kill matrix, {database}: jobs at the vendor for one logical job (. not reached)", [])
    if not lines:
        lines.append(" " * 14 + " ".join(f"{point.replace('commit ', 'c'):>9}" for point in names))
    shown = [str(cells[name].at_vendor or ".") if name in cells else "" for name in names]
    lines.append(f"{fault:<14}" + " ".join(f"{cell:>9}" for cell in shown))
