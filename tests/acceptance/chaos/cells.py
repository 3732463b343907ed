"""Cells of the chaos: one flow of one person, killed at one point under one fault, beside one kind of company.

What is right in every cell: jobs at the vendor = jobs wanted, the flow's counts, nothing left open, and nothing of
anybody else's touched, in the ledger or at the vendor.
"""

from __future__ import annotations

import hashlib
import random
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qflows.sandbox import Admin, Sandbox

from ..forge import Forge, Victim

VENDORS = ("ionq", "ibm", "braket", "qbraid")
DEVICES = {
    "ionq": "ionq-simulator",
    "ibm": "ibm-sandbox",
    "braket": "braket-sv1",
    "qbraid": "qbraid-qir-sv",
}
LISTS = {"ionq": "ionq.list", "ibm": "ibm.list", "braket": "braket.search", "qbraid": "qbraid.list"}
RESULTS = {"ionq": "ionq.results", "ibm": "ibm.results", "braket": "braket.s3_get", "qbraid": "qbraid.results"}
HAVE_SESSIONS = ("ionq", "ibm")
IMPORTS = (
    "qiskit_ibm_runtime", "qiskit.transpiler.preset_passmanagers", "qflows.providers.ibm.adapter",
    "qflows.providers.ibm.runtime", "boto3", "qflows.providers.braket.adapter", "qflows.providers.qbraid.adapter",
    "qflows.providers.ionq.adapter", "qiskit",
)  # fmt: skip
SETTLE_S, LAG_S = 0.15, 0.06
WANTED = {"job": 1, "session": 1, "group": 2, "batch": 4}  # of the three circuits of a batch one is bought again
CIRCUITS = {"job": 1, "session": 1, "group": 2, "batch": 3}
COMPANY = ("nobody", "own reconciler", "other's jobs", "other's reconciler", "emulator's environment")
DATABASES = ("sqlite", "postgresql")
MAX_RESTARTS = 6
HELD_S = 10.0

# beside `none`: what the vendor or the network does to submissions, lists and results
FAULTS: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "drop before": [{"kind": "drop_before", "route": "submit"}],
    "drop after": [{"kind": "drop_after", "route": "submit"}],
    "500 before": [{"kind": "status", "route": "submit", "status": 500}],
    "502 after": [{"kind": "status", "route": "submit", "status": 502, "accepted": True, "html": True}],
    "504 after": [{"kind": "status", "route": "submit", "status": 504, "accepted": True}],
    "429": [{"kind": "status", "route": "submit", "status": 429, "retry_after": 0.2}],
    "truncated": [{"kind": "truncate", "route": "submit"}],
    "listing lag": [
        {"kind": "list_lag", "route": "list", "seconds": LAG_S},
        {"kind": "drop_after", "route": "submit"},
    ],
    "list 503": [{"kind": "status", "route": "list", "status": 503, "html": True}],
    "results 500": [
        {"kind": "status", "route": "results", "status": 500},
        {"kind": "truncate", "route": "results"},
    ],
}
_DOUBTS = ("drop after", "502 after", "504 after", "truncated", "listing lag", "drop before", "500 before")
_ABSENT = ("drop before", "500 before")


@dataclass(frozen=True)
class Point:
    """Where the first process dies. `hold`: while the vendor has this request, before or after it acted; `verdict`:
    what becomes of the request then; `skip`: requests of the route that pass. `under`: faults that lead there."""

    kill: Mapping[str, Any] | None = None
    hold: str = ""
    when: str = "before"
    verdict: str = "proceed"
    skip: int = 0
    under: tuple[str, ...] = tuple(FAULTS)


def _at(event: str, n: int = 1, under: tuple[str, ...] = tuple(FAULTS)) -> Point:
    return Point({"event": event, "n": n}, under=under)


def _commit(k: int) -> Point:
    return Point({"commit": k, "when": "before"})


WIRE = {
    "wire in": Point(hold="submit"),
    "wire lost": Point(hold="submit", verdict="drop"),
    "wire out": Point(hold="submit", when="after"),
}
POINTS: dict[str, dict[str, Point]] = {
    "job": {
        "no kill": Point(),
        **{kind: _at(kind) for kind in ("prepared", "claimed", "queued", "running", "completed")},
        "in doubt": _at("in-doubt", under=_DOUBTS),
        "absent": _at("absent", under=_ABSENT),
        "not sent": _at("not-sent", under=("429",)),
        **{f"commit {k}": _commit(k) for k in range(2, 6)},
        **WIRE,
        "poll": Point(hold="list"),
        "fetch": Point(hold="results", when="after"),
    },
    "session": {
        "session opened": _at("session-opened"),
        "opening in": Point(hold="session_create"),
        "opening lost": Point(hold="session_create", verdict="drop"),
        "opening out": Point(hold="session_create", when="after"),
        "queued": _at("queued"),
        "completed": _at("completed"),
        "in doubt": _at("in-doubt", under=_DOUBTS),
        **{f"commit {k}": _commit(k) for k in (2, 4, 6)},
        "wire out": WIRE["wire out"],
        "session closed": _at("session-closed"),
    },
    "group": {
        "group opened": _at("group-opened"),
        "2nd prepared": _at("prepared", 2),
        "1st queued": _at("queued", 1),
        "2nd queued": _at("queued", 2),
        "in doubt": _at("in-doubt", under=_DOUBTS),
        "2nd completed": _at("completed", 2),
        "group completed": _at("group-completed"),
        **{f"commit {k}": _commit(k) for k in (3, 7, 11)},
        "wire in": WIRE["wire in"],
        "fetch": Point(hold="results", when="after"),
    },
    "batch": {
        "2nd claimed": _at("claimed", 2),
        "2nd queued": _at("queued", 2),
        "in doubt": _at("in-doubt", under=_DOUBTS),
        "wire out": WIRE["wire out"],
        "2nd completed": _at("completed", 2),
        "failed": _at("failed"),
        "re-run prepared": _at("prepared", 4),
        "re-run claimed": _at("claimed", 4),
        "re-run queued": _at("queued", 4),
        "re-run wire in": Point(hold="submit", skip=3, under=("none", "list 503", "results 500")),
        "re-run wire out": Point(hold="submit", when="after", skip=3, under=("none", "list 503", "results 500")),
        **{f"commit {k}": _commit(k) for k in (3, 9, 14)},
    },
}


@dataclass(frozen=True)
class Cell:
    """One place in the matrix."""

    vendor: str
    flow: str
    point: str
    fault: str
    company: str
    database: str


@dataclass
class Outcome:
    """What became of a cell. `told`: what processes with other credentials were told."""

    cell: Cell
    wanted: tuple[int, int]  # by the person, by the other one
    bought: tuple[int, int] = (0, 0)
    states: dict[str, int] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    asked: int = 0  # how often a person was asked, of those who may be
    problems: list[str] = field(default_factory=list)
    starts: int = 0


def all_cells(seed: int, n: int | None = None) -> list[Cell]:
    """`n` different cells: every vendor with every flow and point, each time under the next fault, company and
    database of decks that are shuffled by the seed. None: each vendor, flow and point once."""
    dice = random.Random(seed)
    triples = [
        (vendor, flow, point)
        for vendor in VENDORS
        for flow, points in POINTS.items()
        if flow != "session" or vendor in HAVE_SESSIONS
        for point in points
    ]
    decks: dict[Any, list[Any]] = {}

    def draw(name: Any, of: list[Any]) -> Any:
        deck = decks.setdefault(name, [])
        if not deck:
            deck += dice.sample(of, len(of))
        return deck.pop()

    found: dict[Cell, None] = {}
    rooms = [(company, database) for company in COMPANY for database in DATABASES]
    while len(found) < (n or len(triples)):
        dice.shuffle(triples)
        for vendor, flow, point in triples:
            under = POINTS[flow][point].under
            fault = draw((vendor, under), list(under))
            company, database = draw(vendor, rooms)
            found[Cell(vendor, flow, point, fault, company, database)] = None
    return list(found)[:n]


@dataclass
class Town:
    """Emulated vendors with an account for each key, other emulators of theirs, people, ledgers."""

    sandbox: Sandbox
    elsewhere: Sandbox
    forge: Forge
    urls: Mapping[str, str]
    folder: Path

    def env(self, who: str, *, emulator: bool = False) -> dict[str, str]:
        """The environment of a person: addresses and keys."""
        place = self.elsewhere if emulator else self.sandbox
        account = hashlib.sha256(f"key-of-{who}".encode()).hexdigest()[:32]
        crn = place.env["QISKIT_IBM_INSTANCE"].replace("a/" + "0" * 32, f"a/{account}")
        return {
            **place.env,
            "IONQ_API_KEY": f"{who}.first",
            "QISKIT_IBM_TOKEN": f"key-of-{who}",
            "QISKIT_IBM_INSTANCE": crn,
            "AWS_ACCESS_KEY_ID": f"AKIA{who.upper():X<16}",
            "QBRAID_API_KEY": f"qbr_{who}",
            "CHAOS_NOTES": str(self.folder / "notes"),
        }

    def empty(self) -> Admin:
        """No jobs, no faults; every key has an account of its own."""
        for place in (self.sandbox, self.elsewhere):
            place.admin.reset()
            place.admin.switches("ionq", accounts="per_key")
            place.admin.switches("ibm", accounts_per_key=True, noise=False)
            place.admin.switches("braket", accounts="per_key")
            place.admin.switches("qbraid", initializing_s=0.0)
        self.sandbox.admin.clock("count:3")  # queued, running, done: every point is passed
        return self.sandbox.admin


@contextmanager
def town(folder: Path, urls: Mapping[str, str]) -> Iterator[Town]:
    """One with these ledgers, by database."""
    with Sandbox(vendors=VENDORS) as sandbox, Sandbox(vendors=VENDORS) as elsewhere:
        desk = Path(__file__).with_name("desk.py")
        forge = Forge(folder, sandbox.url, imports=IMPORTS, script=desk)
        try:
            yield Town(sandbox, elsewhere, forge, urls, folder)
        finally:
            forge.close()


@dataclass
class _Person:
    """Orders of one person for one cell."""

    town: Town
    cell: Cell
    name: str
    emulator: bool = False
    max_sends: int | None = None
    run_key: str = field(default_factory=lambda: f"run-{uuid.uuid4().hex[:12]}")

    def order(self, flow: str, **more: Any) -> dict[str, Any]:
        cell = self.cell
        order: dict[str, Any] = {
            "env": self.town.env(self.name, emulator=self.emulator), "url": self.town.urls[cell.database],
            "run_key": self.run_key, "vendor": cell.vendor, "device": DEVICES[cell.vendor], "flow": flow,
            "states": [], "settle_s": SETTLE_S,
        }  # fmt: skip
        return order | ({"max_sends": self.max_sends} if self.max_sends else {}) | more

    def does(self, flow: str, **more: Any) -> dict[str, Any]:
        found = self.town.forge.run(**self.order(flow, **more))
        assert found is not None, f"{self.name} died doing {flow}"
        return found


def play(town: Town, cell: Cell) -> Outcome | None:
    """One cell; None when the first process was done before it reached the point."""
    admin = town.empty()
    ann, bob = _Person(town, cell, "ann"), _Person(town, cell, "bob")
    done = Outcome(cell, (WANTED[cell.flow], 0))
    place = int(hashlib.sha256(repr(cell).encode()).hexdigest(), 16)
    states = [(place + 3 * i) % 8 for i in range(CIRCUITS[cell.flow])]
    not_ours: list[str] = []
    left: dict[str, Any] = {"jobs": []}
    if cell.company in ("other's jobs", "other's reconciler"):
        left = bob.does("leave", states=states[:1], hold_session=cell.flow == "session")
        _note_errors(done, "the other's purchase", left)
        not_ours += left.get("answer", [])
        done.wanted = (done.wanted[0], 1)
    if cell.flow == "batch":
        admin.fault("fail_job", f"{cell.vendor}.submit")
    if not _first_life(town, ann, cell, states):
        return None
    done.starts = 1
    _company(town, ann, bob, states, done)
    outcome = _until_done(ann, cell, states, done, not_ours)
    _check_flow(town, outcome, states, done)
    _check_vendor(town, ann, bob, left, outcome, done, not_ours)
    return done


def _script(admin: Admin, cell: Cell) -> None:
    routes = {"list": LISTS[cell.vendor], "results": RESULTS[cell.vendor]}
    for fault in FAULTS[cell.fault]:
        admin.fault(**(fault | {"route": routes.get(fault["route"], f"{cell.vendor}.{fault['route']}")}))


def _first_life(town: Town, ann: _Person, cell: Cell, states: list[int]) -> bool:
    """The process that dies at the point. False when it never got there."""
    admin, point = town.sandbox.admin, POINTS[cell.flow][cell.point]
    if not point.hold:
        _script(admin, cell)
        found = town.forge.run(**ann.order(cell.flow, states=states), kill=point.kill)
        return found is None or point.kill is None
    routes = {"list": LISTS[cell.vendor], "results": RESULTS[cell.vendor]}
    admin.fault("hold", routes.get(point.hold, f"{cell.vendor}.{point.hold}"), when=point.when, skip=point.skip)
    victim = town.forge.start(**ann.order(cell.flow, states=states))
    if not _held(admin, victim):
        return False
    victim.kill()
    _script(admin, cell)
    admin.release_held(verdict=point.verdict)
    return True


def _held(admin: Admin, victim: Victim) -> bool:
    deadline = time.monotonic() + HELD_S
    while not admin.held():
        if victim.ended(0.02) or time.monotonic() > deadline:
            admin.clear_faults()
            victim.kill()
            return False
    return True


def _company(town: Town, ann: _Person, bob: _Person, states: list[int], done: Outcome) -> None:
    cell = done.cell
    if cell.company == "own reconciler":
        ann.does("tick")
    if cell.company in ("other's reconciler", "emulator's environment"):
        other = bob if cell.company == "other's reconciler" else _Person(town, cell, "ann", emulator=True)
        # under a run key of its own; it meddles with ann's
        found = _Person(town, cell, other.name, other.emulator).does(
            "meddle", of=ann.run_key, of_flow=cell.flow, states=states
        )
        _note_errors(done, cell.company, found)
        done.told += [_masked(text) for text in found.get("answer", [])]
        if found.get("touched"):
            done.problems.append(f"{cell.company} changed the jobs")
        if found.get("jobs"):
            done.problems.append(f"{cell.company} bought {found['jobs']}")


def _until_done(
    ann: _Person, cell: Cell, states: list[int], done: Outcome, not_ours: list[str]
) -> dict[str, Any] | None:
    outcome: dict[str, Any] | None = None
    for _ in range(MAX_RESTARTS):
        outcome = ann.town.forge.run(**ann.order(cell.flow, states=states))
        done.starts += 1
        if outcome is not None and "answer" in outcome:
            return outcome
        if outcome is not None and "opening of a session" in outcome.get("asked", ""):
            done.asked += 1
            ann.does("person", of=ann.run_key, not_ours=not_ours)
    return outcome


def _check_flow(town: Town, outcome: dict[str, Any] | None, states: list[int], done: Outcome) -> None:
    cell = done.cell
    if outcome is None or "answer" not in outcome:
        done.problems.append(str((outcome or {}).get("asked") or (outcome or {}).get("error", "killed"))[-1500:])
        return
    right = [{format(state, "03b"): 20} for state in states]
    if cell.flow == "session" and cell.vendor == "ionq":  # a QPU errs
        right = [20] * len(states)
        outcome["answer"] = [sum(one.values()) for one in outcome["answer"] if one]
    if outcome["answer"] != right:
        done.problems.append(f"counts {outcome['answer']}, not {right}")
    if cell.flow == "group":
        notes = town.folder / "notes"
        lines = notes.read_text().splitlines() if notes.exists() else []
        notes.unlink(missing_ok=True)
        called, state = len(lines), outcome["callbacks"]
        # a process that died with the callback in its hands leaves it to a person
        if not (called == 1 and state == ["DONE"]) and not (called <= 1 and state == ["CLAIMED"]):
            done.problems.append(f"called back {called} time(s), {state}")


def _check_vendor(
    town: Town, ann: _Person, bob: _Person, left: Mapping[str, Any], outcome: Any, done: Outcome, not_ours: list[str]
) -> None:
    cell, admin = done.cell, town.sandbox.admin
    admin.clear_faults()
    theirs = {str(row["vendor_id"]) for row in left["jobs"]}
    at_vendor = admin.jobs(cell.vendor)
    done.bought = (sum(one["id"] not in theirs for one in at_vendor), sum(one["id"] in theirs for one in at_vendor))
    for row in (outcome or {}).get("jobs", []):
        done.states[row["status"]] = done.states.get(row["status"], 0) + 1
    if done.bought != done.wanted:
        done.problems.append(f"bought {done.bought}, wanted {done.wanted}")
    if any(one["outcome"] == "cancelled" for one in at_vendor):
        done.problems.append("a job was cancelled at the vendor")
    if town.elsewhere.admin.count_jobs(cell.vendor):
        done.problems.append("the emulator was sold something")
    if left["jobs"]:
        after = bob.does("tick")["jobs"]
        if [row["vendor_id"] for row in after] != [row["vendor_id"] for row in left["jobs"]]:
            done.problems.append(f"the other's jobs changed: {left['jobs']}, then {after}")
        town.sandbox.admin.clock("instant")
        town.sandbox.admin.release()
        finished = bob.does("tick")["jobs"]
        until = time.monotonic() + 30  # on a busy machine the vendor may still be running one
        while any(row["status"] in ("QUEUED", "RUNNING") for row in finished) and time.monotonic() < until:
            time.sleep(0.2)
            finished = bob.does("tick")["jobs"]
        if {row["status"] for row in finished} != {"COMPLETED"}:
            done.problems.append(f"the other's jobs did not finish: {finished}")
    if cell.flow == "session":
        mine = ann.does("open sessions")["answer"]
        others = bob.does("open sessions")["answer"] if not_ours else []
        if mine:
            done.problems.append(f"sessions left open: {mine}")
        if others != not_ours:
            done.problems.append(f"the other's session: {not_ours}, then {others}")


def _note_errors(done: Outcome, who: str, found: Mapping[str, Any]) -> None:
    if "error" in found or "asked" in found:
        done.problems.append(f"{who}: {found.get('error') or found.get('asked')}"[-1500:])


def _masked(text: str) -> str:
    """Without what differs from cell to cell."""
    text = re.sub(r"run-[0-9a-f]{12}", "RUN", text)
    text = re.sub(r"(sandbox:)?\b[0-9a-f]{16}\b", "ACCOUNT", text)
    return re.sub(r"\b[0-9a-f]{12}\b", "JOB", text)
