"""The VQE command's work, apart from its options, so that `--help` imports no numerics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from qflows.algorithms.vqe import VqeResult, VqeStep, an_evaluation, price_of_an_evaluation, solve, to_problem
from qflows.characterization.history import keep_energy
from qflows.cli.connection import default_client
from qflows.core.durations import seconds
from qflows.core.money import Price
from qflows.core.scope import Scope, script_scope
from qflows.core.sessions import Session
from qflows.ledger import reads
from qflows.model import uncertain
from qflows.pages.plots import convergence_png


@dataclass(frozen=True)
class Arguments:
    """The command's options after parsing."""

    problem: str
    device: str
    shots: int | None
    optimizer: str | None
    maxiter: int | None
    max_evaluations: int | None
    seed: int | None
    options: dict[str, Any]
    session_time: str | None = None
    gradient: str | None = None


def straight(arguments: Arguments, run_key: str, show: Callable[[str], None]) -> VqeResult:
    """Solves on the core, without Prefect."""

    def on_step(step: VqeStep) -> None:
        show(f"evaluation {step.index}: {uncertain(step.energy, step.std_error)}")

    core, scope = default_client(), script_scope(run_key)

    problem = to_problem(arguments.problem)

    def loop(device: str, at: Scope) -> VqeResult:
        def open_session() -> Session:
            return core.open_session(
                device, scope.run_key, max_time_s=seconds(arguments.session_time), name=f"VQE {arguments.problem}"
            )

        return solve(
            core,
            at,
            problem,
            device=device,
            shots=arguments.shots,
            optimizer=arguments.optimizer,
            maxiter=arguments.maxiter,
            max_evaluations=arguments.max_evaluations,
            seed=arguments.seed,
            options=arguments.options,
            open_session=open_session if arguments.session_time else None,
            gradient=arguments.gradient,
            on_step=on_step,
        )

    asked = partial(an_evaluation, problem, shots=arguments.shots, options=arguments.options)
    found = core.through(arguments.device, scope, asked, loop, lambda _: [])
    show("")
    keep_energy(core, found, device_of(found, arguments.device))
    return found


def device_of(found: VqeResult, asked: str) -> str:
    """The device that the loop ran on, where `asked` may be a rule."""
    return reads.job(default_client().ledger, found.job).device if found.job else asked


def prices(arguments: Arguments) -> dict[str, Price]:
    """What one evaluation would cost, and the whole run where a cap says how many there are at most."""
    one = price_of_an_evaluation(
        default_client(),
        to_problem(arguments.problem),
        device=arguments.device,
        shots=arguments.shots,
        options=arguments.options,
    )
    found = {"one evaluation": one}
    if arguments.max_evaluations is not None:
        n = arguments.max_evaluations
        found[f"{n:,} evaluations, the most there can be"] = replace(one, quotes=one.quotes * n)
    return found


def as_flow(arguments: Arguments, run_key: str) -> VqeResult:
    """Solves as a Prefect flow run."""
    from qflows.flows import vqe

    return vqe(
        problem=arguments.problem,
        device=arguments.device,
        shots=arguments.shots,
        optimizer=arguments.optimizer,
        maxiter=arguments.maxiter,
        max_evaluations=arguments.max_evaluations,
        seed=arguments.seed,
        options=arguments.options,
        mode="session" if arguments.session_time else "job",
        max_time=arguments.session_time,
        gradient=cast(Any, arguments.gradient),
        run_key=run_key,
    )


def plot(found: VqeResult, device: str) -> bytes:
    """The convergence plot, PNG."""
    return convergence_png(
        [step.energy for step in found.path],
        [step.std_error for step in found.path],
        reference=found.reference,
        unit=found.unit or "a.u.",
        title=f"VQE {found.problem} on {device}, {found.optimizer}",
    )


def summary(found: VqeResult, device: str) -> str:
    """What a person wants to know, in a few lines."""
    lines = [
        f"VQE {found.problem} on {device}, {found.optimizer}, {found.n_evaluations} evaluations",
        f"energy     {found.energy_text}",
    ]
    if found.reference is not None:
        lines.append(f"reference  {found.reference:.10g} {found.unit}")
        lines.append(f"error      {found.error_text} {found.unit}")
    if not found.success:
        lines.append(f"stopped    {found.message}")
    lines.append(f"run key    {found.run_key}")
    return "\n".join(lines) + "\n"
