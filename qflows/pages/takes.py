"""What devices take beyond gates and final measurements, as a table with the vendors' own words below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qflows.core.devices import Device
from qflows.programs import Feature

INPUTS = "inputs"
METADATA = "metadata"
COLUMNS = (*(feature.value for feature in Feature), INPUTS, METADATA)
_INPUTS_SENT = "angles travel apart from the circuit, so that a sweep is one circuit and a list of numbers"
_INPUTS_WRITTEN = "angles are written into the circuit, which says the same"
_METADATA = "`circuit.metadata` stays in the ledger, unsent, and comes back with the result"


def row(device: Device) -> dict[str, Any]:
    """One device: for each column whether it is taken, and the terms or the reason."""
    limits = device.limits
    takes = frozenset(Feature) if limits.takes is None else limits.takes
    found: dict[str, Any] = {"device": device.profile.name, "vendor": device.provider.name}
    for feature in Feature:
        found[feature.value] = {"taken": feature in takes, "terms": limits.terms.get(feature, "")}
    sends = device.provider.capabilities.sends_inputs
    found[INPUTS] = {"taken": True, "terms": _INPUTS_SENT if sends else _INPUTS_WRITTEN}
    found[METADATA] = {"taken": True, "terms": _METADATA}
    return found


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table, and each reason once, by number."""
    notes: dict[str, int] = {}
    lines = [f"| device | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for one in rows:
        cells = []
        for column in COLUMNS:
            told = one[column]
            number = notes.setdefault(told["terms"], len(notes) + 1) if told["terms"] else 0
            cells.append(("yes" if told["taken"] else "no") + (f" ({number})" if number else ""))
        lines.append(f"| {one['device']} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"{number}. {text}" for text, number in notes.items())]) + "\n"
