"""What Prefect pays for a thousand jobs: task runs created and server CPU, against one task per job on the same server.

    python tests/benchmarks/task_runs.py --jobs 1000

Every row buys the same number of one-circuit jobs from the emulated IonQ and waits for their counts; only the number
of task runs differs. Server CPU is read from /proc for the server and its children, from the start of a flow until the
server is idle again, less what it uses when nothing happens.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "flows"))

import httpx  # noqa: E402
from prefect_server import PrefectServer, running  # noqa: E402

from qflows.sandbox import Sandbox  # noqa: E402

DEVICE, SHOTS = "ionq-simulator", 100
IDLE_S = 10.0
_TICKS = os.sysconf("SC_CLK_TCK")
BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'


def family(root: int) -> set[int]:
    """A process and all that descend from it, from /proc."""
    parents: dict[int, int] = {}
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            try:
                parents[int(place.name)] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def cpu_s(pids: set[int]) -> float:
    """User and system seconds so far, ended children included."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(int(field) for field in fields[11:15])
    return total / _TICKS


@dataclass
class Meter:
    """Reads the server: its processes, and what its API counts."""

    server: PrefectServer
    pids: set[int]
    idle_rate: float = 0.0

    def learn_idle(self) -> None:
        """Seconds of CPU a second when nothing happens."""
        time.sleep(5.0)  # start-up work
        before = cpu_s(self.pids)
        time.sleep(IDLE_S)
        self.idle_rate = (cpu_s(self.pids) - before) / IDLE_S

    def task_runs(self) -> int:
        """Task runs the server knows."""
        return self._post("/task_runs/count")

    def events(self) -> int:
        """Events the server has stored."""
        return self._post("/events/filter", filter={"occurred": {"since": "2020-01-01T00:00:00Z"}}, limit=1)["total"]

    def _post(self, path: str, **body: Any) -> Any:
        with httpx.Client(trust_env=False, timeout=60) as client:
            return client.post(self.server.url + path, json=body).raise_for_status().json()

    def wait_idle(self) -> None:
        """Until three seconds in a row cost what idleness costs."""
        quiet = 0
        deadline = time.monotonic() + 120
        while quiet < 3 and time.monotonic() < deadline:
            before = cpu_s(self.pids)
            time.sleep(1.0)
            quiet = quiet + 1 if cpu_s(self.pids) - before <= 1.5 * self.idle_rate + 0.05 else 0


def measured(meter: Meter, name: str, jobs: int, work: Callable[[], object]) -> None:
    """Runs `work`, prints one row."""
    meter.wait_idle()
    runs, events, used, mine = meter.task_runs(), meter.events(), cpu_s(meter.pids), time.process_time()
    began = time.monotonic()
    work()
    wall, mine = time.monotonic() - began, time.process_time() - mine
    meter.wait_idle()
    server = cpu_s(meter.pids) - used - meter.idle_rate * (time.monotonic() - began)
    print(
        f"{name:<34}{jobs:>6}{meter.task_runs() - runs:>11}{meter.events() - events:>9}{server:>14.1f}"
        f"{1000 * server / jobs:>13.2f}{mine:>14.1f}{wall:>9.1f}",
        flush=True,
    )


def compare(jobs: int, server: PrefectServer, pids: set[int], sandbox: Sandbox) -> None:
    """All rows, each a flow of its own on the same server."""
    from prefect import flow, task, unmapped
    from prefect.cache_policies import NO_CACHE

    import qflows
    from qflows import flows, tasks

    circuits = [BELL] * jobs

    @task(persist_result=False, cache_policy=NO_CACHE)
    def buy(circuit: str, run_key: str) -> Any:
        core = tasks.client()
        specs = core.specs(circuit, device=DEVICE, shots=SHOTS, options=None)
        return core.submit(specs, device=DEVICE, scope=tasks.scope(run_key))[0]

    @task(persist_result=False, cache_policy=NO_CACHE)
    def fetch(job: Any) -> Any:
        return tasks.client().stored([job])

    @flow
    def one_task_per_job(run_key: str) -> None:
        bought = buy.map(circuits, unmapped(run_key)).result()
        qflows.wait(bought)

    @flow
    def two_tasks_per_job(run_key: str) -> None:
        bought = buy.map(circuits, unmapped(run_key)).result()
        fetch.map(qflows.wait(bought)).result()

    meter = Meter(server, pids)
    meter.learn_idle()
    print(f"idle server: {1000 * meter.idle_rate:.0f} ms of CPU a second, taken off below")
    print(
        f"{'flow':<34}{'jobs':>6}{'task runs':>11}{'events':>9}{'server CPU s':>14}{'ms per job':>13}"
        f"{'client CPU s':>14}{'wall s':>9}"
    )
    flows.run_circuits([BELL] * 2, DEVICE, SHOTS, run_key="warm")
    rows: list[tuple[str, int, Callable[[], object]]] = [
        ("run_circuits", jobs, lambda: flows.run_circuits(circuits, DEVICE, SHOTS, run_key="a")),
        ("sweep, one circuit a job", jobs, lambda: flows.sweep(circuits, DEVICE, SHOTS, as_batch=False, run_key="b")),
        ("one task per job, one wait", jobs, lambda: one_task_per_job("c")),
        ("two tasks per job, one wait", jobs, lambda: two_tasks_per_job("d")),
    ]
    before = sandbox.admin.count_jobs("ionq")
    for name, n, work in rows:
        measured(meter, name, n, work)
        bought = sandbox.admin.count_jobs("ionq") - before
        assert bought == n, (name, bought)
        before += bought


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    chosen = parser.parse_args()
    os.environ["PREFECT_LOGGING_LEVEL"] = "WARNING"
    with tempfile.TemporaryDirectory() as folder, Sandbox(vendors=("ionq",)) as sandbox:
        os.environ.update(sandbox.env)
        os.environ["QFLOWS_HOME"] = str(Path(folder, "qflows"))
        home = Path(folder, "prefect")
        home.mkdir()
        before = family(os.getpid())
        with running(home) as server:
            os.environ.update(server.env)
            compare(chosen.jobs, server, family(os.getpid()) - before, sandbox)


if __name__ == "__main__":
    main()
