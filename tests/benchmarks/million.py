"""What a million jobs a day over 200 accounts ask of qflows: figures of single jobs, measured here, and arithmetic.

`python tests/benchmarks/million.py [--jobs 1000000 --accounts 200 --minutes 20]`. Jobs are bought on IonQ's emulator,
several accounts beside each other, on a PostgreSQL ledger of its own: rows, bytes, transactions, log and CPU a job.
Requests of lanes follow from the pace of the code over a simulated day: jobs arrive at random and take about the given
time, spread lognormally.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import resource
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from postgres import database

DAY_S = 86_400.0
TABLES = ("jobs", "results", "raw_answers", "events", "samples", "programs")
SPREAD = 0.8  # sigma of the logarithm of durations
BUSY = 0.5  # how much of a core a reconciler should use, so that a slow minute is caught up with


@dataclass(frozen=True)
class Figures:
    """Of one job, on average."""

    rows: dict[str, float]
    bytes: float
    log_bytes: float
    commits: float
    requests: float
    buy_cpu_s: float
    store_cpu_s: float
    poll_cpu_s: float  # of one request of a lane, with a full page


def cpu_s() -> float:
    """Of this process, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(accounts: int, each: int) -> Figures:
    """Buy, watch and store jobs of several accounts, one after the other, and look at what it took."""
    from qiskit import QuantumCircuit

    from qflows.core.client import Client
    from qflows.core.scope import Scope
    from qflows.ledger.tables import lanes
    from qflows.sandbox import Sandbox
    from qflows.settings import Settings

    folder = Path(tempfile.mkdtemp(prefix="qf-million-"))
    n = accounts * each
    with Sandbox(vendors=("ionq",)) as sandbox, database(folder) as url:
        os.environ.update(sandbox.env)

        def client() -> Any:
            return Client(Settings(home=folder, ledger_url=url, poll_min_s=0.01))

        def circuit(k: int) -> Any:
            made = QuantumCircuit(2, 2)
            made.ry(0.001 * k, 0)
            made.measure([0, 1], [0, 1])
            return made

        warm = client()
        [job] = warm.submit(_specs(warm, circuit(9_999)), device="ionq-simulator", scope=Scope("warm", "1", "f"))
        warm.wait([job.key])
        engine = warm.ledger.engine
        before, sandbox_before = _state(engine), sum(sandbox.admin.counts()["requests"].values())
        sandbox.admin.clock("frozen")
        buy = watch = store = 0.0
        looks = 0
        for account in range(accounts):
            os.environ["IONQ_API_KEY"] = f"account-{account}"
            core = client()
            specs = [_specs(core, circuit(account * each + k))[0] for k in range(each)]
            began = cpu_s()
            keys = []
            for spec in specs:  # one call a job, as single jobs are bought
                bought = core.submit([spec], device="ionq-simulator", scope=Scope(f"run-{account}", "1", "f"))
                keys.append(bought[0].key)
            buy += cpu_s() - began
            tick = core.reconciler()
            began, asked = cpu_s(), sandbox.admin.requests("ionq.list")
            for _ in range(5):
                with core.ledger.write() as connection:
                    connection.execute(sa.update(lanes).values(next_at=0.0))
                tick.tick()
            watch += cpu_s() - began
            looks += sandbox.admin.requests("ionq.list") - asked
            sandbox.admin.release()
            began = cpu_s()
            core.wait(keys, timeout=120)
            store += cpu_s() - began
            core.ledger.close()
        after = _state(engine)
        # those of the five ticks are not part of a job
        requests = sum(sandbox.admin.counts()["requests"].values()) - sandbox_before - looks
        warm.ledger.close()
    rows = {name: (after[name] - before[name]) / n for name in TABLES}
    took = [(after[name] - before[name]) / n for name in ("bytes", "log", "commits")]
    return Figures(rows, *took, requests / n, buy / n, store / n, watch / max(looks, 1))


def _specs(core: Any, circuit: Any) -> Any:
    return core.specs(circuit, device="ionq-simulator", shots=100)


def _state(engine: sa.Engine) -> dict[str, float]:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:

        def one(query: str) -> float:
            return float(connection.exec_driver_sql(query).scalar_one())

        connection.exec_driver_sql("select pg_stat_force_next_flush()")
        found = {name: one(f"select count(*) from {name}") for name in TABLES}
        found["bytes"] = one("select pg_database_size(current_database())")
        found["log"] = one("select pg_current_wal_lsn() - '0/0'::pg_lsn")
        found["commits"] = one("select xact_commit from pg_stat_database where datname = current_database()")
        return found


def lane_day(jobs: int, minutes: float, pace: Any, page: int, seed: int = 1) -> tuple[int, int, float]:
    """Requests of one account's lane in a day, the most in a second, and how many jobs wait on average."""
    from qflows.core.pacing import next_look

    chance = random.Random(seed)
    middle = math.log(minutes * 60) - SPREAD**2 / 2
    due: Counter[float] = Counter()
    waiting = 0.0
    for _ in range(jobs):
        at = chance.uniform(0, DAY_S)
        end = at + chance.lognormvariate(middle, SPREAD)
        waiting += end - at
        look = at
        while look < end:
            look = next_look(pace, at, look)
            due[look] += 1
    asked: Counter[int] = Counter()
    for at, n in due.items():
        asked[int(at)] += math.ceil(n / page)
    return sum(asked.values()), max(asked.values(), default=0), waiting / DAY_S


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1_000_000, help="a day")
    parser.add_argument("--accounts", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=20.0, help="mean time at the vendor")
    parser.add_argument("--measured", type=int, default=400, help="jobs that are bought to measure")
    chosen = parser.parse_args()
    from qflows.providers.ionq.adapter import IonQProvider

    each = measure(4, chosen.measured // 4)
    capabilities = IonQProvider.capabilities
    pace, page = capabilities.pace, capabilities.poll_page
    mean = chosen.jobs // chosen.accounts
    asked, most, waiting = lane_day(mean, chosen.minutes, pace, page)
    allowed = pace.rate * DAY_S + 3 * mean  # the token bucket: its rate, and three for each job
    polls = min(asked, allowed) * chosen.accounts
    a_second = chosen.jobs / DAY_S
    poll_cores = polls * each.poll_cpu_s / DAY_S
    store_cores = a_second * each.store_cpu_s
    lines = [
        ("measured, a job", ""),
        ("rows", ", ".join(f"{n:.2g} {name}" for name, n in each.rows.items() if n >= 0.01)),
        ("ledger, kB; log, kB", f"{each.bytes / 1e3:.1f}; {each.log_bytes / 1e3:.1f}"),
        ("transactions", f"{each.commits:.1f}"),
        ("requests to the vendor, without polls of a queue", f"{each.requests:.2f}"),
        ("CPU to buy; to fetch and store; a poll of a page", f"{each.buy_cpu_s * 1e3:.1f}; "
         f"{each.store_cpu_s * 1e3:.1f}; {each.poll_cpu_s * 1e3:.1f} ms"),
        (f"a day of {chosen.jobs:,} jobs, {chosen.accounts} accounts, {chosen.minutes:g} minutes at the vendor", ""),
        ("rows a day", f"{chosen.jobs * sum(each.rows.values()):,.0f}"),
        ("ledger, GB a day; log, GB a day", f"{chosen.jobs * each.bytes / 1e9:.1f}; "
         f"{chosen.jobs * each.log_bytes / 1e9:.1f}"),
        ("jobs that wait at any moment", f"{waiting * chosen.accounts:,.0f}"),
        ("lanes", f"{chosen.accounts}"),
        ("polls of one lane a day; in its busiest second", f"{asked:,}; {most}"),
        ("polls that the pace allows one lane a day", f"{allowed:,.0f}"),
        ("polls of all lanes a second", f"{polls / DAY_S:,.0f}"),
        ("other requests a second", f"{a_second * each.requests:,.0f}"),
        ("PostgreSQL transactions a second", f"{a_second * each.commits + 2 * polls / DAY_S:,.0f}"),
        ("cores of the processes that buy", f"{a_second * each.buy_cpu_s:.1f}"),
        ("cores of reconcilers: polls; results", f"{poll_cores:.1f}; {store_cores:.1f}"),
        (f"reconcilers, each at {BUSY:.0%} of a core", f"{math.ceil((poll_cores + store_cores) / BUSY)}"),
    ]  # fmt: skip
    for what, value in lines:
        print(f"{what:<72} {value}" if value else f"\n{what}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
