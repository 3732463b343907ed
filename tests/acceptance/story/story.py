"""Story A: nightly experiments on three emulated vendors while everything but the vendors is killed at random.

`python tests/acceptance/story/story.py --sqlite --postgres --kills 20 --seed 1`. The stack is `qflows up` (Prefect
server, worker, reconciler); on PostgreSQL, which then holds Prefect's tables and the ledger, a second worker serves the
same pool. After each kill the same command starts again what is gone. Nights are created through the API as scheduled
runs, one after the other, until all kills are spent; then every intent must have one job at the vendor and one stored
result, and every night must be Completed with its report. The exit code says whether.

`--newer PYTHON`: after half of the kills everything is killed and goes on in that environment, with its Prefect, on the
same databases: an upgrade with runs that wait and jobs that are queued.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import postgres
import sqlalchemy as sa
from stack import CHILDREN, Stack

from qflows.sandbox import Sandbox

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
DEVICES = ("sandbox-ionq-simulator", "sandbox-ibm-manila", "sandbox-braket-sv1")
VENDORS = ("ionq", "ibm", "braket")
ROUNDS = 2
PROGRAMS = 3
JOBS_A_NIGHT = len(DEVICES) * PROGRAMS * ROUNDS
BUDGET = 50  # crash retries: the story kills one run more often than a year does
# what is killed at once, and how often relative to the others
WAYS: dict[tuple[str, ...], int] = {
    ("server",): 2,
    ("worker",): 3,
    ("worker 2",): 2,
    ("reconciler",): 3,
    ("flow",): 6,
    ("worker", "flow"): 2,
    ("server", "flow"): 1,
    ("up",): 2,
    ("up", *CHILDREN): 1,
    ("up", *CHILDREN, "worker 2", "flow"): 3,
}


@dataclass
class Story:
    """One home, one seed."""

    stack: Stack
    sandbox: Sandbox
    ledger_url: str
    kills: int
    seed: int
    pause_s: float = 25.0
    parts: frozenset[str] = frozenset(part for way in WAYS for part in way)
    patience_s: float = 1200.0
    newer: str = ""
    began: float = field(default_factory=time.monotonic)
    nights: list[UUID] = field(default_factory=list)
    deployment: UUID | None = None
    _kills_left: bool = True

    def play(self) -> bool:
        """Starts, kills, waits, counts. True when nothing was lost or bought twice."""
        chance = random.Random(self.seed)
        self.stack.start()
        self.stack.await_answer()
        self._deploy()
        self._say(f"{'#':>3} {'moment s':>9} {'killed':<42} {'jobs':>5}  nights")
        for number in range(1, self.kills + 1):
            if self.newer and number == self.kills // 2 + 1:
                self._upgrade()
            # kills must meet starts, purchases and waits alike, on a slow machine as well
            if chance.random() < 0.7:
                self._live_until_it_answers()
                self._live_on(chance.uniform(0, self.pause_s))
            else:
                self._live_on(chance.uniform(1, 10))
            hit = self._kill(chance)
            moment = time.monotonic() - self.began
            self._say(f"{number:>3} {moment:>9.1f} {hit:<42} {self._bought():>5}  {self._states()}")
        self._say("no more kills; waiting for the nights to end")
        self._kills_left = False
        ended = time.monotonic() + self.patience_s
        while not self._all_ended() and time.monotonic() < ended:
            self._live_on(2.0)
        return self._count()

    def _say(self, line: str) -> None:
        print(line, flush=True)

    # -- what a user does

    def _deploy(self) -> None:
        documents = [f"{kind}/{name}.yaml" for kind, names in _DOCUMENTS.items() for name in names]
        env = self.stack._clean | dict(self.stack.env) | self.stack.exports
        done = subprocess.run(
            [sys.executable, "-m", "qflows.cli", "apply", *(str(ROOT / "blocks/sandbox" / one) for one in documents)],
            env=env,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"qflows apply: {done.stdout}{done.stderr}")
        with self._client() as api:
            flow = api.post("/flows/", json={"name": "nightly"}).raise_for_status().json()["id"]
            what = {
                "flow_id": flow,
                "name": "story",
                "work_pool_name": "qflows",
                "path": str(HERE),
                "entrypoint": "nightly.py:nightly",
                "tags": ["qflows"],
                "parameters": {"devices": list(DEVICES), "rounds": ROUNDS},
                "concurrency_limit": 1,
                "concurrency_options": {"collision_strategy": "ENQUEUE"},
                "enforce_parameter_schema": False,
            }
            self.deployment = UUID(api.post("/deployments/", json=what).raise_for_status().json()["id"])

    def _new_night(self) -> bool:
        slot = datetime.now(UTC) + timedelta(seconds=2)
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": slot.isoformat()}}
        key = f"night {len(self.nights) + 1}"  # asked again after a lost answer, it is the same night
        try:
            with self._client() as api:
                answer = api.post(
                    f"/deployments/{self.deployment}/create_flow_run", json={"state": state, "idempotency_key": key}
                )
                self.nights.append(UUID(answer.raise_for_status().json()["id"]))
        except httpx.HTTPError:
            return False
        return True

    # -- what happens

    def _live_on(self, seconds: float) -> None:
        """Lets time pass, starts again what is gone, and begins another night when all have ended."""
        until_ = time.monotonic() + seconds
        while time.monotonic() < until_:
            self.stack.tend()
            if not self.nights or (self._kills_left and self._all_ended()):
                self._new_night()
            time.sleep(0.2)

    def _live_until_it_answers(self) -> None:
        deadline = time.monotonic() + 120
        while self._runs() is None and time.monotonic() < deadline:
            self._live_on(0.5)

    def _upgrade(self) -> None:
        """Everything stops while jobs are queued, and starts again in the newer environment."""
        deadline = time.monotonic() + 120
        while not self._open() and time.monotonic() < deadline:
            self._live_on(0.5)
        left = self._open()
        self.stack.kill(("up", *CHILDREN, "worker 2", "flow"))
        before, self.stack.python = self.stack.python, self.newer
        self._say(f"Prefect {_prefect(before)} -> {_prefect(self.newer)}, with {left} jobs at the vendors")

    def _open(self) -> int:
        engine = sa.create_engine(self.ledger_url)
        with engine.connect() as connection:
            query = "select count(*) from jobs where status not in ('COMPLETED', 'FAILED', 'CANCELLED')"
            left: int = connection.execute(sa.text(query)).scalar_one()
        engine.dispose()
        return left

    def _kill(self, chance: random.Random) -> str:
        """Kills something that is there; waits for something to be there if nothing is."""
        while True:
            there = set(self.stack.pids())
            ways = [way for way in WAYS if there.intersection(way) and self.parts.issuperset(way)]
            if ways:
                way = chance.choices(ways, [WAYS[one] for one in ways])[0]
                return ", ".join(self.stack.kill(way)) or "gone by itself"
            self._live_on(0.5)

    # -- what is true

    @contextmanager
    def _client(self) -> Iterator[httpx.Client]:
        with self.stack.api(timeout_s=10) as api:
            yield api

    def _runs(self) -> list[dict[str, Any]] | None:
        """The nights as the server has them; None while it does not answer."""
        try:
            with self._client() as api:
                return [api.get(f"/flow_runs/{night}").raise_for_status().json() for night in self.nights]
        except httpx.HTTPError:
            return None

    def _all_ended(self) -> bool:
        runs = self._runs()
        # a crashed run is not at its end: the reconciler retries it
        return runs is not None and all(run["state_type"] in ("COMPLETED", "FAILED", "CANCELLED") for run in runs)

    def _states(self) -> str:
        runs = self._runs()
        if runs is None:
            return "(server is down)"
        return ", ".join(f"{n} {name}" for name, n in Counter(run["state_name"] for run in runs).items())

    def _bought(self) -> int:
        return self.sandbox.admin.count_jobs()

    def _count(self) -> bool:
        wanted = JOBS_A_NIGHT * len(self.nights)
        with self._client() as api:
            reports = api.post("/artifacts/filter", json={"limit": 200}).raise_for_status().json()
        reported = {one["flow_run_id"] for one in reports if one["key"] == "nightly-report"}
        runs = self._runs() or []
        complete = sum(run["state_type"] == "COMPLETED" and run["id"] in reported for run in runs)
        at_vendor = Counter(job["key"] for vendor in VENDORS for job in self.sandbox.admin.jobs(vendor))
        engine = sa.create_engine(self.ledger_url)
        with engine.connect() as connection:
            intents = connection.execute(sa.text("select count(*) from jobs")).scalar_one()
            done = connection.execute(
                sa.text("select count(*) from jobs j join results r on r.job_key = j.key where j.status = 'COMPLETED'")
            ).scalar_one()
            retries = connection.execute(sa.text("select count(*) from crash_retries")).scalar_one()
        engine.dispose()
        bought = self._bought()
        self._say(f"nights      {len(self.nights)}, Completed with a report {complete}; crash retries {retries}")
        self._say(f"seconds     {time.monotonic() - self.began:.0f}")
        self._say(f"jobs wanted {wanted}, intents in the ledger {intents}")
        self._say(f"jobs bought {bought}, under {len(at_vendor)} keys")
        self._say(f"results     {done}")
        for run in runs:
            if run["state_type"] != "COMPLETED":
                self._say(f"  {run['id']} {run['state_name']}: {(run['state'] or {}).get('message')}")
        return wanted == intents == bought == len(at_vendor) == done and complete == len(self.nights)


def _prefect(python: str) -> str:
    """The version of Prefect in an environment."""
    ask = "import importlib.metadata as m; print(m.version('prefect'))"
    return subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip()


_DOCUMENTS = {"credentials": ("ionq", "ibm", "braket"), "devices": DEVICES}


@contextmanager
def databases(kind: str, home: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The ledger's URL, and the environment that leads Prefect and qflows to their databases."""
    if kind == "sqlite":
        yield f"sqlite:///{home / 'ledger.db'}", {}
        return
    with postgres.server() as base:
        engine = sa.create_engine(base, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for name in ("prefect", "qflows"):
                connection.exec_driver_sql(f"create database {name}")
        engine.dispose()
        ledger = base.set(database="qflows").render_as_string(hide_password=False)
        prefect = base.set(drivername="postgresql+asyncpg", database="prefect").render_as_string(hide_password=False)
        yield ledger, {"QFLOWS_LEDGER_URL": ledger, "PREFECT_API_DATABASE_CONNECTION_URL": prefect}


def tell(kind: str, seed: int, chosen: argparse.Namespace) -> bool:
    """One story on one kind of database, in a temporary home."""
    home = Path(tempfile.mkdtemp(prefix="qf-story-"))
    workers = 2 if kind == "postgres" else 1
    print(
        f"\n{kind}, {workers} worker(s), {chosen.kills} kills, seed {seed}, clock {chosen.clock}, home {home}",
        flush=True,
    )
    is_good = False
    with Sandbox(VENDORS, clock=chosen.clock) as sandbox, databases(kind, home) as (ledger_url, env):
        # emulators list what they accepted at once, so doubts need no minutes to settle
        env |= sandbox.env | {"QFLOWS_HOME": str(home), "QFLOWS_SETTLE_S": "2"}
        stack = Stack(home, env, ("--crash-retries", str(BUDGET)), second_worker=workers == 2)
        story = Story(stack, sandbox, ledger_url, chosen.kills, seed, chosen.pause, newer=chosen.newer)
        if chosen.parts:
            story.parts = frozenset(chosen.parts.split(","))
        try:
            is_good = story.play()
        finally:
            stack.stop()
    print(f"{kind}: {'every intent has one job and one result' if is_good else 'NOT AS IT SHOULD BE'}", flush=True)
    if is_good and not chosen.keep:
        shutil.rmtree(home, ignore_errors=True)
    else:
        print(f"logs are in {home}", flush=True)
    return is_good


def main() -> int:
    """Both databases unless one is chosen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sqlite", action="store_true")
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--clock", default="time:8,1", help="the vendors' queue and run seconds")
    parser.add_argument("--keep", action="store_true", help="keep the home of a good story too")
    parser.add_argument("--pause", type=float, default=25.0, help="longest quiet between two kills, seconds")
    parser.add_argument("--parts", default="", help="kill only these, e.g. flow,server,reconciler; default: anything")
    parser.add_argument("--newer", default="", help="a Python with a newer Prefect, for the second half of the kills")
    chosen = parser.parse_args()
    chosen.newer = os.path.abspath(chosen.newer) if chosen.newer else ""
    seed = chosen.seed if chosen.seed is not None else int.from_bytes(os.urandom(3), "big")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the stack is stopped then, too
    kinds = [kind for kind in ("sqlite", "postgres") if getattr(chosen, kind)] or ["sqlite", "postgres"]
    told = [tell(kind, seed, chosen) for kind in kinds]
    return 0 if all(told) else 1


if __name__ == "__main__":
    sys.exit(main())
