"""The experiment of the story, as a user writes one: three devices, three programs, two rounds, one report."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.logging import get_run_logger

import qflows
from qflows.prefect.housekeeper import cancel_jobs

HEAD = 'OPENQASM 2.0; include "qelib1.inc"; '
PROGRAMS = {
    "bell": HEAD + "qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;",
    "ghz": HEAD + "qreg q[3]; creg c[3]; h q[0]; cx q[0],q[1]; cx q[1],q[2]; measure q -> c;",
    "flip": HEAD + "qreg q[1]; creg c[1]; x q[0]; measure q -> c;",
}


@flow(name="nightly", on_cancellation=[cancel_jobs])
def nightly(devices: Sequence[str], shots: int = 100, rounds: int = 2, detach_after: float = 3.0) -> int:
    """Buys every program on every device once a round, waits without a process, reports. Returns how many jobs.

    The programs of all rounds are equal: they are different samples all the same.
    """
    rows = []
    for number in range(1, rounds + 1):
        wanted = [(device, name) for device in devices for name in PROGRAMS]
        jobs = [qflows.submit(PROGRAMS[name], device=device, shots=shots, label=name) for device, name in wanted]
        qflows.wait_or_suspend(jobs, detach_after=detach_after)
        for (device, name), job in zip(wanted, jobs, strict=True):
            counts = qflows.result(job).counts
            top = max(counts, key=lambda bits: counts[bits])
            rows.append({"round": number, "device": device, "program": name, "most": top, "job": job.key[:12]})
    create_table_artifact(rows, key="nightly-report", description=f"{len(rows)} jobs of {shots} shots")
    get_run_logger().info("report of %d jobs is there", len(rows))
    return len(rows)
