"""`qflows.minimize`: a durable loop over a cost function, identified by its flow or by a run key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import ArrayLike

from qflows.algorithms.minimize import minimize_durably
from qflows.algorithms.optimizers import Bounds, Iteration, Method, OptimizeResult, Point
from qflows.core.arguments import fitting
from qflows.prefect.client import client
from qflows.prefect.scope import scope


@fitting
def minimize(
    fun: Callable[[Point], Any],
    x0: ArrayLike,
    *,
    method: Method = "SPSA",
    run_key: str | None = None,
    noisy: bool = True,
    jac: Callable[[Point], ArrayLike] | None = None,
    bounds: Bounds | None = None,
    callback: Callable[[Iteration], object] | None = None,
    maxiter: int | None = None,
    max_evaluations: int | None = None,
    tol: float | None = None,
    seed: int | None = None,
    name: str = "",
) -> OptimizeResult:
    """Minimizes a cost function made of qflows calls. Started again with the same run key, it continues where it
    stopped.

    Inside a flow, the flow identifies the run. Outside, pass `run_key` here and to the qflows calls in `fun`. Points
    and jobs are in the ledger, so a replay follows the same trace and buys nothing twice.

    `fun`: 1-D array to a number, an Expectation or a Result with one expectation value. `method`: SPSA, COBYLA, COBYQA,
    Nelder-Mead or Powell; with `jac` or `noisy=False` also SLSQP, L-BFGS-B, BFGS, CG, trust-constr; with `noisy=False`
    also TNC and Newton-CG; or a callable with scipy's or qiskit-algorithms' interface. `noisy`: values have shot noise;
    the end point is then measured again. `callback` gets each Iteration and may raise StopIteration. `max_evaluations`
    caps the cost. Raises ProgramRejected before anything is bought.
    """
    return minimize_durably(
        client().ledger,
        scope(run_key),
        fun,
        x0,
        method=method,
        noisy=noisy,
        jac=jac,
        bounds=bounds,
        callback=callback,
        maxiter=maxiter,
        max_evaluations=max_evaluations,
        tol=tol,
        seed=seed,
        name=name,
    )
