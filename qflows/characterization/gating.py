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
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qflows.characterization import benchmarks, references
from qflows.characterization.benchmarks import BenchmarkResult, Outcome, Suite
from qflows.characterization.history import keep_benchmark
from qflows.characterization.references import Reference
from qflows.core.client import Client
from qflows.core.durations import seconds
from qflows.core.judging import Health, health
from qflows.core.scope import Scope
from qflows.errors import ProgramRejected
from qflows.ledger import measurements

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
        known = core.with_expected(self.references, scope)
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
