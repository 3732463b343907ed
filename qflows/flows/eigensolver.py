"""VQE as a Prefect flow: `qflows.algorithms.vqe` with a progress artifact, a convergence plot and a table."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from prefect.artifacts import update_progress_artifact
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from qflows.algorithms.vqe import VqeResult, VqeStep, an_evaluation, solve, to_problem
from qflows.characterization.history import keep_energy
from qflows.core.arguments import check_choice
from qflows.core.durations import seconds
from qflows.core.scope import Scope
from qflows.core.sessions import Session
from qflows.flows.forms import DeviceName, GateForm, NameOrJson
from qflows.flows.scheduled import scheduled_flow
from qflows.ledger import reads
from qflows.model import uncertain
from qflows.pages import choices
from qflows.pages.plots import convergence_png
from qflows.pages.text import code, escape, image, markdown_table, shots_text
from qflows.prefect import artifacts, tasks
from qflows.prefect.gating import pass_gate
from qflows.prefect.housekeeper import cancel_jobs
from qflows.prefect.slots import Missed

_SCREEN_EVERY_S = 2.0
_TABLE_ROWS = 200


def _flow_run_name() -> str:
    parameters = flow_run.parameters
    problem = parameters.get("problem")
    what = problem if isinstance(problem, str) else "operator"
    return f"VQE {what} on {parameters.get('device')}, {shots_text(parameters.get('shots'))}"


@scheduled_flow("vqe", flow_run_name=_flow_run_name, on_cancellation=[cancel_jobs])
def vqe(
    problem: NameOrJson = "h2-0.735",
    device: DeviceName = "local-exact",
    shots: int | None = None,
    optimizer: NameOrJson = None,
    maxiter: int | None = None,
    max_evaluations: int | None = None,
    seed: int | None = None,
    start: list[float] | None = None,
    options: dict[str, Any] | None = None,
    mode: Literal["job", "session"] = "job",
    max_time: str | float | None = None,
    missed: Missed = "all",
    run_key: str | None = None,
    ansatz: Any = None,
    gradient: Literal["parameter-shift"] | None = None,
    bounds: list[tuple[float, float]] | None = None,
    callback: Any = None,
    gate: GateForm = None,
) -> VqeResult:
    """Finds the ground-state energy of a molecule, a spin chain or any operator with a loop of durable jobs.

    Started again with the same run key, it continues where it stopped and buys nothing twice. With shots, the energy is
    a fresh sample at the end point, stored in the ledger for `qflows report`.

    Args:
        problem: h2-0.735, h2-0.7414, lih-1.5949 or tfim-N; in Python also a SparsePauliOp or a list of terms.
        device: Name of a device, from `qflows devices`, or a rule such as least_busy(ibm-*).
        shots: For each measurement circuit; empty for exact values, if the device computes them.
        optimizer: A method of scipy, or SPSA; default SLSQP when exact, SPSA with shots. In Python also a callable.
        maxiter: Maximum iterations of the optimizer.
        max_evaluations: Maximum evaluations, including the final one, to cap the cost.
        seed: Seed of the start and of SPSA; default from the run key.
        start: Starting point, one angle in radians per parameter of the ansatz.
        options: Vendor options of all jobs.
        mode: "job", or "session" to hold the device for the loop; a continued run stays in its session.
        max_time: Maximum length of the session: "30m", "2h", or seconds.
        missed: What to do with schedule slots that were not run in time: "all", "latest", or e.g. "skip after 2h".
        run_key: Name of the run; the same key again continues it.
        ansatz: In Python, a QuantumCircuit with parameters and without measurements, instead of the problem's own.
        gradient: "parameter-shift" measures gradients, for SLSQP, L-BFGS-B, BFGS, CG and trust-constr.
        bounds: Lowest and highest value of each parameter.
        callback: In Python, a function of each VqeStep; it may raise StopIteration to end the loop.
        gate: "once", "within 6h every 30m" or a mapping: probes the device first, and buys later or not on a bad day.
    """
    check_choice("mode", mode, ("job", "session"))
    check_choice("gradient", gradient, (None, "parameter-shift"))
    log = get_run_logger()
    chosen = to_problem(problem)
    here = tasks.scope(run_key)
    screen = Screen(chosen.name, max_evaluations, callback)
    core = tasks.client()

    def loop(name: str, at: Scope) -> VqeResult:
        core.device(name)  # a name that there is none of costs no probe
        pass_gate(gate, name, run_key)

        def open_session() -> Session:
            return core.open_session(name, here.run_key, max_time_s=seconds(max_time), name=f"VQE {chosen.name}")

        return solve(
            core,
            at,
            chosen,
            device=name,
            shots=shots,
            optimizer=optimizer,
            maxiter=maxiter,
            max_evaluations=max_evaluations,
            seed=seed,
            start=start,
            options=options,
            open_session=open_session if mode == "session" else None,
            on_step=screen.step,
            on_iteration=lambda it: log.info("iteration %d (%d evaluations)", it.index, it.n_evaluations),
            circuit=ansatz,
            gradient=gradient,
            bounds=bounds,
        )

    asked = partial(an_evaluation, chosen, shots=shots, options=options, circuit=ansatz)
    found = core.through(device, here, asked, loop, lambda _: [])
    device = reads.job(core.ledger, found.job).device if found.job else device
    keep_energy(core, found, device)
    publish(found, device)
    screen.done()
    log.info("%s: %s; %s", found.problem, found.energy_text, found.message)
    return found


class Screen:
    """A progress artifact, updated every few seconds: the loop must not wait for the server."""

    def __init__(
        self,
        name: str,
        max_evaluations: int | None,
        callback: Callable[[VqeStep], object] | None = None,
        *,
        title: str = "VQE",
    ) -> None:
        self._most = max_evaluations
        self._callback = callback
        self._last = time.monotonic()
        self._id = artifacts.progress(f"{title.lower()}-{name}", title)

    def step(self, step: VqeStep) -> None:
        if self._callback is not None:
            self._callback(step)
        if time.monotonic() - self._last < _SCREEN_EVERY_S:
            return
        self._last = time.monotonic()
        # without a limit the end is unknown; the number then says how far, not how much is left
        done = 100 * step.index / self._most if self._most else 100 * step.index / (step.index + 50)
        update_progress_artifact(
            self._id, min(done, 99.0), description=f"evaluation {step.index}: {uncertain(step.energy, step.std_error)}"
        )

    def done(self) -> None:
        update_progress_artifact(self._id, 100.0)


def publish(found: VqeResult, device: str) -> None:
    """Convergence plot and evaluation table as artifacts of the running flow."""
    title = f"VQE {found.problem} on {device}, {found.optimizer}"
    png = convergence_png(
        [step.energy for step in found.path],
        [step.std_error for step in found.path],
        reference=found.reference,
        unit=found.unit or "a.u.",
        title=title,
    )
    rows = [
        {
            "#": str(step.index),
            "energy": uncertain(step.energy, step.std_error),
            "what": step.kind,
            "job": step.job[:12],
        }
        for step in found.trace[-_TABLE_ROWS:]
    ]
    reference = f"reference {found.reference:.10g}, error {found.error_text}, " if found.reference is not None else ""
    page = [
        f"# {escape(title)}",
        f"**{escape(found.energy_text)}**, {reference}{found.n_evaluations} evaluations; run key {code(found.run_key)}",
        image(png, title),
        markdown_table(rows, ("#", "energy", "what", "job")),
        *choices.decided(tasks.client().ledger, [found.run_key]),
    ]
    artifacts.publish_markdown(f"vqe-{found.problem}-{device}", "\n\n".join(page), title)
