"""Checks of a primitive's input before Qiskit reads it: a list of PUBs, and nothing that only looks like one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from qiskit import QuantumCircuit

from qflows.primitives.errors import PubRejected

Pub = TypeVar("Pub")


def read_pubs(pubs: Any, coerce: Callable[[Any], Pub], form: str) -> list[Pub]:
    """Every PUB of the list by `coerce`; `form` shows how to write one. Raises PubRejected naming the wrong one.

    Qiskit's own message about a PUB whose parts do not fit is left unchanged.
    """
    if isinstance(pubs, QuantumCircuit):
        raise PubRejected(f"run takes a list of PUBs, not one circuit; write run([{form}])")
    if isinstance(pubs, str | bytes) or not isinstance(pubs, Iterable):
        raise PubRejected(f"run takes a list of PUBs, not {_said(pubs)}; write run([{form}])")
    return [coerce(_checked(pub, place, form)) for place, pub in enumerate(pubs)]


def _checked(pub: Any, place: int, form: str) -> Any:
    if isinstance(pub, int | float | complex | str | bytes | dict | None):
        raise PubRejected(f"PUB {place} is {_said(pub)}; write {form}")
    return pub


def _said(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text}" if len(text) < 40 else f"of type {type(value).__name__}"
