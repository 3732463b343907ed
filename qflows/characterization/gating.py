"""Gates: a cheap probe and the device's own history decide whether expensive jobs are bought.

The rule. A probe gives k headline values, each compared with the last 30 of its series (`core/drift.py`), whose sigmas
carry a true probability. Only a change for the worse counts: larger readout errors, smaller fidelities and shares of
right answers. The device is held back if one value is worse by more than z(k), where the normal distribution has 0.7 %
/ k beyond it on that side: on an unchanged device a look holds back with a probability of at most 1 %, however many
values there are. 0.7 and not 1, because the tails of low counts are up to 1.3 times as heavy as stated (`make pulls`).
A wrong bit order, and a failed probe, hold back whatever the history. A value with fewer than 7 nights behind it judges
nothing, and the decision says so. A reference circuit with `at_least` is also compared with that, from the first night
on, by the same limit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scipy import special

from qflows.characterization import benchmarks, references
from qflows.characterization.benchmarks import BenchmarkResult, Outcome, Suite
from qflows.characterization.history import keep_benchmark
from qflows.characterization.references import Reference
from qflows.core.client import Client
from qflows.core.drift import Verdict, judge
from qflows.core.durations import seconds
from qflows.core.scope import Scope
from qflows.errors import ProgramRejected
from qflows.ledger import measurements
from qflows.ledger.measurements import Measurement

FALSE_HOLD = 0.01
_DESIGNED = 0.007
_LARGER_IS_WORSE = frozenset({"readout", "vqe"})
_WORDS = re.compile(r"once|within\s+(?P<within>.+?)(\s+every\s+(?P<every>.+))?", re.IGNORECASE)
_KNOWN = ("within", "every", "shots", "options", "timeout", "reference")
_HOW = "write gate='once', 'within 6h', 'within 6h every 30m', or a mapping of " + ", ".join(_KNOWN)
EVERY_S = 1800.0
SHOTS = 200


@dataclass(frozen=True, slots=True)
class Gate:
    """How a device is checked before expensive jobs are bought on it.

    `within_s`: how long after the first look a bad device is checked again; 0 for never. `every_s`: time between two
    looks. `shots`: of each circuit. `references`: circuits instead of bit order, readout and GHZ-3.
    """

    within_s: float = 0.0
    every_s: float = EVERY_S
    shots: int = SHOTS
    options: Mapping[str, Any] = field(default_factory=dict)
    timeout: float | None = None
    references: tuple[Reference, ...] = ()

    @classmethod
    def read(cls, given: Any) -> Gate | None:
        """A gate from a flow's parameter; None for none. Raises ProgramRejected showing how to write one."""
        if given is None or given is False or given == "":
            return None
        if isinstance(given, Gate):
            return given
        if given is True:
            return cls()
        if isinstance(given, str):
            found = _WORDS.fullmatch(given.strip())
            if found is None:
                raise ProgramRejected(f"not a gate: {given!r}; {_HOW}")
            return cls.of(within=found["within"], every=found["every"])
        if isinstance(given, Mapping):
            unknown = sorted(str(name) for name in set(given) - set(_KNOWN))
            if unknown:
                raise ProgramRejected(f"a gate has no {', '.join(unknown)}; {_HOW}")
            return cls.of(**dict[str, Any](given))
        raise ProgramRejected(f"not a gate: {given!r}; {_HOW}")

    @classmethod
    def of(
        cls,
        *,
        within: str | float | None = None,
        every: str | float | None = None,
        shots: int | None = None,
        options: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        reference: Any = None,
    ) -> Gate:
        """A gate from its arguments, checked. Raises ProgramRejected."""
        within_s = _span("within", within, 0.0)
        every_s = _span("every", every, EVERY_S)
        if within_s and every_s <= 0:
            raise ProgramRejected(f"gate: every must be longer than 0, not {every!r}")
        wanted = SHOTS if shots is None else shots
        if not isinstance(wanted, int) or isinstance(wanted, bool) or wanted < 1:
            raise ProgramRejected(f"gate: shots must be a whole number of at least 1, not {shots!r}")
        if options is not None and not isinstance(options, Mapping):
            raise ProgramRejected(f"gate: options is a mapping from names to values, not {options!r}")
        if timeout is not None and (not isinstance(timeout, int | float) or timeout < 0):
            raise ProgramRejected(f"gate: timeout is a number of seconds, not {timeout!r}")
        return cls(within_s, every_s, wanted, dict(options or {}), timeout, references.read(reference))

    def suite(self, core: Client, scope: Scope, device: str) -> Suite:
        """The circuits of one look."""
        options = {device: self.options} if self.options else {}
        known = references.completed(core, scope, self.references)
        return Suite(self.shots, sizes=(3,), mirror_circuits=0, seed=0, options=options, name="probe", references=known)


def _span(name: str, given: Any, default: float) -> float:
    if given is None:
        return default
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise ProgramRejected(f"gate: {name} is a duration such as '6h', not {given!r}")
    found = seconds(given)
    assert found is not None
    if found < 0:
        raise ProgramRejected(f"gate: {name} must not be negative, not {given!r}")
    return found


@dataclass(frozen=True, slots=True)
class Health:
    """The result of one look. `evidence`: one mapping per value."""

    is_good: bool
    why: str
    evidence: tuple[dict[str, Any], ...]


def limit(k: int) -> float:
    """How many sigmas for the worse are allowed for one of `k` values."""
    return -float(special.ndtri(_DESIGNED / max(k, 1)))


def health(series: Sequence[Sequence[Measurement]], least: Mapping[str, float] | None = None) -> Health:
    """The health of a device by its newest values; each series oldest first, its newest value is judged.

    `least`: by quantity, the value below which the device is bad whatever its history.
    """
    verdicts = [judge(one)[-1] for one in series if one]
    judged = [one for one in verdicts if one.sigmas is not None]
    least = least or {}
    newest = [one.measurement for one in verdicts]
    floors = [(one, least[one.name]) for one in newest if one.name in least]
    k = len(judged) + len(floors)
    bound = limit(k)
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
    bad = [
        f"{one.measurement.name} {one.measurement.value:.4g}, worse than {one.mean:.4g} by {worse_by(one):.1f} sigma"
        for one in judged
        if (worse_by(one) or 0.0) > bound
    ]
    bad += [
        f"{one.name} {one.value:.4g}, below {floor:.4g} by {(floor - one.value) / one.std_error:.1f} sigma"
        for one, floor in floors
        if floor - one.value > bound * one.std_error
    ]
    if bad:
        told = f"{', '.join(bad)} (limit {bound:.2f} for {k} comparison{'s' if k != 1 else ''})"
        return Health(False, told, evidence)
    if floors and not judged:
        told = f"{len(floors)} of {len(verdicts)} values compared with what they must be at least (limit {bound:.2f})"
        return Health(True, f"{told}; no value has 7 nights behind it yet", evidence)
    if not judged:
        return Health(True, "no value has 7 nights of history yet, so nothing is judged", evidence)
    worst = max(worse_by(one) or 0.0 for one in judged)
    told = f"{len(judged)} of {len(verdicts)} values judged, the worst by {worst:.1f} sigma (limit {bound:.2f})"
    return Health(True, told, evidence)


def worse_by(verdict: Verdict) -> float | None:
    """Sigmas for the worse; negative if the value is better than its history."""
    if verdict.sigmas is None:
        return None
    return verdict.sigmas if verdict.measurement.family in _LARGER_IS_WORSE else -verdict.sigmas


def look(core: Client, scope: Scope, device: str, suite: Suite, timeout: float | None = None) -> Health:
    """Run the probe, store its values, and judge them. Run again with the same run key, it buys nothing."""
    return of_result(core, benchmarks.run(core, scope, [device], suite, timeout), device, suite)


def of_result(core: Client, result: BenchmarkResult, device: str, suite: Suite) -> Health:
    """The judgment of a probe that ran."""
    keep_benchmark(core, result, suite)
    for row in result.rows:
        if row.family == references.FAMILY and row.outcome is Outcome.SKIPPED and row.device == device:
            raise ProgramRejected(f"{device} cannot run {row.metric}: {row.note}")
    for told in (result.failed_devices, result.wrong_bit_order):
        if device in told:
            return Health(False, told[device], ())
    found = [
        one for one in measurements.of_run(core.ledger, result.run_key) if one.device == device and one.is_headline
    ]
    least = {one.metric: one.at_least for one in suite.references if one.at_least is not None}
    return health([measurements.series(core.ledger, *one.series) for one in found], least)
