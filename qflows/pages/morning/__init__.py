"""The morning report: what ran, what failed, what waits for a person, what it cost, and whether devices drifted."""

from __future__ import annotations

from qflows.pages.morning.compose import compose
from qflows.pages.morning.files import length, write
from qflows.pages.morning.gather import Report, RunTrouble, gather
from qflows.pages.morning.render import to_html, to_markdown, to_text

__all__ = ["Report", "RunTrouble", "compose", "gather", "length", "to_html", "to_markdown", "to_text", "write"]
