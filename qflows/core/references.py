"""Reference circuits: a user's own circuit with its expected distribution, as a probe of a device, alone or in a batch.

The value of a night is the overlap of the counts with the expected distribution, sum_x min(p(x), n(x) / N): 1 minus the
total variation distance, and for a circuit with one right answer the share of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from qflows.errors import ProgramRejected
from qflows.keys import digest
from qflows.model import Counts
from qflows.programs import Program, to_program

FAMILY = "reference"
MOST = 20
_KNOWN = ("circuit", "expected", "at_least", "name")
_WHAT = "a reference is a circuit, (circuit, expected), or a mapping with 'circuit' and any of 'expected', 'at_least'"
_UNNAMED = re.compile(r"^(qasm|circuit-\d+|program)$")
# for a device near its distribution the overlap is one minus the size of a deviation, which has a heavier tail than the
# normal distribution; with this, chance flags are as rare as for the other families (`make gate`)
_FOLDED = 1.5


@dataclass(frozen=True, slots=True)
class Reference:
    """A circuit and its expected distribution.

    `expected`: probability of each key, keys as in counts (rightmost character classical bit 0, registers separated by
    a space); None until it is computed. `at_least`: the overlap below which the device is bad whatever its history.
    """

    program: Program
    name: str
    expected: Mapping[str, float] | None = None
    at_least: float | None = None

    @property
    def metric(self) -> str:
        """The name of its value in the ledger and in reports."""
        return f"reference {self.name}"

    @property
    def identity(self) -> str:
        """A digest of circuit and distribution: what makes two values comparable."""
        return digest("reference/1", self.program.digest, dict(sorted((self.expected or {}).items())))

    def to_json(self) -> dict[str, Any]:
        """What a batch stores about it."""
        told = {"name": self.name, "n": self.program.n_qubits, "identity": self.identity}
        return told | {"expected": dict(self.expected or {}), "at_least": self.at_least}


def read(given: Any) -> tuple[Reference, ...]:
    """One reference, or a list of them. Raises ProgramRejected saying which one is wrong and why."""
    if given is None:
        return ()
    listed = list(given) if isinstance(given, list) else [given]
    if not listed or len(listed) > MOST:
        raise ProgramRejected(f"reference= takes 1 to {MOST} circuits, not {len(listed)}")
    found = [_one(one, place) for place, one in enumerate(listed, start=1)]
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        found = [
            replace(one, name=f"{one.name} {place}") if names.count(one.name) > 1 else one
            for place, one in enumerate(found, start=1)
        ]
    return tuple(found)


def _one(given: Any, place: int) -> Reference:
    told: Mapping[str, Any]
    if isinstance(given, Mapping):
        told = given
        unknown = sorted(str(name) for name in set(told) - set(_KNOWN))
        if unknown or "circuit" not in told:
            what = f"has no {', '.join(unknown)}" if unknown else "needs a circuit"
            raise ProgramRejected(f"reference {place} {what}; it takes {', '.join(_KNOWN)}")
    elif isinstance(given, tuple | list) and len(given) == 2 and isinstance(given[1], Mapping) and _is_bits(given[1]):
        told = {"circuit": given[0], "expected": given[1]}
    else:
        told = {"circuit": given}
    try:
        program = to_program(told["circuit"])
    except ProgramRejected as error:
        raise ProgramRejected(f"reference {place}: {error}. {_WHAT}") from error
    if not program.measured:
        raise ProgramRejected(f"reference {place} measures nothing; add measurements to {program.name}")
    name = told.get("name") or ("" if _UNNAMED.match(program.name) else program.name) or program.digest[:8]
    at_least = told.get("at_least")
    if at_least is not None and not (_is_number(at_least) and 0 < at_least <= 1):
        raise ProgramRejected(f"reference {name}: at_least is an overlap above 0 and at most 1, not {at_least!r}")
    expected = told.get("expected")
    checked = None if expected is None else _distribution(expected, program, str(name))
    return Reference(program, str(name)[:80], checked, None if at_least is None else float(at_least))


def _is_bits(given: Mapping[Any, Any]) -> bool:
    """Whether a mapping is a distribution; the values of a circuit's parameters have other names."""
    return all(isinstance(key, str) and set(key) <= {"0", "1", " "} for key in given)


def _is_number(given: Any) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given)


def _distribution(given: Any, program: Program, name: str) -> dict[str, float]:
    widths = [len(register.bits) for register in reversed(program.registers)]
    form = re.compile(" ".join(f"[01]{{{width}}}" for width in widths))
    if not isinstance(given, Mapping) or not given:
        raise ProgramRejected(f"reference {name}: expected is a mapping from keys such as '00' to probabilities")
    for key, share in given.items():
        if not isinstance(key, str) or not form.fullmatch(key):
            like = " ".join("0" * width for width in widths)
            raise ProgramRejected(f"reference {name}: counts of this circuit have keys like {like!r}, not {key!r}")
        if not _is_number(share) or share < 0:
            raise ProgramRejected(f"reference {name}: the probability of {key!r} is {share!r}; it must be at least 0")
    total = sum(given.values())
    if abs(total - 1) > 1e-3:
        raise ProgramRejected(f"reference {name}: the expected probabilities add up to {total:.6g}, not to 1")
    return {key: float(share) / total for key, share in given.items() if share > 0}


def overlap(expected: Mapping[str, float], found: Counts) -> tuple[float, float]:
    """The overlap of counts with the expected distribution, and its standard error."""
    shots = found.shots
    shares = {key: found.get(key, 0) / shots for key in expected}
    value = min(1.0, sum(min(p, shares[key]) for key, p in expected.items()))
    # the part of the counts that moves the overlap: outcomes that came too rarely
    short = sum(shares[key] for key, p in expected.items() if shares[key] < p)
    least = proportion(round(value * shots), shots)[1]
    return value, least if len(expected) == 1 else _FOLDED * max(math.sqrt(short * (1 - short) / shots), least)


def proportion(hits: int, shots: int) -> tuple[float, float]:
    """hits / shots and its standard error.

    The error is the standard deviation of the posterior with Jeffreys' prior, because the usual one is 0 at 0 and 1,
    where it is most wrong, and a flat prior's is too wide there (Brown, Cai, DasGupta, Statistical Science 16, 101
    (2001)).
    """
    smoothed = (hits + 0.5) / (shots + 1)
    return hits / shots, math.sqrt(smoothed * (1 - smoothed) / (shots + 2))
