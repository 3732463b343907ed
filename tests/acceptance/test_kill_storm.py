"""Many jobs, many processes, kills at random instants: the vendor's count stays the number of logical jobs."""

from __future__ import annotations

import random
import select
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import make_url

from qflows.sandbox import Admin

from .conftest import Station, Victim

pytestmark = [
    pytest.mark.slow(reason="some 500 processes die, one after the other or eight at once"),
    pytest.mark.parametrize("module_database", ["sqlite", "postgresql"], indirect=True),
]

KINDS = ("prepared", "claimed", "queued", "in-doubt", "absent", "completed")
N_RUNS, KILLS_A_RUN = 10, 20
NO_PERSON = 1000  # answers are lost so often here that somebody would have to be asked all the time
Check = Callable[[dict[str, Any] | None, list[tuple[int, int]]], None]


def random_kill(dice: random.Random) -> dict[str, Any]:
    """A death at a fact, at either side of a commit, or at any instant of the first 80 ms."""
    how = dice.randrange(3)
    if how == 0:
        return {"event": dice.choice(KINDS), "n": dice.randint(1, 2)}
    if how == 1:
        return {"commit": dice.randint(1, 4), "when": dice.choice(["before", "after"])}
    return {"after_s": dice.uniform(0.0, 0.08)}


def random_faults(admin: Admin, dice: random.Random, n: int) -> None:
    """Scatter `n` faults over the next submissions."""
    for _ in range(n):
        skip = dice.randint(0, 12)
        kind = dice.choice(["drop_before", "drop_after", "truncate", "before", "after"])
        if kind in ("before", "after"):
            status = dice.choice([500, 502, 504] if kind == "after" else [429, 500, 503])
            admin.fault("status", "ionq.submit", skip=skip, status=status, accepted=kind == "after")
        else:
            admin.fault(kind, "ionq.submit", skip=skip)


def test_two_hundred_random_kills_over_a_hundred_jobs_buy_a_hundred_jobs(
    module_database: str, stations: Sequence[Station], check_outcome: Check, tables: dict[str, list[str]]
) -> None:
    for station in stations:
        station.sandbox.admin.reset()

    def work(place: int) -> tuple[int, int]:
        runs = range(place, N_RUNS, len(stations))
        done = [storm(stations[place], module_database, check_outcome, seed) for seed in runs]
        return sum(kills for kills, _ in done), sum(starts for _, starts in done)

    with ThreadPoolExecutor(len(stations)) as pool:
        done = list(pool.map(work, range(len(stations))))
    at_vendor = sum(station.sandbox.admin.count_jobs("ionq") for station in stations)
    kills, starts = (sum(numbers) for numbers in zip(*done, strict=True))
    tables[f"kill storm, {make_url(module_database).get_backend_name()}"] = [
        f"{kills} kills, {starts} processes, {N_RUNS * 10} logical jobs, {at_vendor} at the vendor"
    ]
    assert (kills, at_vendor) == (N_RUNS * KILLS_A_RUN, N_RUNS * 10)


def storm(station: Station, url: str, check_outcome: Check, seed: int) -> tuple[int, int]:
    """One run of ten jobs through twenty deaths and to its end. Returns kills and processes."""
    dice, admin = random.Random(seed), station.sandbox.admin
    admin.clear_faults()
    admin.fault("list_lag", "ionq.list", seconds=0.05)
    random_faults(admin, dice, 4)
    jobs = [(label, (seed * 10 + label) % 64) for label in range(10)]
    order = {"url": url, "run_key": f"storm-{uuid.uuid4().hex}", "jobs": jobs, "workers": 2, "max_sends": NO_PERSON}
    kills, starts = 0, 1
    while kills < KILLS_A_RUN:
        starts += 1
        assert starts < 200, f"only {kills} of {starts} processes died"
        kills += station.forge.run(kill=random_kill(dice), **order) is None
    admin.clear_faults()
    check_outcome(station.forge.run(**order), jobs)
    return kills, starts


def test_eight_processes_racing_on_fifty_keys_with_kills_buy_fifty_jobs(
    module_database: str, station: Station, check_outcome: Check, tables: dict[str, list[str]]
) -> None:
    dice = random.Random(8)
    admin = station.sandbox.admin
    admin.fault("list_lag", "ionq.list", seconds=0.05)
    random_faults(admin, dice, 10)
    jobs = [(label, label) for label in range(50)]
    run_key = f"race-{uuid.uuid4().hex}"

    def start(kill: dict[str, Any] | None) -> Victim:
        # every process has its own order of the same work, as racing tasks would
        shuffled = dice.sample(jobs, len(jobs))
        return station.forge.start(
            url=module_database, run_key=run_key, jobs=shuffled, workers=2, max_sends=NO_PERSON, kill=kill
        )

    racers = [start(random_kill(dice)) for _ in range(8)]
    kills, errors = 0, list[str]()
    while racers:
        watched = [racer.pidfd for racer in racers if racer.pidfd is not None]
        # one that was dead before it could be watched is over already
        select.select(watched, [], [], 60 if len(watched) == len(racers) else 0)
        ended = [racer for racer in racers if racer.ended(0)]
        racers = [racer for racer in racers if racer not in ended]
        for racer in ended:
            outcome = racer.outcome()
            errors += [outcome["error"]] if outcome and "error" in outcome else []
            if outcome is None:
                kills += 1
                racers.append(start(random_kill(dice) if kills < 60 else None))
    assert not errors
    admin.clear_faults()
    check_outcome(station.forge.run(url=module_database, run_key=run_key, jobs=jobs, max_sends=NO_PERSON), jobs)
    tables[f"race, {make_url(module_database).get_backend_name()}"] = [
        f"8 processes, {kills} kills, 50 keys, {admin.count_jobs('ionq')} jobs at the vendor"
    ]
    assert admin.count_jobs("ionq") == 50
