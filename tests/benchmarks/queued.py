"""Thousands of jobs in a vendor's queue for hours: what waits meanwhile, what it costs, and how soon results come.

`python tests/benchmarks/queued.py --jobs 2000 --runs 10`. Flow runs of a deployment buy from the emulated IonQ whose
queue takes four hours of the emulator's clock; they leave their processes. Then processes, memory, CPU and requests
are read off; the clock is moved; and each run is timed until it has its results.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).parents[1] / "acceptance" / "story"))

from stack import Stack, until  # noqa: E402

from qflows.sandbox import Sandbox  # noqa: E402

QUEUE_S = 4 * 3600.0
LOOK_S = 30.0
BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'
_TICKS = os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int) -> float:
    """Resident memory, from /proc/<pid>/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def cpu_s(pid: int) -> float:
    """User and system seconds so far, from /proc/<pid>/stat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def row(what: str, value: str) -> None:
    """One line of the table, as it comes."""
    print(f"{what:<66} {value}", flush=True)


class Field:
    """The stack, its API and the runs under test."""

    def __init__(self, stack: Stack, sandbox: Sandbox) -> None:
        self.stack, self.sandbox = stack, sandbox
        self.runs: list[str] = []

    @contextmanager
    def api(self) -> Iterator[httpx.Client]:
        with self.stack.api(timeout_s=60) as api:
            yield api

    def buy(self, jobs: int, runs: int) -> None:
        """Runs of one deployment that share the jobs, each suspended in the end."""
        with self.api() as api:
            flow = api.post("/flows/", json={"name": "run-circuits"}).raise_for_status().json()["id"]
            what = {
                "flow_id": flow,
                "name": "queued",
                "work_pool_name": "qflows",
                "entrypoint": "qflows.flows.circuits.run_circuits",
                "tags": ["qflows"],
                "parameters": {
                    "circuits": [BELL] * (jobs // runs), "device": "ionq-simulator", "shots": 100, "detach_after": 0,
                },
                "enforce_parameter_schema": False,
            }  # fmt: skip
            deployment = api.post("/deployments/", json=what).raise_for_status().json()["id"]
            for number in range(runs):
                until(lambda number=number: self._start(api, deployment, number), timeout_s=300, what="a run")
        until(lambda: set(self.states()) == {"Suspended"}, timeout_s=1800, what="all runs suspended")
        until(lambda: not self.stack.flow_processes(), timeout_s=120, what="no flow process")

    def _start(self, api: httpx.Client, deployment: str, number: int) -> bool:
        """A busy server on SQLite answers 503; asked again with the key, it is the same run."""
        what = {"state": {"type": "SCHEDULED"}, "idempotency_key": f"queued {number}"}
        answer = api.post(f"/deployments/{deployment}/create_flow_run", json=what)
        if answer.status_code == 503:
            return False
        self.runs.append(answer.raise_for_status().json()["id"])
        return True

    def records(self) -> list[dict[str, Any]]:
        with self.api() as api:
            return [api.get(f"/flow_runs/{run}").raise_for_status().json() for run in self.runs]

    def states(self) -> list[str]:
        return [run["state_name"] for run in self.records()]

    def entered(self, state: str) -> list[float]:
        """When each run entered a state for the last time, unix seconds."""
        found = []
        with self.api() as api:
            for run in self.runs:
                states = api.get("/flow_run_states/", params={"flow_run_id": run}).raise_for_status().json()
                found.append(max(_unix(one["timestamp"]) for one in states if one["name"] == state))
        return found


def _unix(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def while_they_wait(field: Field, jobs: int) -> None:
    """Reads off what waiting costs, over half a minute."""
    pids = {name: found[0] for name, found in field.stack.pids().items()}
    before = {name: cpu_s(pid) for name, pid in pids.items()}
    lists = field.sandbox.admin.requests("ionq.list")
    total = sum(field.sandbox.admin.counts()["requests"].values())
    began = time.monotonic()
    time.sleep(LOOK_S)
    took = time.monotonic() - began
    lists = field.sandbox.admin.requests("ionq.list") - lists
    total = sum(field.sandbox.admin.counts()["requests"].values()) - total
    row("processes that execute flows", str(len(field.stack.flow_processes())))
    for name, pid in pids.items():
        row(f"  {name}: memory, CPU over {took:.0f} s", f"{rss_mb(pid):.0f} MB, {cpu_s(pid) - before[name]:.2f} s")
    page = -(-jobs // 25)
    row(
        f"requests to the vendor in {took:.0f} s",
        f"{total}, of them {lists} list pages = {lists / page:.1f} polls × {page}",
    )


def when_they_are_done(field: Field, ledger: Path, jobs: int) -> None:
    """Moves the clock and times each step until every run has its results."""
    engine = sa.create_engine(f"sqlite:///{ledger}")
    began = time.time()
    field.sandbox.admin.advance(QUEUE_S)

    def complete() -> bool:
        with engine.connect() as connection:
            query = sa.text("select count(*) from jobs where status = 'COMPLETED'")
            return connection.execute(query).scalar_one() == jobs

    until(complete, timeout_s=1800, what="all results in the ledger")
    stored = time.time()
    until(lambda: set(field.states()) == {"Completed"}, timeout_s=1800, what="all runs completed")
    resumed = [at - began for at in field.entered("Resuming")]
    completed = [at - began for at in field.entered("Completed")]
    row("done at the vendor → all results in the ledger", f"{stored - began:.1f} s")
    row("done at the vendor → run resumed", _spread(resumed))
    row("done at the vendor → run completed with its results", _spread(completed))
    row("jobs bought", str(field.sandbox.admin.count_jobs("ionq")))
    engine.dispose()


def _spread(values: Sequence[float]) -> str:
    return f"first {min(values):.1f} s, median {statistics.median(values):.1f} s, last {max(values):.1f} s"


def main() -> None:
    """One stack in a temporary home."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=10)
    chosen = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="qf-queued-"))
    with Sandbox(("ionq",), clock=f"time:{QUEUE_S:g},1") as sandbox:
        stack = Stack(home, sandbox.env | {"QFLOWS_HOME": str(home)})
        try:
            stack.start()
            stack.await_answer()
            field = Field(stack, sandbox)
            began = time.monotonic()
            field.buy(chosen.jobs, chosen.runs)
            row(
                f"{chosen.jobs:,} jobs of {chosen.runs} runs bought, all suspended", f"{time.monotonic() - began:.0f} s"
            )
            while_they_wait(field, chosen.jobs)
            when_they_are_done(field, home / "ledger.db", chosen.jobs)
        finally:
            stack.stop()
    shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
