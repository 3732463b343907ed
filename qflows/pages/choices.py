"""Choices by rule, on a page and on a terminal: every device considered, its numbers, or why it was left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qflows.core.choice.candidates import text_of
from qflows.ledger import choices, gates
from qflows.ledger.choices import Choice
from qflows.ledger.store import Ledger
from qflows.pages.text import escape, markdown_table

COLUMNS = ("rank", "device", "price", "queue", "pending", "error", "readout", "drift", "qubits", "why")
_LISTED = 20
_CHOICES = 5


def rows(candidates: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Candidates as a table: those that fit first. "?" is an unknown value."""
    found = []
    for one in candidates:
        values, unknown = one.get("values") or {}, one.get("unknown") or {}
        row = {"rank": str(one.get("rank") or ""), "device": str(one["device"])}
        for name in ("price", "queue", "pending", "error", "readout", "drift", "qubits"):
            row[name] = text_of(name, values[name]) if name in values else "?" if name in unknown else ""
        if one.get("price"):
            row["price"] = f"{row['price']} ({str(one['price']).partition(': ')[2]})"
        row["why"] = str(one.get("out") or one.get("note") or "")
        found.append(row)
    return found


def section(ledger: Ledger, run_keys: Iterable[str]) -> list[str]:
    """Markdown of the choices of these runs; empty if there are none."""
    made = choices.of_runs(ledger, run_keys)
    if not made:
        return []
    page = ["## Devices chosen by rule"]
    for one in made[:_CHOICES]:
        page += [_headline(one)]
        table = [{name: escape(text) for name, text in row.items()} for row in rows(one.candidates)]
        shown = [name for name in COLUMNS if any(row[name] for row in table)]
        page += [markdown_table(table[:_LISTED], shown)]
    if len(made) > _CHOICES:
        page.append(f"… and {len(made) - _CHOICES} more choices.")
    return page


def decided(ledger: Ledger, run_keys: Iterable[str]) -> list[str]:
    """Markdown of gates and choices of these runs; empty if there are none."""
    listed = list(run_keys)
    return gate_section(ledger, listed) + section(ledger, listed)


def gate_section(ledger: Ledger, run_keys: Iterable[str]) -> list[str]:
    """Markdown of the gates' decisions for these runs; empty if there are none."""
    # the jobs of a look have a run key of their own
    looks = gates.of_runs(ledger, {key.partition("/gate-")[0] for key in run_keys})
    if not looks:
        return []
    table = [
        {
            "look": f"{one.look + 1}, {one.at:%Y-%m-%d %H:%M} UTC",
            "device": escape(one.device),
            "decision": one.verdict,
            "why": escape(one.why),
        }
        for one in looks[-_LISTED:]
    ]
    return ["## Whether to buy", markdown_table(table, ("look", "device", "decision", "why"))]


def _headline(one: Choice) -> str:
    moved = f", after {', '.join(map(escape, one.ranked[: one.turn]))} refused or was unavailable" if one.turn else ""
    return f"`{one.rule.replace('`', '')}` chose **{escape(one.device)}**{moved}; {one.at:%Y-%m-%d %H:%M:%S} UTC"
