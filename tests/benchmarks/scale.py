"""What people look at, and what the reconciler does, on a ledger of a million old jobs against one without them."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from table import least, ratio, row

_AT_ONCE = 20_000
_OLD = timedelta(days=40)
NIGHT, LIVE = 200, 50


def fill(ledger: Any, rows: int, age: timedelta = _OLD) -> None:
    """Copies of the ledger's first job with its sample and its result, completed, from long ago."""
    from qflows.ledger.tables import jobs, results, samples

    with ledger.read() as connection:
        model = dict(connection.execute(sa.select(jobs).limit(1)).one()._mapping)
    moments = {name: value - age for name, value in model.items() if isinstance(value, datetime)}
    for start in range(0, rows, _AT_ONCE):
        names = [hashlib.sha256(f"r{i}".encode()).hexdigest() for i in range(start, min(start + _AT_ONCE, rows))]
        old = [
            model
            | moments
            | {
                "key": name,
                "sample": name,
                "status": "COMPLETED",
                "vendor_id": f"old-{name[:32]}",
                "run_key": f"old-{start + i // 1000}",
            }
            for i, name in enumerate(names)
        ]
        with ledger.write() as connection:
            connection.execute(sa.insert(jobs), old)
            connection.execute(
                sa.insert(samples), [{"scope": name, "holder": "flow:0", "ordinal": 0} for name in names]
            )
            body = {"counts": {"00": 50, "01": 50}}
            connection.execute(sa.insert(results), [{"job_key": name, "idx": 0, "body": body} for name in names])


@contextmanager
def _night() -> Iterator[Any]:
    """A client with last night's jobs done and a few more in the vendor's queue."""
    from qiskit import QuantumCircuit

    from qflows.core.client import Client
    from qflows.core.scope import Scope
    from qflows.sandbox import Sandbox
    from qflows.settings import Settings

    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.measure([0, 1], [0, 1])
    with Sandbox(vendors=("ionq",)) as sandbox, tempfile.TemporaryDirectory() as folder:
        os.environ.update(sandbox.env)
        core = Client(Settings(home=Path(folder), poll_min_s=0.01))
        (spec,) = core.specs(circuit, device="ionq-simulator", shots=100)

        def buy(run: str, n: int) -> list[str]:
            return [job.key for job in core.submit([spec] * n, device="ionq-simulator", scope=Scope(run, "a", "f"))]

        core.wait(buy("night", NIGHT))
        sandbox.admin.clock("frozen")
        buy("queued", LIVE)
        yield core
        core.ledger.close()


def ledger_of(rows: int) -> None:
    """Lists, report, wall page and a tick of the reconciler: both ledgers have the same night and the same queue."""
    from qflows.ledger.tables import lanes
    from qflows.pages import wall
    from qflows.pages.morning import compose, gather, to_html

    with _night() as core:
        until = datetime.now(UTC)
        reconciler = core.reconciler()

        def tick() -> None:
            # due, however short ago it was
            with core.ledger.write() as connection:
                connection.execute(sa.update(lanes).values(next_at=0.0))
            assert reconciler.tick().live == LIVE

        looks: dict[str, Callable[[], object]] = {
            "jobs ls": lambda: core.jobs(limit=50),
            "jobs ls --status QUEUED": lambda: core.jobs(status=["QUEUED"], limit=50),
            "jobs ls --run": lambda: core.jobs(run=["night"], limit=50),
            "runs ls": lambda: core.runs(limit=50),
            "report of a night": lambda: to_html(compose(gather(core.ledger, until - timedelta(days=1), until))),
            "wall page": lambda: wall.compose(core.ledger),
            f"reconciler's tick, {LIVE} jobs queued": tick,
        }
        empty = {name: least(look) for name, look in looks.items()}
        fill(core.ledger, rows)
        for name, look in looks.items():
            ratio(f"{name}: {rows:,} old jobs / none", least(look) * 1e3, empty[name] * 1e3, 1.3, "ms")
        database = Path(core.settings.home, "ledger.db")
        wal = database.with_name("ledger.db-wal").stat().st_size / 2**20
        row(
            f"{rows:,} jobs: ledger, write-ahead log",
            f"{database.stat().st_size / 2**20:.0f} MB, {wal:.0f} MB",
            "log ≤ 128 MB",
            wal <= 128,
        )
