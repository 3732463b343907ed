"""Error mitigation: more circuits than requested, and one value with an honest error bar."""

from __future__ import annotations

from qflows.core.mitigation.layout import LaidOut, lay_out
from qflows.core.mitigation.request import Request, Shared, read, share

__all__ = ["LaidOut", "Request", "Shared", "lay_out", "read", "share"]
