"""QAOA as a Prefect flow: `qflows.algorithms.qaoa` with a convergence plot, the best outcomes and the cut."""

from __future__ import annotations

from typing import Any, Literal

from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from qflows.algorithms.qaoa import Ising, QaoaResult, a_mean_cost, ising, maxcut, solve_qaoa
from qflows.characterization.history import keep_energy
from qflows.core.arguments import check_choice
from qflows.core.choice.deciding import content_of
from qflows.display import plural
from qflows.errors import ProgramRejected
from qflows.flows.eigensolver import Screen
from qflows.flows.forms import DeviceName, GateForm, NameOrJson
from qflows.flows.scheduled import scheduled_flow
from qflows.model import uncertain
from qflows.pages import choices
from qflows.pages.plots import convergence_png
from qflows.pages.text import code, escape, image, markdown_table, shots_text
from qflows.prefect import artifacts, tasks
from qflows.prefect.gating import pass_gate
from qflows.prefect.housekeeper import cancel_jobs
from qflows.prefect.slots import Missed

_ROWS = 10


def _flow_run_name() -> str:
    parameters = flow_run.parameters
    what = "Ising" if parameters.get("operator") is not None else "MaxCut"
    return f"QAOA {what} on {parameters.get('device')}, {shots_text(parameters.get('shots'))}"


@scheduled_flow("qaoa", flow_run_name=_flow_run_name, on_cancellation=[cancel_jobs])
def qaoa(
    graph: Any = None,
    operator: Any = None,
    device: DeviceName = "local-exact",
    shots: int | None = None,
    layers: int = 1,
    optimizer: NameOrJson = None,
    maxiter: int | None = None,
    max_evaluations: int | None = None,
    seed: int | None = None,
    start: list[float] | None = None,
    options: dict[str, Any] | None = None,
    gradient: Literal["parameter-shift"] | None = None,
    missed: Missed = "all",
    run_key: str | None = None,
    callback: Any = None,
    gate: GateForm = None,
) -> QaoaResult:
    """Finds large cuts of a graph, or low costs of an Ising operator, with the quantum approximate optimization
    algorithm.

    Started again with the same run key, it continues where it stopped and buys nothing twice. The mean cost with shots
    is a fresh sample at the end point; one more sample of that state gives the best outcome.

    Args:
        graph: For MaxCut, a list of edges [node, node] or [node, node, weight]; in Python also a networkx graph.
        operator: Instead of a graph: pairs (label, coefficient) of I and Z; in Python also a SparsePauliOp.
        device: Name of a device, from `qflows devices`.
        shots: For each circuit; empty for exact values, if the device computes them.
        layers: Depth p of the circuit: 2p angles.
        optimizer: A method of scipy, or SPSA; default SLSQP when exact, SPSA with shots. In Python also a callable.
        maxiter: Maximum iterations of the optimizer.
        max_evaluations: Maximum evaluations, including the final one; the sample of outcomes is extra.
        seed: Seed of SPSA; default from the run key.
        start: Starting point: p betas, then p gammas, in radians; default an annealing ramp.
        options: Vendor options of all jobs.
        gradient: "parameter-shift" measures gradients, for SLSQP, L-BFGS-B, BFGS, CG and trust-constr.
        missed: What to do with schedule slots that were not run in time: "all", "latest", or e.g. "skip after 2h".
        run_key: Name of the run; the same key again continues it.
        callback: In Python, a function of each VqeStep; it may raise StopIteration to end the loop.
        gate: "once", "within 6h every 30m" or a mapping: probes the device first, and buys later or not on a bad day.
    """
    check_choice("gradient", gradient, (None, "parameter-shift"))
    log = get_run_logger()
    cost = _cost(graph, operator)
    core = tasks.client()
    here = tasks.scope(run_key)
    rule = core.rule(device)
    if rule is not None:
        asked = a_mean_cost(cost, layers, shots=shots, options=options)
        device = core.chooser.choose(rule, here.want(content_of(rule, asked)), asked).device
    pass_gate(gate, device, run_key)
    screen = Screen(f"{cost.n_qubits}-qubits", max_evaluations, callback, title="QAOA")
    found = solve_qaoa(
        core,
        here,
        cost,
        device=device,
        shots=shots,
        layers=layers,
        optimizer=optimizer,
        maxiter=maxiter,
        max_evaluations=max_evaluations,
        seed=seed,
        start=start,
        options=options,
        gradient=gradient,
        on_step=screen.step,
    )
    keep_energy(core, found.loop, device)
    publish(found, device)
    screen.done()
    log.info("mean cost %s; best %s with %s", uncertain(found.cost, found.std_error), f"{found.best:.10g}", found.bits)
    return found


def _cost(graph: Any, operator: Any) -> Ising:
    if (graph is None) == (operator is None):
        raise ProgramRejected("pass either graph= (MaxCut) or operator= (an Ising cost)")
    return (
        maxcut(graph) if operator is None else ising([tuple(o) for o in operator] if _is_rows(operator) else operator)
    )


def _is_rows(operator: Any) -> bool:
    """Pairs as a form hands them over: lists of two."""
    return isinstance(operator, list) and all(isinstance(one, list | tuple) and len(one) == 2 for one in operator)


def publish(found: QaoaResult, device: str) -> None:
    """Convergence plot, the most frequent outcomes and the best one as an artifact of the running flow."""
    title = f"QAOA of {plural(found.layers, 'layer')} on {device}, {found.loop.optimizer}"
    path = found.loop.path
    png = convergence_png(
        [step.energy for step in path],
        [step.std_error for step in path],
        reference=found.lowest,
        unit="cost",
        title=title,
    )
    ratio = f", approximation ratio {found.ratio_text}" if found.ratio_text else ""
    sides = "; ".join(", ".join(escape(node) for node in part) or "nothing" for part in found.parts)
    rows = [
        {"outcome": one.bits, "cost": f"{one.cost:.10g}", "share": uncertain(one.share, one.std_error)}
        for one in found.outcomes[:_ROWS]
    ]
    page = [
        f"# {escape(title)}",
        f"**mean cost {uncertain(found.cost, found.std_error)}**{ratio}, {found.loop.n_evaluations} evaluations; "
        f"best outcome `{found.bits}` with cost {found.best:.10g}; run key {code(found.loop.run_key)}",
        f"Cut: {sides}" if found.is_maxcut else "",
        image(png, title),
        markdown_table(rows, ("outcome", "cost", "share")),
        *choices.decided(tasks.client().ledger, [found.loop.run_key]),
    ]
    artifacts.publish_markdown(f"qaoa-{len(found.bits)}-{device}", "\n\n".join(filter(None, page)), title)
