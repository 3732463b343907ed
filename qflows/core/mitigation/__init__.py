"""Error mitigation: more circuits than requested, and one value with an honest error bar."""

from __future__ import annotations

from qflows.core.mitigation.layout import LaidOut, keeps_folding, lay_out
from qflows.core.mitigation.request import Request, Shared, read, share

__all__ = ["LaidOut", "Request", "Shared", "keeps_folding", "lay_out", "read", "share"]
