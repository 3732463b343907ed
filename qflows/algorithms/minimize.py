"""A loop over any cost function made of qflows calls; resumed where it stopped, free of Prefect.

The jobs inside the cost function are found again by their run key; the points are stored in the ledger like those of a
VQE (see `trail`). A loop that is killed at evaluation k and started again with the same run key takes the same path.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from qflows.algorithms.optimizers import (
    Bounds,
    Gradient,
    Iteration,
    Method,
    OptimizeResult,
    Point,
    check_noise,
    check_walk,
    name_of,
)
from qflows.algorithms.optimizers import minimize as walk
from qflows.algorithms.trail import Trail
from qflows.core.scope import Scope
from qflows.errors import ProgramRejected
from qflows.keys import digest, seed_of
from qflows.ledger.store import Ledger

_loops: Counter[tuple[str, ...]] = Counter()
_loops_lock = threading.Lock()


def minimize_durably(
    ledger: Ledger,
    scope: Scope,
    fun: Callable[[Point], Any],
    x0: ArrayLike,
    *,
    method: Method = "SPSA",
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
    """Minimize `fun` from `x0`, with its points stored under the scope's run key.

    `fun` gets a 1-D array and returns a number, or anything with a number in `.value` or `.expectation.value` (an
    Expectation, a Result). `noisy`: its values have shot noise; then methods that take differences need `jac`, and the
    end point is measured again, as a separate sample. `seed`: for SPSA; by default from the run key. `name`
    distinguishes loops of one run that start at the same point with the same method; equal ones differ by their order.
    Other arguments and errors as in `optimizers.minimize`.
    """
    if not callable(fun):
        raise ProgramRejected(f"fun must be a function of a point, not {fun!r:.60}; write minimize(energy, x0, ...)")
    try:
        start = np.array(x0, dtype=np.float64)
    except (TypeError, ValueError):
        raise ProgramRejected(f"x0 must be numbers, one per parameter, not {x0!r:.60}") from None
    check_walk(start, maxiter=maxiter, max_evaluations=max_evaluations, seed=seed)
    if noisy:
        check_noise(method, has_gradient=jac is not None, remedy="pass jac=, or noisy=False if values are exact")
    content = digest("minimize/1", scope.run_key, name, name_of(method), np.round(start, 6).tolist())
    trail = Trail(ledger)
    trail.open(digest(content, _order(scope, content)))
    asked = 0

    def snapped(x: ArrayLike) -> Point:
        nonlocal asked
        asked += 1
        return np.array(trail.point(asked, np.array(x, dtype=np.float64).ravel().tolist()))

    def value(x: Point) -> float:
        return _number(fun(snapped(x)))

    def slope(x: Point) -> Point:
        assert jac is not None
        return np.array(jac(snapped(x)), dtype=np.float64).ravel()

    return walk(
        value,
        start,
        method=method,
        seed=seed if seed is not None else seed_of(digest("minimize-seed/1", scope.run_key)) % 2**32,
        maxiter=maxiter,
        max_evaluations=max_evaluations,
        tol=tol,
        callback=callback,
        bounds=bounds,
        gradient=Gradient(slope, 1) if jac is not None else None,
        at_end=value if noisy else None,
        stop=lambda: trail.is_stopped(scope.run_key),
    )


def _order(scope: Scope, content: str) -> int:
    """Number of equal loops this caller began before in this attempt: a replay counts them again."""
    place = (scope.run_key, scope.attempt, scope.caller, str(scope.tries), content)
    with _loops_lock:
        order = _loops[place]
        _loops[place] += 1
    return order


def _number(found: Any) -> float:
    inner = getattr(found, "expectation", found)
    number = getattr(inner, "value", inner)
    try:
        return float(number)
    except (TypeError, ValueError):
        raise ProgramRejected(
            f"fun returned {number!r:.60}; return a number, or a Result with one expectation value"
        ) from None
