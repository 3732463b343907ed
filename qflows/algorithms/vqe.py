"""The variational quantum eigensolver as a loop of durable jobs; free of Prefect.

Every evaluation is a ledger job. A loop that is killed at evaluation k and run again with the same run key asks for the
same points, finds the first k answers in the ledger, and continues: the optimizer is a pure function of its seed and
the values it got (Peruzzo et al., Nature Communications 5, 4213 (2014), for the method). It is pure only up to the last
bits, which depend on the processor, so the points are stored in the ledger as well, see `trail`.

With shots the energy reported is a new sample at the end point: the lowest of many noisy values is too low.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from qflows import display
from qflows.algorithms.gradients import ShiftRule, shift_rule
from qflows.algorithms.optimizers import (
    OPTIMIZERS,
    Bounds,
    Gradient,
    Iteration,
    Method,
    check_method,
    check_noise,
    default_method,
    minimize,
    name_of,
)
from qflows.algorithms.problems import Problem, ansatz, initial_point, problem_from_operator
from qflows.algorithms.problems import problem as named_problem
from qflows.algorithms.trail import Trail
from qflows.core import orders
from qflows.core.choice import asking
from qflows.core.choice.deciding import Asked
from qflows.core.client import Client
from qflows.core.devices import Device
from qflows.core.money import Price
from qflows.core.scope import Scope
from qflows.core.sessions import Session
from qflows.errors import JobFailed, ProgramRejected, QflowsError
from qflows.keys import digest, seed_of
from qflows.ledger.intents import Intent
from qflows.model import Expectation, Job, uncertain
from qflows.programs import to_program
from qflows.programs.observables import observable
from qflows.protocol import JobSpec

_SESSIONS_AN_EVALUATION = 5
PARAMETER_SHIFT = "parameter-shift"
Kind = Literal["loop", "gradient", "end"]

Point = tuple[float, ...]


@dataclass(frozen=True)
class VqeStep:
    """One evaluation. `energy` includes the problem's constant offset; `point` in radians.

    `kind`: "loop" as the optimizer asked; "gradient" with one angle shifted, around `point`; "end" the new sample that
    is reported.
    """

    index: int
    energy: float
    std_error: float
    job: str
    point: tuple[float, ...]
    kind: Kind = "loop"


@dataclass(frozen=True)
class VqeResult:
    """Where the loop ended and the path there. Energies in `unit`, offset included.

    `energy` and `std_error` are those of `job`: with shots a separate sample at `point`, last in `trace`. `setup`:
    digest of what makes two runs the same experiment (Hamiltonian, ansatz, optimizer and its limits, start, shots).
    """

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
    job: str = ""
    setup: str = ""

    def __repr__(self) -> str:
        return f"<VqeResult {self.problem}: {self.energy_text}, {self.n_evaluations} evaluations by {self.optimizer}>"

    def _repr_html_(self) -> str:
        return display.pairs(
            {
                "problem": self.problem,
                "energy": self.energy_text,
                "distance to the reference": self.error_text,
                "evaluations": self.n_evaluations,
                "optimizer": self.optimizer,
                "ended": self.message,
                "run key": self.run_key,
            }
        )

    @property
    def path(self) -> list[VqeStep]:
        """The trace without the shifted circuits of gradients: what a plot shows."""
        return [step for step in self.trace if step.kind != "gradient"]

    @property
    def energy_text(self) -> str:
        """Energy and standard error with their significant digits, and the unit."""
        return f"{uncertain(self.energy, self.std_error)} {self.unit}".rstrip()

    @property
    def error_text(self) -> str:
        """Distance to the reference with its standard error; empty without a reference."""
        if self.error is None:
            return ""
        # a distance between exact values is rounding or the optimizer's tolerance: only its size means anything
        return uncertain(self.error, self.std_error, sign=True) if self.std_error else f"{self.error:+.1e}"

    @property
    def error(self) -> float | None:
        """Signed distance to the reference energy, None without one."""
        return self.energy - self.reference if self.reference is not None else None

    @property
    def n_evaluations(self) -> int:
        """Number of jobs that the loop asked for."""
        return len(self.trace)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and texts."""
        return asdict(self) | {"error": self.error, "energy_text": self.energy_text}


@dataclass
class Evaluator:
    """Maps points to energies through the ledger; keeps the trace."""

    core: Client
    scope: Scope
    problem: Problem
    circuit: Any
    device: str
    shots: int | None
    options: Mapping[str, Any] | None
    on_step: Callable[[VqeStep], None]
    hold: Session | None = None
    reopen: Callable[[], Session] | None = None

    def __post_init__(self) -> None:
        self.trace: list[VqeStep] = []
        self.asked: list[Point] = []  # as the optimizer gave them; equal to the trace's up to rounding
        self._trail = Trail(self.core.ledger)
        self._questions = 0
        self._is_stopped = False
        self._refused_in = -1  # length of the trace when a session refused last
        self._hamiltonian = observable(list(self.problem.hamiltonian))

    @cached_property
    def rule(self) -> ShiftRule:
        """How gradients are measured."""
        return shift_rule(self.circuit)

    def __call__(self, point: Any) -> float:
        """The energy at `point`; bought once, however often and wherever this run is restarted."""
        return self._at(point, "loop")

    def at_end(self, point: Any) -> float:
        """The energy at the end point as a separate sample."""
        return self._at(point, "end")

    def gradient(self, point: Any) -> Any:
        """Derivatives of the energy, in the unit per radian; all shifted circuits are bought before any is awaited."""
        values = self._ask(point)
        shifted = self.rule.shifted(np.array(values))
        bought = [self._intents(self.rule.circuit, row, len(self.trace) + 1 + k) for k, row in enumerate(shifted)]
        self.core.buy([intent for intents in bought for intent in intents])
        energies = [self._note(*self._value(intents), values, "gradient") for intents in bought]
        return self.rule.gradient(np.array(values), energies)

    def is_stopped(self) -> bool:
        """True if the caller's function or somebody else asked the run to stop."""
        return self._is_stopped or self._trail.is_stopped(self.scope.run_key)

    def _at(self, point: Any, kind: Kind) -> float:
        values = self._ask(point)
        label = "vqe-end" if kind == "end" else "vqe"
        jobs, found = self._value(self._intents(self.circuit, values, len(self.trace) + 1, label))
        if not self.trace:
            # the start does not depend on the processor, so every life of the loop finds the same first job
            self._trail.open(jobs[0].key)
        energy = self._note(jobs, found, values, kind)
        self.asked.append(tuple(float(x) for x in point))
        return energy

    def _ask(self, point: Any) -> Point:
        self._questions += 1
        return self._trail.point(self._questions, point)

    def _intents(self, circuit: Any, values: Sequence[float], index: int, label: str = "vqe") -> list[Intent]:
        specs = self.core.specs(
            (circuit, values),
            device=self.device,
            shots=self.shots,
            observables=self._hamiltonian,
            options=self.options,
            name=f"{self.problem.name} evaluation {index}",
            label=label,
            session_id=self.hold.id if self.hold else None,
        )
        return self.core.intents(specs, device=self.device, scope=self.scope)

    def _note(self, jobs: Sequence[Job], found: Expectation, values: Point, kind: Kind) -> float:
        step = VqeStep(
            len(self.trace) + 1, found.value + self.problem.offset, found.std_error, jobs[0].key, values, kind
        )
        self.trace.append(step)
        try:
            self.on_step(step)
        except StopIteration:
            self._is_stopped = True
        return step.energy

    def _value(self, intents: Sequence[Intent]) -> tuple[list[Job], Expectation]:
        """Buy and wait. Jobs that a session took down with it are bought again in a new one, as their next epoch."""
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
                    replace(intent, spec=replace(intent.spec, session_id=self.hold.id), resubmit=resubmit)
                    for intent in intents
                ]
        raise QflowsError(f"{_SESSIONS_AN_EVALUATION} sessions ended during one evaluation; choose a longer max_time")

    def _session_is_over(self, error: JobFailed) -> bool:
        """True if the session took the job down: it has ended, or takes no more jobs though it looks open.

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
    optimizer: Method | None = None,
    maxiter: int | None = None,
    max_evaluations: int | None = None,
    seed: int | None = None,
    start: Sequence[float] | None = None,
    options: Mapping[str, Any] | None = None,
    open_session: Callable[[], Session] | None = None,
    on_step: Callable[[VqeStep], None] = lambda step: None,
    on_iteration: Callable[[Iteration], None] | None = None,
    circuit: Any = None,
    gradient: str | None = None,
    bounds: Bounds | None = None,
) -> VqeResult:
    """Run the loop, free of Prefect. Without `seed` the run key gives it, so that a replay draws the same.

    `circuit`: the caller's ansatz instead of the problem's. `gradient="parameter-shift"` measures gradients, for the
    methods that use them; with shots those methods are refused without it. `on_step` may raise StopIteration: the loop
    then ends at the lowest point seen. With `open_session` the jobs run in that session, or in a new one if it ends
    first; it is closed at the end. If the process dies instead, the next start of the run stays in it, or the
    reconciler closes it. Raises ProgramRejected before anything is bought.
    """
    method = optimizer or default_method(shots)
    _check(method, shots, gradient)
    used = ansatz(problem) if circuit is None else _own(circuit, problem)
    chosen = seed if seed is not None else seed_of(digest("vqe-seed/1", scope.run_key)) % 2**32
    first = _first(problem, circuit, start, chosen, used.num_parameters)
    evaluate = Evaluator(core, scope, problem, used, device, shots, options, on_step)
    shifts = Gradient(evaluate.gradient, evaluate.rule.n_evaluations) if gradient else None
    setup = _setup(problem, used, method, gradient, maxiter, max_evaluations, start, shots, bounds)
    evaluate.hold, evaluate.reopen = (open_session() if open_session else None), open_session
    try:
        found = minimize(
            evaluate,
            first,
            method=method,
            seed=chosen,
            maxiter=maxiter,
            max_evaluations=max_evaluations,
            callback=on_iteration,
            bounds=bounds,
            gradient=shifts,
            at_end=evaluate.at_end if shots is not None else None,
            stop=evaluate.is_stopped,
        )
    finally:
        # also on an interrupt: paid time must not run on without work
        if evaluate.hold is not None:
            evaluate.hold.close()
    last = _last(evaluate, tuple(float(x) for x in found.x))
    return VqeResult(
        problem=problem.name,
        energy=last.energy,
        std_error=last.std_error,
        reference=problem.reference_energy,
        point=last.point,
        unit=problem.unit,
        optimizer=found.method,
        success=found.success,
        message=found.message,
        trace=tuple(evaluate.trace),
        run_key=scope.run_key,
        job=last.job,
        setup=setup,
    )


def price_of_an_evaluation(
    core: Client, problem: Problem, *, device: str, shots: int | None, options: Mapping[str, Any] | None = None
) -> Price:
    """The cost of one energy; buys and records nothing. All evaluations of a run have the same circuits except for the
    angles. Raises ProgramRejected, NotSent."""
    asked = an_evaluation(problem, shots=shots, options=options)
    rule = core.rule(device)
    if rule is not None:
        device = core.first_fitting(rule, asked)
    assert asked.specs is not None
    return core.price_of(asked.specs(core.device(device)), device=device)


def an_evaluation(
    problem: Problem, *, shots: int | None, options: Mapping[str, Any] | None = None, circuit: Any = None
) -> Asked:
    """What one energy asks of a device, for a rule to choose by. Angles make no difference to a price."""

    def specs(target: Device) -> list[JobSpec]:
        used = ansatz(problem) if circuit is None else _own(circuit, problem)
        return orders.job_specs(
            target,
            (used, [0.1 + 0.01 * k for k in range(used.num_parameters)]),
            shots=shots,
            observables=observable(list(problem.hamiltonian)),
            options=options,
            name=f"{problem.name} evaluation",
        )

    return Asked(asking.for_a_place("vqe", problem.name, shots, options).content, specs)


def _check(method: Method, shots: int | None, gradient: str | None) -> None:
    if isinstance(method, str):
        check_method(method)
    if gradient not in (None, PARAMETER_SHIFT):
        raise ProgramRejected(f"unknown gradient {str(gradient)[:80]!r}; the only one is {PARAMETER_SHIFT!r}")
    if gradient and isinstance(method, str) and not OPTIMIZERS[method].uses_gradient:
        raise ProgramRejected(f"{method} uses no gradient; leave gradient out, or use L-BFGS-B")
    if shots is not None:
        check_noise(method, has_gradient=gradient is not None, remedy=f"pass gradient={PARAMETER_SHIFT!r}")


def _own(circuit: Any, problem: Problem) -> Any:
    """The caller's ansatz, checked."""
    if not hasattr(circuit, "num_parameters") or not hasattr(circuit, "count_ops"):
        raise ProgramRejected(f"the ansatz must be a QuantumCircuit, not {type(circuit).__name__}")
    if circuit.num_qubits != problem.n_qubits:
        raise ProgramRejected(f"the ansatz has {circuit.num_qubits} qubits, the operator acts on {problem.n_qubits}")
    if "measure" in circuit.count_ops():
        raise ProgramRejected("the ansatz contains measurements; remove them, the observable decides what is measured")
    if not circuit.num_parameters:
        raise ProgramRejected("the ansatz has no parameters to optimize")
    return circuit


def _first(problem: Problem, circuit: Any, start: Sequence[float] | None, seed: int, n: int) -> list[float]:
    if start is not None:
        if len(start) != n:
            raise ProgramRejected(f"the start has {len(start)} values, the ansatz {n} parameters")
        return [float(x) for x in start]
    if circuit is None:
        return [float(x) for x in initial_point(problem, seed)]
    # at all zeros many circuits have zero gradient
    return np.random.Generator(np.random.PCG64(seed)).uniform(-1.0, 1.0, n).tolist()


def _setup(
    problem: Problem,
    circuit: Any,
    method: Method,
    gradient: str | None,
    maxiter: int | None,
    max_evaluations: int | None,
    start: Sequence[float] | None,
    shots: int | None,
    bounds: Bounds | None,
) -> str:
    """What makes two runs the same experiment; not the seed, nor a start that was drawn."""
    # any values will do, as long as they are always the same and all different
    trial = to_program((circuit, [0.1 + 0.01 * k for k in range(circuit.num_parameters)]))
    return digest(
        "vqe-setup/1",
        observable(list(problem.hamiltonian)).to_json(),
        problem.offset,
        trial.digest,
        name_of(method),
        gradient,
        maxiter,
        max_evaluations,
        [float(x) for x in start] if start is not None else None,
        shots,
        [list(pair) for pair in bounds] if bounds is not None else None,
    )


def _last(evaluate: Evaluator, end: Point) -> VqeStep:
    """The reported step: the new sample, or with exact values the step at the end point."""
    if evaluate.trace[-1].kind == "end":
        return evaluate.trace[-1]
    steps = [step for step in evaluate.trace if step.kind == "loop"]
    at_end = [step for step, asked in zip(steps, evaluate.asked, strict=True) if asked == end]
    return at_end[-1] if at_end else evaluate.trace[-1]


def to_problem(source: Any) -> Problem:
    """A named problem, or one made of a SparsePauliOp or a list of (label, coefficient)."""
    if isinstance(source, Problem):
        return source
    if isinstance(source, str):
        return named_problem(source)
    return problem_from_operator(list(source.items()) if isinstance(source, Mapping) else source)
