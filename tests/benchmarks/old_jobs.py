"""`qflows ledger archive` on a ledger of five million jobs: seconds, rows and sizes before and after.

`python tests/benchmarks/old_jobs.py --jobs 5000000 --database sqlite`. Rows are copies of a bought job, made by the
database itself; each has a result and two events. One in a hundred is younger than ninety days, and one old group is
open. Afterwards archived jobs are read back, their run is started again, and files are verified. `--kill` ends the
first pass by SIGKILL half-way and starts it again.
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
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import postgres
import sqlalchemy as sa

DAYS = 365
YOUNG = 100  # one job in so many is younger than the limit
PART = 250_000  # rows that one statement makes
OPEN = 1_000  # jobs of the group that is open

_NUMBERS = {
    "sqlite": "with recursive n(i) as (select {a} union all select i + 1 from n where i + 1 < {b}) ",
    "postgresql": "with n(i) as (select generate_series({a}::bigint, {b} - 1)) ",
}
_HEX = {
    "sqlite": "printf('%08x%056x', (i * 2654435761) % 4294967296, i)",
    "postgresql": "lpad(to_hex((i * 2654435761) % 4294967296), 8, '0') || lpad(to_hex(i), 56, '0')",
}  # the factor spreads the keys over the index, as digests are
_TIME = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', julianday('{at}') + ({s}) / 86400.0) || '000'",
    "postgresql": "timestamp '{at}' + ({s}) * interval '1 second'",
}


def fill(engine: sa.Engine, model: dict[str, Any], n: int, begin: datetime) -> None:
    """Copies of a job, its result and two events; ends are spread evenly from `begin` to ninety days ago."""
    kind = engine.dialect.name
    hexed, span = _HEX[kind], (DAYS - 91) * 86400 / n
    young = f"case when i % {YOUNG} = 0 then {(DAYS - 1) * 86400} else i * {span:.6f} end"
    when = _TIME[kind].format(at=begin.strftime("%Y-%m-%d %H:%M:%S"), s=young)
    quote = engine.dialect.identifier_preparer.quote
    own = {"key": hexed, "sample": hexed, "vendor_id": "'old-' || i", "run_key": "'old-' || (i / 1000)",
           "finished_at": when, "origin": "'imported'"}  # fmt: skip
    names = ", ".join(quote(name) for name in model)
    values = ", ".join(own.get(name, f"m.{quote(name)}") for name in model)
    inserts = (
        f"insert into jobs ({names}) {{numbers}} select {values} from n, jobs m where m.key = '{model['key']}'",
        f"insert into results (job_key, idx, body) {{numbers}} select {hexed}, 0, m.body from n, results m "
        f"where m.job_key = '{model['key']}' and m.idx = 0",
        "insert into events (at, subject, kind, detail) {numbers} "
        f"select {when}, {hexed}, e.kind, '{{{{}}}}' from n, (select 'running' as kind union all select 'completed') e",
    )
    for a in range(0, n, PART):
        numbers = _NUMBERS[kind].format(a=a, b=min(a + PART, n))
        with engine.begin() as connection:
            for statement in inserts:
                connection.execute(sa.text(statement.replace(":", r"\:").format(numbers=numbers.replace(":", r"\:"))))


@contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    """URL of an empty database."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'ledger.db'}"
    else:
        with postgres.database(folder) as url:
            yield url


def size_of(engine: sa.Engine) -> float:
    """MB of the whole ledger on disk."""
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            return connection.exec_driver_sql("select pg_database_size(current_database())").scalar_one() / 1e6
    name = str(engine.url.database)
    return sum(os.path.getsize(name + end) for end in ("", "-wal") if os.path.exists(name + end)) / 1e6


def rows_of(engine: sa.Engine) -> dict[str, int]:
    """Rows of the tables that matter here."""
    with engine.connect() as connection:
        return {
            name: connection.exec_driver_sql(f"select count(*) from {name}").scalar_one()
            for name in ("jobs", "results", "events", "raw_answers")
        }


def play(kind: str, n: int, kill: bool, folder: Path) -> bool:
    """One ledger from its first job to its compaction; whether all that must be true is."""
    from qiskit import QuantumCircuit

    from qflows.core.archiving.verify import verify
    from qflows.core.client import Client
    from qflows.core.scope import Scope
    from qflows.ledger import reads
    from qflows.ledger.tables import group_members, groups, jobs
    from qflows.sandbox import Sandbox
    from qflows.settings import Settings

    chance, begin = random.Random(1), datetime.now(UTC) - timedelta(days=DAYS)
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.measure([0, 1], [0, 1])
    with Sandbox(vendors=("ionq",)) as sandbox, database(kind, folder) as url:
        os.environ.update(sandbox.env)
        core = Client(Settings(home=folder, ledger_url=url, poll_min_s=0.01))

        def buy(attempt: str) -> str:
            specs = core.specs(circuit, device="ionq-simulator", shots=100)
            [job] = core.submit(specs, device="ionq-simulator", scope=Scope("first", attempt, "f"))
            core.wait([job.key], timeout=60)
            return job.key

        first, engine = buy("1"), core.ledger.engine
        with engine.begin() as connection:
            old = datetime.now(UTC) - timedelta(days=DAYS)
            connection.execute(sa.update(jobs).values(finished_at=old))
            model = dict(connection.execute(sa.select(jobs)).one()._mapping)
        began = time.monotonic()
        fill(engine, model, n, begin)
        with engine.begin() as connection:
            keys = connection.execute(sa.select(jobs.c.key).where(jobs.c.run_key == "old-0")).scalars().all()[:OPEN]
            group = dict.fromkeys(("id", "run_key", "name"), "open") | {"tags": {}, "metadata": {}, "max_ttl_s": 9e9}
            connection.execute(
                sa.insert(groups), group | {"state": "OPEN", "created_at": datetime.now(UTC), "expires_at": 9e9}
            )
            connection.execute(
                sa.insert(group_members),
                [{"group_id": "open", "job_key": k, "position": i} for i, k in enumerate(keys)],
            )
        before, size = rows_of(engine), size_of(engine)
        print(f"{kind}: {before['jobs']:,} jobs, {sum(before.values()):,} rows, {size:,.0f} MB, made in "
              f"{time.monotonic() - began:,.0f} s", flush=True)  # fmt: skip
        samples = {key: reads.items(core.ledger, key) for key in _some(engine, chance)}
        command = [sys.executable, "-m", "qflows.cli", "ledger", "archive", "--older-than", "90d"]
        env = dict(os.environ) | {"QFLOWS_HOME": str(folder), "QFLOWS_LEDGER_URL": url}
        began = time.monotonic()
        if kill:
            _until_half_way(command, env, folder, n)
            left = rows_of(engine)["results"]
            print(f"  killed when {n - left:,} had left; {time.monotonic() - began:,.0f} s", flush=True)
        said = subprocess.run(command, env=env, text=True, stdout=subprocess.PIPE, check=True).stdout
        spent = time.monotonic() - began
        print("  " + said.replace("\n", "\n  ").rstrip())
        after = rows_of(engine)
        files = sorted((folder / "archive").glob("jobs-*.zip"))
        mb = sum(path.stat().st_size for path in files) / 1e6
        left_behind = before["jobs"] // YOUNG + OPEN
        print(f"  {spent:,.0f} s, {(before['results'] - after['results']) / spent:,.0f} jobs/s; {mb:,.0f} MB in "
              f"{len(files):,} files")  # fmt: skip
        for name in before:
            print(f"  {name:<12} {before[name]:>12,} -> {after[name]:>12,}")
        began = time.monotonic()
        from qflows.ledger.engine import compact

        compact(engine)
        print(f"  {size:,.0f} MB -> {size_of(engine):,.0f} MB, compacted in {time.monotonic() - began:,.0f} s")
        began = time.monotonic()
        same = all(reads.items(core.ledger, key) == items for key, items in samples.items())
        each = (time.monotonic() - began) / len(samples)
        again, bought = buy("2"), sandbox.admin.count_jobs()
        whole = all(verify(path).is_whole for path in chance.sample(files, min(3, len(files))))
        core.ledger.close()
        good = {
            f"{len(samples)} results read back, {each * 1e3:.0f} ms each": same,
            "the archived run, started again, buys nothing": again == first and bought == 1,
            "files are intact": whole,
            "every job keeps its row": after["jobs"] == before["jobs"],
            "only young jobs and the open group stay": abs(after["results"] - left_behind) <= OPEN // YOUNG + 1,
        }
        for what, is_so in good.items():
            print(f"  {'ok ' if is_so else 'NOT'} {what}", flush=True)
        return all(good.values())


def _some(engine: sa.Engine, chance: random.Random) -> list[str]:
    """Keys from the whole range."""
    found = []
    with engine.connect() as connection:
        for _ in range(50):
            start = f"{chance.getrandbits(32):08x}"
            query = sa.text("select key from jobs where key >= :start order by key limit 1")
            key = connection.execute(query, {"start": start}).scalar()
            found += [key] if key else []
    return found


def _until_half_way(command: list[str], env: dict[str, str], folder: Path, n: int) -> None:
    half = n // 2 // 5_000
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and sum(1 for _ in (folder / "archive").glob("jobs-*.zip")) < max(half, 1):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()


def main() -> int:
    """Both databases unless one is chosen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=5_000_000)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), action="append")
    parser.add_argument("--kill", action="store_true")
    chosen = parser.parse_args()
    told = []
    for kind in chosen.database or ["sqlite"]:
        folder = Path(tempfile.mkdtemp(prefix="qf-old-"))
        try:
            told.append(play(kind, chosen.jobs, chosen.kill, folder))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return 0 if all(told) else 1


if __name__ == "__main__":
    sys.exit(main())
