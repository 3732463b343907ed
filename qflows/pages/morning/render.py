"""A page as markdown for Prefect artifacts, as one HTML file that loads nothing, and as text for a terminal.

Text from vendors and people is data: escaped for each of the three, capped in length.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Callable

from qflows.pages.morning.page import Line, Page, Picture, Section, Table, Tone
from qflows.pages.text import escape, image, markdown_table
from qflows.privacy.redaction import clean

_CAP = 600


def _short(text: str) -> str:
    flat = " ".join("".join(letter if letter.isprintable() else " " for letter in clean(text)).split())
    return flat if len(flat) <= _CAP else flat[: _CAP - 1] + "…"


# -- markdown


def to_markdown(page: Page, *, heading: str = "#") -> str:
    """Markdown that both versions of Prefect's UI show; plots carry their own bytes."""
    numbers = " · ".join(f"**{_escaped(value)}** {_escaped(name)}" for name, value in page.numbers)
    parts = [
        f"{heading} {_escaped(page.verdict)}",
        f"{_escaped(page.title)}, {_escaped(page.covers)}",
        numbers,
    ]
    for section in page.sections:
        parts.append(f"{heading}# {_escaped(section.title)}")
        parts += [_MARKDOWN[type(one)](one) for one in section.content]
    return "\n\n".join(parts) + "\n"


def _line_markdown(line: Line) -> str:
    command = f" `{line.command.replace('`', '')}`" if line.command else ""
    return f"- {_escaped(line.text)}{command}"


def _escaped(text: str) -> str:
    """Like `escape`, with a longer cap: a sentence about a calibration contains several values."""
    words = _short(text).split(" ")
    return " ".join(escape(word) for word in words)


def _table_markdown(table: Table) -> str:
    rows = [dict(zip(table.columns, map(_escaped, row), strict=True)) for row in table.rows]
    return markdown_table(rows, table.columns)


def _picture_markdown(picture: Picture) -> str:
    return image(picture.png, picture.alt.replace("://", " "))


_MARKDOWN: dict[type, Callable[..., str]] = {
    Line: _line_markdown,
    Table: _table_markdown,
    Picture: _picture_markdown,
}

# -- HTML

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5c6675; --line: #e1e5eb; --card: #fff; --back: #f5f6f8;
  --alarm: #c8372a; --work: #b26a00; --calm: #1f7a4d; --code: #eef1f5; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #9aa4b2; --line: #2e3642; --card: #1a2029;
  --back: #12161c; --alarm: #ff7a6b; --work: #f0b04f; --calm: #5cc78f; --code: #262e39; }
  img { background: #fff; border-radius: 6px; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 60px; }
header { border-left: 6px solid var(--tone); padding: 2px 0 2px 18px; margin-bottom: 22px; }
header p { margin: 0; color: var(--soft); }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 17px; margin: 0 0 12px; }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(118px, 1fr)); gap: 10px; margin: 0 0 22px; }
.numbers div { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; }
.numbers dt { color: var(--soft); font-size: 13px; }
.numbers dd { margin: 0; font-size: 19px; font-weight: 600; overflow-wrap: anywhere;
  font-variant-numeric: tabular-nums; }
.numbers dd.long { font-size: 14px; line-height: 1.45; }
section { background: var(--card); border: 1px solid var(--line); border-top: 3px solid var(--tone, var(--line));
  border-radius: 8px; padding: 16px 20px; margin-bottom: 16px; overflow-x: auto; }
.alarm { --tone: var(--alarm); } .work { --tone: var(--work); } header.calm { --tone: var(--calm); }
section.calm { --tone: var(--line); }
.alarm h2, .work h2 { color: var(--tone); }
p { margin: 0 0 9px; overflow-wrap: anywhere; }
code { background: var(--code); border-radius: 4px; padding: 1px 6px; white-space: pre-wrap;
  font: 13px ui-monospace, "DejaVu Sans Mono", monospace; }
table { border-collapse: collapse; width: 100%; margin: 0 0 14px; font-size: 14px; }
th { text-align: left; color: var(--soft); font-weight: 600; white-space: nowrap; }
th, td { padding: 5px 18px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: break-word; }
.figure { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.flag td { color: var(--alarm); font-weight: 600; }
img { max-width: 100%; height: auto; display: block; }
@media print { body { background: #fff; } section { break-inside: avoid; } }
"""


def to_html(page: Page) -> str:
    """One HTML document without scripts that loads nothing from outside."""
    numbers = "".join(_number_html(name, value) for name, value in page.numbers)
    sections = "\n".join(map(_section_html, page.sections))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # also for a reader that shows it as a page by itself: nothing may be fetched or run
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{_text(page.title)}, {_text(page.covers)}</title>\n<style>{_STYLE}</style>\n</head>\n<body><main>\n"
        f'<header class="{page.tone}"><h1>{_text(page.verdict)}</h1>\n<p>{_text(page.title)}, {_text(page.covers)}</p>'
        f'</header>\n<dl class="numbers">{numbers}</dl>\n{sections}\n</main></body>\n</html>\n'
    )


def _text(text: str) -> str:
    return html.escape(_short(text))


def _number_html(name: str, value: str) -> str:
    kind = ' class="long"' if len(value) > 12 else ""
    return f"<div><dt>{_text(name)}</dt><dd{kind}>{_text(value)}</dd></div>"


def _section_html(section: Section) -> str:
    content = "\n".join(_HTML[type(one)](one) for one in section.content)
    return f'<section class="{section.tone}"><h2>{_text(section.title)}</h2>\n{content}</section>'


def _line_html(line: Line) -> str:
    command = f" <code>{_text(line.command)}</code>" if line.command else ""
    return f"<p>{_text(line.text)}{command}</p>"


def _table_html(table: Table) -> str:
    classes = [' class="figure"' if name in table.figures else "" for name in table.columns]
    head = "".join(f"<th{kind}>{_text(name)}</th>" for name, kind in zip(table.columns, classes, strict=True))
    body = []
    for row in table.rows:
        cells = "".join(f"<td{kind}>{_text(cell)}</td>" for cell, kind in zip(row, classes, strict=True))
        is_flagged = any("σ FLAG" in cell for cell in row)
        body.append(f"<tr{' class=flag' if is_flagged else ''}>{cells}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _picture_html(picture: Picture) -> str:
    bytes_ = base64.b64encode(picture.png).decode("ascii")
    return f'<img alt="{_text(picture.alt)}" src="data:image/png;base64,{bytes_}">'


_HTML: dict[type, Callable[..., str]] = {Line: _line_html, Table: _table_html, Picture: _picture_html}

# -- a terminal


def to_text(page: Page) -> str:
    """Text without plots; vendors' control characters do not reach the terminal."""
    lines = [_short(page.verdict), f"{page.title}, {page.covers}", ""]
    lines += [" · ".join(f"{_short(value)} {name}" for name, value in page.numbers)]
    for section in page.sections:
        lines += ["", _short(section.title.upper() if section.tone is not Tone.CALM else section.title)]
        for one in section.content:
            if isinstance(one, Table):
                lines += _table_text(one)
            elif isinstance(one, Line):
                lines.append(f"  {_short(one.text)}" + (f"\n      {_short(one.command)}" if one.command else ""))
    return "\n".join(lines) + "\n"


def _table_text(table: Table) -> list[str]:
    rows = [table.columns, *(tuple(_short(cell)[:70] for cell in row) for row in table.rows)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(table.columns))]
    return [
        "  "
        + "  ".join(
            cell.rjust(width) if name in table.figures else cell.ljust(width)
            for cell, width, name in zip(row, widths, table.columns, strict=True)
        ).rstrip()
        for row in rows
    ]
