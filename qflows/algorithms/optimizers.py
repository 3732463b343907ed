"""Optimisers for loops whose every evaluation is a paid job: scipy's, and a seeded SPSA.

The sequence of points is a pure function of (method, start, seed, limits, values returned so far). A run that was
killed and is replayed with the recorded values therefore asks for the same points bit for bit, and buys nothing
again. Bit for bit holds for one build of numpy and scipy on one kind of processor; elsewhere the last bits of a point
may differ, which `qflows.algorithms.vqe` makes good by keeping the points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qflows.errors import ProgramRejected

Point = NDArray[np.float64]


@dataclass(frozen=True)
class Optimizer:
    """What `--help` and validation need to know. `maxiter` and `tol` are the defaults of `minimize`.

    `tolerates_noise` is False for methods that difference the function over 1e-8 steps: with shots they see only noise.
    """

    name: str
    summary: str
    tolerates_noise: bool
    maxiter: int
    tol: float | None
    option_of_tol: str = "tol"


OPTIMIZERS: dict[str, Optimizer] = {
    optimizer.name: optimizer
    for optimizer in (
        Optimizer("SLSQP", "sequential least squares, finite differences; default if exact", False, 200, 1e-10, "ftol"),
        Optimizer("L-BFGS-B", "limited-memory quasi-Newton, finite differences", False, 200, 1e-12, "ftol"),
        Optimizer("BFGS", "quasi-Newton, finite differences", False, 200, 1e-6, "gtol"),
        Optimizer("COBYLA", "linear models, no gradient", True, 1000, 1e-4, "tol"),
        Optimizer("Nelder-Mead", "simplex, no gradient", True, 1000, 1e-6, "fatol"),
        Optimizer("Powell", "line searches along conjugate directions, no gradient", True, 100, 1e-6, "ftol"),
        Optimizer("SPSA", "seeded simultaneous perturbation; default with shots", True, 100, None),
    )
}


@dataclass(frozen=True)
class Evaluation:
    """One call of the function, in order of asking. `point` in radians where parameters are angles."""

    index: int
    point: tuple[float, ...]
    value: float


@dataclass(frozen=True)
class Iteration:
    """One accepted step. `value` is that of `point` if it was evaluated, else the mean of SPSA's pair around it."""

    index: int
    point: tuple[float, ...]
    value: float
    n_evaluations: int


@dataclass(frozen=True)
class OptimizeResult:
    """Where a minimisation ended, and the way there.

    `x` and `fun` are the method's own answer: not the lowest value seen, which under shot noise is too low on
    average. Only a run cut short by `max_evaluations` or by the callback ends at the lowest value seen.
    """

    x: Point
    fun: float
    success: bool
    message: str
    method: str
    seed: int
    evaluations: tuple[Evaluation, ...]
    iterations: tuple[Iteration, ...]

    @property
    def n_evaluations(self) -> int:
        return len(self.evaluations)

    @property
    def n_iterations(self) -> int:
        return len(self.iterations)


def default_method(shots: int | None) -> str:
    """SLSQP for exact values, SPSA for sampled ones.

    Measured without shots on H2, LiH and the 4-site chain, SLSQP needed the fewest evaluations of the scipy methods
    (8, 102 and 267). With shots a finite difference is noise divided by a tiny step, and SPSA spends 2 evaluations
    a step whatever the number of parameters.
    """
    return "SLSQP" if shots is None else "SPSA"


def check_method(method: str) -> Optimizer:
    """The optimiser of this name, spelled as scipy does. Raises ProgramRejected for others, listing the names."""
    if method not in OPTIMIZERS:
        raise ProgramRejected(f"unknown optimizer {str(method)[:80]!r}; known are {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[method]


def minimize(
    fun: Callable[[Point], float],
    x0: ArrayLike,
    *,
    method: str = "SLSQP",
    seed: int = 0,
    maxiter: int | None = None,
    tol: float | None = None,
    max_evaluations: int | None = None,
    callback: Callable[[Iteration], object] | None = None,
) -> OptimizeResult:
    """Minimise `fun` from `x0`, recording every evaluation.

    `fun` gets a 1-D float64 array of its own and returns a finite float; its errors pass through unchanged, but for
    StopIteration, which becomes RuntimeError.
    `maxiter` counts the method's iterations (COBYLA: evaluations). `tol` is the method's main tolerance: change of
    the value for SLSQP, L-BFGS-B, Nelder-Mead and Powell, gradient for BFGS, trust radius for COBYLA, step for SPSA.
    `max_evaluations` is a hard limit, because each one may cost money. `callback` may raise StopIteration to stop.
    Raises ProgramRejected for an unknown method, a bad start or a bad limit, and ValueError if a value is not finite.
    """
    optimizer = check_method(method)
    start = np.array(x0, dtype=np.float64)
    if start.ndim != 1 or start.size == 0 or not np.isfinite(start).all():
        raise ProgramRejected("the starting point must be a non-empty list of finite numbers")
    for name, limit in (("maxiter", maxiter), ("max_evaluations", max_evaluations)):
        if limit is not None and limit < 1:
            raise ProgramRejected(f"{name} must be at least 1, not {limit}")
    if tol is not None and not (tol > 0 and math.isfinite(tol)):
        raise ProgramRejected(f"tol must be a positive number, not {tol}")
    recorder = _Recorder(fun, max_evaluations, callback)
    steps = maxiter or optimizer.maxiter
    tolerance = optimizer.tol if tol is None else tol
    try:
        if method == "SPSA":
            end, success, message = _run_spsa(recorder, start, seed, steps, tolerance)
        else:
            end, success, message = _run_scipy(recorder, start, optimizer, steps, tolerance)
        value = recorder.value_at(end)
    except _Stopped as stop:
        best = min(recorder.evaluations, key=lambda evaluation: evaluation.value)
        end, value, success, message = np.array(best.point), best.value, False, str(stop)
    evaluations, iterations = tuple(recorder.evaluations), tuple(recorder.iterations)
    return OptimizeResult(end, value, success, message, method, seed, evaluations, iterations)


class _Stopped(BaseException):
    """Unwinds a scipy routine; not an Exception, so that nothing on the way swallows it."""


class _Recorder:
    """Calls the function, counts, refuses what no optimiser can use, and remembers."""

    def __init__(
        self, fun: Callable[[Point], float], limit: int | None, callback: Callable[[Iteration], object] | None
    ) -> None:
        self._fun, self._limit, self._callback = fun, limit, callback
        self._values: dict[tuple[float, ...], float] = {}
        self.evaluations: list[Evaluation] = []
        self.iterations: list[Iteration] = []

    def __call__(self, x: ArrayLike) -> float:
        if self._limit is not None and len(self.evaluations) >= self._limit:
            raise _Stopped(f"stopped after {self._limit} evaluations, as asked; this is the lowest value seen")
        point = np.array(x, dtype=np.float64).ravel()
        try:
            value = float(self._fun(point.copy()))
        except StopIteration as error:
            # scipy's finite differences run inside map(), which would take this for the end of the list
            raise RuntimeError("the function raised StopIteration; only the callback may stop a run so") from error
        if not math.isfinite(value):
            raise ValueError(f"evaluation {len(self.evaluations)} returned {value}; the optimiser cannot go on")
        key = tuple(point.tolist())
        self.evaluations.append(Evaluation(len(self.evaluations), key, value))
        self._values[key] = value
        return value

    def value_at(self, x: Point) -> float:
        """The value at `x`: the latest measured there, else measured now."""
        value = self._values.get(tuple(x.tolist()))
        return self(x) if value is None else value

    def step(self, x: ArrayLike, value: float | None = None) -> None:
        """Record an iteration that ended at `x`, and tell the caller."""
        key = tuple(np.array(x, dtype=np.float64).ravel().tolist())
        if value is None:
            value = self._values.get(key, self.evaluations[-1].value)
        iteration = Iteration(len(self.iterations), key, value, len(self.evaluations))
        self.iterations.append(iteration)
        if self._callback is not None:
            try:
                self._callback(iteration)
            except StopIteration:
                raise _Stopped("stopped by the callback; this is the lowest value seen") from None


def _run_scipy(
    recorder: _Recorder, start: Point, optimizer: Optimizer, maxiter: int, tol: float | None
) -> tuple[Point, bool, str]:
    from scipy import optimize

    options: dict[str, Any] = {"maxiter": maxiter, optimizer.option_of_tol: tol}
    if optimizer.name == "L-BFGS-B":
        # scipy's own 15,000 evaluations and 1e-5 gradient would end a run before `maxiter` and `tol` do
        options |= {"maxfun": 10**9, "gtol": 1e-7}
    elif optimizer.name in ("Nelder-Mead", "Powell"):
        options |= {"maxfev": 10**9}
    result = optimize.minimize(recorder, start, method=optimizer.name, callback=recorder.step, options=options)
    return np.array(result.x, dtype=np.float64), bool(result.success), str(result.message)


# Spall, "Implementation of the simultaneous perturbation algorithm for stochastic optimization",
# IEEE Trans. Aerosp. Electron. Syst. 34, 817 (1998): a_k = a / (A + k + 1)**alpha, c_k = c / (k + 1)**gamma,
# with the exponents it calls practically effective, and A a tenth of the expected iterations
_ALPHA, _GAMMA, _STABILITY = 0.602, 0.101, 0.1
# for angles: a perturbation well above shot noise and well below the period
_PERTURBATION = 0.2
# `a` is set so that the mean first step is this long per parameter, in radians
_FIRST_STEP = 0.15
_CALIBRATION_PAIRS = 5
_QUIET_STEPS = 5


def _run_spsa(recorder: _Recorder, start: Point, seed: int, maxiter: int, tol: float | None) -> tuple[Point, bool, str]:
    """Calibrate, take `maxiter` steps, and measure where they end.

    10 + 2 * maxiter + 1 evaluations; no linear algebra, whose sums would depend on the BLAS. With `tol`, stops after
    5 steps in a row shorter than it, in radians per parameter.
    """
    signs = _rademacher(np.random.Generator(np.random.PCG64(seed)), start.size)
    slopes = [abs(_pair(recorder, start, next(signs), _PERTURBATION)[0]) for _ in range(_CALIBRATION_PAIRS)]
    slope = math.fsum(slopes) / len(slopes)
    stability = _STABILITY * maxiter
    gain = _FIRST_STEP * (stability + 1.0) ** _ALPHA / (slope if slope > 1e-10 else 1.0)
    x, quiet = start, 0
    for k in range(maxiter):
        delta = next(signs)
        slope, mean = _pair(recorder, x, delta, _PERTURBATION / (k + 1.0) ** _GAMMA)
        length = gain * slope / (stability + k + 1.0) ** _ALPHA
        x = x - length * delta
        recorder.step(x, mean)
        quiet = quiet + 1 if tol is not None and abs(length) < tol else 0
        if quiet == _QUIET_STEPS:
            break
    recorder(x)
    ended = f"{_QUIET_STEPS} steps in a row below {tol}" if quiet == _QUIET_STEPS else f"took all {maxiter} steps"
    return x, True, ended


def _rademacher(generator: np.random.Generator, size: int) -> Iterator[Point]:
    while True:
        yield (2 * generator.integers(0, 2, size=size) - 1).astype(np.float64)


def _pair(recorder: _Recorder, x: Point, delta: Point, width: float) -> tuple[float, float]:
    """(slope along `delta`, mean of both values), from one evaluation on either side of `x`."""
    above, below = recorder(x + width * delta), recorder(x - width * delta)
    return (above - below) / (2.0 * width), (above + below) / 2.0
