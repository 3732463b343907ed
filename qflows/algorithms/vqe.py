"""The variational quantum eigensolver as a loop of durable jobs; free of Prefect.

Every evaluation is a ledger job. A loop that is killed at evaluation k and run again with the same run key asks for
the same points, finds the first k answers in the ledger, and goes on: the optimizer is a pure function of its seed
and the values it got (Peruzzo et al., Nature Communications 5, 4213 (2014), for the method). Pure up to the last bits,
that is: those depend on the processor, so the points are kept in the ledger as well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from qflows.algorithms.optimizers import Iteration, check_method, default_method, minimize
from qflows.algorithms.problems import Problem, ansatz, initial_point, problem_from_operator
from qflows.algorithms.problems import problem as named_problem
from qflows.core.client import Client
from qflows.core.scope import Scope
from qflows.core.sessions import SessionHold
from qflows.errors import JobFailed, QflowsError
from qflows.keys import digest, seed_of
from qflows.ledger import points
from qflows.ledger.intents import Intent
from qflows.model import Expectation, Job
from qflows.programs.observables import observable

log = logging.getLogger("qflows.vqe")

_SESSIONS_AN_EVALUATION = 5
# radians; far above what rounding does to a point, far below what an angle means to a device
_SAME = 1e-6

Point = tuple[float, ...]


@dataclass(frozen=True)
class VqeStep:
    """One evaluation. `energy` includes the problem's constant offset; `point` in radians."""

    index: int
    energy: float
    std_error: float
    job: str
    point: tuple[float, ...]


@dataclass(frozen=True)
class VqeResult:
    """Where the loop ended and the way there. Energies in `unit`, offset included."""

    problem: str
    energy: float
    std_error: float
    reference: float | None
    point: tuple[float, ...]
    unit: str
    optimizer: str
    success: bool
    message: str
    trace: tuple[VqeStep, ...]
    run_key: str

    @property
    def error(self) -> float | None:
        """Signed distance to the reference energy, None without one."""
        return self.energy - self.reference if self.reference is not None else None

    @property
    def n_evaluations(self) -> int:
        """Jobs that the loop asked for."""
        return len(self.trace)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and texts."""
        return asdict(self) | {"error": self.error}


@dataclass
class Evaluator:
    """Points to energies through the ledger; keeps the trace."""

    core: Client
    scope: Scope
    problem: Problem
    device: str
    shots: int | None
    options: Mapping[str, Any] | None
    on_step: Callable[[VqeStep], None]
    hold: SessionHold | None = None
    reopen: Callable[[], SessionHold] | None = None

    def __post_init__(self) -> None:
        self.trace: list[VqeStep] = []
        self.asked: list[Point] = []  # as the optimizer put them; equal to the trace's but for rounding
        self._trail: dict[int, Point] = {}
        self._refused_in = -1  # length of the trace when a session refused last
        self._hamiltonian = observable(list(self.problem.hamiltonian))

    @cached_property
    def _ansatz(self) -> Any:
        return ansatz(self.problem)

    def __call__(self, point: Any) -> float:
        """The energy at `point`; bought once, however often and wherever this run is started again."""
        index = len(self.trace) + 1
        asked = tuple(float(x) for x in point)
        values = self._as_before(index, asked)
        specs = self.core.specs(
            (self._ansatz, values),
            device=self.device,
            shots=self.shots,
            observables=self._hamiltonian,
            options=self.options,
            name=f"{self.problem.name} evaluation {index}",
            label="vqe",
            session_id=self.hold.vendor_id if self.hold else None,
        )
        intents = self.core.intents(specs, device=self.device, scope=self.scope)
        jobs, found = self._value(intents)
        if index == 1:
            # the start does not depend on the processor, so every life of the loop meets the same first job
            self._trail = points.trail(self.core.ledger, jobs[0].key)
        energy = found.value + self.problem.offset
        step = VqeStep(index, energy, found.std_error, jobs[0].key, values)
        self.trace.append(step)
        self.asked.append(asked)
        self.on_step(step)
        return energy

    def _as_before(self, index: int, asked: Point) -> Point:
        """The point of this evaluation in an earlier life of the run, if it is the same but for rounding.

        Another kind of processor has another BLAS, whose sums differ in the last bits; so would the angles, and every
        evaluation from there on would be a new job.
        """
        if index == 1:
            return asked
        before = self._trail.get(index)
        if before is not None and len(before) == len(asked):
            if all(abs(old - new) <= _SAME for old, new in zip(before, asked, strict=True)):
                return before
            log.warning("evaluation %d is elsewhere than in the run's earlier life; it is bought anew", index)
        points.keep(self.core.ledger, self.trace[0].job, index, asked)
        return asked

    def _value(self, intents: Sequence[Intent]) -> tuple[list[Job], Expectation]:
        """Buys and waits. Jobs that a session took down with it are bought again in a new one, as their next epoch."""
        for _ in range(_SESSIONS_AN_EVALUATION):
            jobs = self.core.buy(intents)
            try:
                return jobs, self.core.result([job.key for job in jobs]).expectation
            except JobFailed as error:
                if self.hold is None or self.reopen is None or not self._session_is_over(error):
                    raise
                self.hold.close()
                self.hold = self.reopen()
                resubmit = max(job.epoch for job in jobs) + 1
                intents = [
                    replace(intent, spec=replace(intent.spec, session_id=self.hold.vendor_id), resubmit=resubmit)
                    for intent in intents
                ]
        raise QflowsError(f"{_SESSIONS_AN_EVALUATION} sessions ended under one evaluation; choose a longer max_time")

    def _session_is_over(self, error: JobFailed) -> bool:
        """True when the session took the job down: it has ended, or takes no more jobs though it looks open.

        A refusal costs nothing, so one more session is the cheap way to tell the second case from a bad circuit.
        """
        assert self.hold is not None
        if not self.hold.is_open():
            return True
        refused = error.key is not None and self.core.find(error.key).error_kind == "refused"
        first = self._refused_in != len(self.trace)
        self._refused_in = len(self.trace)
        return refused and first


def solve(
    core: Client,
    scope: Scope,
    problem: Problem,
    *,
    device: str,
    shots: int | None,
    optimizer: str | None = None,
    maxiter: int | None = None,
    max_evaluations: int | None = None,
    seed: int | None = None,
    start: Sequence[float] | None = None,
    options: Mapping[str, Any] | None = None,
    open_session: Callable[[], SessionHold] | None = None,
    on_step: Callable[[VqeStep], None] = lambda step: None,
    on_iteration: Callable[[Iteration], None] | None = None,
) -> VqeResult:
    """The loop itself, free of Prefect. Without `seed` the run key gives it, so that a replay draws the same.

    With `open_session` the jobs run in that session, in a new one when it ends first; it is closed at the end. When
    the process dies instead, the next start of the run goes on in it, or the sweeper closes it.
    """
    method = optimizer or default_method(shots)
    check_method(method)
    chosen = seed if seed is not None else seed_of(digest("vqe-seed/1", scope.run_key)) % 2**32
    hold = open_session() if open_session else None
    evaluate = Evaluator(core, scope, problem, device, shots, options, on_step, hold, open_session)
    first = list(start) if start is not None else initial_point(problem, chosen)
    try:
        found = minimize(
            evaluate,
            first,
            method=method,
            seed=chosen,
            maxiter=maxiter,
            max_evaluations=max_evaluations,
            callback=on_iteration,
        )
        end = tuple(float(x) for x in found.x)
        at_end = [step for step, asked in zip(evaluate.trace, evaluate.asked, strict=True) if asked == end]
        # some methods end at a point they did not evaluate; its energy is then bought like any other
        last = at_end[-1] if at_end else _evaluated(evaluate, found.x)
    finally:
        # also when the run is interrupted: paid time must not tick on without work
        if evaluate.hold is not None:
            evaluate.hold.close()
    return VqeResult(
        problem=problem.name,
        energy=last.energy,
        std_error=last.std_error,
        reference=problem.reference_energy,
        point=last.point,
        unit=problem.unit,
        optimizer=method,
        success=found.success,
        message=found.message,
        trace=tuple(evaluate.trace),
        run_key=scope.run_key,
    )


def _evaluated(evaluate: Evaluator, point: Any) -> VqeStep:
    evaluate(point)
    return evaluate.trace[-1]


def to_problem(source: Any) -> Problem:
    """A named problem, or one made of a SparsePauliOp or a list of (label, coefficient)."""
    if isinstance(source, Problem):
        return source
    return named_problem(source) if isinstance(source, str) else problem_from_operator(source)
