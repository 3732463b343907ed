"""Not on a bad day: a cheap probe and the device's own history say whether dear jobs are bought.

The rule. A probe gives k headline values, each compared with the last 30 of its series (`core/drift.py`), whose sigmas
carry a true probability. Only a change for the worse counts: readout errors that are larger, fidelities and shares of
right answers that are smaller. The device is held back when one value is worse by more than z(k), where the normal
distribution has 0.7 % / k beyond it on that side: on a device that has not changed a look holds back with a
probability of at most 1 %, however many values there are. 0.7 and not 1, because the tails of counts that are few are
up to 1.4 times heavier than told (`make pulls`). A wrong bit order, and a probe that failed, hold back whatever history
says. A value with fewer than 7 nights behind it judges nothing, and the decision says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scipy import special

from qflows.characterization import benchmarks
from qflows.characterization.benchmarks import BenchmarkResult, Suite
from qflows.characterization.history import keep_benchmark
from qflows.core.client import Client
from qflows.core.drift import Verdict, judge
from qflows.core.scope import Scope
from qflows.ledger import measurements
from qflows.ledger.measurements import Measurement

FALSE_HOLD = 0.01
_DESIGNED = 0.007
_LARGER_IS_WORSE = frozenset({"readout", "vqe"})


@dataclass(frozen=True, slots=True)
class Health:
    """What one look found. `evidence`: one mapping a value."""

    is_good: bool
    why: str
    evidence: tuple[dict[str, Any], ...]


def limit(k: int) -> float:
    """How many sigmas for the worse one of `k` values may be."""
    return -float(special.ndtri(_DESIGNED / max(k, 1)))


def health(series: Sequence[Sequence[Measurement]]) -> Health:
    """A device by its newest values; each series oldest first, the newest of them the one to judge."""
    verdicts = [judge(one)[-1] for one in series if one]
    judged = [one for one in verdicts if one.sigmas is not None]
    bound = limit(len(judged))
    evidence = tuple(
        {
            "quantity": one.measurement.name,
            "value": one.measurement.value,
            "std_error": one.measurement.std_error,
            "mean": one.mean,
            "worse_by": worse_by(one),
            "compared_with": one.n,
        }
        for one in verdicts
    )
    bad = [one for one in judged if (worse_by(one) or 0.0) > bound]
    if bad:
        told = ", ".join(
            f"{one.measurement.name} {one.measurement.value:.4g}, worse than {one.mean:.4g} by "
            f"{worse_by(one):.1f} sigma"
            for one in bad
        )
        return Health(False, f"{told} (limit {bound:.2f} for {len(judged)} values)", evidence)
    if not judged:
        return Health(True, "no value has 7 nights behind it yet, so history judges nothing", evidence)
    worst = max(worse_by(one) or 0.0 for one in judged)
    told = f"{len(judged)} of {len(verdicts)} values judged, the worst by {worst:.1f} sigma (limit {bound:.2f})"
    return Health(True, told, evidence)


def worse_by(verdict: Verdict) -> float | None:
    """Sigmas for the worse; negative when the value is better than its history."""
    if verdict.sigmas is None:
        return None
    return verdict.sigmas if verdict.measurement.family in _LARGER_IS_WORSE else -verdict.sigmas


def look(core: Client, scope: Scope, device: str, suite: Suite, timeout: float | None = None) -> Health:
    """Runs the probe, keeps its values, and judges them. Run again with the same run key it buys nothing again."""
    return of_result(core, benchmarks.run(core, scope, [device], suite, timeout), device, suite)


def of_result(core: Client, result: BenchmarkResult, device: str, suite: Suite) -> Health:
    """The judgement of a probe that ran."""
    keep_benchmark(core, result, suite)
    for told in (result.failed_devices, result.wrong_bit_order):
        if device in told:
            return Health(False, told[device], ())
    found = [
        one for one in measurements.of_run(core.ledger, result.run_key) if one.device == device and one.is_headline
    ]
    return health([measurements.series(core.ledger, *one.series) for one in found])
