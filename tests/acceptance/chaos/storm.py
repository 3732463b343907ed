"""Random kills over mixed flows: jobs, sessions, groups with a callback, and batches with a re-run, on all vendors.

Each run is one flow of one person, started again and again under random faults and killed at a random instant, until
its share of kills is spent; then it is let through to its end. In between, other people's reconcilers look in.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .cells import (
    CIRCUITS,
    DATABASES,
    HAVE_SESSIONS,
    LAG_S,
    LISTS,
    VENDORS,
    WANTED,
    Cell,
    Outcome,
    Town,
    _check_flow,
    _check_vendor,
    _company,
    _Person,
    _until_done,
    town,
)  # fmt: skip

FACTS = ("prepared", "claimed", "queued", "in-doubt", "absent", "running", "completed", "failed", "session-opened",
         "group-opened", "group-completed")  # fmt: skip
NO_PERSON = 1000  # answers are lost so often here that somebody would have to be asked all the time
FLOWS = ("batch", "group", "job", "batch", "group", "session")


@dataclass
class Storm:
    """What became of it."""

    runs: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    starts: int = 0
    asked: int = 0
    wanted: int = 0
    bought: int = 0
    other_wanted: int = 0
    other_bought: int = 0
    states: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        lines = [f"WRONG {problem}" for problem in self.problems]
        lines += [
            f"{self.kills} random kills of {self.starts} processes, {sum(self.runs.values())} runs: "
            + ", ".join(f"{n} {name}" for name, n in sorted(self.runs.items())),
            f"jobs wanted {self.wanted}, at the vendors {self.bought}; of other people beside them wanted "
            f"{self.other_wanted}, at the vendors {self.other_bought}",
            f"states {dict(self.states)}; a person was asked {self.asked} time(s), about openings of sessions",
        ]
        return "\n".join(lines)


def random_kill(dice: random.Random) -> dict[str, Any]:
    """A death at a fact, at either side of a commit, or at any instant of the first half second."""
    how = dice.randrange(3)
    if how == 0:
        return {"event": dice.choice(FACTS), "n": dice.randint(1, 3)}
    if how == 1:
        return {"commit": dice.randint(1, 12), "when": dice.choice(["before", "after"])}
    return {"after_s": dice.uniform(0.0, 0.5)}


def storm(folder: Path, urls: Mapping[str, str], *, kills: int, jobs: int, seed: int) -> Storm:
    """`kills` deaths spread over runs that want `jobs` jobs in all."""
    dice, found = random.Random(seed), Storm()
    plan: list[tuple[str, str]] = []
    wanted = 0
    while wanted < jobs:
        flow, vendor = FLOWS[len(plan) % len(FLOWS)], VENDORS[(len(plan) + len(plan) // len(VENDORS)) % len(VENDORS)]
        if flow == "session" and vendor not in HAVE_SESSIONS:
            flow = "job"
        plan.append((flow, vendor))
        wanted += WANTED[flow]
    began = time.monotonic()
    with town(folder, urls) as place:
        for number, (flow, vendor) in enumerate(plan):
            share = kills * (number + 1) // len(plan) - kills * number // len(plan)
            company = dice.choice(["nobody", "own reconciler", "other's jobs", "other's reconciler"])
            cell = Cell(vendor, flow, f"random {seed}/{number}", "random", company, DATABASES[number % 2])
            _one_run(place, cell, share, dice, found)
    found.seconds = time.monotonic() - began
    return found


def _one_run(place: Town, cell: Cell, share: int, dice: random.Random, found: Storm) -> None:
    admin = place.empty()
    ann = _Person(place, cell, "ann", max_sends=NO_PERSON)
    bob = _Person(place, cell, "bob")
    done = Outcome(cell, (WANTED[cell.flow], 0))
    states = [dice.randrange(8) for _ in range(CIRCUITS[cell.flow])]
    not_ours: list[str] = []
    left: dict[str, Any] = {"jobs": []}
    if cell.company.startswith("other"):
        left = bob.does("leave", states=states[:1], hold_session=cell.flow == "session")
        not_ours, done.wanted = left.get("answer", []), (done.wanted[0], 1)
    if cell.flow == "batch":
        admin.fault("fail_job", f"{cell.vendor}.submit")
    admin.fault("list_lag", LISTS[cell.vendor], seconds=LAG_S)
    for _ in range(3):
        kind = dice.choice(["drop_before", "drop_after", "truncate", "status"])
        accepted = dice.random() < 0.5
        code = {"status": dice.choice([500, 502, 504] if accepted else [429, 500, 503]), "accepted": accepted}
        admin.fault(kind, f"{cell.vendor}.submit", skip=dice.randint(0, 4), **(code if kind == "status" else {}))
    killed = starts = 0
    while killed < share:
        starts += 1
        if starts > 12 * share + 20:
            done.problems.append(f"only {killed} of {starts} processes died")
            break
        outcome = place.forge.run(**ann.order(cell.flow, states=states), kill=random_kill(dice))
        killed += outcome is None
        if outcome is not None and "opening of a session" in outcome.get("asked", ""):
            done.asked += 1
            ann.does("person", of=ann.run_key, not_ours=not_ours)
        if dice.random() < 0.15:
            _company(place, ann, bob, states, done)
    outcome = _until_done(ann, cell, states, done, not_ours)
    _check_flow(place, outcome, states, done)
    _check_vendor(place, ann, bob, left, outcome, done, not_ours)
    found.runs[f"{cell.vendor} {cell.flow}"] += 1
    found.kills += killed
    found.starts += starts + done.starts
    found.asked += done.asked
    found.wanted += done.wanted[0]
    found.bought += done.bought[0]
    found.other_wanted += done.wanted[1]
    found.other_bought += done.bought[1]
    found.states.update(done.states)
    found.problems += [f"{cell}: {problem}" for problem in done.problems]
