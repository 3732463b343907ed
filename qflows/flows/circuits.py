"""Many circuits on one device: bought in mapped tasks, awaited in one, shown as one table and one page of plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from prefect import flow, task, unmapped
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from qflows.core.scope import Scope
from qflows.core.stored import raise_unless_completed
from qflows.errors import JobFailed, ProgramRejected
from qflows.ledger import reads
from qflows.model import Job, Result
from qflows.pages import run_page
from qflows.pages.text import escape
from qflows.prefect import artifacts, tasks
from qflows.prefect.housekeeper import cancel_jobs
from qflows.prefect.slots import Missed, missed_slot
from qflows.prefect.suspend import wait_or_suspend
from qflows.programs import Program, to_program

_PART = 50  # circuits bought by one task run: a task run costs the server about as much as 10 submissions


def _flow_run_name() -> str:
    parameters = flow_run.parameters
    circuits = parameters.get("circuits") or ()
    n = len(circuits) if isinstance(circuits, list | tuple) else 1
    shots = parameters.get("shots")
    what = f"{n} circuit{'s' if n != 1 else ''}"
    return f"{what} on {parameters.get('device')} × {shots if shots is not None else 'exact'}"


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
    part: Sequence[Program], device: str, shots: int | None, options: Mapping[str, Any] | None, run_key: str | None
) -> list[Job]:
    """Buys the circuits of one part and returns their handles in order."""
    core = tasks.client()
    specs = [spec for one in part for spec in core.specs(one, device=device, shots=shots, options=options)]
    return core.submit(specs, device=device, scope=tasks.scope(run_key))


@flow(name="run-circuits", flow_run_name=_flow_run_name, validate_parameters=False, on_cancellation=[cancel_jobs])
def run_circuits(
    circuits: Any,
    device: str = "local-aer",
    shots: int | None = 1000,
    options: dict[str, Any] | None = None,
    timeout: float | None = None,
    partial: bool = False,
    missed: Missed = "all",
    run_key: str | None = None,
    detach_after: float | None = None,
) -> list[Result | JobFailed]:
    """Runs a list of circuits on one device and returns their results in the same order.

    `circuits`: a list of anything `qflows.submit` takes (in a deployment: OpenQASM text or paths), or one of them.
    All are checked before the first is bought. With `partial` a failed circuit's place holds its JobFailed instead
    of failing the flow. `detach_after`: seconds to wait in this process; then the run suspends itself until its jobs
    are done, if it has a deployment. `timeout` counts from the start of the run then.
    `missed`: what to do with a schedule slot that was not run in time, see `qflows.missed_slot`.
    """
    if skipped := missed_slot(missed):
        return skipped
    log = get_run_logger()
    wanted = list(circuits) if isinstance(circuits, list) else [circuits]
    if not wanted:
        raise ProgramRejected("no circuits were given")
    core = tasks.client()
    provider = core.device(device).provider
    programs = [provider.read(one) or to_program(one) for one in wanted]
    for one in programs:
        core.specs(one, device=device, shots=shots, options=options)
    parts = [programs[start : start + _PART] for start in range(0, len(programs), _PART)]
    here = tasks.scope(run_key)
    futures = submit_part.map(
        parts, device=unmapped(device), shots=unmapped(shots), options=unmapped(options), run_key=unmapped(run_key)
    )
    jobs = [job for handles in futures.result() for job in handles]
    log.info("%d job(s) on %s; run key %s", len(jobs), device, here.run_key)
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


def _say_what_was_left(here: Scope) -> None:
    """A replay whose programs differ bought new jobs: the old ones are named, not hidden."""
    left = reads.left_behind(tasks.client().ledger, here.run_key, here.attempt)
    if left:
        get_run_logger().warning(
            "%d job(s) of earlier attempts of run %s were not requested again: %s",
            len(left),
            here.run_key,
            ", ".join(f"{job.key[:12]} ({job.status})" for job in left[:10]),
        )


def _publish(device: str, jobs: Sequence[Job], results: Sequence[Result | JobFailed], here: Scope) -> None:
    artifacts.publish_jobs(f"jobs-{device}", jobs, f"{len(jobs)} jobs on {device}")
    page = [f"# {len(jobs)} circuit{'s' if len(jobs) != 1 else ''} on {escape(device)}"]
    page += [run_page.summary(jobs), f"run key `{escape(here.run_key)}`"]
    page += [*run_page.next_steps(jobs), "## Results"]
    page += run_page.histogram_section(
        [
            (f"{job.name} × {job.shots if job.shots is not None else 'exact'}", one.items[0].counts or {})
            if one.items[0].counts is not None
            else (f"{job.name} × exact", one.items[0].probabilities or {})
            for job, one in zip(jobs, results, strict=True)
            if not isinstance(one, JobFailed)
        ]
    )
    page += ["## Jobs", *run_page.job_section(jobs, tasks.client().vendors.pages(jobs))]
    artifacts.publish_markdown(f"counts-{device}", "\n\n".join(page), f"{len(jobs)} circuits on {device}")
