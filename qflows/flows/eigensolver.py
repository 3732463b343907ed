"""VQE as a Prefect flow: `qflows.algorithms.vqe` with a progress artifact, a convergence plot and a table."""

from __future__ import annotations

import time
from typing import Any, Literal

from prefect import flow
from prefect.artifacts import update_progress_artifact
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from qflows.algorithms.problems import Problem
from qflows.algorithms.vqe import VqeResult, VqeStep, solve, to_problem
from qflows.characterization.history import keep_energy
from qflows.core.sessions import SessionHold
from qflows.durations import seconds
from qflows.pages.plots import convergence_png
from qflows.pages.text import escape, image, markdown_table
from qflows.prefect import artifacts, tasks
from qflows.prefect.housekeeper import cancel_jobs
from qflows.prefect.slots import Missed, missed_slot

_SCREEN_EVERY_S = 2.0
_TABLE_ROWS = 200


def _flow_run_name() -> str:
    parameters = flow_run.parameters
    shots = parameters.get("shots")
    problem = parameters.get("problem")
    what = problem if isinstance(problem, str) else "operator"
    return f"VQE {what} on {parameters.get('device')} × {shots if shots is not None else 'exact'}"


@flow(name="vqe", flow_run_name=_flow_run_name, validate_parameters=False, on_cancellation=[cancel_jobs])
def vqe(
    problem: Any = "h2-0.735",
    device: str = "local-exact",
    shots: int | None = None,
    optimizer: str | None = None,
    maxiter: int | None = None,
    max_evaluations: int | None = None,
    seed: int | None = None,
    start: list[float] | None = None,
    options: dict[str, Any] | None = None,
    mode: Literal["job", "session"] = "job",
    max_time: str | float | None = None,
    missed: Missed = "all",
    run_key: str | None = None,
) -> VqeResult:
    """Ground-state energy of `problem` on `device`.

    `problem`: h2-0.735, h2-0.7414, lih-1.5949, tfim-N, or a SparsePauliOp. `shots=None`: exact expectation values,
    where the device has them. `optimizer`: SLSQP by default when exact, SPSA with shots. Started again with the same
    `run_key` it continues where it was and buys nothing twice. `mode="session"` holds the device for the loop, for
    `max_time` at most ("30m", "2h", or seconds); a run that is continued goes on in its session while that lives.
    An energy with shot noise is kept in the ledger for `qflows report`. `missed`: what to do with a schedule slot that
    was not run in time, see `qflows.missed_slot`.
    """
    if skipped := missed_slot(missed):
        return skipped
    log = get_run_logger()
    chosen = to_problem(problem)
    here = tasks.scope(run_key)
    screen = _Screen(chosen, max_evaluations)
    core = tasks.client()

    def open_session() -> SessionHold:
        return core.open_session(device, here.run_key, max_time_s=seconds(max_time), name=f"VQE {chosen.name}")

    found = solve(
        core,
        here,
        chosen,
        device=device,
        shots=shots,
        optimizer=optimizer,
        maxiter=maxiter,
        max_evaluations=max_evaluations,
        seed=seed,
        start=start,
        options=options,
        open_session=open_session if mode == "session" else None,
        on_step=screen.step,
        on_iteration=lambda it: log.info("iteration %d: %.9f (%d evaluations)", it.index, it.value, it.n_evaluations),
    )
    keep_energy(core, found, device)
    publish(found, device)
    screen.done()
    log.info("%s: %.9f ± %.2g %s; %s", found.problem, found.energy, found.std_error, found.unit, found.message)
    return found


class _Screen:
    """A progress artifact, updated every few seconds: the loop must not wait for the server."""

    def __init__(self, problem: Problem, max_evaluations: int | None) -> None:
        self._most = max_evaluations
        self._last = time.monotonic()
        self._id = artifacts.progress(f"vqe-{problem.name}", "VQE")

    def step(self, step: VqeStep) -> None:
        if time.monotonic() - self._last < _SCREEN_EVERY_S:
            return
        self._last = time.monotonic()
        # without a limit nobody knows the end; the number then says how far, not how much is left
        done = 100 * step.index / self._most if self._most else 100 * step.index / (step.index + 50)
        update_progress_artifact(
            self._id, min(done, 99.0), description=f"evaluation {step.index}: {step.energy:.9f} ± {step.std_error:.2g}"
        )

    def done(self) -> None:
        update_progress_artifact(self._id, 100.0)


def publish(found: VqeResult, device: str) -> None:
    """Convergence plot and evaluation table as artifacts of the running flow."""
    title = f"VQE {found.problem} on {device}, {found.optimizer}"
    png = convergence_png(
        [step.energy for step in found.trace],
        [step.std_error for step in found.trace],
        reference=found.reference,
        unit=found.unit or "a.u.",
        title=title,
    )
    rows = [
        {
            "#": str(step.index),
            "energy": f"{step.energy:.9f}",
            "± std error": f"{step.std_error:.2g}",
            "job": step.job[:12],
        }
        for step in found.trace[-_TABLE_ROWS:]
    ]
    reference = f"reference {found.reference:.9f}, error {found.error:+.2e}" if found.reference is not None else ""
    page = [
        f"# {escape(title)}",
        f"**{found.energy:.9f} ± {found.std_error:.2g} {escape(found.unit)}**, {reference}, "
        f"{found.n_evaluations} evaluations; run key `{escape(found.run_key)}`",
        image(png, title),
        markdown_table(rows, ("#", "energy", "± std error", "job")),
    ]
    artifacts.publish_markdown(f"vqe-{found.problem}-{device}", "\n\n".join(page), title)
