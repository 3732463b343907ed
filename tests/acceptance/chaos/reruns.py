"""Two processes that call `rerun_failed` of one batch at the same moment, both killed somewhere, again and again."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .cells import DATABASES, VENDORS, Cell, Town, _Person, town

CIRCUITS, HOLES, ROUNDS = 4, 2, 3


@dataclass
class Reruns:
    """What became of them."""

    trials: int = 0
    kills: int = 0
    wanted: int = 0
    bought: int = 0
    strays: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"WRONG {problem}" for problem in self.problems]
        lines += [f"{self.trials} batches of {CIRCUITS} with {HOLES} holes, each re-run by two processes at once"]
        lines += [f"{self.kills} of these killed; jobs wanted {self.wanted}, at the vendors {self.bought}"]
        return "\n".join([*lines, f"jobs in no part or in two: {self.strays}"])


def reruns(
    folder: Path, urls: Mapping[str, str], *, trials: int, seed: int, vendors: tuple[str, ...] = VENDORS
) -> Reruns:
    """Plays so many trials, each on the next vendor and database."""
    dice, found = random.Random(seed), Reruns()
    with town(folder, urls) as place:
        for number in range(trials):
            vendor, database = vendors[number % len(vendors)], DATABASES[number // len(vendors) % 2]
            _trial(place, Cell(vendor, "batch", f"trial {number}", "none", "own twin", database), dice, found)
    return found


def _kill(dice: random.Random) -> dict[str, Any] | None:
    how = dice.randrange(4)
    if how == 0:
        return {"event": dice.choice(["prepared", "claimed", "queued"]), "n": dice.randint(1, 2)}
    if how == 1:
        return {"commit": dice.randint(1, 6), "when": dice.choice(["before", "after"])}
    return {"after_s": dice.uniform(0.25, 0.5)} if how == 2 else None


def _trial(place: Town, cell: Cell, dice: random.Random, found: Reruns) -> None:
    admin = place.empty()
    admin.clock("instant")
    admin.fault("fail_job", f"{cell.vendor}.submit", times=HOLES)
    ann = _Person(place, cell, "ann")
    states = [dice.randrange(8) for _ in range(CIRCUITS)]
    (batch,) = ann.does("fail", states=states)["answer"]
    for _ in range(ROUNDS):
        at = time.time() + 0.25
        twins = [place.forge.start(**ann.order("rerun", batch=batch, at=at), kill=_kill(dice)) for _ in range(2)]
        for twin in twins:
            if not twin.ended(60):
                twin.kill()
                found.problems.append(f"{cell}: a process hangs")
            outcome = twin.outcome()
            found.kills += outcome is None
            if outcome is not None and "answer" not in outcome:
                found.problems.append(f"{cell}: {outcome}"[:1500])
    last = ann.does("complete", batch=batch)
    found.trials += 1
    found.wanted += CIRCUITS + HOLES
    found.bought += admin.count_jobs(cell.vendor)
    if "answer" not in last:
        found.problems.append(f"{cell}: {last}"[:1500])
        return
    counts, strays = last["answer"]
    found.strays += len(strays)
    if admin.count_jobs(cell.vendor) != CIRCUITS + HOLES or strays:
        found.problems.append(f"{cell}: {admin.count_jobs(cell.vendor)} jobs, outside a part {strays}")
    if counts != [{format(state, "03b"): 20} for state in states]:
        found.problems.append(f"{cell}: counts {counts} for {states}")
