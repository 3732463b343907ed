"""The opening of a session under faults and kills, with IBM's real client, while another person's session is open.

A cell is one session of one run: a process is killed at the point, then processes of the same run are started until one
has the session; each dies with it open. Where an answer was lost, each asks for a person, and the test is that person:
it looks at the vendor and says what it saw. Another person's session with the same limits is never touched.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from qflows import providers
from qflows.core.sessions import reap, resolve
from qflows.ledger import Ledger
from qflows.ledger import sessions as ledger_sessions
from qflows.sandbox import Sandbox

from .conftest import Forge

pytestmark = pytest.mark.slow(reason="IBM's real client in 117 cells of two to four processes")

DEVICE, OPEN, LIST = "ibm_manila", "ibm.session_create", "ibm.workloads"
LAG_S, SETTLE_S = 0.06, 0.15
IMPORTS = ("qiskit_ibm_runtime", "qflows.providers.ibm.adapter", "qflows.providers.ibm.runtime")


def _status(code: int, **members: Any) -> dict[str, Any]:
    return {"kind": "status", "route": OPEN, "status": code, "accepted": True, **members}


FAULTS: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "drop before": [{"kind": "drop_before", "route": OPEN}],
    "drop after": [{"kind": "drop_after", "route": OPEN}],
    "500 after": [_status(500)],
    "502 after": [_status(502, html=True)],
    "502 three times": [_status(502, times=3)],
    "429": [_status(429, accepted=False)],
    "truncated": [{"kind": "truncate", "route": OPEN}],
    "listing lag": [
        {"kind": "list_lag", "route": LIST, "seconds": LAG_S},
        {"kind": "drop_after", "route": OPEN},
    ],
}
KILLS: dict[str, dict[str, Any] | None] = {
    "no kill": None,
    "opened": {"event": "session-opened", "n": 1},
    **{f"commit {k}": {"commit": k, "when": "before"} for k in range(1, 6)},
}
WIRE = {"wire in": ("before", "proceed"), "wire lost": ("before", "drop"), "wire out": ("after", "proceed")}
MAX_RESTARTS = 4


@dataclass(frozen=True)
class Place:
    """The emulated IBM, a maker of victims for it, a provider of our own, and a ledger."""

    sandbox: Sandbox
    forge: Forge
    provider: Any
    ledger: Ledger


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder: Path = tmp_path_factory.mktemp("sessions")
    with Sandbox(vendors=("ibm",)) as sandbox:
        fields = {"token": "sandbox", "instance": sandbox.env["QISKIT_IBM_INSTANCE"], "url": sandbox.url}
        provider = providers.connect("ibm", fields, timeout_s=10)
        ledger = Ledger.open(f"sqlite:///{folder / 'ledger.db'}")
        forge = Forge(folder, sandbox.url, env=sandbox.env, imports=IMPORTS)
        yield Place(sandbox, forge, provider, ledger)
        forge.close()
        ledger.close()


@pytest.mark.parametrize("mode", ["dedicated", "batch"])
@pytest.mark.parametrize("fault", FAULTS)
def test_process_killed_around_an_opening_leaves_one_session_and_the_reconciler_leaves_none(
    place: Place, fault: str, mode: str, tables: dict[str, list[str]]
) -> None:
    points = [*KILLS, *WIRE] if mode == "dedicated" else ["no kill", "commit 3", "wire out"]
    rows = {point: kill_and_restart(place, point, fault, mode) for point in points}
    lines = tables.setdefault(f"kill matrix, ibm {mode} sessions: open at the vendor, before / after a tick", [])
    if not lines:
        lines.append(" " * 16 + " ".join(f"{point:>9}" for point in points))
    lines.append(f"{fault:<16}" + " ".join(f"{shown:>9}" for shown, _ in rows.values()))
    wrong = {point: row for point, row in rows.items() if row[1] or row[0] not in (".", "1 / 0")}
    assert not wrong
    assert sum(shown != "." for shown, _ in rows.values()) >= len(points) - 4


def kill_and_restart(place: Place, point: str, fault: str, mode: str) -> tuple[str, str]:
    """("open before / after the tick", problem); "." when the point was never reached."""
    admin = place.sandbox.admin
    order = {
        "url": str(place.ledger.engine.url),
        "run_key": f"run-{uuid.uuid4().hex}",
        "vendor": "ibm",
        "device": DEVICE,
        "session": mode,
        "settle_s": SETTLE_S,
    }
    admin.reset()
    began = datetime.now(UTC) - timedelta(seconds=1)
    theirs = place.provider.open_session(DEVICE, mode=mode, max_time_s=1800, options={})
    if point in WIRE:
        when, verdict = WIRE[point]
        admin.fault("hold", OPEN, when=when)
        victim = place.forge.start(**order)
        admin.wait_held(1)
        victim.kill()
        for scripted in FAULTS[fault]:
            admin.fault(**scripted)
        admin.release_held(verdict=verdict)
    else:
        for scripted in FAULTS[fault]:
            admin.fault(**scripted)
        if place.forge.run(kill=KILLS[point], **order) is not None and KILLS[point]:
            return ".", ""
    outcome = None
    asked = 0
    for _ in range(MAX_RESTARTS):
        outcome = place.forge.run(**order)
        if outcome is not None and "session" in outcome:
            break
        if outcome is not None and "InDoubt" in str(outcome.get("error")):
            asked += 1
            a_person_looks(place, order["run_key"], began, theirs)
    mine = [id_ for id_ in still_open(place, began) if id_ != theirs]
    problem = str((outcome or {}).get("error", "killed"))[-1500:] if not outcome or "session" not in outcome else ""
    if not problem and mine != [outcome["session"]]:
        problem = f"open: {mine}, the run has {outcome['session']}"
    reap(place.ledger, lambda record: place.provider)
    left = still_open(place, began)
    if theirs not in left:
        problem = "another person's session was closed"
    if asked > 1:
        problem = f"a person was asked {asked} times"
    place.provider.close_session(theirs)
    return f"{len(mine)} / {len(left) - 1}", problem


def a_person_looks(place: Place, run_key: str, began: datetime, theirs: str) -> None:
    """What a person does who is asked: looks at the console, and says which sessions are whose."""
    there = [id_ for id_ in still_open(place, began) if id_ != theirs]
    (record,) = [one for one in ledger_sessions.listing(place.ledger) if one.run_key == run_key]
    for extra in there[1:]:
        place.provider.close_session(extra)
    resolve(place.ledger, place.provider, record, vendor_id=there[0] if there else None)


def still_open(place: Place, since: datetime) -> list[str]:
    """Ids of sessions that take jobs at the vendor, read without the lists' lag."""
    place.sandbox.admin.clear_faults()
    return [info.session_id for info in place.provider.recent_sessions(DEVICE, since=since) if info.is_open]


def test_an_opening_that_nobody_answers_for_is_left_to_a_person(place: Place) -> None:
    admin = place.sandbox.admin
    admin.reset()
    began = datetime.now(UTC) - timedelta(seconds=1)
    admin.fault("hold", OPEN, when="after")
    order = {"url": str(place.ledger.engine.url), "run_key": f"run-{uuid.uuid4().hex}", "vendor": "ibm"}
    victim = place.forge.start(**order, device=DEVICE, session="dedicated", settle_s=SETTLE_S)
    admin.wait_held(1)
    victim.kill()
    admin.release_held(verdict="drop")
    assert reap(place.ledger, lambda record: place.provider) == []
    assert len(still_open(place, began)) == 1
