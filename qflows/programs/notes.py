"""A circuit's metadata as plain JSON values: the caller's notes, returned with the counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qflows.errors import ProgramRejected

if TYPE_CHECKING:
    from qflows.programs.program import Program

MAX_NOTES = 65_536
ASKED = "qflows_asked"
"""The note of a compiled program that describes the original: name, digest, depth and two-qubit gates."""


def plain_notes(metadata: Mapping[str, Any] | None, label: str) -> dict[str, Any]:
    """`metadata` with tuples and arrays as lists, numbers as plain ones, and anything else as its text: so
    are numbers that are not finite.

    Raises ProgramRejected for more than 65,536 characters of JSON.
    """
    if not metadata:
        return {}
    try:
        text = json.dumps({str(key): value for key, value in metadata.items()}, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise ProgramRejected(
            f"program {label!r}: its metadata cannot be written as JSON ({error!s:.200}); keep plain values in it"
        ) from error
    if len(text) > MAX_NOTES:
        raise ProgramRejected(
            f"program {label!r}: its metadata has {len(text)} characters of JSON, at most {MAX_NOTES} fit; keep less"
        )
    return json.loads(text, parse_constant=str)  # JSON has no NaN and no Infinity


def with_asked(metadata: Mapping[str, Any], asked: Program) -> dict[str, Any]:
    """`metadata` of a program that was compiled from `asked`; an existing note takes precedence."""
    if ASKED in metadata:
        return dict(metadata)
    note = {"digest": asked.digest, "depth": asked.depth, "two_qubit_gates": asked.n_two_qubit}
    return {**metadata, ASKED: note}


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    return str(value)[:1000]
