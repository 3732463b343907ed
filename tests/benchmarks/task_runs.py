"""What Prefect pays for a thousand jobs: task runs created and server CPU, against one task per job on the same server.

    python tests/benchmarks/task_runs.py --jobs 1000

Every row buys the same number of one-circuit jobs from the emulated IonQ and waits for their counts; only the number
of task runs differs. Server CPU is read from /proc for the server and its children, from the start of a flow until the
server is idle again, less what it uses when nothing happens.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "prefect"))

import httpx  # noqa: E402
from prefect_server import SERVER_SETTINGS, PrefectServer, running  # noqa: E402

from qflows.sandbox import Sandbox  # noqa: E402

DEVICE, SHOTS = "ionq-simulator", 100
IDLE_S, SETTLE_S = 20.0, 10.0
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
    idle_rate: float = math.inf

    def learn_idle(self) -> float:
        """CPU seconds a second when nothing happens; the lowest of all such measurements counts."""
        time.sleep(SETTLE_S)
        before = cpu_s(self.pids)
        time.sleep(IDLE_S)
        rate = (cpu_s(self.pids) - before) / IDLE_S
        self.idle_rate = min(rate, self.idle_rate)
        return rate

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
        """Until the server stores nothing more, and then a little longer: its services work in rounds."""
        last = -1
        while (now := self.events()) != last:
            last = now
            time.sleep(SETTLE_S)


@dataclass
class Row:
    """One flow: what it made the server do, in `window_s` seconds."""

    name: str
    jobs: int
    task_runs: int
    events: int
    server_s: float
    window_s: float
    client_s: float
    wall_s: float


def measured(meter: Meter, name: str, jobs: int, work: Callable[[], object]) -> Row:
    """Runs `work`."""
    meter.wait_idle()
    runs, events, used, mine = meter.task_runs(), meter.events(), cpu_s(meter.pids), time.process_time()
    began = time.monotonic()
    work()
    wall, mine = time.monotonic() - began, time.process_time() - mine
    meter.wait_idle()
    spent, window = cpu_s(meter.pids) - used, time.monotonic() - began
    return Row(name, jobs, meter.task_runs() - runs, meter.events() - events, spent, window, mine, wall)


def show(rows: list[Row], idle: list[float], idle_rate: float) -> None:
    """The table; the server's idle CPU during each window is taken off."""
    print(
        f"idle server: {', '.join(f'{1000 * rate:.0f}' for rate in idle)} ms of CPU a second; the lowest is taken off"
    )
    print(
        f"{'flow':<30}{'jobs':>6}{'task runs':>11}{'events':>8}{'server CPU s':>14}{'in s':>7}{'less idle':>11}"
        f"{'ms per job':>12}{'client CPU s':>14}{'wall s':>8}"
    )
    for row in rows:
        net = row.server_s - idle_rate * row.window_s
        print(
            f"{row.name:<30}{row.jobs:>6}{row.task_runs:>11}{row.events:>8}{row.server_s:>14.1f}{row.window_s:>7.0f}"
            f"{net:>11.1f}{1000 * net / row.jobs:>12.1f}{row.client_s:>14.1f}{row.wall_s:>8.1f}"
        )


def compare(jobs: int, server: PrefectServer, pids: set[int], sandbox: Sandbox) -> None:
    """All rows, each a flow of its own on the same server."""
    from prefect import flow, task, unmapped
    from prefect.cache_policies import NO_CACHE
    from prefect.task_runners import ThreadPoolTaskRunner

    import qflows
    from qflows import flows
    from qflows.prefect import tasks

    circuits = [BELL] * jobs

    @task(persist_result=False, cache_policy=NO_CACHE)
    def buy(circuit: str, run_key: str) -> Any:
        core = tasks.client()
        specs = core.specs(circuit, device=DEVICE, shots=SHOTS, options=None)
        return core.submit(specs, device=DEVICE, scope=tasks.scope(run_key))[0]

    @task(persist_result=False, cache_policy=NO_CACHE)
    def fetch(job: Any) -> Any:
        return tasks.client().stored([job])

    # a thousand threads at once wait longer for the ledger's 15 connections than it lets them
    @flow(task_runner=ThreadPoolTaskRunner(max_workers=16))
    def one_task_per_job(run_key: str) -> None:
        bought = buy.map(circuits, unmapped(run_key)).result()
        qflows.wait(bought)

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=16))
    def two_tasks_per_job(run_key: str) -> None:
        bought = buy.map(circuits, unmapped(run_key)).result()
        fetch.map(qflows.wait(bought)).result()

    meter = Meter(server, pids)
    flows.run_circuits([BELL] * 2, DEVICE, SHOTS, run_key="warm")
    idle = [meter.learn_idle()]
    rows: list[tuple[str, int, Callable[[], object]]] = [
        ("run_circuits", jobs, lambda: flows.run_circuits(circuits, DEVICE, SHOTS, run_key="a")),
        ("sweep, one circuit a job", jobs, lambda: flows.sweep(circuits, DEVICE, SHOTS, as_batch=False, run_key="b")),
        ("one task per job, one wait", jobs, lambda: one_task_per_job("c")),
        ("two tasks per job, one wait", jobs, lambda: two_tasks_per_job("d")),
    ]
    before = sandbox.admin.count_jobs("ionq")
    found = []
    for name, n, work in rows:
        found.append(measured(meter, name, n, work))
        bought = sandbox.admin.count_jobs("ionq") - before
        assert bought == n, (name, bought)
        before += bought
    idle.append(meter.learn_idle())
    show(found, idle, meter.idle_rate)


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
        for name in [name for name in SERVER_SETTINGS if name.endswith("FLUSH_INTERVAL")]:
            del SERVER_SETTINGS[name]  # five flushes a second cost an idle server a third of a core, by default 2 %
        before = family(os.getpid())
        with running(home) as server:
            os.environ.update(server.env)
            compare(chosen.jobs, server, family(os.getpid()) - before, sandbox)


if __name__ == "__main__":
    main()
