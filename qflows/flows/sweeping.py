"""A sweep: many programs on one device as a batch, mapped over its parts, with progress, a table and an answer.

Task runs are few: one per part, and bundles of parts beyond a few hundred, because a task run costs the server about
as much as ten submissions.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

from prefect import task, unmapped
from prefect.artifacts import create_table_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from qflows.core.batches.batch import Batch
from qflows.core.batches.planning import span
from qflows.core.batches.results import BatchResult
from qflows.core.choice import asking
from qflows.core.choice.deciding import Asked
from qflows.core.compiling import compiled_rows
from qflows.core.scope import Scope
from qflows.display import plural
from qflows.flows.forms import Circuits, DeviceName, GateForm, ShotsOfEach, circuits_named, run_name
from qflows.flows.scheduled import scheduled_flow
from qflows.model import Job
from qflows.pages import choices, run_page
from qflows.pages.text import cell, escape
from qflows.prefect import artifacts, tasks
from qflows.prefect.gating import pass_gate
from qflows.prefect.housekeeper import cancel_jobs
from qflows.prefect.slots import Missed
from qflows.prefect.suspend import wait_or_suspend

_BUNDLES = 200  # task runs at most
_SCREEN_EVERY_S = 2.0
_ERRORS = 20


def _flow_run_name() -> str:
    parameters = flow_run.parameters
    circuits = parameters.get("circuits")
    said = parameters.get("name") or f"sweep of {circuits_named(circuits, '') or _size(circuits)}"
    return run_name(said, parameters)


def _size(circuits: Any) -> str:
    """How many circuits, or the shape of one circuit's values without the axis of its parameters."""
    if isinstance(circuits, tuple) and len(circuits) == 2 and hasattr(circuits[1], "shape"):
        return " x ".join(map(str, circuits[1].shape[:-1])) or "1"
    return str(len(circuits)) if isinstance(circuits, list | tuple) else "1"


def _bundle_name(parameters: Mapping[str, Any]) -> str:
    numbers = parameters["numbers"]
    what = f"part {numbers[0]}" if len(numbers) == 1 else f"parts {numbers[0]}-{numbers[-1]}"
    return f"submit {what} of batch {parameters['batch_id'][:12]}"


@task(
    name="qflows-submit-parts",
    task_run_name=cast(Any, _bundle_name),  # Prefect hands over `parameters`; its type for that is private
    persist_result=False,
    cache_policy=NO_CACHE,
)
def submit_parts(batch_id: str, numbers: Sequence[int], session_id: str | None) -> int:
    """Sends some parts of a batch that stands in the ledger; returns how many jobs the vendor has."""
    jobs = tasks.client().batch(batch_id).submit_parts(numbers, session_id=session_id)
    return sum(job.vendor_id is not None for job in jobs)


@scheduled_flow("sweep", flow_run_name=_flow_run_name, on_cancellation=[cancel_jobs])
def sweep(
    circuits: Circuits,
    device: DeviceName = "local-aer",
    shots: ShotsOfEach = 1000,
    observables: Any = None,
    name: str = "",
    options: dict[str, Any] | None = None,
    max_circuits: int | None = None,
    as_batch: bool | None = None,
    rerun: int = 0,
    timeout: float | None = None,
    partial: bool = False,
    missed: Missed = "all",
    run_key: str | None = None,
    detach_after: float | None = None,
    compile: Any = None,
    physical_qubits: list[int] | None = None,
    gate: GateForm = None,
    reference: Any = None,
) -> BatchResult:
    """Runs a list of circuits as one batch; index i of the result is circuit i.

    Killed and started again with the same run key, it continues where it stopped.

    Args:
        circuits: A list of circuits, in a form OpenQASM text or paths; in Python also (circuit, values).
        device: Name of a device, from `qflows devices`, vendor:device-id, or a rule such as best(ibm-*).
        shots: One number for all circuits, or a list with one per circuit; empty for exact values.
        observables: Pauli sums to measure instead of counts, such as "ZZ"; in Python also an array of them.
        name: Name of the batch, shown in lists and on pages.
        options: Vendor options of all jobs, by name; `qflows devices show NAME` lists them.
        max_circuits: Maximum circuits per job; empty for the device's limit.
        as_batch: True requires several circuits per job, False one circuit per job; empty uses what the device
            supports.
        rerun: How often circuits without counts are bought again automatically.
        timeout: Seconds to wait; the jobs keep running afterwards. With detach_after it counts from the run's start.
        partial: Circuits without counts leave gaps instead of failing the flow.
        missed: What to do with schedule slots that were not run in time: "all", "latest", or e.g. "skip after 2h".
        run_key: Name of the run; the same key again continues it.
        detach_after: Seconds to wait in this process; then the run suspends itself until its jobs are done.
        compile: "default", "none", or a level from 0 to 3; in Python also a Qiskit pass manager. See `qflows.submit`.
        physical_qubits: The device qubit for each circuit qubit, in order.
        gate: "once", "within 6h every 30m" or a mapping: probes the device first, and buys later or not on a bad day.
        reference: Circuits that run in every job and measure its health: OpenQASM text, or a mapping with circuit and
            any of expected, at_least and name, or a list of these.
    """
    log = get_run_logger()
    core = tasks.client()
    here = tasks.scope(run_key)
    wishes: dict[str, Any] = {
        "observables": observables,
        "options": options,
        "max_circuits": max_circuits,
        "as_batch": as_batch,
        "compile": compile,
        "physical_qubits": physical_qubits,
        "reference": reference,
    }

    def buy(chosen: str, at: Scope) -> Batch:
        planned = core.plan_batch(circuits, device=chosen, shots=shots, **wishes)
        pass_gate(gate, chosen, run_key)
        made = core.create_batch(planned, device=chosen, scope=at, name=name)
        log.info(
            "batch %s: %s in %s; run key %s",
            made.id[:12],
            plural(made.n_circuits, "circuit"),
            plural(len(planned.specs), "job"),
            here.run_key,
        )
        _submit(made)
        return made

    def asked() -> Asked:
        return asking.for_sweep(circuits, shots, wishes)

    batch = core.through(device, here, asked, buy, Batch.sub_jobs)
    _wait(batch, timeout, detach_after)
    batch.keep_health()
    for _ in range(rerun):
        holes = batch.rerun_failed()
        if not holes:
            break
        log.warning("%d circuits without counts are bought again: %s …", len(holes), holes[:10])
        _wait(batch, timeout, detach_after)
    publish(batch)
    return batch.result(0 if timeout is not None else None, partial=partial)


def _submit(batch: Batch) -> None:
    numbers = [part.part for part in batch.parts]
    size = -(-len(numbers) // _BUNDLES)
    bundles = [numbers[start : start + size] for start in range(0, len(numbers), size)]
    with tasks.client().batch_mode(batch) as session_id:
        submit_parts.map(unmapped(batch.id), bundles, unmapped(session_id)).result()


def _wait(batch: Batch, timeout: float | None, detach_after: float | None) -> None:
    """One wait for all parts; the progress artifact says how many ended and when the rest is due."""
    began = time.monotonic()
    total = len(batch.parts)
    ended: set[str] = set()
    shown = began
    progress = artifacts.progress(f"batch-{batch.id[:12]}", f"{batch.name or 'batch'}: {total} parts")

    def on_change(job: Job) -> None:
        nonlocal shown
        if job.is_terminal:
            ended.add(job.key)
        if time.monotonic() - shown > _SCREEN_EVERY_S:
            shown = time.monotonic()
            rate = len(ended) / (shown - began)
            eta = f", about {(total - len(ended)) / rate:.0f} s left" if ended and len(ended) < total else ""
            update_progress_artifact(
                progress, 100 * len(ended) / total, description=f"{len(ended)} of {total} parts ended{eta}"
            )

    if detach_after is None:
        batch.wait(timeout, on_change)
    else:
        wait_or_suspend(batch.sub_jobs(), detach_after=detach_after, timeout=timeout, on_change=on_change)
    update_progress_artifact(progress, 100.0, description=f"{total} of {total} parts ended")


def publish(batch: Batch) -> None:
    """The table of parts, and a page: what ran, what it cost, what failed and what to do, the first histograms."""
    rows = [{name: cell(value) for name, value in row.items()} for row in batch.report_table()]
    create_table_artifact(
        table=rows, key=artifacts.key_name("parts", batch.id[:12]), description=f"{batch.name} on {batch.device}"
    )
    jobs, errors, outcome = batch.sub_jobs(), batch.errors, batch.stored()
    title = f"{batch.name or 'batch'} on {batch.device}"
    got = batch.n_circuits - len(errors)
    page = [
        f"# {escape(title)}",
        f"**{got} of {batch.n_circuits} circuits have results** · batch `{batch.id[:12]}`",
    ]
    page.append(run_page.summary(jobs))
    page += run_page.next_steps(jobs, rerun=f"qflows batches rerun {batch.id[:12]}" if errors else "")
    if errors:
        page.append("\n".join(f"- circuit {i}: {escape(errors[i].message)}" for i in sorted(errors)[:_ERRORS]))
    shown = [(index, item) for index, item in enumerate(outcome.results) if item is not None][: run_page.PLOTS]
    page += run_page.health_section([(span(one.circuits), str(one), one.why, one.is_good) for one in outcome.health])
    page.append("## Results")
    page += run_page.histogram_section(
        [(f"circuit {index}", item.counts or item.probabilities or {}) for index, item in shown], of=got
    )
    page += run_page.value_section([(f"circuit {index}", item.expectations or ()) for index, item in shown])
    page += run_page.compiled_section(compiled_rows(tasks.client().ledger, jobs))
    page += choices.decided(tasks.client().ledger, [batch.record.run_key])
    page += ["## Jobs", *run_page.job_section(jobs, tasks.client().vendors.pages(jobs))]
    artifacts.publish_markdown(f"batch-{batch.id[:12]}", "\n\n".join(page), title)
