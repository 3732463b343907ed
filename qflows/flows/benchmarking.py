"""The same suite on many devices as a Prefect flow: one submit task per device, one table, one page with a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from qflows.characterization import benchmarks, characterize
from qflows.characterization.benchmarks import Bench, BenchmarkResult, Row, Suite
from qflows.characterization.gating import Gate
from qflows.characterization.history import keep_benchmark
from qflows.core.arguments import device_names
from qflows.errors import JobFailed, LedgerError, QflowsError
from qflows.flows.forms import DeviceNames, GateForm
from qflows.flows.scheduled import scheduled_flow
from qflows.pages import choices
from qflows.pages.plots import benchmark_png
from qflows.pages.text import cell, code, escape, image, markdown_table, shots_text
from qflows.prefect import artifacts, tasks
from qflows.prefect.gating import through_gate
from qflows.prefect.housekeeper import cancel_jobs
from qflows.prefect.slots import Missed


def _flow_run_name() -> str:
    parameters = flow_run.parameters
    return f"benchmark of {devices_named(parameters.get('devices'))}, {shots_text(parameters.get('shots'))}"


def devices_named(devices: Any) -> str:
    """The first three of a list of devices, for the name of a run."""
    listed = [devices] if isinstance(devices, str) else list(devices or ())
    return ", ".join(str(device) for device in listed[:3]) + (f" and {len(listed) - 3} more" if listed[3:] else "")


def _submit_name(parameters: Mapping[str, Any]) -> str:
    return f"submit suite on {parameters['device']}"


@task(
    name="qflows-submit-suite",
    task_run_name=cast(Any, _submit_name),  # Prefect hands over `parameters`; its type for that is private
    persist_result=False,
    cache_policy=NO_CACHE,
)
def submit_suite(device: str, batch_id: str) -> int:
    """Sends one device's batch, already recorded in the ledger; returns how many jobs the vendor has."""
    core = tasks.client()
    batch = core.batch(batch_id)
    core.submit_batch(batch)
    return sum(job.vendor_id is not None for job in batch.sub_jobs())


@scheduled_flow("benchmark", flow_run_name=_flow_run_name, on_cancellation=[cancel_jobs])
def benchmark(
    devices: DeviceNames,
    shots: int = 1000,
    sizes: Sequence[int] = (3, 5),
    mirror_circuits: int = 4,
    mirror_layers: int = 8,
    seed: int | None = None,
    options: dict[str, dict[str, Any]] | None = None,
    timeout: float | None = None,
    missed: Missed = "all",
    run_key: str | None = None,
    gate: GateForm = None,
) -> BenchmarkResult:
    """Bit order, readout, GHZ fidelity and mirror circuits on every device, with standard errors.

    Circuits that a device cannot run are skipped and listed as such; a failure of a device appears in its rows. Raises
    JobFailed only if no device returned any value. Started again with the same run key, it buys nothing twice. Every
    value is stored in the ledger, and `qflows report` compares it with the last 30.

    Args:
        devices: Names of devices, from `qflows devices`.
        shots: Shots per circuit; the suite has 26 circuits with the other defaults.
        sizes: Widths of the GHZ states and mirror circuits, in qubits.
        mirror_circuits: Random circuits per width; 0 for none.
        mirror_layers: Two-qubit layers of a mirror circuit; an even number.
        seed: Seed of the mirror circuits. Set it to run the same circuits every night; default from the run key.
        options: Device name to vendor options.
        timeout: Seconds to wait; the jobs keep running afterwards.
        missed: What to do with schedule slots that were not run in time: "all", "latest", or e.g. "skip after 2h".
        run_key: Name of the run; the same key again continues it.
        gate: "once", "within 6h every 30m" or a mapping: probes the device first, and buys later or not on a bad day.
    """
    suite = Suite(shots, tuple(sizes), mirror_circuits, mirror_layers, seed, options or {})
    return measure(devices, suite, timeout, run_key, gate)


def measure(
    devices: Any, suite: Suite, timeout: float | None, run_key: str | None, gate: Gate | None = None
) -> BenchmarkResult:
    """The body of the flows that measure devices: buys, waits, stores every value in the ledger, shows them.

    With a gate, only devices that pass it; raises Held when none does.
    """
    log = get_run_logger()
    core = tasks.client()
    here = tasks.scope(run_key)
    wanted = device_names(devices)
    wanted = benchmarks.chosen(core, here, wanted, suite)
    if gate is not None and wanted:
        wanted, held = through_gate(gate, wanted, run_key)
        if held is not None:
            raise held
    benches = benchmarks.prepare(core, here, wanted, suite)
    _submit(benches)
    benchmarks.wait(core, benches, timeout)
    result = benchmarks.collect(here, benches, suite)
    keep_benchmark(core, result, suite)
    publish(result, suite.name)
    for device, text in result.failed_devices.items():
        log.error("%s: %s", device, text)
    for device, text in result.wrong_bit_order.items():
        log.error("%s: wrong bit order, %s; do not trust its other values", device, text)
    if len(result.failed_devices) == len(result.devices) and not any(row.value is not None for row in result.rows):
        raise JobFailed(f"no device gave a value; {'; '.join(f'{d}: {e}' for d, e in result.failed_devices.items())}")
    return result


def _submit(benches: Sequence[Bench]) -> None:
    """One task per device, all at once. A task that fails is red in the UI and does not affect other devices."""
    sent = [
        (bench, submit_suite.submit(bench.device, bench.batch.id))
        for bench in benches
        if bench.batch is not None and not bench.error
    ]
    for bench, future in sent:
        future.wait()
        error = future.state.result(raise_on_failure=False) if not future.state.is_completed() else None
        if isinstance(error, LedgerError) or (error is not None and not isinstance(error, QflowsError)):
            future.result()  # not this device's doing
        if error is not None:
            bench.error = str(error)


def publish(result: BenchmarkResult, name: str = "benchmark") -> None:
    """A table (devices × metrics) and a page with plot, table and methods as artifacts of the running flow."""
    lines, columns = benchmarks.table(result)
    escaped = [{name: escape(line.get(name, "")) for name in columns} for line in lines]
    title = f"{name} of {devices_named(result.devices)}, {shots_text(result.shots)} per circuit"
    cells = [{name: cell(line.get(name, "")) for name in columns} for line in lines]
    create_table_artifact(table=cells, key=artifacts.key_name(f"{name}-table"), description=title)
    groups, series = benchmarks.points(result)
    page = [
        f"# {escape(title)}",
        f"run key {code(result.run_key)}, seed {result.seed}; errors are one standard "
        "error; a value passes if a device exactly at the threshold would do as well with a "
        f"probability (the *chance* below) of at most {characterize.RISK:.1%}",
        image(benchmark_png(groups, series, title), title),
        _across(escaped, columns),
        "## Details",
        markdown_table(
            [_detail(row) for row in result.rows],
            _DETAILS if any(row.note for row in result.rows) else _DETAILS[:-1],
        ),
        "## Methods",
        *(
            f"- **{escape(family)}**: {escape(how)}; {escape(source)}"
            for family, (how, source) in characterize.METHODS.items()
            if family in {row.family for row in result.rows}
        ),
        *choices.decided(tasks.client().ledger, [result.run_key]),
    ]
    artifacts.publish_markdown(name, "\n\n".join(page), title)


# the UIs give a page some 550 pixels, and cut or overlap what is wider: ids are shortened, what may be cut comes last
_DETAILS = ("device", "metric", "value", "shots", "chance", "note", "at (UTC)", "jobs")


def _across(lines: Sequence[Mapping[str, str]], columns: Sequence[str]) -> str:
    """The table of devices; turned, one line per value, where that is narrower."""
    first, *others = columns
    others = [name for name in others if any(line.get(name) for line in lines)]
    if len(lines) >= len(others):
        return markdown_table(lines, [first, *others])
    turned = [{"value": name} | {str(n): line.get(name, "") for n, line in enumerate(lines)} for name in others]
    table = markdown_table(turned, ["value", *(str(n) for n in range(len(lines)))])
    head = "| " + " | ".join(["value", *(line[first] for line in lines)]) + " |"
    return "\n".join([head, *table.splitlines()[1:]])


def _detail(row: Row) -> dict[str, str]:
    cells = {
        "device": row.device,
        "metric": row.metric,
        "value": benchmarks.value_text(row),
        "shots": str(row.shots) if row.shots else "",
        "at (UTC)": f"{row.at:%m-%d %H:%M}" if row.at else "",
        "jobs": ", ".join(one if len(one) <= 12 else f"{one[:8]}…" for one in row.job_ids),
        "chance": f"{row.chance:.2g}" if row.chance is not None else "",
        "note": row.note,
    }
    return {name: escape(text) for name, text in cells.items()}
