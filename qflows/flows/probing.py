"""A cheap check of devices between benchmarks: bit order, readout and a three-qubit GHZ state."""

from __future__ import annotations

from typing import Any

from prefect.runtime import flow_run

from qflows.characterization.benchmarks import BenchmarkResult, Suite
from qflows.flows.benchmarking import devices_named, measure
from qflows.flows.forms import DeviceNames
from qflows.flows.scheduled import scheduled_flow
from qflows.pages.text import shots_text
from qflows.prefect.housekeeper import cancel_jobs
from qflows.prefect.slots import Missed


def _flow_run_name() -> str:
    parameters = flow_run.parameters
    return f"probe of {devices_named(parameters.get('devices'))}, {shots_text(parameters.get('shots'))}"


@scheduled_flow("probe", flow_run_name=_flow_run_name, on_cancellation=[cancel_jobs])
def probe(
    devices: DeviceNames,
    shots: int = 200,
    options: dict[str, dict[str, Any]] | None = None,
    timeout: float | None = None,
    missed: Missed = "all",
    run_key: str | None = None,
) -> BenchmarkResult:
    """Bit order, readout errors and GHZ-3 fidelity on every device: 11 circuits of `shots` shots each.

    Circuits and values are those of `benchmark` with `sizes` of 3, and continue its series: `qflows report` compares
    each with the last 30 of either. Raises JobFailed only if no device returned any value.

    Args:
        devices: Names of devices, from `qflows devices`.
        shots: For each of the 11 circuits.
        options: Device name to vendor options.
        timeout: Seconds to wait; the jobs keep running afterwards.
        missed: What to do with schedule slots that were not run in time: "all", "latest", or e.g. "skip after 20m".
        run_key: Name of the run; the same key again continues it.
    """
    suite = Suite(shots, sizes=(3,), mirror_circuits=0, seed=0, options=options or {}, name="probe")
    return measure(devices, suite, timeout, run_key)
