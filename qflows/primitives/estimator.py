"""Qiskit's estimator as durable jobs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Unpack

from qiskit.primitives import BaseEstimatorV2
from qiskit.primitives.containers import EstimatorPubLike
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.quantum_info import SparseObservable

from qflows.core import mitigation
from qflows.core.batches.planning import Planned
from qflows.core.batches.planning import plan as planned_as
from qflows.errors import ProgramRejected
from qflows.primitives.durable import DurableJob
from qflows.primitives.errors import PubRejected, also_qiskit, fitting_primitive
from qflows.primitives.estimator_results import KIND
from qflows.primitives.origin import Origin, Purchases, by_shots
from qflows.primitives.points import programs_of
from qflows.primitives.primitive import DurablePrimitive
from qflows.primitives.pubs import checked_precision, checked_shots, read_pubs
from qflows.programs import Program, estimation
from qflows.programs.grid import pairing
from qflows.programs.observables import Observable, observable

DEFAULT_PRECISION = 0.015625
"""Default for devices that sample: 4,096 shots, as in Qiskit's `BackendEstimatorV2`."""
_MAX_TERMS = 4096


def shots_for(precision: float) -> int:
    """ceil(1 / precision**2), ignoring rounding errors just above a whole number."""
    return math.ceil(round(1 / precision**2, 6))


class EstimatorV2(DurablePrimitive, BaseEstimatorV2):
    """Estimates expectation values on a device; every call is jobs in the ledger, bought once and adopted on replay.

    `precision`: the target standard error for PUBs without their own, in the units of a single Pauli string: ceil(1 /
    precision**2) shots for every measurement basis. `shots` gives that number directly. With neither, or with a
    precision of 0, devices that can compute exactly do so, with `stds` of 0; others use a precision of 1/64. `device`,
    `run_key`, `label`, `options`, `session`, `tags`, `on_change`, `compile`, `physical_qubits` and `client` are those
    of `SamplerV2`.

    A result is a `PrimitiveResult` with one `PubResult` per PUB: `evs` and `stds` are arrays of the shape to which
    parameters and observables broadcast. `stds` are standard errors including covariances, hence at most the bounds
    that Qiskit's own estimators give. In observables the rightmost letter is qubit 0. `mitigate`: as for
    `qflows.batch`; all circuits of a call are one batch, `stds` are those of the mitigated values, and the metadata of
    a PUB says who did what, with the raw values. Raises RunKeyMissing, UnknownDevice.
    """

    @fitting_primitive
    def __init__(
        self,
        device: str,
        *,
        precision: float | None = None,
        shots: int | None = None,
        mitigate: Any = None,
        **purchases: Unpack[Purchases],
    ) -> None:
        if precision is not None and shots is not None:
            raise PubRejected("give precision or shots, not both")
        own = ["precision", "shots", "mitigate"]
        self._origin = Origin.of(type(self), device, purchases, label="estimator", own=own)
        self._shots = None if shots is None else checked_shots(shots)
        self._precision = None if precision is None else checked_precision(precision)
        self._mitigate = mitigation.read(mitigate)

    @property
    def default_precision(self) -> float:
        """The precision of PUBs without their own; 0 for exact values."""
        if self._shots is not None:
            return 1 / math.sqrt(self._shots)
        if self._precision is not None:
            return self._precision
        if self._mitigate.asked:  # exact values have nothing to mitigate
            return DEFAULT_PRECISION
        return 0.0 if self._origin.target.limits.exact else DEFAULT_PRECISION

    def run(self, pubs: Iterable[EstimatorPubLike], *, precision: float | None = None) -> DurableJob:
        """Buy one call of any number of PUBs, of any shapes and precisions, and return at once.

        `precision` is for PUBs without their own. Constants are computed, not bought. Raises PubRejected, which is a
        QiskitError, before anything is recorded or sent.
        """
        read = read_pubs(
            pubs, lambda pub: EstimatorPub.coerce(pub, precision), "Estimator", "(circuit, observables, values)"
        )
        with also_qiskit():
            call = _Call()
            for place, pub in enumerate(read):
                call.add(pub, *self._wanted(pub, place))
            batch = None
            note = call.note(by_shots(call.shots), is_native=False)
            if note["order"]:
                planned, note = self._mitigated(call) if self._mitigate.asked else self._planned(call)
                batch = self._origin.buy(planned, note, f"estimator: {len(read)} PUBs")
        return DurableJob(self._origin.holder, note, [pub.circuit.metadata for pub in read], batch)

    def _wanted(self, pub: EstimatorPub, place: int) -> tuple[float, int | None]:
        """Precision and shots of a PUB; no shots for exact values."""
        if pub.precision is None and self._shots is not None:
            return self.default_precision, self._shots
        precision = self.default_precision if pub.precision is None else checked_precision(pub.precision, place)
        if precision:
            return precision, shots_for(precision)
        if not self._origin.target.limits.exact:
            raise ProgramRejected(
                f"PUB {place}: precision 0 means exact values, and {self.device} samples; pass "
                "a precision such as 0.01, or use local-exact"
            )
        return 0.0, None

    def _planned(self, call: _Call) -> tuple[Planned, dict[str, Any]]:
        order = by_shots(call.shots)
        planned = self._origin.plan(
            [call.measured[place] for place in order], [call.shots[place] for place in order], self._origin.options
        )
        return self._by_device(call, planned) or (planned, call.note(order, is_native=False))

    def _mitigated(self, call: _Call) -> tuple[Planned, dict[str, Any]]:
        """The plan of everything that mitigation runs; by the device itself if it offers all of it."""
        numbers = [number for _, number, _ in call.points if number is not None]
        if len(numbers) < len(call.points):
            raise ProgramRejected("mitigate: exact values have no errors to mitigate; pass a precision or shots")
        target, mine, asked = self._origin.target, self._origin, self._mitigate
        device_id, provider = target.profile.device, target.provider
        whole = mitigation.share(provider, device_id, asked, mine.options, is_estimate=True)
        if not whole.ours.asked:
            plain = mine.plan([call.measured[0]], [call.shots[0]], whole.options)
            if (native := self._by_device(call, plain)) is not None:
                return native[0], native[1] | {"mitigated_by": dict(whole.said)}
        shared = mitigation.share(provider, device_id, asked, mine.options, is_estimate=False)
        plain = mine.plan(call.measured, call.shots, shared.options)
        base = replace(plain.specs[0][1], shots=min(numbers))
        laid_out = mitigation.lay_out(
            call.by_point(),
            shared,
            base,
            provider,
            target.limits,
            is_estimate=True,
            seed=f"{mine.run_key}/{mine.label}",
        )
        each = [-(-number // laid_out.divisor) for number in numbers]
        shots: list[int | None] = [max(each)] * len(laid_out.calibrations)
        shots += [n for n, made in zip(each, laid_out.points, strict=True) for _ in made]
        order, programs = by_shots(shots), laid_out.programs
        planned = mine.plan([programs[place] for place in order], [shots[place] for place in order], shared.options)
        return planned, call.note(order, is_native=False, mitigated=[len(made) for made in laid_out.points]) | {
            "mitigation": laid_out.note
        }

    def _by_device(self, call: _Call, measured: Planned) -> tuple[Planned, dict[str, Any]] | None:
        """The plan by which the device itself computes expectation values; None if it does not."""
        target = self._origin.target
        if self._origin.compiles_here:
            return None
        shots = [number for _, number, _ in call.points]
        if not target.provider.capabilities.estimator or (target.limits.exact and any(n is not None for n in shots)):
            return None
        order = by_shots(shots)
        points = [call.points[place] for place in order]
        base = replace(measured.specs[0][1], programs=())
        planned = planned_as(
            base,
            [program for program, _, _ in points],
            [number for _, number, _ in points],
            measured.limits,
            [wanted for _, _, wanted in points],
        )
        try:
            for _, spec in planned.specs:
                target.provider.check(spec)
        except ProgramRejected:
            return None
        return planned, call.note(order, is_native=True)


@dataclass
class _Call:
    """The PUBs of a call as measurement circuits, and as points for a device that computes expectation values."""

    measured: list[Program] = field(default_factory=list)
    shots: list[int | None] = field(default_factory=list)  # of the measured
    points: list[tuple[Program, int | None, tuple[Observable, ...]]] = field(default_factory=list)  # without constants
    pubs: list[dict[str, Any]] = field(default_factory=list)
    plans: dict[str, int] = field(default_factory=dict)

    def add(self, pub: EstimatorPub, precision: float, shots: int | None) -> None:
        """Lay out one PUB. Raises ProgramRejected."""
        shape, of_observables = tuple(pub.parameter_values.shape), tuple(pub.observables.shape)
        listed = [_observable(one) for one in pub.observables.sparse_observables_array().ravel().tolist()]
        _, needs = pairing(shape, of_observables)
        points = []
        for program, need in zip(programs_of(pub.circuit, pub.parameter_values), needs, strict=True):
            points.append(self._point(program, [listed[place] for place in sorted(need)], shots) if need else [None, 0])
        self.pubs.append(
            {
                "shape": list(shape),
                "observables": list(of_observables),
                "points": points,
                "shots": shots,
                "precision": precision,
            }
        )

    def _point(self, program: Program, wanted: Sequence[Observable], shots: int | None) -> list[Any]:
        program = estimation.reaching(program, wanted)
        circuits, text = estimation.plan(program, tuple(wanted))
        plan = self.plans.setdefault(text, len(self.plans))
        if not any(group.needs_measurement for group in estimation.read_plan(text)):
            return [plan, 0]
        self.measured += circuits
        self.shots += [shots] * len(circuits)
        self.points.append((program, shots, estimation.fitted(program, wanted)))
        return [plan, len(circuits)]

    def by_point(self) -> list[list[Program]]:
        """The measurement circuits of every point that has any."""
        remaining = iter(self.measured)
        counts = [n for pub in self.pubs for _, n in pub["points"] if n]
        return [[next(remaining) for _ in range(n)] for n in counts]

    def note(self, order: Sequence[int], *, is_native: bool, mitigated: Sequence[int] | None = None) -> dict[str, Any]:
        """What must be stored to read the results, as JSON. `mitigated`: circuits of each point that has any."""
        pubs = self.pubs
        if mitigated is not None:
            numbers = iter(mitigated)
            pubs = [pub | {"points": [[p, next(numbers) if n else 0] for p, n in pub["points"]]} for pub in pubs]
        if is_native:
            pubs = [pub | {"points": [[plan, min(n, 1)] for plan, n in pub["points"]]} for pub in pubs]
        return {
            "kind": KIND,
            "pubs": pubs,
            "plans": list(self.plans),
            "order": list(order),
            "is_native": is_native,
        }


def _observable(source: SparseObservable) -> Observable:
    """An observable in Pauli strings; every projector in it doubles the number of terms. Raises ProgramRejected."""
    projectors = [sum(letter not in "IXYZ" for letter in text) for text, _, _ in source.to_sparse_list()]
    if sum(2**n for n in projectors) > _MAX_TERMS:
        raise ProgramRejected(
            f"an observable has {sum(2**n for n in projectors)} Pauli strings once its "
            f"projectors are expanded; the limit is {_MAX_TERMS}"
        )
    return observable(source)
