"""A cheap look at devices between benchmarks: bit order, readout and a three-qubit GHZ state."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from qflows.benchmarks import BenchmarkResult, Suite
from qflows.flows.benchmarking import devices_named, measure
from qflows.housekeeping import cancel_jobs
from qflows.missed import missed_slot


def _flow_run_name() -> str:
    parameters = flow_run.parameters
    return f"probe of {devices_named(parameters.get('devices'))} × {parameters.get('shots')}"


@flow(name="probe", flow_run_name=_flow_run_name, validate_parameters=False, on_cancellation=[cancel_jobs])
def probe(
    devices: Any,
    shots: int = 200,
    options: dict[str, dict[str, Any]] | None = None,
    timeout: float | None = None,
    missed: str = "all",
    run_key: str | None = None,
) -> BenchmarkResult:
    """Bit order, readout errors and GHZ-3 fidelity on every device: 11 circuits of `shots` shots each.

    Circuits and values are those of `benchmark` with `sizes` of 3, and continue its series: `qflows report` compares
    each with the last 30 of either. `missed`: what to do with a schedule slot that was not run in time, see
    `qflows.missed_slot`. Raises JobFailed only when no device gave any value.
    """
    if skipped := missed_slot(missed):
        return skipped
    suite = Suite(shots, sizes=(3,), mirror_circuits=0, seed=0, options=options or {}, name="probe")
    return measure(devices, suite, timeout, run_key)
