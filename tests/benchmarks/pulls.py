"""Whether numbers mean what they say, by Monte Carlo: `make pulls`; the suite runs the short form.

pulls       (reported energy - true energy at that point) / standard error, over seeds, for each optimizer, also cut off
coverage    how often the truth is within one standard error, near eigenstates
drift       share of values of a stable device that are flagged, by length of the series
thresholds  how often a device exactly at a threshold passes
zne         error before and after mitigation on the noisy simulator, and how often one error bar covers the truth

The loop, the estimator and the verdicts are those of the package; the shots are drawn from the exact probabilities of
the ansatz, which is what a simulator does, without the circuits.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, Statevector

from qflows.algorithms.optimizers import OPTIMIZERS, minimize
from qflows.algorithms.problems import ansatz, problem
from qflows.characterization.characterize import proportion, read_bit_order, read_mirror
from qflows.core.client import Client
from qflows.core.drift import judge
from qflows.core.scope import script_scope
from qflows.ledger.measurements import Measurement
from qflows.model import Counts
from qflows.programs.expectations import Expectation, estimate_from_counts
from qflows.programs.observables import basis_rotations, group_qubitwise, observable
from qflows.settings import Settings

NOISY = [name for name, one in OPTIMIZERS.items() if one.tolerates_noise]
LENGTHS = (8, 10, 20, 30)
TABLES = ["pulls", "coverage", "drift", "thresholds", "zne"]
SHOTS = 1000


class Noisy:
    """The energy of H2 with three angles of freedom, sampled: each call draws new shots for both measurement bases.

    Loops read values by the thousand and one error bar, so that the estimator runs only when it is asked for that;
    `test_pulls.py` compares both.
    """

    def __init__(self, seed: int, shots: int = SHOTS) -> None:
        self._random = np.random.default_rng([seed, 1])  # not the stream that SPSA draws from
        self._shots = shots
        self._drawn: list[np.ndarray] = []

    def __call__(self, point: Any) -> float:
        self._drawn = [
            self._random.multinomial(self._shots, weights) for weights in probabilities(tuple(float(x) for x in point))
        ]
        energies, constant = _energies()
        return constant + sum(float(e @ n) for e, n in zip(energies, self._drawn, strict=True)) / self._shots

    @property
    def last(self) -> Expectation:
        """What the estimator says of the shots that were drawn last."""
        histograms = [{f"{i:02b}": int(n) for i, n in enumerate(drawn) if n} for drawn in self._drawn]
        return estimate_from_counts(_groups(), histograms, self._shots)

    @property
    def last_error(self) -> float:
        return self.last.std_error


@cache
def _energies() -> tuple[list[np.ndarray], float]:
    """What every outcome of every measured group adds to the energy, and the constant."""
    constant, energies = 0.0, []
    for group in _groups():
        values = np.zeros(4)
        for member in group.members:
            support = [letter != "I" for letter in member.label]
            if not any(support):
                constant += member.coeff
                continue
            odd = [sum(bit == "1" and on for bit, on in zip(f"{i:02b}", support, strict=True)) for i in range(4)]
            values = values + member.coeff * (-1.0) ** np.array(odd)
        if group.needs_measurement:
            energies.append(values)
    return energies, constant


@cache
def _groups() -> Any:
    return group_qubitwise(observable(list(problem("h2-0.735").hamiltonian)))


@cache
def _parts() -> tuple[Any, list[np.ndarray]]:
    """The trial state as a function of its angles, and the rotation of each basis as a matrix."""
    from qiskit.quantum_info import Operator

    rotations = []
    for group in _groups():
        circuit = QuantumCircuit(2)
        for gate, qubit in basis_rotations(group.basis):
            getattr(circuit, gate)(qubit)
        rotations.append(np.asarray(Operator(circuit).data))
    return np.asarray(Statevector(ansatz(problem("h2-0.735")).assign_parameters([0.0])).data), rotations


def _state(point: tuple[float, ...]) -> np.ndarray:
    """ry on both qubits before and one on the first after the Hartree-Fock state: three angles, real amplitudes."""
    start, _ = _parts()
    a, b, c = point

    def ry(t: float) -> np.ndarray:
        return np.array([[math.cos(t / 2), -math.sin(t / 2)], [math.sin(t / 2), math.cos(t / 2)]])

    cx = np.array([[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0], [0, 1, 0, 0]])
    return np.kron(np.eye(2), ry(c)) @ cx @ np.kron(ry(b), ry(a)) @ start


def probabilities(point: tuple[float, ...]) -> Iterator[np.ndarray]:
    """Exact probabilities in every measurement basis."""
    state = _state(point)
    for rotation in _parts()[1]:
        amplitudes = rotation @ state
        weights = amplitudes.real**2 + amplitudes.imag**2
        yield weights / weights.sum()


def truth(point: tuple[float, ...]) -> float:
    """The exact energy at a point."""
    histograms = [{f"{i:02b}": float(w) for i, w in enumerate(weights)} for weights in probabilities(point)]
    return estimate_from_counts(_groups(), histograms).value


def pull(method: str, seed: int, max_evaluations: int | None, maxiter: int | None) -> float:
    """One loop with another seed: how far its answer is from the truth there, in its own standard errors."""
    return pull_and_redrawn(method, seed, max_evaluations, maxiter, 0)[0]


def pull_and_redrawn(
    method: str, seed: int, max_evaluations: int | None, maxiter: int | None, again: int
) -> tuple[float, list[tuple[float, float, float]]]:
    """The pull of a loop's answer, and what `again` more measurements at the point where it ended say; see `Redrawn`.

    The mean of 200 pulls that have no bias is beyond 0.15 in one row of thirty (its standard error is 0.07); with 20
    more at each end it would be at 9 standard errors.
    """
    cost = Noisy(seed)
    start = np.random.default_rng(seed + 10**6).uniform(-1, 1, 3)
    found = minimize(
        cost, start, method=method, seed=seed, maxiter=maxiter, max_evaluations=max_evaluations, at_end=cost
    )
    end = tuple(found.x.tolist())
    true, (sigma, skewness) = truth(end), moments(end)
    first = (found.fun - true) / cost.last_error
    fresh = Noisy(seed + 10**6)
    more = [(fresh(found.x) - true, fresh.last_error) for _ in range(again)]
    return first, [(off / said, off / sigma, -skewness / 2) for off, said in more]


def moments(point: tuple[float, ...]) -> tuple[float, float]:
    """The exact standard deviation of an energy from `SHOTS` shots a basis, and its skewness."""
    second = third = 0.0
    for values, weights in zip(_energies()[0], probabilities(point), strict=True):
        off = values - float(weights @ values)
        second += float(weights @ off**2) / SHOTS
        third += float(weights @ off**3) / SHOTS**2
    return math.sqrt(second), third / second**1.5


def redrawn(
    method: str, n: int, *, max_evaluations: int | None = None, maxiter: int | None = None, again: int = 20
) -> Redrawn:
    """Of seeds 0 to n - 1."""
    found = [pull_and_redrawn(method, seed, max_evaluations, maxiter, again) for seed in range(n)]
    more = [one for _, each in found for one in each]
    by_said, by_true, expected = ([one[k] for one in more] for k in range(3))
    return Redrawn(
        _spread([one for one, _ in found]), _spread(by_said), _spread(by_true), float(np.mean(expected or [math.nan]))
    )


class Redrawn(NamedTuple):
    """Pulls as (mean, standard deviation): `reported` by the loops, and of more measurements at their ends.

    `by_said` divides by the error bar of the value itself, `by_true` by its exact standard deviation, so that its mean
    shows a bias of the value alone. Counts are skewed near eigenstates, where a value and its error bar fall together:
    the mean of `by_said` is then about minus half the skewness of the value (Johnson, Journal of the American
    Statistical Association 73, 536 (1978)), which is `expected`, although neither is biased.
    """

    reported: tuple[float, float]
    by_said: tuple[float, float]
    by_true: tuple[float, float]
    expected: float


def _spread(found: list[float]) -> tuple[float, float]:
    return float(np.mean(found)), float(np.std(found, ddof=1))


def pulls(
    method: str, n: int, *, max_evaluations: int | None = None, maxiter: int | None = None
) -> tuple[float, float]:
    """Mean and standard deviation of the pulls of seeds 0 to n - 1."""
    return _spread([pull(method, seed, max_evaluations, maxiter) for seed in range(n)])


def coverage(shots: int, n: int) -> float:
    """Share of samples within one standard error of the truth, for error rates of 0.3 to 5 %."""
    random = np.random.default_rng(shots)
    groups = group_qubitwise("Z")
    inside = 0
    for _ in range(n):
        p = random.uniform(0.003, 0.05)
        hits = int(random.binomial(shots, p))
        counts = {key: k for key, k in (("1", hits), ("0", shots - hits)) if k}
        found = estimate_from_counts(groups, [counts], shots)
        inside += abs(found.value - (1 - 2 * p)) <= found.std_error
    return inside / n


def flagged(length: int, n: int, *, share: float = 0.5, shots: int = 1000, scatter: float = 0.0) -> float:
    """Share of n series of a stable device whose last value is flagged. `scatter`: between nights, in shot noise."""
    random = np.random.default_rng(length)
    noise = math.sqrt(share * (1 - share) / shots)
    rates = np.clip(share + scatter * noise * random.standard_normal((n, length)), 0, 1)
    hits = random.binomial(shots, rates)
    return sum(judge([_night(k, int(one), shots) for k, one in enumerate(row)])[-1].is_flagged for row in hits) / n


def _night(place: int, hits: int, shots: int) -> Measurement:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=place)
    value, error = proportion(hits, shots)
    return Measurement(
        f"night {place}", "d", "q", "ghz", "s", "benchmark", value, error, "1", 1, shots, True, at, (), None
    )


def mirror_passes(circuits: int, n: int, *, scatter: float = 0.05, shots: int = 1000) -> float:
    """Share of devices exactly at 1/e that pass, with circuits that differ by `scatter`."""
    random = np.random.default_rng(circuits)
    threshold = 1 / math.e
    passed = 0
    for _ in range(n):
        found = []
        for polarisation in random.normal(threshold, scatter, circuits):
            hits = int(random.binomial(shots, np.clip(polarisation * 0.75 + 0.25, 0, 1)))
            found.append(Counts({"00": hits, "01": shots - hits}))
        passed += bool(read_mirror(2, ["00"] * circuits, 8, found)[0].passed)
    return passed / n


def bit_order_passes(shots: int, n: int) -> float:
    """Share of devices that answer right half of the time that pass."""
    hits = np.random.default_rng(shots).binomial(shots, 0.5, n)
    readings = [read_bit_order("m", 1, "1", [Counts({"1": int(k), "0": shots - int(k)})])[0] for k in hits]
    return sum(bool(one.passed) for one in readings) / n


def mitigated(n: int, extrapolation: str, shots: int = 4000) -> tuple[float, float, float]:
    """(raw and mitigated root mean square error, coverage) of readout and zne on `local-noisy`, over n runs."""
    circuit = QuantumCircuit(3)
    for _ in range(3):
        circuit.rx(0.3, range(3))
        for left in (0, 1):
            circuit.cx(left, left + 1)
            circuit.rz(0.4, left + 1)
            circuit.cx(left, left + 1)
    operator = SparsePauliOp.from_list([("ZZI", 0.5), ("IXX", 0.4), ("III", 0.3)])
    true = float(np.real(Statevector(circuit).expectation_value(operator)))
    raw, better, inside = [], [], 0
    with tempfile.TemporaryDirectory() as home:
        core = Client(Settings(ledger_url=f"sqlite:///{home}/ledger.db"))
        for seed in range(n):
            found = core.run(
                circuit,
                script_scope(f"{extrapolation} {seed}"),
                device="local-noisy",
                shots=shots,
                observables=operator,
                mitigate={"readout": {}, "zne": {"extrapolation": extrapolation}},
            )
            raw.append(found.items[0].metadata["unmitigated"][0] - true)
            better.append(found.expectation.value - true)
            inside += abs(better[-1]) <= found.expectation.std_error
        core.ledger.close()
    return float(np.sqrt(np.mean(np.square(raw)))), float(np.sqrt(np.mean(np.square(better)))), inside / n


def _line(name: str, text: str) -> None:
    print(f"{name:<34} {text}", flush=True)


def main() -> None:
    """All tables, or those named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--series", type=int, default=20_000)
    parser.add_argument("--only", nargs="+", choices=TABLES, default=TABLES, metavar="TABLE", help="of the list above")
    parser.add_argument("--methods", nargs="+", choices=NOISY, default=NOISY, metavar="METHOD", help="of `pulls`")
    chosen = parser.parse_args()
    if "pulls" in chosen.only:
        _pulls(chosen.seeds, chosen.methods)
    if "coverage" in chosen.only:
        print("coverage of one standard error near eigenstates: wanted 0.60 to 0.76")
        for shots in (50, 100, 1000):
            _line(f"  {shots} shots", f"{coverage(shots, chosen.series):.3f}")
    if "drift" in chosen.only:
        _drift(chosen.series)
    if "thresholds" in chosen.only:
        print("devices exactly at a threshold that pass: wanted 2.3 %, at most")
        for circuits in (2, 4, 10):
            _line(f"  mirror, {circuits} circuits", f"{100 * mirror_passes(circuits, chosen.series):.2f} %")
        for shots in (5, 20, 1000):
            _line(f"  bit order, {shots} shots", f"{100 * bit_order_passes(shots, chosen.series):.2f} %")
    if "zne" in chosen.only:
        print(
            f"zne with readout on local-noisy, {chosen.seeds} seeds: wanted half the error, and coverage 0.60 to 0.76"
        )
        for kind in ("richardson", "exponential", "linear"):
            before, after, inside = mitigated(chosen.seeds, kind)
            _line(f"  {kind}", f"error {before:.4f} -> {after:.4f}  coverage {inside:.3f}")


def _pulls(seeds: int, methods: list[str]) -> None:
    print(f"pulls over {seeds} seeds: wanted |mean| <= 0.15, std in [0.85, 1.15]; {1 / math.sqrt(seeds):.2f} by chance")
    cases: list[tuple[str, dict[str, int]]] = [("to its end", {}), ("30 evaluations", {"max_evaluations": 30})]
    for method in methods:
        for name, limits in [*cases, *([("maxiter 5", {"maxiter": 5})] if method == "SPSA" else [])]:
            told = redrawn(method, seeds, **limits)
            root, more = math.sqrt(seeds), math.sqrt(20 * seeds)
            mean, spread = told.reported
            _line(
                f"  {method}, {name}",
                f"mean {mean:+.3f} +- {spread / root:.3f}  std {spread:.3f} +- {spread / root / math.sqrt(2):.3f}; "
                f"20 more at each end: mean {told.by_said[0]:+.3f} +- {told.by_said[1] / more:.3f}  std "
                f"{told.by_said[1]:.3f}; by the true error {told.by_true[0]:+.3f}  std {told.by_true[1]:.3f}; "
                f"expected of skewed counts {told.expected:+.3f}",
            )


def _drift(series: int) -> None:
    error = math.sqrt(0.0027 / series)
    print(f"flagged values of stable devices, {series} series: wanted 0.27 % (sampling error {100 * error:.3f} %)")
    kinds: list[tuple[str, Callable[[int], float]]] = [
        ("shot noise", lambda k: flagged(k, series)),
        ("as much scatter between nights", lambda k: flagged(k, series, scatter=1.0)),
        ("three times as much", lambda k: flagged(k, series, scatter=3.0)),
        ("readout error 1 %, 1000 shots", lambda k: flagged(k, series, share=0.01)),
        ("readout error 2 %, 200 shots", lambda k: flagged(k, series, share=0.02, shots=200)),
        ("1 %, as much scatter as shot noise", lambda k: flagged(k, series, share=0.01, scatter=1.0)),
    ]
    for name, rate in kinds:
        _line(f"  {name}", "  ".join(f"{k}: {100 * rate(k):.3f} %" for k in LENGTHS))


if __name__ == "__main__":
    main()
