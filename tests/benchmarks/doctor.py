"""The long form of `qflows doctor --spend`: every two positions of every two switches meet, at every emulated vendor.

    python tests/benchmarks/doctor.py [VENDOR...]

Prints a line for each row of positions and a summary; leaves with 1 if a position was not told, an amount was
exceeded, or a job or a session was left behind.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import doctor_cases as cases

from qflows.core.client import Client
from qflows.sandbox import Sandbox
from qflows.settings import Settings


def main(names: list[str]) -> int:
    """Runs the rows; returns the exit code."""
    bad = 0
    for vendor in names or list(cases.CASES):
        rows = cases.pairwise(vendor)
        told = visible = jobs = 0
        began = time.monotonic()
        with Sandbox(vendors=(vendor,)) as sandbox:
            os.environ.update(sandbox.env)
            for number, at in enumerate(rows, 1):
                with tempfile.TemporaryDirectory() as folder:
                    core = Client(Settings(home=Path(folder), settle_s=0.3, poll_min_s=0.05))
                    report, untold, n = cases.run(core, sandbox.admin, vendor, at)
                    core.ledger.close()
                left = cases.left_running(sandbox.admin, vendor) + cases.open_sessions(sandbox.admin, vendor)
                is_bad = bool(untold or left or report.trouble or not cases.within(report))
                bad += is_bad
                told, visible, jobs = told + n - len(untold), visible + n, jobs + sandbox.admin.count_jobs()
                spent = f"{report.at_most:f} of {report.allowed.value:f} {report.allowed.unit}"
                said = f"not told: {', '.join(untold) or 'none'}; left behind: {len(left)}; at most {spent}"
                print(f"{vendor} {number}/{len(rows)}: {said} {report.trouble or ''}", flush=True)
        minutes = (time.monotonic() - began) / 60
        print(f"{vendor}: {told} of {visible} positions told in {len(rows)} rows, {jobs} jobs, {minutes:.1f} min")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
