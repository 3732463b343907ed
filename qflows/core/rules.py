"""Rules that choose a device, as text: `cheapest(ibm-*, ionq-*; qubits>=20, queue<2h, error<1%)`.

    rule      = verb "(" name {"," name} [";" criterion {"," criterion}] ")"
    verb      = "cheapest" | "least_busy" | "best"
    name      = a device's name, in which * matches any text
    criterion = "qpu" | "simulator" | word op value ["?"]
    op        = "<" | "<=" | ">" | ">=" | "=" | "!="

A question mark admits a device whose value is unknown; without it such a device is left out.
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from qflows.core.durations import seconds
from qflows.errors import ProgramRejected

VERBS = {
    "cheapest": "lowest expected price of the program, in your currency",
    "least_busy": "shortest wait that the vendor predicts, or else fewest pending jobs",
    "best": "lowest median error of two-qubit gates, then of readout",
}
CRITERIA = {
    "qubits": "number of qubits: qubits>=20",
    "shots": "maximum shots per program: shots>=10000",
    "price": "expected price of the program: price<5, in your currency, or price<5usd",
    "queue": "wait that the vendor predicts: queue<2h",
    "pending": "jobs in the device's queue: pending<10",
    "error": "median error of two-qubit gates, from the vendor's calibration: error<1%",
    "readout": "median readout error, from the vendor's calibration: readout<2%",
    "drift": "largest deviation of our newest values from their last 30, in sigmas: drift<3",
    "opens": "time until the device's availability window, 0 inside it: opens<1h",
    "vendor": "vendor=NAME or vendor!=NAME",
}
FLAGS = {"qpu": False, "simulator": True}
LONGEST = 1000
_OPS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
_RULE = re.compile(r"\s*([A-Za-z_]+)\s*\(([^();]*)(?:;([^();]*))?\)\s*")
_CRITERION = re.compile(r"([A-Za-z_]+)\s*(<=|>=|!=|<|>|=)\s*([^\s?][^?]*?)\s*(\?)?")
_NAME = re.compile(r"[A-Za-z0-9_*][A-Za-z0-9_.:/*-]*")
_AMOUNT = re.compile(r"([0-9.]+)\s*([a-z_]*)")
_EXAMPLE = "cheapest(ibm-*, ionq-*; qubits>=20, queue<2h, error<1%)"


@dataclass(frozen=True, slots=True)
class Criterion:
    """One condition. `value`: in the criterion's own unit (seconds, a share, a count, text); `unit`: of a price."""

    name: str
    op: str
    value: Any
    may_be_unknown: bool = False
    unit: str | None = None

    def holds(self, found: Any) -> bool:
        """Whether a known value meets the condition."""
        return _OPS[self.op](found, self.value)

    def __str__(self) -> str:
        if self.name in FLAGS:
            return self.name
        shown = {
            "error": lambda: f"{100 * self.value:g}%",
            "readout": lambda: f"{100 * self.value:g}%",
            "queue": lambda: _span_text(self.value),
            "opens": lambda: _span_text(self.value),
        }.get(self.name, lambda: str(self.value))()
        return f"{self.name}{self.op}{shown}{self.unit or ''}{'?' if self.may_be_unknown else ''}"


@dataclass(frozen=True, slots=True)
class Rule:
    """A parsed rule; its text is the same for every way of writing it. `name`: of a saved rule."""

    verb: str
    names: tuple[str, ...]
    criteria: tuple[Criterion, ...] = ()
    name: str | None = None

    def __str__(self) -> str:
        conditions = "; " + ", ".join(map(str, self.criteria)) if self.criteria else ""
        return f"{self.verb}({', '.join(self.names)}{conditions})"

    def asks_for(self, *names: str) -> bool:
        """Whether one of these criteria is among the conditions."""
        return any(one.name in names for one in self.criteria)


def _span_text(seconds_: float) -> str:
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds_ and seconds_ % size == 0:
            return f"{seconds_ / size:g}{unit}"
    return f"{seconds_:g}s"


def looks_like_one(device: Any) -> bool:
    """True for a text that cannot be a device's name because it has parentheses or a semicolon."""
    return isinstance(device, str) and any(mark in device for mark in "();")


def read(text: str, name: str | None = None) -> Rule:
    """A rule from its text. Raises ProgramRejected saying what is wrong, where, and what is allowed."""
    if len(text) > LONGEST:
        raise ProgramRejected(f"a rule has at most {LONGEST} characters, not {len(text)}")
    found = _RULE.fullmatch(text)
    if not found:
        raise ProgramRejected(f"{text!r} is not a device rule; write, for example, {_EXAMPLE}")
    verb, names, criteria = found[1], found[2], found[3]
    if verb not in VERBS:
        raise ProgramRejected(f"rule {text!r}: unknown verb {verb!r}; {_meant(verb, VERBS)}")
    patterns = tuple(part.strip() for part in names.split(",") if part.strip())
    if not patterns:
        raise ProgramRejected(f"rule {text!r} names no devices; list their names, where * matches any text: {_EXAMPLE}")
    for one in patterns:
        if not _NAME.fullmatch(one):
            raise ProgramRejected(f"rule {text!r}: {one!r} is not a device name; conditions come after a semicolon")
    parts = [part.strip() for part in (criteria or "").split(",") if part.strip()]
    return Rule(verb, patterns, tuple(_criterion(part, text) for part in parts), name)


def _criterion(part: str, text: str) -> Criterion:
    if part in FLAGS:
        return Criterion(part, "=", FLAGS[part])
    found = _CRITERION.fullmatch(part)
    if not found:
        known = {**CRITERIA, **dict.fromkeys(FLAGS, "")}
        word = re.match(r"[A-Za-z_]*", part)
        name = word[0] if word else ""
        meant = f"write {CRITERIA[name]}" if name in CRITERIA else _meant(name, known)
        raise ProgramRejected(f"rule {text!r}: {part!r} is not a condition such as queue<2h or qpu; {meant}")
    name, op, value, mark = found.groups()
    if name not in CRITERIA:
        raise ProgramRejected(f"rule {text!r}: unknown criterion {name!r}; {_meant(name, {**CRITERIA, **FLAGS})}")
    try:
        read_value, unit = _READERS[name](value)
    except (ValueError, InvalidOperation, ProgramRejected) as error:
        raise ProgramRejected(
            f"rule {text!r}: {value!r} is not a value of {name} ({error}); {CRITERIA[name]}"
        ) from None
    if name == "vendor" and op not in ("=", "!="):
        raise ProgramRejected(f"rule {text!r}: {part!r}: a vendor is compared with = or !=")
    return Criterion(name, op, read_value, bool(mark), unit)


def _meant(word: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}"


def _count(text: str) -> tuple[int, None]:
    if not re.fullmatch(r"[0-9][0-9_]*", text):
        raise ValueError("a whole number")
    return int(text), None


def _share(text: str) -> tuple[float, None]:
    is_percent = text.endswith("%")
    number = float(text.removesuffix("%"))
    share = number / 100 if is_percent else number
    if not 0 <= share <= 1:
        raise ValueError("between 0 and 1, or 0% and 100%")
    return share, None


def _sigmas(text: str) -> tuple[float, None]:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise ValueError("a number of sigmas")
    return number, None


def _span(text: str) -> tuple[float, None]:
    found = seconds(float(text) if re.fullmatch(r"[0-9.]+", text) else text)
    assert found is not None
    return found, None


def _money(text: str) -> tuple[Decimal, str | None]:
    found = _AMOUNT.fullmatch(text.lower())
    if not found:
        raise ValueError("an amount, with or without a currency")
    return Decimal(found[1]), found[2] or None


def _text(text: str) -> tuple[str, None]:
    if not re.fullmatch(r"[a-z0-9_]+", text):
        raise ValueError("a lowercase name")
    return text, None


_READERS: dict[str, Callable[[str], tuple[Any, str | None]]] = {
    "qubits": _count,
    "shots": _count,
    "price": _money,
    "queue": _span,
    "pending": _count,
    "error": _share,
    "readout": _share,
    "drift": _sigmas,
    "opens": _span,
    "vendor": _text,
}
