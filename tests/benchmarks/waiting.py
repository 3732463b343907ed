"""What a vendor's distance and other jobs of the account cost: emulated IonQ and IBM."""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from table import row, timed

BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'
NETWORK_S = 0.1
IONQ = "ionq-simulator"


@contextmanager
def _client(vendor: str, clock: str = "instant") -> Iterator[tuple[Any, Any]]:
    """A client with a ledger of its own and the vendor's own pace, and the emulator."""
    from qflows.core.client import Client
    from qflows.sandbox import Sandbox
    from qflows.settings import Settings

    with Sandbox(vendors=(vendor,), clock=clock) as sandbox, tempfile.TemporaryDirectory() as folder:
        os.environ.update(sandbox.env)
        core = Client(Settings(home=Path(folder)))
        yield core, sandbox
        core.ledger.close()


def _scope(run: str) -> Any:
    from qflows.core.scope import Scope

    return Scope(run, "a", "f")


def _buy(core: Any, run: str, n: int, device: str = IONQ) -> list[str]:
    (spec,) = core.specs(BELL, device=device, shots=100)
    return [job.key for job in core.submit([spec] * n, device=device, scope=_scope(run))]


def far_vendor(n: int = 200, bare: int = 20) -> None:
    """Submissions over a network of 100 ms against a bare loop, of which only some are sent."""
    with _client("ionq") as (core, sandbox):
        _buy(core, "warm", 1)
        sandbox.admin.fault("delay", "ionq.submit", seconds=NETWORK_S, times=None)
        body = {"type": "ionq.circuit.v1", "target": "simulator", "shots": 100}
        body["input"] = {"qubits": 1, "gateset": "qis", "circuit": [{"gate": "h", "target": 0}]}  # type: ignore[assignment]
        url = sandbox.env["IONQ_API_URL"]
        with httpx.Client(headers={"Authorization": "apiKey x"}) as client:
            client.post(f"{url}/jobs", json=body).raise_for_status()
            loop_s = timed(lambda: [client.post(f"{url}/jobs", json=body) for _ in range(bare)]) / bare * n
        before = sandbox.admin.count_jobs("ionq")
        ours_s = timed(lambda: _buy(core, "far", n))
        assert sandbox.admin.count_jobs("ionq") - before == n
    row(
        f"{n} IonQ jobs, {NETWORK_S * 1e3:.0f} ms of network: submit / bare loop",
        f"{ours_s:.1f} s / {loop_s:.1f} s = {ours_s / loop_s:.2f}",
        "≤ 3.5 s",
        ours_s <= 3.5,
    )


def neighbour(n: int = 8) -> None:
    """A job of 2 s while one of hours is in the same lane: how long after its end the counts are there."""
    late = []
    with _client("ionq", clock="frozen") as (core, sandbox):
        _buy(core, "hours", 1)
        for i in range(n):
            (key,) = _buy(core, f"short {i}", 1)
            ended: list[float] = []

            def end(vendor_id: str | None = core.find(key).vendor_id, ended: list[float] = ended) -> None:
                sandbox.admin.release([str(vendor_id)])
                ended.append(time.monotonic())

            timer = threading.Timer(2.0, end)
            timer.start()
            core.wait([key], timeout=120)
            timer.join()
            late.append(time.monotonic() - ended[0])
    mean = statistics.mean(late)
    row("job of 2 s beside one of hours: added latency, mean of 8", f"{mean:.2f} s", "≤ 0.3 s", mean <= 0.3)


def one_after_the_other(n: int = 50) -> None:
    """CPU and commits of jobs that are bought, waited for and read in turn, IBM's emulator without a queue."""
    import sqlalchemy as sa

    with _client("ibm") as (core, sandbox):
        sandbox.admin.switches("ibm", noise=False)
        device = "ibm:ibm_manila"
        commits = 0

        def count(_: object) -> None:
            nonlocal commits
            commits += 1

        core.wait(_buy(core, "warm", 1, device))
        sa.event.listen(core.ledger.engine, "commit", count)
        cpu_s, requests = time.process_time(), sum(sandbox.admin.counts()["requests"].values())
        for i in range(n):
            core.wait(_buy(core, f"job {i}", 1, device))
        cpu_ms = (time.process_time() - cpu_s) / n * 1e3
        requests = sum(sandbox.admin.counts()["requests"].values()) - requests
    bare_ms = _bare_requests_ms(4)
    row(
        f"{n} IBM jobs in turn: CPU of the client a job",
        f"{cpu_ms:.1f} ms (4 bare requests here: {bare_ms:.1f} ms)",
        "≤ 15 ms",
        cpu_ms <= 15,
    )
    row(f"{n} IBM jobs in turn: commits a job", f"{commits / n:.2f}", "≤ 3", commits / n <= 3)
    row(f"{n} IBM jobs in turn: requests a job", f"{requests / n:.2f}", "≤ 0.6 × the peer's 7.4", requests / n <= 4.44)


def _bare_requests_ms(requests_a_job: int, n: int = 50) -> float:
    """CPU of as many requests by IBM's client's own library, which says how fast this machine is at the moment."""
    import requests

    from qflows.sandbox import Sandbox

    with Sandbox(vendors=("ibm",)) as sandbox, requests.Session() as session:
        url = sandbox.env["QISKIT_IBM_URL"]
        session.get(url)
        cpu_s = time.process_time()
        for _ in range(n * requests_a_job):
            session.get(url)
        return (time.process_time() - cpu_s) / n * 1e3
