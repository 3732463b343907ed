"""Faults of a purchase at IBM: what one wish buys through qiskit-ibm-runtime alone, and through qflows.

    python tests/benchmarks/ibm_faults.py            # the table, about two minutes: the client alone waits 15 s a row
    python tests/benchmarks/ibm_faults.py --quick    # without the rows in which every answer is a fault

One circuit, and one session, a row, on the emulated IBM Quantum, which accepts whatever it is sent and never merges two
requests. `jobs` and `sessions` are what the vendor has afterwards; an id is what the caller can ask about. Exit code 1
if qflows has anything but one job, with its counts, and one open session.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from qiskit import QuantumCircuit, transpile

from qflows.core.client import Client
from qflows.core.scope import script_scope
from qflows.sandbox import Sandbox
from qflows.settings import Settings

DEVICE, SHOTS = "ibm_manila", 50
ACCEPTED: dict[str, Any] = {"kind": "status", "accepted": True}
FAULTS: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "accepted, then 500": [ACCEPTED | {"status": 500}],
    "accepted, then 502": [ACCEPTED | {"status": 502, "html": True}],
    "accepted, then 503": [ACCEPTED | {"status": 503}],
    "accepted, then 504": [ACCEPTED | {"status": 504}],
    "accepted, then reset": [{"kind": "drop_after"}],
    "accepted, then torn body": [{"kind": "truncate"}],
    "accepted, then 200 with HTML": [ACCEPTED | {"status": 200, "html": True}],
    "accepted, then 429": [ACCEPTED | {"status": 429, "retry_after": 1}],
    "lost before it arrived": [{"kind": "drop_before"}],
    "502 to every request": [ACCEPTED | {"status": 502, "times": None}],
}
LONG = ("502 to every request",)


def bell() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [0, 1])
    return circuit


@contextmanager
def scripted(sandbox: Sandbox, fault: str, route: str) -> Iterator[None]:
    sandbox.admin.reset()
    for one in FAULTS[fault]:
        sandbox.admin.fault(**{"route": route, **one})
    yield
    sandbox.admin.clear_faults()


def open_sessions(core: Client, since: datetime) -> int:
    provider: Any = core.provider("ibm")
    return sum(info.is_open for info in provider.recent_sessions(DEVICE, since=since))


def told(call: Any) -> str:
    """`id` if the caller has one, else the name of what was raised."""
    try:
        return "id" if call() else "no id"
    except Exception as error:  # what the client raises is what its user sees
        return type(error).__name__


def client_alone(sandbox: Sandbox, core: Client, service: Any, fault: str) -> list[str]:
    from qiskit_ibm_runtime import SamplerV2, Session

    backend = service.backend(DEVICE)
    circuit = transpile(bell(), backend, optimization_level=0, initial_layout=[0, 1])
    with scripted(sandbox, fault, "ibm.submit"):
        said = told(lambda: SamplerV2(mode=backend).run([circuit], shots=SHOTS).job_id())
    row = [str(sandbox.admin.count_jobs("ibm")), said]
    since = datetime.now(UTC) - timedelta(seconds=1)
    with scripted(sandbox, fault, "ibm.session_create"):
        said = told(lambda: Session(backend, max_time=1800).session_id)
    return [*row, str(open_sessions(core, since)), said]


def through_qflows(sandbox: Sandbox, core: Client, fault: str) -> tuple[list[str], bool]:
    name = f"{fault} {time.time()}"
    with scripted(sandbox, fault, "ibm.submit"):
        specs = core.specs(bell(), device="ibm-sandbox", shots=SHOTS)
        [job] = core.submit(specs, device="ibm-sandbox", scope=script_scope(name))
        shots = core.result([job.key], timeout=60).counts.shots
    jobs = sandbox.admin.count_jobs("ibm")
    since = datetime.now(UTC) - timedelta(seconds=1)
    with scripted(sandbox, fault, "ibm.session_create"):
        hold = core.open_session("ibm-sandbox", name, max_time_s=1800)
    n_open = open_sessions(core, since)
    hold.close()
    left = open_sessions(core, since)
    is_right = (shots, jobs, n_open, left) == (SHOTS, 1, 1, 0)
    return [str(jobs), "counts" if shots == SHOTS else f"{shots} shots", f"{n_open}, closed: {left}"], is_right


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="leave the long rows out")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore", DeprecationWarning)
    head = ["fault", "client: jobs", "caller has", "sessions", "caller has", "qflows: jobs", "caller has", "sessions"]
    rows, is_right = [head], True
    with Sandbox(vendors=("ibm",)) as sandbox, tempfile.TemporaryDirectory() as folder:
        os.environ.update(sandbox.env)
        from qiskit_ibm_runtime import QiskitRuntimeService

        core = Client(Settings(home=Path(folder), settle_s=0.3, poll_min_s=0.02))
        service = QiskitRuntimeService()
        for fault in FAULTS:
            if chosen.quick and fault in LONG:
                continue
            ours, is_fine = through_qflows(sandbox, core, fault)
            rows.append([fault, *client_alone(sandbox, core, service, fault), *ours])
            is_right = is_right and is_fine
        core.ledger.close()
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
