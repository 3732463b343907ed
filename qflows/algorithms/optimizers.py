"""Optimizers for loops in which every evaluation is a paid job: scipy's, a seeded SPSA, and any callable.

The sequence of points is a pure function of (method, start, seed, limits, values returned so far). A run that was
killed and is replayed with the recorded values therefore asks for the same points bit for bit, and buys nothing again.
Bit for bit holds for one build of numpy and scipy on one kind of processor; elsewhere the last bits of a point may
differ, for which `qflows.algorithms.trail` compensates by storing the points.
"""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qflows.errors import ProgramRejected

Point = NDArray[np.float64]
Bounds = Sequence[tuple[float | None, float | None]]
Method = str | Callable[..., Any]


@dataclass(frozen=True)
class Optimizer:
    """What `--help` and validation need. `maxiter` and `tol` are the defaults of `minimize`.

    `tolerates_noise` is False for methods that difference the function over 1e-8 steps: with shots they see only noise,
    unless they are given gradients. `uses_gradient`: takes one; `needs_gradient`: cannot run without;
    `differences_gradient`: differences it over tiny steps, so that even a noisy gradient does not help.
    """

    name: str
    summary: str
    tolerates_noise: bool
    maxiter: int
    tol: float | None
    option_of_tol: str = "tol"
    takes_bounds: bool = True
    needs_gradient: bool = False
    differences_gradient: bool = False

    @property
    def uses_gradient(self) -> bool:
        """Differences the function if no gradient is given."""
        return not self.tolerates_noise


OPTIMIZERS: dict[str, Optimizer] = {
    optimizer.name: optimizer
    for optimizer in (
        Optimizer("SLSQP", "sequential least squares, finite differences; default if exact", False, 200, 1e-10, "ftol"),
        Optimizer("L-BFGS-B", "limited-memory quasi-Newton, finite differences", False, 200, 1e-12, "ftol"),
        Optimizer("BFGS", "quasi-Newton, finite differences", False, 200, 1e-6, "gtol", takes_bounds=False),
        Optimizer("CG", "conjugate gradients, finite differences", False, 200, 1e-6, "gtol", takes_bounds=False),
        Optimizer(
            "TNC", "truncated Newton, finite differences", False, 200, 1e-12, "ftol", differences_gradient=True,
        ),
        Optimizer("trust-constr", "trust region, finite differences", False, 200, 1e-8, "gtol"),
        Optimizer(
            "Newton-CG", "Newton with conjugate gradients; only with a gradient", False, 200, 1e-8, "xtol",
            takes_bounds=False, needs_gradient=True, differences_gradient=True,
        ),
        Optimizer("COBYLA", "linear models, no gradient", True, 1000, 1e-4, "tol"),
        Optimizer("Nelder-Mead", "simplex, no gradient", True, 1000, 1e-6, "fatol"),
        Optimizer("Powell", "line searches along conjugate directions, no gradient", True, 100, 1e-6, "ftol"),
        Optimizer("COBYQA", "quadratic models, no gradient", True, 1000, 1e-6, "final_tr_radius"),
        Optimizer("SPSA", "seeded simultaneous perturbation; default with shots", True, 100, None),
    )
}  # fmt: skip
_WITH_HESSIAN = ("dogleg", "trust-ncg", "trust-exact", "trust-krylov")


@dataclass(frozen=True)
class Evaluation:
    """One call of the function, in order of asking. `point` is in radians if parameters are angles."""

    index: int
    point: tuple[float, ...]
    value: float


@dataclass(frozen=True)
class Iteration:
    """One accepted step. `value` is that of `point` if it was evaluated, otherwise the mean of SPSA's pair around
    it."""

    index: int
    point: tuple[float, ...]
    value: float
    n_evaluations: int


@dataclass(frozen=True)
class OptimizeResult:
    """Where a minimization ended, and the path there.

    `x` is the method's own answer, or the point of the lowest value seen if the run was cut short. `fun` is the value
    there: measured again with `at_end`, because a value chosen for being low is too low on average.
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

    Measured without shots on H2, LiH and the 4-site chain, SLSQP needed the fewest evaluations of the scipy methods (8,
    102 and 267). With shots a finite difference is noise divided by a tiny step, and SPSA needs 2 evaluations per step,
    whatever the number of parameters.
    """
    return "SLSQP" if shots is None else "SPSA"


def check_method(method: str) -> Optimizer:
    """The optimizer with this name, in scipy's spelling. Raises ProgramRejected for others, listing the names."""
    if method in _WITH_HESSIAN:
        raise ProgramRejected(f"{method} needs second derivatives, which are not available; use Newton-CG or BFGS")
    if method not in OPTIMIZERS:
        raise ProgramRejected(f"unknown optimizer {str(method)[:80]!r}; choose from {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[method]


def name_of(method: Method) -> str:
    """The method's name: for a callable that of the function or class."""
    if isinstance(method, str):
        return method
    inner = getattr(method, "func", method)  # functools.partial
    return str(getattr(inner, "__name__", type(inner).__name__))


def check_noise(method: Method, *, has_gradient: bool, remedy: str) -> None:
    """Refuse methods that would difference shot noise, and say what to do instead; callables are the user's choice."""
    if not isinstance(method, str):
        return
    optimizer = check_method(method)
    good = ", ".join(one.name for one in OPTIMIZERS.values() if one.tolerates_noise)
    if optimizer.differences_gradient:
        raise ProgramRejected(
            f"{method} takes finite differences over tiny steps, even of gradients, and shot noise hides them; "
            f"use {good}"
        )
    if not optimizer.tolerates_noise and not has_gradient:
        raise ProgramRejected(
            f"{method} takes finite differences over tiny steps, and shot noise hides them; {remedy}, or use {good}"
        )


def check_walk(start: Point, *, maxiter: int | None, max_evaluations: int | None, seed: int | None) -> None:
    """Raise ProgramRejected for a start that is not a list of finite numbers, or an invalid limit or seed."""
    if start.ndim != 1 or start.size == 0 or not np.isfinite(start).all():
        raise ProgramRejected("the starting point must be a non-empty list of finite numbers")
    for name, given, least in (("maxiter", maxiter, 1), ("max_evaluations", max_evaluations, 1), ("seed", seed, 0)):
        if given is None:
            continue
        try:
            if isinstance(given, bool):
                raise TypeError
            number = operator.index(given)
        except TypeError:
            raise ProgramRejected(f"{name} must be a whole number, not {given!r:.60}") from None
        if number < least:
            raise ProgramRejected(f"{name} must be at least {least}, not {given}")


@dataclass(frozen=True)
class Gradient:
    """Derivatives of the function; one call costs `n_evaluations`, which count towards `max_evaluations`."""

    at: Callable[[Point], Point]
    n_evaluations: int


def minimize(
    fun: Callable[[Point], float],
    x0: ArrayLike,
    *,
    method: Method = "SLSQP",
    seed: int = 0,
    maxiter: int | None = None,
    tol: float | None = None,
    max_evaluations: int | None = None,
    callback: Callable[[Iteration], object] | None = None,
    bounds: Bounds | None = None,
    gradient: Gradient | None = None,
    at_end: Callable[[Point], float] | None = None,
    stop: Callable[[], bool] | None = None,
) -> OptimizeResult:
    """Minimize `fun` from `x0`, recording every evaluation.

    `method`: a name of `OPTIMIZERS`; or a callable with scipy's interface (fun, x0, ...) or qiskit-algorithms' (fun=,
    x0=, jac=, bounds=), or an object with such a `minimize`. If it draws random numbers, it must be seeded. `fun` gets
    a separate 1-D float64 array and returns a finite float; its errors pass through unchanged, except StopIteration,
    which becomes RuntimeError. `maxiter` counts the method's iterations (COBYLA: evaluations). `tol` is the method's
    main tolerance: change of the value for SLSQP, L-BFGS-B, Nelder-Mead and Powell, gradient for BFGS, trust radius for
    COBYLA, step for SPSA. `max_evaluations` is a hard limit, because each one may cost money. `callback` may raise
    StopIteration to stop; `stop` is called before every evaluation. `at_end`: measures the end point again, for
    functions with noise, within `max_evaluations`. `bounds`: (low, high) of each parameter, or None; COBYLA may
    evaluate outside them on the way. Raises ProgramRejected for an unknown method, a bad start or a bad limit, and
    ValueError if a value is not finite.
    """
    optimizer = check_method(method) if isinstance(method, str) else Optimizer(name_of(method), "", True, 1000, None)
    start = np.array(x0, dtype=np.float64)
    check_walk(start, maxiter=maxiter, max_evaluations=max_evaluations, seed=seed)
    if tol is not None and not (tol > 0 and math.isfinite(tol)):
        raise ProgramRejected(f"tol must be a positive number, not {tol}")
    _check_bounds(optimizer, start, bounds)
    if gradient is None and optimizer.needs_gradient:
        raise ProgramRejected(f"{method} needs gradients; pass gradient=, or use BFGS")
    if gradient is not None and isinstance(method, str) and not optimizer.uses_gradient:
        raise ProgramRejected(f"{method} uses no gradient; leave it out, or use L-BFGS-B")
    is_fresh = at_end is not None and max_evaluations != 1  # a single value was not chosen from several
    limit = max_evaluations - 1 if is_fresh and max_evaluations is not None else max_evaluations
    recorder = _Recorder(fun, limit, callback, gradient, stop)
    steps = maxiter or optimizer.maxiter
    tolerance = optimizer.tol if tol is None else tol
    try:
        if method == "SPSA":
            end, success, message = _run_spsa(recorder, start, seed, steps, tolerance, bounds)
        elif isinstance(method, str):
            end, success, message = _run_scipy(recorder, start, optimizer, steps, tolerance, bounds)
        else:
            end, success, message = _run_callable(recorder, start, method, bounds)
        value = None if is_fresh else recorder.value_at(end)
    except _Stopped as stopped:
        end, value, success, message = recorder.lowest(start), None, False, str(stopped)
        value = None if is_fresh or not recorder.evaluations else recorder.value_at(end)
    if value is None:
        value = at_end(end) if at_end is not None else recorder.measure(end)
    evaluations, iterations = tuple(recorder.evaluations), tuple(recorder.iterations)
    return OptimizeResult(end, value, success, message, optimizer.name, seed, evaluations, iterations)


def _check_bounds(optimizer: Optimizer, start: Point, bounds: Bounds | None) -> None:
    if bounds is None:
        return
    if not optimizer.takes_bounds:
        raise ProgramRejected(f"{optimizer.name} takes no bounds; use L-BFGS-B, COBYLA, Nelder-Mead, Powell or SPSA")
    if len(bounds) != start.size:
        raise ProgramRejected(f"{len(bounds)} bounds for {start.size} parameters; give one (low, high) for each")
    for place, (low, high) in enumerate(bounds):
        if low is not None and high is not None and not low < high:
            raise ProgramRejected(f"bounds of parameter {place}: {low} is not below {high}")


class _Stopped(BaseException):
    """Unwinds a scipy routine; not an Exception, so that nothing in between swallows it."""


class _Recorder:
    """Calls the function, counts, refuses values that no optimizer can use, and records."""

    def __init__(
        self,
        fun: Callable[[Point], float],
        limit: int | None,
        callback: Callable[[Iteration], object] | None,
        gradient: Gradient | None,
        stop: Callable[[], bool] | None,
    ) -> None:
        self._fun, self._limit, self._callback, self._gradient, self._stop = fun, limit, callback, gradient, stop
        self._spent = 0
        self._values: dict[tuple[float, ...], float] = {}
        self.evaluations: list[Evaluation] = []
        self.iterations: list[Iteration] = []

    def __call__(self, x: ArrayLike) -> float:
        self._spend(1)
        return self.measure(x)

    def _spend(self, n: int) -> None:
        if self._stop is not None and self._stop():
            raise _Stopped("stopped on request, at the lowest value seen")
        if self._limit is not None and self._spent + n > self._limit:
            raise _Stopped(f"stopped after {self._spent} evaluations as requested, at the lowest value seen")
        self._spent += n

    @property
    def gradient(self) -> Callable[[ArrayLike], Point] | None:
        """The gradient, with its evaluations counted; None if none was given."""
        given = self._gradient
        if given is None:
            return None

        def at(x: ArrayLike) -> Point:
            self._spend(given.n_evaluations)
            return given.at(np.array(x, dtype=np.float64).ravel())

        return at

    def lowest(self, start: Point) -> Point:
        """The point of the lowest value seen; the start if there is none."""
        if not self.evaluations:
            return start
        return np.array(min(self.evaluations, key=lambda evaluation: evaluation.value).point)

    def measure(self, x: ArrayLike) -> float:
        """One evaluation, regardless of the limit."""
        point = np.array(x, dtype=np.float64).ravel()
        try:
            value = float(self._fun(point.copy()))
        except StopIteration as error:
            # scipy's finite differences run inside map(), which would take this for the end of the list
            raise RuntimeError(
                "the function raised StopIteration; only the callback may do that to stop a run"
            ) from error
        if not math.isfinite(value):
            raise ValueError(
                f"evaluation {len(self.evaluations)} returned {value}, and no optimizer can continue with that; "
                "return finite numbers"
            )
        key = tuple(point.tolist())
        self.evaluations.append(Evaluation(len(self.evaluations), key, value))
        self._values[key] = value
        return value

    def value_at(self, x: Point) -> float:
        """The value at `x`: the latest measured there, otherwise measured now."""
        value = self._values.get(tuple(x.tolist()))
        return self(x) if value is None else value

    def accepted(self, x: ArrayLike, *_state: Any) -> None:
        """scipy's callback; some methods pass more than the point."""
        self.step(x)

    def step(self, x: ArrayLike, value: float | None = None) -> None:
        """Record an iteration that ended at `x`, and notify the caller."""
        key = tuple(np.array(x, dtype=np.float64).ravel().tolist())
        if value is None:
            value = self._values.get(key, self.evaluations[-1].value if self.evaluations else math.nan)
        iteration = Iteration(len(self.iterations), key, value, len(self.evaluations))
        self.iterations.append(iteration)
        if self._callback is not None:
            try:
                self._callback(iteration)
            except StopIteration:
                raise _Stopped("stopped by the callback, at the lowest value seen") from None


def _run_scipy(
    recorder: _Recorder,
    start: Point,
    optimizer: Optimizer,
    maxiter: int,
    tol: float | None,
    bounds: Bounds | None,
) -> tuple[Point, bool, str]:
    from scipy import optimize

    options: dict[str, Any] = {"maxiter": maxiter, optimizer.option_of_tol: tol}
    if optimizer.name == "L-BFGS-B":
        # scipy's own 15,000 evaluations and 1e-5 gradient would end a run before `maxiter` and `tol` do
        options |= {"maxfun": 10**9, "gtol": 1e-7}
    elif optimizer.name in ("Nelder-Mead", "Powell"):
        options |= {"maxfev": 10**9}
    elif optimizer.name == "TNC":
        options = {"maxfun": 10**9 if maxiter > 10**6 else 100 * maxiter, "ftol": tol}
    elif optimizer.name == "COBYQA":
        options |= {"maxfev": 10**9}
    result = optimize.minimize(
        recorder,
        start,
        method=optimizer.name,
        jac=recorder.gradient,
        bounds=bounds,
        callback=recorder.accepted,
        options=options,
    )
    return np.array(result.x, dtype=np.float64), bool(result.success), str(result.message)


def _run_callable(
    recorder: _Recorder, start: Point, method: Callable[..., Any], bounds: Bounds | None
) -> tuple[Point, bool, str]:
    """Call a custom method: scipy passes everything, qiskit-algorithms four names, so each gets what it accepts."""
    call = getattr(method, "minimize", method)
    offered = {"args": (), "jac": recorder.gradient, "bounds": bounds, "callback": recorder.accepted}
    taken = inspect.signature(call).parameters
    given = {
        name: value
        for name, value in offered.items()
        if name in taken and (value is not None or taken[name].default is inspect.Parameter.empty)
    }
    result = call(recorder, start, **given)
    end = np.array(getattr(result, "x", result), dtype=np.float64).ravel()
    if end.shape != start.shape or not np.isfinite(end).all():
        raise ProgramRejected(f"optimizer {name_of(method)} must return a point .x of {start.size} finite numbers")
    return end, bool(getattr(result, "success", True)), str(getattr(result, "message", "the optimizer returned"))


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


def _run_spsa(
    recorder: _Recorder, start: Point, seed: int, maxiter: int, tol: float | None, bounds: Bounds | None
) -> tuple[Point, bool, str]:
    """Calibrate and take `maxiter` steps; the caller measures where they end.

    10 + 2 * maxiter evaluations; no linear algebra, whose sums would depend on the BLAS. With `tol`, stops after
    5 steps in a row shorter than it, in radians per parameter. Points are moved inside the bounds.
    """
    inside = _clip(bounds)
    signs = _rademacher(np.random.Generator(np.random.PCG64(seed)), start.size)
    slopes = [abs(_pair(recorder, start, next(signs), _PERTURBATION, inside)[0]) for _ in range(_CALIBRATION_PAIRS)]
    slope = math.fsum(slopes) / len(slopes)
    stability = _STABILITY * maxiter
    gain = _FIRST_STEP * (stability + 1.0) ** _ALPHA / (slope if slope > 1e-10 else 1.0)
    x, quiet = inside(start), 0
    for k in range(maxiter):
        delta = next(signs)
        slope, mean = _pair(recorder, x, delta, _PERTURBATION / (k + 1.0) ** _GAMMA, inside)
        length = gain * slope / (stability + k + 1.0) ** _ALPHA
        x = inside(x - length * delta)
        recorder.step(x, mean)
        quiet = quiet + 1 if tol is not None and abs(length) < tol else 0
        if quiet == _QUIET_STEPS:
            break
    ended = f"{_QUIET_STEPS} steps in a row below {tol}" if quiet == _QUIET_STEPS else f"took all {maxiter} steps"
    return x, True, ended


def _rademacher(generator: np.random.Generator, size: int) -> Iterator[Point]:
    while True:
        yield (2 * generator.integers(0, 2, size=size) - 1).astype(np.float64)


def _clip(bounds: Bounds | None) -> Callable[[Point], Point]:
    if bounds is None:
        return lambda x: x
    low = np.array([-np.inf if one is None else one for one, _ in bounds])
    high = np.array([np.inf if one is None else one for _, one in bounds])
    return lambda x: np.clip(x, low, high)


def _pair(
    recorder: _Recorder, x: Point, delta: Point, width: float, inside: Callable[[Point], Point]
) -> tuple[float, float]:
    """(slope along `delta`, mean of both values), from one evaluation on either side of `x`."""
    above, below = recorder(inside(x + width * delta)), recorder(inside(x - width * delta))
    return (above - below) / (2.0 * width), (above + below) / 2.0
