"""Exceptions that a sandbox component raises on purpose; anything else is a bug and becomes a 500."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class Refusal(Exception):
    """An answer that is an error on purpose. The vendor renders it in its own documented shape.

    `keys` names the offending members of the body; `code` is a vendor error word where it has one.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        keys: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.keys = tuple(keys)
        self.headers = dict(headers or {})


class WorkError(Exception):
    """A circuit could not be executed; `code` and the text become the failure of its job."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
