"""Every night: how well do the devices work, and did one drift? A flow that fails when one did, so that somebody is
told.

Deployed by `prefect.yaml` beside this file; by hand: `python nightly_benchmark.py local-noisy ionq-simulator`.
"""

from __future__ import annotations

import sys

from prefect import flow, get_run_logger

import qflows


@flow
def nightly_benchmark(devices: list[str], shots: int = 500, missed: str = "skip after 6h") -> dict[str, float]:
    """Readout, GHZ and mirror circuits on every device, against its last 30 nights.

    Args:
        devices: Names of devices, from `qflows devices`.
        shots: For each circuit of the suite.
        missed: What to do with schedule slots that were not run in time: "all", "latest", or e.g. "skip after 2h".
    """
    if skipped := qflows.missed_slot(missed):
        return skipped
    found = qflows.flows.benchmark(devices, shots=shots, sizes=[3], mirror_circuits=2)
    for device, why in found.failed_devices.items():
        get_run_logger().info(f"{device} gave nothing: {why}")
    flagged = [one for one in qflows.flows.report(since="20h")["flagged"] if one["device"] in devices]
    if flagged:
        told = ", ".join(f"{one['device']} {one['name']} by {one['sigmas']:+.1f} sigma" for one in flagged)
        raise RuntimeError(f"drifted: {told}")
    return {f"{row.device} {row.metric}": row.value for row in found.rows if row.is_headline and row.value is not None}


if __name__ == "__main__":
    print(nightly_benchmark(sys.argv[1:] or ["local-noisy"]))
