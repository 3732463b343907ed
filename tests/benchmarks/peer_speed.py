"""How fast qflows is beside prefect-qiskit 0.2.1: the same circuits on the same emulated IBM Quantum, in one run.

    python tests/benchmarks/peer_speed.py --venv DIR   # DIR: the peer's environment, made if it is not there

Each line is measured in two processes, a Prefect flow in each, after one job that warms both up: jobs in turn without a
queue, jobs in turn that take 0.8 s, and many at once, which the peer gathers and qflows submits, then as one batch.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

from peer_prefect_qiskit import _devices, environment
from table import row

SHARED = textwrap.dedent(
    """
    import asyncio, json, sys, time
    from prefect import flow
    from qiskit import QuantumCircuit
    url, crn, device, iam, mode, n = sys.argv[1:6] + [int(sys.argv[6])]

    def circuit(i):
        made = QuantumCircuit(2)
        made.rx(0.001 * (i + 1), 0); made.cx(0, 1); made.measure_all()
        return made

    def measured(work):
        print("READY", flush=True)
        sys.stdin.readline()
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        spent = [(time.perf_counter() - wall) / n, (time.process_time() - cpu) / n]
        print(json.dumps(spent), flush=True)
        sys.stdin.readline()
    """
)
PEER = SHARED + textwrap.dedent(
    """
    from prefect_qiskit import QuantumRuntime
    from prefect_qiskit.vendors.ibm_quantum import IBMQuantumCredentials
    from qiskit.transpiler.preset_passmanagers import generate_preset_pass_manager
    credentials = IBMQuantumCredentials(api_key="sandbox", crn=crn, auth_url=iam, runtime_url=url + "/api/v1/")
    runtime = QuantumRuntime(resource_name=device, credentials=credentials)

    @flow
    def in_turn():
        pm = generate_preset_pass_manager(optimization_level=1, target=runtime.get_target())
        runtime.sampler([(pm.run(circuit(-5)), None, 100)])
        measured(lambda: [runtime.sampler([(pm.run(circuit(i)), None, 100)]) for i in range(n)])

    @flow
    async def at_once():
        pm = generate_preset_pass_manager(optimization_level=1, target=await runtime.async_get_target())
        await runtime.async_sampler([(pm.run(circuit(-5)), None, 100)])
        print("READY", flush=True)
        sys.stdin.readline()
        wall, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(runtime.async_sampler([(pm.run(circuit(i)), None, 100)]) for i in range(n)))
        print(json.dumps([(time.perf_counter() - wall) / n, (time.process_time() - cpu) / n]), flush=True)
        sys.stdin.readline()

    asyncio.run(at_once()) if mode != "turns" else in_turn()
    """
)
OURS = SHARED + textwrap.dedent(
    """
    import qflows
    wanted = {"device": f"ibm:{device}", "shots": 100}

    @flow
    def in_turn():
        qflows.run(circuit(-5), **wanted)
        measured(lambda: [qflows.run(circuit(i), **wanted) for i in range(n)])

    @flow
    def at_once():
        qflows.run(circuit(-5), **wanted)

        def work():
            jobs = [qflows.submit(circuit(i), **wanted) for i in range(n)]
            qflows.wait(jobs)

        measured(work)

    @flow
    def batch():
        qflows.run(circuit(-5), **wanted)
        measured(lambda: qflows.batch([circuit(i) for i in range(n)], **wanted).result())

    {"turns": in_turn, "gather": at_once, "batch": batch}[mode]()
    """
)


def measured(python: str, code: str, mode: str, n: int, clock: str, home: Path) -> tuple[float, float, float]:
    """Wall and CPU seconds and requests, each a job."""
    from qflows.sandbox import Sandbox

    with Sandbox(vendors=("ibm",), clock=clock) as sandbox:
        sandbox.admin.switches("ibm", noise=False)
        device = next(
            one["name"] for one in _devices(sandbox) if one.get("status", {}).get("name", "online") == "online"
        )
        env = os.environ | sandbox.env | {
            "PREFECT_HOME": str(home / "prefect"),
            "QFLOWS_HOME": str(home / f"ledger-{len(list(home.iterdir()))}"),
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_LOGGING_LEVEL": "ERROR",
            "DO_NOT_TRACK": "1",
        }  # fmt: skip
        where = [sandbox.url, sandbox.env["QISKIT_IBM_INSTANCE"], device, sandbox.env["IAM_URL"], mode, str(n)]
        process = subprocess.Popen(
            [python, "-c", code, *where], env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            _said(process, "READY")
            before = sum(sandbox.admin.counts()["requests"].values())
            print(file=process.stdin, flush=True)
            wall_s, cpu_s = json.loads(_said(process, "["))
            requests = sum(sandbox.admin.counts()["requests"].values()) - before
            print(file=process.stdin, flush=True)
            process.wait(120)
        finally:
            process.kill()
            process.wait()
        return wall_s, cpu_s, requests / n


def _said(process: subprocess.Popen[str], begin: str) -> str:
    """The next line of this kind; libraries print others between."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(begin):
            return line
    raise RuntimeError("the process ended early; what it said is above")


def compare(peer: str, home: Path, n: int, slow: int) -> None:
    """All lines of the table."""

    def line(what: str, ours: Any, theirs: Any, wall: float, requests: float) -> None:
        row(
            f"{what}: wall against the peer's",
            f"{ours[0] * 1e3:.0f} ms / {theirs[0] * 1e3:.0f} ms = {ours[0] / theirs[0]:.2f}",
            f"≤ {wall:g}",
            ours[0] / theirs[0] <= wall,
        )
        row(
            f"{what}: requests",
            f"{ours[2]:.2f} / {theirs[2]:.2f} = {ours[2] / theirs[2]:.2f}",
            f"≤ {requests:g}",
            ours[2] / theirs[2] <= requests,
        )
        row(f"{what}: CPU of the client", f"{ours[1] * 1e3:.0f} ms / {theirs[1] * 1e3:.0f} ms", "", None)

    def both(mode: str, count: int, clock: str) -> tuple[Any, Any]:
        return (
            measured(sys.executable, OURS, mode, count, clock, home),
            measured(peer, PEER, mode, count, clock, home),
        )

    line(f"{n} IBM jobs in turn, no queue", *both("turns", n, "instant"), 0.3, 0.6)
    line(f"{slow} IBM jobs in turn, 0.8 s each", *both("turns", slow, "time:0,0.8"), 0.6, 0.6)
    ours, theirs = both("gather", n, "instant")
    line(f"{n} IBM jobs at once", ours, theirs, 1.0, 0.45)
    line(f"{n} IBM circuits as a batch", measured(sys.executable, OURS, "batch", n, "instant", home), theirs, 0.3, 0.45)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, help="folder of the peer's environment; made if it is not there")
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--slow", type=int, default=15, help="how many jobs of 0.8 s")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        peer = environment(chosen.venv or home / "venv")
        compare(str(peer), home, chosen.jobs, chosen.slow)


if __name__ == "__main__":
    main()
