"""How values are shown to people: nouns with their numbers, and what a notebook shows of a handle.

Text in HTML is cleaned and escaped: vendors' text is untrusted.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from qflows.privacy.redaction import clean

_BARS = 16
_ROWS = 50
_CELL = "padding:2px 10px;text-align:left"


def escape(text: Any) -> str:
    """Text as HTML shows it: without secrets, control characters as escapes."""
    return html.escape(clean(text))


def pairs(values: Mapping[str, Any]) -> str:
    """A table of names and values; empty values are omitted."""
    shown = {name: value for name, value in values.items() if value not in (None, "", {}, ())}
    rows = "".join(
        f"<tr><th style='{_CELL}'>{escape(name)}</th><td style='{_CELL}'>{escape(value)}</td></tr>"
        for name, value in shown.items()
    )
    return f"<table>{rows}</table>"


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """A table of at most fifty rows, and how many more there are."""
    head = "".join(f"<th style='{_CELL}'>{escape(column)}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td style='{_CELL}'>{escape(row.get(c, ''))}</td>" for c in columns) + "</tr>"
        for row in rows[:_ROWS]
    )
    more = f"<p>and {len(rows) - _ROWS} more</p>" if len(rows) > _ROWS else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def bars(values: Mapping[str, float]) -> str:
    """A histogram of the sixteen most frequent outcomes, in order of their bit strings, as HTML bars."""
    ranked = sorted(values.items(), key=lambda pair: -pair[1])[:_BARS]
    top = max((value for _, value in ranked), default=0) or 1
    rows = "".join(
        f"<tr><td style='{_CELL};font-family:monospace'>{escape(key)}</td><td style='width:240px;padding:2px'>"
        f"<div style='background:#2f6fde;height:12px;width:{100 * value / top:.1f}%'></div></td>"
        f"<td style='{_CELL}'>{value:g}</td></tr>"
        for key, value in sorted(ranked)
    )
    rest = len(values) - len(ranked)
    more = f"<p>and {rest} more outcomes</p>" if rest > 0 else ""
    return f"<table>{rows}</table>{more}"


def plural(n: int, one: str, many: str = "") -> str:
    """`1 job`, `2 jobs`, `1,000 jobs`."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"
