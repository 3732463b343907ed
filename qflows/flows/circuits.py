"""Many circuits on one device: bought in mapped tasks, awaited in one, shown as one table and one page of plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from prefect import task, unmapped
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from qflows.core.choice import asking
from qflows.core.choice.deciding import Asked
from qflows.core.compiling import compiled_rows
from qflows.core.scope import Scope
from qflows.core.stored import raise_unless_completed
from qflows.display import plural
from qflows.errors import JobFailed, ProgramRejected
from qflows.flows.forms import Circuits, DeviceName, GateForm, circuits_named, run_name
from qflows.flows.scheduled import scheduled_flow
from qflows.ledger import reads
from qflows.ledger.choices import Turn
from qflows.model import Job, Result
from qflows.pages import choices, run_page
from qflows.pages.text import code, escape, shots_text
from qflows.prefect import artifacts, tasks
from qflows.prefect.gating import pass_gate
from qflows.prefect.housekeeper import cancel_jobs
from qflows.prefect.slots import Missed
from qflows.prefect.suspend import wait_or_suspend
from qflows.programs import Program, to_program

_PART = 50  # circuits bought by one task run: a task run costs the server about as much as 10 submissions


def _flow_run_name() -> str:
    parameters = flow_run.parameters
    circuits = parameters.get("circuits") or ()
    n = len(circuits) if isinstance(circuits, list | tuple) else 1
    return run_name(circuits_named(circuits, plural(n, "circuit")), parameters)


def _part_name(parameters: Mapping[str, Any]) -> str:
    programs = parameters["part"]
    return f"submit {programs[0].name} … ({len(programs)}) on {parameters['device']}"


@task(
    name="qflows-submit-part",
    task_run_name=cast(Any, _part_name),  # Prefect hands over `parameters`; its type for that is private
    persist_result=False,
    cache_policy=NO_CACHE,
)
def submit_part(
    part: Sequence[Program],
    device: str,
    shots: int | None,
    options: Mapping[str, Any] | None,
    run_key: str | None,
    choice: Mapping[str, Any],
    turn: Turn | None = None,
) -> list[Job]:
    """Buys the circuits of one part and returns their handles in order."""
    core = tasks.client()
    specs = [spec for one in part for spec in core.specs(one, device=device, shots=shots, options=options, **choice)]
    return core.submit(specs, device=device, scope=replace(tasks.scope(run_key), choice=turn))


@scheduled_flow("run-circuits", flow_run_name=_flow_run_name, on_cancellation=[cancel_jobs])
def run_circuits(
    circuits: Circuits,
    device: DeviceName = "local-aer",
    shots: int | None = 1000,
    options: dict[str, Any] | None = None,
    timeout: float | None = None,
    partial: bool = False,
    missed: Missed = "all",
    run_key: str | None = None,
    detach_after: float | None = None,
    compile: Any = None,
    physical_qubits: list[int] | None = None,
    gate: GateForm = None,
) -> list[Result | JobFailed]:
    """Runs a list of circuits on one device and returns their results in the same order.

    All circuits are checked before the first is bought. Started again with the same run key, it buys nothing twice.

    Args:
        circuits: One circuit or a list, in any form that `qflows.submit` accepts; in a UI form, OpenQASM text or paths
            on the worker.
        device: Name of a device, from `qflows devices`, vendor:device-id, or a rule such as best(ibm-*).
        shots: For each circuit; empty for exact values, if the device computes them.
        options: Vendor options of all jobs, by name; `qflows devices show NAME` lists them.
        timeout: Seconds to wait; the jobs keep running afterwards. With detach_after, it counts from the start of the
            run.
        partial: A failed circuit leaves its error in the list instead of failing the flow.
        missed: What to do with schedule slots that were not run in time: "all", "latest", or e.g. "skip after 2h".
        run_key: Name of the run; the same key again continues it.
        detach_after: Seconds to wait in this process; then the run suspends itself until its jobs are done.
        compile: "default", "none", or a level from 0 to 3; in Python also a Qiskit pass manager. See `qflows.submit`.
        physical_qubits: The device qubit for each circuit qubit, in order.
        gate: "once", "within 6h every 30m" or a mapping: probes the device first, and buys later or not on a bad day.
    """
    log = get_run_logger()
    wanted = list(circuits) if isinstance(circuits, list) else [circuits]
    if not wanted:
        raise ProgramRejected("circuits is empty; give a list of programs, such as circuits=[circuit]")
    core = tasks.client()
    choice = {"compile": compile, "physical_qubits": physical_qubits}
    here = tasks.scope(run_key)

    def buy(chosen: str, at: Scope) -> list[Job]:
        provider = core.device(chosen).provider
        programs = [provider.read(one) or to_program(one) for one in wanted]
        for one in programs:
            core.specs(one, device=chosen, shots=shots, options=options, **choice)
        pass_gate(gate, chosen, run_key)
        parts = [programs[start : start + _PART] for start in range(0, len(programs), _PART)]
        futures = submit_part.map(
            parts,
            device=unmapped(chosen),
            shots=unmapped(shots),
            options=unmapped(options),
            run_key=unmapped(run_key),
            choice=unmapped(choice),
            turn=unmapped(at.choice),
        )
        return [job for handles in futures.result() for job in handles]

    def asked() -> Asked:
        return asking.for_each(wanted, shots, {"options": options, **choice})

    jobs = core.through(device, here, asked, buy, list)
    device = jobs[0].device
    log.info("%s on %s; run key %s", plural(len(jobs), "job"), device, here.run_key)
    if detach_after is None:
        finished = tasks.wait(jobs, timeout=timeout)
    else:
        finished = wait_or_suspend(jobs, detach_after=detach_after, timeout=timeout)
    _say_what_was_left(here)
    results = [_outcome(job) for job in finished]
    _publish(device, finished, results, here)
    failed = [one for one in results if isinstance(one, JobFailed)]
    if failed and not partial:
        raise failed[0]
    return results


def _outcome(job: Job) -> Result | JobFailed:
    try:
        raise_unless_completed(job)
    except JobFailed as error:
        return error
    return tasks.client().stored([job])


def _title(job: Job, index: int) -> str:
    return f"{job.name if job.name != 'qasm' else f'circuit {index}'}, {shots_text(job.shots)}"


def _say_what_was_left(here: Scope) -> None:
    """Names the old jobs if a replay with different programs bought new ones."""
    left = reads.left_behind(tasks.client().ledger, here.run_key, here.attempt)
    if left:
        get_run_logger().warning(
            "%s of earlier attempts of run %s not requested again: %s",
            plural(len(left), "job"),
            here.run_key,
            ", ".join(f"{job.key[:12]} ({job.status})" for job in left[:10]),
        )


def _publish(device: str, jobs: Sequence[Job], results: Sequence[Result | JobFailed], here: Scope) -> None:
    artifacts.publish_jobs(f"jobs-{device}", jobs, f"{len(jobs)} jobs on {device}")
    page = [f"# {plural(len(jobs), 'circuit')} on {escape(device)}"]
    page += [run_page.summary(jobs), f"run key {code(here.run_key)}"]
    page += [*run_page.next_steps(jobs), "## Results"]
    page += run_page.histogram_section(
        [
            (_title(job, index), one.items[0].counts or {})
            if one.items[0].counts is not None
            else (_title(job, index), one.items[0].probabilities or {})
            for index, (job, one) in enumerate(zip(jobs, results, strict=True))
            if not isinstance(one, JobFailed)
        ]
    )
    page += run_page.compiled_section(compiled_rows(tasks.client().ledger, jobs))
    page += choices.decided(tasks.client().ledger, [here.run_key])
    page += ["## Jobs", *run_page.job_section(jobs, tasks.client().vendors.pages(jobs))]
    artifacts.publish_markdown(f"counts-{device}", "\n\n".join(page), f"{plural(len(jobs), 'circuit')} on {device}")
